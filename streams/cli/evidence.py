"""`revet evidence show`: what exists for an image, where it was found, and which parts of it hold.

It judges nothing: no policy is asked. `revet verify` does that over the same facts.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

import click
import msgspec

from alerting.text import short_digest
from streams.cli.common import EXIT_UNKNOWN, by, encodable, now, output_option, print_json, print_table, say, show_time
from streams.cli.sources import (
    EvidenceSource,
    TrustFiles,
    keyset_of,
    look_up,
    opened,
    read_trust,
    source_options,
)
from verifier.adapters.memory import MemoryEvidenceStore
from verifier.models import DigestClosure, Evidence, Fact, Micros, PlaceAsked, Reason
from verifier.trust.state import TrustState
from verifier.verify import ImageEvidence

SCHEMA: Final = "revet.evidence/v1"


class Verified(msgspec.Struct, frozen=True):
    """A key whose signature over exactly these bytes is good."""

    name: str
    key_id: str


class ShownEvidence(msgspec.Struct, frozen=True):
    """One piece of evidence and what cryptography says about it."""

    id: str
    format: str
    kind: str
    place: str
    artifact: str
    """Digest of the manifest that carries it."""
    found_for: str
    """Digest it was found beside."""
    subjects: tuple[str, ...]
    """Digests the signed bytes name."""
    reaches: str | None
    """How these reach the image: exact, index_of, child_of; null when they do not."""
    verified_by: tuple[Verified, ...]
    algorithm: str
    key_hint: str
    """Key id the evidence names itself; nothing proves it."""
    signed_repository: str
    predicate_type: str
    annotations: dict[str, str]
    claimed_time: str | None
    """Time the signer claims; never trusted."""
    problem: str
    detail: str


class EvidenceShown(msgspec.Struct, frozen=True):
    """The document `revet evidence show -o json` prints."""

    schema: str
    image: str
    digest: str | None
    complete: bool
    """Every place answered: what is not listed does not exist there."""
    closure: DigestClosure
    places: tuple[PlaceAsked, ...]
    evidence: tuple[ShownEvidence, ...]
    problem: Reason | None = None


class _Asked(NamedTuple):
    image: ImageEvidence
    store: MemoryEvidenceStore


async def _ask(source: EvidenceSource, image: str, trust: TrustState, instant: Micros) -> _Asked:
    store = MemoryEvidenceStore()
    async with opened(source) as place:
        return _Asked(await look_up(place, image, keyset_of(trust), instant, source.platform, store), store)


def show_evidence(image: str, source: EvidenceSource, trust: TrustState, instant: Micros) -> EvidenceShown:
    """Everything that is published about an image now.

    Raises:
        PlaceRefused, InputError: the evidence source as a whole cannot be used.
    """
    known, store = asyncio.run(_ask(source, image, trust, instant))
    closure, kept = known.closure, known.set
    shown = tuple(
        _shown(fact, evidence, closure, trust)
        for fact in known.facts
        if (evidence := store.get(fact.evidence_id)) is not None
    )
    return EvidenceShown(
        schema=SCHEMA,
        image=encodable(image),
        digest=known.digest or None,
        complete=kept is not None and kept.complete,
        closure=closure,
        places=kept.places if kept is not None else (),
        evidence=shown,
        problem=known.problem,
    )


def _shown(fact: Fact, evidence: Evidence, closure: DigestClosure, trust: TrustState) -> ShownEvidence:
    ways = {closure.via(subject) for subject in fact.subjects}
    return ShownEvidence(
        id=fact.evidence_id,
        format=fact.format,
        kind=fact.kind,
        place=evidence.place,
        artifact=evidence.artifact,
        found_for=evidence.subject,
        subjects=fact.subjects,
        reaches=next((way for way in ("exact", "index_of", "child_of") if way in ways), None),
        verified_by=tuple(Verified(trust.name_of(key_id), key_id) for key_id in fact.verified_by),
        algorithm=fact.algorithm,
        key_hint=fact.key_hint,
        signed_repository=fact.signed_repository,
        predicate_type=fact.predicate_type,
        annotations=dict(fact.annotations),
        claimed_time=show_time(fact.claimed_time) if fact.claimed_time is not None else None,
        problem=fact.problem,
        detail=fact.problem_detail,
    )


# ------------------------------------------------------------------------------------------------------------ printing


def print_shown(shown: EvidenceShown) -> None:
    """Tables for people: what there is, and which places were asked."""
    print_table(
        ["IMAGE", "DIGEST", "INDEXES", "CHILDREN"],
        [[shown.image, shown.digest or "-", _digests(shown.closure.indexes), _digests(shown.closure.children)]],
    )
    if shown.evidence:
        print_table(
            ["EVIDENCE", "FORMAT", "FOUND AT", "NAMES", "VERIFIED BY", "ALGORITHM", "PROBLEM"],
            [_evidence_row(evidence) for evidence in shown.evidence],
            title="\nEvidence",
        )
    if shown.places:
        print_table(
            ["PLACE", "DIGEST", "ANSWER", "DETAIL"],
            [[p.place, short_digest(p.digest), p.code or p.outcome, p.detail] for p in shown.places],
            title="\nPlaces asked",
        )
    if shown.problem is not None:
        say(f"{shown.problem.code}: {shown.problem.message}")
    elif not shown.complete:
        say("some place did not answer: what is not listed may exist")


def _evidence_row(evidence: ShownEvidence) -> list[object]:
    kind = "" if evidence.kind == "signature" else f" ({evidence.predicate_type or evidence.kind})"
    names = _digests(evidence.subjects) + ("" if evidence.reaches else " (another image)")
    return [
        evidence.id,
        evidence.format + kind,
        f"{evidence.place} of {short_digest(evidence.found_for)}",
        names,
        ", ".join(key.name for key in evidence.verified_by) or "no key given",
        evidence.algorithm or "-",
        f"{evidence.problem}: {evidence.detail}" if evidence.problem else "-",
    ]


def _digests(digests: tuple[str, ...]) -> str:
    return ", ".join(map(short_digest, digests)) or "-"


# ------------------------------------------------------------------------------------------------------------- command

_EPILOG: Final = """\b
Exit codes: 0 every place answered; 3 some did not; 4 the evidence source cannot be used.

\b
Example:
  $ revet evidence show registry.example.com/payments/api:1.4.2 --trust streams/demo_data/keys \
--evidence oci-layout:streams/demo_data/oci
"""


@click.group()
def command() -> None:
    """What evidence exists for an image."""


@command.command(epilog=_EPILOG)
@click.argument("image")
@click.option("--trust", multiple=True, metavar="FILE|DIR", help="Key documents and .pub files. Repeatable.")
@click.option("--key", multiple=True, metavar="FILE", help="Public key to try. Repeatable.")
@source_options
@output_option
@click.pass_context
def show(
    context: click.Context,
    image: str,
    trust: tuple[str, ...],
    key: tuple[str, ...],
    source: EvidenceSource,
    output: str,
) -> None:
    """What exists for IMAGE, where it was found, and which key made it."""
    instant = now()
    shown = show_evidence(image, source, read_trust(TrustFiles(trust, key), by(instant)), instant)
    if output == "json":
        print_json(shown)
    else:
        print_shown(shown)
    context.exit(0 if shown.complete else EXIT_UNKNOWN)
