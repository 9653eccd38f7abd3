"""Google Binary Authorization: the policy of a project, with its attestors as far as their keys are at hand.

    result = import_binauthz([("policy.yaml", policy), ("attestors.yaml", attestors)])
    result.policies        one per admission rule, dialect cip: name patterns mean the same there

The most specific rule counts: service account, then namespace, then cluster, then the default. So each rule excludes
the narrower ones, and every rule the images that are always admitted. Attestations live in Artifact Analysis, where
revet does not look: until they are beside the images as well, what requires them is not met. Written after the policy
reference (cloud.google.com/binary-authorization/docs/policy-yaml-reference) and the types of the REST interface.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

from verifier.evidence.content import excerpt
from verifier.policy.importers.cursor import Cursor
from verifier.policy.importers.drafting import Draft, Mode, Sources, all_of, any_of, name_of, placed
from verifier.policy.importers.notes import ImportResult, LossSeverity
from verifier.policy.importers.signers import Signers
from verifier.policy.model import MatchRule, Requirement

EVERY_IMAGE: Final = "**"

_POLICY_MEMBERS: Final = frozenset(
    {
        *("name", "description", "etag", "updateTime", "globalPolicyEvaluationMode", "admissionWhitelistPatterns"),
        *("defaultAdmissionRule", "clusterAdmissionRules", "kubernetesNamespaceAdmissionRules"),
        *("kubernetesServiceAccountAdmissionRules", "istioServiceIdentityAdmissionRules"),
    }
)
_MODES: Final[dict[str, Mode]] = {"ENFORCED_BLOCK_AND_AUDIT_LOG": "enforce", "DRYRUN_AUDIT_LOG_ONLY": "audit"}
_DENIED: Final = "denied by the Binary Authorization policy (ALWAYS_DENY)"
_NO_KEYS: Final = "the attestor has no keys: Binary Authorization finds no attestation of it either"


class _Rule(NamedTuple):
    """An admission rule and what it is for."""

    at: Cursor
    name: str
    scope: MatchRule


def import_binauthz(
    sources: Sources,
    *,
    accept_weaker: bool | Collection[str] = False,
    keys: Mapping[str, str] | None = None,
    owner: str = "imported",
) -> ImportResult:
    """Policies and loss notes of the policy documents of all sources; attestors may stand in any of them.

    Args:
        sources: (file name, text) pairs; the name is only used in messages.
        accept_weaker: True, or the codes of the weakenings that are accepted (`cluster-name`, `istio`).
        keys: PEM text for attestors that are in none of the sources, by their whole name (`projects/p/attestors/a`).
        owner: unused; the same for every importer.

    Raises:
        PolicyError: a document that cannot be read, or that Binary Authorization would refuse too.
        WeakeningImport: a policy would ask less than the original, in a way that is not accepted.
    """
    del owner
    draft = Draft("binary-authorization", "cip", sources)
    policies, attestors = [], {}
    for at in draft.documents():
        if at.get("userOwnedGrafeasNote") is not None:
            attestors[at.text_of("name")] = at
        elif at.get("defaultAdmissionRule") is not None:
            policies.append(at)
        else:
            draft.note(at, "info", "other-kind", "neither a policy nor an attestor of Binary Authorization; left out")
    for at in policies:
        with placed(at):
            _Importer(draft, attestors, keys or {}).policy(at)
    return draft.result(accept_weaker)


class _Importer:
    """The policy of one project."""

    def __init__(self, draft: Draft, attestors: Mapping[str, Cursor], keys: Mapping[str, str]) -> None:
        self._draft = draft
        self._attestors = attestors
        self._keys = keys

    def policy(self, at: Cursor) -> None:
        """Adds a policy per admission rule that asks for anything.

        Raises:
            PolicyError: Binary Authorization would refuse it too.
        """
        self._draft.unknown(at, _POLICY_MEMBERS)
        project = at.text_of("name").removeprefix("projects/").partition("/")[0]
        if at.text_of("globalPolicyEvaluationMode") == "ENABLE":
            message = "Google's list of system images is not known here; they are judged like any other"
            self._draft.note(at, "loses", "system-images", message)
        admitted = tuple(self._pattern(entry) for entry in at.list_of("admissionWhitelistPatterns"))
        if (istio := at.get("istioServiceIdentityAdmissionRules")) is not None and istio.value:
            message = "rules by Istio identity are not carried over; the wider rules hold there instead"
            self._draft.note(istio, "weakens", "istio", message)
        narrower: list[MatchRule] = [MatchRule(images=admitted)] if admitted else []
        for rules in (self._accounts(at), self._namespaces(at), self._clusters(at), self._default(at)):
            found = list(rules)
            for rule in found:
                self._rule(rule, project, tuple(narrower))
            narrower += [rule.scope for rule in found]

    def _pattern(self, at: Cursor) -> str:
        pattern = at.text_of("namePattern")
        if not pattern:
            raise at.error("expected namePattern")
        return self._draft.check_pattern(at, pattern)

    def _accounts(self, at: Cursor) -> Iterator[_Rule]:
        for rule in _members(at, "kubernetesServiceAccountAdmissionRules"):
            namespace, colon, account = str(rule.path[-1]).partition(":")
            if not colon or not namespace or not account:
                raise rule.error("expected NAMESPACE:SERVICE_ACCOUNT")
            scope = MatchRule(images=(EVERY_IMAGE,), namespaces=(namespace,), service_accounts=(account,))
            yield _Rule(rule, f"account.{namespace}.{account}", scope)

    def _namespaces(self, at: Cursor) -> Iterator[_Rule]:
        for rule in _members(at, "kubernetesNamespaceAdmissionRules"):
            namespace = str(rule.path[-1])
            yield _Rule(rule, f"namespace.{namespace}", MatchRule(images=(EVERY_IMAGE,), namespaces=(namespace,)))

    def _clusters(self, at: Cursor) -> Iterator[_Rule]:
        for rule in _members(at, "clusterAdmissionRules"):
            cluster = str(rule.path[-1])
            message = f"enroll this cluster under the name {excerpt(cluster)}; until then the default rule holds there"
            severity: LossSeverity = "loses" if rule.text_of("evaluationMode") == "ALWAYS_ALLOW" else "weakens"
            self._draft.note(rule, severity, "cluster-name", message)
            yield _Rule(rule, f"cluster.{cluster}", MatchRule(images=(EVERY_IMAGE,), clusters=(cluster,)))

    def _default(self, at: Cursor) -> Iterator[_Rule]:
        found = at.get("defaultAdmissionRule")
        if found is not None:
            yield _Rule(found, "default", MatchRule(images=(EVERY_IMAGE,)))

    def _rule(self, rule: _Rule, project: str, narrower: tuple[MatchRule, ...]) -> None:
        at = rule.at
        self._draft.unknown(at, {"evaluationMode", "enforcementMode", "requireAttestationsBy"})
        mode = at.text_of("enforcementMode") or "ENFORCED_BLOCK_AND_AUDIT_LOG"
        if mode not in _MODES:
            raise at.error(f"enforcementMode is one of {', '.join(_MODES)}")
        signers = Signers(self._draft, self._keys)
        require = self._require(at, signers)
        if require is None:
            self._draft.note(at, "info", "always-allow", "ALWAYS_ALLOW asks for nothing; this stays ungoverned")
            return
        self._draft.policy(
            at,
            name_of("binary-authorization", project, rule.name),
            match=(rule.scope,),
            exclude=narrower,
            require=require,
            attestors=signers.attestors,
            mode=_MODES[mode],
        )

    def _require(self, at: Cursor, signers: Signers) -> Requirement | None:
        match at.text_of("evaluationMode"):
            case "ALWAYS_ALLOW":
                return None
            case "ALWAYS_DENY":
                return Requirement(denied=_DENIED)
            case "REQUIRE_ATTESTATION":
                found = [self._attestor(entry, signers) for entry in at.list_of("requireAttestationsBy")]
                if not found:
                    raise at.error("REQUIRE_ATTESTATION names attestors in requireAttestationsBy")
                message = "attestations in Artifact Analysis are not looked for; keep them beside the image as well"
                self._draft.note(at, "loses", "place", message)
                return all_of(found)
            case _:
                raise at.error("evaluationMode is one of ALWAYS_ALLOW, ALWAYS_DENY, REQUIRE_ATTESTATION")

    def _attestor(self, at: Cursor, signers: Signers) -> Requirement:
        """One of an attestor's keys, of either kind."""
        name = at.text()
        short = name.rpartition("/")[2]
        note = None if name not in self._attestors else self._attestors[name].get("userOwnedGrafeasNote")
        if note is None:
            return Requirement(signed_by=signers.keys(at, signers.each_key(at, name)))
        pems, rings = [], []
        for key in note.list_of("publicKeys"):
            if ring := key.text_of("asciiArmoredPgpPublicKey"):
                rings.append(ring)
            elif (pkix := key.get("pkixPublicKey")) is not None:
                pems.append(pkix.text_of("publicKeyPem"))
            else:
                raise key.error("expected asciiArmoredPgpPublicKey or pkixPublicKey")
        leaves = []
        if pems:
            leaves.append(Requirement(signed_by=signers.add(note, short, {"keys": tuple(_checked(note, pems))})))
        if rings:
            members = {"openpgp": {"keyrings": tuple(rings)}}
            leaves.append(Requirement(signed_by=signers.add(note, f"{short}-openpgp", members)))
        return any_of(leaves) or Requirement(denied=_NO_KEYS)


def _checked(at: Cursor, pems: list[str]) -> list[str]:
    for pem in pems:
        if "-----BEGIN" not in pem:
            raise at.error("expected publicKeyPem to be a PUBLIC KEY block")
    return pems


def _members(at: Cursor, name: str) -> list[Cursor]:
    found = at.get(name)
    return [] if found is None else found.others(())
