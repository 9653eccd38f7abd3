"""Attacks on the trust log, with real signatures: what who may write to the topic would do to change what is trusted.

Every test first lets the honest neighbour of the attack through. The name of a test is the attack. What has to hold in
the end is always the same: trust, epoch and head of every reader are those of the honest log.
"""

import base64
import itertools

import msgspec
import pytest

from streams.codec import SCHEMA_VERSION, NewerSchemaError, encode
from streams.engine.port import Record
from streams.events import DeadLetter, Tick, TrustChanged
from streams.topics import TRUST
from streams.trustlog import Ignored, Refused, TrustGate
from tests.helpers.trustadmins import (
    ALICE,
    BOB,
    MALLORY,
    Log,
    T,
    gate,
    key_put,
    next_of,
    outcomes,
    person,
    policy_put,
    signed,
    tampered,
)
from verifier.errors import TrustError
from verifier.trust.records import PolicyRemoved, RevocationPut, RevocationWithdrawn
from verifier.trust.signing import TrustEntry, read_administrators

REVOKED = RevocationPut(
    author="alice", at=T, id="v1:revoked", subject_kind="key", subject="ab", reason="keyCompromise", effective=T
)
WITHDRAWN = RevocationWithdrawn(author="alice", at=T, revocation_id="v1:revoked")
REMOVED = PolicyRemoved(author="alice", at=T, policy_id="signed")


@pytest.fixture
def log() -> Log:
    """Three honest entries."""
    made, at = Log(), gate()
    for event in next_of(at, key_put(1), policy_put(), REVOKED):
        made.put(event)
    assert outcomes(made.read(at)) == ["TrustChanged"] * 3
    return made


def unmoved(log: Log, *attack: TrustChanged | bytes, through=None, by=(ALICE, BOB)) -> list[object]:
    """What the gate says of an attack behind the honest log; trust must be what it was, and must go on."""
    at = through or gate()
    log.read(at)
    before = (at.trust, at.head, at.reached)
    said = [at.take(record) for record in log.put(*attack)]
    assert (at.trust, at.head, at.reached) == before
    for event in next_of(at, key_put(99), by=by):
        assert outcomes(at.take(record) for record in log.put(event)) == ["TrustChanged"]
    return said


def refused(said: list[object], words: str) -> None:
    (one,) = said
    assert isinstance(one, Refused)
    assert one.letter.code == "trust-refused"
    assert words in one.letter.message


# ------------------------------------------------------------------------------------------------------------ forgery


def ahead(log: Log):
    at = gate()
    log.read(at)
    return at


def test_unsigned_entry(log):
    (event,) = next_of(ahead(log), WITHDRAWN)
    refused(unmoved(log, tampered(event, signatures=())), "it is not signed")


def test_entry_signed_by_a_stranger(log):
    (event,) = next_of(ahead(log), WITHDRAWN, by=[MALLORY])
    refused(unmoved(log, event), "no trust administrator")


def test_signature_under_the_name_of_an_administrators_key(log):
    (event,) = next_of(ahead(log), WITHDRAWN, by=[MALLORY])
    pretended = ((ALICE.administrator.key_id, event.signatures[0][1]),)
    refused(unmoved(log, tampered(event, signatures=pretended)), "not of this entry")


@pytest.mark.parametrize("signature", [b"", b"\0" * 64, b"\xff" * 64, b"x" * 63, b"x" * 65, b"x" * 100_000])
def test_signature_of_rubbish(log, signature):
    (event,) = next_of(ahead(log), WITHDRAWN)
    refused(unmoved(log, tampered(event, signatures=((ALICE.administrator.key_id, signature),))), "not of this entry")


def test_other_record_under_a_good_signature(log):
    (good,) = next_of(ahead(log), key_put(2))
    (other,) = next_of(ahead(log), WITHDRAWN)
    refused(unmoved(log, tampered(good, record=other.record)), "not of this entry")


@pytest.mark.parametrize(("member", "value"), [("time", T + 1), ("epoch", 5), ("previous", b"x" * 32)])
def test_other_place_under_a_good_signature(log, member, value):
    (good,) = next_of(ahead(log), key_put(2))
    refused(unmoved(log, tampered(good, **{member: value})), "not of this entry")


def test_parts_of_the_signed_form_moved_between_members(log):
    """`epoch 12, time 3` and `epoch 1, time 23` must not be the same bytes."""
    (good,) = next_of(ahead(log), key_put(2), time=23)
    for epoch, time in ((42, 3), (4, 2), (432, 3)):
        refused(unmoved(log, tampered(good, epoch=epoch, time=time)), "not of this entry")


def test_signature_by_a_key_of_small_order_is_no_key():
    """Under the neutral element everything is signed by everybody."""
    for first in (0, 1):
        key = base64.b64encode(bytes([first]) + bytes(31)).decode()
        with pytest.raises(ValueError, match="key 1 is not NAME=KEY"):
            read_administrators([f"eve={key}"])


def test_honest_signature_hidden_among_forged_ones_still_counts(log):
    """Nobody can spoil an entry by adding to it: what does not count proves nothing."""
    at = ahead(log)
    (event,) = next_of(at, key_put(2))
    spoiled = ((MALLORY.administrator.key_id, b"x" * 64), (ALICE.administrator.key_id, b"y" * 64), *event.signatures)
    assert outcomes(at.take(r) for r in log.put(tampered(event, signatures=spoiled))) == ["TrustChanged"]


def test_a_million_signatures(log):
    (event,) = next_of(ahead(log), WITHDRAWN, by=[MALLORY])
    refused(unmoved(log, tampered(event, signatures=event.signatures * 100_000)), "no trust administrator")


# ------------------------------------------------------------------------------------------------ replay and reordering


def test_replay_of_every_entry_of_the_log(log):
    said = unmoved(log, *(record.value for record in log.records[:3]))
    assert said == [Ignored(n + 2, n, 3, ("alice",)) for n in (1, 2, 3)]


def test_replay_of_a_withdrawal_after_the_key_was_revoked_again(log):
    """An old, honestly signed loosening act is of its epoch only."""
    at = ahead(log)
    (withdrawn,) = next_of(at, WITHDRAWN)
    at.take(log.put(withdrawn)[0])
    again = REVOKED.model_copy(update={"id": "v1:again"})
    at.take(log.put(*next_of(at, again))[0])
    said = unmoved(log, withdrawn)
    assert outcomes(said) == ["Ignored"]
    assert ahead(log).trust.revocations["v1:again"].active


def test_entries_in_another_order(log):
    """Whatever order a writer puts honest entries in, no reader comes to a state that no administrator saw."""
    at = ahead(log)
    first, second, third = next_of(at, key_put(2), key_put(3), key_put(4))
    for order in itertools.permutations((first, second, third)):
        copy, fresh = Log(), gate()
        copy.put(*(record.value for record in log.records))
        copy.put(*order)
        copy.read(fresh)
        taken = [e for e in (first, second, third) if f"key-{e.epoch - 2}" in fresh.trust.names]
        assert taken == [first, second, third][: len(taken)]
        assert fresh.reached == 3 + len(taken)


def test_entry_of_another_log_with_the_same_administrators(log):
    """What was signed for staging, at the same epoch behind the same history, does not count in production."""
    staging = gate(log="staging")
    for record in next_of(staging, key_put(1), policy_put(), REVOKED):
        assert isinstance(staging.take(Record(record.epoch, TRUST, 0, "", "", encode(record), T)), TrustChanged)
    (event,) = next_of(staging, WITHDRAWN)
    refused(unmoved(log, event), "not of this entry in this log")


def test_entry_of_the_same_log_before_it_was_lost(log):
    """A log that was begun anew under the same name has another history: its old entries are ignored."""
    at = gate()
    anew = Log()
    for event in next_of(at, policy_put("other"), key_put(7), REVOKED):
        at.take(anew.put(event)[0])
    (old,) = next_of(ahead(log), WITHDRAWN)
    assert outcomes(unmoved(anew, old)) == ["Ignored"]


def test_half_of_a_change_that_lost_the_race(log):
    """The second entry of the loser makes the right epoch, and stands on a first entry that never counted."""
    at = ahead(log)
    mine = next_of(at, key_put(2), key_put(3))
    theirs = next_of(at, key_put(4), REMOVED, by=[BOB])
    said = [at.take(record) for record in log.put(mine[0], theirs[0], theirs[1], mine[1])]
    assert outcomes(said) == ["TrustChanged", "Ignored", "Ignored", "TrustChanged"]
    assert "signed" in at.trust.policies


@pytest.mark.parametrize("epoch", [1, 3, 5, 10**12])
def test_honestly_signed_for_a_wrong_epoch(log, epoch):
    (right,) = next_of(ahead(log), key_put(2))
    entry = TrustEntry("revet", right.previous, epoch, right.time, right.record)
    assert outcomes(unmoved(log, signed(entry, ALICE))) == ["Ignored"]


@pytest.mark.parametrize("epoch", [0, -1, -(2**63)])
def test_signed_for_an_epoch_before_the_first(log, epoch):
    (right,) = next_of(ahead(log), key_put(2))
    entry = TrustEntry("revet", right.previous, epoch, right.time, right.record)
    refused(unmoved(log, signed(entry, ALICE)), "may not sign for this epoch")


def test_duplicate_delivery_of_the_whole_partition(log):
    at = gate()
    first, again = log.read(at), log.read(at)
    assert first == again
    assert at.counts == {"accepted": 3, "ignored": 0, "refused": 0}


# ---------------------------------------------------------------------------------------------- who may, and how many


def test_one_signature_where_a_loosening_act_needs_two(log):
    (one,) = next_of(ahead(log), WITHDRAWN)
    refused(unmoved(log, one, through=gate(loosening=2, loosening_from=4)), "1 of 2 signatures")


@pytest.mark.parametrize("change", [WITHDRAWN, REMOVED, key_put(5)], ids=lambda record: record.kind)
def test_two_signatures_by_one_person(log, change):
    second = person("alice", 2)
    people = (ALICE, second, BOB)
    for by, expected in (
        ([ALICE], "Refused"),
        ([ALICE, ALICE], "Refused"),
        ([ALICE, second], "Refused"),
        ([ALICE, MALLORY], "Refused"),
        ([ALICE, BOB], "TrustChanged"),
    ):
        at = gate(*people, loosening=2, loosening_from=4)
        log.read(at)
        (event,) = next_of(at, change, by=by)
        assert type(at.take(Record(3, TRUST, 0, "", "", encode(event), T))).__name__ == expected, by


def test_a_tightening_act_never_waits_for_a_second_person(log):
    at = gate(loosening=2, loosening_from=4)
    log.read(at)
    again = REVOKED.model_copy(update={"id": "v1:again"})
    assert outcomes(at.take(r) for r in log.put(*next_of(at, again, by=[BOB]))) == ["TrustChanged"]


def test_second_signature_taken_from_another_entry(log):
    at = gate(loosening=2, loosening_from=4)
    log.read(at)
    (event,) = next_of(at, WITHDRAWN)
    (other,) = next_of(at, key_put(6), by=[BOB])
    spliced = tampered(event, signatures=(*event.signatures, *other.signatures))
    assert outcomes(at.take(r) for r in log.put(spliced)) == ["Refused"]


def test_administrator_who_left_signs_on(log):
    left = person("bob", until=3)
    at = gate(ALICE, left)
    (event,) = next_of(ahead(log), WITHDRAWN, by=[left])
    refused(unmoved(log, event, through=at), "may not sign for this epoch")


def test_what_an_administrator_signed_before_leaving_stays_good():
    made, at = Log(), gate()
    made.put(*next_of(at, key_put(1), policy_put(), by=[BOB]))
    assert outcomes(made.read(gate(ALICE, person("bob", until=2)))) == ["TrustChanged"] * 2
    assert outcomes(made.read(gate(ALICE, person("bob", until=1)))) == ["TrustChanged", "Refused"]


def test_a_stolen_key_is_cut_off_together_with_what_was_built_on_it():
    made, at = Log(), gate()
    for change, by in ((key_put(1), BOB), (key_put(66), BOB), (key_put(2), ALICE)):  # the second is the thief's
        at.take(made.put(*next_of(at, change, by=[by]))[0])
    mended = gate(ALICE, person("bob", until=1))
    assert outcomes(made.read(mended)) == ["TrustChanged", "Refused", "Ignored"]
    made.put(*next_of(mended, key_put(2)))
    again = gate(ALICE, person("bob", until=1))
    made.read(again)
    assert set(again.trust.names) == {"key-1", "key-2"}


def test_who_becomes_an_administrator_does_not_make_old_refused_entries_count(log):
    """Without a beginning of the key's window every later fold would take another history than the ones before."""
    (early,) = next_of(ahead(log), WITHDRAWN, by=[MALLORY])
    log.put(early)
    at = ahead(log)
    log.put(*next_of(at, key_put(2)))
    joined = gate(ALICE, BOB, person("mallory", since=5))
    assert outcomes(log.read(joined)) == ["TrustChanged"] * 3 + ["Refused", "TrustChanged"]


def test_asking_for_two_from_now_on_does_not_undo_what_one_signed(log):
    at = ahead(log)
    log.put(*next_of(at, WITHDRAWN))
    assert outcomes(log.read(gate(loosening=2, loosening_from=5))) == ["TrustChanged"] * 4


# ------------------------------------------------------------------------------------------- garbage, and newer records


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\0",
        b"not msgpack at all",
        b"\x93\x01\x02\x03",
        b"\x92\x01" + b"\x81" * 5000,
        encode(Tick("t", T)),
        encode(DeadLetter("d", T, "s", "c", "m", 1, "h")),
    ],
)
def test_garbage_in_the_topic(log, value):
    (said,) = unmoved(log, value)
    assert isinstance(said, Refused)
    assert said.letter.code == "record-unreadable"


def test_record_that_says_one_thing_twice(log):
    """Two parsers that disagree: the first `policy_id` for one, the last for the other."""
    (event,) = next_of(ahead(log), REMOVED)
    twice = event.record.replace(b'"policy_id":"signed"', b'"policy_id":"harmless","policy_id":"signed"')
    assert twice != event.record
    entry = TrustEntry("revet", event.previous, event.epoch, event.time, twice)
    (said,) = unmoved(log, signed(entry, ALICE))
    assert isinstance(said, Refused)
    assert said.letter.code == "record-unreadable"


def test_forged_record_of_the_future_does_not_stop_everything(log):
    """An unknown kind is held for an upgrade only where an administrator signed it."""
    at = ahead(log)
    record = b'{"kind":"trust-everything","author":"a","at":1}'
    entry = TrustEntry("revet", at.head, at.reached + 1, T, record)
    refused(unmoved(log, signed(entry, MALLORY)), "no trust administrator")


def test_signed_record_of_a_newer_revet_is_held():
    at, made = gate(), Log()
    entry = TrustEntry("revet", b"", 1, T, b'{"kind":"trust-more","author":"a","at":1}')
    (record,) = made.put(signed(entry, ALICE))
    for _ in range(2):  # asked again it is held again
        with pytest.raises(NewerSchemaError, match=rf"{TRUST}/0:0: .*upgrade first"):
            at.take(record)
    assert (at.reached, at.position) == (0, 0)


def test_envelope_of_a_newer_revet_is_held():
    at, made = gate(), Log()
    (record,) = made.put(msgspec.msgpack.encode((SCHEMA_VERSION + 1, {"type": "trust"})))
    with pytest.raises(NewerSchemaError, match=rf"{TRUST}/0:0"):
        at.take(record)


def test_log_read_out_of_order(log):
    at = gate()
    at.take(log.records[1])
    with pytest.raises(TrustError, match="out of order"):
        at.take(log.records[0])


# -------------------------------------------------------------------------------------- what is not signed, and letters


def test_id_headers_and_key_are_not_believed(log):
    """Documents bear the id; somebody who copies an entry first must not choose it."""
    at = ahead(log)
    (event,) = next_of(at, key_put(2))
    (record,) = log.put(tampered(event, id="chosen"))
    said = at.take(msgspec.structs.replace(record, key="x", id="y", time=1))
    assert said == event


def test_dead_letters_are_the_same_from_every_process_and_repeat_no_value(log):
    (event,) = next_of(ahead(log), policy_put("secret-name"), by=[MALLORY])
    log.put(event)
    letters = [said.letter for at in (gate(), gate()) for said in log.read(at) if isinstance(said, Refused)]
    assert letters[0] == letters[1]
    assert "secret" not in msgspec.json.encode(letters[0]).decode()


def test_gate_without_administrators_is_no_gate():
    with pytest.raises(TrustError, match="revet trust keygen"):
        TrustGate(())


def test_fingerprint_tells_who_believes_whom():
    prints = {
        at.fingerprint
        for at in (
            gate(),
            gate(ALICE),
            gate(ALICE, person("bob", until=9)),
            gate(loosening=2),
            gate(loosening=2, loosening_from=7),
            gate(log="other"),
        )
    }
    assert len(prints) == 6
    assert gate(BOB, ALICE).fingerprint == gate().fingerprint
