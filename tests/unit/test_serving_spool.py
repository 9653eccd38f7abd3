"""The receiver's spool: batches in order, on disk, bounded; and a receiver whose disk is full."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from streams.collectors.bodies import Batch
from streams.engine.wire import WireRecord
from streams.serving import buffering
from streams.serving.buffering import BufferedIntake
from streams.serving.process import Process
from streams.serving.sqlite import opened_batches
from streams.settings import Settings
from streams.topics import OBSERVATIONS
from verifier.errors import PlaceUnavailable

MIB = 1024 * 1024


def records(number: int, size: int = 100) -> list[WireRecord]:
    value = f"{number:06}".encode() * (size // 6 + 1)
    return [WireRecord(OBSERVATIONS, number % 4, b"key-%d" % number, value, (("id", b"%d" % number),), 1000 + number)]


def kept(path: Path) -> list[bytes]:
    with opened_batches(path, 64 * MIB) as spool:
        return [record.key for waiting in spool.oldest(0, 10_000) for record in waiting.records]


def test_batches_come_back_as_they_were_in_order_and_are_there_after_a_restart(tmp_path):
    path = tmp_path / "deep" / "spool.sqlite"
    with opened_batches(path, 64 * MIB) as spool:
        for number in range(5):
            spool.add([*records(number), *records(number + 100)])
        assert spool.waiting()[0] == 5
    assert path.stat().st_mode & 0o077 == 0, "names of a fleet are for its owner"
    with opened_batches(path, 64 * MIB) as spool:
        first, second = spool.oldest(0, 2)
        assert [(r.topic, r.partition, r.key, r.value, r.headers, r.written) for r in first.records] == [
            (r.topic, r.partition, r.key, r.value, r.headers, r.written) for r in (*records(0), *records(100))
        ]
        assert [w.position for w in spool.oldest(second.position, 9)] == [3, 4, 5]
        spool.remove(first.position)
        assert [w.position for w in spool.oldest(0, 9)] == [2, 3, 4, 5]


def test_a_full_spool_says_so_keeps_what_it_has_and_takes_more_once_there_is_room(tmp_path):
    with opened_batches(tmp_path / "spool", MIB) as spool:
        told = ""
        for number in range(1000):
            try:
                spool.add(records(number, 20_000))
            except PlaceUnavailable as error:
                told = str(error)
                break
        assert "spool" in told
        held, size = spool.waiting()
        assert 10 < held < 60
        assert size < MIB
        assert len(spool.oldest(0, 1000)) == held
        for waiting in spool.oldest(0, 20):
            spool.remove(waiting.position)
        spool.add(records(7, 20_000))
        assert spool.waiting()[0] == held - 19


def test_a_file_that_is_no_spool_is_named(tmp_path):
    (tmp_path / "spool").write_bytes(b"no database at all " * 100)
    with pytest.raises(PlaceUnavailable, match="spool"), opened_batches(tmp_path / "spool", MIB):
        pass


def _add_without_end(path: Path, told) -> None:
    with opened_batches(path, 64 * MIB) as spool:
        for number in range(1_000_000):
            spool.add(records(number))
            told.send(number)


def test_what_was_taken_is_there_after_a_kill(tmp_path):
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_add_without_end, args=(tmp_path / "spool", theirs))
    child.start()
    last = -1
    while last < 50:
        last = ours.recv()
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    while ours.poll():
        last = ours.recv()
    found = kept(tmp_path / "spool")
    assert found[: last + 1] == [b"key-%d" % number for number in range(last + 1)]


# -------------------------------------------------------------------------------------------------------------- intake


def batch(number: int, size: int = 100) -> Batch:
    return Batch("c1", records=records(number, size), observed=1, events=1)


def test_a_sender_is_answered_from_the_disk_and_a_full_one_makes_it_wait_and_then_come_back(tmp_path, monkeypatch):
    """No broker is asked. Room that is made in time is used; what does not fit is refused, not dropped."""
    monkeypatch.setattr(buffering, "ROOM_SECONDS", 0.3)

    async def played() -> None:
        process = Process("audit", Settings())
        with opened_batches(tmp_path / "spool", MIB) as spool:
            intake = BufferedIntake(process, spool)
            taken = 0
            try:
                while taken < 1000:
                    taken += await intake.accept(batch(taken, 20_000))
            except PlaceUnavailable:
                pass
            assert taken == spool.waiting()[0] == intake.progress().backlog
            assert not intake.progress().ready
            waits = asyncio.create_task(intake.accept(batch(7, 20_000)))
            await asyncio.sleep(0.05)
            for waiting in spool.oldest(0, 20):
                await intake._done(waiting)  # as the relay does
            assert await waits == 1
            assert "spool" not in {trouble.what for trouble in process.health.report().troubles}

    asyncio.run(played())


def test_a_body_without_records_writes_nothing(tmp_path):
    async def played() -> None:
        with opened_batches(tmp_path / "spool", MIB) as spool:
            assert await BufferedIntake(Process("audit", Settings()), spool).accept(Batch("c1")) == 0
            assert spool.waiting() == (0, 0)

    asyncio.run(played())
