"""The record as evidence for controls: counts, samples with document ids, gaps said as gaps. Pure.

    compliance(reader, wanted, "pci-dss", Sampling(size=25, seed=7))  ->  Report

Counts are of the window (or of now, where that is asked), samples are drawn by a seed that is named, so that an auditor
draws the same again. People are `person 1`, `person 2` … unless names are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Final

import msgspec

from streams.queries.compliance.controls import FRAMEWORKS
from streams.queries.compliance.model import EVIDENCE, LETTERS, Control, Evidence
from streams.queries.conditions import EVERYTHING, Condition, both, compare, one_of
from streams.queries.port import Hit, RecordReader, every, one
from streams.queries.reading import chunks, text_of
from streams.queries.report.common import Wanted, number
from streams.queries.report.model import Block, Part, Report, Section, Sentences, Table
from streams.queries.report.people import People
from streams.queries.report.seen import seen
from streams.queries.results import Cell
from streams.sinks.document import shown_image
from streams.sinks.fields import HOMES
from verifier.models import Micros

__all__ = ["FRAMEWORKS", "Sampling", "compliance"]

MANY: Final = 20_000
"""Ids that are listed to draw from; of more, those of a piece of the id space as large as the seed says."""


class Sampling(msgspec.Struct, frozen=True):
    """How samples are drawn."""

    size: int = 25
    """Documents per control."""
    seed: int = 0
    names: bool = False
    """Show people and sentences; only for those who may see them."""


class _Counted(msgspec.Struct, frozen=True):
    """What the record holds of one kind of evidence."""

    evidence: Evidence
    number: int
    oldest: Micros | None
    """Of all time, not of the window: how far back it goes."""
    ids: tuple[str, ...]


def compliance(reader: RecordReader, wanted: Wanted, name: str, sampling: Sampling, *, about: str = "") -> Report:
    """What the record shows for each control of a framework.

    Raises:
        KeyError: no such framework.
        InputError: nothing was recorded here.
        PlaceUnavailable: the store does not answer.
    """
    framework = FRAMEWORKS[name]
    used = dict.fromkeys(kind for control in framework.controls for kind in control.evidence)
    counted = {kind: _counted(reader, wanted, EVIDENCE[kind], sampling) for kind in used}
    people = _People(sampling)
    parts = tuple(_control(reader, control, counted, sampling, people) for control in framework.controls)
    sections = (
        seen(reader, wanted),
        Section("controls", f"Controls of {framework.name}", f"{_NOT_ENOUGH} {framework.note}",
                (Part((_overview(framework.controls, counted),)),)),
        Section("evidence", "What is on record for each", "", parts),
        _limits(sampling),
    )  # fmt: skip
    return Report(f"Evidence for {framework.name}", about, wanted.now, wanted.start, wanted.end, sections)


_NOT_ENOUGH: Final = "A record is evidence for a control; it does not satisfy one by itself."


def _counted(reader: RecordReader, wanted: Wanted, evidence: Evidence, sampling: Sampling) -> _Counted:
    where = evidence.where if evidence.now else both(wanted.window, evidence.where)
    found = number(reader, evidence.home, where)
    oldest = one(reader, HOMES[evidence.home], EVERYTHING, newest=False) if found and not evidence.now else None
    ids = tuple(_ids(reader, evidence.home, where, found, sampling)) if found else ()
    return _Counted(evidence, found, oldest.time if oldest is not None else None, ids)


# ------------------------------------------------------------------------------------------------ drawing


def _ids(reader: RecordReader, home: str, where: Condition, found: int, sampling: Sampling) -> Iterator[str]:
    """Ids to draw from. They are hashes, so a piece of their space is a sample in which every document is as likely."""
    piece = EVERYTHING if found <= MANY or home == "images" else _piece(sampling.seed, MANY / found)
    yield from (group.values[0] for group in reader.groups(HOMES[home], both(where, piece), ("event.id",)))


_ALPHABET: Final = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
"""Of ids, in the order in which texts compare."""
_SPACE: Final = 64**4


def _piece(seed: int, share: float) -> Condition:
    begin = int.from_bytes(sha256(f"piece {seed}".encode()).digest()[:4]) % _SPACE
    begin = min(begin, _SPACE - max(int(share * _SPACE), 1))
    return both(compare("id", ">=", _place(begin)), compare("id", "<", _place(begin + max(int(share * _SPACE), 1))))


def _place(position: int) -> str:
    digits = [_ALPHABET[position // 64**n % 64] for n in (3, 2, 1, 0)]
    return "v1:" + "".join(digits) if position < _SPACE else "v1;"


def _drawn(control: Control, counted: dict[str, _Counted], sampling: Sampling) -> dict[str, list[str]]:
    """Kind of evidence -> ids, in equal parts as far as there are so many; without repetition."""
    ranked = {kind: _ranked(counted[kind].ids, sampling.seed, control.id, kind) for kind in control.evidence}
    taken: dict[str, list[str]] = {kind: [] for kind in ranked}
    known: set[tuple[str, str]] = set()
    left = sampling.size
    while left and any(ranked.values()):
        for kind, ids in ranked.items():
            while ids and left:
                key = (counted[kind].evidence.home, ids[0])
                id_ = ids.pop(0)
                if key not in known:
                    known.add(key)
                    taken[kind].append(id_)
                    left -= 1
                    break
    return taken


def _ranked(ids: tuple[str, ...], seed: int, *names: str) -> list[str]:
    """The ids in an order that the seed alone decides."""

    def rank(id_: str) -> bytes:
        return sha256("\0".join((str(seed), *names, id_)).encode("utf-8", "replace")).digest()

    return sorted(ids, key=rank)


# ------------------------------------------------------------------------------------------------ showing


def _overview(controls: tuple[Control, ...], counted: dict[str, _Counted]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            control.id,
            control.asks,
            ", ".join(dict.fromkeys(EVIDENCE[kind].letter for kind in control.evidence)),
            sum(counted[kind].number for kind in control.evidence),
            len(_gaps(control, counted)) or None,
        )
        for control in controls
    ]
    columns = ("control", "what_it_asks", "records", "number", "gaps")
    letters = "; ".join(f"{letter}: {text}" for letter, text in LETTERS.items())
    return Table(f"Controls, and how much is on record ({letters})", columns, tuple(rows))


def _control(
    reader: RecordReader, control: Control, counted: dict[str, _Counted], sampling: Sampling, people: _People
) -> Part:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (one.evidence.text, one.evidence.letter, one.number, "now" if one.evidence.now else "in the window", one.oldest)
        for one in (counted[kind] for kind in control.evidence)
    )
    shows = Table(f"{control.id}: what is on record", ("shows", "record", "number", "of", "oldest"), rows)
    blocks: list[Block] = [shows, Sentences(_gaps(control, counted), "unknown", "No gap that the record itself tells.")]
    if sampling.size:
        blocks.append(_samples(reader, control, counted, sampling, people))
    return Part(tuple(blocks), control.id, control.asks)


def _gaps(control: Control, counted: dict[str, _Counted]) -> tuple[str, ...]:
    missing = [counted[kind].evidence for kind in control.evidence if not counted[kind].number]
    told = [f"gap: none on record: {evidence.text}" for evidence in missing if not evidence.adverse]
    return (*told, *([f"gap: no record here can show {control.beyond}"] if control.beyond else ()))


def _samples(
    reader: RecordReader, control: Control, counted: dict[str, _Counted], sampling: Sampling, people: _People
) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for kind, ids in _drawn(control, counted, sampling).items():
        home = counted[kind].evidence.home
        hits = {hit.id: hit for some in chunks(ids) for hit in every(reader, HOMES[home], one_of("id", some))}
        rows += [_sample(kind, hits[id_], people, sampling) for id_ in ids if id_ in hits]
    columns = ("evidence", "time", "what", "about", "by", *(("sentence",) if sampling.names else ()), "index", "id")
    return Table(f"{control.id}: sample, seed {sampling.seed}", columns, tuple(rows))


def _sample(kind: str, hit: Hit, people: _People, sampling: Sampling) -> tuple[Cell, ...]:
    what = text_of(hit.body, "action") or text_of(hit.body, "state") or text_of(hit.body, "verdict")
    sentence = (text_of(hit.body, "message"),) if sampling.names else ()
    return (kind, hit.time, what, _about(hit), people.called(text_of(hit.body, "user")), *sentence, hit.home, hit.id)


def _about(hit: Hit) -> str:
    """What it is about, by names of things alone."""
    place = text_of(hit.body, "workload_id") or text_of(hit.body, "short_id") or text_of(hit.body, "policy")
    repository, digest = text_of(hit.body, "repository"), text_of(hit.body, "digest")
    image = shown_image(repository, digest) if repository or digest else ""
    feed = text_of(hit.body, "feed")
    return " ".join(filter(None, (place, image, f"{text_of(hit.body, 'cluster')} {feed}" if feed else "")))


class _People:
    """Who did it, under a number of this report alone, unless names are asked for."""

    def __init__(self, sampling: Sampling) -> None:
        self._names = sampling.names
        self._people = People()

    def called(self, name: str) -> str:
        return name if self._names else self._people.called(name)


def _limits(sampling: Sampling) -> Section:
    told = [
        f"Samples are drawn by the seed {sampling.seed}: the same record, window and seed draw the same documents.",
        "`revet search 'id:\"…\"' --in history` shows a document of history by its id.",
        "What feeds did not see is on no record: the first chapter says when that was.",
        "Controls are told in our words and by their numbers; the framework's own text binds.",
    ]
    if sampling.names:
        told.append("This file names people: it is for the security role alone.")
    else:
        told.append("People are numbered, the same number is the same person in this report; sentences are left out.")
    return Section("limits", "What this page cannot tell", "", (Part((Sentences(tuple(told)),)),))
