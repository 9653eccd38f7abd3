"""The ports of evidence: a place that is asked for it, and the store that keeps it from first sight.

`verifier.adapters` implements them; one contract suite per port runs on every implementation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

import msgspec

from verifier.models import DigestClosure, Evidence, ImageReference, Micros, PlaceAsked
from verifier.oci.manifests import IndexChild

KEPT: Final = "evidence-store"
"""`PlaceAsked.place` of evidence that only the store still has."""

BASE: Final = "base"
"""`PlaceAsked.place` of what a manifest's annotations say it is built on: digest and, as detail, name."""
TAGGED: Final = "tag"
"""`PlaceAsked.place` that says, where its outcome is `found`, which digest (`digest`) a tag (`detail`) means by now:
another than the one that was asked about."""


class Collected(msgspec.Struct, frozen=True):
    """What one round of questions about a digest brought."""

    evidence: tuple[Evidence, ...]
    closure: DigestClosure
    places: tuple[PlaceAsked, ...]
    """One entry per place and digest asked. The manifest and the tag appear only when they could not be read."""
    is_index: bool = False
    children: tuple[IndexChild, ...] = ()
    """Entries of every index that was opened for the closure; worth keeping, because an index can vanish."""
    tag_digest: str = ""
    """What the reference's tag means now; empty when there is no tag, or it is gone or could not be read."""
    retry_after: Micros | None = None
    """Longest wait a place asked for, in microseconds."""

    @property
    def complete(self) -> bool:
        """True when every place answered: only then is what was not found known to be absent."""
        return all(place.outcome != "error" for place in self.places)


class EvidencePlace(Protocol):
    """Somewhere evidence is published."""

    async def collect(
        self,
        reference: ImageReference,
        digest: str,
        platform: str | None = None,
        indexes: tuple[str, ...] = (),
        names: tuple[str, ...] = (),
    ) -> Collected:
        """Everything published about `digest` in the reference's repository.

        Args:
            reference: names the repository; its tag and digest are asked which index lists `digest` now.
            digest: the running digest, a manifest's or an index's.
            platform: `os/arch[/variant]` of the node, so that of an index the child that runs is asked about too.
            indexes: indexes known from earlier to list `digest`.
            names: further tags, and digests of indexes, by which the image was seen to run; asked as the reference's
                own are, which need not be among them.

        What does not answer is an outcome in `places`, not an error.

        Raises:
            ImageReferenceError: the reference or the digest cannot be asked for.
        """
        ...

    async def resolve(self, reference: ImageReference) -> str:
        """The digest the reference means now (its own, when it is pinned).

        Raises:
            PlaceUnavailable: no answer; `retry_after_us` is what the place asked for.
            PlaceRefused: the tag is not there, access is refused, or the answer breaks the protocol.
            ImageReferenceError: the reference cannot be asked for.
        """
        ...


class EvidenceStore(Protocol):
    """Evidence kept from first sight: tags are mutable and images get deleted.

    The bytes are known by `Evidence.id`; the same bytes may lie at several (repository, subject). `first_seen` is a
    record of its own, per id: the earliest wins, whatever the order of writing.
    """

    def put(self, evidence: Evidence, first_seen: Micros | None) -> bool:
        """Keeps the evidence, and the date when there is one. True when it was not yet known at this place.

        Raises:
            PlaceUnavailable: the store could not write.
        """
        ...

    def get(self, evidence_id: str) -> Evidence | None:
        """The evidence, as found at the first of its places (in order of repository and subject), or None.

        Raises:
            PlaceUnavailable, PlaceRefused: the store could not read, or holds other bytes than it took.
        """
        ...

    def for_digest(self, repository: str, digest: str) -> tuple[Evidence, ...]:
        """Everything kept for this subject in this repository, in order of id. Raises as `get`."""
        ...

    def first_seen(self, evidence_ids: Iterable[str]) -> dict[str, Micros]:
        """When each was first seen; ids without a date are missing. Raises as `get`."""
        ...

    def link(self, repository: str, children: Iterable[IndexChild]) -> None:
        """Keeps entries that were read in an index's own bytes. Raises as `put`."""
        ...

    def indexes_of(self, repository: str, child: str) -> tuple[str, ...]:
        """Indexes known to list the digest, sorted. Raises as `get`."""
        ...

    def children_of(self, repository: str, index: str) -> tuple[IndexChild, ...]:
        """Known entries of the index, in order of digest; empty when it was never read. Raises as `get`."""
        ...
