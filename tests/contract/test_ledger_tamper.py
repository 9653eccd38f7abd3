"""Whatever is done to the record behind revet's back is found, named and located, on both stores; nothing else is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streams.ledger.chain import header_hash
from streams.ledger.custody import new_key
from streams.ledger.entries import act
from streams.ledger.found import KINDS, Problem, Report
from streams.ledger.notes import note_text, signed_note
from streams.ledger.sealing import Pace
from streams.sinks.document import Document, instant
from tests.helpers import elastic
from tests.helpers.ledgered import START, ElasticPlace, SqlitePlace, decisions, ledgered
from tests.helpers.recorded import RecordedWorld
from tests.helpers.world import policy
from verifier.times import DAY, HOUR, SECOND

ADMISSION, VERDICTS = "revet.admission", "revet.verification"
Place = SqlitePlace | ElasticPlace


@pytest.fixture(
    params=["sqlite", pytest.param("elasticsearch", marks=(pytest.mark.needs("elasticsearch"), pytest.mark.slow))]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Three batches: 40 decisions, the verdicts of a small world, 60 decisions."""
    if request.param == "elasticsearch":
        elastic.use(request.getfixturevalue("elastic_server").url)
    made = ledgered(request.param, tmp_path)
    made.write(decisions(40))
    made.seal()
    made.write(verdicts())
    made.seal()
    made.write(decisions(60, first=40))
    made.seal()
    assert made.check().fine
    return made


def verdicts() -> list[Document]:
    world = RecordedWorld(keys=("dev",), store="memory")
    images = [world.image(f"registry.example.com/shop/api:{n}", signed_by=("dev",) if n % 2 else ()) for n in range(4)]
    world.trust(policy("signed", signed_by=("dev",)))
    for n, image in enumerate(images):
        world.send(world.pod("shop", f"api-{n}", {"app": image}))
    return [one for one in world.written if one.version is None]


def ids(number: int, first: int = 0) -> list[str]:
    return [one.id for one in decisions(number, first)]


def only(report: Report, kind: str) -> Problem:
    """The one problem there is, and its name has a sentence."""
    assert report.counts == {kind: 1}, report.problems
    assert kind in KINDS
    (found,) = report.problems
    return found


# ------------------------------------------------------------------------------------------------ documents


def test_a_byte_flipped(place: Place) -> None:
    (target,) = ids(1, 57)
    place.change(ADMISSION, target, {"orchestrator.resource.name": "api-58"})
    found = only(place.check(), "record-changed")
    assert (found.home, found.id, found.batch, found.time) == (ADMISSION, target, 2, START + 57 * SECOND)
    assert found.sequence == place.check().problems[0].sequence


def test_a_field_changed_beside_its_original(place: Place) -> None:
    """The original is intact, so the field that lies is named."""
    target = next(d for d in verdicts() if d.home == VERDICTS and d.body["provenance.verdict"] == "violates")
    place.change(VERDICTS, target.id, {"provenance.verdict": "valid"})
    found = only(place.check(), "record-changed") if isinstance(place, ElasticPlace) else place.check().problems[0]
    assert (found.id, found.batch) == (target.id, 1)
    assert "beside its original" in found.detail
    assert "provenance.verdict" in found.detail


def test_an_original_changed_under_its_fields(place: Place) -> None:
    target = next(d for d in verdicts() if d.home == VERDICTS and d.body["provenance.verdict"] == "violates")
    original = str(target.body["event.original"]).replace('"violates"', '"valid"')
    place.change(VERDICTS, target.id, {"event.original": original})
    found = only(place.check(), "record-changed")
    assert "provenance.verdict" in found.detail


def test_a_document_deleted(place: Place) -> None:
    (target,) = ids(1, 12)
    place.delete(ADMISSION, [target])
    found = only(place.check(), "record-missing")
    assert (found.home, found.id, found.batch, found.time) == (ADMISSION, target, 0, START + 12 * SECOND)


def test_a_document_inserted(place: Place) -> None:
    (forged,) = decisions(1, first=9999)
    place.insert(forged)
    found = only(place.check(), "record-inserted")
    assert (found.home, found.id, found.batch) == (ADMISSION, forged.id, None)


def test_a_document_deleted_and_another_inserted(place: Place) -> None:
    """As many as before."""
    (forged,) = decisions(1, first=9999)
    place.delete(ADMISSION, ids(1, 3))
    place.insert(forged)
    assert place.check().counts == {"record-missing": 1, "record-inserted": 1}


def test_two_documents_swapped(place: Place) -> None:
    one, other = ids(1, 5)[0], ids(1, 71)[0]
    first, second = place.body(ADMISSION, one), place.body(ADMISSION, other)
    own = ("event.id", "@timestamp")
    place.replace(ADMISSION, one, second | {name: first[name] for name in own})
    place.replace(ADMISSION, other, first | {name: second[name] for name in own})
    report = place.check()
    assert report.counts == {"records-swapped": 2}
    assert {(p.id, p.batch) for p in report.problems} == {(one, 0), (other, 2)}
    assert other in next(p.detail for p in report.problems if p.id == one)


def test_a_document_moved_in_time(place: Place) -> None:
    (target,) = ids(1, 80)
    later = instant(START + 5 * DAY)
    place.change(ADMISSION, target, {"@timestamp": later})
    found = only(place.check(), "record-moved")
    assert (found.id, found.batch, found.time) == (target, 2, START + 80 * SECOND)
    assert later in found.detail


def test_a_document_moved_out_of_the_window_and_into_it(place: Place) -> None:
    (target,) = ids(1, 80)
    later = START + 5 * DAY
    body = place.body(ADMISSION, target) | {"@timestamp": instant(later)}
    place.replace(ADMISSION, target, body)
    if isinstance(place, SqlitePlace):
        place.sql("UPDATE record SET time = ? WHERE id = ?", later, target)
    assert only(place.check(START, START + HOUR), "record-moved").id == target
    assert only(place.check(later, None), "record-moved").id == target
    assert place.check(START + HOUR, later).fine


def test_the_record_put_back_from_an_older_copy(place: Place) -> None:
    """Everything since is missing, and that is said once, with the time from which on."""
    place.delete(ADMISSION, ids(60, 40))
    report = place.check()
    assert report.counts == {"restored": 1, "record-missing": 60}
    assert report.problems[0].kind == "restored"
    assert (report.problems[0].time, report.problems[0].batch) == (START + 40 * SECOND, 2)


def test_windows(place: Place) -> None:
    place.delete(ADMISSION, ids(1, 50))
    assert place.check(START, START + 50 * SECOND).fine
    assert place.check(START + 50 * SECOND, START + 51 * SECOND).counts == {"record-missing": 1}
    assert place.check(START + 51 * SECOND, None).fine


# ------------------------------------------------------------------------------------------------ acts


def test_what_retention_removed_is_expired_not_missing(place: Place) -> None:
    place.delete(ADMISSION, ids(10))
    assert place.check().counts == {"record-missing": 10}
    place.act(act("expired", {"act": "expired"}, START + 10 * SECOND, home=ADMISSION))
    place.seal()
    report = place.check()
    assert (report.fine, report.expired) == (True, 10)
    place.delete(ADMISSION, ids(1, 10))
    assert only(place.check(), "record-missing").time == START + 10 * SECOND


def test_a_document_written_again_is_a_repetition(place: Place) -> None:
    """A crash, and the same records again: perhaps with other names of teams. The first is what is kept."""
    if isinstance(place, SqlitePlace):
        place.write(decisions(5))
        assert place.check().fine
        return
    before = place.check().repeated
    (again,) = decisions(1)
    place.write([again, Document(again.home, again.id, again.time, again.body | {"provenance.owner.team": "x"})])
    place.seal()
    report = place.check()
    assert (report.fine, report.repeated) == (True, before + 2)


# ------------------------------------------------------------------------------------------------ keys and the log


def test_batches_signed_again_with_another_key(place: Place, tmp_path: Path) -> None:
    """Whoever rewrites the log has to sign, and has no key that anybody wrote down."""
    mine = new_key(tmp_path / "mine.pem")
    report = place.check(keys=(mine.key,))
    assert set(report.counts) == {"checkpoint-foreign", "unsigned"}
    assert {p.batch for p in report.problems} >= {0, 1, 2}


def test_a_checkpoint_of_another_key_beside_the_good_one(place: Place, tmp_path: Path) -> None:
    mine = new_key(tmp_path / "mine.pem")
    place.folder.publish(signed_note(note_text("revet-ledger/test", 3, b"\1" * 32, 1, START), mine))
    assert only(place.check(), "checkpoint-foreign").batch == 1


def test_a_checkpoint_ahead_of_the_log(place: Place) -> None:
    """The tail of the log was cut, or record and log were restored together."""
    ahead = signed_note(note_text("revet-ledger/test", 5000, b"\1" * 32, 7, START), place.key)
    place.folder.publish(ahead)
    found = only(place.check(), "tail-cut")
    assert found.batch == 3
    assert "batch 7 with 5000 entries" in found.detail


def test_a_checkpoint_of_another_history(place: Place) -> None:
    other = signed_note(note_text("revet-ledger/test", 41, b"\1" * 32, 1, START), place.key)
    place.folder.publish(other)
    assert only(place.check(), "checkpoint-forked").batch == 1


# ------------------------------------------------------------------------------------------------ no false alarms


def test_nothing_is_found_falsely(request: pytest.FixtureRequest, tmp_path: Path, place: Place) -> None:
    """20,000 records in CI, 1,000,000 under REVET_FAULTS=full."""
    number = 1_000_000 if os.environ.get("REVET_FAULTS") == "full" else 20_000
    for start in range(1000, 1000 + number, 20_000):
        place.write(decisions(min(20_000, 1000 + number - start), first=start))
        place.seal()
    report = place.check()
    assert report.counts == {}
    assert report.records >= number
    assert report.signed == report.batches - 1
    (target,) = ids(1, 1000 + number // 2)
    place.change(ADMISSION, target, {"event.reason": "other"})
    assert only(place.check(), "record-changed").id == target


def test_a_batch_has_whole_packs_and_a_header_of_its_own(tmp_path: Path) -> None:
    made = SqlitePlace(tmp_path, Pace(entries=1000))
    made.write(decisions(5000))
    made.seal()
    chain = made.ledger.follow()
    assert chain.number >= 5
    assert chain.size == 5001
    assert chain.last is not None
    assert header_hash(chain.last) == chain.head
