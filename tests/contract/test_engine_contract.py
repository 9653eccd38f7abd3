"""One contract for every engine: what is appended stays, in order, once; a crash or an error loses and doubles nothing.

The same cases run over the memory engine and over the engine of the state file. Where the two differ, and may, a case
of its own says so. A processor that counts makes every loss and every repetition visible; the judge has its turn in
`test_engine_poison` and `test_engine_kill`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from alerting.models import IncidentAction
from streams.codec import decode
from streams.engine.memory import EDGES, Crash, Edge
from streams.engine.port import Effects, Output, Record
from streams.engine.sqlite import DATA, SqliteEngine, append_trust, connect
from streams.topics import ACTIONS, CLUSTER_SIGHT, FACTS, OBSERVATIONS, VERDICTS
from tests.helpers import engines
from tests.helpers.engines import (
    INPUTS,
    RIGS,
    Broken,
    Counter,
    Make,
    MemoryRig,
    Rig,
    SqliteRig,
    counted,
    counter,
    drain,
    ids,
    item,
    many,
    rigs,
    said,
    whole,
)
from verifier.errors import PlaceUnavailable, RevetError


@pytest.fixture(params=RIGS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    yield from rigs(request.param, tmp_path)


@pytest.fixture
def state_file(tmp_path: Path) -> Iterator[SqliteRig]:
    """The engine of a state file, for what only files have."""
    one = SqliteRig(lambda _: Counter(), 100, tmp_path)
    yield one
    one.close()


# --------------------------------------------------------------------------------------------------------------- append


def test_an_id_is_appended_once_per_topic(rig: Make) -> None:
    """Also within one call, and also after the process died; the same id on another topic is another record."""
    one = rig(lambda _: Counter())
    assert one.append([item("k", "a"), item("k", "b"), item("k", "a")]) == 2
    assert one.append([item("k", "b"), item("k", "c"), item("k", "a", ACTIONS)]) == 2
    one.restart()
    assert one.append([item("k", "a"), item("k", "d")]) == 1
    assert (ids(one, OBSERVATIONS), ids(one, ACTIONS)) == (["a", "b", "c", "d"], ["a"])


def test_a_record_keeps_its_first_content(rig: Make) -> None:
    """The same id is the same record: whoever sends it again with other bytes changes nothing."""
    one = rig(lambda _: Counter())
    one.append([Output(OBSERVATIONS, "k", "a", 1, IncidentAction("a", 1, "k", "note", "first"))])
    one.append([Output(OBSERVATIONS, "x", "a", 2, IncidentAction("a", 2, "x", "note", "second"))])
    (record,) = one.log(OBSERVATIONS)
    assert (record.key, record.time, record.topic) == ("k", 1, OBSERVATIONS)
    assert decode(record.value) == IncidentAction("a", 1, "k", "note", "first")


@pytest.mark.parametrize("handled", [False, True])
def test_what_was_appended_survives_the_process(rig: Make, handled: bool) -> None:
    one = rig(lambda _: Counter())
    one.append(many(3, 4))
    if handled:
        drain(one)
    one.restart()
    drain(one)
    assert len(ids(one, OBSERVATIONS)) == len(ids(one, VERDICTS)) == 12


# ---------------------------------------------------------------------------------------------------------------- order


@pytest.mark.parametrize("batch", [1, 2, 5, 100])
def test_records_of_a_key_come_in_order_wherever_a_batch_ends(rig: Make, batch: int) -> None:
    one = rig(lambda _: Counter(), batch)
    for output_ in many(5, 7):
        one.append([output_])
    drain(one)
    assert counted(one) == {f"k{key}": [f"k{key}-{n}" for n in range(7)] for key in range(5)}
    assert all(len(found) <= batch for found in counter(one).batches)


def test_control_comes_before_data(rig: Make) -> None:
    """What a person or a key holder says does not queue behind a backlog, also when it comes in the middle of one."""
    one = rig(lambda _: Counter((ACTIONS, OBSERVATIONS)))
    one.append(many(1, 7))
    assert one.run_once()
    one.append([item("k0", "stop", ACTIONS), item("k0", "stop2", ACTIONS)])
    drain(one)
    assert counter(one).batches == [
        ["k0-0", "k0-1", "k0-2"], ["stop", "stop2"], ["k0-3", "k0-4", "k0-5"], ["k0-6"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "first"),
    [
        # Topic by topic, in the processor's order: with partitions there is no order across topics to keep.
        ("memory", [["seen-1", "seen-2"], ["pod-1", "pod-2"], ["ack"]]),
        # Two lanes: control before data whatever the processor says, and within a lane the order of arrival.
        ("sqlite", [["ack"], ["pod-1", "seen-1", "pod-2"], ["seen-2"]]),
    ],
)
def test_where_engines_differ_in_the_order_across_topics(name: str, first: list[list[str]], tmp_path: Path) -> None:
    """Nothing may be built on the order of records of different topics, save that control is not held up."""
    one = RIGS[name](lambda _: Counter((CLUSTER_SIGHT, OBSERVATIONS, ACTIONS)), 3, tmp_path)
    one.append([item("c", "pod-1"), item("c", "seen-1", CLUSTER_SIGHT)])
    one.append([item("c", "pod-2"), item("c", "ack", ACTIONS), item("c", "seen-2", CLUSTER_SIGHT)])
    drain(one)
    assert counter(one).batches == first
    one.close()


# ------------------------------------------------------------------------------------------------------ part of a batch


@pytest.mark.parametrize("at_most", [1, 2, 3])
def test_what_was_not_consumed_comes_again(rig: Make, at_most: int) -> None:
    """In the next batch and from where it stopped, and control gets in between."""
    one = rig(lambda _: Counter(at_most=at_most))
    one.append(many(1, 5))
    one.run_once()
    one.append([item("k0", "ack", ACTIONS)])
    drain(one)
    expected = [f"k0-{n}" for n in range(5)]
    assert [name for name in counted(one)["k0"] if name != "ack"] == expected
    assert counter(one).batches[1] == ["ack"]
    assert len(ids(one, VERDICTS)) == 6
    restarts = len(counter(one).batches)
    one.restart()
    assert not one.run_once()
    assert restarts > 5 // at_most


def test_a_restart_between_two_parts_of_a_batch_repeats_nothing(rig: Make) -> None:
    one = rig(lambda _: Counter(at_most=2), 5)
    one.append(many(1, 5))
    one.run_once()
    one.restart()
    drain(one)
    assert counter(one).batches[0] == ["k0-2", "k0-3", "k0-4"]
    assert counted(one) == {"k0": [f"k0-{n}" for n in range(5)]}


@pytest.mark.parametrize("restarted", [False, True])
def test_nothing_consumed_means_not_now(rig: Make, restarted: bool) -> None:
    """The records stay, a driver is told that nothing was done, and they come again when they are wanted."""
    one = rig(lambda _: Counter(at_most=0))
    one.append(many(1, 5))
    assert not one.run_once()
    assert not one.run_once()
    if restarted:
        one.restart()
    counter(one).at_most = None
    drain(one)
    assert counted(one) == {"k0": [f"k0-{n}" for n in range(5)]}


@pytest.mark.parametrize("taken", [-1, 4, 500])
def test_a_processor_that_counts_wrongly_is_stopped(rig: Make, taken: int) -> None:
    """Moving by such a number would skip records."""

    class Wrong(Counter):
        def process(self, records: Sequence[Record]) -> Effects:
            return msgspec.structs.replace(super().process(records), consumed=taken)

    one = rig(lambda _: Wrong())
    one.append(many(1, 3))
    with pytest.raises(RevetError, match=f"took {taken} of 3"):
        one.run_once()
    assert (one.log(VERDICTS), one.state()) == ([], [])


# ------------------------------------------------------------------------------------------------------ crashes, errors


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, list[str]]]:
    one = MemoryRig(lambda _: Counter(), 3, tmp_path_factory.mktemp("undisturbed"))
    one.append(INPUTS)
    drain(one)
    return whole(one)


@pytest.mark.parametrize("at_most", [None, 2])
@pytest.mark.parametrize("batch", [1, 3, 100])
@pytest.mark.parametrize("edge", EDGES)
def test_a_crash_at_any_edge_loses_and_doubles_nothing(
    edge: Edge, batch: int, at_most: int | None, undisturbed: tuple[object, object], tmp_path: Path
) -> None:
    """An engine without transactions: outputs, then state, then position. Die once at this edge of each batch."""
    one = MemoryRig(lambda _: Counter(at_most=at_most), batch, tmp_path)
    one.append(INPUTS)
    crashes = 0
    for step in range(100):
        one.engine.crash_at = edge if step % 2 == 0 else None
        try:
            if not one.run_once():
                break
        except Crash:
            crashes += 1
            one.restart()
    one.engine.crash_at = None
    drain(one)
    assert crashes
    assert whole(one) == undisturbed


def test_effects_become_durable_in_the_order_that_only_repeats(tmp_path: Path) -> None:
    """After each edge exactly what comes before it is there: outputs, state, position."""
    durable = {}
    for edge in EDGES:
        one = MemoryRig(lambda _: Counter(), 3, tmp_path)
        one.append([item("k", "a")])
        one.engine.crash_at = edge
        with pytest.raises(Crash):
            one.run_once()
        one.restart()
        durable[edge] = (bool(one.log(VERDICTS)), bool(one.state()), not one.run_once())
    assert durable == {
        "before-outputs": (False, False, False),
        "after-outputs": (True, False, False),
        "after-state": (True, True, False),
        "after-position": (True, True, True),
    }


@pytest.mark.parametrize("victim", [o.id for o in INPUTS[::4]])
@pytest.mark.parametrize("batch", [1, 3, 100])
def test_a_processor_that_raises_in_the_middle_of_a_batch(
    rig: Make, victim: str, batch: int, undisturbed: tuple[object, object]
) -> None:
    """Nothing of the batch is stored; the error is the caller's; a new processor does it all, once."""
    one = rig(lambda _: Counter(), batch)
    one.append(INPUTS)
    counter(one).breaks = {victim}
    stored = [whole(one)]

    def run_on() -> None:
        while one.run_once():
            stored.append(whole(one))

    with pytest.raises(Broken, match=victim):
        run_on()
    assert whole(one) == stored[-1]
    one.restart()
    drain(one)
    assert whole(one) == undisturbed


def test_a_sink_that_raises_takes_the_whole_batch_back(state_file: SqliteRig) -> None:
    """Outputs for a sink of the file are in the same transaction as log, state and position."""
    one = state_file
    one.append(INPUTS)

    def broken(outputs: Sequence[Output]) -> None:
        one.plant(FACTS, "half", b"written by the sink before it broke")
        raise Broken(len(outputs))

    engine = SqliteEngine(one.connection, one.processor, {VERDICTS: broken})
    with pytest.raises(Broken):
        engine.run_once()
    assert (one.log(FACTS), one.log(VERDICTS), one.state(), engine.position(DATA)) == ([], [], [], 0)


def test_an_engine_goes_on_after_an_error_that_passed_by(state_file: SqliteRig) -> None:
    """A commit that failed (the file was locked, the disk full) is repeated whole: nothing read ahead is skipped."""
    one = state_file
    counter(one).at_most = 2
    one.append(many(1, 5))
    with pytest.raises(Broken), one.engine.transaction():  # noqa: PT012  # the error comes behind the step
        one.engine.step()
        raise Broken
    assert one.state() == []
    one.processor.restore([])
    drain(one)
    assert counted(one) == {"k0": [f"k0-{n}" for n in range(5)]}


def test_a_file_that_others_hold_is_a_named_error(state_file: SqliteRig) -> None:
    """Locked for longer than anybody waits: every writing way in says the same, and nothing was done."""
    one = state_file
    one.append(many(1, 3))
    one.connection.execute("PRAGMA busy_timeout=1")
    with closing(sqlite3.connect(one.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for write in (
            one.run_once,
            lambda: one.append([item("k", "x")]),
            lambda: one.tick(1),
            lambda: append_trust(one.connection, [b"{}"], 0, None),
        ):
            with pytest.raises(PlaceUnavailable, match="locked"):
                write()
    drain(one)
    assert counted(one) == {"k0": ["k0-0", "k0-1", "k0-2"]}


@pytest.mark.kill
def test_a_process_killed_between_any_two_statements(undisturbed: tuple[object, object], tmp_path: Path) -> None:
    """One process per statement that the run comes to: it ends there without a word, and the next one goes on."""
    base = tmp_path / "base.sqlite"
    with closing(connect(base, create=True)) as connection:
        SqliteEngine(connection, Counter()).append(INPUTS)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(engines.__file__), str(base)],
        capture_output=True, text=True, check=False, cwd=root, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    deaths = [json.loads(line) for line in done.stdout.splitlines()]
    assert [d["statement"] for d in deaths] == list(range(1, len(deaths) + 1))
    assert len({d["left"] for d in deaths}) > 3, "killed before, between and after transactions"
    wrong = [d["statement"] for d in deaths if (d["said"], d["seen"]) != undisturbed]
    assert wrong == []


# -------------------------------------------------------------------------------------------------------------- restore


def test_restore_gives_exactly_what_was_stored(rig: Make) -> None:
    """Byte for byte, in the order of first storing; nothing of what was deleted."""
    one = rig(lambda _: Counter())
    counter(one).slices = [
        Effects(state=(("b", "2", b"\x00\xff"), ("a", "", b""), ("b", "1", b"old"))),
        Effects(state=(("b", "1", b"new"), ("a", "\u20ac\n", b"x"), ("gone", "1", b"x"))),
        Effects(state=(("gone", "1", None), ("never", "there", None))),
    ]
    drain(one)
    one.restart()
    expected = [("b", "2", b"\x00\xff"), ("a", "", b""), ("b", "1", b"new"), ("a", "\u20ac\n", b"x")]
    assert counter(one).restored == expected
    assert one.state() == expected


def test_what_is_said_on_restore_is_said_once(rig: Make) -> None:
    """A restore says again what may have been lost; ids make it harmless. What it stores is stored."""

    def make(_: Rig) -> Counter:
        made = Counter()

        def says() -> Effects:
            before = len([e for e in made.restored if e[0] == "start"])
            return Effects((said("again"),), (("start", str(before), b"x"),))

        made.says_on_restore = says
        return made

    one = rig(make)
    for starts in (1, 2, 3):
        assert ids(one, VERDICTS) == ["again"]
        assert [key for kind, key, _ in one.state() if kind == "start"] == [str(n) for n in range(starts)]
        one.restart()


# ----------------------------------------------------------------------------------------------------- background, time


def test_slices_run_when_nothing_waits(rig: Make) -> None:
    """Each is stored like a batch, and an engine with slices left has something to do."""
    one = rig(lambda _: Counter())
    assert not one.run_once()
    counter(one).slices = [Effects((said(f"slice-{n}"),), (("slice", str(n), b"x"),)) for n in range(3)]
    assert [one.run_once() for _ in range(5)] == [True, True, True, False, False]
    assert ids(one, VERDICTS) == ["slice-0", "slice-1", "slice-2"]
    one.restart()
    assert [key for _, key, _ in counter(one).restored] == ["0", "1", "2"]


def test_a_record_is_not_held_up_by_slices(rig: Make) -> None:
    one = rig(lambda _: Counter())
    counter(one).slices = [Effects((said(f"slice-{n}"),)) for n in range(50)]
    one.run_once()
    one.append([item("k", "ack", ACTIONS)])
    one.run_once()
    assert counter(one).seen == {"k": ["ack"]}
    assert len(counter(one).slices) >= 48


@pytest.mark.parametrize(("name", "left"), [("memory", 3), ("sqlite", 1)])
def test_where_engines_differ_in_slices_between_batches(name: str, left: int, tmp_path: Path) -> None:
    """The memory engine waits until nothing is left to read; the file's gives each batch one slice, so that a sweep
    comes to its end during a backlog."""
    one = RIGS[name](lambda _: Counter(), 1, tmp_path)
    one.append(many(1, 2))
    counter(one).slices = [Effects() for _ in range(3)]
    one.run_once()
    one.run_once()
    assert len(counter(one).slices) == left
    one.close()


def test_time_is_an_input(rig: Make) -> None:
    one = rig(lambda _: Counter())
    for now in (5, 7, 7):
        one.tick(now)
    assert ids(one, VERDICTS) == ["tick/5", "tick/7"]
    one.restart()
    assert counter(one).restored == [("time", "", b"7")]


# ---------------------------------------------------------------------------------------------------------------- state


@pytest.mark.parametrize(
    ("name", "rows", "expected"),
    [
        ("the newest value wins", [(b"1",), (b"2",)], b"2"),
        ("the newest value wins within one batch", [(b"1", b"2", b"3")], b"3"),
        ("None deletes", [(b"1",), (None,)], None),
        ("None deletes what the same batch wrote", [(b"1", None)], None),
        ("what comes after None stands", [(b"1",), (None, b"2")], b"2"),
        ("None twice", [(None,), (None, None)], None),
        ("written, deleted and written again", [(b"1", None, b"2", None, b"3")], b"3"),
        ("an empty value is a value", [(b"",)], b""),
    ],
)
def test_state(rig: Make, name: str, rows: list[tuple[bytes | None, ...]], expected: bytes | None) -> None:
    one = rig(lambda _: Counter())
    counter(one).slices = [Effects(state=tuple(("kind", "key", value) for value in batch)) for batch in rows]
    drain(one)
    one.restart()
    assert [value for _, _, value in counter(one).restored] == ([] if expected is None else [expected])
