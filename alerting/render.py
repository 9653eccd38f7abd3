"""One message per (incident, destination): what changed, how bad, whose, since when, what to do, what is not known.

The model is structured and knows no destination's markup; adapters lay it out. Text from outside is `Untrusted` in the
model, or went through `safe` where it is part of a sentence. The headline alone (<= 200 characters) says enough to
decide between sleeping and getting up.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from typing import Final, Literal

import msgspec

from alerting.findings import FINDINGS, REASON_FINDINGS, ROOT_CAUSE, FindingRow
from alerting.lifecycle import Reply, Slice
from alerting.models import Cause, Incident, IncidentState, Member, Proposal, Severity
from alerting.routing import UNOWNED
from alerting.text import Untrusted, count, cut, duration, is_plain, safe, short_digest, utc

HEADLINE_LIMIT: Final = 200
NAME_LIMIT: Final = 60
"""Longest name within a sentence, in characters."""

ID_LIMIT: Final = 28
"""Longest id within a sentence: its kind and enough digits to recognise it."""

MESSAGE_LIMIT: Final = 500
"""Longest reason text shown, in characters."""

MAX_NAMED_TEAMS: Final = 3
MAX_NAMED_NAMESPACES: Final = 5
MAX_NOTES: Final = 3
RECORD_DOWN: Final = "what the record holds: the index is unavailable, and links into it lead nowhere until it is back"
CHECKPOINT: Final = "checkpoint"
"""Kind of a message that is no incident: the ledger's line of a day (`alerting.daily`)."""
COLUMNS: Final = ("cluster", "namespace", "workload", "count", "since", "image")

_COMMANDABLE_IMAGE: Final = re.compile(r"[a-z0-9][a-z0-9._:/-]{0,254}@sha256:[0-9a-f]{64}")
_COMMANDABLE_OWNER: Final = re.compile(r"[A-Za-z]{1,63}/[a-z0-9][a-z0-9.-]{0,252}")
_COMMANDABLE_NAMESPACE: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Fact(msgspec.Struct, frozen=True):
    """A labelled line. `value` is safe text, or `Untrusted`."""

    label: str
    value: str


class Table(msgspec.Struct, frozen=True):
    """The largest members; cells are untrusted."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Untrusted, ...], ...]
    more: int
    """Workloads that are not shown."""


class Message(msgspec.Struct, frozen=True):
    """What one destination shall read."""

    incident: str
    short_id: str
    kind: str
    revision: int
    severity: Severity
    state: IncidentState
    as_of: int
    headline: str
    """At most 200 characters, safe."""
    what: Untrusted
    """The sentence of one finding, as an example."""
    facts: tuple[Fact, ...]
    """Changed, how bad, whose, since, closed, notes: in reading order."""
    table: Table
    benign: str
    todo: str
    commands: tuple[str, ...]
    """Shell-quoted, digest references only; empty where a value was unfit to paste."""
    unknown: tuple[str, ...]
    """What we do not know."""
    link: str
    """Path of the finding's page in the documentation."""
    opened: int = 0
    """When the incident opened."""
    marks: tuple[str, ...] = ()
    """`SILENCED`, `UNKNOWN`: beside the state."""
    presses: tuple[Literal["ack", "propose"], ...] = ()
    """What a button may do to it."""
    incidents: tuple[str, ...] = ()
    """Of a digest: what it stands for."""

    @property
    def content_hash(self) -> str:
        """Hash over what a reader sees, without revision and as-of time: the same hash needs no edit."""
        shown = msgspec.to_builtins(msgspec.structs.replace(self, revision=0, as_of=0), enc_hook=str)
        return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()


def render(slice_: Slice, *, record_is_down: bool = False) -> Message:
    """The message of one destination. `record_is_down`: nobody can look into the record now."""
    incident = slice_.incident
    row = FINDINGS[incident.kind]
    return Message(
        incident=incident.id,
        short_id=incident.short_id,
        kind=incident.kind,
        revision=incident.revision,
        severity=incident.severity,
        state=incident.state,
        as_of=incident.changed,
        headline=_headline(slice_, row),
        what=Untrusted(cut(incident.message, MESSAGE_LIMIT)),
        facts=tuple(fact for fact in _facts(slice_) if fact.value),
        table=_table(slice_),
        benign=row.benign,
        todo=row.todo,
        commands=_commands(slice_),
        unknown=(*_unknown(slice_), *((RECORD_DOWN,) if record_is_down else ())),
        link=f"docs/findings/{incident.kind}.md",
        opened=incident.opened,
        marks=_marks(incident),
        presses=_presses(incident),
    )


def render_reply(reply: Reply, message: Message) -> str:
    """One safe line below the parent."""
    who = safe(reply.by, NAME_LIMIT)
    over = f"the silence by {who} has ended" if reply.by else "there is more now than what is silenced"
    sentences = {
        "severity-raised": f"now {reply.severity}: {count(reply.containers, 'container')}",
        "acknowledged": f"acknowledged by {who}",
        "resolved": "resolved: nothing is left of it",
        "closed": f"closed by {who} with {count(reply.containers, 'container')} left",
        "reopened": f"open again: {count(reply.containers, 'container')}",
        "reminder": f"nobody has taken it: {count(reply.containers, 'container')}",
        "refused": f"{who}: nothing to acknowledge or to propose, it is already resolved",
        "silence-ended": f"{over}: {count(reply.containers, 'container')} still open",
        "exemption-proposed": f"{who} proposes to accept it: a trust administrator decides, nothing is accepted yet",
    }
    return f"{message.short_id} {sentences[reply.purpose]} ({utc(reply.time)})"


def extent(slice_: Slice) -> str:
    """`12 containers, 3 workloads, 2 namespaces, 1 cluster`; what is zero is left out."""
    counts = (
        (slice_.containers, "container"),
        (slice_.workloads, "workload"),
        (slice_.namespaces, "namespace"),
        (slice_.clusters, "cluster"),
    )
    told = [count(number, noun) for number, noun in counts if number]
    return ", ".join(told) if told else "nothing left"


def about(incident: Incident) -> str:
    """What the incident is about, safe and short: the cause's name for people, else the subject."""
    cause = incident.cause
    if cause.kind == "none":
        return _name(cause.label or incident.subject)
    noun = _CAUSE_KINDS[cause.kind]
    if not cause.kind.startswith("baseline"):  # those are named by policies and clusters, which may be called anything
        noun = _CAUSE_NOUNS.get(cause.id.partition(":")[0], noun)
    return f"{noun} {_name(cause.label or cause.id)}"


_CAUSE_KINDS: Final = {
    "revocation": "revoked",
    "policy-change": "policy",
    "baseline-policy": "policy",
    "baseline-cluster": "cluster",
}
_CAUSE_NOUNS: Final = {
    "key": "key",
    "digest": "digest",
    "evidence": "signature",
    "identity": "identity",
    "ca": "CA",
    "builder": "builder",
    "commit": "commit",
    "log": "log",
    "root": "trust root",
}
"""What the beginning of a cause's id stands for."""


def _headline(slice_: Slice, row: FindingRow) -> str:
    """State and severity, what, about what, how much, whose, and the name to ask for; always within the limit."""
    incident = slice_.incident
    state = "" if incident.state == "open" else f"{incident.state.upper()} "
    state = "".join(f"{mark} " for mark in _marks(incident)) + state
    least = "at least " if slice_.workloads and not incident.final else ""
    whose = f"yours ({_name(slice_.team)})" if slice_.team else _teams(incident)
    ending = f" [{incident.short_id}]"
    text = f"{state}{incident.severity.upper()}: {row.title}: {about(incident)}; {least}{extent(slice_)}"
    room = HEADLINE_LIMIT - len(ending)
    if whose and len(text) + 2 + len(whose) <= room:
        text += f"; {whose}"
    return cut(text, room) + ending


def _teams(incident: Incident) -> str:
    named = [safe(team, NAME_LIMIT // 2) for team, _, _ in incident.teams[:MAX_NAMED_TEAMS]]
    rest = len(incident.teams) - len(named)
    return (
        ("team " if len(incident.teams) == 1 else "teams ") + ", ".join(named) + (f" +{rest}" if rest else "")
        if named
        else ""
    )


def _facts(slice_: Slice) -> tuple[Fact, ...]:
    incident = slice_.incident
    peak = (
        f" (at most {incident.peak_containers:,} at one time)" if incident.peak_containers > incident.containers else ""
    )
    end = incident.resolved if incident.resolved is not None else incident.changed
    return (
        Fact("changed", what_changed(incident.cause)),
        Fact("how bad", extent(slice_) + ("" if slice_.team else peak)),
        Fact("whose", f"team {_name(slice_.team)}" if slice_.team else _owners(incident)),
        Fact("where", _where(slice_)),
        Fact("since", f"{utc(incident.opened)} ({duration(end - incident.opened)})"),
        Fact("resolved", utc(incident.resolved) if incident.resolved is not None else ""),
        Fact("ended as", ", ".join(f"{safe(why, NAME_LIMIT)} {number:,}" for why, number in incident.closed)),
        Fact("reopened", count(incident.reopened, "time") if incident.reopened else ""),
        Fact("acked by", _name(incident.acknowledged_by) if incident.acknowledged_by else ""),
        Fact("silenced", _silenced(incident)),
        Fact("not seen", _unseen(incident)),
        Fact("deployed", Untrusted(_deployed_by(slice_))),
        Fact("good", Untrusted(incident.good_image if _shows_largest(slice_) else "")),
        *(Fact("proposed", _proposed(proposal)) for proposal in _pending(incident)),
        *(Fact("note", f"{utc(at)} {_name(by)}: {safe(text)}") for at, by, text in incident.notes[-MAX_NOTES:]),
    )


def _shows_largest(slice_: Slice) -> bool:
    """Is the incident's largest member, which the record was asked about, also the largest of what is shown here?"""
    tops = [rows[:1] for rows in (slice_.examples, slice_.incident.examples)]
    own, whole = ([(m.cluster, m.namespace, m.owner, m.digest) for m in rows] for rows in tops)
    return own == whole


def _deployed_by(slice_: Slice) -> str:
    """Names of people stay where the whole is told: they are not for every channel a team may have."""
    return slice_.incident.deployed_by if not slice_.team and _shows_largest(slice_) else ""


def _presses(incident: Incident) -> tuple[Literal["ack", "propose"], ...]:
    """What is open can be taken; what an exemption could accept can be proposed for one."""
    taken: tuple[Literal["ack"], ...] = ("ack",) if incident.state == "open" else ()
    return (*taken, "propose") if incident.state != "resolved" and is_exemptable(incident) else taken


def is_exemptable(incident: Incident) -> bool:
    """Could an exemption accept it? Not what nobody judged by a policy, nor what shows a compromise."""
    row = FINDINGS[incident.kind]
    judged = incident.kind in _JUDGED or incident.cause.kind in ("policy-change", "baseline-policy", "baseline-cluster")
    return judged and not row.proof_of_compromise and incident.cause.kind != "revocation" and bool(incident.policy)


_JUDGED: Final = frozenset(REASON_FINDINGS.values())


def _pending(incident: Incident) -> tuple[Proposal, ...]:
    """What is proposed and still of use."""
    return () if incident.state == "resolved" else incident.proposals


def _proposed(proposal: Proposal) -> str:
    ticket = f" ({safe(proposal.ticket, NAME_LIMIT)})" if proposal.ticket else ""
    said = f"accept it for {count(proposal.days, 'day')}{ticket}: {safe(proposal.why)}"
    return f"{utc(proposal.time)} {_name(proposal.by)}: {said}; a trust administrator decides"


def _is_silenced(incident: Incident) -> bool:
    """All that is left of it."""
    return bool(incident.silences) and incident.silenced == (incident.containers, incident.workloads)


def _marks(incident: Incident) -> tuple[str, ...]:
    """What has to be known before anything else."""
    named = (("SILENCED", _is_silenced(incident)), ("UNKNOWN", incident.unknown))
    return tuple(mark for mark, applies in named if applies)


def _unseen(incident: Incident) -> str:
    """Clusters of which nothing is heard: what is counted there is what was seen last."""
    named = [
        f"cluster {_name(cluster)} since {utc(last)} ({count(containers, 'container')} then)"
        for cluster, last, containers in incident.unseen[:MAX_NAMED_NAMESPACES]
    ]
    rest = len(incident.unseen) - len(named)
    return ", ".join(named) + (f" and {count(rest, 'more cluster')}" if rest else "")


def _silenced(incident: Incident) -> str:
    """How much, until when, by whom and why: of several silences the one that lasts longest."""
    if not incident.silences:
        return ""
    _, by, why, until = max(incident.silences, key=lambda row: (row[3], row[0]))
    containers, workloads = incident.silenced
    some = count(containers, "container") if containers else count(workloads, "workload")
    much = "all of it" if _is_silenced(incident) else f"{some} of it"
    more = len(incident.silences) - 1
    return f"{much}, until {utc(until)}, by {_name(by)}: {safe(why)}" + (
        f" (and by {count(more, 'more silence')})" if more else ""
    )


def what_changed(cause: Cause) -> str:
    """One safe sentence; empty when no trust change caused it."""
    if cause.kind == "none":
        return ""
    name, identity = _name(cause.label or cause.id), safe(cause.id, ID_LIMIT)
    when = f" at {utc(cause.at)}" if cause.at else ""
    changed = "trust root" if cause.id.startswith(ROOT_CAUSE) else "policy"
    sentence = {
        "revocation": f"{name} was revoked ({identity})",
        "policy-change": f"{changed} {name} changed ({identity})",
        "baseline-policy": f"policy {name} took effect for the first time",
        "baseline-cluster": f"cluster {name} was added",
    }[cause.kind]
    return f"{sentence}{when}, trust epoch {cause.epoch}"


def _owners(incident: Incident) -> str:
    return ", ".join(
        f"{safe(team, NAME_LIMIT)} {count(containers, 'container') if containers else count(workloads, 'workload')}"
        for team, containers, workloads in incident.teams
    )


def _where(slice_: Slice) -> str:
    """The largest namespaces, when there are several."""
    if slice_.namespaces < 2:
        return ""
    named = [
        f"{_name(cluster)}/{_name(namespace)} {containers or workloads:,}"
        for cluster, namespace, containers, workloads in slice_.namespace_table[:MAX_NAMED_NAMESPACES]
    ]
    rest = slice_.namespaces - len(named)
    return ", ".join(named) + (f" and {count(rest, 'more namespace')}" if rest else "") if named else ""


def _table(slice_: Slice) -> Table:
    rows = tuple(_member_row(member) for member in slice_.examples)
    workloads = {(member.cluster, member.namespace, member.owner) for member in slice_.examples}
    return Table(columns=COLUMNS, rows=rows, more=max(0, slice_.workloads - len(workloads)))


def _member_row(member: Member) -> tuple[Untrusted, ...]:
    image = f"{member.image.partition('@')[0]}@{short_digest(member.digest)}" if member.digest else member.image
    cells = (member.cluster, member.namespace, member.owner, f"{member.count:,}", f"{utc(member.since)[:16]}Z", image)
    return tuple(Untrusted(cell) for cell in cells)


def _commands(slice_: Slice) -> tuple[str, ...]:
    """At most four lines to paste. A value that does not follow its grammar gives no line at all."""
    lines = [shlex.join(["revet", "incident", "show", slice_.incident.short_id])]
    if slice_.examples:
        first = slice_.examples[0]
        image = f"{repository_of(first.image)}@{first.digest}"
        if _COMMANDABLE_IMAGE.fullmatch(image):
            lines.append(shlex.join(["revet", "trace", image]))
        if _COMMANDABLE_OWNER.fullmatch(first.owner) and _COMMANDABLE_NAMESPACE.fullmatch(first.namespace):
            kind, _, name = first.owner.partition("/")
            lines.append(shlex.join(["kubectl", "-n", first.namespace, "get", f"{kind.lower()}/{name}", "-o", "wide"]))
    if is_exemptable(slice_.incident):
        lines += [shlex.join(_exempting(slice_, proposal)) for proposal in _pending(slice_.incident)[-1:]]
    return tuple(line for line in lines if is_plain(line))


def _exempting(slice_: Slice, proposal: Proposal) -> list[str]:
    """What a trust administrator runs who agrees. Its scope is where it is now, and has to be looked at."""
    incident = slice_.incident
    places = slice_.namespace_table
    words = ["revet", "exempt", "add", "--policy", incident.policy]
    if slice_.namespaces <= min(MAX_NAMED_NAMESPACES, len(places)):
        for option, names in (("--cluster", {row[0] for row in places}), ("--namespace", {row[1] for row in places})):
            words += [word for name in sorted(names) for word in (option, name)]
    why = f"{incident.short_id}: {proposal.why}"
    words += ["--why", why if is_plain(why) else incident.short_id, "--days", str(proposal.days)]
    words += ["--owner", incident.teams[0][0] if incident.teams else UNOWNED, "--approver", "YOUR-NAME"]
    return words + (["--ticket", proposal.ticket] if proposal.ticket else [])


def repository_of(image: str) -> str:
    """`registry/path` of an image text, for showing and commands; nothing is normalised."""
    path = image.partition("@")[0]
    head, colon, tag = path.rpartition(":")
    return head if colon and "/" not in tag else path


def _unknown(slice_: Slice) -> tuple[str, ...]:
    incident = slice_.incident
    nobody = sum(containers for team, containers, _ in incident.teams if team == UNOWNED)
    candidates = (
        (incident.unknown, "whether it is still so: nothing of it is in sight, and nothing resolves until it is"),
        (not incident.final, f"whether this is all: not every shard has judged trust epoch {incident.cause.epoch} yet"),
        (bool(nobody) and not slice_.team, f"who owns {count(nobody, 'container')}: their namespaces name no team"),
        (
            bool(slice_.containers) and not _deployed_by(slice_),
            "who deployed it: `revet trace` shows what the record has"
            if slice_.team
            else "who deployed it: the record names nobody so far; `revet trace` shows what it has",
        ),
        (
            bool(slice_.containers) and bool(incident.policy) and _shows_largest(slice_) and not incident.good_image,
            "a good image to go back to: the record has none of this repository that is valid now",
        ),
    )
    return tuple(sentence for applies, sentence in candidates if applies)


def _name(text: str) -> str:
    return safe(text, NAME_LIMIT)
