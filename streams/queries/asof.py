"""What was so at an instant: containers by their run intervals, verdicts by the last one before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from streams.queries.conditions import Condition, Not, at_time, both, either, exists, is_, one_of
from streams.queries.port import Hit, RecordReader, every
from streams.queries.reading import chunks, number_of, text_of, texts_of
from streams.sinks.document import Body
from streams.sinks.fields import HOMES
from verifier.models import Micros, Outcome
from verifier.times import parse_instant
from verifier.verify import worst

NOT_STARTED: Final = Not(exists("provenance.run.started"))
"""No start was told (image volumes, lost states): counted as running, and said so."""


class VerdictAt(msgspec.Struct, frozen=True):
    """What one policy said of a class at an instant."""

    policy: str
    outcome: Outcome
    codes: tuple[str, ...]
    id: str
    exempted_by: str
    time: Micros = 0
    version: str = ""
    """Of the policy."""
    mode: str = ""


def running_at(at: Micros | None) -> Condition:
    """Containers that run now (None), or ran at an instant."""
    ended = exists("provenance.run.ended")
    if at is None:
        return both(Not(ended), exists("provenance.class.id"))
    started = either(NOT_STARTED, at_time("provenance.run.started", "<=", at))
    return both(started, either(Not(ended), at_time("provenance.run.ended", ">", at)), exists("provenance.class.id"))


def ended_between(start: Micros | None, end: Micros | None) -> Condition:
    """Containers that have ended and ran at some time between two instants (None: without limit)."""
    where: list[Condition] = [exists("provenance.run.ended")]
    if start is not None:
        where.append(at_time("provenance.run.ended", ">=", start))
    if end is not None:
        where.append(either(NOT_STARTED, at_time("provenance.run.started", "<=", end)))
    return both(*where)


def overlapping(start: Micros | None, end: Micros | None) -> Condition:
    """Containers that ran at some time between two instants (None: without limit), ended or not."""
    where: list[Condition] = [exists("provenance.class.id")]
    if start is not None:
        where.append(either(Not(exists("provenance.run.ended")), at_time("provenance.run.ended", ">=", start)))
    if end is not None:
        where.append(either(NOT_STARTED, at_time("provenance.run.started", "<=", end)))
    return both(*where)


def known_runs(
    reader: RecordReader, where: Condition, known: Micros, start: Micros | None, end: Micros | None
) -> Iterator[Hit]:
    """What was known by `known` of containers that ran between two instants, from their starts and ends on record.

    Each as the document of its start; the end is in it when it was known by then. A start or end is known from the
    input that first told of it. Containers without a start (image volumes) have no such document.
    """
    home, by_then = HOMES["lifecycle"], both(where, at_time("provenance.run.known_from", "<=", known))
    ends: dict[str, Body] = {}
    for hit in every(reader, home, both(by_then, is_("event.type", "end"))):
        ends[text_of(hit.body, "instance")] = hit.body
    begun = [] if end is None else [at_time("provenance.run.started", "<=", end)]
    for hit in every(reader, home, both(by_then, is_("event.type", "start"), *begun)):
        told = ends.get(text_of(hit.body, "instance"), {})
        if start is not None and told and parse_instant(text_of(told, "ended")) < start:
            continue
        yield Hit(hit.home, hit.id, hit.time, {**hit.body, **{n: told[n] for n in _END if n in told}})


_END: Final = ("provenance.run.ended", "provenance.run.ended_after", "provenance.run.end_reason")


def verdicts_at(reader: RecordReader, classes: Iterable[str], at: Micros) -> dict[str, dict[str, VerdictAt]]:
    """Class -> policy -> what was last said at or before `at`. A policy that was taken away by then says nothing."""
    removed = _removals(reader, at)
    said: dict[str, dict[str, VerdictAt]] = {}
    for some in chunks(sorted(set(classes))):
        where = both(one_of("class", some), at_time("@timestamp", "<=", at))
        hits = sorted(every(reader, HOMES["verification"], where), key=told_in_order)
        for hit in hits:
            _say(said.setdefault(text_of(hit.body, "class"), {}), hit, removed)
    return said


def _say(policies: dict[str, VerdictAt], hit: Hit, removed: dict[str, Micros]) -> None:
    policy = text_of(hit.body, "policy")
    if not policy:
        policies.clear()  # no policy matched any more
    else:
        policies.pop("", None)
    if hit.time <= removed.get(policy, hit.time - 1):
        return
    outcome: Outcome = text_of(hit.body, "verdict")  # type: ignore[assignment]  # written from a Verdict
    codes = texts_of(hit.body, "reason") if outcome != "valid" else ()
    exempted, version, mode = (text_of(hit.body, name) for name in ("exemption", "policy_version", "mode"))
    policies[policy] = VerdictAt(policy, outcome, codes, hit.id, exempted, hit.time, version, mode)


def told_in_order(hit: Hit) -> tuple[object, ...]:
    """Order of verdicts: by time; within one instant the first of a class before those that follow from it."""
    follows, judged = bool(text_of(hit.body, "previous")), bool(text_of(hit.body, "provenance.evidence.set"))
    return (hit.time, follows, number_of(hit.body, "epoch"), judged, hit.id)


def _removals(reader: RecordReader, at: Micros) -> dict[str, Micros]:
    """Policy -> when it was last taken away, unless it came back."""
    where = both(one_of("record", ("policy-put", "policy-removed")), at_time("@timestamp", "<=", at))
    gone: dict[str, Micros] = {}
    for hit in sorted(every(reader, HOMES["trust"], where), key=lambda h: number_of(h.body, "epoch")):
        policy = text_of(hit.body, "policy")
        if text_of(hit.body, "record") == "policy-removed":
            gone[policy] = hit.time
        else:
            gone.pop(policy, None)
    return gone


def as_it_was(body: Body, verdicts: dict[str, VerdictAt]) -> Body:
    """A container's document with the state and the verdicts of an instant instead of today's."""
    kept = {k: v for k, v in body.items() if k not in _NOT_THEN}
    told = [v for v in verdicts.values() if v.policy]
    made: Body = {**kept, "provenance.state": "running"}
    outcomes = [v.outcome for v in verdicts.values()]
    lists = {
        "provenance.policy.id": [v.policy for v in told],
        "provenance.policy.violated": [v.policy for v in told if v.outcome == "violates"],
        "provenance.policy.unverifiable": [v.policy for v in told if v.outcome == "unverifiable"],
        "provenance.reason.code": list(dict.fromkeys(code for v in verdicts.values() for code in v.codes)),
        "provenance.exemption.id": [v.exempted_by for v in told if v.exempted_by],
    }
    made.update({name: values for name, values in lists.items() if values})
    if outcomes:
        made["provenance.verdict"] = worst(outcomes)
    return made


_NOT_THEN: Final = frozenset(
    {
        "message",
        "provenance.verdict",
        "provenance.policy.id",
        "provenance.policy.violated",
        "provenance.policy.unverifiable",
        "provenance.policies",
        "provenance.reason.code",
        "provenance.exemption.id",
        "provenance.run.ended",
        "provenance.run.end_reason",
    }
)
"""What a container's document says of today alone."""
