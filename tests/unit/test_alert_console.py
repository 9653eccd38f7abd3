"""What people read on a terminal: complete, within its columns, and nothing raw from outside."""

from __future__ import annotations

import io
import re
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.adapters.console import ConsoleNotifier, message_text
from alerting.delivery import Ledger, deliver
from alerting.findings import FINDINGS
from alerting.incidents import IncidentBook
from alerting.lifecycle import Notification, Reply, Slice
from alerting.models import Cause, Incident, IncidentAction, IncidentPart, Member, ShardReached
from alerting.render import HEADLINE_LIMIT, render, render_reply, repository_of
from alerting.routing import Routes
from alerting.text import width
from verifier.times import DAY, HOUR, MINUTE, SECOND

T0 = 1_767_225_600 * SECOND
DIGEST = "sha256:" + "ab" * 32
REVOKED = Cause("revocation", "key:" + "3f" * 32, "payments-ops", T0, 5)

HOSTILE = [
    "\x1b[2J\x1b[31mALL CLEAR\x1b[0m",
    "\x1b]8;;https://evil.example\x07click\x1b]8;;\x07",
    "line\nCRITICAL: fake\r\n$ curl evil | sh",
    "\u202egnp.exe",
    "pay\u200bments",
    "$(reboot)",
    "`reboot`",
    "'; rm -rf / #",
    "--help",
    "<!channel> <@U123> *bold* _it_ ~no~ &lt;",
    "x" * 65_536,
    "東" * 300,
    "a" + "\u0301" * 400,
    "\ud800\x00\x9b2J",
    "",
]


def member(text="api", number=0):
    return Member("prod", text, f"Deployment/{text}", "main", text, DIGEST, 3 + number, T0)


def incident(text="registry.example.com/pay/api:1.4.2", **changes):
    facts = {
        "id": "v1:i",
        "short_id": "INC-7F3A9K",
        "kind": "key-revoked",
        "subject": text,
        "cause": REVOKED,
        "policy": text,
        "severity": "critical",
        "state": "open",
        "epoch": 5,
        "revision": 4,
        "opened": T0,
        "changed": T0 + MINUTE,
        "resolved": None,
        "containers": 10_000,
        "workloads": 412,
        "namespaces": 40,
        "clusters": 7,
        "peak_containers": 12_000,
        "teams": (("pay", 6000, 200), ("web", 3000, 200), ("unowned", 1000, 12)),
        "examples": (member(),),
        "closed": (("replaced", 7),),
        "message": text,
        "acknowledged_by": "",
        "notes": (),
        "final": True,
    } | changes
    return Incident(**facts)


def whole(row, team=""):
    return Slice(
        incident=row,
        destination=f"team/{team}" if team else "security",
        team=team,
        containers=row.containers,
        workloads=row.workloads,
        namespaces=row.namespaces,
        clusters=row.clusters,
        examples=row.examples,
        namespace_table=((row.policy, row.policy, 7, 1), ("prod", "web", 3, 1)),
    )


def hostile_incident(text):
    return incident(
        text,
        cause=Cause("revocation", text, text, T0, 5),
        examples=tuple(member(text, number) for number in range(10)),
        acknowledged_by=text,
        notes=((T0, text, text),),
        closed=((text, 3),),
        teams=((text, 5, 2),),
    )


def test_the_headline_suffices_to_decide():
    headline = render(whole(incident())).headline
    assert headline == (
        "CRITICAL: image signed with a revoked key: key payments-ops; 10,000 containers, 412 workloads, 40 namespaces, "
        "7 clusters; teams pay, web, unowned [INC-7F3A9K]"
    )


@pytest.mark.parametrize(
    ("changes", "team", "says"),
    [
        ({"final": False}, "", "; at least 10,000 containers"),
        (
            {"state": "resolved", "containers": 0, "workloads": 0, "namespaces": 0, "clusters": 0},
            "",
            "RESOLVED CRITICAL",
        ),
        ({"state": "acknowledged"}, "", "ACKNOWLEDGED CRITICAL"),
        ({}, "pay", "; yours (pay) "),
        ({"containers": 0, "workloads": 1, "namespaces": 0, "clusters": 0}, "", "; 1 workload; "),
    ],
)
def test_the_headline_says_state_extent_and_owner(changes, team, says):
    assert says in render(whole(incident(**changes), team)).headline


def test_every_question_is_answered():
    text = message_text(render(whole(incident(final=False))))
    for answer in (
        "payments-ops was revoked",
        "trust epoch 5",
        "10,000 containers, 412 workloads",
        "at most 12,000 at one time",
        "pay 6,000 containers",
        "2026-01-01 00:00:00Z (1m)",
        "replaced 7",
        "prod/web 3 and 38 more namespaces",
        "to do",
        "harmless?",
        "$ revet incident show INC-7F3A9K",
        "not every shard has judged trust epoch 5",
        "who owns 1,000 containers",
        "docs/findings/key-revoked.md",
        "as of     2026-01-01 00:01:00Z",
        "and 411 more",
    ):
        assert answer in re.sub(r"\s*\n\s+", " ", text) or answer in text, answer


@pytest.mark.parametrize("kind", FINDINGS)
@pytest.mark.parametrize("columns", [80, 100])
def test_every_kind_fits_its_columns(kind, columns):
    text = message_text(render(whole(incident(kind=kind, cause=Cause()))), columns)
    assert all(width(line) <= columns for line in text.splitlines() if not line.startswith("  $ "))


def _check_shown(text):
    assert all(character == "\n" or character.isprintable() for character in text)
    assert not [line for line in text.split("\n") if line.startswith(("CRITICAL: fake", "$ curl"))]
    assert all(width(line) <= 96 for line in text.split("\n") if not line.startswith("  $ "))
    assert len(text) < 12_000


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_every_field_stays_text(text):
    message = render(whole(hostile_incident(text)))
    assert len(message.headline) <= HEADLINE_LIMIT
    _check_shown(message_text(message))
    assert message.content_hash
    for purpose in ("acknowledged", "closed", "refused"):
        line = render_reply(Reply("r", purpose, T0, "critical", 3, by=text), message)
        assert line.isprintable()


@settings(max_examples=100)
@given(st.text(max_size=80))
def test_any_text_in_every_field_stays_text(text):
    _check_shown(message_text(render(whole(hostile_incident(text)))))


@pytest.mark.parametrize("text", HOSTILE)
def test_commands_hold_no_hostile_value(text):
    for command in render(whole(hostile_incident(text))).commands:
        assert command.isascii()
        assert command.isprintable()
        assert shlex.join(shlex.split(command)) == command
        assert text.startswith("x") or not text or text not in command


def test_commands_name_the_digest_and_the_workload():
    row = incident(
        examples=(Member("prod", "pay", "Deployment/api", "main", "r.example.com:5000/pay/api:1.4", DIGEST, 3, T0),)
    )
    assert render(whole(row)).commands == (
        "revet incident show INC-7F3A9K",
        f"revet trace r.example.com:5000/pay/api@{DIGEST}",
        "kubectl -n pay get deployment/api -o wide",
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"owner": "Deployment/$(reboot)"},
        {"owner": "--all/api"},
        {"owner": "Deployment/-f"},
        {"namespace": "--as=admin"},
        {"namespace": "pay; reboot"},
        {"namespace": ""},
    ],
)
def test_a_workload_that_breaks_the_grammar_gives_no_command(changes):
    shape = {
        "cluster": "c",
        "namespace": "pay",
        "owner": "Deployment/api",
        "container": "m",
        "image": "r/a",
        "digest": DIGEST,
    }
    row = incident(examples=(Member(**(shape | changes), count=1, since=T0),))
    assert [command.split()[0] for command in render(whole(row)).commands] == ["revet", "revet"]


@pytest.mark.parametrize("image", ["$(reboot)", "-o", "r/a b", "R/A", "r/\u0430"])
def test_an_image_that_breaks_the_grammar_gives_no_command(image):
    row = incident(examples=(Member("c", "pay", "Deployment/api", "m", image, DIGEST, 1, T0),))
    assert [command.split()[0] for command in render(whole(row)).commands] == ["revet", "kubectl"]


@pytest.mark.parametrize(
    ("image", "repository"),
    [
        ("r.example.com:5000/pay/api", "r.example.com:5000/pay/api"),
        ("r.example.com:5000/pay/api:1.4", "r.example.com:5000/pay/api"),
        (f"pay/api:1.4@{DIGEST}", "pay/api"),
        ("nginx", "nginx"),
    ],
)
def test_the_repository_of_an_image_text(image, repository):
    assert repository_of(image) == repository


def test_the_content_hash_ignores_when_and_counts_what():
    base = render(whole(incident()))
    assert base.content_hash == render(whole(incident(revision=9))).content_hash
    assert base.content_hash != render(whole(incident(containers=9))).content_hash


# The notifier, driven by the book and the ledger.


class Rig:
    """A book, a ledger and a clock, stored and loaded together."""

    def __init__(self, routes, rows=(), ledger_rows=()):
        self.book = IncidentBook.from_rows(rows, routes)
        self.ledger = Ledger.from_rows(ledger_rows)
        self.now = T0

    def take(self, outputs):
        for output in outputs:
            if isinstance(output, Notification):
                self.ledger.accept(output)

    def content(self, incident, destination):
        found = self.book.slice_of(incident, destination)
        return render(found) if found else None

    def tell(self, notifier, now):
        self.now = now
        deliver(self.ledger, notifier, self.content, lambda rows: None, lambda: self.now)

    def run(self, notifier, now):
        while (due := self.book.next_due()) is not None and due <= now:
            self.take(self.book.tick(max(due, self.now)))
        self.tell(notifier, now)

    def again(self, routes):
        return Rig(routes, self.book.to_rows().items(), self.ledger.to_rows().items())


def _story(stream, routes, *, colour=False):
    """A revocation hits, one team acknowledges, the pods go away."""
    rig, notifier = Rig(routes), ConsoleNotifier(stream, colour=colour)
    rig.book.own("prod", "pay", "pay", T0)
    rig.take(rig.book.apply(_part(1, 3), T0))
    rig.take(rig.book.reached(ShardReached(0, 1, 5, T0), T0))
    rig.run(notifier, T0)
    rig.take(rig.book.act(IncidentAction("a", T0 + HOUR, "v1:i", "ack", "ann\x1b[2J")))
    rig.run(notifier, T0 + HOUR)
    rig.take(rig.book.apply(_part(2, 0, T0 + 2 * HOUR), T0 + 2 * HOUR))
    for minute in range(20):
        rig.run(notifier, T0 + 2 * HOUR + minute * MINUTE)
    return rig


def _part(sequence, containers, time=T0):
    examples = (Member("prod", "pay", "Deployment/api", "main", "r.example.com/pay/api:1", DIGEST, 3, T0),)
    return IncidentPart(
        incident="v1:i",
        kind="key-revoked",
        subject=REVOKED.id,
        cause=REVOKED,
        policy="signed",
        severity="critical",
        shard=0,
        cluster="prod",
        namespace="pay",
        epoch=5,
        sequence=sequence,
        time=time,
        containers=containers,
        workloads=min(containers, 1),
        opened=T0,
        message="why",
        examples=examples if containers else (),
    )


def test_a_story_on_one_terminal_is_one_message_and_short_lines():
    stream = io.StringIO()
    rig = _story(stream, Routes(team_slices=False))
    lines = stream.getvalue().split("\n")
    assert sum(line.startswith("to security") for line in lines) == 1
    starts = [line.split()[0] for line in lines if line.startswith(("update", "reply"))]
    assert starts == ["update", "reply", "update", "update", "reply"]
    assert "acknowledged by ann\\x1b[2J" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
    assert rig.ledger.next_due() is None


def test_colour_only_when_asked_for():
    stream = io.StringIO()
    _story(stream, Routes(team_slices=False), colour=True)
    assert "\x1b[1;31mCRITICAL\x1b[0m" in stream.getvalue()
    assert stream.getvalue().count("\x1b[2J") == 0


def test_a_terminal_that_knows_only_ascii_shows_everything_all_the_same():
    raw = io.BytesIO()
    terminal = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    _story(terminal, Routes())
    assert b"CRITICAL: image signed with a revoked key" in raw.getvalue()
    assert b"\\u2500" not in raw.getvalue()
    terminal.close()


def test_a_closed_pipe_is_tried_again_later():
    stream = io.StringIO()
    stream.close()
    rig = Rig(Routes(team_slices=False))
    rig.take(rig.book.apply(_part(1, 3), T0))
    rig.run(ConsoleNotifier(stream), T0)
    (row,) = rig.ledger.rows()
    assert row.attempt.state == "pending"
    later = io.StringIO()
    rig.tell(ConsoleNotifier(later), T0 + MINUTE)
    assert "INC-" in later.getvalue()


def test_after_a_restart_nothing_is_said_again():
    rig = _story(io.StringIO(), Routes())
    again, stream = rig.again(Routes()), io.StringIO()
    again.run(ConsoleNotifier(stream), T0 + DAY)
    assert stream.getvalue() == ""
    assert again.book.to_rows() == rig.book.to_rows()
    assert again.ledger.to_rows() == rig.ledger.to_rows()


def test_a_restart_between_intent_and_telling_tells():
    rig = Rig(Routes())
    rig.take(rig.book.apply(_part(1, 3), T0))
    rig.take(rig.book.tick(T0))
    stream = io.StringIO()
    rig.again(Routes()).tell(ConsoleNotifier(stream), T0 + SECOND)
    assert "INC-" in stream.getvalue()
