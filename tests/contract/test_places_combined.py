"""A registry and what is kept beside it, as one place."""

import asyncio
import hashlib

import pytest

from verifier.adapters.combined import CombinedPlace
from verifier.errors import PlaceRefused, PlaceUnavailable
from verifier.models import DigestClosure, Evidence, ImageReference, PlaceAsked
from verifier.oci.port import Collected
from verifier.reference import parse_reference
from verifier.testing import Signer

DIGEST, INDEX = (f"sha256:{hashlib.sha256(name).hexdigest()}" for name in (b"image", b"index"))
REFERENCE = parse_reference("registry.example.com/app:1")
DEV = Signer("dev")


class Place:
    """A place with given evidence; an exception in its place is raised."""

    def __init__(self, pieces: tuple[Evidence, ...] | Exception, closure: DigestClosure, name: str) -> None:
        self.pieces, self.closure, self.name = pieces, closure, name
        self.asked: list[tuple[str, str]] = []

    async def collect(self, reference: ImageReference, digest: str, platform=None, indexes=(), names=()) -> Collected:
        self.asked.append((str(reference), digest))
        if isinstance(self.pieces, Exception):
            raise self.pieces
        manifest = PlaceAsked("manifest", digest, "error", "registry-not-found", "holds no images")
        told = PlaceAsked(self.name, digest, "found" if self.pieces else "absent")
        return Collected(self.pieces, self.closure, (told, manifest) if self.name == "beside" else (told,))

    async def resolve(self, reference: ImageReference) -> str:
        return DIGEST


def collect(first: Place, *beside: Place) -> Collected:
    return asyncio.run(CombinedPlace(first, beside).collect(REFERENCE, DIGEST))


def test_evidence_of_every_place_for_every_digest_of_the_closure():
    at_index = DEV.sign_simple("registry.example.com/app", INDEX)
    first = Place((DEV.sign_bundle("registry.example.com/app", DIGEST),), DigestClosure(DIGEST, (INDEX,)), "first")
    beside = Place((at_index,), DigestClosure(INDEX), "beside")
    found = collect(first, beside)
    assert [piece.subject for piece in found.evidence] == [DIGEST, INDEX]
    assert [digest for _, digest in beside.asked] == [DIGEST, INDEX]
    assert all(reference.endswith(f"@{digest}") for reference, digest in beside.asked)
    assert found.closure == first.closure
    assert found.complete, "a place beside holds no images, and need not"


def test_the_same_piece_is_told_once():
    piece = DEV.sign_simple("registry.example.com/app", DIGEST)
    found = collect(*(Place((piece,), DigestClosure(DIGEST), name) for name in ("first", "beside")))
    assert found.evidence == (piece,)


@pytest.mark.parametrize(
    "error", [PlaceRefused("registry-protocol", "x"), PlaceUnavailable("registry-unavailable", "x")]
)
def test_a_place_beside_that_fails_leaves_the_set_incomplete(error):
    found = collect(Place((), DigestClosure(DIGEST), "first"), Place(error, DigestClosure(DIGEST), "beside"))
    assert not found.complete
    assert [place.code for place in found.places if place.outcome == "error"] == [error.code]


def test_what_fails_in_the_first_place_fails_as_before():
    with pytest.raises(PlaceRefused):
        collect(Place(PlaceRefused("registry-protocol", "x"), DigestClosure(DIGEST), "first"))


def test_tags_are_the_first_places_business():
    first = Place((), DigestClosure(DIGEST), "first")
    assert asyncio.run(CombinedPlace(first, ()).resolve(REFERENCE)) == DIGEST
