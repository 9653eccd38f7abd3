"""Health is progress: what counts as a stall, what does not, and what a trouble changes."""

from __future__ import annotations

import pytest

from streams.serving.health import Health


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock) -> Health:
    return Health("judge", stalled_seconds=60, clock=clock)


def test_nothing_to_do_is_no_stall(health, clock):
    health.waiting(0, "judge", 3)
    clock.now += 10_000
    assert health.report().status == "ok"


def test_work_that_waits_while_nothing_moves_is_a_stall_that_names_the_shard(health, clock):
    health.progress("judge", 3, 41)
    health.waiting(7, "judge", 3)
    clock.now += 61
    report = health.report()
    assert report.status == "stalled"
    assert [(s.shard, s.waiting, s.seconds, s.position) for s in report.stalled] == [("3", 7, 61.0, "41")]


def test_the_same_position_again_is_no_progress(health, clock):
    health.waiting(7, "judge", 3)
    for _ in range(8):
        clock.now += 10
        health.progress("judge", 3, 41)
    assert health.report().status == "stalled"


def test_work_that_comes_after_a_long_silence_has_its_minute(health, clock):
    health.progress("judge", 3, 41)
    health.waiting(0, "judge", 3)
    clock.now += 10_000
    health.waiting(1, "judge", 3)
    clock.now += 59
    assert health.report().status == "ok"
    clock.now += 2
    assert health.report().status == "stalled"


def test_one_shard_that_hangs_is_not_hidden_by_the_others(health, clock):
    for second in range(70):
        clock.now += 1
        for shard in range(4):
            health.waiting(5, "judge", shard)
            if shard != 2:
                health.progress("judge", shard, second)
    assert [stall.shard for stall in health.report().stalled] == ["2"]


def test_a_component_as_a_whole_moves_when_any_of_its_shards_does(health, clock):
    health.waiting(9, "judge")
    clock.now += 50
    health.progress("judge", 1, 5)
    clock.now += 50
    assert health.report().status == "ok"


def test_a_shard_that_went_elsewhere_cannot_stall_here(health, clock):
    health.waiting(7, "judge", 3)
    health.gone("judge", 3)
    clock.now += 100
    assert health.report().status == "ok"


def test_a_loop_that_stops_going_round_is_a_stall_though_nothing_waits(health, clock):
    health.beat("consumer")
    clock.now += 61
    assert [(s.component, s.waiting) for s in health.report().stalled] == [("consumer", -1)]
    health.ends("consumer")
    assert health.report().status == "ok"


def test_a_trouble_alone_is_no_stall_but_explains_one(health, clock):
    health.trouble("kafka", "no broker answers")
    clock.now += 100
    assert health.report().status == "ok"
    assert health.report().troubles[0].seconds == 100
    health.waiting(1)
    clock.now += 61
    assert health.report().blames_others
    health.well("kafka")
    assert not health.report().blames_others


def test_it_is_ready_when_every_gate_is_open(health):
    health.ready(False, "trust")
    assert health.report().waits_for == ("start", "trust")
    health.ready()
    assert not health.report().ready
    health.ready(True, "trust")
    assert health.report().ready


def test_a_worker_that_died_stays_in_the_report(health):
    health.failed("judge", "ValueError: x" + "y" * 10_000)
    report = health.report()
    assert report.status == "failed"
    assert len(report.failed["judge"]) == 500
