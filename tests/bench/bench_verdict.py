"""A verdict over facts that are known, beside verifying that evidence again.

    python -m tests.bench.bench_verdict

Trust changed: what does it cost to say anew whether an image is valid? By facts: `verify`, from the standing of each
signature to the reasons. Without them: every piece from its bytes, and then the same. Measured for one image with a
few signatures and for one with an attested bill of materials, in CPU time and in turns; the best round counts.
"""

import time
from collections.abc import Callable
from typing import Final

from tests.fuzz import world
from tests.helpers.pki import T0
from verifier.content.predicates import CYCLONEDX
from verifier.facts.derive import derive_facts
from verifier.models import DigestClosure, Evidence, EvidenceSet, Fact, Scope
from verifier.policy.attestors import Attestor
from verifier.policy.model import MatchRule, Policy, Requirement, with_version
from verifier.policy.selection import compile_policy
from verifier.reference import parse_reference
from verifier.trust.records import PolicyPut
from verifier.trust.state import TrustState
from verifier.verify import ImageEvidence, verify

GOAL: Final = 1000.0
ROUNDS: Final = 7
SECONDS: Final = 0.2
COMPONENTS: Final = {"SBOM": 2_000, "large SBOM": 20_000}
"""Of the bills of materials: an ordinary image, and one with a language's whole world in it (some megabytes of
JSON)."""

Row = dict[str, object]


def run() -> list[Row]:
    """One row for each image."""
    keyed = world.DEV.sign_simple(world.REPOSITORY, world.DIGEST)
    keyless = world.good()["keyless, Rekor v2"]
    images = {
        "one key": ([keyed], Requirement(signed_by="key")),
        "one keyless bundle": ([keyless], Requirement(signed_by="ci")),
    }
    for name, components in COMPONENTS.items():
        attested = world.DEV.attest(world.REPOSITORY, world.DIGEST, CYCLONEDX, sbom(components))
        content = Requirement(attested_by="key", predicate_type=CYCLONEDX, rule=world.RULES[CYCLONEDX])
        require = Requirement(all=(Requirement(signed_by="key"), Requirement(signed_by="ci"), content))
        images[f"key, keyless bundle, {name}"] = ([keyed, keyless, attested], require)
    return [row(name, evidence, require) for name, (evidence, require) in images.items()]


def sbom(components: int) -> dict[str, object]:
    """CycloneDX with so many components."""
    found = [
        {"type": "library", "name": f"package-{n}", "version": "1.0", "purl": f"pkg:npm/package-{n}@1.0"}
        for n in range(components)
    ]
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": found}


def row(name: str, evidence: list[Evidence], require: Requirement) -> Row:
    state, policy = prepared(require)
    keys = state.candidate_set()
    compiled, scope = compile_policy(policy), Scope(image=parse_reference(f"{world.REPOSITORY}@{world.DIGEST}"))
    facts = tuple(derive_facts(evidence, keys))
    image = image_of(facts, state)

    def judge() -> None:
        if verify(compiled, scope, image, state, world.NOW).outcome != "valid":
            raise AssertionError(verify(compiled, scope, image, state, world.NOW).reasons)

    def again() -> None:
        if not all(fact.verified_by or fact.chains for fact in derive_facts(evidence, keys)):
            raise AssertionError("not verified")

    judged, verified = best(judge, again)
    return {
        "name": f"verdict over facts / verifying again: {name}",
        "ours_per_s": round(1 / judged),
        "reference_per_s": round(1 / verified),
        "ratio": round(verified / judged, 1),
        "goal": GOAL,
        "met": verified / judged >= GOAL,
        "evidence_bytes": sum(len(piece.payload) for piece in evidence),
        "unit": "images per CPU second, one core",
    }


def prepared(require: Requirement) -> tuple[TrustState, Policy]:
    """Trust with one policy, and the policy."""
    policy = with_version(
        Policy(
            id="bench",
            match=(MatchRule(images=("**",)),),
            attestors={
                name: who for name, who in _WHO.items() if any(leaf.attestor == name for leaf in require.leaves())
            },
            require=require,
        )
    )
    state = world.trust()
    state, applied = state.apply(PolicyPut(policy=policy, author="bench", at=T0), state.epoch + 1)
    if not applied.applied:
        raise AssertionError(applied.message)
    return state, policy


_WHO: Final = {"key": Attestor(keys=("dev",)), "ci": world.policies()["keyless"][0].attestors["signer"]}


def image_of(facts: tuple[Fact, ...], state: TrustState) -> ImageEvidence:
    ids = tuple(fact.evidence_id for fact in facts)
    found = EvidenceSet(
        world.REPOSITORY, world.DIGEST, ids, DigestClosure(world.DIGEST), (), complete=True, fetched_at=world.NOW,
        keyset=state.keyset_id, version="1",
    )  # fmt: skip
    return ImageEvidence(world.REPOSITORY, world.DIGEST, found, facts)


def best(*work: Callable[[], None]) -> list[float]:
    """CPU seconds of one call of each; rounds alternate."""
    found = [float("inf")] * len(work)
    for _ in range(ROUNDS):
        for place, call in enumerate(work):
            calls, began = 0, time.process_time()
            while time.process_time() - began < SECONDS:
                call()
                calls += 1
            found[place] = min(found[place], (time.process_time() - began) / calls)
    return found


if __name__ == "__main__":
    for line in run():
        print(line)
