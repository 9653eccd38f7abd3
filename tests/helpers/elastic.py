"""A record in a real Elasticsearch, emptied for every test: one namespace per process, since streams cannot be deleted.

use(elastic_server.url)                   once per test, before the first record
sink, reader = elastic_record()           empty; what the sink writes is searchable at once
"""

import atexit
import time
import uuid
from collections.abc import Iterable
from functools import cache

import orjson

from streams.elastic import connect, url_path
from streams.queries.elasticsearch import ElasticsearchReader
from streams.queries.port import RecordReader
from streams.settings import ElasticsearchSettings
from streams.sinks.document import Document
from streams.sinks.elasticsearch import ElasticSink, Limits
from streams.sinks.fields import CURRENT
from streams.sinks.mapping import Names, Shape, state_index, templates
from streams.sinks.port import RecordSink

_URL: list[str] = []


def use(url: str) -> None:
    """The node every further record is kept in."""
    _URL[:] = [url]


def elastic_record() -> tuple[RecordSink, RecordReader]:
    """An empty record in the node of `use`."""
    space = _space(_URL[0])
    space.wipe()
    return space, ElasticsearchReader(space.server, space.names)


@cache
def _space(url: str) -> "Space":
    space = Space(url)
    atexit.register(space.close)
    return space


class Space:
    """A namespace of its own, set up; implements `RecordSink` and makes what it wrote searchable."""

    def __init__(self, url: str) -> None:
        settings = ElasticsearchSettings(url=url, namespace=f"c{uuid.uuid4().hex[:10]}")
        self.names = Names(settings.namespace)
        self.server = server = connect(settings)
        for piece in templates(self.names, Shape(replicas=0, lifecycle=False)):
            server.call("PUT", piece.path, body=piece.body)
        for home in CURRENT:
            index = url_path(self.names.index(home))
            server.call("PUT", index, body=state_index(self.names, home) | {"settings": {"index.gc_deletes": "0s"}})
        self._sink = ElasticSink(settings, Limits(patience=30.0), refresh=True)

    def write(self, documents: Iterable[Document]) -> None:
        """See `RecordSink.write`."""
        self._sink.write(documents)

    def wipe(self) -> None:
        """Delete every document. Deleted versions are remembered for a moment, and forgotten with a refresh."""
        everywhere = url_path(f"{self.names.all_history},{self.names.all_state}")
        params = {"size": 10_000, "_source": "false"}
        while hits := self.server.call("POST", f"{everywhere}/_search", params=params).body["hits"]["hits"]:
            lines = [orjson.dumps({"delete": {"_index": hit["_index"], "_id": hit["_id"]}}) for hit in hits]
            self.server.call("POST", "/_bulk", body=lines)
            time.sleep(0.3)
            self.server.call("POST", f"{everywhere}/_refresh")

    def close(self) -> None:
        self._sink.close()
        self.server.close()
