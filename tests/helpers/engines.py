"""Engines for contract tests, with one way to do to each what a test must do: stop it, plant bytes in it, look into it.

    @pytest.fixture(params=RIGS)
    def rig(request, tmp_path): yield from rigs(request.param, tmp_path)

    one = rig(lambda _: Counter())
    one.append(many(keys=2, each=3)); drain(one); one.restart()

Run as a program, this file is the process that is killed between two statements (`_die_between_statements`).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from alerting.models import IncidentAction
from streams.engine.memory import MemoryEngine
from streams.engine.port import Effects, Output, Processor, Record
from streams.engine.sqlite import CONTROL, SqliteEngine, connect, trust_log
from streams.topics import ACTIONS, OBSERVATIONS, VERDICTS
from tests.helpers.world import START

# ---------------------------------------------------------------------------------------------- a processor that counts


class Broken(Exception):
    """A defect of a processor, planted."""


class Counter:
    """Per key, the ids it was given, in order; says one sentence per id. What comes again changes nothing.

    An id in `breaks` raises, after changes were made.
    """

    def __init__(self, topics: Sequence[str] = (ACTIONS, OBSERVATIONS), at_most: int | None = None) -> None:
        self.topics = tuple(topics)
        self.at_most = at_most
        self.breaks: set[str] = set()
        self.seen: dict[str, list[str]] = {}
        self.batches: list[list[str]] = []
        self.slices: list[Effects] = []
        self.restored: list[tuple[str, str, bytes]] = []
        self.says_on_restore: Callable[[], Effects] = Effects

    def restore(self, state: Iterable[tuple[str, str, bytes]]) -> Effects:
        self.restored = list(state)
        self.seen = {k: msgspec.json.decode(v, type=list[str]) for kind, k, v in self.restored if kind == "seen"}
        return self.says_on_restore()

    def process(self, records: Sequence[Record]) -> Effects:
        taken = records if self.at_most is None else records[: self.at_most]
        self.batches.append([r.id for r in records])
        said = [out for record in taken for out in self._take(record)]
        keys = dict.fromkeys(r.key for r in taken)
        state = tuple(("seen", key, msgspec.json.encode(self.seen[key])) for key in keys)
        return Effects(tuple(said), state, None if self.at_most is None else len(taken))

    def _take(self, record: Record) -> Iterable[Output]:
        known = self.seen.setdefault(record.key, [])
        if record.id in known:
            return
        known.append(record.id)
        if record.id in self.breaks:
            raise Broken(record.id)
        yield said(f"{record.key}/{len(known)}/{record.id}")

    def tick(self, now: int) -> Effects:
        return Effects((said(f"tick/{now}"),), (("time", "", str(now).encode()),))

    def idle(self) -> Effects | None:
        return self.slices.pop(0) if self.slices else None


def said(name: str) -> Output:
    return Output(VERDICTS, "", name, 0, IncidentAction(name, 0, "", "note", ""))


def item(key: str, name: str, topic: str = OBSERVATIONS) -> Output:
    """One input for the counter. An engine does not look into events, so any will do."""
    return Output(topic, key, name, 0, IncidentAction(name, 0, key, "note", ""))


def many(keys: int, each: int) -> list[Output]:
    """Inputs of several keys, interleaved."""
    return [item(f"k{key}", f"k{key}-{number}") for number in range(each) for key in range(keys)]


INPUTS = [*many(3, 4), *[item("k1", f"late-{n}") for n in range(3)], item("k0", "ack", ACTIONS)]


# ------------------------------------------------------------------------------------------------------------- two rigs


class Rig(Protocol):
    """An engine with its processor, and what a test must be able to do to it."""

    @property
    def processor(self) -> Processor: ...

    def append(self, outputs: Sequence[Output]) -> int: ...
    def plant(self, topic: str, name: str, value: bytes, key: str = "") -> None: ...
    def run_once(self) -> bool: ...
    def tick(self, now: int) -> None: ...
    def restart(self) -> None: ...
    def log(self, topic: str) -> list[Record]: ...
    def state(self) -> list[tuple[str, str, bytes]]: ...
    def trust(self) -> list[tuple[int, bytes]]: ...
    def close(self) -> None: ...


class MemoryRig:
    """The memory engine with one shard."""

    def __init__(self, make: Callable[[Rig], Processor], batch: int, _place: Path) -> None:
        self._born = False
        self.engine = MemoryEngine(lambda _shard: make(self), batch=batch)
        self._born = True

    @property
    def processor(self) -> Processor:
        return self.engine.processors()[0]

    def append(self, outputs: Sequence[Output]) -> int:
        return self.engine.append(outputs)

    def plant(self, topic: str, name: str, value: bytes, key: str = "") -> None:
        self.engine.append_bytes(topic, key, name, value, START)

    def run_once(self) -> bool:
        return self.engine.run_once()

    def tick(self, now: int) -> None:
        self.engine.tick(now)

    def restart(self) -> None:
        self.engine.restart()

    def log(self, topic: str) -> list[Record]:
        return self.engine.log(topic)

    def state(self) -> list[tuple[str, str, bytes]]:
        return [(*slot, value) for slot, value in self.engine._state[0].items()]

    def trust(self) -> list[tuple[int, bytes]]:
        return self.engine.trust_seen(0) if self._born else []

    def close(self) -> None:
        """Nothing is held."""


class SqliteRig:
    """The engine of a state file; a restart is a new connection, engine and processor."""

    def __init__(self, make: Callable[[Rig], Processor], batch: int, place: Path) -> None:
        self.path = place / "state.sqlite" if place.is_dir() else place
        self._make, self._batch = make, batch
        self._open()

    def _open(self) -> None:
        self.connection = connect(self.path, create=True)
        self.processor: Processor = self._make(self)
        self.engine = SqliteEngine(self.connection, self.processor, batch=self._batch)
        self.engine.restore()

    def append(self, outputs: Sequence[Output]) -> int:
        return self.engine.append(outputs)

    def plant(self, topic: str, name: str, value: bytes, key: str = "") -> None:
        query = "INSERT INTO log (topic, key, id, time, value) VALUES (?, ?, ?, ?, ?)"
        self.connection.execute(query, (topic, key, name, START, value))

    def run_once(self) -> bool:
        return self.engine.run_once()

    def tick(self, now: int) -> None:
        self.engine.tick(now)

    def restart(self) -> None:
        self.close()
        self._open()

    def log(self, topic: str) -> list[Record]:
        return self.engine.after(topic, 0, 1_000_000)

    def state(self) -> list[tuple[str, str, bytes]]:
        return self.connection.execute("SELECT kind, key, value FROM state ORDER BY place").fetchall()

    def trust(self) -> list[tuple[int, bytes]]:
        return trust_log(self.connection, seen_by=CONTROL)

    def close(self) -> None:
        self.connection.close()


RIGS: dict[str, type[MemoryRig | SqliteRig]] = {"memory": MemoryRig, "sqlite": SqliteRig}


class Make(Protocol):
    """Builds an engine with the processor that is given; what it built is closed when the test ends."""

    def __call__(self, make: Callable[[Rig], Processor], batch: int = 3) -> Rig: ...


def rigs(name: str, folder: Path) -> Iterator[Make]:
    """For fixtures: `yield from rigs("sqlite", tmp_path)`. Each rig of one test has its own file."""
    made: list[MemoryRig | SqliteRig] = []

    def build(make: Callable[[Rig], Processor], batch: int = 3) -> Rig:
        own = folder / str(len(made))
        own.mkdir()
        made.append(RIGS[name](make, batch, own))
        return made[-1]

    yield build
    for one in made:
        one.close()


def drain(one: Rig) -> None:
    for _ in range(10_000):
        if not one.run_once():
            return
    msg = "the engine never comes to an end"
    raise AssertionError(msg)


def counter(one: Rig) -> Counter:
    assert isinstance(one.processor, Counter)
    return one.processor


def ids(one: Rig, topic: str) -> list[str]:
    return [record.id for record in one.log(topic)]


def counted(one: Rig) -> dict[str, list[str]]:
    """What the counter stored."""
    return {key: msgspec.json.decode(value) for kind, key, value in one.state() if kind == "seen"}


def whole(one: Rig) -> tuple[list[str], dict[str, list[str]]]:
    """Everything the counter came to: an id twice, or one that is missing, shows in either."""
    return sorted(ids(one, VERDICTS)), counted(one)


# -------------------------------------------------------------------------------------------------------------- a death


def _die_between_statements(base: Path) -> None:
    """Fork, run, die before statement 1, 2, 3 … until a run comes to its end; print what each successor made of it."""
    for statement in range(1, 1000):
        path = base.with_name(f"{statement}.sqlite")
        shutil.copy(base, path)
        child = os.fork()
        if child == 0:
            _run(path, statement)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) == 0:
            return
        one = SqliteRig(lambda _: Counter(), 3, path)
        left = one.engine.pending()
        drain(one)
        found, seen = whole(one)
        one.close()
        print(json.dumps({"statement": statement, "left": left, "said": found, "seen": seen}), flush=True)
    sys.exit("a run that never ends")


def _run(path: Path, deadly: int) -> None:
    connection = connect(path, create=False)
    count = 0

    def before_statement(_sql: str) -> None:
        nonlocal count
        count += 1
        if count == deadly:
            os._exit(9)

    connection.set_trace_callback(before_statement)
    engine = SqliteEngine(connection, Counter(), batch=3)
    engine.restore()
    while engine.run_once():
        pass


if __name__ == "__main__":
    _die_between_statements(Path(sys.argv[1]))
