"""What every place of evidence must answer, asked of a directory, of a registry with and without the referrers API, and
of a real registry program."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.helpers.registry_server import (
    BUNDLE,
    OCI_MANIFEST,
    SIMPLE_SIGNING,
    Behaviour,
    Layout,
    push,
    running,
    serving,
    tag_of,
)
from verifier.adapters.ocilayout import OciLayoutPlace
from verifier.adapters.registry import RegistryOptions, RegistryPlace
from verifier.errors import ImageReferenceError, PlaceRefused
from verifier.evidence.identity import check_evidence_id
from verifier.models import ImageReference
from verifier.oci.port import Collected, EvidencePlace
from verifier.reference import parse_reference

pytestmark = pytest.mark.asyncio

REGISTRY = "registry.example.com"
REPOSITORY = f"{REGISTRY}/payments/api"
REFERENCE = parse_reference(f"{REPOSITORY}:1.4.2")


@asynccontextmanager
async def layout_place(root: Path, require: Callable[[str], Path]) -> AsyncIterator[EvidencePlace]:
    yield OciLayoutPlace(root)


@asynccontextmanager
async def over_http(origin: str) -> AsyncIterator[EvidencePlace]:
    async with RegistryPlace(RegistryOptions(mirrors={REGISTRY: origin})) as place:
        yield place


@asynccontextmanager
async def registry_with_api(root: Path, require: Callable[[str], Path]) -> AsyncIterator[EvidencePlace]:
    async with (
        serving(root, Behaviour(referrers_api=True, page_size=1)) as registry,
        over_http(registry.origin) as place,
    ):
        yield place


@asynccontextmanager
async def registry_with_tag(root: Path, require: Callable[[str], Path]) -> AsyncIterator[EvidencePlace]:
    async with serving(root, Behaviour(referrers_api=False)) as registry, over_http(registry.origin) as place:
        yield place


@asynccontextmanager
async def real_registry(root: Path, require: Callable[[str], Path]) -> AsyncIterator[EvidencePlace]:
    async with running(require("registry")) as origin:
        await push(root, origin)
        async with over_http(origin) as place:
            yield place


PLACES = [layout_place, registry_with_api, registry_with_tag, real_registry]


@pytest.fixture(params=PLACES, ids=lambda place: place.__name__)
def opened(request, tmp_path, require):
    """Given what a test has written, the place that serves it."""
    layout = Layout(tmp_path / "layout")

    def of(written: Layout):
        written.close()
        return request.param(written.root, require)

    return layout, of


def payloads(collected: Collected) -> list[bytes]:
    return sorted(evidence.payload for evidence in collected.evidence)


def outcomes(collected: Collected) -> dict[str, str]:
    return {place.place: place.outcome for place in collected.places}


async def test_an_unsigned_image_is_known_to_be_unsigned(opened):
    layout, of = opened
    image = layout.image(REPOSITORY, "1.4.2")
    async with of(layout) as place:
        collected = await place.collect(REFERENCE, image)
    assert collected.evidence == ()
    assert collected.complete
    assert outcomes(collected) == dict.fromkeys(("referrers-api", "referrers-tag", "sig-tag", "att-tag"), "absent")
    assert collected.tag_digest == image


async def test_both_generations_and_attestations_are_found_together(opened):
    layout, of = opened
    image = layout.image(REPOSITORY, "1.4.2")
    layout.signatures(REPOSITORY, image, [b"classic"])
    layout.attestations(REPOSITORY, image, [b"envelope"])
    layout.bundle(REPOSITORY, image, b"bundle one")
    layout.bundle(REPOSITORY, image, b"bundle two")
    async with of(layout) as place:
        collected = await place.collect(REFERENCE, image)
    assert payloads(collected) == [b"bundle one", b"bundle two", b"classic", b"envelope"]
    assert {e.format for e in collected.evidence} == {"cosign-simplesigning", "cosign-dsse", "sigstore-bundle"}
    assert collected.complete
    for evidence in collected.evidence:
        assert evidence.repository == REPOSITORY
        assert evidence.subject == image
        assert check_evidence_id(evidence)


async def test_two_layers_with_the_same_bytes_are_two_signatures(opened):
    layout, of = opened
    image = layout.image(REPOSITORY, "1.4.2")
    layout.signatures(REPOSITORY, image, [b"same", b"same", b"same"])
    async with of(layout) as place:
        collected = await place.collect(REFERENCE, image)
    assert payloads(collected) == [b"same", b"same", b"same"]
    assert len({evidence.id for evidence in collected.evidence}) == 3
    assert all("org.example/decoration" not in evidence.annotations for evidence in collected.evidence)


async def test_the_same_digest_in_another_repository_has_its_own_evidence(opened):
    layout, of = opened
    image = layout.image(REPOSITORY, "1.4.2")
    other = f"{REGISTRY}/checkout/web"
    manifest = (layout.root / "blobs" / "sha256" / image.removeprefix("sha256:")).read_bytes()
    assert layout.manifest(other, "1", manifest) == image
    layout.signatures(other, image, [b"elsewhere"])
    layout.bundle(other, image, b"elsewhere too")
    async with of(layout) as place:
        here = await place.collect(REFERENCE, image)
        there = await place.collect(parse_reference(f"{other}:1"), image)
    assert here.evidence == ()
    assert here.complete
    assert payloads(there) == [b"elsewhere", b"elsewhere too"]


async def test_evidence_on_the_index_a_tag_names_covers_the_platform_manifest(opened):
    layout, of = opened
    amd64, arm64 = layout.image(REPOSITORY, "", "amd64"), layout.image(REPOSITORY, "", "arm64")
    index = layout.index(REPOSITORY, "1.4.2", {"linux/amd64": amd64, "linux/arm64": arm64})
    layout.signatures(REPOSITORY, index, [b"for the index"])
    async with of(layout) as place:
        collected = await place.collect(REFERENCE, amd64)
    assert payloads(collected) == [b"for the index"]
    assert collected.evidence[0].subject == index
    assert collected.closure.indexes == (index,)
    assert collected.closure.via(index) == "index_of"
    assert collected.tag_digest == index
    assert {child.digest for child in collected.children} == {amd64, arm64}


async def test_evidence_on_a_pinned_index_covers_the_platform_manifest(opened):
    layout, of = opened
    amd64 = layout.image(REPOSITORY, "", "amd64")
    index = layout.index(REPOSITORY, "", {"linux/amd64": amd64})
    layout.bundle(REPOSITORY, index, b"for the index")
    async with of(layout) as place:
        collected = await place.collect(parse_reference(f"{REPOSITORY}@{index}"), amd64)
    assert payloads(collected) == [b"for the index"]
    assert collected.closure.indexes == (index,)


async def test_of_an_index_the_child_that_runs_is_asked_about_and_no_other(opened):
    layout, of = opened
    amd64, arm64 = layout.image(REPOSITORY, "", "amd64"), layout.image(REPOSITORY, "", "arm64")
    index = layout.index(REPOSITORY, "1.4.2", {"linux/amd64": amd64, "linux/arm64/v8": arm64})
    layout.signatures(REPOSITORY, amd64, [b"for amd64"])
    layout.signatures(REPOSITORY, arm64, [b"for arm64"])
    async with of(layout) as place:
        on_arm = await place.collect(REFERENCE, index, "linux/arm64")
        unknown = await place.collect(REFERENCE, index)
    assert on_arm.is_index
    assert payloads(on_arm) == [b"for arm64"]
    assert on_arm.closure.children == (arm64,)
    assert unknown.closure.children == ()
    assert unknown.evidence == ()


async def test_an_index_known_from_earlier_is_asked_about_when_the_tag_has_moved(opened):
    layout, of = opened
    amd64 = layout.image(REPOSITORY, "", "amd64")
    old = layout.index(REPOSITORY, "", {"linux/amd64": amd64})
    layout.signatures(REPOSITORY, old, [b"for the old index"])
    layout.image(REPOSITORY, "1.4.2", "something else")
    async with of(layout) as place:
        forgotten = await place.collect(REFERENCE, amd64)
        remembered = await place.collect(REFERENCE, amd64, None, (old,))
    assert forgotten.evidence == ()
    assert payloads(remembered) == [b"for the old index"]
    assert remembered.closure.indexes == (old,)


async def test_a_deleted_tag_is_an_answer_and_a_deleted_image_is_none(opened):
    layout, of = opened
    image = layout.image(REPOSITORY, "1.4.2")
    other = layout.image(REPOSITORY, "other")
    layout.signatures(REPOSITORY, other, [b"kept"])
    layout.untag(REPOSITORY, "1.4.2")
    async with of(layout) as place:
        without_tag = await place.collect(REFERENCE, other)
        without_image = await place.collect(REFERENCE, image)
    assert payloads(without_tag) == [b"kept"]
    assert without_tag.complete
    assert without_tag.tag_digest == ""
    assert [(p.place, p.code) for p in without_image.places if p.outcome == "error"] == [
        ("manifest", "registry-not-found")
    ]


async def test_a_repository_nobody_knows_says_nothing_about_signatures(opened):
    layout, of = opened
    image = layout.image(REPOSITORY, "1.4.2")
    async with of(layout) as place:
        collected = await place.collect(parse_reference(f"{REGISTRY}/no/such:1"), image)
    assert not collected.complete
    errors = {place.place: place.code for place in collected.places if place.outcome == "error"}
    assert errors["manifest"] == errors["sig-tag"] == errors["att-tag"] == "registry-not-found"


async def test_a_referrer_is_opened_whatever_its_listing_says_and_believed_only_about_its_subject(opened):
    layout, of = opened
    image, other = layout.image(REPOSITORY, "1.4.2"), layout.image(REPOSITORY, "other")
    layout.bundle(REPOSITORY, image, b"good")
    moved = layout.bundle(REPOSITORY, other, b"about another")
    layout.list_in_tag(REPOSITORY, image, moved)
    layout.referrer(REPOSITORY, image, [layout.descriptor("application/spdx+json", b"an sbom, unsigned")])
    async with of(layout) as place:
        collected = await place.collect(REFERENCE, image)
    assert payloads(collected) == [b"good"]
    assert collected.complete


async def test_experimental_signature_artifacts_are_read_like_the_tag(opened):
    layout, of = opened
    image = layout.image(REPOSITORY, "1.4.2")
    annotations = {"dev.cosignproject.cosign/signature": "c2ln"}
    for payload in (b"first", b"second"):
        layout.referrer(REPOSITORY, image, [layout.descriptor(SIMPLE_SIGNING, payload, annotations=annotations)])
    async with of(layout) as place:
        collected = await place.collect(REFERENCE, image)
    assert payloads(collected) == [b"first", b"second"]
    assert {evidence.format for evidence in collected.evidence} == {"cosign-simplesigning"}


async def test_of_more_layers_than_the_limit_the_first_count_and_the_rest_is_told(opened):
    layout, of = opened
    image = layout.image(REPOSITORY, "1.4.2")
    layout.signatures(REPOSITORY, image, [f"payload {n}".encode() for n in range(65)])
    async with of(layout) as place:
        collected = await place.collect(REFERENCE, image)
    assert len(collected.evidence) == 64
    (told,) = [place for place in collected.places if place.outcome == "error"]
    assert (told.place, told.code) == ("sig-tag", "limit-exceeded")
    assert "65 layers, limit 64" in told.detail


async def test_a_layer_of_another_type_takes_nothing_from_its_neighbours(opened):
    layout, of = opened
    image = layout.image(REPOSITORY, "1.4.2")
    good = layout.descriptor(SIMPLE_SIGNING, b"good", annotations={"dev.cosignproject.cosign/signature": "c2ln"})
    odd = layout.descriptor("application/octet-stream", b"odd")
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": good, "layers": [odd, good]}
    layout.manifest(REPOSITORY, tag_of(image) + ".sig", document)
    async with of(layout) as place:
        collected = await place.collect(REFERENCE, image)
    assert payloads(collected) == [b"good"]
    assert [(p.place, p.code) for p in collected.places if p.outcome == "error"] == [("sig-tag", "registry-protocol")]


async def test_resolve_gives_the_digest_of_the_bytes(opened):
    layout, of = opened
    image = layout.image(REPOSITORY, "1.4.2")
    async with of(layout) as place:
        assert await place.resolve(REFERENCE) == image
        assert await place.resolve(parse_reference(f"{REPOSITORY}@{image}")) == image
        with pytest.raises(PlaceRefused) as refused:
            await place.resolve(parse_reference(f"{REPOSITORY}:none"))
    assert refused.value.code == "registry-not-found"


@pytest.mark.parametrize(
    ("reference", "digest"),
    [
        (REFERENCE, "sha256:short"),
        (REFERENCE, "sha256:" + "A" * 64),
        (ImageReference(REGISTRY, "../../etc", "passwd"), "sha256:" + "a" * 64),
        (ImageReference(f"{REGISTRY}@evil.example", "a", "1"), "sha256:" + "a" * 64),
        (ImageReference(REGISTRY, "a/b", "../1"), "sha256:" + "a" * 64),
    ],
    ids=["short digest", "capital digest", "path upwards", "user in the host", "tag upwards"],
)
async def test_names_that_would_mean_something_else_are_refused(opened, reference, digest):
    layout, of = opened
    layout.image(REPOSITORY, "1.4.2")
    async with of(layout) as place:
        with pytest.raises(ImageReferenceError):
            await place.collect(reference, digest)


async def test_answers_are_the_same_every_time_and_in_the_same_order(opened):
    layout, of = opened
    image = layout.image(REPOSITORY, "1.4.2")
    layout.signatures(REPOSITORY, image, [b"a", b"b"])
    for number in range(3):
        layout.bundle(REPOSITORY, image, f"bundle {number}".encode())
    layout.referrer(REPOSITORY, image, [layout.descriptor(BUNDLE, b"untagged")], tag_listed=True)
    async with of(layout) as place:
        first = await place.collect(REFERENCE, image)
        together = await asyncio.gather(*(place.collect(REFERENCE, image) for _ in range(8)))
    assert all(collected == first for collected in together)
