"""The question the public Sigstore conformance suite asks, answered by the whole verdict: trust, facts, policy.

accepts(bundle, "sha256:…", root=text, identity="…", issuer="…", now=instant)      True, or the reasons why not
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from verifier.errors import InputError
from verifier.evidence.identity import evidence_id
from verifier.facts.derive import derive_fact
from verifier.models import DigestClosure, Evidence, EvidenceSet, Micros, Scope
from verifier.policy.attestors import Attestor, Keyless
from verifier.policy.identity import Identity
from verifier.policy.model import MatchRule, Policy, Requirement, with_version
from verifier.policy.selection import compile_policy
from verifier.reference import parse_reference
from verifier.trust.records import PolicyPut, RootPut
from verifier.trust.state import TrustState
from verifier.verify import ImageEvidence, verify

REPOSITORY = "conformance.invalid/artifact"
WORKFLOW = "extremely-dangerous-oidc-beacon.yml@refs/heads/main"
IDENTITY = (
    f"https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/{WORKFLOW}"
)
ISSUER = "https://token.actions.githubusercontent.com"


class Answer(list):
    """Reasons; an empty list is acceptance."""

    @property
    def accepted(self) -> bool:
        return not self


def digest_of(artifact: str) -> str:
    """The digest of a file, or the digest that stands in its place."""
    if artifact.startswith("sha256:") and not Path(artifact).exists():
        return artifact
    return "sha256:" + hashlib.sha256(Path(artifact).read_bytes()).hexdigest()


def ask(
    bundle: bytes, digest: str, now: Micros, *, root: str, key: str = "", identity: str = "", issuer: str = ""
) -> Answer:
    """What is wrong with this bundle for this artifact; nothing, when it is accepted."""
    trust = TrustState.empty()
    head: Any = {"author": "conformance", "at": now}
    trust, applied = trust.apply(RootPut(name="root", format="sigstore-trusted-root", content=root, **head), 1)
    if not applied.applied:
        return Answer([applied.message])
    payload = hashlib.sha256(bundle).hexdigest()
    evidence = Evidence(evidence_id(payload, {}), "sigstore-bundle", REPOSITORY, digest, bundle)
    try:
        attestor = attestor_of(key, identity, issuer)
        kind, predicate_type = peek(evidence, trust)
        attested: Any = {"attested_by": "signer", "predicate_type": predicate_type}
        leaf: Any = attested if kind == "attestation" else {"signed_by": "signer"}
        policy = with_version(
            Policy(
                id="conformance",
                match=(MatchRule(images=("**",)),),
                attestors={"signer": attestor},
                require=Requirement(**leaf),
            )
        )
    except (InputError, ValueError) as error:  # the key or the identity cannot be used
        return Answer([str(error)])
    trust, applied = trust.apply(PolicyPut(policy=policy, **head), 2)
    if not applied.applied:
        return Answer([applied.message])
    fact = derive_fact(evidence, trust.candidate_set())
    found = EvidenceSet(
        REPOSITORY, digest, (evidence.id,), DigestClosure(digest), (), complete=True, fetched_at=now,
        keyset=trust.keyset_id, version="1",
    )  # fmt: skip
    image = ImageEvidence(REPOSITORY, digest, found, (fact,))
    scope = Scope(image=parse_reference(f"{REPOSITORY}@{digest}"))
    verdict = verify(compile_policy(policy), scope, image, trust, now)
    if verdict.outcome == "valid":
        return Answer()
    return Answer([*(f"{r.code}: {r.message}" for r in verdict.reasons), f"{fact.problem}: {fact.problem_detail}"])


def attestor_of(key: str, identity: str, issuer: str) -> Attestor:
    if key:
        return Attestor(keys=(key,), log="required")
    return Attestor(keyless=Keyless(identities=(Identity(issuer=issuer, subject=identity),), roots=("root",)))


def peek(evidence: Evidence, trust: TrustState) -> tuple[str, str]:
    fact = derive_fact(evidence, trust.candidate_set())
    return fact.kind, fact.predicate_type or "https://unknown.invalid/type"


def case_of(folder: Path, default_root: str) -> dict:
    """The files of one case of the suite, with its defaults."""

    def text(name: str, default: str) -> str:
        path = folder / name
        return path.read_text().strip() if path.exists() else default

    artifact = folder / "artifact"
    return {
        "bundle": (folder / "bundle.sigstore.json").read_bytes(),
        "artifact": str(artifact if artifact.exists() else folder.parent / "a.txt"),
        "root": text("trusted_root.json", default_root),
        "key": text("key.pub", ""),
        "identity": text("identity", IDENTITY),
        "issuer": text("issuer", ISSUER),
    }


__all__ = ["Answer", "ask", "case_of", "digest_of", "json"]
