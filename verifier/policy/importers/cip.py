"""policy-controller's ClusterImagePolicy (policy.sigstore.dev): who may have signed the images that a glob names.

    result = import_cip([("cip.yaml", text)])
    result.policies        one per ClusterImagePolicy, dialect cip: globs keep their meaning

Every policy that matches must hold, as here; within one, any authority will do. `static: pass` asks for nothing, so the
policy is left out; `static: fail` is `denied`. Written after pkg/apis/policy/v1beta1 and pkg/webhook/validator.go.
It reads no CUE and no Rego: such a rule is a note of severity weakens.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Literal
from urllib.parse import urlsplit

from verifier.policy.importers.cursor import Cursor
from verifier.policy.importers.drafting import Draft, Mode, Sources, all_of, any_of, flag, name_of, placed
from verifier.policy.importers.kyverno_scope import label_selector
from verifier.policy.importers.notes import ImportResult
from verifier.policy.importers.signers import Signers, certificates, unanchored
from verifier.policy.model import MatchRule, Requirement
from verifier.policy.pem import is_pem

API_GROUP: Final = "policy.sigstore.dev/"

_PUBLIC_FULCIO: Final = "fulcio.sigstore.dev"
_SPEC_MEMBERS: Final = frozenset({"images", "authorities", "policy", "mode", "match"})
_KINDS: Final = ("key", "keyless", "static")
_AUTHORITY_MEMBERS: Final = frozenset(
    {*_KINDS, "name", "source", "ctlog", "attestations", "rfc3161timestamp", "signatureFormat"}
)
_KEY_MEMBERS: Final = frozenset({"data", "secretRef", "kms", "hashAlgorithm"})
_KEYLESS_MEMBERS: Final = frozenset({"url", "identities", "ca-cert", "trustRootRef", "insecureIgnoreSCT"})

_Demand = Literal["required", "optional"]

_DENIED: Final = "denied by the ClusterImagePolicy {name}"


def import_cip(
    sources: Sources,
    *,
    accept_weaker: bool | Collection[str] = False,
    keys: Mapping[str, str] | None = None,
    owner: str = "imported",
) -> ImportResult:
    """Policies and loss notes of every ClusterImagePolicy of all sources.

    Args:
        sources: (file name, text) pairs; the name is only used in messages.
        accept_weaker: True, or the codes of the weakenings that are accepted (`policy-language` …).
        keys: PEM text for keys that the policies only refer to (`k8s://cosign-system/secret`, a KMS URI).
        owner: unused; the same for every importer.

    Raises:
        PolicyError: a document that cannot be read, or that policy-controller would refuse too.
        WeakeningImport: a policy would ask less than the original, in a way that is not accepted.
    """
    del owner
    draft = Draft("policy-controller", "cip", sources)
    for at in draft.documents():
        kind = at.text_of("kind")
        if kind == "ClusterImagePolicy" and at.text_of("apiVersion").startswith(API_GROUP):
            with placed(at):
                _Importer(draft, keys or {}).policy(at)
        elif kind == "TrustRoot" and at.text_of("apiVersion").startswith(API_GROUP):
            message = "add what it holds by its own name: `revet trust root add NAME FILE`"
            draft.note(at, "loses", "root-reference", message)
        else:
            draft.note(at, "info", "other-kind", "no ClusterImagePolicy of policy-controller; left out")
    return draft.result(accept_weaker)


class _Importer:
    """One policy."""

    def __init__(self, draft: Draft, keys: Mapping[str, str]) -> None:
        self._draft = draft
        self._signers = Signers(draft, keys)

    def policy(self, at: Cursor) -> None:
        """Adds the policy of a document, unless it asks for nothing.

        Raises:
            PolicyError: policy-controller would refuse it too.
        """
        metadata, spec = at.get("metadata"), at.get("spec")
        name = "" if metadata is None else metadata.text_of("name")
        if spec is None or not name:
            raise at.error("expected metadata.name and spec")
        self._draft.unknown(spec, _SPEC_MEMBERS)
        images = tuple(self._glob(entry) for entry in spec.list_of("images"))
        authorities = spec.list_of("authorities")
        if not images or not authorities:
            raise spec.error("expected images and authorities")
        if (language := spec.get("policy")) is not None:
            message = "a rule in CUE or Rego over all authorities is not translated; write it as requirements"
            self._draft.note(language, "weakens", "policy-language", message)
        require = self._require(spec, name, authorities)
        if require is None:
            self._draft.note(spec, "info", "static-pass", "static: pass asks for nothing; these images stay ungoverned")
            return
        message = "revet judges every namespace, opted in (policy.sigstore.dev/include) or not"
        self._draft.note(spec, "loses", "namespaces", message)
        self._draft.policy(
            spec,
            name_of(name),
            match=self._match(spec, images),
            require=require,
            attestors=self._signers.attestors,
            mode=_mode(spec),
        )

    def _glob(self, at: Cursor) -> str:
        glob = at.text_of("glob")
        if not glob:
            raise at.error("expected glob")
        return self._draft.check_pattern(at, glob)

    def _match(self, spec: Cursor, images: tuple[str, ...]) -> tuple[MatchRule, ...]:
        """Only a selector over pods can be said; any other resource widens the policy to all its images."""
        rules = []
        for entry in spec.list_of("match"):
            labels: dict[str, str] = {}
            selector = entry.get("selector")
            if selector is not None and entry.text_of("resource") == "pods":
                pairs, lost = label_selector(selector)
                labels = dict(pairs)
            else:
                lost = [entry]
            for part in lost:
                self._draft.note(part, "loses", "match", "revet cannot look at this; the policy covers more")
            rules.append(MatchRule(images=images, labels=labels))
        return tuple(_distinct(rules)) or (MatchRule(images=images),)

    # -------------------------------------------------------------------------------------------------- authorities

    def _require(self, spec: Cursor, name: str, authorities: list[Cursor]) -> Requirement | None:
        """Any authority will do; None when one of them passes everything."""
        trees, denied = [], ""
        for at in authorities:
            self._draft.unknown(at, _AUTHORITY_MEMBERS)
            given = [kind for kind in _KINDS if at.get(kind) is not None]
            if len(given) != 1:
                raise at.error("expected exactly one of key, keyless and static")
            static = at.get("static")
            if static is None:
                trees.append(self._authority(at))
            elif static.text_of("action") == "pass":
                return None
            elif static.text_of("action") == "fail":
                denied = static.text_of("message") or _DENIED.format(name=name)
            else:
                raise static.error("expected action pass or fail")
        if not trees:
            return Requirement(denied=denied[:1024])
        if denied:
            self._draft.note(spec, "info", "static-fail", "an authority that always fails adds nothing to the others")
        return any_of(trees)

    def _authority(self, at: Cursor) -> Requirement:
        """A signature; with `attestations` all of them instead, as in the original."""
        self._note_source(at)
        signer = self._key(at) if at.get("key") is not None else self._keyless(at)
        attestations = at.list_of("attestations")
        found = all_of([self._attestation(entry, signer) for entry in attestations])
        return found or Requirement(signed_by=signer)

    def _attestation(self, at: Cursor, signer: str) -> Requirement:
        kind = at.text_of("predicateType")
        if not kind:
            raise at.error("expected predicateType")
        if (language := at.get("policy")) is not None:
            message = "a rule in CUE or Rego over the content is not translated; write a rule under attestedBy"
            self._draft.note(language, "weakens", "policy-language", message)
        with placed(at):
            return Requirement(attested_by=signer, predicate_type=kind)

    def _note_source(self, at: Cursor) -> None:
        if (source := at.get("source")) is not None:
            message = (
                "signatures kept elsewhere or under another tag prefix are not looked for; revet will not find them"
            )
            self._draft.note(source, "loses", "repository", message)
        if (signature_format := at.get("signatureFormat")) is not None:
            message = "revet accepts a signature in either format, bundle or classic"
            self._draft.note(signature_format, "info", "format", message)

    def _key(self, at: Cursor) -> str:
        key = at.get("key") or at
        self._draft.unknown(key, _KEY_MEMBERS)
        if (algorithm := key.text_of("hashAlgorithm")) not in ("", "sha256"):
            message = f"{algorithm[:20]!a} is not demanded; revet uses the hash the key implies"
            self._draft.note(key, "loses", "signature-algorithm", message)
        if (stamp := at.get("rfc3161timestamp")) is not None:
            message = "revet demands no timestamp beside a key's signature"
            self._draft.note(stamp, "weakens", "timestamp", message)
        log: _Demand = "required" if self._log_is_demanded(at) else "optional"
        return self._signers.keys(key, self._key_texts(key), log=log)

    def _key_texts(self, key: Cursor) -> list[str]:
        if data := key.text_of("data"):
            if not is_pem(data):
                raise key.error("expected data to be a PUBLIC KEY block in PEM")
            return self._signers.each_key(key, data)
        if kms := key.text_of("kms"):
            return self._signers.each_key(key, kms)
        if (secret := key.get("secretRef")) is not None:
            namespace = secret.text_of("namespace") or "cosign-system"
            return self._signers.each_key(secret, f"k8s://{namespace}/{secret.text_of('name')}")
        raise key.error("expected data, secretRef or kms")

    def _log_is_demanded(self, at: Cursor) -> bool:
        """validator.go: a timestamp stands for the log; without `ctlog` only identities ask the public one."""
        ctlog, keyless = at.get("ctlog"), at.get("keyless")
        if at.get("rfc3161timestamp") is not None:
            return False
        if ctlog is None:
            return keyless is not None and not keyless.text_of("trustRootRef")
        if name := ctlog.text_of("trustRootRef"):
            self._signers.root_named(ctlog, name, "the trust root of the log")
        return bool(name) or ctlog.get("url") is not None

    def _keyless(self, at: Cursor) -> str:
        keyless = at.get("keyless") or at
        self._draft.unknown(keyless, _KEYLESS_MEMBERS)
        identities = tuple(self._identity(entry) for entry in keyless.list_of("identities"))
        members: dict[str, object] = {
            "identities": identities,
            "log": "required" if self._log_is_demanded(at) else "optional",
            "sct": "optional" if flag(keyless, "insecureIgnoreSCT", default=False) else "required",
        }
        if roots := self._roots(keyless):
            members["roots"] = roots
        if (stamp := at.get("rfc3161timestamp")) is not None and (name := stamp.text_of("trustRootRef")):
            self._signers.root_named(stamp, name, "the trust root of the timestamps")
        return self._signers.add(at, at.text_of("name") or "keyless", {"keyless": members})

    def _identity(self, at: Cursor) -> object:
        members = {name: at.text_of(name) for name in ("issuer", "subject", "issuerRegExp", "subjectRegExp")}
        return self._signers.identity(at, members | unanchored((members["issuerRegExp"], members["subjectRegExp"])))

    def _roots(self, at: Cursor) -> tuple[str, ...]:
        """Empty: the public instance."""
        if name := at.text_of("trustRootRef"):
            return (self._signers.root_named(at, name, "the trust root"),)
        if (authority := at.get("ca-cert")) is not None:
            if data := authority.text_of("data"):
                return (certificates(authority, data),)
            secret = authority.get("secretRef")
            where = authority.text_of("kms") or (secret.text_of("name") if secret is not None else "")
            return (self._signers.root_named(authority, where or "ca-cert", "the certificate authority"),)
        if (url := at.text_of("url")) and urlsplit(url).hostname != _PUBLIC_FULCIO:
            message = "a Fulcio of your own without ca-cert or trustRootRef: the public instance's root is asked for"
            self._draft.note(at, "loses", "root-reference", message)
        return ()


def _distinct(rules: list[MatchRule]) -> list[MatchRule]:
    return [rule for position, rule in enumerate(rules) if rule not in rules[:position]]


def _mode(spec: Cursor) -> Mode:
    mode = spec.text_of("mode") or "enforce"
    if mode not in ("enforce", "warn"):
        raise spec.error("expected mode enforce or warn")
    return "enforce" if mode == "enforce" else "audit"
