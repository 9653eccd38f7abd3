"""Worker processes killed, stopped and joined under load, the broker killed in the middle: every input exactly once.

Small and seeded here; with REVET_FAULTS=full, fifty kills for each engine.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scripts.servers.kafka import Broker
from tests.helpers.enginechaos import Crew
from tests.helpers.engineworld import KafkaPlace, kafka_settings, make_topics, many

pytestmark = [pytest.mark.asyncio, pytest.mark.needs("kafka"), pytest.mark.kill]

FULL = os.environ.get("REVET_FAULTS") == "full"


@asynccontextmanager
async def a_crew(engine: str, broker: Broker, folder: Path, seed: int) -> AsyncIterator[Crew]:
    settings = kafka_settings(broker.bootstrap, shards=6)
    await make_topics(settings)
    place = KafkaPlace(engine, settings)
    await place.outside.start()
    crew = Crew(place, folder, seed)
    try:
        yield crew
        await crew.home()
    finally:
        crew.kill_all()
        await place.outside.stop()


@pytest.mark.timeout(3600 if FULL else 300)
@pytest.mark.parametrize("engine", ["aiokafka", "faust"])
async def test_every_input_is_accounted_for_once_in_a_storm(
    engine: str, kafka_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    seconds, kills, each = (150.0, 50, 2500) if FULL else (16.0, 4, 300)
    broker = kafka_broker()
    async with a_crew(engine, broker, tmp_path, seed=7) as crew:
        inputs = many([f"k{n}" for n in range(40)], each)
        await crew.storm(inputs, seconds, kills, broker)
        repeated = await crew.drain(inputs)
        print(f"{engine}: {len(inputs)} inputs, {repeated} said again, {dict(crew.did)}")
