"""Signs of life: which processes run, which are silent, which are nobody's concern any more."""

from __future__ import annotations

from typing import Any

from streams.codec import encode
from streams.engine.port import Record
from streams.events import ProgressSeen
from streams.serving.signs import processes_of, signs_of

NOW = 1_800_000_000_000_000
SECOND = 1_000_000


def sign(instance: str, shard: int = -1, *, age: float = 1, component: str = "judge", **more: Any) -> ProgressSeen:
    time = NOW - int(age * SECOND)
    return ProgressSeen(f"{instance}/{shard}", time, component, instance, shard, **more)  # type: ignore[arg-type]  # a word


def lines(*signs: ProgressSeen) -> list[tuple[str, str]]:
    found = processes_of(signs, NOW, 60)
    return [(line.status, line.message) for line in found if "no " not in line.message[:3]]


def missing(*signs: ProgressSeen) -> list[str]:
    return [line.message for line in processes_of(signs, NOW, 60) if line.message.startswith("no ")]


def test_a_process_is_one_line_with_its_shards_and_what_waits():
    assert lines(sign("judge-a"), sign("judge-a", 0, lag=5, epoch=3), sign("judge-a", 1, lag=7, epoch=3)) == [
        ("ok", "judge-a: 2 shards, 12 records wait, epoch 0, 1 s ago")
    ]


def test_parts_that_nobody_runs_are_named():
    assert missing(sign("judge-a")) == ["no fetch runs", "no index runs", "no alert runs"]
    assert len(missing()) == 4


def test_a_silent_process_whose_shards_nobody_reads_is_a_warning_with_what_to_do():
    (line, *_) = processes_of([sign("judge-a", 3, age=300)], NOW, 60)
    assert (line.status, line.mend) == ("warn", "start it again: revet serve judge …")
    assert "1 shards" in line.message
    assert "no judge runs" in missing(sign("judge-a", 3, age=300))


def test_a_dead_process_whose_shards_others_read_is_told_of_no_more():
    assert [m for _, m in lines(sign("judge-a", 3, age=300), sign("judge-b", 3, age=2))] == [
        "judge-b: 1 shards, 0 records wait, epoch 0, 2 s ago"
    ]


def test_who_said_good_bye_is_not_missed():
    assert lines(sign("judge-a", 3, age=300, stopping=True)) == []


def test_a_collector_has_no_shards_and_is_missed_all_the_same():
    assert [status for status, _ in lines(sign("audit-a", component="collector", age=300))] == ["warn"]
    assert lines(sign("audit-a", component="collector", age=25 * 3600)) == []


def test_a_process_behind_the_others_in_trust_is_a_warning():
    found = lines(sign("judge-a", 0, epoch=7), sign("judge-b", 1, epoch=5))
    assert [status for status, _ in found] == ["ok", "warn"]
    assert "behind epoch 7" in found[1][1]


def test_the_newest_of_each_shard_counts_and_garbage_is_somebody_elses():
    def record(position: int, value: bytes) -> Record:
        return Record(position, "revet.heartbeats", 0, "k", "i", value, NOW)

    older, newer = sign("judge-a", 0, lag=9, age=9), sign("judge-a", 0, lag=2)
    values = [encode(older), b"\x00garbage", encode(newer), b""]
    assert signs_of(record(position, value) for position, value in enumerate(values)) == [newer]
