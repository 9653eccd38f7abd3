"""Changing trust where several may write: who wins is said, nothing is half done, and two signatures travel by file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

import pytest

from streams.engine.port import Record
from streams.events import TrustChanged
from streams.trustlog import TrustGate, event_of
from streams.trustwriting import (
    ClusterTrust,
    Proposal,
    Read,
    propose,
    read_proposal,
    refuse_unsigned,
    signed_by,
    signers,
    write_proposal,
)
from tests.helpers.trustadmins import ALICE, BOB, MALLORY, Log, Person, T, gate, key_put, policy_put
from verifier.errors import PlaceUnavailable, TrustError
from verifier.trust.records import PolicyRemoved, RevocationPut

LOST = PlaceUnavailable("kafka-unavailable", "no acknowledgement")
REVOKED = RevocationPut(
    author="alice", at=T, id="v1:r", subject_kind="key", subject="ab", reason="keyCompromise", effective=T
)


class MemoryTopic:
    """Implements `TrustTopic`. `before`: what happens between the last look and the write, as on a real broker."""

    def __init__(self) -> None:
        self.log = Log()
        self.before: list[list[TrustChanged]] = []
        self.between: list[list[TrustChanged]] = []
        self.loses: str = ""
        """`all`: nothing is written and the broker is silent; `answer`: it is written, and the broker is silent."""

    def read(self) -> list[Record]:
        return list(self.log.records)

    def append(self, events: Sequence[TrustChanged]) -> None:
        for others in self.before:
            self.log.put(*others)
        self.before = []
        if self.loses == "all":
            raise LOST
        for event in events:
            self.log.put(event)
            for others in self.between:
                self.log.put(*others)
            self.between = []
        if self.loses:
            raise LOST


def trust(topic: MemoryTopic, loosening: int = 1) -> ClusterTrust:
    return ClusterTrust(topic, lambda: gate(loosening=loosening))


def made(found: Read, *changes: object, by: tuple[Person, ...] = (ALICE,)) -> Proposal:
    proposal = propose(found.gate, changes, T)  # type: ignore[arg-type]  # records
    for one in by:
        proposal = signed_by(found.gate, proposal, one.key)
    return proposal


def _events(proposal: Proposal) -> list[TrustChanged]:
    return [event_of(p.entry, s) for p, s in zip(proposal.prepared, proposal.signatures, strict=True)]


def test_what_was_written_is_read_again():
    topic = MemoryTopic()
    door = trust(topic)
    confirmed = door.submit(made(door.read(), key_put(1), policy_put()))
    assert [entry.epoch for entry in confirmed.entries] == [1, 2]
    assert set(confirmed.read.gate.trust.names) == {"key-1"}
    assert signers(confirmed.read.gate, confirmed.entries[0]) == ("alice",)


def test_the_loser_of_a_race_is_told_and_changes_nothing():
    topic = MemoryTopic()
    door = trust(topic)
    found = door.read()
    topic.before = [_events(made(found, key_put(7), by=(BOB,)))]
    with pytest.raises(TrustError, match="another change came first: epoch 1 is one that bob signed"):
        door.submit(made(found, key_put(1), policy_put()))
    after = door.read()
    assert (after.gate.reached, set(after.gate.trust.names), after.gate.trust.policies) == (1, {"key-7"}, {})


def test_who_prepared_before_another_change_is_refused_before_anything_is_written():
    topic = MemoryTopic()
    door = trust(topic)
    old = made(door.read(), key_put(1))
    door.submit(made(door.read(), key_put(2), by=(BOB,)))
    with pytest.raises(TrustError, match="trust is at epoch 1, this change was prepared at 0"):
        door.submit(old)
    assert len(topic.log.records) == 1


def test_a_change_that_another_cuts_in_two_says_what_counts():
    """The other had read the first entry when it wrote."""
    topic = MemoryTopic()
    door = trust(topic)
    mine = made(door.read(), key_put(1), key_put(2))
    ahead = MemoryTopic()
    ahead.append(_events(mine)[:1])
    topic.between = [_events(made(trust(ahead).read(), key_put(9), by=(BOB,)))]
    confirmed = door.submit(mine)
    assert [entry.epoch for entry in confirmed.entries] == [1]
    assert set(door.read().gate.trust.names) == {"key-1", "key-9"}


@pytest.mark.parametrize("loses", ["all", "answer"])
def test_a_broker_that_does_not_answer(loses):
    """Whether it was written is found out by reading, not guessed."""
    topic = MemoryTopic()
    door = trust(topic)
    topic.loses = loses
    proposal = made(door.read(), key_put(1))
    if loses == "answer":
        assert [entry.epoch for entry in door.submit(proposal).entries] == [1]
    else:
        with pytest.raises(PlaceUnavailable, match="no acknowledgement; it does not count now and may yet"):
            door.submit(proposal)


def test_the_same_change_submitted_twice_counts_once():
    topic = MemoryTopic()
    door = trust(topic)
    proposal = made(door.read(), key_put(1))
    door.submit(proposal)
    with pytest.raises(TrustError, match="look again"):
        door.submit(proposal)
    topic.append(_events(proposal))  # a producer's own retry
    found = door.read()
    assert (found.gate.reached, len(found.ignored)) == (1, 1)


def test_every_order_of_two_writers_leaves_one_history():
    """Two changes of two entries each, in all orders a broker may put them."""
    found = trust(MemoryTopic()).read()
    mine, theirs = _events(made(found, key_put(1), key_put(2))), _events(made(found, key_put(3), key_put(4), by=(BOB,)))
    for order in set(itertools.permutations("aabb")):
        topic, left = MemoryTopic(), {"a": list(mine), "b": list(theirs)}
        topic.log.put(*(left[one].pop(0) for one in order))
        at = trust(topic).read()
        first = "key-1" if order[0] == "a" else "key-3"
        assert set(at.gate.trust.names) in ({first, "key-2"}, {first, "key-4"})
        assert first == "key-1" or "key-4" in at.gate.trust.names
        assert at.gate.reached == 2


# ----------------------------------------------------------------------------------------------------- who has to sign


def test_an_act_that_loosens_is_not_even_written_without_the_second_signature():
    topic = MemoryTopic()
    door = trust(topic, loosening=2)
    one = made(door.read(), key_put(1))
    with pytest.raises(TrustError, match=r"loosens trust \(another key may sign: key-1\) and needs 2 .* has alice"):
        door.submit(one)
    assert topic.log.records == []
    both = made(door.read(), key_put(1), by=(ALICE, BOB))
    assert both.missing(door.read().gate) == 0
    assert [entry.epoch for entry in door.submit(both).entries] == [1]


def test_a_tightening_act_needs_one():
    door = trust(MemoryTopic(), loosening=2)
    assert door.submit(made(door.read(), REVOKED)).entries


def test_a_key_that_is_nobodys_signs_nothing():
    door = trust(MemoryTopic())
    with pytest.raises(TrustError, match=r"cannot sign epoch 1: .*; administrators in these settings: alice, bob"):
        made(door.read(), key_put(1), by=(MALLORY,))


def test_a_record_that_no_reader_applies_is_not_proposed():
    door = trust(MemoryTopic())
    with pytest.raises(TrustError, match="there is no policy x"):
        made(door.read(), PolicyRemoved(author="a", at=T, policy_id="x"))


# --------------------------------------------------------------------------------------------------------- as a file


def proposed(*people: Person) -> tuple[TrustGate, bytes]:
    found = trust(MemoryTopic(), loosening=2).read()
    return found.gate, write_proposal(found.gate, made(found, key_put(1), policy_put(), by=people))


def test_a_proposal_travels_by_file_and_gathers_signatures():
    topic = MemoryTopic()
    door = trust(topic, loosening=2)
    at, data = proposed(ALICE)
    read = read_proposal(at, data)
    assert (read.names(at, 0), read.missing(at)) == (("alice",), 1)
    with pytest.raises(TrustError, match="needs 2"):
        refuse_unsigned(at, read)
    again = read_proposal(at, write_proposal(at, signed_by(at, read, BOB.key)))
    assert (again.names(at, 0), again.missing(at)) == (("alice", "bob"), 0)
    assert len(door.submit(again).entries) == 2


def test_signing_twice_is_one_signature():
    at, data = proposed(ALICE)
    again = signed_by(at, read_proposal(at, data), ALICE.key)
    assert [len(signatures) for signatures in again.signatures] == [1, 1]


def test_what_a_second_administrator_is_shown_is_what_the_bytes_say():
    """Whoever carries the file may change it: then the signature it had is none, and the next is asked what it says."""
    at, data = proposed(ALICE)
    document = json.loads(data)
    last = document["entries"][1]
    last["record"] = last["record"].replace('"signed"', '"worse"')
    changed = read_proposal(at, json.dumps(document).encode())
    assert changed.prepared[1].change.policy.id == "worse"  # type: ignore[union-attr]  # it is a policy
    assert (changed.names(at, 0), changed.names(at, 1)) == (("alice",), ())


def test_a_chain_whose_first_entry_was_changed_is_broken():
    at, data = proposed(ALICE)
    document = json.loads(data)
    document["entries"][0]["time"] += 1
    with pytest.raises(TrustError, match="another history"):
        read_proposal(at, json.dumps(document).encode())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.update(schema="revet.trust-proposal/v9"), "expected a file that"),
        (lambda d: d.update(entries=[]), "expected a file that"),
        (lambda d: d.update(log="staging"), "for the trust log 'staging', the settings name 'revet'"),
        (lambda d: d["entries"][0].update(epoch=7), "prepared at 6"),
        (lambda d: d["entries"][0].update(previous="zz"), "not a proposal"),
        (lambda d: d["entries"][0].update(record="{"), "not JSON with one meaning"),
        (lambda d: d["entries"][0].update(record='{"kind":"key-put","kind":"x"}'), "not JSON with one meaning"),
        (lambda d: d["entries"][0]["signatures"][0].update(value="*"), "not a proposal"),
        (lambda d: d["entries"][0].pop("time"), "not a proposal"),
    ],
)
def test_a_wrong_file_is_refused_by_name(change, says):
    at, data = proposed(ALICE)
    document = json.loads(data)
    change(document)
    with pytest.raises(TrustError, match=says):
        read_proposal(at, json.dumps(document).encode())


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"schema":1}', b"[" * 100_000, b'{"a":1,"a":2}'])
def test_garbage_is_no_proposal(data):
    with pytest.raises(TrustError, match="not a proposal"):
        read_proposal(gate(), data)
