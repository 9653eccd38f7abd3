"""Kyverno's attestor sets as a requirement tree: keys, certificates and keyless identities, n of m, nested.

    attestors = Attestors(draft, signers, annotations={"env": "prod"})
    attestors.sets(block.list_of("attestors"))                       signedBy leaves
    attestors.sets(found.list_of("attestors"), predicate="https://slsa.dev/provenance/v1")      attestedBy leaves

Traps of the original that are carried over: plain `issuer` and `subject` are wildcard patterns, and regular expressions
match anywhere. One that is not: Kyverno lets a certificate without any alternative name pass every subject.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from verifier.policy.importers.cursor import Cursor
from verifier.policy.importers.drafting import Draft, all_of, flag, n_of, placed
from verifier.policy.importers.signers import (
    Signers,
    certificate_fingerprint,
    certificate_key,
    certificates,
    unanchored,
)
from verifier.policy.model import Requirement

MAX_NESTED_SETS: Final = 5
"""Levels of `attestor` inside `attestor`; the native tree has 8 levels, and nobody wrote more than two."""

_ENTRY_MEMBERS: Final = frozenset(
    {"keys", "certificates", "keyless", "attestor", "annotations", "repository", "signatureAlgorithm"}
)
_KEY_MEMBERS: Final = frozenset({"publicKeys", "kms", "secret", "signatureAlgorithm", "rekor", "ctlog"})
_KEYLESS_MEMBERS: Final = frozenset(
    {"issuer", "subject", "issuerRegExp", "subjectRegExp", "roots", "additionalExtensions", "rekor", "ctlog"}
)
_CERTIFICATE_MEMBERS: Final = frozenset({"cert", "certChain", "rekor", "ctlog"})

_EXTENSIONS: Final = {
    "oidcIssuer": "issuer",
    "githubWorkflowTrigger": "githubWorkflowTrigger",
    "githubWorkflowSha": "githubWorkflowSHA",
    "githubWorkflowName": "githubWorkflowName",
    "githubWorkflowRepository": "githubWorkflowRepository",
    "githubWorkflowRef": "githubWorkflowRef",
}
"""cosign's names of the certificate extensions that Kyverno can ask for, and the native ones."""

_FULCIO_ARC: Final = "1.3.6.1.4.1.57264.1."
_OBJECT_IDS: Final = {f"{_FULCIO_ARC}{number}": name for number, name in enumerate(_EXTENSIONS, start=1)}

_ELSEWHERE: Final = "signatures kept in another repository are not looked for; revet will not find them"

Demand = Literal["required", "optional"]


class Attestors:
    """Builds the trees of one verifyImages block. `notary`: its certificates are those of Notary signatures."""

    def __init__(
        self, draft: Draft, signers: Signers, annotations: Mapping[str, str], *, notary_store: str = ""
    ) -> None:
        self._draft = draft
        self._signers = signers
        self._annotations = dict(annotations)
        self._store = notary_store
        self._predicate = ""

    def sets(self, sets: list[Cursor], predicate: str = "") -> Requirement | None:
        """All of `attestors[]`; None when there is none. With a predicate type the leaves ask for attestations.

        Raises:
            PolicyError: a member has the wrong type, a count cannot be met, or a text is no key or certificate.
        """
        self._predicate = predicate
        return all_of([self._set(entry, 0) for entry in sets])

    def key(self, at: Cursor) -> Requirement:
        """The old form's `key`: PEM text, or a reference to a key elsewhere.

        Raises:
            PolicyError: PEM text that holds no public key.
        """
        found = [self._leaf(at, self._signers.keys(at, [key])) for key in self._signers.each_key(at, at.text())]
        return all_of(found) or found[0]

    def _set(self, at: Cursor, level: int) -> Requirement:
        """n of the entries: all of them without a count, or with 0."""
        if level >= MAX_NESTED_SETS:
            raise at.error(f"attestors nested more than {MAX_NESTED_SETS} levels")
        self._draft.unknown(at, {"count", "entries"})
        trees = [tree for entry in at.list_of("entries") for tree in self._entry(entry, level)]
        tree = n_of(_count(at, len(trees)), trees)
        if tree is None:
            raise at.error("a set of attestors without entries can never be met")
        return tree

    def _entry(self, at: Cursor, level: int) -> list[Requirement]:
        self._draft.unknown(at, _ENTRY_MEMBERS)
        if (repository := at.get("repository")) is not None:
            self._draft.note(repository, "loses", "repository", _ELSEWHERE)
        self._note_algorithm(at)
        own = None if at.get("annotations") is None else at.pairs_of("annotations")
        if self._store and (at.get("keys") or at.get("keyless")) is not None:
            raise at.error("type Notary takes certificates, neither keys nor keyless")
        if (keys := at.get("keys")) is not None:
            return [self._leaf(keys, name, own) for name in self._static_keys(keys)]
        if (keyless := at.get("keyless")) is not None:
            return [self._leaf(keyless, self.keyless(keyless), own)]
        if (chain := at.get("certificates")) is not None:
            return [self._leaf(chain, self._certificates(chain), own)]
        if (nested := at.get("attestor")) is not None:
            return [self._set(nested, level + 1)]
        raise at.error("expected keys, certificates, keyless or attestor")

    def _leaf(self, at: Cursor, name: str, annotations: Mapping[str, str] | None = None) -> Requirement:
        wanted = dict(self._annotations if annotations is None else annotations)
        if not self._predicate:
            return Requirement(signed_by=name, annotations=wanted)
        if wanted:
            message = "annotations of an attestation's signature have no native form; they would be left out"
            self._draft.note(at, "weakens", "annotations", message)
        with placed(at):
            return Requirement(attested_by=name, predicate_type=self._predicate)

    # ------------------------------------------------------------------------------------------------------- kinds

    def _static_keys(self, at: Cursor) -> list[str]:
        self._draft.unknown(at, _KEY_MEMBERS)
        self._note_algorithm(at)
        log = self._log(at)
        self._timestamps(at, keyed=True)
        return [self._signers.keys(at, [key], log=log) for key in self._keys_of(at)]

    def _keys_of(self, at: Cursor) -> list[str]:
        """Every PEM block is an entry of its own, as in Kyverno; anything else is a reference to a key elsewhere."""
        if (public := at.get("publicKeys")) is not None:
            return self._signers.each_key(public, public.text())
        if (secret := at.get("secret")) is not None:
            return self._signers.each_key(secret, f"k8s://{secret.text_of('namespace')}/{secret.text_of('name')}")
        if (kms := at.get("kms")) is not None:
            return self._signers.each_key(kms, kms.text())
        raise at.error("expected publicKeys, secret or kms")

    def keyless(self, at: Cursor) -> str:
        """The attestor of a keyless entry, or of the old form, whose members stand in the block.

        Raises:
            PolicyError: a pattern or expression that cannot be used, an extension Kyverno does not know.
        """
        members: dict[str, object] = {
            "issuerPattern": at.text_of("issuer"),
            "subjectPattern": at.text_of("subject"),
            "issuerRegExp": at.text_of("issuerRegExp"),
            "subjectRegExp": at.text_of("subjectRegExp"),
            "extensions": self._extensions(at),
        }
        members |= unanchored((at.text_of("issuerRegExp"), at.text_of("subjectRegExp")))
        self._timestamps(at, keyed=False)
        keyless: dict[str, object] = {
            "identities": (self._signers.identity(at, members),),
            "log": self._log(at),
            "sct": self._sct(at),
        }
        if (roots := at.get("roots")) is not None:
            keyless["roots"] = (certificates(roots, roots.text()),)
        return self._signers.add(at, "keyless", {"keyless": keyless})

    def _extensions(self, at: Cursor) -> dict[str, str]:
        found = {}
        for name, value in at.pairs_of("additionalExtensions").items():
            known = _EXTENSIONS.get(_OBJECT_IDS.get(name, name))
            if known is None:
                raise at.error("additionalExtensions names an extension that Kyverno does not know either")
            found[known] = value
        return found

    def _certificates(self, at: Cursor) -> str:
        """A certificate alone is its key; with a chain it must lead there; a chain alone certifies everybody below."""
        self._draft.unknown(at, _CERTIFICATE_MEMBERS)
        leaf, chain = at.get("cert"), at.get("certChain")
        if self._store:
            return self._notary(at)
        if leaf is None and chain is None:
            raise at.error("expected cert or certChain")
        log = self._log(at)
        if chain is None:
            self._timestamps(at, keyed=True)
            found = leaf or at
            return self._signers.keys(found, [certificate_key(found, found.text())], log=log)
        members: dict[str, object] = {"roots": (certificates(chain, chain.text()),), "log": log, "sct": self._sct(at)}
        if self._timestamps(at, keyed=False):
            members["timestamp"] = "required"
        who = {"anyone": True} if leaf is None else {"fingerprints": (certificate_fingerprint(leaf, leaf.text()),)}
        if leaf is None:
            self._draft.note(at, "info", "anyone", "as in the original, everybody this chain certifies may sign")
        return self._signers.add(at, "certificates", {"certificates": members | who})

    def _notary(self, at: Cursor) -> str:
        found = at.get("cert") or at.get("certChain")
        if found is None:
            raise at.error("expected cert or certChain")
        what = "the certificate store of these Notary signatures"
        store = self._signers.root_named(found, self._store, what, store="ca:")
        return self._signers.add(at, "notary", {"notary": {"stores": (store,), "identities": ("*",)}})

    # ---------------------------------------------------------------------------------------------- logs and times

    def _log(self, at: Cursor) -> Demand:
        """Kyverno asks the log unless told not to: since 1.10 also when `rekor` is left out."""
        rekor = at.get("rekor")
        if flag(rekor, "ignoreTlog", default=False):
            return "optional"
        if rekor is not None and rekor.get("pubkey") is not None:
            self._signers.log_key(rekor)
        return "required"

    def _sct(self, at: Cursor) -> Demand:
        ctlog = at.get("ctlog")
        if ctlog is not None and ctlog.get("pubkey") is not None:
            self._signers.log_key(ctlog)
        return "optional" if flag(ctlog, "ignoreSCT", default=False) else "required"

    def _timestamps(self, at: Cursor, *, keyed: bool) -> bool:
        """Is a timestamp demanded? For keys there is no native form of that."""
        ctlog = at.get("ctlog")
        chain = None if ctlog is None else ctlog.get("tsaCertChain")
        if chain is None:
            return False
        if keyed:
            self._draft.note(chain, "weakens", "timestamp", "revet demands no timestamp beside a key's signature")
        else:
            message = "the authority of these timestamps has to be in a trust root: `revet trust root add`"
            self._draft.note(chain, "loses", "timestamp-root", message)
        return True

    def _note_algorithm(self, at: Cursor) -> None:
        algorithm = at.text_of("signatureAlgorithm")
        if algorithm not in ("", "sha256"):
            message = f"{algorithm[:20]!a} is not demanded; revet uses the hash the key implies"
            self._draft.note(at, "loses", "signature-algorithm", message)


def _count(at: Cursor, entries: int) -> int:
    """How many entries must hold: all of them without a count (or with 0), as in Kyverno."""
    found = at.get("count")
    count = 0 if found is None else found.value
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= entries or entries == 0:
        raise at.error(f"count {count!s:.20} of {entries} entries can never be met")
    return count or entries
