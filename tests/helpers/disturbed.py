"""One load through one cluster of real processes, with something that disturbs it; and what must hold afterwards.

run = Run(cluster_of(bootstrap, url, folder), folder, seed=11)
play(run, 6, disturb, run.told_once)      sends in 6 parts, calls `disturb` after each, compares with one process
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from streams.outputs import output
from streams.queries.port import RecordReader
from tests.helpers.crew import FULL, Crew, posts, settled, until
from tests.helpers.load import (
    PLATFORM,
    SOURCE,
    Load,
    Told,
    chains,
    documents,
    first_trust,
    judged_by_one,
    load,
    revocation,
    told,
)
from tests.helpers.pipeline import Cluster
from verifier.errors import PlaceUnavailable
from verifier.times import MINUTE

WORKLOADS: Final = 400 if FULL else 40
PARTS: Final = ("judge", "judge", "fetch", "index", "alert")
Disturb = Callable[[Crew, random.Random], Awaitable[None]]


def cluster_of(bootstrap: str, url: str, folder: Path) -> Cluster:
    """Topics and indices of its own, evidence from the demo's images."""
    evidence = {"REVET_EVIDENCE_SOURCE": SOURCE, "REVET_EVIDENCE_PLATFORM": PLATFORM}
    made = Cluster(bootstrap, url, folder / "cluster", 4, **evidence)
    for left in (3, 2, 1, 0):
        try:
            made.prepare()
        except PlaceUnavailable:  # a node that is shared by a whole test run may be out of breath
            if not left:
                raise
        else:
            break
    return made


class Run:
    """The load, the processes, and what one undisturbed process says of the same."""

    def __init__(self, cluster: Cluster, folder: Path, seed: int, workloads: int = WORKLOADS) -> None:
        self.cluster, self._folder = cluster, folder
        self.seed = seed
        self._at = time.time_ns() // 1000
        self.load: Load = load(workloads=workloads, pods=3, seed=seed, at=self._at)
        self.crew = Crew(cluster, *PARTS)
        self.expected: Told | None = None

    async def play(self, steps: int, disturb: Disturb) -> None:
        """Send everything in `steps` parts; a revocation comes in the middle."""
        cluster, crew, chance = self.cluster, self.crew, random.Random(self.seed)
        await cluster.link.start()
        first = first_trust(cluster.gate.trust, self._at)
        await cluster.trust(first, self._at)
        later = revocation(cluster.gate.trust, self._at)
        judged = judged_by_one(self._folder, self.load.events, [first, later], self._at + MINUTE)
        reference = asyncio.create_task(asyncio.to_thread(asyncio.run, judged))
        await crew.ready()
        for number, part in enumerate(self.load.parts(steps)):
            await cluster.send([output(event) for event in part])
            if number == steps // 2:
                await cluster.trust(later, self._at)
            await disturb(crew, chance)
        self.expected = await reference
        await settled(cluster, crew)

    async def verify(self) -> None:
        """The record says what one process says, and holds every input once."""
        expected = self.wanted()
        differs: list[str] = []

        def is_same() -> bool:
            with self.cluster.reader() as reader:
                differs[:] = told(reader).against(expected)
            return not differs

        await until(is_same, 120, lambda: "\n".join([*differs[:20], self.crew.told()]), self.crew.tend, pause=1.0)
        with self.cluster.reader() as reader:
            found = told(reader)
            assert found.decisions == self.load.decisions
            assert found.containers.keys() == self.load.containers
            assert chains(reader) == []

    async def told_once(self) -> None:
        """Every incident was posted, once per destination."""
        with self.cluster.reader() as reader:
            names = _short_ids(reader, self.wanted())

        def missing() -> set[str]:
            said = posts(self.crew.shown())
            return names - {incident for incident, _ in (*said.plain, *said.perhaps)}

        await until(lambda: not missing(), 180, lambda: f"{missing()} in\n{self.crew.shown()}", self.crew.tend)
        twice = {place: times for place, times in posts(self.crew.shown()).plain.items() if times > 1}
        assert twice == {}, self.crew.shown()

    def wanted(self) -> Told:
        """What one process says."""
        assert self.expected is not None
        return self.expected


def _short_ids(reader: RecordReader, expected: Told) -> set[str]:
    rows = documents(reader, "incidents")
    return {str(rows[id_].body["provenance.incident.short_id"]) for id_ in expected.incidents}


def play(run: Run, steps: int, disturb: Disturb, *then: Callable[[], Awaitable[None]]) -> None:
    """Play the load, compare, and whatever comes then; the processes end with it."""

    async def whole() -> None:
        try:
            await run.play(steps, disturb)
            await run.verify()
            for step in then:
                await step()
        finally:
            await run.cluster.link.stop()

    with run.crew:
        asyncio.run(whole())
