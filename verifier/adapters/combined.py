"""Several places as one: a registry, and what is kept beside it.

    place = CombinedPlace(registry, (lookaside, trust_data))

The first place knows the image: its manifest, closure and tags. The others are asked about every digest of that
closure and only add; what they cannot tell is an outcome of their own and leaves the set incomplete, as anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from verifier.errors import PlaceError
from verifier.models import Evidence, ImageReference, PlaceAsked
from verifier.oci.port import Collected, EvidencePlace


class CombinedPlace:
    """An `EvidencePlace` made of others."""

    def __init__(self, first: EvidencePlace, beside: Sequence[EvidencePlace]) -> None:
        self._first = first
        self._beside = tuple(beside)

    async def collect(
        self,
        reference: ImageReference,
        digest: str,
        platform: str | None = None,
        indexes: tuple[str, ...] = (),
        names: tuple[str, ...] = (),
    ) -> Collected:
        """See `EvidencePlace.collect`. Evidence of the first place comes first; the same piece is told once."""
        found = await self._first.collect(reference, digest, platform, indexes, names)
        closure = found.closure
        evidence = {(piece.id, piece.subject): piece for piece in found.evidence}
        places = list(found.places)
        for place in self._beside:
            for subject in (closure.running, *closure.indexes, *closure.children):
                pieces, asked = await _asked(place, reference, subject)
                for piece in pieces:
                    evidence.setdefault((piece.id, piece.subject), piece)
                places += asked
        return msgspec.structs.replace(found, evidence=tuple(evidence.values()), places=tuple(places))

    async def resolve(self, reference: ImageReference) -> str:
        """See `EvidencePlace.resolve`: what a tag means is the first place's to say."""
        return await self._first.resolve(reference)


async def _asked(
    place: EvidencePlace, reference: ImageReference, subject: str
) -> tuple[tuple[Evidence, ...], tuple[PlaceAsked, ...]]:
    """What a place beside has for one digest. That it lacks the image itself is its nature, and no failure."""
    pinned = msgspec.structs.replace(reference, tag="", digest=subject)
    try:
        found = await place.collect(pinned, subject)
    except PlaceError as error:
        return (), (PlaceAsked("beside", subject, "error", error.code, str(error)),)
    told = tuple(asked for asked in found.places if asked.place != "manifest" and asked.digest == subject)
    return tuple(piece for piece in found.evidence if piece.subject == subject), told
