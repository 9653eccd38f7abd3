"""Clusters by the names people gave them: what is kept and joined by id is shown by name. Pure.

    named(slice_, lambda cluster: names.get(cluster, cluster))

An id that has no name stays. In sentences only ids that are UIDs are replaced: a cluster that is called `prod` by its
own id must not change every word it stands in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from alerting.lifecycle import Slice
from alerting.models import Cause, Member

NameOf = Callable[[str], str]
"""Cluster id -> what it is called; an id that has no name is its own."""

_UID: Final = re.compile(r"(?<![0-9A-Za-z-])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9A-Za-z-])")


def named(slice_: Slice, name_of: NameOf) -> Slice:
    """What a destination gets to see, with the names of its clusters."""
    incident = slice_.incident
    shown = msgspec.structs.replace(
        incident,
        subject=in_text(incident.subject, name_of),
        message=in_text(incident.message, name_of),
        cause=_cause(incident.cause, name_of),
        examples=_members(incident.examples, name_of),
        unseen=tuple((name_of(cluster), last, containers) for cluster, last, containers in incident.unseen),
    )
    table = tuple((name_of(row[0]), *row[1:]) for row in slice_.namespace_table)
    return msgspec.structs.replace(
        slice_, incident=shown, examples=_members(slice_.examples, name_of), namespace_table=table
    )


def in_text(text: str, name_of: NameOf) -> str:
    """A sentence, or a subject, with names in the place of UIDs that have one."""
    return _UID.sub(lambda found: name_of(found[0]), text)


def _cause(cause: Cause, name_of: NameOf) -> Cause:
    if cause.kind != "baseline-cluster":
        return cause
    return msgspec.structs.replace(cause, label=name_of(cause.id) if cause.label in ("", cause.id) else cause.label)


def _members(members: Iterable[Member], name_of: NameOf) -> tuple[Member, ...]:
    return tuple(msgspec.structs.replace(member, cluster=name_of(member.cluster)) for member in members)
