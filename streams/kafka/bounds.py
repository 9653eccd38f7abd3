"""Observations that fit into a record of a broker: what is longer is cut where it costs least, and says so.

    fitted, letter = fit(observation)        asked only for what turned out to be longer

A record has 64 KiB (`MAX_RECORD_BYTES`). Real pods and decisions take one or two; what is longer is unusual or hostile,
and must stop neither the feed nor hide itself: the cut observation goes on its way with a mark, and a dead letter says
what it was, with the hash of all of it. Cut first is what nothing is judged by (texts, labels), then long lists, and of
containers those that do not run before those that do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

import msgspec

from streams.codec import encode
from streams.engine.wire import MAX_RECORD_BYTES
from streams.events import (
    DeadLetter,
    DecisionObserved,
    ImageAsked,
    NamespaceObserved,
    Observation,
    ObservedContainer,
    PastSeen,
    Pod,
    PodObserved,
)
from verifier.canonical import stable_id

LIMIT: Final = MAX_RECORD_BYTES - 2 * 1024
"""Bytes of an encoded observation; the rest is for its key and headers."""
TOO_LARGE: Final = "record-too-large"
"""Code of the dead letter (`streams.collectors.deadletters.CODES`)."""
TEXT: Final = 256
"""Characters of a free text in an observation that is cut."""
NAME: Final = 512
"""Characters of an image reference in one. A reference has at most 255 beside its digest."""
MOST_CONTAINERS: Final = 400
"""Containers that are looked at when a pod is cut: so many fit at most."""

T = TypeVar("T")


def fit(observation: Observation) -> tuple[Observation, DeadLetter | None]:
    """The observation as it fits, and the dead letter that says what it was; None when nothing was cut."""
    if isinstance(observation, PastSeen):
        past, letter = fit(observation.what)
        return msgspec.structs.replace(observation, what=past), letter  # cut as what it is about
    data = encode(observation)
    fitted: Observation = observation
    for cut in _CUTS.get(type(observation), ()):
        if len(encode(fitted)) <= LIMIT:
            break
        fitted = cut(fitted)
    return (observation, None) if fitted is observation else (fitted, _letter(observation, data))


def _letter(observation: Observation, data: bytes) -> DeadLetter:
    digest = hashlib.sha256(data).hexdigest()
    source = f"{getattr(observation, 'source', '')}:{observation.id}"
    return DeadLetter(
        id=stable_id("deadletter", source, digest),
        time=observation.time,
        source=source,
        code=TOO_LARGE,
        message="an observation longer than a record may be; its texts and lists were cut, and it says so",
        size=len(data),
        sha256=digest,
        excerpt=f"kind {type(observation).__name__}",
    )


# ------------------------------------------------------------------------------------------------------------- pods


def _pod_texts(event: PodObserved) -> PodObserved:
    """Without what no policy asks for, and with names as long as names are."""
    pod = event.pod
    labels = tuple(_within(pod.labels, lambda pair: 4 * len(pair[0] + pair[1]), 16_384))
    containers = tuple(_container(container) for container in pod.containers)
    return _cut(event, msgspec.structs.replace(pod, labels=labels, containers=containers))


def _container(container: ObservedContainer) -> ObservedContainer:
    return msgspec.structs.replace(
        container,
        image=container.image[:NAME],
        image_repository=container.image_repository[:NAME],
        container_id=container.container_id[:80],
    )


def _pod_containers(event: PodObserved) -> PodObserved:
    """As many containers as fit: those that run first, each kind in its order."""
    containers = event.pod.containers
    by_worth = sorted(range(len(containers)), key=lambda place: (_worth(containers[place]), place))[:MOST_CONTAINERS]
    bare = msgspec.structs.replace(event, pod=msgspec.structs.replace(event.pod, containers=()), truncated=True)
    left = LIMIT - len(encode(bare)) - 16
    kept = sorted(_within(by_worth, lambda place: len(msgspec.msgpack.encode(containers[place])), left))
    return _cut(event, msgspec.structs.replace(event.pod, containers=tuple(containers[place] for place in kept)))


def _worth(container: ObservedContainer) -> int:
    return 0 if container.state == "running" else 1 if container.digest else 2


def _cut(event: PodObserved, pod: Pod) -> PodObserved:
    return msgspec.structs.replace(event, pod=pod, truncated=True)


def _namespace_texts(event: NamespaceObserved) -> NamespaceObserved:
    labels = ((key[:NAME], value[:TEXT]) for key, value in event.labels)
    return msgspec.structs.replace(event, labels=tuple(_within(labels, lambda pair: 4 * len(pair[0] + pair[1]), LIMIT)))


# -------------------------------------------------------------------------------------------------------- decisions


def _decision_texts(event: DecisionObserved) -> DecisionObserved:
    return msgspec.structs.replace(
        event,
        message=event.message[:TEXT],
        audited=tuple(text[:TEXT] for text in event.audited[:20]),
        groups=tuple(text[:TEXT] for text in event.groups[:16]),
        failed_open=tuple(text[:TEXT] for text in event.failed_open[:50]),
        mutated_by=tuple(text[:TEXT] for text in event.mutated_by[:20]),
        images=tuple(_image(image) for image in event.images),
        truncated=True,
    )


def _image(image: ImageAsked) -> ImageAsked:
    return ImageAsked(image.container[:TEXT], image.kind, image.submitted[:NAME], image.stored[:NAME])


def _decision_lists(event: DecisionObserved) -> DecisionObserved:
    bare = msgspec.structs.replace(event, images=())
    left = LIMIT - len(encode(bare)) - 16
    images = tuple(_within(event.images, lambda image: len(msgspec.msgpack.encode(image)), left))
    return msgspec.structs.replace(event, images=images)


_CUTS: Final[dict[type, Sequence[Callable[[Observation], Observation]]]] = {
    PodObserved: (_pod_texts, _pod_containers),  # type: ignore[dict-item]  # each is called with its own kind
    DecisionObserved: (_decision_texts, _decision_lists),  # type: ignore[dict-item]  # as above
    NamespaceObserved: (_namespace_texts,),  # type: ignore[dict-item]  # as above
}
"""Kind -> what is cut, one after the other, until it fits."""


def _within(items: Iterable[T], size: Callable[[T], int], room: int) -> Iterator[T]:
    """Items from the front for which there is room."""
    for item in items:
        room -= size(item)
        if room < 0:
            return
        yield item
