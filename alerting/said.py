"""What the incident book puts out, made from its state: rows, transitions, replies, intents. Pure; nothing is changed.

row_of(head, totals, silenced, now)          the incident as it is
lifecycle_of(held, "noted", now, who)        what happened to it
intent_of(held, "security", now, replies)    that somebody shall be told
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

from alerting.findings import FINDINGS
from alerting.held import Head, Held
from alerting.lifecycle import Lifecycle, Notification, Reply, ReplyPurpose, Slice, Transition
from alerting.models import Incident, IncidentAction, IncidentState
from alerting.sight import Unseen
from alerting.tally import Totals
from alerting.text import count

_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

_QUIET: Final = frozenset({"acknowledged", "refused", "silence-ended", "exemption-proposed"})
"""Replies that are never shown in the channel as well."""


class Who(NamedTuple):
    """Who did something, and what they said. Untrusted text."""

    id: str = ""
    """Of the act; empty: nobody did it, it came by itself."""
    by: str = ""
    text: str = ""


NOBODY: Final = Who()


class Silenced(NamedTuple):
    """How much of an incident is silenced, and by what (`alerting.models.Incident`)."""

    silences: tuple[tuple[str, str, str, int], ...] = ()
    extent: tuple[int, int] = (0, 0)


def who(action: IncidentAction) -> Who:
    """Whoever an action is of."""
    if action.action != "propose":
        return Who(action.id, action.by, action.text)
    ticket = f" ({action.ticket})" if action.ticket else ""
    return Who(action.id, action.by, f"accept it for {count(action.days, 'day')}{ticket}: {action.text}")


def row_of(head: Head, sums: Totals, silenced: Silenced, unseen: Unseen, now: int) -> Incident:
    """The incident as it is now."""
    return Incident(
        id=head.id,
        short_id=short_id(head.id),
        kind=head.kind,
        subject=head.subject,
        cause=head.cause,
        policy=sums.policy,
        severity=head.severity,
        state=public(head),
        epoch=sums.epoch,
        revision=head.revision,
        opened=head.opened,
        changed=now,
        resolved=head.resolved,
        containers=sums.containers,
        workloads=sums.workloads,
        namespaces=sums.namespaces,
        clusters=sums.clusters,
        peak_containers=sums.peak,
        teams=sums.teams,
        examples=sums.examples,
        closed=sums.closed,
        message=sums.message,
        acknowledged_by=head.acknowledged_by,
        notes=head.notes,
        reopened=head.reopened,
        final=head.final,
        paging=pages(head),
        silences=silenced.silences,
        silenced=silenced.extent,
        unseen=unseen.clusters if head.active else (),
        unknown=unseen.all and head.active,
        proposals=head.proposals,
        deployed_by=head.deployed_by,
        good_image=head.good_image,
    )


def slice_made(incident: Incident, destination: str, team: str, sums: Totals) -> Slice:
    """What a destination gets to see of it: the sums of its team, or of everybody."""
    return Slice(
        incident=incident,
        destination=destination,
        team=team,
        containers=sums.containers,
        workloads=sums.workloads,
        namespaces=sums.namespaces,
        clusters=sums.clusters,
        examples=sums.examples,
        namespace_table=sums.namespace_table,
    )


def lifecycle_of(held: Held, transition: Transition, now: int, by: Who = NOBODY) -> Lifecycle:
    """A transition. One that is refused changes no revision, so the act names it."""
    head = held.head
    place = by.id if transition == "refused" and by.id else str(head.revision)
    return Lifecycle(
        id=f"{head.id}:{place}:{transition}",
        incident=head.id,
        short_id=short_id(head.id),
        transition=transition,
        time=now,
        revision=head.revision,
        state=public(head),
        severity=head.severity,
        containers=held.containers,
        workloads=held.workloads,
        by=by.by,
        text=by.text,
    )


def reply_of(held: Held, purpose: ReplyPurpose, now: int, by: Who = NOBODY) -> Reply:
    """A line below the message."""
    head = held.head
    place = by.id or (f"{head.revision}.{head.reminded}" if head.reminded else str(head.revision))
    loud = head.severity == "critical" and pages(head) and purpose not in _QUIET
    return Reply(f"{purpose}-{place}", purpose, now, head.severity, held.containers, by=by.by, broadcast=loud)


def intent_of(held: Held, destination: str, now: int, replies: tuple[Reply, ...] = ()) -> Notification:
    """That a destination shall see it as it is."""
    head = held.head
    return Notification(
        incident=head.id,
        destination=destination,
        episode=head.episode,
        revision=head.revision,
        time=now,
        severity=head.severity,
        paging=pages(head),
        replies=replies,
        resolved=head.state == "resolved",
    )


def pages(head: Head) -> bool:
    """May it wake somebody?"""
    row = FINDINGS.get(head.kind)
    return row is None or row.paging


def public(head: Head) -> IncidentState:
    """The state as others know it."""
    return "open" if head.state == "waiting" else head.state


def short_id(incident: str) -> str:
    """`INC-` and six Crockford base-32 characters of the id's own hash: for people to say, not for joins."""
    number = int.from_bytes(hashlib.sha256(incident.encode()).digest()[:4]) & 0x3FFFFFFF
    return "INC-" + "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(25, -1, -5))
