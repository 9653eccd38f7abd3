"""Slack: what people see in the channels, whatever fails and wherever a process dies.

The real client speaks to a workspace that keeps the published contract (`tests/helpers/slack_server.py`). Assertions
are about the content of channels: one parent of an incident and destination, its replies, exact counts.
"""

from __future__ import annotations

import re

import pytest

from alerting.delivery import ANSWER_TIMEOUT, SEND_DEADLINE, Find, Found
from alerting.models import Severity
from alerting.quiet import Quiet
from tests.helpers.slack_server import Shown, Workspace
from tests.helpers.slackworld import SECURITY, T0, Died, World, world
from verifier.times import HOUR, MINUTE, SECOND

pytestmark = pytest.mark.asyncio

AMBIGUOUS = ["drop-before", "drop-after", "429-stored", "500", "503-html", "504", "200-html", "bad-json", "text"]


def _only(w: World, channel: str = SECURITY) -> str:
    (parent,) = w.parents(channel)
    return parent


# ------------------------------------------------------------------------------------------------- the life of one


async def test_one_parent_is_edited_in_place_and_replies_tell_what_must_be_heard() -> None:
    async with world() as w:
        w.reached()
        incident = w.part(containers=3, severity="high")
        await w.pump()
        w.part(containers=7, severity="high")
        await w.pump(10 * MINUTE)
        assert "7 containers" in _only(w)
        w.part(containers=7, severity="critical")
        await w.pump()
        w.act(incident, "ack")
        await w.pump()
        w.part(containers=0, severity="critical")
        await w.pump(20 * MINUTE)
        assert _only(w).startswith("RESOLVED")
        w.part(containers=2, severity="critical")
        await w.pump()
        assert _only(w).startswith("CRITICAL")
        said = [reply.text for reply in w.slack.replies(SECURITY)]
        assert [next(word for word in WORDS if word in text) for text in said] == [
            "now critical", "acknowledged by ann", "resolved", "open again",
        ]  # fmt: skip
        assert {reply.thread for reply in w.slack.replies(SECURITY)} == {w.slack.parents(SECURITY)[0].ts}
        assert [reply.broadcast for reply in w.slack.replies(SECURITY)] == [True, False, True, True]
        assert w.slack.refused == []


WORDS = ("now critical", "acknowledged by ann", "resolved", "open again")


async def test_an_edit_that_would_change_nothing_is_never_sent() -> None:
    async with world() as w:
        w.reached()
        w.part(containers=3)
        await w.pump()
        before = w.slack.calls["chat.update"]
        for _ in range(5):
            w.part(containers=3)
            await w.pump()
        assert w.slack.calls["chat.update"] == before


async def test_a_parent_that_a_person_deleted_comes_again_once_and_says_so() -> None:
    """Acceptance 4."""
    async with world() as w:
        w.reached()
        w.part(containers=3)
        await w.pump()
        w.slack.delete(SECURITY, w.slack.parents(SECURITY)[0].ts)
        for containers in (4, 5, 6):
            w.part(containers=containers)
            await w.pump(10 * MINUTE)
        assert "6 containers" in _only(w)
        assert w.slack.calls["chat.postMessage"] == 2
        assert "takes the place of an older message" in str(w.slack.parents(SECURITY)[0].blocks)


async def test_an_incident_that_comes_back_after_a_day_gets_a_new_parent() -> None:
    async with world() as w:
        w.reached()
        w.part(containers=3)
        await w.pump()
        w.part(containers=0)
        await w.pump(20 * MINUTE)
        w.now += 25 * HOUR
        w.part(containers=1)
        await w.pump()
        assert [text.split()[0] for text in w.parents()] == ["RESOLVED", "CRITICAL:"]


# ------------------------------------------------------------------------------------------------- lost answers


@pytest.mark.parametrize("fault", AMBIGUOUS)
@pytest.mark.parametrize("times", [1, 2])
async def test_an_answer_that_was_lost_makes_no_second_parent_and_no_hole(fault: str, times: int) -> None:
    """Acceptance 2: dropped before or after it was stored, 429 although stored, 5xx, proxies' pages."""
    async with world() as w:
        w.slack.fault("chat.postMessage", *[fault] * times)
        w.reached()
        w.part(containers=3)
        await w.pump(10 * MINUTE)
        assert "3 containers" in _only(w)
        assert "possible duplicate" not in str(w.slack.parents(SECURITY)[0].blocks)
        assert w.rows() == {"security": "posted"}


@pytest.mark.parametrize("fault", AMBIGUOUS)
async def test_a_reply_whose_answer_was_lost_is_said_once(fault: str) -> None:
    async with world() as w:
        w.reached()
        incident = w.part(containers=3)
        await w.pump()
        w.slack.fault("chat.postMessage", fault)
        w.act(incident, "ack")
        await w.pump(10 * MINUTE)
        assert len(w.slack.replies(SECURITY)) == 1
        assert len(w.parents()) == 1


@pytest.mark.parametrize("fault", [*AMBIGUOUS, "429", "internal_error"])
async def test_an_edit_whose_answer_was_lost_is_made_again(fault: str) -> None:
    async with world() as w:
        w.reached()
        w.part(containers=3)
        await w.pump()
        w.slack.fault("chat.update", fault)
        w.part(containers=9)
        await w.pump(30 * MINUTE)
        assert "9 containers" in _only(w)


async def test_a_search_needs_all_pages_and_finds_the_message_among_others() -> None:
    async with world() as w:
        w.slack.fault("chat.postMessage", "drop-after")
        w.reached()
        w.part(containers=3)
        ours = w.slack.channels[SECURITY].messages
        await w.step()
        for _ in range(900):  # the search goes from the newest back, 200 at a time
            w.slack.post({"channel": SECURITY, "text": "chatter"}) if not w.slack.limited else None
            w.now += SECOND
        await w.pump(10 * MINUTE)
        assert len([shown for shown in ours if "CRITICAL" in shown.text]) == 1
        assert w.slack.calls["conversations.history"] >= 5


async def test_a_channel_that_cannot_be_searched_gets_it_again_after_the_deadline_and_it_says_so() -> None:
    """History refused: wait until nothing can arrive any more, then fail open."""
    async with world(history=False) as w:
        w.slack.fault("chat.postMessage", "drop-before")
        w.reached()
        w.part(containers=3)
        await w.pump(SEND_DEADLINE)
        assert w.parents() == []
        await w.pump(10 * MINUTE)
        assert "3 containers" in _only(w)
        assert "possible duplicate" in str(w.slack.parents(SECURITY)[0].blocks)


async def test_a_search_that_is_postponed_is_repeated_and_not_given_up() -> None:
    async with world() as w:
        w.slack.fault("chat.postMessage", "drop-after")
        w.slack.fault("conversations.history", "429", "429", "429")
        w.reached()
        w.part(containers=3)
        await w.pump(10 * MINUTE)
        assert "3 containers" in _only(w)
        assert w.slack.calls["chat.postMessage"] == 1


async def test_what_another_bot_posted_with_our_metadata_is_not_ours() -> None:
    async with world() as w:
        w.slack.fault("chat.postMessage", "drop-before")
        w.reached()
        w.part(containers=3)
        await w.step()
        delivery = next(iter(w.alerter.ledger.rows())).id
        forged = {"event_type": "revet_alert", "event_payload": {"delivery_id": delivery, "reply": ""}}
        w.slack.post({"channel": SECURITY, "text": "forged", "metadata": forged})
        w.slack.channels[SECURITY].messages[-1].bot = "B0EVIL001"
        await w.pump(10 * MINUTE)
        assert len(w.parents()) == 2
        assert [text for text in w.parents() if "CRITICAL" in text]


# ------------------------------------------------------------------------------------------------- kills


@pytest.mark.parametrize("edge", range(1, 13))
@pytest.mark.parametrize("fault", ["", "drop-after", "429-stored"])
async def test_a_kill_at_any_edge_leaves_one_parent(edge: int, fault: str) -> None:
    """Acceptance 2: before and after each write of the ledger, and between a call and its answer."""
    async with world() as w:
        if fault:
            w.slack.fault("chat.postMessage", fault)
        w.reached()
        incident = w.part(containers=3)
        w.save()
        w.die_at = edge
        acts = (lambda: w.part(containers=5), lambda: w.act(incident, "ack"), lambda: w.part(containers=8))
        for act in acts:
            try:
                await w.pump()
            except Died:
                await w.restart()
                await w.pump()
            act()
            w.save()
        await w.pump(20 * MINUTE)
        assert "8 containers" in _only(w)
        assert len(w.slack.replies(SECURITY)) == 1
        assert w.slack.limited["post"] == 0


async def test_a_restart_with_hundreds_of_open_incidents_posts_nothing_again() -> None:
    """Acceptance 16, of the part that is messages."""
    async with world() as w:
        w.reached()
        for number in range(200):
            w.part(containers=1, cause=f"key:{number}")
        await w.pump(20 * MINUTE)
        posts = w.slack.calls["chat.postMessage"]
        assert len(w.parents()) == posts == 200
        await w.restart()
        await w.pump(HOUR)
        assert w.slack.calls["chat.postMessage"] == posts
        assert w.slack.limited == {}


async def test_a_zombie_does_not_post_after_its_deadline() -> None:
    """Acceptance 3: two processes, and the one that was paused wakes up late."""
    async with world() as w:
        w.reached()
        w.part(containers=3)
        list(w.alerter.tick(w.now))
        zombie, ledger = w.courier, w.alerter.ledger
        calls = zombie.take(ledger, w.alerter.message, w.now)
        w.save()
        asleep = w.notifier
        w.start()  # a new owner, from what is stored
        w.now += SEND_DEADLINE + ANSWER_TIMEOUT + SECOND
        await w.pump()
        zombie.begin(ledger, calls)
        await zombie.drained(5)
        ((_, answer),) = zombie.settle(ledger, w.now)
        assert "deadline" in getattr(answer, "detail", "")
        assert len(w.parents()) == 1
        await asleep.close()


async def test_two_owners_at_once_leave_one_parent() -> None:
    """Acceptance 3: the shard moves while a post is under way; the new owner finds it."""
    async with world() as w:
        w.slack.fault("chat.postMessage", "lost-slow")
        w.reached()
        w.part(containers=3)
        list(w.alerter.tick(w.now))
        former, ledger, held = w.courier, w.alerter.ledger, w.notifier
        calls = former.take(ledger, w.alerter.message, w.now)
        w.save()
        former.begin(ledger, calls)
        await w.slack.stored.wait()
        w.start()
        await w.pump()
        assert len(w.parents()) == 1
        assert w.slack.calls["chat.postMessage"] == 1
        w.slack.released.set()
        await former.drained(5)
        await held.close()


# ------------------------------------------------------------------------------------------------- storms and limits


async def test_a_storm_of_ten_thousand_over_forty_teams_is_forty_one_parents() -> None:
    """Acceptance 1: first post at once, no 429, exact totals, few edits."""
    async with world(teams=40) as w:
        w.reached()
        for team in range(40):
            w.own(f"ns{team}", team=f"t{team}")
        first = None
        counts = [0] * 40
        for tenth in range(100):  # 10,000 findings in 10 seconds
            for team in range(40):
                counts[team] += 2 + (tenth % 2)
                w.part(f"ns{team}", counts[team])
            await w.pump(SECOND // 10)
            if first is None and w.parents():
                first = w.now
        assert first is not None
        assert first - T0 < SECOND
        await w.pump(100 * SECOND)
        assert sum(counts) == 10_000
        assert "10,000 containers" in _only(w)
        for team in range(40):
            assert "250 containers" in _only(w, f"C0TEAM{team:03}")
        assert w.slack.limited == {}
        assert w.slack.calls["chat.postMessage"] == 41
        assert w.slack.calls["chat.update"] < 60


async def test_many_incidents_in_one_channel_are_paced_worst_first() -> None:
    async with world() as w:
        w.reached()
        for number in range(20):
            w.part(containers=1, cause=f"key:{number}", severity="critical" if number == 19 else "high")
        await w.pump(MINUTE)
        assert len(w.parents()) == 20
        assert "CRITICAL" in w.parents()[0]
        assert w.slack.limited == {}


async def test_a_service_that_says_too_often_is_spoken_to_slowly() -> None:
    """Retry-After is kept, half the rate follows, nothing is lost."""
    async with world() as w:
        w.slack.fault("chat.postMessage", "429")
        w.reached()
        for number in range(6):
            w.part(containers=1, cause=f"key:{number}")
        await w.step()
        before = w.slack.calls["chat.postMessage"]
        await w.pump(2 * SECOND)
        assert w.slack.calls["chat.postMessage"] == before
        await w.pump(5 * MINUTE)
        assert len(w.parents()) == 6
        assert w.slack.limited == {"scripted": 1}


async def test_a_slow_channel_holds_up_no_other() -> None:
    async with world(teams=1) as w:
        w.timeout = 0.3
        await w.restart()
        w.slack.fault("chat.postMessage", "slow")
        w.reached()
        w.own("ns0", team="t0")
        w.part("ns0", 3)
        await w.step()
        assert sorted(len(w.parents(channel)) for channel in (SECURITY, "C0TEAM000")) == [0, 1]
        w.slack.released.set()
        await w.pump(10 * MINUTE)
        assert [len(w.parents(channel)) for channel in (SECURITY, "C0TEAM000")] == [1, 1]


async def test_quiet_hours_let_sleep_who_need_not_rise() -> None:
    """What is critical comes at once; the rest in the morning, as it stands then."""
    async with world(quiet=Quiet.read("00:00-23:00", "critical")) as w:
        w.reached()
        w.part(containers=1, cause="key:bad", severity="critical")
        w.part(containers=1, cause="key:other", severity="high")
        await w.pump(HOUR)
        assert len(w.parents()) == 1
        w.part(containers=4, cause="key:other", severity="high")
        await w.pump(24 * HOUR)
        assert len(w.parents()) == 2
        assert "4 containers" in w.parents()[1]


# ------------------------------------------------------------------------------------------------- out of order


async def test_resolved_needs_a_reason_and_never_silence() -> None:
    """Acceptance 7, the part of the message: nothing is heard for a day, and nothing is called over."""
    async with world() as w:
        w.reached()
        w.part(containers=3)
        await w.pump(24 * HOUR)
        assert _only(w).startswith("CRITICAL")


async def test_a_policy_that_fails_many_and_is_taken_back_is_one_incident_and_one_resolve() -> None:
    """Acceptance 9."""
    async with world() as w:
        w.reached()
        for number in range(300):
            w.part(f"n{number}", 10, cause="p@17", kind="policy-change", code="policy-changed", severity="medium")
        await w.pump(2 * MINUTE)
        for number in range(300):
            w.part(f"n{number}", 0, cause="p@17", kind="policy-change", code="policy-changed", severity="medium")
        await w.pump(HOUR)
        assert _only(w).startswith("RESOLVED")
        assert ["resolved" in reply.text for reply in w.slack.replies(SECURITY)] == [True]
        assert w.slack.calls["chat.postMessage"] == 2


@pytest.mark.parametrize("ack_first", [True, False])
async def test_an_ack_and_a_resolve_race_and_it_ends_resolved(ack_first: bool) -> None:
    """Acceptance 11."""
    async with world() as w:
        w.reached()
        incident = w.part(containers=3)
        await w.pump()
        if ack_first:
            w.act(incident, "ack")
        w.part(containers=0)
        await w.pump(20 * MINUTE)
        if not ack_first:
            w.act(incident, "ack")
        await w.pump(20 * MINUTE)
        assert _only(w).startswith("RESOLVED")
        assert ("nothing to acknowledge" in str([r.text for r in w.slack.replies(SECURITY)])) is not ack_first


async def test_a_rolling_restart_of_many_opens_nothing_and_does_not_flap() -> None:
    """Acceptance 8: counts go to zero and come back within the hold; nobody hears of it."""
    async with world() as w:
        w.reached()
        w.part(containers=500, severity="high")
        await w.pump()
        for containers in (400, 200, 0, 0, 150, 500):
            w.part(containers=containers, severity="high")
            await w.pump(MINUTE)
        await w.pump(30 * MINUTE)
        assert "500 containers" in _only(w)
        assert w.slack.replies(SECURITY) == []


# ------------------------------------------------------------------------------------------------- reminders


def _reminders(w: World) -> list[int]:
    """Minutes after the first message at which it was said again."""
    first = float(w.slack.parents(SECURITY)[0].ts)
    return [round((float(r.ts) - first) / 60) for r in w.slack.replies(SECURITY) if "nobody has taken" in r.text]


async def test_what_nobody_takes_is_said_again_and_then_elsewhere_too() -> None:
    async with world(reminders=True) as w:
        w.mentions = ("S0ONCALL1",)
        await w.restart()
        w.reached()
        w.part(containers=3)
        await w.pump(20 * MINUTE)
        assert _reminders(w) == [15]
        assert w.paper.getvalue() == ""
        assert "S0ONCALL1" in str(w.slack.replies(SECURITY)[0].blocks)
        assert w.slack.replies(SECURITY)[0].broadcast
        await w.pump(8 * HOUR)
        assert _reminders(w) == [15, 45, 105, 225, 465]
        assert w.paper.getvalue().count("to fallback") == 1
        w.part(containers=0)
        await w.pump(24 * HOUR)
        assert len(_reminders(w)) == 5
        assert "RESOLVED" in w.paper.getvalue()


async def test_the_group_of_a_team_is_called_in_its_channel_and_nowhere_else() -> None:
    """A team with a group of its own, one without, and the channel of all; below a message as in it."""

    def called(said: list[Shown]) -> list[str]:
        return [group for one in said for group in re.findall(r"S0[A-Z0-9]{7}", str(one.blocks))]

    async with world(teams=2, reminders=True) as w:
        w.mentions, w.groups = ("S0ONCALL1",), {"team/t0": "S0TEAMT00"}
        await w.restart()
        w.reached()
        for number in range(2):
            w.own(f"ns{number}", team=f"t{number}")
            w.part(f"ns{number}", containers=2)
        await w.pump(30 * SECOND)
        wanted = {SECURITY: "S0ONCALL1", "C0TEAM000": "S0TEAMT00", "C0TEAM001": "S0ONCALL1"}
        for channel, group in wanted.items():
            assert called(w.slack.parents(channel)) == [group]
        await w.pump(20 * MINUTE)
        for channel, group in wanted.items():
            assert called(w.slack.replies(channel)) == [group] * len(w.slack.replies(channel))
        assert w.slack.replies(SECURITY)


async def test_who_takes_it_is_left_alone_for_a_day_and_asked_again_then() -> None:
    async with world(reminders=True) as w:
        w.reached()
        incident = w.part(containers=3, severity="high")
        await w.pump(30 * MINUTE)
        w.act(incident, "ack")
        await w.pump(23 * HOUR)
        assert _reminders(w) == []
        await w.pump(2 * HOUR)
        assert len(_reminders(w)) == 1
        assert w.alerter.book.incident(incident).state == "open"  # type: ignore[union-attr]  # it is known


async def test_a_restart_repeats_no_reminder_and_skips_none() -> None:
    """Acceptance 16: due times are stored."""
    async with world(reminders=True) as w:
        w.reached()
        w.part(containers=3)
        for _ in range(10):
            await w.pump(5 * MINUTE)
            await w.restart()
        assert _reminders(w) == [15, 45]
        w.now += 3 * HOUR  # nobody was there: what is overdue is said once
        await w.pump(MINUTE)
        assert len(_reminders(w)) == 3


@pytest.mark.parametrize("severity", ["medium", "low"])
async def test_what_can_wait_is_not_repeated(severity: Severity) -> None:
    async with world(reminders=True) as w:
        w.reached()
        w.part(containers=3, severity=severity)
        await w.pump(48 * HOUR)
        assert w.slack.replies(SECURITY) == []


async def test_what_becomes_worse_is_asked_about_from_the_beginning() -> None:
    async with world(reminders=True) as w:
        w.reached()
        incident = w.part(containers=3, severity="high")
        await w.pump(10 * MINUTE)
        w.act(incident, "ack")
        await w.pump(10 * MINUTE)
        w.part(containers=4, severity="critical")
        await w.pump(16 * MINUTE)
        assert len(_reminders(w)) == 1


async def test_a_search_of_a_delivery_nobody_made_is_empty_and_not_certain() -> None:
    """What is under way may still arrive: only the ledger knows when the deadline is over."""
    async with world() as w:
        found = await w.notifier.answer(Find("nobody", "security", w.now + SEND_DEADLINE, w.now))
        assert found == Found((), certain=False)


async def test_the_fake_keeps_the_limits_it_is_there_for() -> None:
    """A check that cannot fail shows nothing: too many posts, too many blocks and strangers are refused."""
    async with world() as w:
        for _ in range(6):
            await w.notifier._ask("chat.postMessage", {"channel": SECURITY, "text": "x"}, "post", SECURITY)
        assert w.slack.limited["post"] == 2
        w.now += MINUTE
        many = {"channel": SECURITY, "text": "x", "blocks": [{"type": "divider"}] * 51}
        await w.notifier._ask("chat.postMessage", many, "post", SECURITY)
        await w.notifier._ask("chat.postMessage", {"channel": "C0NOBODY1", "text": "x"}, "post", "C0NOBODY1")
        assert [error for _, error in w.slack.refused] == ["invalid_blocks", "channel_not_found"]
        w.slack.token = "another"
        await w.notifier._ask("auth.test", {}, "find", "")
        assert w.outcomes[-1] == ("auth.test", "invalid_auth")
    assert isinstance(w.slack, Workspace)
