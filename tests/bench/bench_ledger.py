"""The ledger beside the bare hash loop over the same records, in the same run.

    python -m tests.bench.bench_ledger

* `entries and batches`: entries, packs, tree, header, signed checkpoint, of documents in memory; beside canonical
  bytes and SHA-256 of the same documents, which nobody can do without.
* `verify, SQLite`: a whole check of a state file (log, every document with every column that searches use, signatures);
  beside reading every document of the same file, its canonical bytes and SHA-256. (A check hashes a body as it lies
  there, and makes its canonical bytes only where that is not the hash that was sealed; the loop beside it makes them
  always, as whoever does not know how the file was written has to.)

Rounds of both alternate and the best of each counts, so that a busy machine slows neither side more than the other.
"""

from __future__ import annotations

import gc
import json
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import orjson

from streams.garbage import settle_collector
from streams.ledger.chain import Chain
from streams.ledger.checking import Checker
from streams.ledger.custody import begun
from streams.ledger.entries import canonical_body, entries_of, packed
from streams.ledger.sealing import Pace, Sealer
from streams.sinks.document import Document
from tests.helpers.ledgered import NAME, START, SqlitePlace, decisions

GOAL = 0.5
ROUNDS = 5
SECOND_ROUNDS = 3


def best_of(rounds: int, *work: Callable[[], object]) -> list[float]:
    """CPU seconds of the best round of each, rounds alternating."""
    best = [float("inf")] * len(work)
    for _ in range(rounds):
        for place, run in enumerate(work):
            gc.collect()
            start = time.process_time()
            run()
            best[place] = min(best[place], time.process_time() - start)
    return best


def row(name: str, number: int, ours: float, bare: float) -> dict[str, object]:
    ratio = bare / ours
    return {
        "name": name,
        "ours_per_s": round(number / ours),
        "reference_per_s": round(number / bare),
        "ratio": round(ratio, 2),
        "goal": GOAL,
        "met": ratio >= GOAL,
    }


def sealing(base: Path, made: list[Document]) -> dict[str, object]:
    key = SqlitePlace(base).key

    def bare() -> None:
        for one in made:
            sha256(canonical_body(one.body)).digest()

    def ours() -> None:
        chain = Chain()
        for pack in packed([begun(NAME, key.key, "bench", START)], START):
            chain.take(pack)
        sealer = Sealer(key, Pace())
        for start in range(0, len(made), 1000):
            for pack in packed(entries_of(made[start : start + 1000]), START):
                chain.take(pack)
            if chain.pending >= 10_000 or start + 1000 >= len(made):
                chain.take(sealer.batch(chain, START, force=True))
                chain.take(sealer.checkpoint(chain))

    bare_s, ours_s = best_of(ROUNDS, bare, ours)
    return row(f"ledger: entries and batches, {len(made):,} records", len(made), ours_s, bare_s)


def verifying(base: Path, made: list[Document]) -> dict[str, object]:
    place = SqlitePlace(base, Pace())
    for start in range(0, len(made), 10_000):
        place.write(made[start : start + 10_000])
        place.seal()

    def bare() -> None:
        for (body,) in place.connection.execute("SELECT body FROM record"):
            sha256(canonical_body(orjson.loads(body))).digest()

    def ours() -> None:
        report = Checker(place.log(), place.store(), (place.key.key,), place.folder.notes()).check(
            None, None, place.now
        )
        assert report.fine
        assert report.records == len(made)

    bare_s, ours_s = best_of(SECOND_ROUNDS, bare, ours)
    return row(f"ledger: verify, SQLite, {len(made):,} records", len(made), ours_s, bare_s)


def run(number: int = 50_000) -> list[dict[str, object]]:
    settle_collector()  # as every process of revet does
    made = list(decisions(number))
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        return [sealing(Path(one), made), verifying(Path(other), made)]


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
