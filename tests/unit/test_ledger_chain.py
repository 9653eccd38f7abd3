"""The chain: whatever is cut, doubled or raced in its log, one history comes of it, or a problem with a place."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from streams.codec import decode
from streams.events import LedgerSealed, LedgerSigned, LedgerWritten
from streams.ledger.chain import Chain, header_hash
from streams.ledger.custody import begun, load_key, lost, new_key, pinned_keys, rotated
from streams.ledger.entries import body_hash, entries_of, packed
from streams.ledger.notes import Signing, note_text, read_note, signed_note, signer
from streams.ledger.places import Folder
from streams.ledger.sealing import Pace, Sealer, today
from tests.helpers.ledgered import NAME, START, SqlitePlace, chain_of, decisions
from verifier.errors import InputError, PlaceUnavailable
from verifier.times import DAY, HOUR, SECOND


@pytest.fixture
def key(tmp_path: Path) -> Signing:
    return new_key(tmp_path / "k.pem")


def filled(key: Signing, number: int = 10) -> Chain:
    chain = Chain()
    chain.take(LedgerWritten("a", START, (begun(NAME, key.key, "t", START),)))
    for pack in packed(entries_of(decisions(number)), START):
        chain.take(pack)
    return chain


# ------------------------------------------------------------------------------------------------ sealing


def test_a_batch_waits_for_its_time_or_its_number(key: Signing) -> None:
    chain = filled(key)
    sealer = Sealer(key, Pace(entries=100, seconds=10))
    assert sealer.batch(chain, START + 9 * SECOND) is None
    assert sealer.batch(chain, START + 10 * SECOND) is not None
    assert Sealer(key, Pace(entries=5, seconds=10)).batch(chain, START) is not None
    assert sealer.batch(chain, START, force=True) is not None


def test_the_line_of_a_day_is_of_the_newest_checkpoint_of_our_key(key: Signing, tmp_path: Path) -> None:
    chain, sealer = filled(key), Sealer(key)
    assert sealer.day(chain, START, "") is None, "nothing is closed"
    chain.take(sealer.batch(chain, START, force=True))
    assert sealer.day(chain, START, "") is None, "nothing is signed"
    chain.take(sealer.checkpoint(chain))
    said = sealer.day(chain, START, "")
    assert said is not None
    assert (said.number, said.size, said.head, said.key) == (0, 11, chain.head, key.key.name)
    (note,) = chain.checkpoints[0]
    assert f"{key.key.name} {said.signature}" in note.note
    assert sealer.day(chain, START + DAY, today(START)) is not None
    assert sealer.day(chain, START, today(START)) is None
    assert sealer.day(chain, START - DAY, today(START)) is None, "a clock that jumped back tells nothing again"
    assert Sealer(new_key(tmp_path / "other.pem")).day(chain, START, "") is None
    assert Sealer(None).day(chain, START, "") is None


def test_a_clock_that_jumped_back_holds_nothing_up(key: Signing) -> None:
    """The oldest entry waits since a time that is to come: nobody waits for that."""
    chain = filled(key)
    sealer = Sealer(key)
    header = sealer.batch(chain, START - DAY)
    assert header is not None
    assert chain.take(header) is not None
    assert header.time == START - DAY


def test_time_of_headers_never_goes_back(key: Signing) -> None:
    chain = filled(key)
    sealer = Sealer(key)
    first = sealer.batch(chain, START + 30 * DAY, force=True)
    assert first is not None
    chain.take(first)
    chain.take(LedgerWritten("late", START, tuple(entries_of(decisions(3, 50)))))
    second = sealer.batch(chain, START + HOUR, force=True)
    assert second is not None
    assert second.time == first.time
    assert chain.take(second) is not None
    early = msgspec.structs.replace(second, time=START)
    chain.take(early)
    assert early in chain.passed_over


def test_late_entries_are_in_the_batch_they_came_in(key: Signing) -> None:
    """Bounds say so: whoever checks a window looks at every entry of that time, wherever it stands."""
    chain = filled(key)
    sealer = Sealer(key)
    chain.take(sealer.batch(chain, START, force=True))
    chain.take(LedgerWritten("late", START + HOUR, tuple(entries_of(decisions(1)))))
    chain.take(LedgerWritten("later", START + HOUR, tuple(entries_of(decisions(1, 900)))))
    header = sealer.batch(chain, START + HOUR, force=True)
    assert header is not None
    assert (header.earliest, header.latest, header.count) == (START, START + 900 * SECOND, 2)


def test_of_two_sealers_one_loses(key: Signing) -> None:
    """Both close batch 0, with other bounds; the first in the log counts, for every reader."""
    one, other = filled(key, 10), filled(key, 10)
    first = Sealer(key).batch(one, START + 11 * SECOND, force=True)
    other.take(LedgerWritten("more", START, tuple(entries_of(decisions(1, 77)))))
    second = Sealer(key).batch(other, START + 12 * SECOND, force=True)
    assert first is not None
    assert second is not None
    reader = filled(key, 10)
    reader.take(LedgerWritten("more", START, tuple(entries_of(decisions(1, 77)))))
    assert reader.take(first) is not None
    assert reader.take(second) is None
    assert (reader.number, reader.pending, reader.passed_over) == (1, 1, [second])
    again = Sealer(key).batch(reader, START + 20 * SECOND, force=True)
    assert again is not None
    assert reader.take(again) is not None
    assert reader.pending == 0


@pytest.mark.parametrize(
    "change",
    [{"number": 1}, {"first": 1}, {"previous": b"\1" * 32}, {"root": b"\1" * 32}, {"count": 12}, {"count": 0},
     {"earliest": 0}, {"latest": 0}, {"pack": "other"}],
    ids=str,
)  # fmt: skip
def test_a_header_that_says_something_else_is_passed_over(key: Signing, change: dict[str, object]) -> None:
    chain = filled(key)
    header = Sealer(key).batch(chain, START, force=True)
    assert header is not None
    wrong = msgspec.structs.replace(header, **change)
    assert chain.take(wrong) is None
    assert chain.number == 0
    assert chain.take(header) is not None


def test_every_member_of_a_header_is_in_its_hash(key: Signing) -> None:
    header = Sealer(key).batch(filled(key), START, force=True)
    assert header is not None
    others = {
        "number": 5,
        "first": 5,
        "count": 5,
        "root": b"x",
        "previous": b"x",
        "earliest": 5,
        "latest": 5,
        "pack": "x",
        "time": 5,
    }
    assert {*others, "id"} == set(header.__struct_fields__)
    hashes = {header_hash(msgspec.structs.replace(header, **{name: value})) for name, value in others.items()}
    assert len(hashes | {header_hash(header)}) == len(others) + 1


def test_entries_that_were_written_twice_before_they_were_sealed_are_one_batch(key: Signing) -> None:
    """A replay writes the same pack again, under the same id."""
    chain = filled(key, 20)
    for pack in packed(entries_of(decisions(20)), START + SECOND):
        chain.take(pack)
    header = Sealer(key).batch(chain, START, force=True)
    assert header is not None
    assert header.count == chain.pending == 41
    closed = chain.take(header)
    assert closed is not None
    assert (closed.problem, len(closed.entries), chain.pending, chain.number) == ("", 41, 0, 1)


def test_nothing_is_closed_before_a_ledger_begins(key: Signing) -> None:
    chain = Chain()
    chain.take(LedgerWritten("a", START, tuple(entries_of(decisions(3)))))
    assert Sealer(key).batch(chain, START + DAY, force=True) is None


def test_a_crash_between_any_two_steps_is_mended_by_the_next_start(tmp_path: Path) -> None:
    """Entries, bounds, checkpoint, file: after each the process ends, and another one goes on."""
    place = SqlitePlace(tmp_path)
    place.write(decisions(10))
    header = place.sealer.batch(place.ledger.follow(), place.now, force=True)
    assert header is not None
    place.ledger._append(header)  # here it ended
    assert place.check().signed == -1
    again = type(place.ledger)(place.connection)
    (signed,) = again.seal(place.sealer, place.now)
    assert not again.seal(place.sealer, place.now)
    assert place.check().signed == 0  # here it ended before the file was written
    assert place.folder.publish(signed.note)
    assert not place.folder.publish(signed.note)
    assert place.check().fine


def test_a_sealer_without_the_key_closes_and_whoever_has_it_signs_later(tmp_path: Path) -> None:
    place = SqlitePlace(tmp_path)
    place.write(decisions(10))
    place.ledger.seal(Sealer(None), place.now, force=True)
    assert set(place.check().counts) == {"unsigned"}
    place.seal()
    assert place.check().fine


# ------------------------------------------------------------------------------------------------ notes and keys


def test_a_note_is_read_as_it_was_written(key: Signing) -> None:
    note = signed_note(note_text(NAME, 17, b"\7" * 32, 3, START), key)
    found = read_note(note)
    assert (found.ledger, found.size, found.head, found.number) == (NAME, 17, b"\7" * 32, 3)
    assert signer(note, (key.key,)) == key.key
    assert signed_note(note_text(NAME, 17, b"\7" * 32, 3, START), key) == note


@pytest.mark.parametrize("place", range(0, 330, 3))
def test_a_note_with_another_byte_is_signed_by_nobody_or_the_same(key: Signing, place: int) -> None:
    note = signed_note(note_text(NAME, 17, b"\7" * 32, 3, START), key)
    data = bytearray(note.encode())
    data[place % len(data)] ^= 1
    changed = data.decode("utf-8", "replace")
    assert signer(changed, (key.key,)) is None


@pytest.mark.parametrize("text", ["", "\n\n", "a\nb\n\n— x y\n", "x" * 10_000, "\ud800\n\n", "a\n1\n\n"])
def test_garbage_is_no_note(key: Signing, text: str) -> None:
    with pytest.raises(InputError, match="no checkpoint"):
        read_note(text)
    assert signer(text, (key.key,)) is None


def test_a_key_is_read_again_and_never_written_over(tmp_path: Path) -> None:
    file = tmp_path / "k.pem"
    made = new_key(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert load_key(file).key == made.key
    with pytest.raises(InputError, match="there already"):
        new_key(file)
    assert load_key(file).key == made.key
    assert "PRIVATE" not in repr(made)
    assert pinned_keys([made.key.line()]) == (made.key,)
    lines = tmp_path / "keys"
    lines.write_text(f"# of the audit team\n{made.key.line()}\n")
    assert pinned_keys([str(lines)]) == (made.key,)


@pytest.mark.parametrize("text", ["", "garbage", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_told_without_a_word_of_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "k.pem"
    file.write_text(text)
    with pytest.raises(InputError, match="no Ed25519 key") as told:
        load_key(file)
    assert "garbage" not in str(told.value)
    with pytest.raises(InputError):
        load_key(tmp_path / "missing")
    with pytest.raises(InputError):
        pinned_keys([f"a={text}"])


# ------------------------------------------------------------------------------------------------ rotation and loss


def test_a_rotated_key_counts_from_the_checkpoint_of_the_old_one_on(tmp_path: Path) -> None:
    place = SqlitePlace(tmp_path)
    place.write(decisions(10))
    place.seal()
    old, new = place.key, new_key(tmp_path / "next.pem")
    place.act(rotated(NAME, new.key, old, "ann", "yearly", place.now))
    place.seal()
    place.sealer = Sealer(new)
    place.write(decisions(10, 10))
    place.seal()
    report = place.check()
    assert report.fine
    assert report.keys == (old.key.name, new.key.name)
    assert set(place.check(keys=(new.key,)).counts) == {"checkpoint-foreign"}, "only the first was written down"


def test_a_retired_key_signs_nothing_any_more(tmp_path: Path) -> None:
    place = SqlitePlace(tmp_path)
    new = new_key(tmp_path / "next.pem")
    place.act(rotated(NAME, new.key, place.key, "ann", "stolen", place.now))
    place.seal()
    place.write(decisions(10))
    place.seal()
    assert set(place.check().counts) == {"checkpoint-foreign", "unsigned"}


def test_nobody_brings_a_key_along(tmp_path: Path) -> None:
    """A rotation that only the new key signed is worth nothing."""
    place = SqlitePlace(tmp_path)
    place.write(decisions(3))
    place.seal()
    mine = new_key(tmp_path / "mine.pem")
    place.act(rotated(NAME, mine.key, mine, "mallory", "", place.now))
    place.sealer = Sealer(mine)
    place.seal()
    assert set(place.check().counts) == {"checkpoint-foreign", "unsigned"}


@pytest.mark.parametrize("what", ["rotated", "begun", "lost"])
def test_an_act_that_is_sealed_with_the_rest_brings_no_key_along(tmp_path: Path, what: str) -> None:
    """Whoever may write entries may write acts as well, and the ledger's own key signs the batch they are in."""
    place = SqlitePlace(tmp_path)
    mine = new_key(tmp_path / "mine.pem")
    acts = {
        "rotated": rotated(NAME, mine.key, mine, "mallory", "", place.now),
        "begun": begun(NAME, mine.key, "mallory", place.now),
        "lost": lost(NAME, mine.key, place.key.key.name, "mallory", "", place.now),
    }
    place.act(acts[what])
    place.seal()
    assert place.check().fine, "it says nothing that counts"
    place.write(decisions(3))
    place.sealer = Sealer(mine)
    place.seal()
    assert set(place.check().counts) == {"checkpoint-foreign", "unsigned"}


def test_a_ledger_goes_on_after_its_key_was_lost(tmp_path: Path) -> None:
    """Who checks names both keys; with the old one alone the rest is unsigned."""
    place = SqlitePlace(tmp_path)
    place.write(decisions(3))
    place.seal()
    new = new_key(tmp_path / "next.pem")
    place.act(lost(NAME, new.key, place.key.key.name, "ann", "disk died", place.now))
    place.sealer = Sealer(new)
    place.seal()
    assert place.check(keys=(place.key.key, new.key)).fine
    assert "unsigned" in place.check().counts


# ------------------------------------------------------------------------------------------------ the log, changed


@pytest.fixture
def place(tmp_path: Path) -> SqlitePlace:
    """Four batches of ten."""
    made = SqlitePlace(tmp_path)
    for first in range(0, 40, 10):
        made.write(decisions(10, first))
        made.seal()
    assert made.check().fine
    return made


def rows(place: SqlitePlace, kind: str) -> list[tuple[int, str]]:
    asked = "SELECT position, id FROM log WHERE topic = 'revet.ledger' AND id LIKE ? ORDER BY position"
    return place.connection.execute(asked, (f"{kind}:%",)).fetchall()


def test_entries_cut_out_of_the_log(place: SqlitePlace) -> None:
    """With their documents: the batch is named, and what lies behind it is checked still."""
    position, _ = rows(place, "ledger")[3]  # the first two are of batch 0: the act, then documents
    place.sql("DELETE FROM log WHERE position = ?", position)
    place.delete("revet.admission", [d.id for d in decisions(10, 20)])
    report = place.check()
    assert report.counts == {"entries-changed": 1}
    assert report.problems[0].batch == 2
    assert (report.batches, report.signed) == (4, 3)
    place.delete("revet.admission", [d.id for d in decisions(1, 35)])
    assert place.check().counts == {"entries-changed": 1, "record-missing": 1}


def test_entries_changed_with_their_document(place: SqlitePlace) -> None:
    """The hash in the log is made to fit: then it does not lead to the root."""
    (target,) = decisions(1, 25)
    place.change("revet.admission", target.id, {"event.reason": "forged"})
    position, _ = rows(place, "ledger")[3]
    (value,) = place.connection.execute("SELECT value FROM log WHERE position = ?", (position,)).fetchone()
    (entry,) = entries_of([target])
    forged = value.replace(entry.sha256, body_hash(place.body("revet.admission", target.id)))
    assert forged != value
    place.sql("UPDATE log SET value = ? WHERE position = ?", forged, position)
    assert [(p.kind, p.batch) for p in place.check().problems] == [("entries-changed", 2)]


def test_a_header_cut_out_of_the_log(place: SqlitePlace) -> None:
    position, _ = rows(place, "ledger-batch")[2]
    place.sql("DELETE FROM log WHERE position = ?", position)
    report = place.check()
    assert report.counts["header-broken"] == 1
    assert next(p for p in report.problems if p.kind == "header-broken").batch == 3
    assert "tail-cut" in report.counts


def test_the_tail_of_the_log_cut_with_its_documents(place: SqlitePlace) -> None:
    """Only the folder knows: that is what it is for."""
    position, _ = rows(place, "ledger-batch")[1]
    place.sql("DELETE FROM log WHERE topic = 'revet.ledger' AND position > ?", position + 1)
    place.delete("revet.admission", [d.id for d in decisions(20, 20)])
    report = place.check()
    assert [(p.kind, p.batch) for p in report.problems] == [("tail-cut", 2)]


def test_the_whole_file_put_back_from_a_copy(tmp_path: Path) -> None:
    place = SqlitePlace(tmp_path)
    place.write(decisions(10))
    place.seal()
    place.copy(tmp_path / "copy")
    place.write(decisions(10, 10))
    place.seal()
    place.put_back(tmp_path / "copy")
    assert [(p.kind, p.batch) for p in place.check().problems] == [("tail-cut", 1)]
    place.write(decisions(10, 50))  # it goes on from there as if nothing had been
    place.seal()
    assert [(p.kind, p.batch) for p in place.check().problems] == [("checkpoint-forked", 1)]


def test_history_rewritten_and_signed_with_another_key(place: SqlitePlace, tmp_path: Path) -> None:
    """Batches and checkpoints from 2 on are made anew over what is there, as whoever owns the file could."""
    position, _ = rows(place, "ledger-batch")[2]
    place.sql("DELETE FROM log WHERE topic = 'revet.ledger' AND position >= ? AND id LIKE 'ledger-%'", position)
    for name in ("2", "3"):
        for file in place.folder.path.glob(f"batch-000000000{name}-*"):
            file.unlink()
    mine = new_key(tmp_path / "mine.pem")
    again = type(place.ledger)(place.connection)
    again.seal(Sealer(mine), place.now, force=True)
    report = place.check()
    assert {(p.kind, p.batch) for p in report.problems} == {("checkpoint-foreign", 2), ("unsigned", 2)}


@pytest.mark.parametrize("column", ["verdict", "namespace", "cluster", "state", "digest_mark", "pod", "version"])
def test_a_column_that_searches_use_is_part_of_the_record(place: SqlitePlace, column: str) -> None:
    """The document is intact, and a search would not find it, or find another."""
    (target,) = decisions(1, 25)
    place.sql(f"UPDATE record SET {column} = 7 WHERE id = ?", target.id)
    report = place.check()
    assert report.counts == {"record-beside": 1}
    assert report.problems[0].id == target.id
    assert f"column {column}" in report.problems[0].detail


def test_a_time_column_moved(place: SqlitePlace) -> None:
    (target,) = decisions(1, 25)
    place.sql("UPDATE record SET time = time + 1 WHERE id = ?", target.id)
    assert place.check().counts == {"record-moved": 1}


def test_terms_taken_away(place: SqlitePlace) -> None:
    """A search by an asked image would not find the decision any more."""
    row = place.connection.execute("SELECT row FROM record WHERE id = ?", (next(decisions(1, 25)).id,)).fetchone()
    place.sql("DELETE FROM record_terms WHERE row = ?", *row)
    report = place.check()
    assert report.counts == {"record-beside": 1}
    assert "its terms: searches go by it" in report.problems[0].detail


def test_a_brief_changed(place: SqlitePlace) -> None:
    """The document is intact, and a count would be another one."""
    row = place.connection.execute("SELECT row FROM record WHERE id = ?", (next(decisions(1, 25)).id,)).fetchone()
    place.sql("UPDATE record_brief_admission SET cluster = 999 WHERE row = ?", *row)
    report = place.check()
    assert report.counts == {"record-beside": 1}
    assert "its brief: searches go by it" in report.problems[0].detail


def test_a_brief_taken_away(place: SqlitePlace) -> None:
    row = place.connection.execute("SELECT row FROM record WHERE id = ?", (next(decisions(1, 25)).id,)).fetchone()
    place.sql("DELETE FROM record_brief_admission WHERE row = ?", *row)
    assert place.check().counts == {"record-beside": 1}


def test_a_brief_of_nothing(place: SqlitePlace) -> None:
    """It would be counted as a decision that nobody made."""
    place.sql("INSERT INTO record_brief_admission (row, time) SELECT 999999, max(time) FROM record_brief_admission")
    report = place.check()
    assert report.counts == {"record-inserted": 1}
    assert report.problems[0].id == "brief of row 999999"


def test_a_word_changed(place: SqlitePlace) -> None:
    """All briefs that use it say another thing."""
    place.sql("UPDATE record_words SET text = 'elsewhere' WHERE text IN (SELECT cluster FROM record)")
    assert place.check().counts.keys() == {"record-beside"}


def test_a_body_that_is_no_json(place: SqlitePlace) -> None:
    (target,) = decisions(1, 25)
    place.sql("UPDATE record SET body = '{' WHERE id = ?", target.id)
    report = place.check()
    assert report.counts == {"record-changed": 1}
    assert report.problems[0].id == target.id


def test_an_unreadable_row_of_the_log_stops_nothing(place: SqlitePlace) -> None:
    position, _ = rows(place, "ledger")[2]
    place.sql("UPDATE log SET value = x'00ff' WHERE position = ?", position)
    report = place.check()
    assert report.counts == {"entries-changed": 1, "record-inserted": 10}
    assert report.batches == 4


def test_no_ledger_is_an_answer_of_its_own(tmp_path: Path) -> None:
    place = SqlitePlace(tmp_path)
    place.sql("DELETE FROM log")
    with pytest.raises(InputError, match="revet ledger init"):
        place.check()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, key: Signing) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(PlaceUnavailable, match=r"ledger\.directory"):
        Folder(file / "below").publish(signed_note(note_text(NAME, 1, b"\7" * 32, 0, START), key))
    other = Folder(tmp_path / "other")
    other.path.mkdir()
    (other.path / "batch-0000000000-x.txt").write_bytes(b"\xff half of")
    assert list(other.notes()) == []


def test_events_of_the_ledger_are_events(place: SqlitePlace) -> None:
    kinds = {type(event) for event in _events(place)}
    assert kinds == {LedgerWritten, LedgerSealed, LedgerSigned}
    assert chain_of(place.log()).head == place.ledger.follow().head


def _events(place: SqlitePlace) -> list[object]:
    return [decode(record.value) for record in place.log().read()]
