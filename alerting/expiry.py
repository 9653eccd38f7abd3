"""What is trusted and ends soon: keys with a window, exemptions. Pure; the time is an argument.

result = expiring_soon(things, known, now)     # findings and parts that changed, and the new `known`
wake_at(next_expiry(things, now))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from alerting.models import Finding, IncidentPart, Severity
from alerting.ownfindings import Own, Standing, told
from alerting.text import utc
from verifier.times import DAY

CODE: Final = "expires-soon"
STAGES: Final[tuple[tuple[int, Severity], ...]] = ((7 * DAY, "high"), (30 * DAY, "low"))
"""(time left, severity), the nearest first."""


class Expiring(msgspec.Struct, frozen=True):
    """Something that ends at a known time."""

    kind: str
    """`key`, `exemption` …"""
    id: str
    name: str
    expires_at: int


class Known(msgspec.Struct, frozen=True):
    """What was last said about a thing."""

    thing: Expiring
    severity: Severity
    opened: int
    sequence: int
    open: bool = True


class ExpiryResult(NamedTuple):
    """What changed, and what is known now (by `kind:id`); the caller keeps the latter."""

    findings: tuple[Finding, ...]
    parts: tuple[IncidentPart, ...]
    known: dict[str, Known]


def expiring_soon(things: Iterable[Expiring], known: Mapping[str, Known], now: int) -> ExpiryResult:
    """Compare what ends within 30 days with what was said before: low within 30 days, high within 7, closed when the
    time was moved (`valid-again`), or has come, or the thing is gone (`ended`).
    """
    current = {thing_key(thing): thing for thing in things}
    after = dict(known)
    findings: list[Finding] = []
    parts: list[IncidentPart] = []
    for key in sorted(current.keys() | known.keys()):
        before, thing = known.get(key), current.get(key)
        state = _state(before, thing, now)
        if state is None or state == before:
            continue
        after[key] = state
        why = "" if state.open else _close_reason(thing, now)
        finding, part = told(_own(key, state), Standing(state.opened, state.sequence, state.open, why), now)
        findings.append(finding)
        parts.append(part)
    return ExpiryResult(tuple(findings), tuple(parts), after)


def next_expiry(things: Iterable[Expiring], now: int) -> int | None:
    """When `expiring_soon` has something new to say; None when never."""
    instants = (thing.expires_at - left for thing in things for left in (0, *(limit for limit, _ in STAGES)))
    return min((instant for instant in instants if instant > now), default=None)


def thing_key(thing: Expiring) -> str:
    """`kind:id`."""
    return f"{thing.kind}:{thing.id}"


def _state(before: Known | None, thing: Expiring | None, now: int) -> Known | None:
    """What is to be said now; None when there is nothing to say and never was."""
    severity = _severity(thing, now) if thing else None
    sequence = before.sequence + 1 if before else 1
    if thing is None or severity is None:
        if before is None or not before.open:
            return before
        return msgspec.structs.replace(before, open=False, sequence=sequence)
    if before is not None and before.open and (before.thing, before.severity) == (thing, severity):
        return before
    opened = before.opened if before and before.open else now
    return Known(thing=thing, severity=severity, opened=opened, sequence=sequence)


def _severity(thing: Expiring, now: int) -> Severity | None:
    left = thing.expires_at - now
    return next((severity for limit, severity in STAGES if 0 < left <= limit), None)


def _close_reason(thing: Expiring | None, now: int) -> str:
    return "valid-again" if thing is not None and thing.expires_at > now else "ended"


def _own(key: str, state: Known) -> Own:
    thing = state.thing
    label = f"{thing.kind} {thing.name or thing.id}"
    detail = (("expires", utc(thing.expires_at)), ("expiring", key), ("name", label))
    return Own(CODE, thing.kind, thing.id, thing.name, state.severity, key, detail, label)
