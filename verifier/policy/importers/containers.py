"""containers-policy.json(5), which podman, CRI-O and skopeo ask, as native policies.

    result = import_containers([("policy.json", text)])
    result.policies        one per scope that asks for anything, dialect containers

Only the most specific scope counts there: each policy excludes the scopes inside its own. `insecureAcceptAnything` asks
for nothing, so its scope stays ungoverned; `reject` becomes `denied`. An unknown member anywhere makes the whole file
invalid, as for the original. Written after containers/image docs/containers-policy.json.5.md and signature/.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, Literal

from verifier.policy.globs import EVERY_IMAGE, is_literal, split_image
from verifier.policy.importers.cursor import Cursor
from verifier.policy.importers.drafting import Draft, Sources, all_of, name_of, placed
from verifier.policy.importers.notes import ImportResult
from verifier.policy.importers.scopes import without
from verifier.policy.importers.signers import Signers, armored, base64_text, certificates, pem_data
from verifier.policy.model import MatchRule, Requirement

DOCKER: Final = "docker"
"""The transport that nodes pull images by."""

_KEY_SOURCES: Final = ("keyPath", "keyPaths", "keyData", "keyDatas", "fulcio", "pki")
_LOG_SOURCES: Final = ("rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas")
_MEMBERS: Final[dict[str, frozenset[str]]] = {
    "insecureAcceptAnything": frozenset({"type"}),
    "reject": frozenset({"type"}),
    "signedBy": frozenset({"type", "keyType", "keyPath", "keyPaths", "keyData", "signedIdentity"}),
    "sigstoreSigned": frozenset({"type", "signedIdentity", *_KEY_SOURCES, *_LOG_SOURCES}),
}
"""Kinds of requirement, each with its members."""

_IDENTITIES: Final[dict[str, frozenset[str]]] = {
    "matchExact": frozenset({"type"}),
    "matchRepoDigestOrExact": frozenset({"type"}),
    "matchRepository": frozenset({"type"}),
    "exactReference": frozenset({"type", "dockerReference"}),
    "exactRepository": frozenset({"type", "dockerRepository"}),
    "remapIdentity": frozenset({"type", "prefix", "signedPrefix"}),
}
_FULCIO_MEMBERS: Final = frozenset({"caPath", "caData", "oidcIssuer", "subjectEmail"})
_PKI_MEMBERS: Final = frozenset(
    {"caRootsPath", "caRootsData", "caIntermediatesPath", "caIntermediatesData", "subjectEmail", "subjectHostname"}
)
REJECTED: Final = "rejected by the containers policy"

_Demand = Literal["required", "optional"]


def import_containers(
    sources: Sources,
    *,
    accept_weaker: bool | Collection[str] = False,
    keys: Mapping[str, str] | None = None,
    owner: str = "imported",
) -> ImportResult:
    """Policies and loss notes of every policy.json of all sources.

    Args:
        sources: (file name, text) pairs; the name is only used in messages.
        accept_weaker: True, or the codes of the weakenings that are accepted (`signed-tag` …).
        keys: PEM text for keys that the policies only refer to, by their path.
        owner: unused; the same for every importer.

    Raises:
        PolicyError: a document that containers/image would refuse too, unknown and duplicate members among them.
        WeakeningImport: a policy would ask less than the original, in a way that is not accepted.
    """
    del owner
    draft = Draft("containers-policy", "containers", sources)
    for at in draft.documents():
        with placed(at):
            _document(draft, at, keys or {})
    return draft.result(accept_weaker)


def _document(draft: Draft, at: Cursor, keys: Mapping[str, str]) -> None:
    strict(at, {"default", "transports"})
    default = at.get("default")
    if default is None:
        raise at.error("expected default")
    scopes: dict[str, Cursor] = {EVERY_IMAGE: default}
    transports = at.get("transports")
    for transport in transports.others(()) if transports is not None else ():
        if transport.path[-1] == DOCKER:
            scopes |= _docker_scopes(draft, transport)
        else:
            for scope in transport.others(()):
                _checked(scope)
            draft.note(transport, "info", "transport", "nodes pull images by docker: only; this is left out")
    for name, requirements in scopes.items():
        _scope(draft, requirements, name, tuple(scopes), keys)


def _docker_scopes(draft: Draft, at: Cursor) -> dict[str, Cursor]:
    """Scope to requirements; the empty scope is the transport's default and goes before the file's."""
    found = {}
    for scope in at.others(()):
        name = str(scope.path[-1])
        if name == EVERY_IMAGE:
            raise scope.error("not a scope; the default of a transport is an empty name")
        found[draft.check_pattern(scope, name) if name else EVERY_IMAGE] = scope
    return found


def strict(at: Cursor, known: Collection[str]) -> None:
    """Refuses a member that is not known: it invalidates the whole file for the original too.

    Raises:
        PolicyError: there is one.
    """
    for name in at.members():
        if name not in known:
            raise Cursor(at.tree, (*at.path, name), None).error("unknown member; it makes the whole file invalid")


def _checked(at: Cursor) -> list[Cursor]:
    """The requirements of a scope, each of a known kind with members of its own."""
    entries = list(at.items())
    if not entries:
        raise at.error("a scope without requirements is invalid")
    for entry in entries:
        kind = entry.text_of("type")
        if kind not in _MEMBERS:
            raise entry.error(f"type is one of {', '.join(_MEMBERS)}")
        strict(entry, _MEMBERS[kind])
    return entries


def _scope(draft: Draft, at: Cursor, scope: str, scopes: tuple[str, ...], keys: Mapping[str, str]) -> None:
    entries = _checked(at)
    signers = Signers(draft, keys)
    trees = [tree for entry in entries if (tree := _requirement(draft, entry, scope, signers)) is not None]
    require = all_of(trees)
    if require is None:
        message = "insecureAcceptAnything asks for nothing; these images stay ungoverned"
        draft.note(at, "info", "accepts-anything", message)
        return
    name = policy_id("containers", scope)
    if any(
        policy.id == name for policy in draft.policies
    ):  # r.example/a.b and r.example/a/b: a scope cannot be renamed
        name += f"-{hashlib.sha256(scope.encode()).hexdigest()[:8]}"
    draft.policy(
        at,
        name,
        match=(MatchRule(images=(scope,)),),
        exclude=without(scope, scopes),
        require=require,
        attestors=signers.attestors,
    )


def policy_id(prefix: str, scope: str) -> str:
    """Id of the policy of a scope."""
    return name_of(prefix, "default" if scope == EVERY_IMAGE else scope.replace("*.", "any."))


def _requirement(draft: Draft, at: Cursor, scope: str, signers: Signers) -> Requirement | None:
    kind = at.text_of("type")
    if kind == "insecureAcceptAnything":
        return None
    if kind == "reject":
        return Requirement(denied=REJECTED)
    claims = _SignedIdentity(draft, scope).claimed(at)
    if kind == "signedBy":
        return Requirement(signed_by=_signed_by(at, signers, claims))
    return sigstore(at, signers, claims)


def _signed_by(at: Cursor, signers: Signers, claims: Mapping[str, bool]) -> str:
    """An OpenPGP signature ("simple signing")."""
    if at.text_of("keyType") != "GPGKeys":
        raise at.error("expected keyType GPGKeys, the only one that exists")
    source = _one_of(at, _KEY_SOURCES[:3])
    if source.path[-1] == "keyData":
        rings: tuple[str, ...] = (armored(source),)
    else:
        rings = tuple(signers.root_named(at, path, "the key ring") for path in _paths(source))
    return signers.add(at, "openpgp", {"openpgp": {"keyrings": rings}, **claims})


def sigstore(at: Cursor, signers: Signers, claims: Mapping[str, bool]) -> Requirement:
    """A Sigstore signature: a key, an identity of Fulcio, or a certificate of one's own authority.

    Raises:
        PolicyError: not exactly one source of keys, a log missing beside fulcio, or data that cannot be read.
    """
    source = _one_of(at, _KEY_SOURCES)
    logs = [found for name in _LOG_SOURCES if (found := at.get(name)) is not None]
    if len(logs) > 1:
        raise logs[1].error(f"only one of {', '.join(_LOG_SOURCES)}")
    for found in logs:
        signers.log_key(found)
    log: _Demand = "required" if logs else "optional"
    if source.path[-1] == "fulcio":
        if not logs:
            raise at.error("fulcio needs the key of a Rekor log beside it")
        return Requirement(signed_by=_fulcio(source, signers, claims))
    if source.path[-1] == "pki":
        return _pki(source, signers, {"log": log}, claims)
    return Requirement(signed_by=signers.keys(at, _key_texts(source, signers), log=log, **claims))


def _one_of(at: Cursor, names: Collection[str]) -> Cursor:
    given = [found for name in names if (found := at.get(name)) is not None]
    if len(given) != 1:
        raise at.error(f"expected exactly one of {', '.join(names)}")
    return given[0]


def _paths(at: Cursor) -> Iterator[str]:
    entries = list(at.items()) if str(at.path[-1]).endswith("Paths") else [at]
    if not entries:
        raise at.error("a list without entries is invalid")
    for entry in entries:
        yield entry.text()


def _key_texts(at: Cursor, signers: Signers) -> list[str]:
    if str(at.path[-1]).startswith("keyPath"):
        return [key for path in _paths(at) for key in signers.each_key(at, path)]
    entries = list(at.items()) if at.path[-1] == "keyDatas" else [at]
    if not entries:
        raise at.error("a list without entries is invalid")
    return [key for entry in entries for key in signers.each_key(entry, pem_data(entry))]


def _fulcio(at: Cursor, signers: Signers, claims: Mapping[str, bool]) -> str:
    strict(at, _FULCIO_MEMBERS)
    if not at.text_of("oidcIssuer") or not at.text_of("subjectEmail"):
        raise at.error("expected oidcIssuer and subjectEmail")
    roots = _authority(_one_of(at, ("caData", "caPath")), signers, "the certificate authority")
    return fulcio_attestor(at, signers, roots, (at.text_of("oidcIssuer"), at.text_of("subjectEmail")), claims)


def fulcio_attestor(at: Cursor, signers: Signers, roots: str, who: tuple[str, str], claims: Mapping[str, bool]) -> str:
    """The attestor of an identity (issuer, e-mail address). containers/image looks at no certificate log.

    Raises:
        PolicyError: the model refuses it.
    """
    identity = signers.identity(at, {"issuer": who[0], "subject": who[1]})
    keyless = {"identities": (identity,), "roots": (roots,), "log": "required", "sct": "optional"}
    return signers.add(at, "fulcio", {"keyless": keyless, **claims})


def _authority(at: Cursor, signers: Signers, what: str) -> str:
    if str(at.path[-1]).endswith("Data"):
        return certificates(at, base64_text(at))
    return signers.root_named(at, at.text(), what)


def _pki(at: Cursor, signers: Signers, members: Mapping[str, Any], claims: Mapping[str, bool]) -> Requirement:
    strict(at, _PKI_MEMBERS)
    roots = [_authority(_one_of(at, ("caRootsData", "caRootsPath")), signers, "the certificate authority")]
    if any(at.get(name) is not None for name in ("caIntermediatesData", "caIntermediatesPath")):
        source = _one_of(at, ("caIntermediatesData", "caIntermediatesPath"))
        roots.append(_authority(source, signers, "the authority's intermediates"))
    return pki_requirement(
        at, signers, roots, (at.text_of("subjectEmail"), at.text_of("subjectHostname")), members, claims
    )


def pki_requirement(
    at: Cursor,
    signers: Signers,
    roots: list[str],
    subjects: tuple[str, str],
    members: Mapping[str, Any],
    claims: Mapping[str, bool],
) -> Requirement:
    """A certificate of these roots for this e-mail address and this host name. Certificates given as text are one root.

    Raises:
        PolicyError: no subject, or the model refuses it.
    """
    given = [subject for subject in subjects if subject]
    if not given:
        raise at.error("expected an e-mail address or a host name as the subject")
    if len(given) > 1:
        signers.note_two_subjects(at)
    texts = [root for root in roots if "-----BEGIN" in root]
    named = [root for root in roots if "-----BEGIN" not in root]
    trusted = (*named, *(["".join(texts)] if texts else []))
    leaves = []
    for subject in given:
        identity = signers.identity(at, {"subject": subject}, issuer=False)
        found = {"roots": trusted, "identities": (identity,), **members}
        leaves.append(Requirement(signed_by=signers.add(at, "pki", {"certificates": found, **claims})))
    return all_of(leaves) or leaves[0]


class _SignedIdentity:
    """What `signedIdentity` demands of the name in the signature, as far as `repositoryClaim` says it."""

    def __init__(self, draft: Draft, scope: str) -> None:
        self._draft = draft
        self._scope = scope

    def claimed(self, at: Cursor) -> dict[str, bool]:
        """Members of the attestor; notes what is not said by them.

        Raises:
            PolicyError: an unknown kind, or members of another.
        """
        found = at.get("signedIdentity")
        kind = "matchRepoDigestOrExact" if found is None else found.text_of("type")
        if kind not in _IDENTITIES:
            raise (found or at).error(f"type is one of {', '.join(_IDENTITIES)}")
        if found is not None:
            strict(found, _IDENTITIES[kind])
        other = "" if found is None else found.text_of("dockerRepository") or found.text_of("prefix")
        note_signed_identity(self._draft, found or at, kind, other, self._scope)
        return {"repositoryClaim": True}


def note_signed_identity(draft: Draft, at: Cursor, kind: str, other: str, scope: str) -> None:
    """Notes how a demand on the signed name differs from `repositoryClaim`, which asks for the image's repository."""
    own = kind == "exactRepository" and is_literal(scope) and split_image(scope).name == other
    if kind in ("exactReference", "exactRepository", "remapIdentity") and not own:
        message = "revet asks that the signature names the image's own repository, not the one given here"
        draft.note(at, "loses", "signed-identity", message)
    if kind not in ("matchRepository", "exactRepository"):
        message = "the tag that the signature names is not compared; its repository is"
        draft.note(at, "weakens", "signed-tag", message)
