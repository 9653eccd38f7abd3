"""Audit log files that are written, rotated, compressed and truncated while they are read: every line once."""

from __future__ import annotations

import gzip
import os
import random
import shutil
from pathlib import Path

import pytest

from streams.collectors import tailing
from streams.collectors.tailing import Place, Tail, place_of


class Log:
    """A log as a server writes it; numbered lines, so that order and completeness can be seen."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "audit.log"
        self.written = 0
        self.rotations = 0

    def write(self, lines: int = 1) -> None:
        with self.path.open("ab") as file:
            for _ in range(lines):
                file.write(f'{{"n":{self.written}}}\n'.encode())
                self.written += 1

    def _name(self, numbered: bool) -> Path:
        self.rotations += 1
        name = f"audit.log.{self.rotations}" if numbered else f"audit-2026-11-22T01-02-{self.rotations:02}.log"
        return self.path.with_name(name)

    def rename(self, *, packed: bool = False, numbered: bool = False) -> None:
        """Rotation by rename, as kube-apiserver does it."""
        target = self._name(numbered)
        self.path.rename(target)
        self._settled(target, packed)

    def copy(self, *, packed: bool = False, numbered: bool = True) -> None:
        """Rotation by copy and truncation, as logrotate does with `copytruncate`."""
        target = self._name(numbered)
        shutil.copyfile(self.path, target)
        os.truncate(self.path, 0)
        self._settled(target, packed)

    def _settled(self, target: Path, packed: bool) -> None:
        if packed:
            with gzip.open(f"{target}.gz", "wb") as file:
                file.write(target.read_bytes())
            target.unlink()
            target = target.with_name(target.name + ".gz")
        os.utime(target, ns=(self.rotations * 10**9, self.rotations * 10**9))


class Reader:
    def __init__(self, path: Path) -> None:
        self.path, self.kept, self.lines = path, "", list[bytes]()
        self.tail = Tail(path)

    def look(self) -> None:
        for piece in self.tail.read():
            self.lines += piece.data.splitlines()
            self.kept = piece.place.text()

    def restart(self) -> None:
        """The process was killed: only what was kept is known."""
        self.tail = Tail(self.path, self.kept)

    @property
    def numbers(self) -> list[int]:
        return [int(line[5:-1]) for line in self.lines]


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("how", ["rename", "copy"])
@pytest.mark.parametrize("restart", [False, True])
def test_what_was_written_before_a_rotation_is_read_after_it(log, how, packed, restart):
    reader = Reader(log.path)
    log.write(3)
    reader.look()
    log.write(2)
    getattr(log, how)(packed=packed)
    log.write(4)
    if restart:
        reader.restart()
    reader.look()
    assert reader.numbers == list(range(9))
    assert reader.tail.gaps == 0


def test_several_rotations_between_two_looks(log):
    reader = Reader(log.path)
    log.write(3)
    reader.look()
    for packed in (True, False, True):
        log.write(2)
        log.rename(packed=packed)
    log.write(1)
    reader.restart()
    reader.look()
    assert reader.numbers == list(range(log.written))


def test_a_file_that_is_not_there_yet_or_only_just_made(log):
    reader = Reader(log.path)
    reader.look()
    log.path.write_bytes(b'{"n"')
    reader.look()
    assert reader.lines == []
    log.path.write_bytes(b"")
    log.write(2)
    reader.look()
    assert reader.numbers == [0, 1]


def test_an_unfinished_line_waits_for_its_end(log):
    reader = Reader(log.path)
    log.write(1)
    with log.path.open("ab") as file:
        file.write(b'{"n":')
    reader.look()
    assert reader.numbers == [0]
    with log.path.open("ab") as file:
        file.write(b"1}\n")
    reader.look()
    assert reader.numbers == [0, 1]


def test_an_unfinished_line_of_a_rotated_file_is_all_there_will_be(log):
    reader = Reader(log.path)
    log.write(1)
    reader.look()
    with log.path.open("ab") as file:
        file.write(b'{"n":1}')
    log.written = 2
    log.rename()
    log.write(1)
    reader.look()
    assert reader.numbers == [0, 1, 2]


def test_a_file_that_was_deleted_unread_is_a_gap_and_is_counted(log):
    reader = Reader(log.path)
    log.write(3)
    reader.look()
    log.rename()
    for file in log.path.parent.glob("audit-*"):
        file.unlink()
    log.write(2)
    reader.look()
    assert (reader.numbers, reader.tail.gaps) == ([0, 1, 2, 3, 4], 1)


def test_truncated_and_grown_beyond_the_old_length(log):
    """Size alone would not tell."""
    reader = Reader(log.path)
    log.write(2)
    reader.look()
    log.copy()
    log.write(30)
    reader.look()
    assert reader.numbers == list(range(32))


def test_pieces_know_their_lines(log, monkeypatch):
    monkeypatch.setattr(tailing, "PIECE", 16)
    log.write(5)
    pieces = list(Tail(log.path).read())
    assert len(pieces) > 1
    assert [piece.first for piece in pieces] == [
        1 + sum(p.data.count(b"\n") for p in pieces[:n]) for n in range(len(pieces))
    ]
    assert pieces[-1].place.line == 5


@pytest.mark.parametrize("text", ["", "x", "a b c", "m 1", "m -1 2", "m 1 2 3"])
def test_a_place_that_is_none_is_the_beginning(text):
    assert place_of(text) == Place()


@pytest.mark.parametrize("seed", range(40))
def test_any_order_of_writing_rotating_looking_and_dying(tmp_path, seed):
    """Every line once and in order, as long as nothing is deleted."""
    chance, log = random.Random(seed), Log(tmp_path)
    reader = Reader(log.path)
    log.write(1)
    for _ in range(60):
        match chance.choice(("write", "write", "look", "rename", "copy", "restart")):
            case "write":
                log.write(chance.randint(1, 5))
            case "look":
                reader.look()
            case "restart":
                reader.restart()
            case how:
                if log.path.exists() and log.path.stat().st_size:
                    if not reader.kept:
                        reader.look()  # who never looked starts with what is there
                    getattr(log, how)(packed=chance.random() < 0.5, numbered=chance.random() < 0.5)
    log.write(1)
    reader.look()
    assert reader.numbers == list(range(log.written))
    assert reader.tail.gaps == 0
