"""The delivery ledger against an in-memory channel that loses answers, and a process that dies at every step."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.delivery import (
    ANSWER_TIMEOUT,
    SEND_DEADLINE,
    Failed,
    Found,
    Ledger,
    Posted,
    deliver,
)
from alerting.lifecycle import Notification, Reply
from alerting.render import Message, Table
from alerting.text import Untrusted
from verifier.times import MINUTE, SECOND

T0 = 1_767_225_600 * SECOND
OVER = SEND_DEADLINE + ANSWER_TIMEOUT


class Died(BaseException):
    """The process ends here."""


class Channel:
    """A chat channel in memory: implements the port, keeps what people see, and does what the script says next.

    Faults: `drop-before` (lost before it arrived), `drop-after` (stored, the answer lost), `rate` (answered 429, yet
    stored), `not-sent`, `refused`, `gone`, `blind` (cannot be searched), `die-before`, `die-after`.
    """

    def __init__(self, *faults: str) -> None:
        self.faults = list(faults)
        self.parents: dict[str, tuple[str, str]] = {}
        self.replies: dict[str, tuple[str, str]] = {}
        self.calls: list[str] = []

    def post(self, call):
        return self._do("post", lambda: self._store(self.parents, call.delivery, call.message.headline))

    def update(self, call):
        if call.ts not in self.parents:
            return Failed("gone", "message_not_found")
        return self._do("update", lambda: self._edit(call))

    def reply(self, call):
        return self._do("reply", lambda: self._store(self.replies, f"{call.delivery}/{call.reply.id}", call.parent))

    def find(self, call):
        self.calls.append("find")
        if self.faults and self.faults[0] == "blind":
            self.faults.pop(0)
            return Failed("unavailable", "no history")
        where = self.replies if call.reply else self.parents
        name = f"{call.delivery}/{call.reply}" if call.reply else call.delivery
        return Found(tuple(Posted("C1", ts) for ts, (key, _) in where.items() if key == name), certain=False)

    def _do(self, what, effect):
        self.calls.append(what)
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "die-before":
            raise Died
        answers = {
            "drop-before": Failed("ambiguous", "connection lost"),
            "not-sent": Failed("not-sent", "connection refused"),
            "refused": Failed("refused", "channel_not_found"),
        }
        if fault in answers:
            return answers[fault]
        answer = effect()
        if fault == "die-after":
            raise Died
        if fault == "drop-after":
            return Failed("ambiguous", "connection lost")
        if fault == "rate":
            return Failed("ambiguous", "ratelimited", retry_after=3 * SECOND)
        return answer

    def _store(self, where, key, text):
        ts = str(len(self.parents) + len(self.replies) + 1)
        where[ts] = (key, text)
        return Posted("C1", ts)

    def _edit(self, call):
        self.parents[call.ts] = (call.delivery, call.message.headline)
        return Posted("C1", call.ts)


def message(text="one", revision=1):
    return Message(
        incident="v1:i",
        short_id="INC-AAAAAA",
        kind="key-revoked",
        revision=revision,
        severity="critical",
        state="open",
        as_of=T0,
        headline=text,
        what=Untrusted("w"),
        facts=(),
        table=Table((), (), 0),
        benign="",
        todo="",
        commands=(),
        unknown=(),
        link="",
    )


def intent(
    revision=1, *, episode=1, replies=(), resolved=False, destination="security", severity="critical", incident="v1:i"
):
    named = tuple(Reply(f"{purpose}-{revision}", purpose, T0, severity, 3) for purpose in replies)
    return Notification(
        incident, destination, episode, revision, T0, severity, paging=True, replies=named, resolved=resolved
    )


class World:
    """A ledger, its store, a channel and a virtual clock; survives the death of the process."""

    def __init__(self, *faults):
        self.channel = Channel(*faults)
        self.store = {}
        self.now = T0
        self.text = "one"
        self.revision = 1
        self.ledger = Ledger()
        self.die_at_saves: set[int] = set()
        self.saves = 0

    def save(self, rows):
        self.saves += 1
        if self.saves in self.die_at_saves:
            raise Died
        self.store.update(rows)

    def content(self, _incident, _destination):
        return message(self.text, self.revision)

    def accept(self, *intents):
        for each in intents:
            self.ledger.accept(each)
            self.revision = max(self.revision, each.revision)
        return self

    def restart(self):
        self.ledger = Ledger.from_rows(self.store.items())

    def pump(self, until=120 * MINUTE):
        """Deliver on a clock that jumps from due to due."""
        end = self.now + until
        while True:
            deliver(self.ledger, self.channel, self.content, self.save, lambda: self.now)
            due = self.ledger.next_due()
            if due is None or due > end:
                return self
            self.now = max(due, self.now + 1)

    def row(self, destination="security"):
        return self.ledger.newest("v1:i", destination)


def test_a_parent_is_posted_once_and_edited_in_place():
    world = World().accept(intent()).pump()
    assert world.row().attempt.state == "posted"
    world.text = "two"
    world.accept(intent(2)).pump()
    assert world.channel.calls == ["post", "update"]
    assert [text for _, text in world.channel.parents.values()] == ["two"]
    assert (world.row().sent, world.row().epoch) == (2, 1)


def test_an_edit_that_changes_nothing_is_never_sent():
    world = World().accept(intent()).pump()
    world.accept(intent(2), intent(3)).pump()
    assert world.channel.calls == ["post"]
    assert world.row().sent == 3


def test_intents_again_or_late_change_nothing():
    world = World().accept(intent(), intent(3, replies=["acknowledged"])).pump()
    before = world.ledger.to_rows()
    world.accept(intent(3, replies=["acknowledged"]), intent(1), intent(2)).pump()
    assert world.ledger.to_rows() == before


def test_replies_wait_for_their_parent_and_keep_their_order():
    world = World("not-sent").accept(intent(2, replies=["severity-raised"]), intent(3, replies=["acknowledged"])).pump()
    assert world.channel.calls == ["post", "post", "reply", "reply"]
    assert [key.rpartition("/")[2] for key, _ in world.channel.replies.values()] == [
        "severity-raised-2",
        "acknowledged-3",
    ]


def test_resolved_and_said_it_is_closed_and_says_more_when_it_is_reopened():
    world = World().accept(intent()).pump()
    world.text = "resolved"
    world.accept(intent(2, replies=["resolved"], resolved=True)).pump()
    assert world.row().attempt.state == "closed"
    assert world.ledger.next_due() is None
    world.text = "open again"
    world.accept(intent(3, replies=["reopened"])).pump()
    assert (world.row().attempt.state, world.row().epoch) == ("posted", 1)
    assert [text for _, text in world.channel.parents.values()] == ["open again"]
    assert len(world.channel.replies) == 2


def test_a_new_episode_gets_a_new_parent_that_knows_the_old_one():
    world = World().accept(intent(2, resolved=True)).pump()
    world.accept(intent(3, episode=2)).pump()
    assert (world.row().epoch, world.row().previous, len(world.channel.parents)) == (2, "1", 2)
    world.accept(intent(2, episode=1)).pump()
    assert len(world.channel.parents) == 2, "an intent of the former episode changes nothing"


def test_a_parent_that_somebody_deleted_is_posted_anew_once():
    world = World().accept(intent()).pump()
    world.channel.parents.clear()
    world.text = "two"
    world.accept(intent(2, replies=["severity-raised"])).pump()
    assert [text for _, text in world.channel.parents.values()] == ["two"]
    assert (world.row().epoch, world.row().previous) == (2, "1")
    assert [parent for _, parent in world.channel.replies.values()] == [world.row().attempt.ts]


def test_what_is_refused_for_good_is_dead_and_tried_again_only_when_there_is_news():
    world = World("refused").accept(intent()).pump()
    assert (world.row().attempt.state, world.row().attempt.error) == ("dead", "channel_not_found")
    assert world.ledger.next_due() is None
    world.accept(intent(2)).pump()
    assert world.row().attempt.state == "posted"


def test_what_was_not_sent_is_tried_again_for_as_long_as_it_takes():
    world = World(*["not-sent"] * 20).accept(intent()).pump()
    assert len(world.channel.calls) == 21
    assert len(world.channel.parents) == 1


def test_the_worst_goes_first_and_the_whole_before_its_slices():
    world, order = World(), []

    class Listening(Channel):
        def post(self, call):
            order.append(call.destination)
            return super().post(call)

    world.channel = Listening()
    for incident, severity, destination in [
        ("v1:low", "low", "security"),
        ("v1:bad", "critical", "team/a"),
        ("v1:bad", "critical", "security"),
    ]:
        world.ledger.accept(intent(incident=incident, severity=severity, destination=destination))
    world.pump()
    assert order == ["security", "team/a", "security"]


def test_a_process_that_was_paused_past_the_deadline_does_not_send():
    world = World().accept(intent())
    times = iter([T0, T0 + SEND_DEADLINE + 1, T0 + SEND_DEADLINE + 2])
    deliver(world.ledger, world.channel, world.content, world.save, lambda: next(times), limit=1)
    assert world.channel.calls == []
    world.now = T0 + OVER
    world.pump()
    assert len(world.channel.parents) == 1


def test_an_incident_nobody_knows_any_more_is_not_sent():
    world = World().accept(intent())
    world.content = lambda _incident, _destination: None
    world.pump()
    assert (world.channel.calls, world.row().attempt.state) == ([], "dead")


# The crash matrix: one message is right.


@pytest.mark.parametrize(
    ("name", "faults", "calls"),
    [
        ("lost before it arrived", ["drop-before"], ["post", "find", "find", "post"]),
        ("stored, answer lost", ["drop-after"], ["post", "find"]),
        ("429, and stored", ["rate"], ["post", "find"]),
        ("stored, answer lost, search down for a while", ["drop-after", "blind"], ["post", "find", "find"]),
    ],
)
def test_an_ambiguous_answer_is_settled_by_looking(name, faults, calls):
    world = World(*faults).accept(intent()).pump()
    assert world.channel.calls[: len(calls)] == calls, name
    assert len(world.channel.parents) == 1
    assert world.row().attempt.state == "posted"
    assert not world.row().attempt.possible_duplicate


def test_blind_past_the_deadline_it_sends_again_and_says_so():
    world = World("drop-after", "blind", "blind", "blind").accept(intent()).pump()
    assert len(world.channel.parents) == 2
    assert world.row().attempt.possible_duplicate


def test_two_parents_that_turn_up_leave_the_oldest():
    world = World("drop-after").accept(intent())
    deliver(world.ledger, world.channel, world.content, world.save, lambda: world.now, limit=1)
    world.channel.parents["99"] = world.channel.parents["1"]
    world.pump()
    assert (world.row().attempt.ts, world.row().duplicates) == ("1", 1)


@pytest.mark.parametrize("fault", ["drop-before", "drop-after", "die-before", "die-after"])
@pytest.mark.parametrize("position", [1, 2], ids=["reply", "second reply"])
def test_replies_are_settled_like_parents(fault, position):
    faults = [""] * position + [fault]
    world = World(*faults).accept(intent(2, replies=["severity-raised", "acknowledged"]))
    _survive(world)
    assert [key.rpartition("/")[2] for key, _ in world.channel.replies.values()] == [
        "severity-raised-2",
        "acknowledged-2",
    ]


def _survive(world):
    """Run until everything is said; after each death start again from what was stored."""
    for _ in range(50):
        try:
            world.pump()
        except Died:
            world.restart()
        else:
            return
    raise AssertionError("never finished")


STORY = (
    intent(1),
    intent(2, replies=["severity-raised"]),
    intent(3, replies=["acknowledged"]),
    intent(4, replies=["resolved"], resolved=True),
)


def _play(world):
    """Accept the story step by step; an intent that was under way when the process died is given again."""
    for each in STORY:
        world.text = f"revision {each.revision}"
        for _ in range(60):
            try:
                world.accept(each).pump()
            except Died:
                world.restart()
            else:
                break
    return world


def _shown(world):
    rows = {key: (row.attempt.state, row.sent, row.hash, len(row.replies)) for key, row in world.ledger._rows.items()}
    replies = sorted(key for key, _ in world.channel.replies.values())
    return rows, replies, [text for _, text in world.channel.parents.values()]


SAVES = _play(World()).saves


@pytest.mark.parametrize("step", range(1, SAVES + 1))
def test_death_at_any_write_leaves_one_parent_and_every_reply_once(step):
    world = World()
    world.die_at_saves = {step}
    assert _shown(_play(world)) == _shown(_play(World()))


@pytest.mark.parametrize("fault", ["die-before", "die-after", "drop-before", "drop-after", "not-sent", "rate"])
@pytest.mark.parametrize("call", range(7))
def test_a_fault_at_any_call_leaves_one_parent_and_every_reply_once(call, fault):
    world = World(*[""] * call, fault)
    assert _shown(_play(world)) == _shown(_play(World()))


@settings(max_examples=120)
@given(
    st.lists(
        st.sampled_from(["", "die-before", "die-after", "drop-before", "drop-after", "not-sent", "rate"]), max_size=14
    ),
    st.sets(st.integers(1, 40), max_size=3),
)
def test_any_mixture_of_faults_and_deaths_leaves_one_parent_and_every_reply_once(faults, deaths):
    world = World(*faults)
    world.die_at_saves = deaths
    rows, replies, parents = _shown(_play(world))
    assert parents == ["revision 4"]
    assert len(replies) == len(set(replies)) == 3
    assert {state for state, *_ in rows.values()} == {"closed"}


def test_a_restart_repeats_nothing():
    world = _play(World())
    calls = list(world.channel.calls)
    world.restart()
    world.pump()
    assert world.channel.calls == calls
    assert world.ledger.to_rows() == world.store


def test_a_restart_waits_for_what_may_still_arrive():
    world = World("die-before").accept(intent())
    with pytest.raises(Died):
        world.pump()
    world.restart()
    world.now += SECOND
    deliver(world.ledger, world.channel, world.content, world.save, lambda: world.now)
    assert world.channel.calls == ["post", "find"], "whoever died may have sent it a moment ago"
    assert world.ledger.next_due() == T0 + OVER


def test_the_ledger_speaks_of_ids_only():
    world = World()
    world.text = "secret headline"
    world.accept(intent()).pump()
    assert [text for _, text in world.channel.parents.values()] == ["secret headline"]
    assert b"secret headline" not in b"".join(world.store.values())
