"""Claims of other engines as observations: bounded, with ids that a repetition does not change. Pure.

    observed = claim_observed(claim, cluster="prod-eu", received=now)

The id holds everything the claim says and the occasion: the engine's own time or, where it gives none, what the caller
knows (the version of the report). So a report that is read again is on record once, and one that says `pass`, `fail`
and `pass` again is on record three times. When it was received is no part of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from streams.collectors.reports import Claim
from streams.events import ClaimObserved
from verifier.canonical import stable_id

REPORTS: Final = "reports:"
"""Before the name of a cluster: the source of what engines there say."""
MOST_IMAGES: Final = 8 * 1024
"""Characters of the images of one claim, all together: with its texts, and at four bytes each, it stays below what a
record may have."""


def claim_observed(claim: Claim, *, cluster: str, received: int, occasion: str = "") -> ClaimObserved:
    """The observation.

    Args:
        claim: of `read_reports`.
        cluster: of the sender, never of the payload.
        received: microseconds.
        occasion: what tells two claims that say the same at different times, where the engine says no time.
    """
    images, about = tuple(_within(claim.images)), claim.subject
    said = str(claim.time) if claim.time is not None else occasion
    return ClaimObserved(
        id=stable_id(
            "claim", cluster, claim.feed, claim.engine, claim.policy, claim.rule, claim.result, claim.message,
            about.kind, about.namespace, about.name, about.uid, images, claim.at_admission, said,
        ),
        time=received,
        cluster=cluster,
        feed=claim.feed,
        engine=claim.engine,
        result=claim.result,
        policy=claim.policy,
        rule=claim.rule,
        message=claim.message,
        kind=about.kind,
        namespace=about.namespace,
        name=about.name,
        uid=about.uid,
        images=images,
        at_admission=claim.at_admission,
        said=claim.time,
        source=REPORTS + cluster,
    )  # fmt: skip


def _within(images: tuple[str, ...]) -> Iterator[str]:
    room = MOST_IMAGES
    for image in images:
        room -= len(image)
        if room < 0:
            return
        yield image
