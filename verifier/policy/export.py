"""Native policies as containers-policy.json(5), so that nodes (CRI-O, podman) refuse what revet would call a violation.

    result = export_containers(policies, keys={"dev": pem})
    result.document        {"default": [{"type": "reject"}], "transports": {"docker": {…}}}
    result.notes           what the file says differently

Every scope that a policy matches or excludes gets an entry with the requirements of all policies that govern there,
since only the most specific scope counts. A node sees the reference alone: a policy bound to namespaces, labels or
clusters holds there for everybody, which asks more. What the file cannot ask for (n of m, attestations, windows, tags,
patterns inside a name …) would be left out and so ask less: that is an error, unless such losses are accepted by code.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from verifier.errors import PolicyError, TrustError
from verifier.policy.attestors import Attestor, Certificates, Keyless
from verifier.policy.globs import EVERY_IMAGE, ImageParts, compile_glob, is_literal, split_image
from verifier.policy.identity import Identity
from verifier.policy.importers.notes import LossSeverity
from verifier.policy.importers.scopes import nested
from verifier.policy.model import Policy, Requirement
from verifier.policy.pem import is_pem

DIALECTS: Final = ("containers-policy",)
"""Formats that can be written."""

_Object = dict[str, object]
_REJECT: Final[_Object] = {"type": "reject"}
_ACCEPT: Final[_Object] = {"type": "insecureAcceptAnything"}
_FACETS: Final = (
    *("registries", "repositories", "namespaces", "labels"),
    *("service_accounts", "clusters", "cluster_labels"),
)
"""Members of a match rule that a node cannot look at, or has no form for."""


class ExportNote(NamedTuple):
    """One thing that the file says differently than the policy."""

    policy: str
    severity: LossSeverity
    code: str
    message: str


class ExportResult(NamedTuple):
    """The file as plain values, ready for a JSON writer, and the notes."""

    document: dict[str, object]
    notes: tuple[ExportNote, ...]


class WeakeningExport(TrustError):
    """The file would ask less than the policies. `notes` holds every note, `codes` those not accepted."""

    def __init__(self, notes: Sequence[ExportNote], refused: Sequence[ExportNote]) -> None:
        self.notes = tuple(notes)
        self.codes = tuple(sorted({note.code for note in refused}))
        first = refused[0]
        super().__init__(
            f"policy {first.policy}: {first.message} ({len(refused)} such losses: {', '.join(self.codes)});"
            " accept what you can live without, by name"
        )


class Material(NamedTuple):
    """What policies only name: text of keys, roots and key rings by name, and the key of the transparency log."""

    keys: Mapping[str, str] = {}
    roots: Mapping[str, str] = {}
    log_key: str = ""


class _UnsaidError(Exception):
    """A part of a policy has no form in the file."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def export_containers(
    policies: Iterable[Policy],
    *,
    material: Material | None = None,
    default: Literal["reject", "accept"] = "reject",
    accept_weaker: bool | Collection[str] = False,
) -> ExportResult:
    """The file for these policies; those in another mode than `enforce` are left out, with a note.

    Args:
        policies: native policies; of imported ones those of the dialects containers and notation can be said too.
        material: text behind names; a name without text is an error.
        default: what holds for images that no policy governs. `accept` is what revet itself does with them.
        accept_weaker: True, or the codes of the losses that are accepted.

    Raises:
        PolicyError: a name without text in `material`.
        WeakeningExport: the file would ask less than a policy, in a way that is not accepted.
    """
    export = _Export(material or Material())
    taken = [export.take(policy) for policy in policies]
    document = export.document([found for found in taken if found is not None], default)
    accepted = accept_weaker or ()
    refused = [n for n in export.notes if n.severity == "weakens" and accepted is not True and n.code not in accepted]
    if refused:
        raise WeakeningExport(export.notes, refused)
    return ExportResult(document, tuple(export.notes))


class _Taken(NamedTuple):
    """A policy in the terms of the file."""

    match: tuple[str, ...]
    exclude: tuple[str, ...]
    requirements: tuple[_Object, ...]

    def governs(self, scope: str) -> bool:
        """Does it govern the images whose most specific scope is this one?"""
        return _inside(scope, self.match) and not _inside(scope, self.exclude)


def _inside(scope: str, outer: Iterable[str]) -> bool:
    return any(scope == other or nested(other, scope) for other in outer)


class _Export:
    """Takes policy after policy and keeps the notes."""

    def __init__(self, material: Material) -> None:
        self.notes: list[ExportNote] = []
        self._writer = _Writer(material)

    def _note(self, policy: Policy, severity: LossSeverity, code: str, message: str) -> None:
        self.notes.append(ExportNote(policy.id, severity, code, message))

    def take(self, policy: Policy) -> _Taken | None:
        """The policy in the terms of the file; None when it is left out, with a note why.

        Raises:
            PolicyError: a name without text.
        """
        if policy.mode != "enforce":
            self._note(policy, "info", "mode", f"mode {policy.mode}: nodes would refuse at once; left out")
            return None
        match = tuple(self._scopes(policy, policy.match, excluded=False))
        exclude = tuple(self._scopes(policy, policy.exclude, excluded=True))
        if not match:
            return None
        return _Taken(match, exclude, tuple(self._requirements(policy)))

    def _scopes(self, policy: Policy, rules: Sequence[object], *, excluded: bool) -> Iterator[str]:
        for rule in rules:
            unseen = [name for name in _FACETS if getattr(rule, name)]
            if unseen and excluded:
                message = f"an exclusion by {', '.join(unseen)} cannot be said; nodes refuse there too"
                self._note(policy, "loses", "exclude", message)
                continue
            if unseen:
                message = f"{', '.join(unseen)}: nodes do not look at that; the demand holds for every pod"
                self._note(policy, "loses", "match", message)
            images = getattr(rule, "images", ()) or (("**",) if not excluded else ())
            for pattern in images:
                yield from self._scope(policy, pattern, excluded=excluded)

    def _scope(self, policy: Policy, pattern: str, *, excluded: bool) -> Iterator[str]:
        """The scope of a pattern. One that covers more images than the pattern may only ever match, not exclude."""
        found, exact = _scope_of(pattern, policy)
        if found is not None and (exact or not excluded):
            if not exact:
                message = f"{pattern}: the scope {found} covers what is below it too"
                self._note(policy, "loses", "scope", message)
            yield found
        elif excluded:
            self._note(policy, "loses", "exclude", f"{pattern}: no scope says this; nodes refuse there too")
        else:
            self._note(
                policy, "weakens", "pattern", f"{pattern}: no scope says this; nodes would not check these images"
            )

    def _requirements(self, policy: Policy) -> Iterator[_Object]:
        for node in _conjuncts(policy.require):
            try:
                found, notes = self._writer.requirement(node, policy.attestors)
            except _UnsaidError as error:
                self._note(policy, "weakens", error.code, f"{error.message}; this demand would be left out")
                continue
            for severity, code, message in notes:
                self._note(policy, severity, code, message)
            yield found

    def document(self, taken: Sequence[_Taken], default: Literal["reject", "accept"]) -> dict[str, object]:
        """The file: an entry per scope, the default for everything else."""
        scopes = sorted({scope for policy in taken for scope in (*policy.match, *policy.exclude)} - {EVERY_IMAGE})
        everywhere = self._entry(EVERY_IMAGE, taken)
        otherwise = _REJECT if default == "reject" else _ACCEPT
        if everywhere is None:
            severity: LossSeverity = "loses" if default == "reject" else "info"
            message = f"images that no policy governs: {otherwise['type']}"
            self.notes.append(ExportNote("(default)", severity, "default", message))
        entries = {scope: self._entry(scope, taken) or [_ACCEPT] for scope in scopes}
        found: dict[str, object] = {"default": everywhere or [otherwise]}
        return found | ({"transports": {"docker": entries}} if entries else {})

    @staticmethod
    def _entry(scope: str, taken: Sequence[_Taken]) -> list[_Object] | None:
        """All requirements of all policies that govern there; None when none does."""
        governing = [policy for policy in taken if policy.governs(scope)]
        found: list[_Object] = []
        for requirement in (requirement for policy in governing for requirement in policy.requirements):
            if requirement not in found:
                found.append(requirement)
        if _REJECT in found:
            return [_REJECT]
        return found or ([_ACCEPT] if governing else None)


def _scope_of(pattern: str, policy: Policy) -> tuple[str | None, bool]:
    """A scope that covers what a pattern matches, and whether it covers no more; None when there is none."""
    if policy.dialect == "containers":
        return pattern, True
    if policy.dialect == "notation":
        return pattern, pattern == EVERY_IMAGE
    if policy.dialect != "native":
        return None, False
    if pattern in ("**", "*/**"):
        return EVERY_IMAGE, True
    stem = pattern.removesuffix("/**")
    # a tag or a digest is compared with the reference as it was typed, here also with what it stands for
    if not is_literal(stem) or "/" not in pattern or split_image(pattern) != ImageParts(pattern, None, None):
        return None, False
    try:
        compile_glob(stem, "containers", "image")
    except ValueError:
        return None, False
    return stem, stem != pattern


def _conjuncts(node: Requirement) -> Iterator[Requirement]:
    """What must hold together; `all` inside `all` is one list."""
    if node.all is None:
        yield node
        return
    for child in node.all:
        yield from _conjuncts(child)


_Notes = list[tuple[LossSeverity, str, str]]


class _Writer:
    """One requirement of a policy as one requirement of the file."""

    def __init__(self, material: Material) -> None:
        self._material = material

    def requirement(self, node: Requirement, attestors: Mapping[str, Attestor]) -> tuple[_Object, _Notes]:
        """The object, and what it says differently.

        Raises:
            PolicyError: a name without text.
            _UnsaidError: the file has no form for it.
        """
        if node.denied is not None:
            return _REJECT, []
        if node.any is not None:
            return self._any(node.any, attestors)
        if node.signed_by is None:
            kind = next((n for n in ("at_least", "attested_by", "digest_in", "registry_in") if getattr(node, n)), "")
            raise _UnsaidError("requirement", f"{kind.replace('_', ' ')} has no form in the file")
        if node.annotations:
            raise _UnsaidError("annotations", "annotations of a signature cannot be demanded")
        return self._signer(attestors[node.signed_by])

    def _any(self, children: Sequence[Requirement], attestors: Mapping[str, Attestor]) -> tuple[_Object, _Notes]:
        """Alternatives can be said of keys alone: one requirement with several keys."""
        found = [attestors[child.signed_by] for child in children if child.signed_by and not child.annotations]
        alike = {(attestor.log, attestor.repository_claim) for attestor in found}
        if len(found) != len(children) or len(alike) != 1 or not all(attestor.keys for attestor in found):
            raise _UnsaidError("alternatives", "alternatives other than keys cannot be said")
        if any(attestor.valid_from is not None or attestor.valid_until is not None for attestor in found):
            raise _UnsaidError("window", "a window of validity cannot be demanded")
        keys = tuple(dict.fromkeys(key for attestor in found for key in attestor.keys))
        return self._signer(found[0].model_copy(update={"keys": keys}))

    def _signer(self, attestor: Attestor) -> tuple[_Object, _Notes]:
        if attestor.valid_from is not None or attestor.valid_until is not None:
            raise _UnsaidError("window", "a window of validity cannot be demanded")
        notes: _Notes = []
        if not attestor.repository_claim:
            message = "nodes also demand that the signature names the image's repository"
            notes.append(("loses", "repository-claim", message))
        if attestor.openpgp is not None:
            ring = self._one(attestor.openpgp.keyrings, self._material.roots, "key ring")
            if attestor.openpgp.fingerprints:
                raise _UnsaidError("fingerprints", "single keys of a ring cannot be said")
            found: _Object = {"type": "signedBy", "keyType": "GPGKeys", "keyData": _base64(ring)}
        else:
            found = {"type": "sigstoreSigned", **self._sigstore(attestor)}
        return found | {"signedIdentity": {"type": "matchRepository"}}, notes

    def _sigstore(self, attestor: Attestor) -> _Object:
        if attestor.keys:
            texts = [_base64(self._text(key, self._material.keys, "key")) for key in attestor.keys]
            keys: _Object = {"keyData": texts[0]} if len(texts) == 1 else {"keyDatas": texts}
            return keys | self._log(attestor.log)
        if attestor.keyless is not None:
            return self._fulcio(attestor.keyless)
        if attestor.certificates is not None:
            return self._pki(attestor.certificates)
        raise _UnsaidError("signer", "Notary signatures and trust data are not looked at by nodes")

    def _log(self, demand: str, *, always: bool = False) -> _Object:
        if demand == "optional" and not always:
            return {}
        if not self._material.log_key:
            raise _UnsaidError("log", "an entry in a log is demanded, and the log's key is not given")
        return {"rekorPublicKeyData": _base64(self._material.log_key)}

    def _fulcio(self, keyless: Keyless) -> _Object:
        identity = _exact(keyless.identities)
        if not identity.issuer or "@" not in identity.subject or "/" in identity.subject:
            raise _UnsaidError("identity", "only an exact issuer with an exact e-mail address can be said")
        authority = self._one(keyless.roots, self._material.roots, "trust root")
        found = {"caData": _base64(authority), "oidcIssuer": identity.issuer, "subjectEmail": identity.subject}
        if keyless.sct == "required":
            raise _UnsaidError("sct", "nodes look at no certificate log; say sct: optional if that will do")
        return {"fulcio": found, **self._log(keyless.log, always=True)}

    def _pki(self, certificates: Certificates) -> _Object:
        if certificates.anyone or certificates.fingerprints or "required" in (certificates.sct, certificates.timestamp):
            raise _UnsaidError("certificates", "fingerprints, timestamps, certificate logs and anyone cannot be said")
        identity = _exact(certificates.identities)
        if identity.issuer:
            raise _UnsaidError("identity", "only an exact e-mail address or host name can be said")
        member = "subjectEmail" if "@" in identity.subject else "subjectHostname"
        roots = self._one(certificates.roots, self._material.roots, "trust root")
        return {"pki": {"caRootsData": _base64(roots), member: identity.subject}, **self._log(certificates.log)}

    def _one(self, names: Sequence[str], texts: Mapping[str, str], what: str) -> str:
        if len(names) != 1:
            raise _UnsaidError("roots", f"more than one {what} cannot be said")
        return self._text(names[0], texts, what)

    def _text(self, name: str, texts: Mapping[str, str], what: str) -> str:
        if is_pem(name):
            return name
        if name not in texts:
            raise PolicyError(f"the text of the {what} {name[:80]!a} is needed")
        return texts[name]


def _exact(identities: Sequence[Identity]) -> Identity:
    """The one identity, when it is exact throughout."""
    if len(identities) != 1:
        raise _UnsaidError("identity", "several identities cannot be said")
    (found,) = identities
    loose = (found.issuer_pattern, found.issuer_reg_exp, found.subject_pattern, found.subject_reg_exp)
    if any(loose) or found.extensions or not found.subject:
        raise _UnsaidError("identity", "patterns and extensions cannot be said")
    return found


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8")).decode("ascii")
