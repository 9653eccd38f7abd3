"""Records that an engine meets and cannot read: those of a newer program are held, garbage is put aside, none is lost.

Over the memory engine and the engine of the state file, with the judge; then with everything that reads a state file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import codec
from streams.codec import NewerSchemaError, decode, encode
from streams.collectors.deadletters import CODES
from streams.engine.port import Record
from streams.engine.reading import UNREADABLE, Unreadable, read
from streams.engine.sqlite import CONTROL, DATA, connect, trust_log
from streams.events import DeadLetter, TrustChanged
from streams.local.node import LocalNode, NodeSettings
from streams.local.processor import LocalProcessor
from streams.local.retrying import retry
from streams.outputs import output
from streams.processors import JudgeProcessor
from streams.queries.lists import deadletters as list_deadletters
from streams.queries.sqlite import SqliteReader
from streams.topics import (
    CLUSTER_SIGHT,
    CONTAINERS,
    DEADLETTERS,
    FACTS,
    FINDINGS,
    OBSERVATIONS,
    REQUESTS,
    TOPICS,
    TRUST,
)
from tests.helpers.engines import RIGS, Make, MemoryRig, Rig, drain, rigs
from tests.helpers.world import MINUTE, START, World, policy
from verifier.errors import TrustError
from verifier.trust.records import TRUST_RECORD, KeyPut

NEXT = codec.SCHEMA_VERSION + 1
HEAD, NEXT_HEAD = bytes((0x92, codec.SCHEMA_VERSION)), bytes((0x92, NEXT))
"""How a record of this version begins, and one of the next."""


@pytest.fixture(params=RIGS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    yield from rigs(request.param, tmp_path)


# ------------------------------------------------------------------------------------------------------------ the judge


def judge(one: Rig) -> JudgeProcessor:
    return JudgeProcessor(trust_log=one.trust())


def day() -> tuple[World, list[object]]:
    """Some inputs of a day: a key, a policy, pods with good and bad images, and the evidence that was found."""
    world = World(keys=())
    inputs: list[object] = []
    original = world.send

    def recorded(*events: object) -> list[object]:
        inputs.extend(events)
        return original(*events)

    world.send = recorded  # type: ignore[method-assign]  # a spy on this one world
    world.add_key("dev")
    world.add_key("stranger")
    world.trust(policy("signed", signed_by=("dev",)))
    world.feeds()
    for number, signer in enumerate(("dev", "stranger", "", "dev")):
        world.now += MINUTE
        image = world.image(f"r.example/app/{number}:1", signed_by=(signer,) if signer else ())
        pod = world.pod("shop", f"w{number}-1", {"app": image})
        world.send(world.decision(pod), pod)
    return world, inputs


DAY, DAY_INPUTS = day()


def judged(one: Rig) -> tuple[object, ...]:
    """What the judge came to: newest container documents and findings, and how many letters were written."""
    newest: dict[tuple[str, str], object] = {}
    for topic in (CONTAINERS, FINDINGS):
        for record in one.log(topic):
            event = msgspec.to_builtins(decode(record.value))
            newest[topic, event["id"]] = _standing(event)
    return sorted(map(repr, newest.items())), len(one.log(DEADLETTERS))


def _standing(event: dict[str, Any]) -> object:
    """What does not tell how often something was said on the way."""
    verdicts = [(v["policy"], v["outcome"], v["codes"]) for v in event.get("verdicts", ())]
    return (
        event.get("digest"),
        event.get("ended"),
        verdicts,
        event.get("state"),
        event.get("code"),
        event.get("members"),
    )


@pytest.fixture(scope="module")
def quiet_day(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    one = MemoryRig(judge, 3, tmp_path_factory.mktemp("quiet"))
    one.append([output(event) for event in DAY_INPUTS])
    drain(one)
    one.tick(DAY.now + MINUTE)
    drain(one)
    found, letters = judged(one)
    assert letters == 0
    assert "wrong-signer" in repr(found)
    assert "unsigned" in repr(found)
    return found, letters


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_engines_judge_alike(rig: Make, batch: int, quiet_day: tuple[object, ...]) -> None:
    """The same inputs over either engine, with a restart after every step: the same documents and findings."""
    one = rig(judge, batch)
    one.append([output(event) for event in DAY_INPUTS])
    while one.run_once():
        one.restart()
    one.tick(DAY.now + MINUTE)
    drain(one)
    assert judged(one) == quiet_day


def newer(event: object) -> bytes:
    """The event as a program of the next schema would write it, all members familiar."""
    data = encode(event)
    assert data[:2] == HEAD
    return NEXT_HEAD + data[2:]


def of_type(kind: type) -> object:
    return next(e for e in DAY_INPUTS if isinstance(e, kind))


NEWER: dict[str, Callable[[object], bytes]] = {
    "familiar members": newer,
    "an unknown event": lambda _: NEXT_HEAD + msgspec.msgpack.encode({"type": "of-tomorrow", "id": "x"}),
    "another shape": lambda _: msgspec.msgpack.encode([7, ["anything"], {"and": "more"}]),
}


@pytest.mark.parametrize("how", NEWER)
@pytest.mark.parametrize("place", [0, 5, 11])
def test_a_record_of_a_newer_program_is_held(
    rig: Make, how: str, place: int, quiet_day: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine stops with a named error in front of it, as often as it is started; what stands before is handled.
    After the upgrade nothing is missing."""
    one = rig(judge, 100)
    outputs = [output(event) for event in DAY_INPUTS]
    control = [o for o in outputs if o.topic in (TRUST, FACTS)]
    data = [o for o in outputs if o.topic == OBSERVATIONS]
    held = min(place, len(data) - 1)
    one.append(control)
    one.append([o for o in outputs if o.topic == CLUSTER_SIGHT])
    one.append(data[:held])
    value = NEWER[how](data[held].event)
    one.plant(OBSERVATIONS, data[held].id, value, data[held].key)
    one.append(data[held + 1 :])
    for _ in range(3):
        with pytest.raises(
            NewerSchemaError,
            match=rf"revet\.observations/0:\d+: record has schema ({NEXT}|7), .*upgrade first",
        ):
            drain(one)
        one.restart()
    assert one.log(DEADLETTERS) == []
    handled = {msgspec.to_builtins(decode(r.value))["id"] for r in one.log(CONTAINERS)}
    if held >= 2:
        assert handled, "what stands before the held record was handled"
    if how == "familiar members":  # the upgrade: a program that reads the next schema
        monkeypatch.setattr(codec, "SCHEMA_VERSION", NEXT)
        monkeypatch.setattr(codec, "_refuse_version", lambda _version: None)
        drain(one)
        one.tick(DAY.now + MINUTE)
        drain(one)
        assert judged(one) == quiet_day


@pytest.mark.parametrize("topic", JudgeProcessor.topics)
def test_a_newer_record_is_held_on_every_topic(rig: Make, topic: str) -> None:
    one = rig(judge)
    one.plant(topic, "n", msgspec.msgpack.encode([NEXT, {"type": "of-tomorrow"}]))
    with pytest.raises(NewerSchemaError, match=f"{topic}/0:"):
        drain(one)


def test_a_trust_record_of_a_later_kind_is_held(rig: Make) -> None:
    """Its envelope is known and its content is not: to judge without it could be to ignore a revocation."""
    one = rig(judge)
    record = b'{"kind":"quorum-put","author":"t","at":1,"members":["a","b"]}'
    one.append([output(TrustChanged("t", START, 1, record))])
    for _ in range(2):
        with pytest.raises(NewerSchemaError, match="entry 1 of the trust log"):
            drain(one)
        one.restart()
    assert one.log(DEADLETTERS) == []


GARBAGE = {
    "nothing": b"",
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "json": b'{"kind":"Pod"}',
    "half a record": encode(DAY_INPUTS[-1])[:40],
    "a record and more": encode(DAY_INPUTS[-1]) + b"\x00",
    "text that is not UTF-8": b"\x92\x01\x81\xa4type\xa1\xff",
    "no such event": HEAD + msgspec.msgpack.encode({"type": "password=hunter2"}),
    "a member of another type": HEAD + msgspec.msgpack.encode({"type": "feed", "id": {"password": "hunter2"}}),
    "schema 0": b"\x92\x00" + encode(DAY_INPUTS[-1])[2:],
    "schema -1": b"\x92\xff" + encode(DAY_INPUTS[-1])[2:],
    "nested without end": b"\x92\x01" + b"\x91" * 200_000,
    "large": b"\xff" * 300_000,
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_in_the_log_stops_nothing(rig: Make, what: str, quiet_day: tuple[object, ...]) -> None:
    """On every topic, before and between good records: one dead letter each, and everything else as on a quiet day."""
    one = rig(judge)
    outputs = [output(event) for event in DAY_INPUTS]
    for topic in JudgeProcessor.topics:
        one.plant(topic, "bad-first", GARBAGE[what])
    one.append(outputs[:8])
    for topic in JudgeProcessor.topics:
        one.plant(topic, "bad-later", GARBAGE[what])
    one.append(outputs[8:])
    while one.run_once():
        one.restart()
    one.tick(DAY.now + MINUTE)
    drain(one)
    found, letters = judged(one)
    assert found == quiet_day[0]
    assert letters == 2 * len(JudgeProcessor.topics)


def test_the_dead_letter_tells_where_and_no_value(rig: Make) -> None:
    one = rig(judge)
    value = GARBAGE["no such event"]
    one.plant(OBSERVATIONS, "bad", value, "k")
    drain(one)
    (record,) = one.log(DEADLETTERS)
    letter = decode(record.value)
    assert isinstance(letter, DeadLetter)
    assert letter.source.startswith("revet.observations/0:")
    assert (letter.code, letter.message, letter.size) == (UNREADABLE, CODES[UNREADABLE], len(value))
    assert (len(letter.sha256), letter.time, record.id, record.key) == (64, START, letter.id, letter.source)
    assert b"hunter2" not in record.value


def test_a_record_on_the_wrong_topic_is_none_of_its_records(rig: Make) -> None:
    """Who may write observations may not thereby change trust."""
    one = rig(judge)
    signer = DAY.signer("mallory")
    record = TRUST_RECORD.dump_json(KeyPut(author="m", at=START, name="mallory", key_id=signer.key_id, pem=signer.pem))
    one.plant(OBSERVATIONS, "forged", encode(TrustChanged("forged", START, 1, record)))
    drain(one)
    assert isinstance(one.processor, JudgeProcessor)
    assert one.processor.state.trust.epoch == 0
    (letter,) = (decode(r.value) for r in one.log(DEADLETTERS))
    assert isinstance(letter, DeadLetter)
    assert letter.message == f"{CODES[UNREADABLE]} (TrustChanged does not belong into revet.observations)"


def test_a_trust_record_that_is_no_json_is_a_dead_letter(rig: Make) -> None:
    """Its place in the log stays its epoch; what follows counts."""
    one = rig(judge)
    good = [e for e in DAY_INPUTS if isinstance(e, TrustChanged)]
    one.append([output(TrustChanged("bad", START, 1, b"\xff{"))])
    one.append([output(TrustChanged(e.id, e.time, e.epoch + 1, e.record)) for e in good])
    drain(one)
    one.restart()
    assert isinstance(one.processor, JudgeProcessor)
    assert set(one.processor.state.trust.policies) == {"signed"}
    assert one.processor.state.trust.epoch == len(good) + 1
    assert len(one.log(DEADLETTERS)) == 1


@settings(max_examples=200)
@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda b: b"\x92\x01" + b), st.sampled_from(sorted(TOPICS)))
def test_any_bytes_are_an_event_a_dead_letter_or_held(data: bytes, topic: str) -> None:
    try:
        found = read(Record(1, topic, 0, "", "x", data, 1))
    except NewerSchemaError:
        return
    assert isinstance(found, Unreadable)
    assert found.letter.code in CODES


@settings(max_examples=200)
@given(st.sampled_from(DAY_INPUTS), st.data())
def test_a_damaged_record_is_an_event_a_dead_letter_or_held(event: object, data: st.DataObject) -> None:
    """One byte changed, anywhere: the engine never meets another kind of answer."""
    value = bytearray(encode(event))
    value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    topic = output(event).topic
    try:
        found = read(Record(1, topic, 0, "", "x", bytes(value), 1))
    except NewerSchemaError:
        return
    assert isinstance(found, (Unreadable, *TOPICS[topic].holds))


# ---------------------------------------------------------------------------------------------- the file of one machine


def open_node(path: Path) -> LocalNode:
    return LocalNode.open(path, NodeSettings(clock=lambda: DAY.now + MINUTE))


def plant(node: LocalNode, topic: str, name: str, value: bytes) -> None:
    query = "INSERT INTO log (topic, key, id, time, value) VALUES (?, '', ?, ?, ?)"
    node.connection.execute(query, (topic, name, START, value))


def letters(node: LocalNode) -> list[tuple[str, str]]:
    """(code, topic) of the dead letters as a person finds them."""
    found = list_deadletters(SqliteReader(node.connection), "", limit=1000).rows
    return sorted((row.code, row.source.partition("/")[0]) for row in found)


def codes(node: LocalNode) -> list[str]:
    return sorted(f.code for f in node.processor.state.findings.values() if f.state == "open")


@pytest.fixture
def quiet_codes(tmp_path: Path) -> list[str]:
    with closing(open_node(tmp_path / "quiet.sqlite")) as node:
        node.engine.append([output(event) for event in DAY_INPUTS])
        asyncio.run(node.drain())
        assert {"unsigned", "wrong-signer"} <= set(codes(node))
        return codes(node)


def test_poison_in_a_state_file_is_on_record_and_stops_nobody(tmp_path: Path, quiet_codes: list[str]) -> None:
    """Judge, alerter, fetcher and the command that reads again: each passes over it, one letter each, also later."""
    path = tmp_path / "state.sqlite"
    topics = [*LocalProcessor.topics, REQUESTS]
    with closing(open_node(path)) as node:
        for topic in topics:
            plant(node, topic, "bad", GARBAGE["text that is not UTF-8"])
        node.engine.append([output(event) for event in DAY_INPUTS])
        asyncio.run(node.drain())
    retry(path, DAY.now + MINUTE)
    with closing(open_node(path)) as node:
        asyncio.run(node.drain())
        assert codes(node) == quiet_codes
        assert letters(node) == sorted((UNREADABLE, topic) for topic in topics)
        assert node.engine.count(DEADLETTERS) == len(topics) + 1  # the garbage among the letters themselves


async def _fetched(node: LocalNode) -> None:
    """As the live service does it: request by request, in the background."""
    for record in node.engine.after(REQUESTS, 0, 100):
        await node.fetch(record)


def test_the_live_fetcher_passes_over_poison(tmp_path: Path) -> None:
    with closing(open_node(tmp_path / "state.sqlite")) as node:
        plant(node, REQUESTS, "bad", GARBAGE["json"])
        asyncio.run(_fetched(node))
        asyncio.run(node.drain())
        assert letters(node) == [(UNREADABLE, REQUESTS)]


@pytest.mark.parametrize("topic", [*LocalProcessor.topics, REQUESTS])
def test_a_newer_record_stops_the_node_and_stays(topic: str, tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    with closing(open_node(path)) as node:
        plant(node, topic, "newer", NEWER["an unknown event"](None))
    for _ in range(2):
        with closing(open_node(path)) as node, pytest.raises(NewerSchemaError, match="upgrade first"):
            asyncio.run(node.drain())
    with closing(open_node(path)) as node:
        assert letters(node) == []
        assert max(node.engine.position(CONTROL), node.engine.position(DATA), node.engine.position("fetcher")) == 0


def key_record(name: str) -> KeyPut:
    signer = DAY.signer(name)
    return KeyPut(author="t", at=START, name=name, key_id=signer.key_id, pem=signer.pem)


def test_trust_can_be_changed_behind_poison(tmp_path: Path) -> None:
    """An entry that cannot be read keeps its number and counts for nothing; a change expects what is readable."""
    path = tmp_path / "state.sqlite"
    with closing(open_node(path)) as node:
        assert node.change_trust([key_record("a")]) == [1]
        plant(node, TRUST, "bad", b"garbage")
        assert node.change_trust([key_record("b")], expects=1) == [3]
        with pytest.raises(TrustError, match="trust is at epoch 3, this change was prepared at 2"):
            node.change_trust([key_record("c")], expects=2)
        asyncio.run(node.drain())
        assert node.trust.epoch == 3
    with closing(open_node(path)) as node:
        assert (node.trust.epoch, sorted(node.trust.names)) == (3, ["a", "b"])
        assert [epoch for epoch, _ in trust_log(node.connection)] == [1, 3]
        assert letters(node) == [(UNREADABLE, TRUST)]


def test_trust_that_was_damaged_after_it_was_read_is_not_passed_over(tmp_path: Path) -> None:
    """A revocation that rots on the disk must not be forgotten in silence: nobody folds such a log."""
    path = tmp_path / "state.sqlite"
    with closing(open_node(path)) as node:
        node.change_trust([key_record("a"), key_record("b")])
        asyncio.run(node.drain())
        node.connection.execute("UPDATE log SET value = X'00' WHERE topic = ? AND position = 1", (TRUST,))
    with pytest.raises(TrustError, match=r"revet\.trust/0:1 was read once and cannot be read now"):
        open_node(path)
    with closing(connect(path, create=False)) as connection, pytest.raises(TrustError, match="undamaged copy"):
        trust_log(connection)
