"""Kyverno's attestor sets as a requirement tree, and what becomes of an entry that has no native form.

A tree of all / any / n-of-m never gets harder to meet when one of its leaves gets easier. So an entry that cannot be
expressed may be left out where the others suffice (`count` below the number of entries: revet then asks more), and may
not where it was demanded besides the others (revet would ask less): that is a note of severity `weakens`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from verifier.policy.importers.cursor import Cursor
from verifier.policy.importers.notes import LossNote, LossSeverity
from verifier.policy.model import AtLeast, Attestor, Requirement
from verifier.policy.pem import is_pem, public_key_pem, split_public_keys

MAX_NESTED_SETS: Final = 5
"""Levels of `attestor` inside `attestor`; the native tree has 8 levels, and nobody wrote more than two."""

_ENTRY_MEMBERS: Final = frozenset({"keys", "certificates", "keyless", "attestor", "annotations", "repository"})
_KEY_MEMBERS: Final = frozenset({"publicKeys", "kms", "secret", "signatureAlgorithm", "rekor", "ctlog"})


class _Lost(NamedTuple):
    """An entry without native form, and what the note about it says."""

    at: Cursor
    code: str
    message: str


class _Built(NamedTuple):
    """A requirement and the entries it lacks. With `lost` it asks less than the original; None: nothing is left."""

    tree: Requirement | None
    lost: tuple[_Lost, ...] = ()


class Attestors:
    """Collects the attestors, requirement and notes of one verifyImages block."""

    def __init__(self, keys: Mapping[str, str], annotations: Mapping[str, str]) -> None:
        self.attestors: dict[str, Attestor] = {}
        self.notes: list[LossNote] = []
        self._keys = keys
        self._annotations = dict(annotations)

    def sets(self, sets: list[Cursor]) -> Requirement | None:
        """All of `attestors[]`; None when nothing of it can be expressed.

        Raises:
            PolicyError: a member has the wrong type, a count cannot be met, or PEM text holds no public key.
        """
        return self._settled([self._set(entry, 0) for entry in sets])

    def key(self, at: Cursor) -> Requirement | None:
        """The old form's `key`: PEM text, or a reference to a key elsewhere.

        Raises:
            PolicyError: PEM text that holds no public key.
        """
        return self._settled(self._public_keys(at, at.text(), self._annotations))

    def note(self, at: Cursor, severity: LossSeverity, code: str, message: str) -> None:
        """Adds a note about a place."""
        self.notes.append(at.note(severity, code, message))

    def _settled(self, parts: list[_Built]) -> Requirement | None:
        """All of the parts; what they lack is a check that gets weaker."""
        for leaf in (leaf for part in parts for leaf in part.lost):
            self.note(leaf.at, "weakens", leaf.code, f"{leaf.message}; this demand would be left out")
        return _all([part.tree for part in parts if part.tree is not None])

    def _set(self, at: Cursor, level: int) -> _Built:
        """n of the entries. Where enough of them are whole, the others are dropped: never less is asked by that."""
        if level >= MAX_NESTED_SETS:
            raise at.error(f"attestors nested more than {MAX_NESTED_SETS} levels")
        for other in at.others({"count", "entries"}):
            self.note(other, "weakens", "unknown-member", "not known to the importer; it may be a demand")
        entries = [built for entry in at.list_of("entries") for built in self._entry(entry, level)]
        need = _count(at, len(entries))
        whole = [built.tree for built in entries if built.tree is not None and not built.lost]
        lost = tuple(leaf for built in entries for leaf in built.lost)
        if len(whole) >= need:
            for leaf in lost:
                self.note(leaf.at, "loses", leaf.code, f"{leaf.message}; the other entries suffice, so revet asks more")
            return _Built(_n_of(need, whole))
        partial = [built.tree for built in entries if built.tree is not None]
        return _Built(_n_of(need - (len(entries) - len(partial)), partial), lost)

    def _entry(self, at: Cursor, level: int) -> list[_Built]:
        for other in at.others(_ENTRY_MEMBERS):
            self.note(other, "weakens", "unknown-member", "not known to the importer; it may be a demand")
        if (repository := at.get("repository")) is not None:
            self.note(repository, "loses", "repository", _ELSEWHERE)
        own = at.get("annotations")
        annotations = self._annotations if own is None else at.pairs_of("annotations")
        if (keys := at.get("keys")) is not None:
            return self._static_keys(keys, annotations)
        if (nested := at.get("attestor")) is not None:
            return [self._set(nested, level + 1)]
        for member, message in _WITHOUT_NATIVE_FORM.items():
            if (found := at.get(member)) is not None:
                return [_Built(None, (_Lost(found, member, message),))]
        raise at.error("expected keys, certificates, keyless or attestor")

    def _static_keys(self, at: Cursor, annotations: Mapping[str, str]) -> list[_Built]:
        for other in at.others(_KEY_MEMBERS):
            self.note(other, "weakens", "unknown-member", "not known to the importer; it may be a demand")
        self._note_log(at)
        algorithm = at.text_of("signatureAlgorithm")
        if algorithm not in ("", "sha256"):
            self.note(
                at, "loses", "signature-algorithm", f"{algorithm} is not demanded; revet uses the hash the key implies"
            )
        if (public := at.get("publicKeys")) is not None:
            return self._public_keys(public, public.text(), annotations)
        if (secret := at.get("secret")) is not None:
            reference = f"k8s://{secret.text_of('namespace')}/{secret.text_of('name')}"
            return self._public_keys(secret, reference, annotations)
        if (kms := at.get("kms")) is not None:
            return self._public_keys(kms, kms.text(), annotations)
        raise at.error("expected publicKeys, secret or kms")

    def _note_log(self, keys: Cursor) -> None:
        """Kyverno asks the log unless told not to: since 1.10 also when `rekor` is left out."""
        rekor = keys.get("rekor")
        if rekor is None:
            self.note(keys, "weakens", "transparency-log", f"no rekor.ignoreTlog, so Kyverno {_ASKS_LOG}")
        elif rekor.members().get("ignoreTlog") is not True:
            self.note(rekor, "weakens", "transparency-log", f"Kyverno {_ASKS_LOG}")

    def _public_keys(self, at: Cursor, text: str, annotations: Mapping[str, str]) -> list[_Built]:
        """Every PEM block is an entry of its own, as in Kyverno; anything else is a reference to a key elsewhere."""
        known = self._keys.get(text.strip())
        text = text if known is None else known
        if not is_pem(text):
            message = f"the key is elsewhere ({_shortened(text)}); give its PEM text to the import"
            return [_Built(None, (_Lost(at, "key-reference", message),))]
        blocks = split_public_keys(text)
        if not blocks:
            raise at.error("expected PUBLIC KEY blocks")
        try:
            return [_Built(self._signed_by(public_key_pem(block), annotations)) for block in blocks]
        except ValueError as error:
            raise at.error(str(error)) from error

    def _signed_by(self, pem: str, annotations: Mapping[str, str]) -> Requirement:
        name = f"key-{key_fingerprint(pem)[:12]}"
        self.attestors[name] = Attestor(keys=(pem,))
        return Requirement(signed_by=name, annotations=dict(annotations))


_ELSEWHERE: Final = "signatures kept in another repository are not looked for; revet will not find them"
_ASKS_LOG: Final = (
    "1.10 and later demands an entry in a transparency log; revet does not look there for keyed signatures"
)
_WITHOUT_NATIVE_FORM: Final = {
    "keyless": "keyless identities have no native form yet",
    "certificates": "certificates have no native form yet",
}
"""Entry members that are read, and what the note about them says. Their codes are their names."""


def key_fingerprint(pem: str) -> str:
    """Key id of a readable public key: hex SHA-256 of its SubjectPublicKeyInfo in DER.

    Raises:
        ValueError: not a readable public key.
    """
    der = load_pem_public_key(pem.encode("ascii")).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def _count(at: Cursor, entries: int) -> int:
    """How many entries must hold: all of them without a count (or with 0), as in Kyverno."""
    found = at.get("count")
    count = 0 if found is None else found.value
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= entries or entries == 0:
        raise at.error(f"count {count!s:.20} of {entries} entries can never be met")
    return count or entries


def _n_of(need: int, trees: list[Requirement]) -> Requirement | None:
    if not trees or need <= 0:
        return None
    if need == len(trees):
        return _all(trees)
    return Requirement(any=tuple(trees)) if need == 1 else Requirement(at_least=AtLeast(count=need, of=tuple(trees)))


def _all(trees: list[Requirement]) -> Requirement | None:
    if len(trees) > 1:
        return Requirement(all=tuple(trees))
    return trees[0] if trees else None


def _shortened(text: str) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= 80 else line[:80] + "…"
