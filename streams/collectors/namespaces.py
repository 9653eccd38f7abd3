"""Namespaces -> observations: their labels, and the annotations that tell whose they are."""

from __future__ import annotations

import msgspec

from streams.collectors import wire
from streams.events import NamespaceObserved
from verifier.canonical import stable_id


def namespace_observed(
    name: str,
    labels: dict[str, str],
    annotations: dict[str, msgspec.Raw],
    *,
    cluster: str,
    source: str,
    time: int,
    gone: bool = False,
) -> NamespaceObserved:
    """A namespace's labels, with allowed annotations merged in; a label wins over an annotation of the same key."""
    merged = {key: wire.text_of(value) for key, value in annotations.items()} | labels
    content = sorted(merged.items())
    return NamespaceObserved(
        id=stable_id("namespace", cluster, name, [*map(list, content), gone], time),
        time=time,
        cluster=cluster,
        namespace=name,
        labels=tuple(content),
        gone=gone,
        source=source,
    )
