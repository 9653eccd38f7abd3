"""A restore is accepted by an act that names what was lost, on both stores; nothing else is excused by it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from streams.events import LedgerEntry
from streams.ledger.checking import Checker
from streams.ledger.custody import new_key
from streams.ledger.entries import PACK_BYTES, act
from streams.ledger.notes import Signing, note_text, signed_note
from streams.ledger.restoring import Losses, Lost, Restores, ranges, read_restore, restored
from tests.contract.test_ledger_tamper import ADMISSION, ids, place
from tests.helpers.ledgered import NAME, START, ElasticPlace, SqlitePlace, decisions
from verifier.times import HOUR

__all__ = ["place"]
Place = SqlitePlace | ElasticPlace


def losses(place: Place) -> Losses:
    checker = Checker(place.log(), place.store(), (place.key.key,), place.folder.notes(), ahead=place.ahead)
    checker.check(None, None, place.now + HOUR)
    return checker.losses


def accept(place: Place, signing: Signing | None = None, found: Losses | None = None) -> list[LedgerEntry]:
    acts = list(restored(found or losses(place), NAME, "ann", "disk died", place.now, signing or place.key))
    for entry in acts:
        place.act(entry)
    place.seal()
    return acts


def test_what_was_lost_is_named_and_said_instead_of_an_alarm(place: Place) -> None:
    place.delete(ADMISSION, ids(60, 40))
    assert place.check().counts == {"restored": 1, "record-missing": 60}
    accept(place)
    report = place.check()
    assert (report.counts, report.lost) == ({}, 60)
    (one,) = report.restores
    assert (one.by, one.reason, one.documents, one.homes) == ("ann", "disk died", 60, {ADMISSION: 60})
    assert one.key == place.key.key.name
    assert place.check(START, START + 40_000_000).restores, "a window in which nothing was lost says it, too"


def test_what_goes_missing_later_is_found(place: Place) -> None:
    place.delete(ADMISSION, ids(60, 40))
    accept(place)
    place.delete(ADMISSION, ids(1, 7))
    assert place.check().counts == {"record-missing": 1}
    accept(place)
    assert place.check().lost == 61


def test_what_was_written_again_has_to_be_there(place: Place) -> None:
    """The indexer makes it anew: it has an entry again, and whoever deletes it now is found."""
    place.delete(ADMISSION, ids(3, 40))
    accept(place)
    place.write(decisions(3, 40))
    place.seal()
    assert (place.check().counts, place.check().lost) == ({}, 0)
    place.delete(ADMISSION, ids(1, 41))
    assert place.check().counts == {"record-missing": 1}


def test_an_act_that_somebody_else_signed_excuses_nothing(place: Place, tmp_path: Path) -> None:
    """Whoever may write entries has them sealed with the rest; so the statement is signed by itself."""
    place.delete(ADMISSION, ids(5))
    accept(place, new_key(tmp_path / "mine.pem"))
    assert place.check().counts == {"record-missing": 5, "restore-forged": 1}


@pytest.mark.parametrize(
    "note",
    [
        {"act": "restored"},
        {"act": "restored", "statement": ""},
        {"act": "restored", "statement": "revet ledger restore v1\n{}\n\n"},
        {"act": "restored", "lost": [[0, 10**9]]},
        {"act": "restored", "statement": {"lost": [[0, 9]]}},
    ],
)
def test_an_act_without_a_signed_statement_excuses_nothing(place: Place, note: dict[str, object]) -> None:
    place.delete(ADMISSION, ids(5))
    place.act(act("restored", note, place.now))
    place.seal()
    assert place.check().counts == {"record-missing": 5, "restore-forged": 1}


def test_a_statement_that_is_said_again_covers_no_more(place: Place) -> None:
    place.delete(ADMISSION, ids(5))
    (entry,) = accept(place)
    place.write(decisions(5))
    place.act(entry)
    place.seal()
    place.delete(ADMISSION, ids(5))
    assert place.check().counts == {"record-missing": 5}


def test_a_statement_of_another_ledger_excuses_nothing(place: Place) -> None:
    place.delete(ADMISSION, ids(5))
    for entry in restored(losses(place), "revet-ledger/other", "ann", "x", place.now, place.key):
        place.act(entry)
    place.seal()
    assert place.check().counts == {"record-missing": 5}


def test_a_checkpoint_is_no_statement(place: Place) -> None:
    """What the key signs by itself every ten seconds cannot be used as something else."""
    (note, *_) = place.folder.notes()
    made = act("restored", {"act": "restored", "statement": note.note}, place.now)
    assert read_restore(made, (place.key.key,)) is None


def test_record_and_log_put_back_together(tmp_path: Path) -> None:
    """One file, an older copy of it: the log is shorter than what was signed. It is gone on with, and that is said."""
    place = SqlitePlace(tmp_path)
    place.write(decisions(40))
    place.seal()
    place.copy(tmp_path / "backup")
    for first in (40, 60):
        place.write(decisions(20, first))
        place.seal()
    place.put_back(tmp_path / "backup")
    assert place.check().counts == {"tail-cut": 1}
    found = losses(place)
    assert (len(found.documents), len(found.abandoned), found.entries) == (0, 2, 40)
    accept(place)
    place.write(decisions(5, 200))
    place.seal()
    report = place.check()
    assert (report.counts, report.lost, report.records) == ({}, 0, 45)
    assert report.restores[0].entries == 40
    other = signed_note(note_text(NAME, 41, b"\1" * 32, 1, START), place.key)
    place.folder.publish(other)
    assert place.check().counts == {"checkpoint-forked": 1}, "another history than the one that was given up"


def test_many_losses_are_several_acts_that_a_broker_takes(tmp_path: Path) -> None:
    """Every other document, and a day of checkpoints."""
    key = new_key(tmp_path / "k.pem")
    lost = tuple(Lost(n, ADMISSION, START) for n in range(0, 10_000, 2))
    gone = tuple((n, f"{n:064x}") for n in range(1000))
    acts = list(restored(Losses(20_000, lost, gone, 7), NAME, "ann", "x" * 200, START, key))
    assert len(acts) == 5
    assert max(len(msgspec.msgpack.encode(entry)) for entry in acts) < PACK_BYTES
    found = Restores([read for entry in acts if (read := read_restore(entry, (key.key,))) is not None])
    assert sum(one.documents for one in found.acts) == 5000
    assert sum(one.entries for one in found.acts) == 7
    assert all(found.has_lost(n, n) == (n % 2 == 0) for n in range(10_000))
    assert not found.has_lost(10_000, 10_000)
    assert not found.has_lost(0, 20_000)


def test_ranges() -> None:
    assert ranges([5, 3, 4, 9, 9, 11]) == [(3, 5), (9, 9), (11, 11)]
    assert ranges([]) == []


def test_an_inserted_document_is_not_covered(place: Place) -> None:
    place.delete(ADMISSION, ids(5))
    accept(place)
    (forged,) = decisions(1, first=9999)
    place.insert(forged)
    assert place.check().counts == {"record-inserted": 1}
