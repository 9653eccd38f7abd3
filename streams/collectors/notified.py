"""What a registry says that was pushed or deleted there: bodies of webhooks in, requests for evidence out. Pure.

    said = read_notification(body)                      NotificationError: what is wrong, in words of ours
    requests(said, known, now, epoch)                   an EvidenceWanted for every known image it may concern

CNCF distribution sends an envelope of events, Harbor one event in a form of its own or as a CloudEvent, Quay the tags
of one push. None of it is believed: it says when to look, and where, never what is there. Only images that are known to
run are looked at, so that a notification makes revet ask for nothing that it would not ask for by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from streams.events import EvidenceWanted
from verifier.canonical import stable_id
from verifier.errors import InputError
from verifier.models import Micros

BODY_BYTES: Final = 1024 * 1024
"""Bytes of a body. distribution sends some kilobytes of events at a time; Quay lists the tags of a push."""
CHANGES: Final = 1000
"""Changes of one body that are looked at."""
IMAGES: Final = 256
"""Images of one repository that a push without a name makes revet look at again; the daily sweep has the rest."""

_PATH: Final = re.compile(r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*")
_EVIDENCE_TAG: Final = re.compile(r"sha256-([0-9a-f]{64})(?:\.[a-z]+)?")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


class NotificationError(InputError):
    """A body that is no notification of a kind that is known. The message holds nothing of it."""


class Changed(NamedTuple):
    """Something that was pushed or deleted."""

    path: str
    """Repository without its host: registries do not know by which name they are reached."""
    tag: str = ""
    digest: str = ""


class KnownImage(NamedTuple):
    """An image that was asked about before."""

    repository: str
    digest: str
    names: tuple[str, ...]
    """`EvidenceSet.names`."""
    related: tuple[str, ...] = ()
    """Digests of its closure."""


class _Target(msgspec.Struct):
    repository: str = ""
    tag: str = ""
    digest: str = ""


class _Event(msgspec.Struct):
    action: str = ""
    target: _Target = msgspec.field(default_factory=_Target)


class _Envelope(msgspec.Struct):
    """CNCF distribution, `application/vnd.docker.distribution.events.v2+json`."""

    events: list[_Event]


class _Resource(msgspec.Struct):
    digest: str = ""
    tag: str = ""


class _Repository(msgspec.Struct):
    repo_full_name: str


class _HarborData(msgspec.Struct):
    repository: _Repository
    resources: list[_Resource] = []


class _Harbor(msgspec.Struct):
    """Harbor's own form."""

    type: str
    event_data: _HarborData


class _CloudEvent(msgspec.Struct):
    """Harbor as a CloudEvent, `harbor.artifact.pushed`."""

    specversion: str
    type: str
    data: _HarborData


class _Quay(msgspec.Struct):
    """Quay's repository push; tags in a list, or as the members of an object (older)."""

    repository: str
    docker_url: str
    updated_tags: list[str] | dict[str, Any] = []


_MARKS: Final[tuple[tuple[str, type], ...]] = (
    ("events", _Envelope),
    ("event_data", _Harbor),
    ("specversion", _CloudEvent),
    ("docker_url", _Quay),
)
"""Member that tells a form -> the form."""
_ACTIONS: Final = frozenset({"push", "delete", "mount"})
_HARBOR: Final = re.compile(r"(?:harbor\.artifact\.(?:pushed|deleted)|(?:PUSH|DELETE)_ARTIFACT)")


def read_notification(body: bytes) -> tuple[Changed, ...]:
    """What a body says was changed; nothing for events of other kinds (pulls, scans, tests of the connection).

    Raises:
        NotificationError: it is none, or says more than `CHANGES`.
    """
    try:
        document = msgspec.json.decode(body, type=dict[str, Any])
        form = next((form for mark, form in _MARKS if mark in document), None)
        if form is None:
            raise NotificationError("expected a notification of distribution, Harbor or Quay")
        said = list(_changes(msgspec.convert(document, form, strict=False)))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        # `from None`: the chained error quotes the body.
        raise NotificationError("not the JSON of a notification of distribution, Harbor or Quay") from None
    if len(said) > CHANGES:
        raise NotificationError(f"more than {CHANGES} changes in one body")
    return tuple(dict.fromkeys(one for one in said if _is_sound(one)))


def _changes(said: _Envelope | _Harbor | _CloudEvent | _Quay) -> Iterator[Changed]:
    if isinstance(said, _Envelope):
        for event in said.events:
            if event.action in _ACTIONS:
                yield Changed(event.target.repository, event.target.tag, event.target.digest)
    elif isinstance(said, _Quay):
        for tag in said.updated_tags:
            yield Changed(said.repository, tag)
    else:
        data = said.event_data if isinstance(said, _Harbor) else said.data
        if _HARBOR.fullmatch(said.type):
            for resource in data.resources:
                tag = "" if resource.tag.startswith("sha256:") else resource.tag  # of an artifact without one
                yield Changed(data.repository.repo_full_name, tag, resource.digest)


def _is_sound(one: Changed) -> bool:
    return _PATH.fullmatch(one.path) is not None and (not one.digest or _DIGEST.fullmatch(one.digest) is not None)


def requests(said: Iterable[Changed], known: Iterable[KnownImage], now: Micros, epoch: int) -> Iterator[EvidenceWanted]:
    """What has to be asked again, once for each image.

    Args:
        said: what was changed.
        known: images of the repositories it is about (`Changed.path`), whatever their host.
        now: when it was said, microseconds UTC.
        epoch: the trust epoch reached.
    """
    images = list(known)
    wanted: dict[tuple[str, str], str] = {}
    for change in said:
        own = [image for image in images if image.repository.partition("/")[2] == change.path]
        hit = [image for image in own if _concerns(change, image)]
        if not hit and not change.tag:  # by digest alone: something that refers to an image, nobody says to which
            hit = own[:IMAGES]
        for image in hit:
            tag = change.tag if change.tag in image.names else wanted.get((image.repository, image.digest), "")
            wanted[image.repository, image.digest] = tag
    for (repository, digest), tag in wanted.items():
        name = stable_id("evidence-wanted", repository, digest, "notified", now)
        reference = f"{repository}:{tag}" if tag else f"{repository}@{digest}"
        yield EvidenceWanted(name, now, repository, digest, reference, "notified", epoch)


def _concerns(change: Changed, image: KnownImage) -> bool:
    """A tag or an index by which the image runs, its own digest, or the tag under which its evidence is published."""
    digests = {image.digest, *image.related}
    about = _EVIDENCE_TAG.fullmatch(change.tag)
    if about:
        return f"sha256:{about[1]}" in digests
    return change.tag in image.names or change.digest in digests
