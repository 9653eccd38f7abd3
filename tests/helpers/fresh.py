"""Names nobody else has on the servers that all tests share, and the end of what was made under them.

A broker that holds every topic of a whole test run spends its time on them: after some fifty files, making sixteen
topics took longer than ten seconds. So each file leaves its servers as it found them (`leave_nothing`, called by
tests/conftest.py when the last test of a file is over).
"""

from __future__ import annotations

import uuid
from typing import Final

from streams.elastic import connect, url_path
from streams.settings import ElasticsearchSettings
from streams.sinks.mapping import Names

SHARED: Final[set[str]] = set()
"""Addresses of the servers of this run; a private server goes away as a whole."""
_prefixes: Final[dict[str, list[str]]] = {}
_namespaces: Final[dict[str, list[str]]] = {}


def fresh_prefix(bootstrap: str, mark: str = "t") -> str:
    """A prefix of topics on the broker at `bootstrap`."""
    prefix = f"{mark}{uuid.uuid4().hex[:8]}."
    _prefixes.setdefault(bootstrap, []).append(prefix)
    return prefix


def fresh_namespace(url: str, mark: str = "s") -> str:
    """A namespace of indices on the node at `url`."""
    namespace = f"{mark}{uuid.uuid4().hex[:10]}"
    _namespaces.setdefault(url, []).append(namespace)
    return namespace


def leave_nothing() -> None:
    """Delete what stands on shared servers under the names this process has given out so far."""
    for bootstrap in SHARED & _prefixes.keys():
        _delete_topics(bootstrap, tuple(_prefixes.pop(bootstrap)))
    for url in SHARED & _namespaces.keys():
        _delete_indices(url, _namespaces.pop(url))


def _delete_topics(bootstrap: str, prefixes: tuple[str, ...]) -> None:
    # Not above: by now whoever made topics has imported streams.kafka, which knows what the client warns of.
    from kafka import KafkaAdminClient  # noqa: PLC0415 - see above

    admin = KafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=60_000)
    try:
        if mine := [name for name in admin.list_topics() if name.startswith(prefixes)]:
            admin.delete_topics(mine)
    finally:
        admin.close()


def _delete_indices(url: str, namespaces: list[str]) -> None:
    """The current state; the small server has no API that deletes data streams."""
    with connect(ElasticsearchSettings(url=url)) as server:
        everything = url_path(",".join(Names(namespace).all_state for namespace in namespaces))
        there = server.call("GET", f"{everything}/_alias", params={"allow_no_indices": "true"}).body
        for index in there:
            server.call("DELETE", url_path(index))
