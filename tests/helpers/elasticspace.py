"""A namespace in a real Elasticsearch for tests of the writing side: set up as the product does it, looked at raw.

space = Space.fresh(elastic_server.url)          its own namespace; nothing is set up
space.set_up(); space.write(documents)           Written
space.copies("admission")                        id -> the indices that hold it
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from streams.elastic import Server, connect, connect_async, url_path
from streams.settings import ElasticsearchSettings
from streams.sinks.document import Document, document, prepared
from streams.sinks.elasticsearch import ElasticRecord, Limits, Versioned, Written
from streams.sinks.mapping import Names
from streams.sinks.setup import Report, setup
from tests.helpers.fresh import fresh_namespace

QUICK = Limits(first_wait=0.01, longest_wait=0.2, patience=60)
"""Waits for tests."""


def history(id_: str, home: str = "admission", time: int = 1_700_000_000_000_000, **body: object) -> Document:
    """A document of history; underscores in names stand for dots."""
    return document(home, id_, time, prepared({name.replace("__", "."): value for name, value in body.items()}))


def state(id_: str, version: int, home: str = "containers", **body: object) -> Document:
    """A document of state."""
    made = prepared({name.replace("__", "."): value for name, value in body.items()})
    return document(home, id_, 1_700_000_000_000_000, made, version=version)


@dataclass
class Space:
    """One namespace of one cluster."""

    settings: ElasticsearchSettings
    names: Names = field(init=False)

    def __post_init__(self) -> None:
        self.names = Names(self.settings.namespace)

    @classmethod
    def fresh(cls, url: str, **more: Any) -> Space:
        """A namespace nobody has used."""
        return cls(ElasticsearchSettings(url=url, namespace=fresh_namespace(url), replicas=0, **more))

    @cached_property
    def server(self) -> Server:
        """A client of it."""
        return connect(self.settings)

    def set_up(self) -> Report:
        """As `revet index setup`."""
        return setup(self.server, self.settings)

    def write(self, documents: Sequence[Document | Versioned], limits: Limits = QUICK) -> Written:
        """Write and make searchable."""
        return asyncio.run(self.writing(lambda record: record.write(versioned(documents)), limits))

    async def writing(self, work: Callable[[ElasticRecord], Any], limits: Limits = QUICK, **more: Any) -> Any:
        """Something done with a record of this namespace; refreshed afterwards."""
        async with connect_async(self.settings) as server:
            record = ElasticRecord(server, self.names, limits, **more)
            done = await work(record)
            await record.refresh()
            return done

    def copies(self, home: str) -> dict[str, list[str]]:
        """Id -> every index that holds a document of that id."""
        found: dict[str, list[str]] = {}
        for hit in self.hits(home):
            found.setdefault(hit["_id"], []).append(hit["_index"])
        return found

    def hits(self, home: str, query: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Raw hits, at most 10,000, with versions."""
        body = {"query": query or {"match_all": {}}, "size": 10_000, "version": True}
        path = url_path(self.names.target(home), "_search")
        answer = self.server.call("POST", path, body=body, accept=(404,))
        return [] if answer.status == 404 else list(answer.body["hits"]["hits"])

    def count(self, home: str) -> int:
        """Documents."""
        path = url_path(self.names.target(home), "_count")
        return int(self.server.call("GET", path).body["count"])

    def roll_over(self, home: str) -> None:
        """A new backing index."""
        self.server.call("POST", url_path(self.names.target(home), "_rollover"))

    def put_settings(self, target: str, **settings: object) -> None:
        """Dynamic settings, underscores for dots, None takes one away."""
        body = {name.replace("__", "."): value for name, value in settings.items()}
        self.server.call("PUT", url_path(target, "_settings"), body=body)

    def close(self) -> None:
        """End the connections."""
        self.server.close()


def versioned(documents: Sequence[Document | Versioned]) -> list[Versioned]:
    """As the record takes them."""
    return [made if isinstance(made, Versioned) else Versioned(made) for made in documents]
