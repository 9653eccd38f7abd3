"""The fifteen questions over a full record: each asked many times, the slowest but one in twenty counted (p95).

    python -m tests.bench.bench_questions [RECORDS] [CONTAINERS] [--elasticsearch]

The record is the small day of `tests.helpers.questionday`, played by the real handlers and repeated in other
namespaces with other digests and ids, and some milliseconds later each time; every workload has thirteen replicas. So
1,000,000 records with 300,000 containers (what is measured unless told otherwise) are 23,000 workloads of 17,000 images
in 11,500 namespaces. More records for as many containers (up to 10,000,000) are more history behind each class.

Each question is asked as things are now and with `--at`; subjects are spread over all of it, fleet-wide questions are
asked without a subject, as many rows as the command asks for. The time is that of `streams.queries.questions.ask`, so
without the start of the process. Beside it the same statements alone (`bare`): every SELECT that the answer needed, run
again with nothing made of its rows. With --elasticsearch the same is asked of a server: REVET_TEST_ELASTICSEARCH, or
one started for this; there is no bare time.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

from streams.elastic import connect
from streams.engine.sqlite import connect as connect_state
from streams.queries.conditions import EVERYTHING
from streams.queries.elasticsearch import ElasticsearchReader
from streams.queries.port import RecordReader
from streams.queries.questions import QUESTIONS, Asked, Question, ask
from streams.queries.sqlite import SqliteReader
from streams.queries.subjects import resolve
from streams.sinks.document import Body, Document
from streams.sinks.fields import HOMES
from streams.sinks.port import RecordSink
from streams.sinks.sqlite import SqliteRecord
from tests.bench.bench_index import node
from tests.bench.templates import Template, named_in, template
from tests.helpers.elasticspace import Space
from tests.helpers.questionday import TWO, at, played

GOAL_SECONDS: Final = 1.0
ROUNDS: Final = 20
CONTAINERS: Final = 300_000
REPLICAS: Final = 13
"""Containers of each workload of the day."""
APART: Final = 900
"""Microseconds between one copy of the day and the next: no two things happen at one instant."""
CHUNK: Final = 20_000
ROWS: Final = 100
"""Rows of an answer, as the command asks for them."""


def copies(records: int, containers: int) -> Iterator[Document]:
    """So many documents: the day, again and again, each time of other things under the same trust."""
    day = list({(d.home, d.id): d for d in played("memory").written}.values())  # what a store keeps of it
    once = [d for d in day if d.home in (HOMES["trust"], HOMES["feeds"])]
    yield from once
    # the exemption names a digest, and each copy has its own
    same = named_in(d for d in once if d.home == HOMES["trust"]) - {TWO.removeprefix("sha256:")}
    kept = [template(d, same) for d in day if d not in once]
    history = [t for t in kept if t.document.home in (HOMES["verification"], HOMES["admission"])]
    replicated = [t for t in kept if "provenance.container.id" in t.document.body]
    whole = containers / (REPLICAS * sum(t.document.home == HOMES["containers"] for t in kept))
    room = records / whole - len(kept) - (REPLICAS - 1) * len(replicated)
    turns = max(0, int(room / len(history)))  # whole ones: what was entered is left
    made = (d for copy in range(records) for d in _copy(copy, kept, replicated, history * turns))
    yield from islice(made, records - len(once))


def _copy(copy: int, kept: list[Template], replicated: list[Template], history: list[Template]) -> Iterator[Document]:
    def of_copy(made: Template) -> Document:
        return made.copy(copy, image=copy, place=copy, later=copy * APART)

    yield from map(of_copy, kept)
    for replica in range(1, REPLICAS):
        yield from (_replica(of_copy(made), replica) for made in replicated)
    for number, made in enumerate(history):
        older = of_copy(made)
        id_ = f"{older.id}r{number}"
        yield Document(older.home, id_, older.time, {**older.body, "event.id": id_}, older.version)


def _replica(document: Document, replica: int) -> Document:
    """Another container of the same workload."""
    names = ("event.id", "provenance.container.id", "kubernetes.pod.name", "kubernetes.pod.uid")
    own = {name: f"{document.body[name]}-{replica}" for name in names}
    body: Body = {**document.body, **own, "kubernetes.node.name": f"node-{replica}"}
    return Document(document.home, str(own["event.id"]), document.time, body, document.version)


def subject_of(of: Question, copy: int) -> str:
    """What a question is asked about: of one copy."""
    if not of.needs_subject:
        return ""
    return f"r.example/pay-{copy:x}/api:1" if "image" in of.subjects else f"workload:shop-{copy:x}/api"


def asked_of(reader: RecordReader, copies_made: int, bare: Callable[[list[Asking]], float | None]) -> list[Row]:
    """Two rows per question."""
    rows: list[Row] = []
    for of in QUESTIONS:
        for moment in ({}, {"at": at(46)}):
            askings = [
                _asking(reader, of, subject_of(of, (turn * 7919) % copies_made), moment) for turn in range(ROUNDS)
            ]
            rows.append(_row(f"ask {of.number} {of.name}{' --at' if moment else ''}", askings, bare))
    return rows


Row = dict[str, object]
Asking = Callable[[], int]
"""Asks, and gives the number of rows."""


def _asking(reader: RecordReader, of: Question, text: str, moment: dict[str, Any]) -> Asking:
    def asking() -> int:
        subject = resolve(reader, text) if text else None
        return len(ask(reader, of, Asked(subject=subject, now=at(60), limit=ROWS, **moment)).rows)

    return asking


def _row(name: str, askings: list[Asking], bare: Callable[[list[Asking]], float | None]) -> Row:
    taken: list[float] = []
    found = 0
    for asking in askings:
        began = time.perf_counter()
        found += asking()
        taken.append(time.perf_counter() - began)
    p95 = _p95(taken)
    return {
        "name": f"{name}, p95 seconds",
        "ours_per_s": None,
        "p95_s": p95,
        "bare_p95_s": bare(askings),
        "median_s": statistics.median(taken),
        "slowest_s": max(taken),
        "rows": found // len(askings),
        "goal": GOAL_SECONDS,
        "met": p95 <= GOAL_SECONDS,
    }


def _p95(taken: list[float]) -> float:
    return sorted(taken)[int(len(taken) * 0.95) - 1]


def written(sink: RecordSink | Space, records: int, containers: int) -> None:
    """Write them."""
    documents = copies(records, containers)
    while chunk := list(islice(documents, CHUNK)):
        sink.write(chunk)


Place = Callable[[int, int], "AbstractContextManager[tuple[RecordReader, Callable[[list[Asking]], float | None]]]"]


@contextmanager
def in_sqlite(records: int, containers: int) -> Iterator[tuple[RecordReader, Callable[[list[Asking]], float | None]]]:
    with tempfile.TemporaryDirectory(prefix="revet-bench-") as folder:
        path = Path(folder) / "record.sqlite"
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -300000"):
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("BEGIN")
            written(SqliteRecord(connection), records, containers)
            connection.execute("COMMIT")
        with closing(connect_state(path, create=False)) as connection:  # as commands open it
            yield SqliteReader(connection), partial(bare_sqlite, connection)


def bare_sqlite(connection: sqlite3.Connection, askings: list[Asking]) -> float:
    """The statements of the same answers alone."""
    taken: list[float] = []
    for asking in askings:
        asked: list[str] = []
        connection.set_trace_callback(asked.append)
        asking()
        connection.set_trace_callback(None)
        began = time.perf_counter()
        for statement in asked:
            connection.execute(statement).fetchall()
        taken.append(time.perf_counter() - began)
    return _p95(taken)


@contextmanager
def in_elasticsearch(
    records: int, containers: int
) -> Iterator[tuple[RecordReader, Callable[[list[Asking]], float | None]]]:
    with node() as url:
        space = Space.fresh(url)
        space.set_up()
        try:
            written(space, records, containers)
            with connect(space.settings) as server:
                reader = ElasticsearchReader(server, space.names)
                reader.refresh()
                yield reader, lambda _: None
        finally:
            space.close()


def copies_in(reader: RecordReader) -> int:
    """How many times the day is there in full."""
    return len(reader.groups(HOMES["images"], EVERYTHING, ("provenance.image.repository",))) // 3 - 1


def run(records: int = 1_000_000, containers: int = 0, place: Place = in_sqlite) -> list[Row]:
    containers = containers or min(CONTAINERS, records * 3 // 10)
    with place(records, containers) as (reader, bare):
        size = {"records": records, "containers": containers}
        return [{**row, **size} for row in asked_of(reader, max(copies_in(reader), 1), bare)]


if __name__ == "__main__":
    numbers = [int(word.replace("_", "")) for word in sys.argv[1:] if not word.startswith("-")]
    where = in_elasticsearch if "--elasticsearch" in sys.argv else in_sqlite
    for line in run(numbers[0] if numbers else 1_000_000, numbers[1] if len(numbers) > 1 else 0, where):
        print(json.dumps(line), flush=True)
