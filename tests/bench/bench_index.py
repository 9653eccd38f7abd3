"""The record's bulk loop beside a bare one that writes the same documents to the same node in the same run.

    python -m tests.bench.bench_index

State and history as the makers write them for containers. The bare loop serialises with orjson, keeps two requests of
1,000 documents in flight and looks at nothing but `errors`. Rounds alternate; the best of each counts. The node is
REVET_TEST_ELASTICSEARCH, or one started for this.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import orjson

from streams.elastic import connect_async
from streams.events import ContainerChanged, Owner, PolicyVerdict
from streams.sinks.document import Document
from streams.sinks.documents import documents
from streams.sinks.elasticsearch import ElasticRecord, Limits, Versioned
from tests.helpers.elasticspace import Space
from tests.helpers.servers import private_node

GOAL = 0.7
ROUNDS = 4
CHUNK = 1_000
START = 1_790_000_000_000_000

CONTAINER = ContainerChanged(
    id="", time=START, sequence=1, cluster="prod-eu", namespace="payments", pod="api-6c4f7d-x2x8z", pod_uid="u",
    owner=Owner("Deployment", "api"), node="node-17", service_account="default", kind="main", name="app",
    image="registry.example.com/payments/api:1.4.2", repository="registry.example.com/payments/api",
    digest="sha256:" + "ab" * 32, state="running", started=START, ended=None, end_reason="", class_id="v1:class",
    labels=(("app", "api"), ("team", "payments")),
    verdicts=(PolicyVerdict("signed", "v1", "violates", ("unsigned",)), PolicyVerdict("sbom", "v1", "valid")),
)  # fmt: skip


def made(number: int, mark: str) -> list[Document]:
    """For half as many containers: state and start of each."""
    found: list[Document] = []
    for n in range(number // 2):
        event = msgspec.structs.replace(CONTAINER, id=f"{mark}{n:07}", pod_uid=f"uid-{n}", pod=f"api-{n}")
        found += documents(event)
    return found


async def bare(space: Space, written: list[Document]) -> None:
    targets = {home: space.names.target(home) for home in {document.home for document in written}}
    free = asyncio.Semaphore(2)

    async def send(part: list[Document]) -> None:
        async with free:
            lines = []
            for document in part:
                action = {"_index": targets[document.home], "_id": document.id}
                if document.version is None:
                    lines.append(orjson.dumps({"create": action}))
                else:
                    more = {"version": document.version, "version_type": "external_gte"}
                    lines.append(orjson.dumps({"index": action | more}))
                lines.append(orjson.dumps(document.body))
            answer = await server.call("POST", "/_bulk", params={"filter_path": "errors"}, body=lines)
            assert answer.body["errors"] is False

    async with connect_async(space.settings) as server:
        await asyncio.gather(*(send(written[n : n + CHUNK]) for n in range(0, len(written), CHUNK)))


async def ours(space: Space, written: list[Document]) -> None:
    async with connect_async(space.settings) as server:
        record = ElasticRecord(server, space.names, Limits(documents=CHUNK))
        told = await record.write([Versioned(document) for document in written])
        assert told.stored == len(written)


@contextmanager
def node() -> Iterator[str]:
    if given := os.environ.get("REVET_TEST_ELASTICSEARCH"):
        yield given
        return
    with private_node(heap="1g", quick=False) as started:
        yield started.url


def run(number: int = 40_000) -> list[dict[str, object]]:
    with node() as url:
        space = Space.fresh(url)
        space.set_up()
        wall = {bare: 0.0, ours: 0.0}
        client = {bare: 0.0, ours: 0.0}
        for turn in range(ROUNDS):
            for loop in (bare, ours) if turn % 2 else (ours, bare):
                speed, cpu = measured(loop, space, made(number, f"{loop.__name__}-{turn}-"))
                wall[loop], client[loop] = max(wall[loop], speed), max(client[loop], cpu)
        space.close()
    ratio = wall[ours] / wall[bare]
    return [
        {
            "name": "documents into Elasticsearch, per second",
            "ours_per_s": wall[ours],
            "reference_per_s": wall[bare],
            "ratio": ratio,
            "goal": GOAL,
            "met": ratio >= GOAL,
            "ours_per_client_cpu_s": client[ours],
            "reference_per_client_cpu_s": client[bare],
            "documents": number,
        }
    ]


def measured(loop: Callable, space: Space, written: list[Document]) -> tuple[float, float]:
    """Documents per second, and per second of this process's CPU."""
    began, cpu = time.perf_counter(), time.process_time()
    asyncio.run(loop(space, written))
    return len(written) / (time.perf_counter() - began), len(written) / (time.process_time() - cpu)


if __name__ == "__main__":
    for row in run():
        print(json.dumps(row))
