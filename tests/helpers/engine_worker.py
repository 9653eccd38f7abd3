"""A worker of the engine as a process of its own, for tests that end it: `Tally` over observations, until SIGTERM.

    python -m tests.helpers.engine_worker ENGINE BOOTSTRAP PREFIX SHARDS NAME

Prints `restored SHARD ROWS` and `ended REASON`; the exit code is the one a process of the clustered mode would have.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from streams.engine.aiokafka import AiokafkaSource
from streams.engine.faust import FaustSource
from streams.engine.lanes import LaneOptions, NoMeter, ShardSpec
from streams.engine.link import KafkaLink
from streams.engine.worker import ShardWorker
from streams.settings import KafkaSettings
from streams.topics import OBSERVATIONS, STATE
from tests.helpers.engineworld import MADE, PART, Tally
from verifier.errors import RevetError


class Printed(NoMeter):
    def restored(self, shard: int, rows: int, seconds: float) -> None:
        print(f"restored {shard} {rows}", flush=True)


async def work(engine: str, settings: KafkaSettings, name: str) -> None:
    source = (FaustSource if engine == "faust" else AiokafkaSource)(settings, PART, (OBSERVATIONS,))
    worker = ShardWorker(
        ShardSpec((OBSERVATIONS,), STATE, settings.partitions, name), KafkaLink(settings, MADE), source, Tally,
        options=LaneOptions(batch=20, close_seconds=2.0), meter=Printed(),
    )  # fmt: skip
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await worker.run(stop)


def main(engine: str, bootstrap: str, prefix: str, shards: str, name: str) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = KafkaSettings(bootstrap=bootstrap, prefix=prefix, partitions=int(shards), session_timeout_seconds=6)
    try:
        asyncio.run(work(engine, settings, name))
    except Exception as error:
        logging.getLogger(__name__).exception("ended")
        print(f"ended {type(error).__name__}: {error}", flush=True)
        return error.exit_code if isinstance(error, RevetError) else 70
    print("ended well", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
