"""Slack: errors have names, none of them holds up another destination, and what cannot be told is told elsewhere."""

from __future__ import annotations

import logging

import aiohttp
import pytest

from alerting.adapters.slack import Access, SlackNotifier, SlackOptions, _failure, _retry_after
from alerting.calls import Failed, Posted, SendReply, Update
from alerting.channels import Channels
from alerting.delivery import REROUTE_AFTER, SEND_DEADLINE, Find, Post
from alerting.lifecycle import Reply
from alerting.routing import RouteRule
from alerting.slackwords import MEANINGS, Meaning, error_code, meaning, named_block
from tests.helpers.slackworld import SECURITY, T0, World, world
from verifier.times import HOUR, MINUTE, SECOND
from verifier.trust.records import ClusterPut
from verifier.trust.state import TrustState

TEAM = "C0TEAM000"
DESTINATION = sorted(code for code, what in MEANINGS.items() if what is Meaning.DESTINATION)
AUTH = sorted(code for code, what in MEANINGS.items() if what is Meaning.AUTH)


def _shop(w: World, containers: int = 3) -> str:
    w.reached()
    w.own("ns0", team="t0")
    return w.part("ns0", containers)


# ------------------------------------------------------------------------------------------------- one channel is bad


@pytest.mark.asyncio
@pytest.mark.parametrize("error", ["channel_not_found", "not_in_channel", "is_archived"])
async def test_a_channel_that_takes_nothing_is_told_in_the_security_channel_with_a_line(error: str) -> None:
    async with world(teams=2) as w:
        channel = w.slack.channels[TEAM]
        channel.archived, channel.member = error == "is_archived", error != "not_in_channel"
        if error == "channel_not_found":
            del w.slack.channels[TEAM]
        w.own("ns1", team="t1")
        w.part("ns1", 2)
        _shop(w)
        await w.pump()
        banners = ["meant for" in str(shown.blocks) for shown in w.slack.parents(SECURITY)]
        assert sorted(banners) == [False, True]
        assert len(w.slack.parents("C0TEAM001")) == 1
        assert w.paper.getvalue() == ""
        assert {code for _, code in w.slack.refused} == {error}
        w.part("ns0", 9)
        await w.pump(10 * MINUTE)
        assert len(w.slack.parents(SECURITY)) == 2
        assert sorted("9 containers" in text for text in w.parents()) in ([False, True], [True, True])


@pytest.mark.asyncio
@pytest.mark.parametrize("error", DESTINATION)
async def test_every_error_of_a_destination_is_followed_by_another_destination(error: str) -> None:
    async with world(teams=1) as w:
        w.slack.fault("chat.postMessage", error, error)  # the first of each: security itself, then the team
        _shop(w)
        await w.pump(10 * MINUTE)
        assert "3 containers" in str(w.parents()) + w.paper.getvalue()
        assert set(w.rows().values()) <= {"posted", "dead"}


@pytest.mark.asyncio
async def test_a_channel_that_was_archived_later_is_followed_by_a_new_parent_elsewhere() -> None:
    async with world(teams=1) as w:
        _shop(w)
        await w.pump()
        w.slack.channels[TEAM].archived = True
        w.part("ns0", 8)
        await w.pump(10 * MINUTE)
        assert [("meant for" in str(s.blocks), "8 containers" in s.text) for s in w.slack.parents(SECURITY)] == [
            (False, True),
            (True, True),
        ]


@pytest.mark.asyncio
async def test_a_bad_security_channel_is_told_at_the_fallback_and_teams_are_told_as_ever() -> None:
    async with world(teams=1) as w:
        del w.slack.channels[SECURITY]
        _shop(w)
        await w.pump()
        assert len(w.slack.parents(TEAM)) == 1
        assert w.paper.getvalue().count("to fallback") == 1
        w.part("ns0", 0)
        await w.pump(20 * MINUTE)
        assert "RESOLVED" in w.paper.getvalue(), "who was told elsewhere hears of the end"


@pytest.mark.asyncio
async def test_teams_without_a_channel_are_told_through_security_once() -> None:
    async with world() as w:
        w.reached()
        for number in range(5):
            w.own(f"ns{number}", team=f"other{number}")
            w.part(f"ns{number}", 2)
        await w.pump()
        (parent,) = w.parents()
        assert "10 containers" in parent


@pytest.mark.asyncio
async def test_a_namespace_chooses_among_the_channels_of_the_settings_and_no_other() -> None:
    async with world(table={"shop-alerts": "C0SHOP001"}) as w:
        w.slack.know("C0SECRET1")
        w.reached()
        w.own("a", team="shop", slack_channel="shop-alerts")
        w.own("b", team="evil", slack_channel="C0SECRET1")
        w.part("a", 2)
        w.part("b", 2)
        await w.pump()
        assert len(w.slack.parents("C0SHOP001")) == 1
        assert w.slack.parents("C0SECRET1") == []


@pytest.mark.asyncio
async def test_rules_over_clusters_tell_another_channel_the_whole() -> None:
    async with world(table={"prod-oncall": "C0PROD001"}) as w:
        w.routes = w.routes.model_copy(update={"also": (RouteRule(labels={"env": "prod"}, to="prod-oncall"),)})
        await w.restart()
        put = ClusterPut(author="a", at=T0, cluster_id="prod", name="prod-eu", labels={"env": "prod"})
        trust, _ = TrustState.empty().apply(put, 1)
        list(w.alerter.trust_changed(trust, w.now))
        w.reached()
        w.part(containers=3)
        w.part(containers=2, cause="key:other", severity="medium")
        await w.pump(5 * MINUTE)
        assert ["3 containers" in text for text in w.parents("C0PROD001")] == [True]
        assert len(w.parents()) == 2


# ------------------------------------------------------------------------------------------------- nobody gets through


@pytest.mark.asyncio
@pytest.mark.parametrize("error", AUTH)
async def test_a_token_that_counts_no_more_is_told_elsewhere_at_once_and_not_tried_all_the_time(error: str) -> None:
    async with world(teams=3) as w:
        w.slack.token_error = error
        w.reached()
        for number in range(3):
            w.own(f"ns{number}", team=f"t{number}")
            w.part(f"ns{number}", 1)
        await w.pump(SECOND)
        assert w.paper.getvalue().count("to fallback") == 1
        await w.pump(HOUR)
        assert w.slack.calls["chat.postMessage"] < 4 * 20
        w.slack.token_error = ""
        w.part("ns0", 7)
        await w.pump(10 * MINUTE)
        assert "9 containers" in w.parents()[0]
        assert [len(w.slack.parents(f"C0TEAM00{n}")) for n in range(3)] == [1, 1, 1]


@pytest.mark.asyncio
async def test_an_outage_is_told_elsewhere_within_two_minutes_and_caught_up_once_with_the_text_of_then() -> None:
    """Acceptance 13: nothing stale is replayed."""
    async with world(teams=1) as w:
        _shop(w)
        await w.pump()
        w.slack.down = True
        w.part("ns0", 30)
        other = w.part("ns0", 2, cause="key:other")
        for minute in range(10):
            w.part("ns0", 31 + minute)
            await w.pump(MINUTE)
            if minute == 2:
                assert w.paper.getvalue().count("to fallback") == 2
        w.slack.down = False
        await w.pump(10 * MINUTE)
        for channel in (SECURITY, TEAM):
            assert [text for text in w.parents(channel) if "40 containers" in text]
            assert [text for text in w.parents(channel) if "2 containers" in text]
            assert len(w.parents(channel)) == 2
        assert w.alerter.book.incident(other) is not None
        assert w.paper.getvalue().count("to fallback") == 2
        assert w.slack.limited == {}


@pytest.mark.asyncio
async def test_nobody_listens() -> None:
    """A refused connection is certainly nothing sent: no search, tried again, told elsewhere."""
    async with world() as w:
        w.slack.url = "http://127.0.0.1:1/api/"
        await w.restart()
        w.reached()
        w.part(containers=3)
        await w.pump(REROUTE_AFTER + MINUTE)
        assert {outcome for _, outcome in w.outcomes} == {"ClientConnectorError"}
        assert "conversations.history" not in {method for method, _ in w.outcomes}
        assert w.paper.getvalue().count("to fallback") == 1


# ------------------------------------------------------------------------------------------------- what errors mean


@pytest.mark.parametrize(
    ("error", "what"),
    [
        ("ratelimited", Meaning.RATE),
        ("message_limit_exceeded", Meaning.RATE),
        ("invalid_auth", Meaning.AUTH),
        ("missing_scope", Meaning.AUTH),
        ("channel_not_found", Meaning.DESTINATION),
        ("not_in_channel", Meaning.DESTINATION),
        ("is_archived", Meaning.DESTINATION),
        ("invalid_blocks", Meaning.CONTENT),
        ("msg_too_long", Meaning.CONTENT),
        ("message_not_found", Meaning.GONE),
        ("cant_update_message", Meaning.GONE),
        ("internal_error", Meaning.AMBIGUOUS),
        ("duplicate_message_not_found", Meaning.AMBIGUOUS),
        ("never_heard_of", Meaning.AMBIGUOUS),
        ("", Meaning.AMBIGUOUS),
    ],
)
def test_what_an_error_means(error: str, what: Meaning) -> None:
    assert meaning(error) is what


@pytest.mark.parametrize("value", [None, 7, {}, "Not A Code", "x" * 200, "<!channel>", "a\nb"])
def test_an_error_that_is_no_word_is_not_repeated(value: object) -> None:
    assert error_code(value) == "unreadable answer"


@pytest.mark.parametrize(
    ("messages", "index"),
    [
        (["[ERROR] must be shorter [json-pointer:/blocks/3/rows]"], 3),
        (["x", "[json-pointer:/blocks/0]"], 0),
        (["[json-pointer:/blocks]"], None),
        ([7, None], None),
        ("/blocks/1/", None),
        (None, None),
    ],
)
def test_the_block_an_error_names(messages: object, index: int | None) -> None:
    assert named_block(messages) == index


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("3", 3),
        ("0", 1),
        ("86400", 900),
        ("9" * 30, 900),
        ("", 30),
        ("soon", 30),
        ("-1", 30),
        ("1.5", 30),
        ("\u0663", 30),
    ],
)
def test_how_long_a_service_may_ask_to_wait(text: str, wait: int) -> None:
    assert _retry_after({"Retry-After": text} if text else {}) == wait * SECOND


def test_an_exception_is_told_by_its_kind_alone() -> None:
    assert _failure(RuntimeError("xoxb-secret")) == (Meaning.AMBIGUOUS, "RuntimeError", 0, None)
    assert _failure(aiohttp.ServerDisconnectedError()).meaning is Meaning.AMBIGUOUS
    assert _failure(aiohttp.ConnectionTimeoutError()).meaning is None


# ------------------------------------------------------------------------------------------------- the token


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", ["drop-before", "500", "200-html", "bad-json", "text", "invalid_auth", "429", "slow"])
async def test_the_token_is_in_no_log_no_repr_and_no_answer(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with world() as w:
        w.timeout = 0.2
        await w.restart()
        w.slack.fault("chat.postMessage", fault)
        w.reached()
        w.part(containers=3)
        await w.pump(10 * MINUTE)
        secret = w.slack.token
        rows = "".join(value.decode("utf-8", "replace") for value in w.store.values())
        shown = [repr(w.notifier), str(w.notifier), repr(w.notifier._options), caplog.text, repr(w.outcomes), rows]
        assert [text for text in shown if secret in text] == []
        assert secret not in str([s.text + str(s.blocks) for s in w.slack.everything()])


# ------------------------------------------------------------------------------------------------- the port's contract


@pytest.mark.asyncio
async def test_the_notifier_keeps_the_contract_of_the_port() -> None:
    """A post has a name, an edit keeps it, a reply stands below it, and all of it is found again by another process."""
    async with world() as w:
        w.reached()
        incident = w.part(containers=3)
        list(w.alerter.tick(w.now))
        message = w.alerter.message(incident, "security")
        assert message is not None
        until = w.now + SEND_DEADLINE
        first = await w.notifier.answer(Post("d1", "security", message, until))
        assert isinstance(first, Posted)
        assert await w.notifier.answer(Update("d1", "security", message, until, first.channel, first.ts)) == first
        reply = Reply("resolved-2", "resolved", T0, "critical", 3)
        said = await w.notifier.answer(SendReply("d1", "security", message, until, first.channel, first.ts, reply))
        assert isinstance(said, Posted)
        await w.restart()
        for call, posts in (
            (Find("d1", "security", until, T0), (first,)),
            (Find("d1", "security", until, T0, first.channel, first.ts, "resolved-2"), (said,)),
            (Find("d2", "security", until, T0), ()),
            (Find("d1", "security", until, T0, first.channel, first.ts, "other"), ()),
        ):
            assert getattr(await w.notifier.answer(call), "posts", None) == posts
        late = await w.notifier.answer(Post("d3", "security", message, w.now - 1))
        assert late == Failed("not-sent", "the deadline was over")


@pytest.mark.asyncio
async def test_a_parent_of_another_place_is_gone() -> None:
    """A ledger that told a terminal yesterday and Slack today: the parent comes anew."""
    async with world() as w:
        w.reached()
        incident = w.part(containers=3)
        list(w.alerter.tick(w.now))
        message = w.alerter.message(incident, "security")
        assert message is not None
        answer = await w.notifier.answer(Update("d", "security", message, w.now + SECOND, "console", "ab12"))
        assert answer == Failed("gone", "it stands elsewhere")


@pytest.mark.asyncio
async def test_who_is_signed_in() -> None:
    async with world() as w:
        assert await w.notifier.access() == Access("Test", "revet", None)
        w.slack.token_error = "token_revoked"
        assert await w.notifier.access() == Access("", "", None, "token_revoked")


def test_options_show_no_token() -> None:
    options = SlackOptions("xoxb-secret")
    assert "secret" not in repr(options) + str(options)
    assert "secret" not in repr(SlackNotifier(options, Channels({}, "security"), lambda: 0))
