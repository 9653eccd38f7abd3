"""Findings about revet itself and about trust, not about a workload: what ends soon, stands still, was refused. Pure.

One subject, one finding, one incident with one part:

    finding, part = told(own, Standing(opened, sequence, open=True), now)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from alerting.findings import incident_of, message_of
from alerting.models import Cause, Finding, IncidentPart, Severity
from verifier.canonical import stable_id

OWN_SHARD: Final = -1
"""Shard number of parts that come from the alerter itself: no shard of workloads has a word in them."""


class Own(msgspec.Struct, frozen=True):
    """What a finding is about."""

    code: str
    kind: str
    """What kind of thing: `key`, `exemption`, `judge`, `trust log`."""
    id: str
    """Which one; names the finding."""
    name: str
    severity: Severity
    subject: str
    """What the incident is about, for people."""
    detail: tuple[tuple[str, str], ...]
    label: str = ""
    """Of the cause, for people; the name where it is left out."""
    cluster: str = ""
    """The cluster that it is about, where it is about one."""


class Standing(msgspec.Struct, frozen=True):
    """How it stands."""

    opened: int
    sequence: int
    open: bool
    why_closed: str = ""
    count: int = 1
    """While it is open: how much there is of it. An incident that was closed by hand opens again when this grows."""


class Told(NamedTuple):
    """What changed: for the record, and for the incident book."""

    findings: tuple[Finding, ...] = ()
    parts: tuple[IncidentPart, ...] = ()


_Kept = TypeVar("_Kept", bound=msgspec.Struct)


class OneRow(Generic[_Kept]):
    """Whoever watches one thing: all of what has to survive a restart is one row."""

    def __init__(self, kept: _Kept) -> None:
        self._kept = kept
        self._changed = False

    def dirty(self) -> dict[str, bytes]:
        """The row, when it changed since `saved`."""
        return {"": msgspec.msgpack.encode(self._kept)} if self._changed else {}

    def saved(self) -> None:
        """What `dirty` gave is stored."""
        self._changed = False

    def load(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """What `dirty` once gave.

        Raises:
            msgspec.DecodeError: it is something else.
        """
        for _, value in rows:
            self._kept = msgspec.msgpack.decode(value, type=type(self._kept))


def told(own: Own, standing: Standing, now: int) -> tuple[Finding, IncidentPart]:
    """The finding as it is now, and the part that goes into the incident book.

    Raises:
        KeyError: the code has no row.
    """
    finding = _finding(own, standing, now)
    return finding, _part(finding, own, standing)


def _finding(own: Own, standing: Standing, now: int) -> Finding:
    cause = Cause(label=own.label or own.name)
    incident = incident_of(
        own.code,
        cluster="",
        namespace="",
        owner_kind=own.kind,
        owner_name=own.name,
        policy="",
        policy_version="",
        repository="",
        digest="",
        cause=cause,
        detail=own.detail,
    )
    finding = Finding(
        id=stable_id("finding", own.code, "", "", own.kind, own.id, "", "", ""),
        code=own.code,
        state="open" if standing.open else "closed",
        severity=own.severity,
        cluster=own.cluster,
        namespace="",
        owner_kind=own.kind,
        owner_name=own.name,
        container="",
        policy="",
        digest="",
        image="",
        repository="",
        cause=cause,
        incident=incident.id,
        opened=standing.opened,
        changed=now,
        closed=None if standing.open else now,
        close_reason="" if standing.open else standing.why_closed,
        members=standing.count if standing.open else 0,
        sequence=standing.sequence,
        detail=own.detail,
    )
    return msgspec.structs.replace(finding, message=message_of(finding))


def _part(finding: Finding, own: Own, standing: Standing) -> IncidentPart:
    return IncidentPart(
        incident=finding.incident,
        kind=own.code,
        subject=own.subject,
        cause=finding.cause,
        policy="",
        severity=finding.severity,
        shard=OWN_SHARD,
        cluster="",
        namespace="",
        epoch=0,
        sequence=standing.sequence,
        time=finding.changed,
        containers=0,
        workloads=standing.count if standing.open else 0,
        opened=finding.opened,
        message=finding.message,
        closed=((finding.close_reason, 1),) if finding.close_reason else (),
    )
