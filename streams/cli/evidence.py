"""`revet evidence show`: what exists for an image, where it was found, who made it, and which parts of it hold.

    shown = show_evidence("registry.example.com/app:1", source, trust, now)
    shown.evidence[0].signers       who, under which root, proven by what time
    shown.evidence[0].parts         signature, chain, SCT, log, timestamp, subject, content: each with what was found

It judges nothing: no policy is asked. `revet verify` does that over the same facts. A certificate says whom it was made
for also when no root that was given vouches for it; such a name is marked, because anybody can write one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import click
import msgspec

from alerting.text import short_digest
from streams.cli.common import EXIT_UNKNOWN, by, encodable, now, output_option, print_json, print_table, say
from streams.cli.render import safe
from streams.cli.sources import (
    TrustFiles,
    keyset_of,
    look_up,
    read_trust,
    source_options,
    with_public_good,
)
from streams.local.shown import Found, ShownEvidence, ShownSigner, shown
from streams.places import EvidenceSource, opened
from verifier.adapters.memory import MemoryEvidenceStore
from verifier.models import DigestClosure, Micros, PlaceAsked, Reason
from verifier.trust.state import TrustState
from verifier.verify import ImageEvidence

SCHEMA: Final = "revet.evidence/v1"


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
    known, store = asyncio.run(_ask(source.asking([image]), image, trust, instant))
    closure, kept = known.closure, known.set
    found = tuple(
        shown(fact, evidence, closure, trust, instant)
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
        evidence=found,
        problem=known.problem,
    )


# ------------------------------------------------------------------------------------------------------------ printing


def print_shown(answer: EvidenceShown) -> None:
    """Tables for people: what there is, and which places were asked."""
    print_table(
        ["IMAGE", "DIGEST", "INDEXES", "CHILDREN"],
        [[answer.image, answer.digest or "-", _digests(answer.closure.indexes), _digests(answer.closure.children)]],
    )
    if answer.evidence:
        print_table(
            ["#", "FORMAT", "FOUND AT", "NAMES", "VERIFIED BY", "PROVEN BY", "PROBLEM"],
            [[number, *_evidence_row(evidence)] for number, evidence in enumerate(answer.evidence, start=1)],
            title="\nEvidence",
        )
    for number, evidence in enumerate(answer.evidence, start=1):
        click.echo(f"\n{safe(f'{number}. {evidence.format}{_told_kind(evidence)}, {evidence.id}')}")
        print_table(["PART", "", "FOUND"], _part_rows(evidence))
    if answer.places:
        print_table(
            ["PLACE", "DIGEST", "ANSWER", "DETAIL"],
            [[p.place, short_digest(p.digest), p.code or p.outcome, p.detail] for p in answer.places],
            title="\nPlaces asked",
        )
    if answer.problem is not None:
        say(f"{answer.problem.code}: {answer.problem.message}")
    elif not answer.complete:
        say("some place did not answer: what is not listed may exist")


def _evidence_row(evidence: ShownEvidence) -> list[object]:
    names = _digests(evidence.subjects) + ("" if evidence.reaches else " (another image)")
    proven = evidence.proven
    return [
        evidence.format + _told_kind(evidence),
        f"{evidence.place} of {short_digest(evidence.found_for)}",
        names,
        ", ".join(dict.fromkeys(map(_who, evidence.signers))) or "no key given",
        f"{proven.time}, {proven.who}" if proven is not None else "-",
        f"{evidence.problem}: {evidence.detail}" if evidence.problem else "-",
    ]


def _told_kind(evidence: ShownEvidence) -> str:
    return "" if evidence.kind == "signature" else f" ({safe(evidence.predicate_type or evidence.kind)})"


def _who(signer: ShownSigner) -> str:
    if not signer.verified:
        return f"{signer.name} (not verified)"
    return signer.name if signer.state == "trusted" else f"{signer.name} ({signer.state})"


_MARKS: Final[Mapping[Found, str]] = {"yes": "yes", "no": "NO", "unknown": "?"}


def _part_rows(evidence: ShownEvidence) -> Iterator[list[object]]:
    for signer in evidence.signers:
        yield ["signer", "yes" if signer.verified else "?", _signer_text(signer)]
    for part in evidence.parts:
        yield [part.part, _MARKS[part.found], part.text]
    if evidence.proven is not None:
        yield ["time", "yes", f"existed by {evidence.proven.time}, says {evidence.proven.who}"]
    elif evidence.certificate is not None:
        yield ["time", "?", "nothing that is accepted proves when it was made"]
    if evidence.expires is not None:
        yield ["expiry", "", evidence.expires]


def _signer_text(signer: ShownSigner) -> str:
    issuer = f", vouched for by {signer.issuer}" if signer.issuer else ""
    roots = f", root {', '.join(signer.roots)}" if signer.roots else ""
    state = signer.state if signer.verified else "no root that was given vouches for this name"
    return f"{signer.kind} {signer.name}{issuer}{roots}: {state}"


def _digests(digests: tuple[str, ...]) -> str:
    return ", ".join(map(short_digest, digests)) or "-"


# ------------------------------------------------------------------------------------------------------------- command

_EPILOG: Final = """\b
Exit codes: 0 every place answered; 3 some did not; 2 usage or a wrong document; 4 the evidence source cannot be
used. Whether anything verifies does not change it.

\b
Examples:
  $ revet evidence show registry.example.com/payments/api:1.4.2 --trust streams/demo_data/keys \
--evidence oci-layout:streams/demo_data/oci
  $ revet evidence show registry.example.com/web:2 --trust trusted_root.json --trust truststore/ -o json
  $ revet evidence show docker.io/library/alpine:3.20 --trust docker.yaml \
--evidence registry,trust-data:$HOME/.docker/trust/tuf
"""


@click.group()
def command() -> None:
    """What evidence exists for an image."""


@command.command(epilog=_EPILOG)
@click.argument("image")
@click.option(
    "--trust",
    multiple=True,
    metavar="FILE|DIR",
    help="Documents, .pub keys, trust roots (trusted_root.json, CA .pem, key ring .asc), trust stores. Repeatable.",
)
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
    """What exists for IMAGE, where it was found, who made it, and which parts of it hold.

    The root of the public Sigstore instance is known without being given; no policy is asked, nothing is judged.
    """
    instant = now()
    state = with_public_good(read_trust(TrustFiles(trust, key), by(instant)), by(instant))
    answer = show_evidence(image, source, state, instant)
    if output == "json":
        print_json(answer)
    else:
        print_shown(answer)
    context.exit(0 if answer.complete else EXIT_UNKNOWN)
