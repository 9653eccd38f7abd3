"""The report of a large fleet: the time from the record to the page, and the size of the file.

    python -m tests.bench.bench_report [CONTAINERS]

The record is the small day of `tests.helpers.questionday`, played by the real handlers and repeated: every copy has
its own containers, ten copies share a namespace, twenty the images with their evidence, verdicts, findings and
incidents. So 300,000 containers are about 10,000 images in 10,000 namespaces. What is measured is `report` and
`page`, without the start of the process. The bare read beside it counts the same containers by place and verdict in
one statement.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final

from dashboards.report import page
from streams.queries.report import Wanted, report
from streams.queries.sqlite import SqliteReader
from streams.sinks.document import Document
from streams.sinks.fields import HOMES
from streams.sinks.sqlite import SqliteRecord
from tests.bench.templates import named_in, template
from tests.helpers.questionday import TWO, at, played

GOAL_SECONDS: Final = 10.0
GOAL_BYTES: Final = 5_000_000
PER_NAMESPACE: Final = 10
PER_IMAGE: Final = 20
ILL: Final = 10
"""One copy in so many is the whole day, in which two of four containers violate and one cannot be told; in the others
all is well.
"""
CHUNK: Final = 20_000


def documents(containers: int) -> Iterator[Document]:
    """A record with this many containers."""
    day = played("memory").written
    once = [d for d in day if d.home in (HOMES["trust"], HOMES["feeds"])]
    yield from once
    same = named_in(once) - {TWO.removeprefix("sha256:")}
    newest = {(d.home, d.id): d for d in day if d.home not in (HOMES["trust"], HOMES["feeds"])}
    fine = {(d.home, d.id): d for d in day if d.body.get("provenance.verdict") == "valid"}
    kept = [template(d, same) for d in newest.values()]
    running = [t for t in kept if t.document.home in (HOMES["containers"], HOMES["lifecycle"])]
    healthy = [template(d, same) for d in fine.values() if d.home == HOMES["containers"]]
    made = copy = 0
    while made < containers:
        for one in kept if not copy % PER_IMAGE else running if not copy % ILL else healthy:
            yield one.copy(copy, image=copy // PER_IMAGE, place=copy // PER_NAMESPACE)
            made += one.document.home == HOMES["containers"]
        copy += 1


def run(containers: int = 300_000) -> list[dict[str, object]]:
    """One row: the report of a state file with so many containers."""
    with tempfile.TemporaryDirectory(prefix="revet-bench-") as folder:
        file = Path(folder) / "record.sqlite"
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            written = write_record(connection, containers)
            began = time.perf_counter()
            bare = connection.execute(_BARE, (HOMES["containers"],)).fetchall()
            reference = time.perf_counter() - began
            began = time.perf_counter()
            made = report(SqliteReader(connection), Wanted(at(0), at(60), at(60), at(60)))
            gathered = time.perf_counter() - began
            text = page(made).encode()
            taken = time.perf_counter() - began
    return [
        {
            "name": "report, seconds",
            "ours_per_s": None,
            "containers": sum(row[-1] for row in bare),
            "documents": written,
            "seconds": taken,
            "gathering_s": gathered,
            "bare_count_s": reference,
            "bytes": len(text),
            "goal": GOAL_SECONDS,
            "met": taken <= GOAL_SECONDS and len(text) <= GOAL_BYTES,
        }
    ]


_BARE: Final = (
    "SELECT cluster, namespace, workload, repository, digest, verdict, count(*) FROM record WHERE home = ?"
    " GROUP BY 1, 2, 3, 4, 5, 6"
)


def write_record(connection: sqlite3.Connection, containers: int) -> int:
    """Write such a record; returns the number of documents."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    sink, written = SqliteRecord(connection), 0
    made = documents(containers)
    connection.execute("BEGIN")
    while chunk := list(islice(made, CHUNK)):
        sink.write(chunk)
        written += len(chunk)
    connection.execute("COMMIT")
    return written


if __name__ == "__main__":
    for line in run(int(sys.argv[1].replace("_", "")) if len(sys.argv) > 1 else 300_000):
        print(json.dumps(line), flush=True)
