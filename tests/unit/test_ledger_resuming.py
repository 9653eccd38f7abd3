"""A process that seals goes on where one before it was, whatever it died in, and never signs another history."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from streams.codec import decode, encode
from streams.engine.port import Record
from streams.events import LedgerWritten
from streams.ledger.chain import Chain
from streams.ledger.custody import begun, new_key
from streams.ledger.entries import entries_of, packed
from streams.ledger.notes import Signing
from streams.ledger.port import MemoryLog
from streams.ledger.resuming import Fold
from streams.ledger.sealing import Pace, Sealer
from streams.topics import LEDGER
from tests.helpers.ledgered import NAME, START, chain_of, decisions
from verifier.errors import InputError, PlaceUnavailable
from verifier.times import SECOND

SEEDS = range(30)


class Topic(MemoryLog):
    """The topic, and what writes to it."""

    def __init__(self, key: Signing) -> None:
        super().__init__()
        self.append(LedgerWritten("a", START, (begun(NAME, key.key, "t", START),)))
        self.written = 0

    def append(self, event: object) -> None:
        value = encode(event)
        self.records.append(Record(len(self.records), LEDGER, 0, "", f"r{len(self.records)}", value, START))

    def write(self, number: int) -> None:
        for pack in packed(entries_of(decisions(number, self.written)), START + self.written * SECOND):
            self.append(pack)
        self.written += number


@pytest.fixture
def key(tmp_path: Path) -> Signing:
    return new_key(tmp_path / "k.pem")


def follow(fold: Fold, topic: Topic, reached: int | None = None) -> int:
    """What is behind a position, as a reader of the topic gives it."""
    start = fold.start if reached is None else reached
    for record in topic.read(start - 1):
        fold.take(record)
    return len(topic.records)


def test_garbage_is_a_dead_letter_and_what_stands_around_it_is_sealed(tmp_path: Path, key: Signing) -> None:
    topic = Topic(key)
    topic.records.append(Record(1, LEDGER, 0, "", "r1", b"\x00 no entry", START))
    topic.write(3)
    fold = Fold(tmp_path / "state", LEDGER)
    letters = [letter for record in topic.read(-1) if (letter := fold.take(record)) is not None]
    assert [letter.source for letter in letters] == [f"{LEDGER}/0:1"]
    assert fold.chain.pending == 4
    again = Fold(None, LEDGER)
    assert [one for record in topic.read(-1) if (one := again.take(record)) is not None] == letters


def live(file: Path, topic: Topic, key: Signing, chance: random.Random, steps: int) -> Fold:
    """One life of a process: it may end behind any of its steps, as after `kill -9`."""
    fold = Fold(file, LEDGER, file.parent)
    reached, sealer = follow(fold, topic), Sealer(key, Pace())
    for _ in range(steps):
        assert fold.trouble(len(topic.records)) == ""
        event = sealer.checkpoint(fold.chain) or sealer.batch(fold.chain, START, force=chance.random() < 0.5)
        if event is not None:
            topic.append(event)
        if chance.random() < 0.2:
            return fold  # written, and never read back or kept
        if chance.random() < 0.5:
            topic.write(chance.randrange(1, 4))
        reached = follow(fold, topic, reached)
        fold.save(fold.chain.number if fold.chain.number - 1 in fold.chain.checkpoints else fold.published)
    return fold


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_a_process_dies_in_the_next_one_goes_on_without_a_gap_or_a_repetition(
    key: Signing, tmp_path: Path, seed: int
) -> None:
    chance, topic, file = random.Random(seed), Topic(key), tmp_path / "s"
    for _ in range(12):
        topic.write(2)
        live(file, topic, key, chance, chance.randrange(1, 8))
    fold = Fold(file, LEDGER, tmp_path)
    follow(fold, topic)
    whole = chain_of(topic)
    assert whole.number > 5
    assert whole.passed_over == []
    assert (fold.chain.number, fold.chain.size, fold.chain.head) == (whole.number, whole.size, whole.head)
    assert fold.chain.pending_entries() == whole.pending_entries()
    assert (fold.chain.name, fold.chain.first_time, fold.chain.latest) == (whole.name, whole.first_time, whole.latest)
    ours, theirs = (c.checkpoints.get(whole.number - 1, ()) for c in (fold.chain, whole))
    assert {note.note for note in ours} == {note.note for note in theirs}


def test_a_start_reads_what_came_since_and_keeps_little(key: Signing, tmp_path: Path) -> None:
    topic, file = Topic(key), tmp_path / "s"
    for _ in range(50):
        topic.write(20)
        live(file, topic, key, random.Random(3), 3)
    fold = Fold(file, LEDGER, tmp_path)
    assert len(topic.records) - fold.start < 20 < fold.start
    assert file.stat().st_size < 8_000
    follow(fold, topic)
    fold.save(fold.chain.number)
    assert len(fold.chain.checkpoints) <= 1


def sealed(key: Signing, file: Path) -> Topic:
    topic, fold = Topic(key), Fold(file, LEDGER, file.parent)
    topic.write(5)
    reached = follow(fold, topic)
    topic.append(Sealer(key).batch(fold.chain, START, force=True))
    reached = follow(fold, topic, reached)
    topic.append(Sealer(key).checkpoint(fold.chain))
    follow(fold, topic, reached)
    fold.save(1)
    return topic


def test_a_topic_that_was_cut_is_not_gone_on_with(key: Signing, tmp_path: Path) -> None:
    topic = sealed(key, tmp_path / "s")
    del topic.records[-2:]  # header and checkpoint
    found = Fold(tmp_path / "s", LEDGER, tmp_path).trouble(len(topic.records))
    assert "ends at 2, before batch 0 at 2" in found
    assert "was cut" in found


def test_a_topic_that_was_rewritten_is_not_gone_on_with(key: Signing, tmp_path: Path) -> None:
    """Whoever can write the whole topic anew finds that its sealer remembers."""
    sealed(key, tmp_path / "s")
    other, chain = Topic(key), Chain()
    other.write(7)  # another history, sealed as it should be
    for record in other.read():
        chain.take(decode(record.value))
    other.append(Sealer(key).batch(chain, START, force=True))
    other.write(3)
    fold = Fold(tmp_path / "s", LEDGER, tmp_path)
    follow(fold, other)
    assert "does not hold batch 0" in fold.trouble(len(other.records))
    before = (tmp_path / "s").read_bytes()
    fold.save(1)
    assert (tmp_path / "s").read_bytes() == before  # what is known of the true one stays


def test_another_folder_gets_every_checkpoint(key: Signing, tmp_path: Path) -> None:
    sealed(key, tmp_path / "s")
    fold = Fold(tmp_path / "s", LEDGER, tmp_path / "elsewhere")
    assert (fold.start, fold.published) == (0, 0)


@pytest.mark.parametrize("data", [b"", b"\0" * 50, b"\x81\xa1a\xa1b", b"{}"])
def test_garbage_in_the_file_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "s").write_bytes(data)
    with pytest.raises(InputError, match="not the state of a ledger"):
        Fold(tmp_path / "s", LEDGER)


def test_a_file_of_another_topic_is_refused(key: Signing, tmp_path: Path) -> None:
    sealed(key, tmp_path / "s")
    with pytest.raises(InputError, match=r"of the topic revet.ledger, not of other"):
        Fold(tmp_path / "s", "other", tmp_path)


def test_a_file_that_cannot_be_written_is_named_and_nothing_stops(key: Signing, tmp_path: Path) -> None:
    topic = sealed(key, tmp_path / "s")
    (tmp_path / "in-the-way").write_text("a file")
    fold = Fold(tmp_path / "s", LEDGER, tmp_path)
    follow(fold, topic)
    fold._file = tmp_path / "in-the-way" / "s"
    with pytest.raises(PlaceUnavailable, match="in-the-way"):
        fold.save(0, "2026-11-22")
    assert fold.chain.number == 1


def test_the_file_is_its_owners(key: Signing, tmp_path: Path) -> None:
    sealed(key, tmp_path / "s")
    assert (tmp_path / "s").stat().st_mode & 0o077 == 0
