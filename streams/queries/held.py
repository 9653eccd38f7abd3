"""Which containers belong to a subject, as one condition over the containers of now. Pure.

    reader.find("revet-state-containers", containers_of(reader, subject))

Keys and what else evidence rests on hold containers through their images: `images_of` names those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from streams.queries.conditions import NOTHING, Condition, both, either, full_name, is_, one_of
from streams.queries.port import RecordReader
from streams.queries.reading import chunks, text_of, with_values
from streams.queries.results import Subject, SubjectKind
from streams.queries.subjects import FIELD_OF
from streams.sinks.fields import HOMES

VALUES_FOLLOWED: Final = 1000
"""Values of one field in a condition."""

BY_EVIDENCE: Final[frozenset[SubjectKind]] = frozenset({"key", *FIELD_OF})
"""Kinds that hold containers through the evidence of their images."""


NOT_REVOCABLE: Final[frozenset[SubjectKind]] = frozenset({"base"})
"""Those of them that no trust entry is about: they divide no signatures by time."""


def containers_of(reader: RecordReader, subject: Subject) -> Condition:
    """Containers of a subject; of a kind that evidence rests on, nothing: what runs of it is the blast radius.

    Raises:
        InputError: nothing was recorded here.
        PlaceUnavailable: the store does not answer.
    """
    return _CONTAINERS[subject.kind](reader, subject)


def pods_of(subject: Subject) -> Condition:
    """The name narrows, the UID decides: names of pods are used again."""
    return both(is_("pod", subject.name.rpartition("/")[2]), one_of("pod_uid", subject.values))


def images_of(reader: RecordReader, subject: Subject) -> set[tuple[str, str]]:
    """(repository, digest) of the images whose evidence rests on a subject of `BY_EVIDENCE`. Raises as above."""
    field = FIELD_OF.get(subject.kind, "key")
    by = (full_name("repository"), full_name("digest"))
    found = (reader.groups(HOMES["images"], one_of(field, some), by) for some in chunks(subject.values))
    return {(group.values[0], group.values[1]) for groups in found for group in groups}


def running_images(images: Iterable[tuple[str, str]]) -> Condition:
    """Containers of images, by (repository, digest): one digest may stand in several repositories."""
    digests: dict[str, list[str]] = {}
    for repository, digest in images:
        digests.setdefault(repository, []).append(digest)
    found = (both(one_of("repository", [name]), one_of("digest", of)) for name, of in sorted(digests.items()))
    return either(*found)


def _by_digest(reader: RecordReader, subject: Subject) -> Condition:
    """Containers that run the digest, or a platform manifest of it when it is an index."""
    hits = with_values(reader, "images", "provenance.image.index_digest", subject.values)
    children = {text_of(hit.body, "digest") for hit in hits}
    return one_of("digest", sorted({*subject.values, *children})[:VALUES_FOLLOWED])


def _of_findings(field: str) -> Callable[[RecordReader, Subject], Condition]:
    """Containers of the workloads that findings are about."""

    def find(reader: RecordReader, subject: Subject) -> Condition:
        where = one_of(field, subject.values)
        groups = reader.groups(HOMES["findings"], where, ("provenance.workload.id", "container.name"))
        pairs = [group.values for group in groups[:VALUES_FOLLOWED]]
        return either(*(both(is_("workload_id", w), *([is_("container", c)] if c else [])) for w, c in pairs))

    return find


_CONTAINERS: Final[dict[SubjectKind, Callable[[RecordReader, Subject], Condition]]] = {
    "digest": _by_digest,
    "image": _by_digest,
    "pod": lambda _, s: pods_of(s),
    "workload": lambda _, s: one_of("workload_id", s.values),
    **dict.fromkeys(BY_EVIDENCE, lambda _r, _s: NOTHING),
    "policy": lambda _, s: one_of("policy", s.values),
    "incident": _of_findings("incident"),
    "finding": _of_findings("finding_id"),
}
