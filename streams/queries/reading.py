"""Reading documents back: values with their types, signatures, names of keys. Shared by the questions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from streams.queries.conditions import Condition, one_of
from streams.queries.port import Hit, RecordReader, every
from streams.queries.results import Signature
from streams.sinks.document import Body, Scalar
from streams.sinks.fields import HOMES, SHORT_NAMES
from verifier.models import LeafCertificate

_T = TypeVar("_T")

CHUNK: Final = 500
"""Values asked for at once; far below the limits on parameters (SQLite) and terms (Elasticsearch)."""


def text_of(body: Body, name: str) -> str:
    """A single text value by short or full name; empty when there is none, the first of several."""
    value = body.get(SHORT_NAMES.get(name, name))
    if isinstance(value, list):
        value = value[0] if value and isinstance(value[0], str) else ""
    return value if isinstance(value, str) else "" if value is None else str(value)


def texts_of(body: Body, name: str) -> tuple[str, ...]:
    """All text values by short or full name."""
    value = body.get(SHORT_NAMES.get(name, name))
    if isinstance(value, list):
        return tuple(v for v in value if isinstance(v, str))
    return (value,) if isinstance(value, str) else ()


def number_of(body: Body, name: str) -> int:
    """A number by short or full name; 0 when there is none."""
    value = body.get(SHORT_NAMES.get(name, name))
    return value if isinstance(value, int) else 0


def objects_of(body: Body, name: str) -> list[dict[str, Any]]:
    """Structures kept for reading."""
    value = body.get(name)
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def chunks(values: Iterable[_T], size: int = CHUNK) -> Iterator[Sequence[_T]]:
    """The values in lists of at most `size`."""
    kept = list(values)
    for start in range(0, len(kept), size):
        yield kept[start : start + size]


def with_values(reader: RecordReader, home: str, field: str, values: Iterable[Scalar]) -> Iterator[Hit]:
    """Every document that has one of the values, however many values there are."""
    for some in chunks(sorted(set(values), key=str)):
        yield from every(reader, HOMES[home], one_of(field, some))


def key_names(reader: RecordReader) -> dict[str, str]:
    """Key id -> name, as the trust log gave them (the newest name wins)."""
    names: dict[str, str] = {}
    where: Condition = one_of("record", ("key-put", "key-rotated"))
    for hit in every(reader, HOMES["trust"], where):
        for name in texts_of(hit.body, "provenance.key.name"):
            names.update(dict.fromkeys(texts_of(hit.body, "provenance.key.id"), name))
    return names


def signatures_of(image: Body, names: Mapping[str, str]) -> Iterator[Signature]:
    """Signatures and attestations in an image's document, one per key; one by a certificate has its key; one by nobody
    known has an empty key.
    """
    repository, digest = text_of(image, "repository"), text_of(image, "digest")
    for entry in objects_of(image, "provenance.signatures"):
        believed = entry.get("believed") is True
        people = ", ".join(entry.get("identities", ())) if believed else ""
        certified = entry.get("certificate_key", "") if believed else ""
        for key in entry.get("keys") or [certified]:
            yield Signature(
                repository=repository,
                digest=digest,
                signer=names.get(key) or people or (f"key:{key[:12]}" if key else "unknown"),
                key=key,
                evidence=entry["evidence"],
                format=entry["format"],
                kind=entry["kind"],
                time=entry["time"],
                time_kind=entry["time_kind"],
                problem=entry["problem"],
                issuer=entry.get("issuer", "") if believed else "",
                rests_on=_rests_on(entry, believed=believed),
            )


def _rests_on(entry: Mapping[str, Any], *, believed: bool) -> tuple[str, ...]:
    if entry["problem"]:
        return ()
    vouched = ("identities", "cas", "logs") if believed else ("cas", "logs")
    names = (*vouched, *(("builders", "commits") if believed or entry.get("keys") else ()))
    return tuple(dict.fromkeys(value for name in names for value in entry.get(name, ())))


def certificates_of(image: Body) -> Iterator[LeafCertificate]:
    """Signing certificates in an image's document that lead to a known authority: whom they were made for. Windows and
    serial numbers are not kept for reading, and are zero and empty here.
    """
    for entry in objects_of(image, "provenance.signatures"):
        if entry.get("believed") is True:
            yield LeafCertificate(
                sha256=entry["certificate"],
                key_id=entry["certificate_key"],
                serial="",
                subject="",
                not_before=0,
                not_after=0,
                issuer=entry["issuer"],
                sans=tuple(entry["identities"]),
                extensions=tuple((name, value) for name, _, value in (e.partition("=") for e in _texts(entry))),
            )


def _texts(entry: Mapping[str, Any]) -> list[str]:
    return [text for text in entry["extensions"] if isinstance(text, str)]
