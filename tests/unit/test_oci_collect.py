"""The collecting machine, driven by a dict: what is asked, what is concluded, and what one broken thing may hide."""

import json
from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.oci.collect import EVIDENCE_PLACES, collect, resolve
from verifier.oci.limits import Limits
from verifier.oci.media import BUNDLE_PREFIX, DSSE, OCI_INDEX, OCI_MANIFEST, SIMPLE_SIGNING, digest_of
from verifier.oci.port import BASE, Collected
from verifier.oci.wire import Absent, Failed, FailureCode, Found, Request, Response, run
from verifier.reasons import REASONS
from verifier.reference import parse_reference

REFERENCE = parse_reference("registry.example.com/payments/api:1.4.2")
MISSING = Absent("MANIFEST_UNKNOWN")
BUNDLE = BUNDLE_PREFIX + ".v0.3+json"


class World:
    """What a place holds: manifests by tag and digest, blobs by digest; and what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Response] = {}
        self.asked: list[Request] = []
        self.image = self.manifest({"layers": []}, tag="1.4.2")

    def __call__(self, request: Request) -> Response:
        self.asked.append(request)
        return self.answers.get((request.kind, request.page or request.reference), MISSING)

    def manifest(self, document: dict, tag: str = "", media_type: str = OCI_MANIFEST) -> str:
        body = json.dumps({"schemaVersion": 2, "mediaType": media_type, **document}).encode()
        digest = digest_of(body)
        for name in filter(None, (tag, digest)):
            self.answers["manifest", name] = Found(body, media_type)
        return digest

    def layer(self, payload: bytes, media_type: str = SIMPLE_SIGNING, **annotations: str) -> dict:
        digest = digest_of(payload)
        self.answers["blob", digest] = Found(payload)
        return {"mediaType": media_type, "digest": digest, "size": len(payload), "annotations": annotations}

    def signatures(self, *payloads: bytes, subject: str = "") -> str:
        tag = (subject or self.image).replace(":", "-") + ".sig"
        return self.manifest({"layers": [self.layer(payload) for payload in payloads]}, tag)

    def bundle(self, payload: bytes, subject: str = "") -> str:
        about = {"mediaType": OCI_MANIFEST, "digest": subject or self.image, "size": 1}
        return self.manifest({"layers": [self.layer(payload, BUNDLE)], "subject": about})

    def listing(self, *digests: str, page: str = "", next_page: str = "") -> None:
        entries = [{"mediaType": OCI_MANIFEST, "digest": digest, "size": 1} for digest in digests]
        body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
        self.answers["referrers", page or self.image] = Found(body, OCI_INDEX, next_page)

    def collect(self, limits: Limits | None = None, platform: str | None = None) -> Collected:
        return run(collect(REFERENCE, self.image, platform, limits=limits), self)


def errors(collected: Collected) -> list[tuple[str, str]]:
    return [(place.place, place.code) for place in collected.places if place.outcome == "error"]


def payloads(collected: Collected) -> list[bytes]:
    return sorted(evidence.payload for evidence in collected.evidence)


def test_what_is_asked_for_an_image_with_nothing():
    world = World()
    collected = world.collect()
    tag = world.image.replace(":", "-")
    assert [(r.kind, r.reference) for r in world.asked] == [
        ("manifest", "1.4.2"),
        ("referrers", world.image),
        ("manifest", tag),
        ("manifest", tag + ".sig"),
        ("manifest", tag + ".att"),
    ]
    assert collected.complete
    assert [place.place for place in collected.places] == list(EVIDENCE_PLACES)


def test_found_by_api_and_by_tag_is_one_piece_and_opened_once():
    world = World()
    artifact = world.bundle(b"bundle")
    world.listing(artifact)
    entry = {"mediaType": OCI_MANIFEST, "digest": artifact, "size": 1}
    world.manifest({"manifests": [entry]}, world.image.replace(":", "-"), OCI_INDEX)
    collected = world.collect()
    assert [(e.payload, e.place) for e in collected.evidence] == [(b"bundle", "referrers-api")]
    assert {p.place for p in collected.places if p.outcome == "found"} == {"referrers-api", "referrers-tag"}
    assert len([r for r in world.asked if r.reference == artifact]) == 1


def test_every_page_of_the_listing_is_read():
    world = World()
    listed = [world.bundle(f"bundle {n}".encode()) for n in range(3)]
    world.listing(listed[0], next_page="p1")
    world.listing(listed[1], page="p1", next_page="p2")
    world.listing(listed[2], page="p2")
    assert len(world.collect().evidence) == 3


def test_pages_without_end_are_told_and_what_was_listed_counts():
    world = World()
    world.listing(world.bundle(b"bundle"), next_page="again")
    world.listing(page="again", next_page="again")
    collected = world.collect()
    assert payloads(collected) == [b"bundle"]
    assert errors(collected) == [("referrers-api", "limit-exceeded")]


@pytest.mark.parametrize("page", [MISSING, Failed("registry-unavailable", "HTTP 500", True), Found(b"<html>")])
def test_a_page_that_fails_leaves_the_earlier_pages(page):
    world = World()
    world.listing(world.bundle(b"bundle"), next_page="p1")
    world.answers["referrers", "p1"] = page
    collected = world.collect()
    assert payloads(collected) == [b"bundle"]
    assert [place for place, _ in errors(collected)] == ["referrers-api"]


def test_what_a_manifest_is_built_on_is_told_once_beside_the_places():
    """It is no error, and takes nothing from completeness."""
    base = "sha256:" + "ab" * 32
    annotations = {"org.opencontainers.image.base.digest": base, "org.opencontainers.image.base.name": "alpine:3"}
    world = World()
    world.image = world.manifest({"layers": [], "annotations": annotations}, tag="1.4.2")
    collected = world.collect()
    assert [(p.digest, p.outcome, p.detail) for p in collected.places if p.place == BASE] == [
        (base, "found", "alpine:3")
    ]
    assert collected.complete
    assert not [p for p in World().collect().places if p.place == BASE]


BREAKS: dict[str, tuple[Response, str]] = {
    "gone": (Absent("BLOB_UNKNOWN"), "registry-protocol"),
    "other bytes": (Found(b"swapped!"), "registry-protocol"),
    "longer": (Found(b"payload 7" + b" " * 10), "registry-protocol"),
    "too large": (Found(b" " * (1024 * 1024 + 1)), "limit-exceeded"),
    "refused": (Failed("registry-unauthorized", "HTTP 403"), "registry-unauthorized"),
    "no answer": (Failed("registry-unavailable", "timeout", True), "registry-unavailable"),
    "limited": (Failed("registry-rate-limited", "HTTP 429", True, 5_000_000), "registry-rate-limited"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_of_64_layers_with_a_bad_one_63_count(name):
    world = World()
    world.signatures(*(f"payload {n}".encode() for n in range(64)))
    answer, code = BREAKS[name]
    world.answers["blob", digest_of(b"payload 7")] = answer
    collected = world.collect()
    assert len(collected.evidence) == 63
    assert b"payload 7" not in payloads(collected)
    assert errors(collected) == [("sig-tag", code)]
    (told,) = [place for place in collected.places if place.outcome == "error"]
    assert "layer 8 of 64" in told.detail


def test_a_descriptor_that_lies_about_its_size_is_not_believed():
    world = World()
    layer = {**world.layer(b"payload"), "size": 3}
    world.manifest({"layers": [layer, world.layer(b"good")]}, world.image.replace(":", "-") + ".sig")
    collected = world.collect()
    assert payloads(collected) == [b"good"]
    assert errors(collected) == [("sig-tag", "registry-protocol")]


def test_a_layer_too_large_by_its_own_word_is_not_asked_for():
    world = World()
    layer = {**world.layer(b"payload"), "size": 2 * 1024 * 1024}
    world.manifest({"layers": [layer]}, world.image.replace(":", "-") + ".sig")
    assert errors(world.collect()) == [("sig-tag", "limit-exceeded")]
    assert not [r for r in world.asked if r.kind == "blob"]


def test_envelopes_may_be_larger_than_simple_signing():
    world = World()
    big = b" " * (2 * 1024 * 1024)
    world.manifest({"layers": [world.layer(big, DSSE)]}, world.image.replace(":", "-") + ".att")
    assert [(e.format, len(e.payload)) for e in world.collect().evidence] == [("cosign-dsse", len(big))]


def test_more_bytes_in_all_than_the_limit_are_not_read():
    world = World()
    world.signatures(*(f"{n}".encode() * 100 for n in range(10)))
    collected = world.collect(Limits(total=2500))
    assert 0 < len(collected.evidence) < 10
    assert ("sig-tag", "limit-exceeded") in errors(collected)
    assert all(0 < request.limit <= 2500 for request in world.asked)


def test_more_referrers_than_the_limit_are_told():
    world = World()
    world.listing(*(world.bundle(f"{n}".encode()) for n in range(5)))
    collected = world.collect(Limits(referrers=3))
    assert len(collected.evidence) == 3
    assert errors(collected) == [("referrers-api", "limit-exceeded")]


def test_a_referrer_that_is_listed_and_gone_is_not_absence():
    world = World()
    world.listing(digest_of(b"nowhere"))
    assert errors(world.collect()) == [("referrers-api", "registry-protocol")]


def test_manifest_bytes_of_another_digest_are_refused():
    world = World()
    other = world.manifest({"layers": [], "annotations": {"other": "image"}})
    del world.answers["manifest", "1.4.2"]
    world.answers["manifest", world.image] = world.answers["manifest", other]
    assert ("manifest", "registry-protocol") in errors(world.collect())


@pytest.mark.parametrize(
    ("place", "name"), [("sig-tag", "{tag}.sig"), ("att-tag", "{tag}.att"), ("referrers-tag", "{tag}")]
)
def test_a_place_that_holds_the_wrong_kind_of_document_is_told(place, name):
    world = World()
    tag = name.format(tag=world.image.replace(":", "-"))
    wrong: dict = {"layers": []} if place == "referrers-tag" else {"manifests": []}
    world.manifest(wrong, tag, OCI_MANIFEST if place == "referrers-tag" else OCI_INDEX)
    assert errors(world.collect()) == [(place, "registry-protocol")]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (MISSING, []),
        (Failed("registry-unavailable", "HTTP 500", True), [("tag", "registry-unavailable")]),
        (Failed("registry-unauthorized", "HTTP 403"), [("tag", "registry-unauthorized")]),
    ],
)
def test_a_tag_that_cannot_be_read_might_name_an_index_that_is_signed(answer, expected):
    world = World()
    world.answers["manifest", "1.4.2"] = answer
    assert errors(world.collect()) == expected


def test_for_an_index_the_tag_decides_nothing():
    world = World()
    world.image = world.manifest({"manifests": []}, media_type=OCI_INDEX)
    world.answers["manifest", "1.4.2"] = Failed("registry-unavailable", "HTTP 500", True)
    collected = world.collect()
    assert collected.complete
    assert collected.is_index


def test_an_index_that_does_not_list_the_digest_covers_nothing():
    world = World()
    index = world.manifest({"manifests": []}, "1.4.2", OCI_INDEX)
    world.signatures(b"for the index", subject=index)
    collected = world.collect()
    assert collected.evidence == ()
    assert collected.closure.indexes == ()


def test_a_pinned_index_that_is_gone_leaves_a_question_open():
    world = World()
    reference = msgspec.structs.replace(REFERENCE, digest="sha256:" + "d" * 64)
    collected = run(collect(reference, world.image), world)
    assert errors(collected) == [("manifest", "registry-not-found")]
    known = run(collect(reference, world.image, None, (reference.digest,)), world)
    assert known.complete


def test_the_longest_wait_is_kept_and_the_passing_problem_is_told_first():
    world = World()
    world.signatures(b"a", b"b", b"c")
    world.answers["blob", digest_of(b"a")] = Found(b"wrong")
    world.answers["blob", digest_of(b"b")] = Failed("registry-rate-limited", "HTTP 429", True, 5_000_000)
    world.answers["blob", digest_of(b"c")] = Failed("registry-rate-limited", "HTTP 429", True, 2_000_000)
    collected = world.collect()
    assert collected.retry_after == 5_000_000
    (told,) = [place for place in collected.places if place.outcome == "error"]
    assert told.code == "registry-rate-limited"
    assert told.detail.endswith("and 2 more")


def test_resolve_answers_with_the_digest_of_the_bytes():
    world = World()
    assert run(resolve(REFERENCE), world) == world.image
    assert run(resolve(parse_reference("registry.example.com/payments/api:none")), world) == MISSING


def test_every_code_a_place_can_give_is_a_reason_that_can_be_told():
    for code in get_args(FailureCode):
        text = REASONS[code].sentence.format(place="registry.example.com/a (sig-tag)", detail="HTTP 500")
        assert text


# ------------------------------------------------------------------------------------------------------- properties

ANSWERS: st.SearchStrategy[Response] = st.one_of(
    st.sampled_from(
        [MISSING, Absent("NAME_UNKNOWN"), Absent(""), Found(b""), Found(b"<html>"), Found(b"[]", OCI_INDEX)]
    ),
    st.sampled_from(get_args(FailureCode)).map(lambda code: Failed(code, "no", True)),
    st.binary(max_size=40).map(Found),
)


def everything() -> World:
    """A world with evidence in all four places."""
    world = World()
    world.signatures(*(f"classic {n}".encode() for n in range(4)))
    world.manifest({"layers": [world.layer(b"envelope", DSSE)]}, world.image.replace(":", "-") + ".att")
    world.listing(world.bundle(b"by api"), world.bundle(b"by both"))
    entry = {"mediaType": OCI_MANIFEST, "digest": world.bundle(b"by both"), "size": 1}
    also = {"mediaType": OCI_MANIFEST, "digest": world.bundle(b"by tag"), "size": 1}
    world.manifest({"manifests": [entry, also]}, world.image.replace(":", "-"), OCI_INDEX)
    return world


WHOLE = everything().collect()


@given(st.data())
@settings(max_examples=200)
def test_whatever_breaks_only_hides_what_lies_behind_it_and_never_looks_like_absence(data):
    """Either a piece of evidence is found, or the set is not complete, or an answer said that it is not there."""
    world = everything()
    broken = data.draw(st.dictionaries(st.sampled_from(sorted(world.answers)), ANSWERS, max_size=4))
    world.answers |= broken
    collected = world.collect()
    assert set(payloads(collected)) <= set(payloads(WHOLE))
    assert not errors(WHOLE)
    untouched = {"1.4.2", world.image} | {d for _, d in world.answers} - {name for _, name in broken}
    for evidence in WHOLE.evidence:
        through = {digest_of(evidence.payload), evidence.artifact}
        reachable = through <= untouched and _place_is_whole(evidence.place, broken, world)
        if reachable:
            assert evidence.payload in payloads(collected)
        elif evidence.payload not in payloads(collected):
            listed = [answer for answer in broken.values() if isinstance(answer, Absent)]
            assert listed or not collected.complete


def _place_is_whole(place: str, broken: dict[tuple[str, str], Response], world: World) -> bool:
    tag = world.image.replace(":", "-")
    entries = {
        "referrers-api": ("referrers", world.image),
        "referrers-tag": ("manifest", tag),
        "sig-tag": ("manifest", tag + ".sig"),
        "att-tag": ("manifest", tag + ".att"),
    }
    return entries[place] not in broken


def test_the_whole_world_is_found():
    assert payloads(WHOLE) == [
        b"by api",
        b"by both",
        b"by tag",
        *(f"classic {n}".encode() for n in range(4)),
        b"envelope",
    ]
    assert all(place.outcome == "found" for place in WHOLE.places)
