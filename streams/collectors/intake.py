"""The door for every record of a cluster: any bytes in, observations out, and a dead letter for the rest.

    stream = Stream(cluster="c1", source="file:audit.jsonl")
    for raw in read_stream(chunks, source=stream.source):
        for observation in stream.observe(raw): ...
    stream.ignored                        # Counter({"read": 812, "resource": 40, "stage": 3})

Three steps, each of which may refuse: `framing.split` (documents), `read_stream` (items and their shape),
`Stream.observe` (what an item says). Nothing raises on content, nothing is dropped: an item gives observations, a dead
letter, or a counted reason. Refuses to know the time and the cluster: both are given by the caller, who knows the
sender.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import ClassVar, Final, Literal

import msgspec

from streams.collectors import reduce, wire
from streams.collectors.audit import event_time, is_watched, read_event
from streams.collectors.deadletters import Ignored, Problem, dead_letter, decode_problem, excerpt, kind_name
from streams.collectors.decisions import Origin
from streams.collectors.envelopes import Opened, unwrap
from streams.collectors.framing import (
    MAX_BODY_BYTES,
    MAX_EVENT_BYTES,
    Refused,
    refused,
    split,
    too_deep,
)
from streams.collectors.namespaces import namespace_observed
from streams.collectors.pods import newest, read_pod
from streams.events import FeedSeen, Observation
from verifier.canonical import stable_id

FeedKind = Literal["auto", "audit", "pods"]
Feed = Literal["audit", "pods"]

Shape = Literal[
    "event",
    "pod",
    "watched-pod",
    "namespace",
    "watched-namespace",
    "bookmark",
    "watch-error",
    "empty-list",
    "other-log",
]


class RawItem(msgspec.Struct, frozen=True, gc=False):
    """One event, pod or namespace, not yet decoded."""

    data: bytes
    position: str
    """Line (`17`), or line and place in the list there (`17[3]`)."""
    shape: Shape


Raw = RawItem | Refused

AUDIT_V1: Final = "audit.k8s.io/v1"
"""Version of an event that names none: all of them have the same members."""

FEED_INTERVAL: Final = 60_000_000
"""Microseconds of stream time between two `FeedSeen`: the API server's own bookmark interval."""

_FEEDS: Final[dict[FeedKind, frozenset[Shape]]] = {
    "audit": frozenset({"event", "empty-list", "other-log"}),
    "pods": frozenset(
        {"pod", "watched-pod", "namespace", "watched-namespace", "bookmark", "watch-error", "empty-list"}
    ),
}

# -------------------------------------------------------------------------------------------------------------- shapes

_SNIFF: Final = re.compile(
    rb'\{"(?:kind":"(?:(Event)","apiVersion":"audit\.k8s\.io/|(Pod)","apiVersion":"v1"|(Namespace)","apiVersion":"v1")'
    rb'|type":"(?:ADDED|MODIFIED|DELETED)","object":\{"kind":"(?:(Pod)|(Namespace))","apiVersion":"v1")'
)
"""How the API server begins what it writes. Only a short cut: the decoded item is asked again for its kind."""

_EVENT_LIST: Final = b'{"kind":"EventList",'
"""What the API server sends: its items are measured one by one, since to measure all of it took a third of the parsing.
The decoder that splits it refuses by itself what is too deep for it."""

_SNIFFED: Final[tuple[Shape, ...]] = ("event", "pod", "namespace", "watched-pod", "watched-namespace")
_SINGLE: Final[dict[str, Shape]] = {"Pod": "pod", "Namespace": "namespace"}
_WATCHED: Final[dict[str, Shape]] = {"Pod": "watched-pod", "Namespace": "watched-namespace"}
_LISTS: Final[dict[str, Shape | None]] = {
    "PodList": "pod",
    "NamespaceList": "namespace",
    "EventList": None,
    "List": None,
}
"""Kind of a list -> shape of its items, None when each says its own or `_shape_in` knows. (Items of a PodList have no
kind.)"""

_WATCH_TYPES: Final = frozenset({"ADDED", "MODIFIED", "DELETED"})
_MAX_LISTS: Final = 3
"""Lists inside lists."""


def _shape(head: wire.Head) -> Shape | Problem:
    """What a document is, from its head."""
    kind, version = wire.text_of(head.kind), wire.text_of(head.api_version)
    if kind == "Event" and (version.startswith("audit.k8s.io/") or (not version and head.audit_id)):
        return "event"
    if not (kind or version) and head.audit_id and head.stage:
        return "event"  # an item of an EventList that was taken out of it
    if kind in _SINGLE and version in ("v1", ""):
        return _SINGLE[kind]
    if not kind and head.type and head.object:
        return _watch_shape(wire.text_of(head.type), head.object)
    if not kind and head.metadata and head.spec and b'"containers"' in bytes(head.spec):
        return "pod"  # an item of a PodList that was taken out of it
    return _not_read(kind, version)


def _watch_shape(kind_of_event: str, item: msgspec.Raw) -> Shape | Problem:
    if kind_of_event == "BOOKMARK":
        return "bookmark"
    if kind_of_event == "ERROR":
        return "watch-error"
    if kind_of_event not in _WATCH_TYPES:
        return Problem("kind-missing")
    kind = wire.text_of(_head(item).kind)
    return _WATCHED.get(kind) or Problem("kind-not-read", f"a watched {kind_name(kind) or 'object'}")


def _not_read(kind: str, version: str) -> Problem:
    group = version.partition("/")[0]
    if shown := kind_name(kind):
        return Problem("kind-not-read", f"{shown} of {group}" if group in _KNOWN_GROUPS else shown)
    return Problem("kind-missing")


_KNOWN_GROUPS: Final = frozenset(
    {"admission.k8s.io", "apps", "audit.k8s.io", "batch", "events.k8s.io", "imagepolicy.k8s.io", "openreports.io",
     "reports.kyverno.io", "wgpolicyk8s.io"}
)  # fmt: skip
"""API groups that a dead letter names; another is text of the input, and stays out of it."""

_NO_HEAD: Final = wire.Head()


def _head(data: bytes | msgspec.Raw) -> wire.Head:
    try:
        return wire.HEAD.decode(data)
    except wire.UNREADABLE:
        return _NO_HEAD


# --------------------------------------------------------------------------------------------------------------- items


def _refuse(problem: Problem, data: bytes, position: str) -> Refused:
    return refused(problem.code, data, position, detail=problem.detail, excerpt=excerpt(data))


def _items(data: bytes, position: str, shape: Shape | None, depth: int) -> Iterator[Raw]:
    """The items of one document; `shape` is what a list says about them."""
    if found := _SNIFF.match(data):
        shape = _SNIFFED[(found.lastindex or 1) - 1]
    if shape:
        yield _item(data, position, shape)
        return
    try:
        if data[:1] == b"[":
            elements = wire.RAW_LIST.decode(data)
            yield from _elements(elements, data, position, None, depth)
            return
        head = wire.HEAD.decode(data)
    except wire.UNREADABLE as error:
        yield _refuse(decode_problem(error), data, position)
        return
    yield from _of_head(head, data, position, depth)


def _of_head(head: wire.Head, data: bytes, position: str, depth: int) -> Iterator[Raw]:
    kind = wire.text_of(head.kind)
    if head.items and kind in _LISTS:
        try:
            elements = wire.RAW_LIST.decode(head.items)
        except wire.UNREADABLE:  # `items: null` is how Go writes an empty list
            empty = bytes(head.items) == b"null"
            yield (
                RawItem(b"", position, "empty-list")
                if empty
                else _refuse(Problem("object-malformed", "$.items"), data, position)
            )
            return
        yield from _elements(elements, data, position, _shape_in(kind, head), depth)
        return
    if not kind and (opened := unwrap(head, data)) is not None:
        yield from _inside(opened, data, position, depth)
        return
    shape = _shape(head)
    yield _refuse(shape, data, position) if isinstance(shape, Problem) else _item(data, position, shape)


def _shape_in(kind: str, head: wire.Head) -> Shape | None:
    """What the items of a list are. The webhook's EventList is a typed list of Go: its items have no kind."""
    if kind == "EventList" and wire.text_of(head.api_version).startswith("audit.k8s.io/"):
        return "event"
    return _LISTS[kind]


def _elements(
    elements: list[msgspec.Raw], data: bytes, position: str, shape: Shape | None, depth: int
) -> Iterator[Raw]:
    if depth >= _MAX_LISTS:
        yield _refuse(Problem("kind-not-read", "lists inside lists"), data, position)
    elif not elements:
        yield RawItem(b"", position, "empty-list")
    else:
        for number, element in enumerate(elements):
            item, place = bytes(element), f"{position}[{number}]"
            if too_deep(item):
                yield refused("too-deep", item, place)
            else:
                yield from _items(item, place, shape, depth + 1)


def _inside(opened: Opened | Problem, data: bytes, position: str, depth: int) -> Iterator[Raw]:
    """The items of an envelope."""
    if isinstance(opened, Problem):
        yield _refuse(opened, data, position)
    elif depth >= _MAX_LISTS:
        yield _refuse(Problem("kind-not-read", "envelopes inside envelopes"), data, position)
    elif not opened.pieces:
        yield RawItem(b"", position, "other-log")
    for number, piece in enumerate(opened.pieces if isinstance(opened, Opened) and depth < _MAX_LISTS else ()):
        place = f"{position}[{number}]"
        if not piece.strip():
            yield RawItem(b"", place, "empty-list")
        for frame in split([piece]):
            if isinstance(frame, Refused):
                yield msgspec.structs.replace(frame, position=place)
            elif too_deep(frame.data):
                yield refused("too-deep", frame.data, place)
            else:
                yield from _items(frame.data, place, None, depth + 1)


def _item(data: bytes, position: str, shape: Shape) -> Raw:
    return refused("event-too-large", data, position) if len(data) > MAX_EVENT_BYTES else RawItem(data, position, shape)


def read_stream(
    chunks: Iterable[bytes], *, source: str = "", kind: FeedKind = "auto", max_body: int = MAX_BODY_BYTES
) -> Iterator[Raw]:
    """Every event, pod and namespace of a stream in order, undecoded, with its position; refusals in between.

    Reads one Event, EventList, JSON arrays and lines; PodList, NamespaceList, List, watch events and JSON lines of
    pods; pretty-printed or not, gzip or not, in chunks of any size.

    Args:
        chunks: the bytes.
        source: where they come from; kept for symmetry with `Stream`, positions are relative to it.
        kind: `audit` and `pods` refuse what belongs into the other feed.
        max_body: bytes of one document at most; a file of one large list may need more than a request body.
    """
    del source
    for frame in split(chunks, max_body=max_body):
        if isinstance(frame, Refused):
            yield frame
        elif not frame.data.startswith(_EVENT_LIST) and too_deep(frame.data):
            yield refused("too-deep", frame.data, frame.position)
        elif kind == "auto" and len(frame.data) <= MAX_EVENT_BYTES and (found := _SNIFF.match(frame.data)):
            yield RawItem(frame.data, frame.position, _SNIFFED[(found.lastindex or 1) - 1])  # nearly all
        else:
            for raw in _items(frame.data, frame.position, None, 0):
                yield raw if kind == "auto" else _expected(raw, kind)


def _expected(raw: Raw, kind: FeedKind) -> Raw:
    if isinstance(raw, Refused) or raw.shape in _FEEDS[kind]:
        return raw
    return refused("kind-unexpected", raw.data, raw.position, detail=f"a {raw.shape} in feed {kind}")


# -------------------------------------------------------------------------------------------------------- observations

_Result = list[Observation] | Ignored | Problem


class Stream:
    """One feed of one cluster while it is read: its time, its unbroken sight, and the count of what asks for nothing.

    Time inside a recording never goes backwards: a watch event gets the newest instant that stands in its object, or
    the stream's last, whichever is later. Live callers give `received` instead.
    """

    def __init__(self, *, cluster: str, source: str, server: str = "") -> None:
        """For `source` of `cluster`; `server` names the API server where several have one audit log each."""
        self.cluster, self.source = cluster, source
        self._origin = Origin(cluster, source, server)
        self.ignored: Counter[str] = Counter()
        """Reason (of `deadletters.IGNORED`) -> number of items that made no observation."""
        self.now = 0
        """Newest time seen, microseconds."""
        self.decoded: wire.Event | None = None
        """The audit event that was observed last, for `reduced_original`; None when it was something else."""
        self._since: dict[Feed, int] = {}
        self._told: dict[Feed, int] = {}

    def observe(self, raw: Raw, *, received: int | None = None) -> list[Observation]:
        """The observations of one item: none (then a reason is counted), some, or one dead letter. Never raises on
        content.

        Args:
            raw: of `read_stream`.
            received: microseconds at which a live receiver got it.
        """
        self.decoded = None
        if isinstance(raw, Refused):
            return [dead_letter(raw, source=self.source, time=self._time(received))]
        try:
            result = self._readers[raw.shape](self, raw.data, received)
        except wire.UNREADABLE as error:
            result = decode_problem(error)
        if isinstance(result, Ignored):
            self.ignored[result.reason] += 1
            return []
        if isinstance(result, Problem):
            letter = _refuse(result, raw.data, raw.position)
            return [dead_letter(letter, source=self.source, time=self._time(received))]
        return result

    def close(self) -> list[Observation]:
        """The last sign of life of every feed that was seen."""
        return [self._seen(feed, self.now) for feed in sorted(self._since) if self._told.get(feed) != self.now]

    def _time(self, time: int | None) -> int:
        """`time`, or the newest seen when it is missing or older."""
        self.now = max(self.now, time or 0)
        return self.now

    def _seen(self, feed: Feed, time: int) -> FeedSeen:
        self._told[feed] = time
        return FeedSeen(
            id=stable_id("feed", self.cluster, feed, time),
            time=time,
            cluster=self.cluster,
            feed=feed,
            since=self._since.setdefault(feed, time),
        )

    def _with_life(self, feed: Feed, time: int, observations: list[Observation]) -> list[Observation]:
        """The observations, behind a sign of life when the last one is `FEED_INTERVAL` old."""
        told = self._told.get(feed)
        if told is None or time - told >= FEED_INTERVAL:
            return [self._seen(feed, time), *observations]
        return observations

    # One method per shape. Each may raise `wire.UNREADABLE`, which `observe` turns into a dead letter.

    def _event(self, data: bytes, received: int | None) -> _Result:
        event = decode_event(data)
        if isinstance(event, Problem):
            return event
        self.decoded = event
        result = read_event(event, self._origin, received=received)
        if isinstance(result, Problem):
            return result
        if isinstance(result, Ignored):
            self.ignored[result.reason] += 1  # also an event nobody asks for shows that the feed lives
            return self._with_life("audit", self._time(event_time(event) if received is None else received), [])
        observations: list[Observation] = [*result]
        return self._with_life("audit", self._time(result[0].time if received is None else received), observations)

    def _pod(self, data: bytes, received: int | None) -> _Result:
        return self._one_pod(wire.POD.decode(data), received, gone=False)

    def _watched_pod(self, data: bytes, received: int | None) -> _Result:
        event = wire.WATCHED_POD.decode(data)
        return self._one_pod(event.object, received, gone=event.type == "DELETED")

    def _one_pod(self, pod: wire.Pod | None, received: int | None, *, gone: bool) -> _Result:
        if pod is None or (pod.kind or "Pod") != "Pod":
            return Problem("kind-not-read", kind_name(pod.kind or "") if pod else "")
        time = received if received is not None else self._time(newest(pod))
        result = read_pod(pod, cluster=self.cluster, source=self.source, time=time, gone=gone)
        return result if isinstance(result, Problem) else self._with_life("pods", time, [result])

    def _namespace(self, data: bytes, received: int | None) -> _Result:
        return self._one_namespace(wire.NAMESPACE.decode(data), received, gone=False)

    def _watched_namespace(self, data: bytes, received: int | None) -> _Result:
        event = wire.WATCHED_NAMESPACE.decode(data)
        return self._one_namespace(event.object, received, gone=event.type == "DELETED")

    def _one_namespace(self, namespace: wire.Namespace | None, received: int | None, *, gone: bool) -> _Result:
        meta = namespace.metadata if namespace else None
        if namespace is None or meta is None or (namespace.kind or "Namespace") != "Namespace" or not meta.name:
            return Problem("member-missing", "metadata.name")
        time = received if received is not None else self._time(wire.micros(meta.creation_timestamp))
        notes = {k: v for k, v in (meta.annotations or {}).items() if reduce.keeps_annotation(k, namespace=True)}
        return [
            namespace_observed(
                meta.name, meta.labels or {}, notes, cluster=self.cluster, source=self.source, time=time, gone=gone
            )
        ]

    def _bookmark(self, data: bytes, received: int | None) -> _Result:
        """Life and nothing else: its object is a pod without containers."""
        del data
        now = self._time(received)
        return [self._seen("pods", now)] if now else Ignored("bookmark")

    def _watch_error(self, data: bytes, received: int | None) -> _Result:
        """The end of a watch; sight is broken until pods are listed anew, so `since` starts over."""
        del received
        self._since.pop("pods", None)
        self._told.pop("pods", None)
        code = wire.STATUS_CODE.decode(_head(data).object).code
        return Problem("watch-error", f"code {code}" if code else "")

    def _other_log(self, data: bytes, received: int | None) -> _Result:
        del data, received
        return Ignored("other-log")

    def _empty_list(self, data: bytes, received: int | None) -> _Result:
        del data, received
        return Ignored("empty-list")

    _readers: ClassVar[Mapping[Shape, Callable[[Stream, bytes, int | None], _Result]]] = {
        "event": _event,
        "pod": _pod,
        "watched-pod": _watched_pod,
        "namespace": _namespace,
        "watched-namespace": _watched_namespace,
        "bookmark": _bookmark,
        "watch-error": _watch_error,
        "empty-list": _empty_list,
        "other-log": _other_log,
    }


def decode_event(data: bytes) -> wire.Event | Problem:
    """An audit event. When its objects are of unknown shape (any custom resource may be), it is read without them.

    Raises:
        ValueError: not JSON, or a member of another type.
        RecursionError: nested too deep.
    """
    try:
        event = wire.AUDIT.decode(data)
    except msgspec.ValidationError as error:
        event = _without_objects(data)
        if is_watched(event.object_ref):
            return decode_problem(error)  # a pod that is no pod
    if event.kind is None and event.audit_id:
        event.kind, event.api_version = "Event", event.api_version or AUDIT_V1  # it stands alone from here on
    if event.kind != "Event":
        return Problem("kind-not-read", kind_name(event.kind or ""))
    return event


def _without_objects(data: bytes) -> wire.Event:
    head = wire.AUDIT_HEAD.decode(data)
    return wire.Event(**{field: getattr(head, field) for field in head.__struct_fields__})


def observe(
    raw: bytes | Raw,
    *,
    cluster: str,
    source: str,
    position: str = "",
    received: int | None = None,
    ignored: Counter[str] | None = None,
) -> list[Observation]:
    """The observations of one item, or of one whole body (any input `read_stream` takes). Never raises on content.

    Without signs of life (`FeedSeen`): one call knows nothing of unbroken sight. A receiver keeps a `Stream` for that.

    Args:
        raw: an item, or bytes.
        cluster: stable id of the cluster, from the authenticated sender.
        source: `watch`, `list`, `file:NAME`, a connection.
        position: where in the source, for dead letters of a body that is itself a part of something.
        received: microseconds; live receivers give it.
        ignored: counts what made no observation, by reason.
    """
    stream = Stream(cluster=cluster, source=f"{source}:{position}" if position else source)
    items = read_stream([raw]) if isinstance(raw, bytes) else [raw]
    observations: list[Observation] = []
    for item in items:
        seen = stream.observe(item, received=received)
        observations.extend(observation for observation in seen if not isinstance(observation, FeedSeen))
    if ignored is not None:
        ignored.update(stream.ignored)
    return observations


def observe_stream(
    chunks: Iterable[bytes],
    *,
    cluster: str,
    source: str,
    kind: FeedKind = "auto",
    received: int | None = None,
    ignored: Counter[str] | None = None,
) -> Iterator[Observation]:
    """Everything a stream says, in order; at its end the last sign of life of its feeds. Never raises on content."""
    stream = Stream(cluster=cluster, source=source)
    for item in read_stream(chunks, source=source, kind=kind):
        yield from stream.observe(item, received=received)
    yield from stream.close()
    if ignored is not None:
        ignored.update(stream.ignored)
