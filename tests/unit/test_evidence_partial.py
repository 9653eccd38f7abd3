"""64 signatures of which one is bad: the other 63 still count, and the bad one is named. So, too, for referrers.

From registry answers to a verdict: bytes that are missing, exchanged or too large, and bytes that arrive and are
broken.
"""

import json
from base64 import b64encode
from collections.abc import Callable
from functools import cache

import pytest

from tests.fuzz import world
from tests.helpers.pki import T0
from verifier.evidence.limits import ENVELOPE_BYTES, LAYERS, SIMPLE_SIGNING_BYTES
from verifier.facts.candidates import key_set
from verifier.facts.derive import derive_fact, derive_facts
from verifier.models import EvidenceSet, Fact, Scope, Verdict
from verifier.oci.collect import collect
from verifier.oci.media import BUNDLE_PREFIX, OCI_INDEX, OCI_MANIFEST, SIMPLE_SIGNING, digest_of
from verifier.oci.port import Collected
from verifier.oci.wire import Absent, Failed, Found, Request, Response, run
from verifier.policy.attestors import Attestor
from verifier.policy.model import AtLeast, MatchRule, Policy, Requirement, with_version
from verifier.policy.selection import compile_policy
from verifier.reference import parse_reference
from verifier.testing import Signer, simple_signing_payload
from verifier.trust.records import KeyPut, PolicyPut
from verifier.trust.state import TrustState
from verifier.verify import ImageEvidence, verify

REFERENCE = parse_reference(f"{world.REPOSITORY}:1.4.2")
BUNDLE = BUNDLE_PREFIX + ".v0.3+json"
BAD = 41
"""Which one."""
GOOD = LAYERS - 1


@cache
def signers() -> tuple[Signer, ...]:
    return tuple(Signer(f"signer {number}") for number in range(LAYERS))


class Registry:
    """An image with a signature by each signer: layers of `.sig`, or referrers."""

    def __init__(self, *, referrers: bool) -> None:
        self.answers: dict[tuple[str, str], Response] = {}
        self.image = self.manifest({"layers": []}, "1.4.2")
        self.layers = [self._bundle(signer) if referrers else self._simple(signer) for signer in signers()]
        self.referrers = referrers

    def __call__(self, request: Request) -> Response:
        return self.answers.get((request.kind, request.reference), Absent())

    def manifest(self, document: dict, tag: str = "", media_type: str = OCI_MANIFEST) -> str:
        body = json.dumps({"schemaVersion": 2, "mediaType": media_type, **document}).encode()
        for name in filter(None, (tag, digest_of(body))):
            self.answers["manifest", name] = Found(body, media_type)
        return digest_of(body)

    def layer(self, payload: bytes, media_type: str, **annotations: str) -> dict:
        self.answers["blob", digest_of(payload)] = Found(payload)
        return {"mediaType": media_type, "digest": digest_of(payload), "size": len(payload), "annotations": annotations}

    def _simple(self, signer: Signer) -> dict:
        payload = simple_signing_payload(world.REPOSITORY, self.image, {"by": signer.name})
        signature = b64encode(signer.sign(payload)).decode()
        return self.layer(payload, SIMPLE_SIGNING, **{"dev.cosignproject.cosign/signature": signature})

    def _bundle(self, signer: Signer) -> dict:
        return self.layer(signer.sign_bundle(world.REPOSITORY, self.image).payload, BUNDLE)

    @property
    def bad(self) -> dict:
        """The descriptor of the layer to spoil."""
        return self.layers[BAD]

    def replace(self, payload: bytes) -> None:
        """Another payload in place of the bad one's, with the digest that belongs to it."""
        known = self.bad["annotations"]
        self.layers[BAD] = self.layer(payload, self.bad["mediaType"]) | {"annotations": known}

    def payload(self) -> bytes:
        found = self.answers["blob", self.bad["digest"]]
        assert isinstance(found, Found)
        return found.body

    def publish(self) -> None:
        if not self.referrers:
            self.manifest({"layers": self.layers}, self.image.replace(":", "-") + ".sig")
            return
        about = {"mediaType": OCI_MANIFEST, "digest": self.image, "size": 1}
        self.carriers = [self.manifest({"layers": [layer], "subject": about}) for layer in self.layers]
        listed = [{"mediaType": OCI_MANIFEST, "digest": digest, "size": 1} for digest in self.carriers]
        body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}).encode()
        self.answers["referrers", self.image] = Found(body, OCI_INDEX)

    def collect(self) -> Collected:
        self.publish()
        return run(collect(REFERENCE, self.image), self)


# ------------------------------------------------------------------------------------------------------------ attacks


def absent(registry: Registry) -> None:
    del registry.answers["blob", registry.bad["digest"]]


def exchanged(registry: Registry) -> None:
    registry.answers["blob", registry.bad["digest"]] = Found(b"other bytes than the digest names")


def shortened(registry: Registry) -> None:
    registry.answers["blob", registry.bad["digest"]] = Found(registry.payload()[:-1])


def refused(registry: Registry) -> None:
    registry.answers["blob", registry.bad["digest"]] = Failed("registry-unavailable", "answer 503", retryable=True)


def too_large(registry: Registry) -> None:
    limit = ENVELOPE_BYTES if registry.referrers else SIMPLE_SIGNING_BYTES
    registry.bad["size"] = limit + 1
    registry.answers["blob", registry.bad["digest"]] = Found(b"x" * (limit + 1))


NOT_FETCHED: dict[str, tuple[Callable[[Registry], None], str]] = {
    "its bytes are not there": (absent, "registry-protocol"),
    "its bytes are others": (exchanged, "registry-protocol"),
    "its bytes are cut off": (shortened, "registry-protocol"),
    "the registry gives up in the middle": (refused, "registry-unavailable"),
    "it is larger than the limit": (too_large, "limit-exceeded"),
}

BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "nothing in it": (lambda _: b"", "malformed"),
    "cut off": (lambda payload: payload[:-2], "malformed"),
    "a member twice": (lambda payload: payload[:-1] + payload.replace(b"{", b",", 1), "malformed"),
    "nested without end": (lambda _: b"[" * 50_000, "limit-exceeded"),
    "no JSON": (lambda _: b"\xff" * 100, "malformed"),
    "a lone surrogate": (lambda payload: payload.replace(b'":"', b'":"\\ud800', 1), "malformed"),
}

ANNOTATIONS: dict[str, tuple[dict[str, str], str]] = {
    "no signature": ({"dev.cosignproject.cosign/signature": ""}, "signature-malformed"),
    "a signature that is no base64": ({"dev.cosignproject.cosign/signature": "*"}, "signature-malformed"),
    "a signature of a megabyte": ({"dev.cosignproject.cosign/signature": "A" * 2**20}, "limit-exceeded"),
    "a certificate that is none": ({"dev.sigstore.cosign/certificate": "-----BEGIN"}, "certificate-malformed"),
    "a log entry that is none": ({"dev.sigstore.cosign/bundle": "{"}, "log-entry-malformed"),
    "a timestamp that is none": (
        {"dev.sigstore.cosign/rfc3161timestamp": '{"SignedRFC3161Timestamp":"MAA="}'},
        "timestamp-malformed",
    ),
}


@pytest.mark.parametrize("referrers", [False, True], ids=["layers", "referrers"])
@pytest.mark.parametrize("attack", NOT_FETCHED)
def test_one_that_cannot_be_fetched(attack, referrers):
    registry = Registry(referrers=referrers)
    spoil, code = NOT_FETCHED[attack]
    spoil(registry)
    collected = registry.collect()
    facts = facts_of(collected)
    assert len(vouched(facts)) == GOOD
    assert signers()[BAD].key_id not in vouched(facts)
    (place,) = (place for place in collected.places if place.outcome == "error")
    assert (place.place, place.code) == ("referrers-api" if referrers else "sig-tag", code)
    named = registry.carriers[BAD][7:19] if referrers else f"layer {BAD + 1} of {LAYERS}"
    assert named in place.detail
    if attack == "it is larger than the limit":
        assert str(registry.bad["size"]) in place.detail, "the limit, and what was found"
        assert str(registry.bad["size"] - 1) in place.detail, "the limit, and what was found"
    assert not collected.complete, "what could not be read is not known to be absent"
    assert judged(facts, GOOD, collected).outcome == "valid"
    assert judged(facts, LAYERS, collected).outcome == "unverifiable", "nobody says that there is no 64th"


@pytest.mark.parametrize("referrers", [False, True], ids=["layers", "referrers"])
@pytest.mark.parametrize("attack", BROKEN)
def test_one_that_is_broken(attack, referrers):
    registry = Registry(referrers=referrers)
    spoil, code = BROKEN[attack]
    registry.replace(spoil(registry.payload()))
    check_broken(registry, code)


@pytest.mark.parametrize("attack", ANNOTATIONS)
def test_one_whose_annotations_are_broken(attack):
    registry = Registry(referrers=False)
    annotations, code = ANNOTATIONS[attack]
    registry.bad["annotations"] |= annotations
    check_broken(registry, code)


def check_broken(registry: Registry, code: str) -> None:
    collected = registry.collect()
    assert collected.complete
    facts = facts_of(collected)
    assert len(facts) == LAYERS
    assert len(vouched(facts)) == GOOD
    (bad,) = (fact for fact in facts if fact.problem)
    (evidence,) = (e for e in collected.evidence if e.id == bad.evidence_id)
    assert code in bad.problem
    assert bad.problem_detail
    assert evidence.payload == registry.payload(), "the one that is named is the one that is bad"
    assert (bad.verified_by, bad.chains) == ((), ())
    assert judged(facts, GOOD, collected).outcome == "valid"
    assert judged(facts, LAYERS, collected).outcome == "violates"


def test_all_64_count_when_none_is_bad():
    collected = Registry(referrers=False).collect()
    assert judged(facts_of(collected), LAYERS, collected).outcome == "valid"


def test_a_65th_layer_is_refused_with_limit_and_number():
    registry = Registry(referrers=False)
    registry.layers.append(registry._simple(Signer("one more")))
    collected = registry.collect()
    (place,) = (place for place in collected.places if place.outcome == "error")
    assert place.code == "limit-exceeded"
    assert "65" in place.detail
    assert "64" in place.detail
    assert len(vouched(facts_of(collected))) in {0, LAYERS}


def test_a_batch_says_what_each_piece_says_alone():
    registry = Registry(referrers=True)
    registry.replace(b"[" * 1000)
    collected = registry.collect()
    alone = [derive_fact(piece, keys()) for piece in collected.evidence[BAD - 2 : BAD + 3]]
    together = derive_facts(collected.evidence, keys())
    assert sum(bool(fact.problem) for fact in together) == 1
    assert together[BAD - 2 : BAD + 3] == alone


# ----------------------------------------------------------------------------------------------------------- judging


@cache
def keys():
    return trust().candidate_set()


@cache
def trust() -> TrustState:
    state = TrustState.empty()
    for epoch, signer in enumerate(signers(), start=1):
        name = signer.name.replace(" ", "-")
        put = KeyPut(name=name, key_id=signer.key_id, pem=signer.pem, author="tests", at=T0)
        state, _ = state.apply(put, epoch)
    return state


_known: dict[str, Fact] = {}


def facts_of(collected: Collected) -> list[Fact]:
    """The facts; those of sound pieces, which are the same in every test, are made once."""
    new = [piece for piece in collected.evidence if piece.id not in _known]
    _known.update(zip((piece.id for piece in new), derive_facts(new, keys()), strict=True))
    return [_known[piece.id] for piece in collected.evidence]


def vouched(facts: list[Fact]) -> set[str]:
    return {key_id for fact in facts for key_id in fact.verified_by}


@cache
def policy(count: int) -> Policy:
    names = [signer.name.replace(" ", "-") for signer in signers()]
    parts = tuple(Requirement(signed_by=name) for name in names)
    return with_version(
        Policy(
            id="many",
            match=(MatchRule(images=("**",)),),
            attestors={name: Attestor(keys=(name,)) for name in names},
            require=Requirement(at_least=AtLeast(count=count, of=parts)),
        )
    )


def judged(facts: list[Fact], count: int, collected: Collected) -> Verdict:
    state, applied = trust().apply(PolicyPut(policy=policy(count), author="tests", at=T0), LAYERS + 1)
    assert applied.applied, applied.message
    ids = tuple(fact.evidence_id for fact in facts)
    digest = collected.closure.running
    found = EvidenceSet(
        world.REPOSITORY, digest, ids, collected.closure, collected.places, complete=collected.complete,
        fetched_at=world.NOW, keyset=state.keyset_id, version="1",
    )  # fmt: skip
    image = ImageEvidence(world.REPOSITORY, digest, found, tuple(facts))
    scope = Scope(image=parse_reference(f"{world.REPOSITORY}@{digest}"))
    return verify(compile_policy(policy(count)), scope, image, state, world.NOW)


def test_the_key_set_is_that_of_the_signers():
    assert key_set([(s.name, s.public_key) for s in signers()]).id == trust().keyset_id
