"""The fifteen questions over a full record: each asked many times, the slowest but one in twenty counted (p95).

    python -m tests.bench.bench_questions [RECORDS] [--elasticsearch]

The record is the small day of `tests.helpers.questionday`, played by the real handlers and repeated in other
namespaces with other digests and ids, and with more history behind each class, until there are RECORDS documents, one
in thirty of them a container. Subjects are spread over all of it; fleet-wide questions are asked without a subject,
as many rows as the command asks for. The time is that of `streams.queries.questions.ask`, so without the start of the
process. With --elasticsearch the same is asked of a server: REVET_TEST_ELASTICSEARCH, or one started for this.
"""

from __future__ import annotations

import json
import re
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

import orjson

from streams.elastic import connect
from streams.queries.conditions import EVERYTHING
from streams.queries.elasticsearch import ElasticsearchReader
from streams.queries.port import RecordReader
from streams.queries.questions import QUESTIONS, Asked, Question, ask
from streams.queries.sqlite import SqliteReader
from streams.queries.subjects import resolve
from streams.sinks.document import Document
from streams.sinks.fields import HOMES
from streams.sinks.port import RecordSink
from streams.sinks.sqlite import SqliteRecord
from tests.bench.bench_index import node
from tests.helpers.elasticspace import Space
from tests.helpers.questionday import TWO, at, played

GOAL_SECONDS: Final = 1.0
ROUNDS: Final = 20
PER_CONTAINER: Final = 30
"""Documents per container."""
CHUNK: Final = 20_000

_ID: Final = re.compile(r"v1:[A-Za-z0-9_-]{21}([A-Za-z0-9_-]{6})")
_HEX: Final = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{56}\b")
_NAME: Final = re.compile(r"\b(shop|lab)\b|r\.example/(?:pay|lab)|uid-|INC-[0-9A-Z]{6}")


def copies(number: int) -> Iterator[Document]:
    """`number` documents: the day, again and again, each time of other things under the same trust."""
    day = played("memory").written
    trust = [d for d in day if d.home == HOMES["trust"]]
    yield from trust
    texts = " ".join(orjson.dumps(d.body).decode() for d in trust)
    same = {*re.findall(r"v1:[A-Za-z0-9_-]{27}", texts), *re.findall(r"\b[0-9a-f]{64}\b", texts)}
    same.discard(TWO.removeprefix("sha256:"))  # named by an exemption, and each copy has its own
    kept = [(d, orjson.dumps(d.body).decode()) for d in day if d.home not in (HOMES["trust"], HOMES["feeds"])]
    yield from (d for d in day if d.home == HOMES["feeds"])
    history = [(d, text) for d, text in kept if d.home in (HOMES["verification"], HOMES["admission"])]
    containers = len({d.id for d, _ in kept if d.home == HOMES["containers"]})
    turns = max(0, containers * PER_CONTAINER - len(kept)) // len(history)  # whole ones: what was entered is left
    made = len(trust)
    for copy in range(number):
        for repeat, (document, text) in enumerate([*kept, *(history * turns)]):
            yield _copied(document, text, same, copy, repeat if repeat >= len(kept) else None)
            made += 1
            if made >= number:
                return


def _copied(document: Document, text: str, same: set[str], copy: int, repeat: int | None) -> Document:
    """A document about other things: ids, digests and names carry the number of the copy."""

    def id_of(found: re.Match[str]) -> str:
        return found[0] if found[0] in same else f"{found[0][:-6]}{copy:06x}"

    def hex_of(found: re.Match[str]) -> str:
        return found[0] if found[0] in same else f"{copy:08x}{found[0][8:]}"

    def name_of(found: re.Match[str]) -> str:
        return f"{found[0]}{copy:x}-" if found[0] == "uid-" else f"{found[0]}-{copy:x}"

    def changed(value: str) -> str:
        return _NAME.sub(name_of, _HEX.sub(hex_of, _ID.sub(id_of, value)))

    body = orjson.loads(changed(text))
    id_ = changed(document.id)
    if repeat is not None:  # older history of the same things
        id_ = f"{id_}r{repeat}"
        body["event.id"] = id_
    return Document(document.home, id_, document.time, body, document.version)


def subject_of(of: Question, copy: int) -> str:
    """What a question is asked about: of one copy."""
    if not of.needs_subject:
        return ""
    return f"r.example/pay-{copy:x}/api:1" if "image" in of.subjects else f"workload:shop-{copy:x}/api"


def asked_of(reader: RecordReader, copies_made: int) -> list[dict[str, object]]:
    """A row per question."""
    rows: list[dict[str, object]] = []
    for of in QUESTIONS:
        taken: list[float] = []
        found = 0
        for turn in range(ROUNDS):
            text = subject_of(of, (turn * 7919) % copies_made)
            began = time.perf_counter()
            subject = resolve(reader, text) if text else None
            moment: dict[str, Any] = {"at": at(46)} if of.of_instant and turn % 2 else {}
            found += len(ask(reader, of, Asked(subject=subject, now=at(60), **moment)).rows)
            taken.append(time.perf_counter() - began)
        taken.sort()
        p95 = taken[int(len(taken) * 0.95) - 1]
        rows.append(
            {
                "name": f"ask {of.number} {of.name}, p95 seconds",
                "ours_per_s": None,
                "p95_s": p95,
                "median_s": statistics.median(taken),
                "slowest_s": taken[-1],
                "rows": found // ROUNDS,
                "goal": GOAL_SECONDS,
                "met": p95 <= GOAL_SECONDS,
            }
        )
    return rows


def written(sink: RecordSink | Space, number: int) -> None:
    """Write them."""
    documents = copies(number)
    while chunk := list(islice(documents, CHUNK)):
        sink.write(chunk)


@contextmanager
def in_sqlite(number: int) -> Iterator[tuple[RecordReader, int]]:
    with tempfile.TemporaryDirectory(prefix="revet-bench-") as folder, ExitStack() as opened:
        connection = sqlite3.connect(Path(folder) / "record.sqlite", isolation_level=None)
        opened.callback(connection.close)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -300000"):  # only while it is filled
            connection.execute(f"PRAGMA {pragma}")
        sink, reader = SqliteRecord(connection), SqliteReader(connection)
        connection.execute("BEGIN")
        written(sink, number)
        connection.execute("COMMIT")
        connection.execute("PRAGMA cache_size = -2000")  # the default, as commands have it
        yield reader, copies_in(reader)


@contextmanager
def in_elasticsearch(number: int) -> Iterator[tuple[RecordReader, int]]:
    with node() as url:
        space = Space.fresh(url)
        space.set_up()
        try:
            written(space, number)
            with connect(space.settings) as server:
                reader = ElasticsearchReader(server, space.names)
                reader.refresh()
                yield reader, copies_in(reader)
        finally:
            space.close()


def copies_in(reader: RecordReader) -> int:
    """How many times the day is there in full."""
    return len(reader.groups(HOMES["images"], EVERYTHING, ("provenance.image.repository",))) // 3 - 1


def run(number: int = 1_000_000, place: Callable[[int], Any] = in_sqlite) -> list[dict[str, object]]:
    with place(number) as (reader, copies_made):
        return [{**row, "records": number} for row in asked_of(reader, max(copies_made, 1))]


if __name__ == "__main__":
    numbers = [int(word.replace("_", "")) for word in sys.argv[1:] if not word.startswith("-")]
    where = in_elasticsearch if "--elasticsearch" in sys.argv else in_sqlite
    for line in run(numbers[0] if numbers else 1_000_000, where):
        print(json.dumps(line), flush=True)
