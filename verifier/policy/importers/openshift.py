"""OpenShift's ClusterImagePolicy and ImagePolicy (config.openshift.io): scopes and a root of trust each.

    result = import_openshift([("policies.yaml", text)])
    result.policies        one per policy and scope, dialect containers

The machine config operator compiles them to containers-policy.json, so the most specific scope counts: each policy
excludes the scopes of all others inside its own. What a cluster-wide policy names, a namespace's policy cannot change:
a scope of an ImagePolicy inside one of a ClusterImagePolicy has no effect there, and is left out here, with a note.
Written after openshift/api config/v1/types_image_policy.go.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Literal, NamedTuple

from verifier.policy.importers.containers import fulcio_attestor, note_signed_identity, pki_requirement
from verifier.policy.importers.cursor import Cursor
from verifier.policy.importers.drafting import Draft, Sources, name_of, placed
from verifier.policy.importers.notes import ImportResult
from verifier.policy.importers.scopes import nested, without
from verifier.policy.importers.signers import Signers, base64_text, certificates, pem_data
from verifier.policy.model import MatchRule, Requirement

API_GROUP: Final = "config.openshift.io/"
KINDS: Final = ("ClusterImagePolicy", "ImagePolicy")

_ROOTS: Final = {"PublicKey": "publicKey", "FulcioCAWithRekor": "fulcioCAWithRekor", "PKI": "pki"}
_MATCHES: Final = {
    "MatchRepoDigestOrExact": "matchRepoDigestOrExact",
    "MatchRepository": "matchRepository",
    "ExactRepository": "exactRepository",
    "RemapIdentity": "remapIdentity",
}
"""matchPolicy and the kind of signedIdentity it is compiled to."""

_Demand = Literal["required", "optional"]


class _Policy(NamedTuple):
    """A document: where it stands, whose it is, and its scopes."""

    spec: Cursor
    name: str
    namespace: str
    scopes: tuple[str, ...]


def import_openshift(
    sources: Sources,
    *,
    accept_weaker: bool | Collection[str] = False,
    keys: Mapping[str, str] | None = None,
    owner: str = "imported",
) -> ImportResult:
    """Policies and loss notes of every image policy of all sources. They are read together: scopes take from scopes.

    Args:
        sources: (file name, text) pairs; the name is only used in messages.
        accept_weaker: True, or the codes of the weakenings that are accepted (`signed-tag` …).
        keys: unused; OpenShift holds keys in the policy.
        owner: unused; the same for every importer.

    Raises:
        PolicyError: a document that cannot be read, or that OpenShift would refuse too.
        WeakeningImport: a policy would ask less than the original, in a way that is not accepted.
    """
    del keys, owner
    draft = Draft("openshift", "containers", sources)
    found = []
    for at in draft.documents():
        if at.text_of("kind") in KINDS and at.text_of("apiVersion").startswith(API_GROUP):
            found.append(_read(draft, at))
        else:
            draft.note(at, "info", "other-kind", "no image policy of OpenShift; left out")
    whole = tuple(scope for policy in found if not policy.namespace for scope in policy.scopes)
    for policy in found:
        own = tuple(scope for other in found if other.namespace == policy.namespace for scope in other.scopes)
        with placed(policy.spec):
            _policy(draft, policy, (*whole, *own), whole)
    return draft.result(accept_weaker)


def _read(draft: Draft, at: Cursor) -> _Policy:
    metadata, spec = at.get("metadata"), at.get("spec")
    name = "" if metadata is None else metadata.text_of("name")
    if metadata is None or spec is None or not name:
        raise at.error("expected metadata.name and spec")
    namespace = metadata.text_of("namespace") if at.text_of("kind") == "ImagePolicy" else ""
    if at.text_of("kind") == "ImagePolicy" and not namespace:
        raise metadata.error("an ImagePolicy belongs to a namespace")
    entries = spec.list_of("scopes")
    if not entries:
        raise spec.error("expected scopes")
    for entry in entries:
        if entry.text() == "*":
            raise entry.error("not a scope; name hosts, or *. and a domain")
        draft.check_pattern(entry, entry.text())
    draft.unknown(spec, {"scopes", "policy"})
    return _Policy(spec, name, namespace, tuple(dict.fromkeys(entry.text() for entry in entries)))


def _policy(draft: Draft, policy: _Policy, scopes: tuple[str, ...], whole: tuple[str, ...]) -> None:
    at = policy.spec.get("policy")
    if at is None:
        raise policy.spec.error("expected policy")
    draft.unknown(at, {"rootOfTrust", "signedIdentity"})
    for number, scope in enumerate(policy.scopes, start=1):
        if policy.namespace and any(scope == outer or nested(outer, scope) for outer in whole):
            message = "a ClusterImagePolicy covers this scope; the namespace's policy has no effect on it"
            draft.note(policy.spec, "info", "overridden", message)
            continue
        signers = Signers(draft)
        require = _require(draft, at, scope, signers)
        draft.policy(
            policy.spec,
            name_of(policy.namespace, policy.name) + (f".{number}" if len(policy.scopes) > 1 else ""),
            match=(MatchRule(images=(scope,), namespaces=(policy.namespace,) if policy.namespace else ()),),
            exclude=without(scope, scopes),
            require=require,
            attestors=signers.attestors,
        )


def _require(draft: Draft, at: Cursor, scope: str, signers: Signers) -> Requirement:
    """The root of trust of one scope."""
    root = at.get("rootOfTrust")
    kind = "" if root is None else root.text_of("policyType")
    if root is None or kind not in _ROOTS:
        raise (root or at).error(f"expected rootOfTrust.policyType: one of {', '.join(_ROOTS)}")
    found = root.get(_ROOTS[kind])
    if found is None or len(root.others({"policyType"})) != 1:
        raise root.error(f"policyType {kind} stands beside {_ROOTS[kind]} alone")
    _note_identity(draft, at, scope)
    claims = {"repositoryClaim": True}
    log: _Demand = "optional"
    if (rekor := found.get("rekorKeyData")) is not None:
        signers.log_key(rekor)
        log = "required"
    if kind == "PublicKey":
        return Requirement(signed_by=signers.keys(found, [pem_data(_member(found, "keyData"))], log=log, **claims))
    if kind == "PKI":
        return _pki(found, signers, claims)
    subject, authority = _member(found, "fulcioSubject"), _member(found, "fulcioCAData")
    _member(found, "rekorKeyData")
    roots = certificates(authority, base64_text(authority))
    who = (subject.text_of("oidcIssuer"), subject.text_of("signedEmail"))
    if not all(who):
        raise subject.error("expected oidcIssuer and signedEmail")
    return Requirement(signed_by=fulcio_attestor(found, signers, roots, who, claims))


def _pki(at: Cursor, signers: Signers, claims: Mapping[str, bool]) -> Requirement:
    _member(at, "caRootsData")
    bundles = [at.get("caRootsData"), at.get("caIntermediatesData")]
    roots = [certificates(data, base64_text(data)) for data in bundles if data is not None]
    subject = _member(at, "pkiCertificateSubject")
    subjects = (subject.text_of("email"), subject.text_of("hostname"))
    return pki_requirement(at, signers, roots, subjects, {"log": "optional"}, claims)


def _member(at: Cursor, name: str) -> Cursor:
    found = at.get(name)
    if found is None:
        raise at.error(f"expected {name}")
    return found


def _note_identity(draft: Draft, at: Cursor, scope: str) -> None:
    identity = at.get("signedIdentity")
    kind = "MatchRepoDigestOrExact" if identity is None else identity.text_of("matchPolicy")
    if kind not in _MATCHES:
        raise (identity or at).error(f"matchPolicy is one of {', '.join(_MATCHES)}")
    exact = None if identity is None else identity.get("exactRepository")
    other = "" if exact is None else exact.text_of("repository")
    note_signed_identity(draft, identity or at, _MATCHES[kind], other, scope)
