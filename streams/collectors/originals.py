"""The reduced original of an item: what `revet.raw` keeps, so that a mended parser can be run over it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from streams.collectors import reduce, wire
from streams.collectors.audit import is_watched
from streams.collectors.deadletters import Problem
from streams.collectors.framing import Refused
from streams.collectors.intake import Raw, Shape, decode_event


def reduced_original(item: Raw, decoded: wire.Event | None = None) -> bytes:
    """One JSON document with allowed members only, without a line end; empty when nothing of the item may be kept.

    Nothing is kept of what could not be read: nobody can say what is in it. Its dead letter has place, size and hash.

    Args:
        item: of `read_stream`.
        decoded: the event in it, where somebody has decoded it already (`Stream.decoded`); it is changed.
    """
    if isinstance(item, Refused) or (reducer := _REDUCERS.get(item.shape)) is None:
        return b""
    try:
        return reducer(item.data) if decoded is None else _reduced(decoded)
    except wire.UNREADABLE:
        return b""


def _event(data: bytes) -> bytes:
    event = decode_event(data)
    return b"" if isinstance(event, Problem) else _reduced(event)


def _reduced(event: wire.Event) -> bytes:
    return reduce.reduce_event(event, objects=is_watched(event.object_ref))


def _pod(data: bytes) -> bytes:
    pod = reduce.reduce_pod(wire.POD.decode(data))
    pod.kind, pod.api_version = "Pod", "v1"  # an item of a list has none, and stands alone from here on
    return msgspec.json.encode(pod)


def _watched_pod(data: bytes) -> bytes:
    event = wire.WATCHED_POD.decode(data)
    if event.object:
        reduce.reduce_pod(event.object)
    return msgspec.json.encode(event)


def _namespace(data: bytes) -> bytes:
    namespace = reduce.reduce_namespace(wire.NAMESPACE.decode(data))
    namespace.kind, namespace.api_version = "Namespace", "v1"
    return msgspec.json.encode(namespace)


def _watched_namespace(data: bytes) -> bytes:
    event = wire.WATCHED_NAMESPACE.decode(data)
    if event.object:
        reduce.reduce_namespace(event.object)
    return msgspec.json.encode(event)


def _bookmark(data: bytes) -> bytes:
    del data
    return b'{"type":"BOOKMARK","object":{"kind":"Pod"}}'


_REDUCERS: Final[dict[Shape, Callable[[bytes], bytes]]] = {
    "event": _event,
    "pod": _pod,
    "watched-pod": _watched_pod,
    "namespace": _namespace,
    "watched-namespace": _watched_namespace,
    "bookmark": _bookmark,
}
