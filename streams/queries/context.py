"""What the record adds to an incident: who deployed its largest member, and the newest image of it that is valid now.

    found = context_of(reader, incident, now)         an `IncidentContext`; what the record does not have stays empty

Both are questions anybody can ask (`revet trace`, `revet search`); here they are asked before a person has to.
"""

from __future__ import annotations

from typing import Final

from alerting.models import Incident, IncidentContext, Member
from streams.queries.conditions import Is, Not, both, is_
from streams.queries.port import Hit, RecordReader, every, one
from streams.queries.reading import text_of
from streams.sinks.document import instant
from streams.sinks.fields import HOMES
from verifier.models import Micros
from verifier.times import show_instant

DECISIONS_READ: Final = 50
"""Newest admissions of the workload among which a person, or a delivery tool, is looked for."""
VERDICTS_READ: Final = 200
IMAGES_READ: Final = 10
"""Newest images of the repository that were valid once."""
_MACHINERY: Final = ("system:serviceaccount:kube-system:", "system:node", "system:kube-", "system:apiserver")
"""Users that act for others: controllers that make pods of what somebody deployed."""


def context_of(reader: RecordReader, incident: Incident, now: Micros) -> IncidentContext:
    """What the record says at `now` of the largest member.

    Raises:
        InputError: no record here.
        PlaceUnavailable: the store does not answer; PlaceRefused: it does not let us in.
    """
    made = f"{incident.id}:context:{now}"
    if not incident.examples:
        return IncidentContext(made, now, incident.id)
    member = incident.examples[0]
    return IncidentContext(
        made, now, incident.id, deployed_by(reader, member), good_image(reader, member, incident.policy, now)
    )


def deployed_by(reader: RecordReader, member: Member) -> str:
    """Who was last let in with the workload, and how; empty: the record has no such decision."""
    kind, _, name = member.owner.partition("/")
    admitted = both(
        is_("cluster", member.cluster), is_("namespace", member.namespace), Is("provenance.workload.kind", kind),
        is_("workload", name), is_("admission", "admitted"), Not(is_("dry_run", True)),  # a value
    )  # fmt: skip
    hits = reader.find(HOMES["admission"], admitted, newest_first=True, limit=DECISIONS_READ).hits
    named = [hit for hit in hits if text_of(hit.body, "user")]
    found = next((hit for hit in named if not text_of(hit.body, "user").startswith(_MACHINERY)), None)
    if found is None:
        found = named[0] if named else None
    return "" if found is None else _deployed(found)


def _deployed(hit: Hit) -> str:
    agent = text_of(hit.body, "agent").partition(" ")[0]
    with_ = f" with {agent}" if agent else ""
    what = f"{text_of(hit.body, 'operation')} of {text_of(hit.body, 'resource')}"
    return f"{text_of(hit.body, 'user')}{with_}, {what} at {show_instant(hit.time)}"


def good_image(reader: RecordReader, member: Member, policy: str, now: Micros) -> str:
    """`repository@digest` of the newest image of the member's repository whose newest verdict under the policy is
    valid; empty: the record has none.
    """
    own = one(reader, HOMES["verification"], is_("digest", member.digest)) if member.digest else None
    repository = text_of(own.body, "repository") if own is not None else ""
    if not repository or not policy:
        return ""
    valid = both(is_("repository", repository), is_("policy", policy), is_("verdict", "valid"))
    hits = reader.find(HOMES["verification"], valid, newest_first=True, limit=VERDICTS_READ).hits
    digests = list(dict.fromkeys(text_of(hit.body, "digest") for hit in hits))[:IMAGES_READ]
    good = next((digest for digest in digests if digest and _is_good(reader, digest, policy, now)), "")
    return f"{repository}@{good}" if good else ""


def _is_good(reader: RecordReader, digest: str, policy: str, now: Micros) -> bool:
    """Is the newest verdict of each of its classes valid, and still in force?"""
    about = both(is_("digest", digest), is_("policy", policy))
    newest: dict[str, str] = {}
    for hit in every(reader, HOMES["verification"], about, newest_first=True):
        over = text_of(hit.body, "provenance.evaluation.valid_until")
        outcome = text_of(hit.body, "verdict")
        newest.setdefault(text_of(hit.body, "class"), "over" if over and over <= instant(now) else outcome)
    return bool(newest) and all(outcome == "valid" for outcome in newest.values())
