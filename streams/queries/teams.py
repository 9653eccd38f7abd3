"""Whose a namespace is now, by its labels in the record and the routing table. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from alerting.routing import Routes, team_of
from streams.queries.conditions import EVERYTHING, one_of
from streams.queries.port import RecordReader, every
from streams.queries.reading import CHUNK, text_of
from streams.sinks.fields import HOMES


class Teams:
    """Of the namespaces of some (cluster, namespace). Raises as `RecordReader.find`."""

    def __init__(self, reader: RecordReader, routes: Routes, places: Iterable[tuple[str, str]]) -> None:
        self._routes = routes
        self._labels: dict[tuple[str, str], dict[str, str]] = {}
        names = {namespace for _, namespace in places}
        where = one_of("namespace", names) if len(names) <= CHUNK else EVERYTHING
        for hit in every(reader, HOMES["namespaces"], where):
            labels = hit.body.get("kubernetes.namespace_labels")
            key = (text_of(hit.body, "cluster"), text_of(hit.body, "namespace"))
            self._labels[key] = labels if isinstance(labels, dict) else {}

    def __call__(self, cluster: str, namespace: str) -> str:
        """The team of a namespace."""
        labels = self._labels.get((cluster, namespace), {})
        return team_of(cluster, namespace, labels, self._routes).team
