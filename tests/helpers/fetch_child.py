"""A fetcher, or a writer of evidence, as a process of its own: to be killed, and to race with others of its kind.

    child = Child(folder / "out", "write", STORE, 0)
    child = Child(folder / "out", "fetch", STORE, ORIGIN, 1)
    child.finished()

Both work through everything in an order of their own, and say one line per piece of work that is durable.
"""

import asyncio
import itertools
import json
import multiprocessing
import random
import sys
import time
from pathlib import Path
from typing import Any

from streams.events import EvidenceFound, EvidenceWanted
from streams.fetcher import FetchOptions, FetchWorker
from streams.fetching import EvidenceAnswerer
from streams.places import open_store
from tests.helpers.cluster import DEMO_DATA
from tests.helpers.fetching import Bench, FakeSeen, digest
from verifier.adapters.registry import RegistryOptions, RegistryPlace
from verifier.evidence.identity import evidence_id
from verifier.evidence.keys import load_public_key
from verifier.models import Evidence
from verifier.oci.manifests import IndexChild
from verifier.oci.media import digest_of
from verifier.reference import parse_reference
from verifier.trust.records import KeyPut

DIGESTS, PIECES = 6, 4
REPOSITORY = "r.example/raced"


def pieces() -> list[Evidence]:
    """What every writer writes: some of it the same bytes at several digests."""
    made = []
    for number in range(DIGESTS):
        for piece in range(PIECES):
            payload = f"{piece if piece == 0 else (number, piece)}".encode()
            name = evidence_id(digest_of(payload), {})
            made.append(Evidence(name, "sigstore-bundle", REPOSITORY, digest(number), payload))
    return made


def time_of(piece: Evidence, writer: int) -> int:
    """When a writer saw a piece first: each another one first."""
    return 1000 + (sum(piece.id.encode()) * (writer + 3) * 37) % 997


def links() -> list[IndexChild]:
    return [IndexChild(digest(90 + number % 2), digest(number), f"linux/a{number}") for number in range(DIGESTS)]


def write(named: str, writer: int) -> None:
    chance = random.Random()
    with open_store(named, RegistryOptions(plain_http=frozenset("*"))) as store:
        work = [*pieces(), *pieces()]
        chance.shuffle(work)
        for piece in work:
            store.put(piece, time_of(piece, writer))
            print(piece.id, piece.subject, flush=True)
        for child in links():
            store.link(REPOSITORY, [child])
        print("done", flush=True)


def images() -> list[tuple[str, str]]:
    """(reference, digest) of the recorded images."""
    return [(row["reference"], row["digest"]) for row in json.loads((DEMO_DATA / "images.json").read_text())]


async def fetch(named: str, origin: str, seed: int) -> None:
    seen = FakeSeen()
    for path in sorted((DEMO_DATA / "keys").glob("*.pub")):
        record = key_record(path.stem, path.read_text())
        seen.trust, _ = seen.trust.apply(record, seen.trust.epoch + 1)
    registries = {parse_reference(reference).registry for reference, _ in images()}
    options = RegistryOptions(plain_http=frozenset("*"), mirrors=dict.fromkeys(registries, origin))
    bench = Bench()  # its requests only
    with open_store(named, options) as store:
        async with RegistryPlace(options) as place:
            answerer = EvidenceAnswerer(place, store, lambda: seen.trust, bench_clock)
            worker = FetchWorker(answerer, seen, FetchOptions(at_once=8))
            work = images()
            random.Random(seed).shuffle(work)
            for start in range(0, len(work), 5):
                wanted = [
                    EvidenceWanted("id", 1, parse_reference(reference).repository, image, reference)
                    for reference, image in work[start : start + 5]
                ]
                effects = await worker.handle(bench.records(*wanted))
                for out in effects.outputs:
                    assert isinstance(out.event, EvidenceFound)
                    print(json.dumps(shown(out.event)), flush=True)
            worker.close()
    print("done", flush=True)


def bench_clock() -> int:
    return 2


def key_record(name: str, pem: str) -> KeyPut:
    return KeyPut(author="test", at=1, name=name, key_id=load_public_key(pem).key_id, pem=pem)


def shown(found: EvidenceFound) -> dict:
    """An answer as text: everything but when."""
    facts = [[fact.evidence_id, list(fact.verified_by), fact.problem] for fact in found.facts]
    return {"digest": found.set.digest, "complete": found.set.complete, "facts": facts, "version": found.set.version}


def run(out: Path, what: str, named: str, *more: Any) -> None:
    with out.open("w") as sys.stdout:
        if what == "write":
            write(named, *more)
        else:
            asyncio.run(fetch(named, *more))


_PROCESSES = multiprocessing.get_context("forkserver")  # a process that has imported all this, and is forked
_PROCESSES.set_forkserver_preload([__name__])
_numbers = itertools.count()


class Child:
    """A process that is running."""

    def __init__(self, folder: Path, *arguments: Any) -> None:
        self._out = folder / f"child-{next(_numbers)}"
        self._out.touch()
        self._process = _PROCESSES.Process(target=run, args=(self._out, *arguments), daemon=True)
        self._process.start()

    def finished(self) -> list[str]:
        """What it said, after it has ended well."""
        self._process.join(100)
        assert self._process.exitcode == 0
        return self._said()

    def killed(self, lines: int, seconds: float) -> list[str]:
        """What it said, killed a moment after it had said so much. A last line may be cut, and is left out."""
        while len(self._said()) < lines and self._process.is_alive():
            time.sleep(0.005)
        time.sleep(seconds)
        self._process.kill()
        self._process.join()
        return self._said()

    def _said(self) -> list[str]:
        return self._out.read_text().rpartition("\n")[0].splitlines()
