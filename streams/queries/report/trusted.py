"""Who changed trust and who let something in beside it: entries, exemptions, revocations, policies in force. Pure."""

from __future__ import annotations

from typing import Final

from streams.queries.conditions import one_of
from streams.queries.port import Hit, RecordReader
from streams.queries.questions.common import when
from streams.queries.reading import number_of
from streams.queries.report.common import ROWS, Wanted, asked_table, cut, entries, texts
from streams.queries.report.model import Part, Section, Table
from streams.queries.results import Cell

CHANGES: Final = 200
"""Entries of the window, the newest; the list of policies and exemptions is whole up to as many."""


def trusted(reader: RecordReader, wanted: Wanted) -> Section:
    """Trust: what changed in the window, what stands, and what came in beside it.

    Raises:
        InputError: nothing was recorded here.
        PlaceUnavailable: the store does not answer.
    """
    return Section(
        "trust",
        "Trust",
        "Every change of trust is an entry with an author; what an exemption accepts, somebody approved.",
        (
            Part((_changes(reader, wanted),), "Changes"),
            Part((_exemptions(reader, wanted),), "Exemptions that stand"),
            Part((_revocations(reader),), "Revocations that stand"),
            Part((_policies(reader),), "Policies in force"),
            Part((_beside(reader, wanted),), "What came in beside the rules"),
        ),
    )


def _changes(reader: RecordReader, wanted: Wanted) -> Table:
    hits = entries(reader, wanted.window)[::-1]
    rows, more = cut([_change(hit) for hit in hits], CHANGES, "entry", "revet trust history", "entries")
    columns = ("time", "epoch", "change", "sentence", "author", "approver", "ticket", "why", "origin")
    return Table("Entries of the trust log in the window, newest first", columns, rows, more)


def _change(hit: Hit) -> tuple[Cell, ...]:
    named = ("event.action", "message", "user", "approver", "ticket", "why", "provenance.trust.origin")
    return (hit.time, number_of(hit.body, "epoch"), *texts(hit, named))


def _standing(reader: RecordReader, field: str, put: str, ended: str) -> list[Hit]:
    """The newest entry of each thing that was not taken away behind it."""
    kept: dict[str, Hit] = {}
    for hit in entries(reader, one_of("record", (put, ended))):
        (name,) = texts(hit, (field,))
        (record,) = texts(hit, ("record",))
        kept.pop(name, None)
        if record == put:
            kept[name] = hit
    return list(kept.values())


def _exemptions(reader: RecordReader, wanted: Wanted) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for hit in _standing(reader, "exemption", "exemption-put", "exemption-ended"):
        expires = when(hit.body, "provenance.exemption.expires")
        if expires is None or expires > wanted.now:
            named = texts(hit, ("exemption", "policy", "message", "user", "approver", "ticket", "why"))
            rows.append((*named, hit.time, expires))
    rows.sort(key=lambda row: (row[8] or 0, str(row[0])))
    shown, more = cut(rows, CHANGES, "exemption", "revet exempt list")
    columns = ("exemption", "policy", "sentence", "author", "approver", "ticket", "why", "since", "expires")
    return Table("Exemptions, the next to end first", columns, shown, more)


def _revocations(reader: RecordReader) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (hit.time, *texts(hit, ("revocation", "message", "revocation_reason")),
         when(hit.body, "provenance.revocation.compromised_since"), *texts(hit, ("user", "why")))
        for hit in _standing(reader, "revocation", "revocation-put", "revocation-withdrawn")
    ]  # fmt: skip
    shown, more = cut(rows[::-1], CHANGES, "revocation", "revet revocation list")
    columns = ("time", "revocation", "sentence", "reason", "since", "author", "why")
    return Table("Revocations that were not withdrawn, newest first", columns, shown, more)


def _policies(reader: RecordReader) -> Table:
    rows: list[tuple[Cell, ...]] = sorted(
        (*texts(hit, ("policy", "policy_version", "mode")), hit.time, *texts(hit, ("user", "why")))
        for hit in _standing(reader, "policy", "policy-put", "policy-removed")
    )
    shown, more = cut(rows, CHANGES, "policy", "revet trust show", "policies")
    columns = ("policy", "version", "mode", "since", "author", "why")
    return Table("Policies, in the version that counts", columns, shown, more, "no policy")


def _beside(reader: RecordReader, wanted: Wanted) -> Table:
    columns = ("time", "how", "rule", "who", "approved_by", "ticket", "until", "why", "workload", "image")
    asked = wanted.asked(start=wanted.start, end=wanted.end, limit=ROWS)
    caption = (
        "Break-glass, exceptions, failed webhooks, audit mode: decisions of the window, and what runs all the same"
    )
    return asked_table(reader, "let-in", asked, caption, columns)
