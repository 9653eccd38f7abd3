"""Processes and servers of the cluster killed under load: every input is in the record exactly once, and judged right.

Real processes on a real broker and a real node. The same input is given to the single-machine mode, which nobody
disturbs; both records must say the same of every container, class, finding and incident. With REVET_FAULTS=full there
are fifty kills and a load to match.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import pytest

from scripts.servers.elasticsearch import Node
from scripts.servers.kafka import Broker
from tests.helpers.crew import FULL, Crew, Member, Moody, until
from tests.helpers.disturbed import PARTS, Disturb, Run, cluster_of, play
from tests.helpers.servers import private_broker, private_node

pytestmark = [
    pytest.mark.needs("kafka", "elasticsearch"),
    pytest.mark.kill,
    pytest.mark.slow,
    pytest.mark.timeout(3600 if FULL else 900),
]

KILLS = 50 if FULL else 6


# ----------------------------------------------------------------------------------------------------------- processes


async def kill_one(crew: Crew, chance: random.Random) -> None:
    """Somebody, at some instant of its work; now and then while it is still starting."""
    victim: Member = chance.choice(crew.members)
    if chance.random() < 0.8:
        await until(victim.is_ready, 240, crew.told, crew.tend, pause=0.05)
    await asyncio.sleep(chance.uniform(0, 1.0))
    crew.kill(victim)


def test_processes_killed_at_random_instants(kafka_server, elastic_server, tmp_path):
    run = Run(cluster_of(kafka_server.bootstrap, elastic_server.url, tmp_path), tmp_path, seed=11)
    play(run, KILLS, kill_one, run.told_once)
    assert run.crew.kills >= KILLS - 1


# ------------------------------------------------------------------------------------------------------------- servers


def between(steps: int, *acts: Callable[[], object]) -> Disturb:
    """The acts one after the other, spread over the steps of a load; each runs beside what goes on."""
    waiting = list(acts)
    every = max(1, steps // (len(acts) + 1))
    calls = [0]

    async def disturb(_crew: Crew, chance: random.Random) -> None:
        calls[0] += 1
        await asyncio.sleep(chance.uniform(0.1, 0.6))
        if waiting and calls[0] % every == 0:
            await asyncio.to_thread(waiting.pop(0))

    return disturb


def again(server: Broker | Node) -> None:
    """Power loss, a while of darkness, and the same data."""
    server.kill()
    time.sleep(20 if FULL else 2)
    server.start()


def test_broker_killed_under_load(elastic_server, tmp_path):
    """Senders wait, processes wait or start again; nothing that was acknowledged is lost, nothing is told twice."""
    times = 4 if FULL else 1
    with private_broker() as broker:
        run = Run(cluster_of(broker.bootstrap, elastic_server.url, tmp_path), tmp_path, seed=12)
        play(run, 3 * times + 3, between(3 * times + 3, *[lambda: again(broker)] * times), run.told_once)


def test_record_killed_under_load(kafka_server, tmp_path):
    """Alerts go on; the indexer waits and writes what came meanwhile."""
    times = 4 if FULL else 1
    with private_node() as node:
        run = Run(cluster_of(kafka_server.bootstrap, node.url, tmp_path), tmp_path, seed=13)
        play(run, 3 * times + 3, between(3 * times + 3, *[lambda: again(node)] * times))
        assert all(member.ends == [] for member in run.crew.members), run.crew.told()


def test_record_that_answers_429_and_503(kafka_server, elastic_server, tmp_path):
    """Two minutes each in full; then a while in which what was written is never confirmed."""
    seconds = 120 if FULL else 4
    with Moody(elastic_server.url) as moody:
        cluster = cluster_of(kafka_server.bootstrap, elastic_server.url, tmp_path)
        run = Run(cluster, tmp_path, seed=14)
        run.crew = Crew(cluster, *PARTS, REVET_ELASTICSEARCH_URL=moody.url)

        def answers(status: int | None, cut: bool = False) -> None:
            moody.answer, moody.cut = status, cut
            time.sleep(seconds)
            moody.answer, moody.cut = None, False

        play(run, 12, between(12, lambda: answers(429), lambda: answers(503), lambda: answers(None, cut=True)))
        assert moody.refused[429]
        assert moody.refused[503]
        assert moody.forwarded
        assert all(member.ends == [] for member in run.crew.members), run.crew.told()
