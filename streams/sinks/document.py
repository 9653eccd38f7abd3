"""One document of the record: where it goes, its id, its version, and a flat body under the names of the field table.

Pure. Empty values are left out, so that "has a value" can be asked. Text from strangers stays data; only what no store
can keep is replaced (NUL, lone surrogates), and what is endless is cut.

    document("admission", id, time, prepared(body))               history: the first one of an id stays
    document("containers", id, time, prepared(body), version=7)   state: the newest version stays
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from alerting.text import short_digest
from streams.sinks.fields import ECS_VERSION, HOMES
from verifier.errors import ImageReferenceError
from verifier.models import ImageReference, Micros
from verifier.reference import parse_reference
from verifier.times import FIRST, LAST, format_instant

MAX_TEXT: Final = 4096
"""Characters of one value. Elasticsearch refuses keywords beyond 32,766 bytes; nothing honest comes near."""
MAX_VALUES: Final = 256
"""Values of one field."""
LAST_TIME: Final[Micros] = (2**63 - 1) // 1000
"""2262-04-11: the last time a document may have, as 1970 is the first. Beyond it no store keeps nanoseconds."""

Scalar = str | int | bool
Value = Scalar | list[str] | dict[str, str] | list[dict[str, object]]
Body = dict[str, Value]
Loose = Mapping[str, object]
"""A body as its maker writes it: with empty values, tuples and None."""


class Document(msgspec.Struct, frozen=True, gc=False):
    """`version` None: history, never changed; else state, replaced by an equal or higher version."""

    home: str
    """Dataset (`revet.admission`) or index (`revet-state-containers`)."""
    id: str
    time: Micros
    body: Body
    version: int | None = None


def document(home: str, id_: str, time: Micros, *parts: Body, version: int | None = None) -> Document:
    """A document of the home with this short name: what every document has, then the parts (see `prepared`). A time
    before 1970 or after 2262 becomes the nearest that every store can keep.

    Raises:
        KeyError: no home of that name.
    """
    full, id_, time = HOMES[home], clean(id_), min(max(time, 0), LAST_TIME)
    body: Body = {
        "@timestamp": instant(time),
        "ecs.version": ECS_VERSION,
        "event.id": id_,
        "event.module": "revet",
        "event.dataset": full,
    }
    for part in parts:
        body.update(part)
    return Document(full, id_, time, body, version)


def prepared(body: Loose) -> Body:
    """A part of a body: empty values left out, text made fit to be stored. Parts are shared, so nobody changes one."""
    made: Body = {}
    for name, value in body.items():
        if type(value) is str:
            if value:
                made[name] = value if len(value) <= MAX_TEXT and value.isascii() and "\0" not in value else clean(value)
        elif value is not None:
            kept = value if type(value) is bool or type(value) is int else _kept(value)
            if kept is not None:
                made[name] = kept
    return made


def _kept(value: object) -> Value | None:
    """A value that is no scalar, fit to be stored; None when it is empty."""
    if type(value) is dict:
        return {clean(str(k)): clean(str(v)) for k, v in value.items()} or None
    items: list[Any] = list(value)[:MAX_VALUES] if isinstance(value, Iterable) else [value]
    if items and type(items[0]) is dict:
        return [{k: _plain(v) for k, v in item.items()} for item in items]  # structures, for reading only
    return [clean(v) for v in dict.fromkeys(items) if v] or None


def _plain(value: object) -> object:
    if type(value) is str:
        return clean(value)
    return [_plain(v) for v in value] if type(value) is list or type(value) is tuple else value


def clean(text: str) -> str:
    """Text that every store can keep and give back unchanged."""
    if len(text) <= MAX_TEXT and text.isascii() and "\0" not in text:
        return text
    if len(text) > MAX_TEXT:
        text = text[: MAX_TEXT - 1] + "…"
    return text.replace("\0", "\ufffd").encode("utf-8", "surrogatepass").decode("utf-8", "replace")


@lru_cache(maxsize=4096)
def instant(time: Micros) -> str:
    """RFC 3339 UTC, always with microseconds, so that texts sort as times. Outside the years 1 to 9999 the nearest."""
    return format_instant(min(max(time, FIRST), LAST), "microseconds")


def instant_or_none(time: Micros | None) -> str | None:
    """As `instant`; None stays None."""
    return None if time is None else instant(time)


def address(text: str) -> str:
    """An IP address in its one form: shortest, without zone, IPv4 where IPv6 only wraps it. Stores compare addresses
    as numbers or as texts, which is the same then.

    Raises:
        ValueError: it is no address.
    """
    found = ipaddress.ip_address(text.partition("%")[0])
    return str(getattr(found, "ipv4_mapped", None) or found)


def hashes(*digests: str) -> list[str]:
    """Each digest as `sha256:…` and as bare hex."""
    return [text for digest in digests if digest for text in (digest, digest.partition(":")[2]) if text]


def reference_of(text: str) -> ImageReference | None:
    """A reference as the spec wrote it, normalised; None when it follows no grammar."""
    try:
        return parse_reference(text)
    except ImageReferenceError:
        return None


@lru_cache(maxsize=16_384)
def image_fields(text: str, repository: str = "", digest: str = "") -> Body:
    """The image, under our names."""
    reference = reference_of(text)
    named = repository or (reference.repository if reference is not None else "")
    return prepared(
        {
            "container.image.name": text,
            "provenance.image.reference": str(reference) if reference is not None else text,
            "provenance.image.registry": named.partition("/")[0],
            "provenance.image.repository": named,
            "provenance.image.digest": digest,
        }
    )


def path_id(*parts: str) -> str:
    """`cluster/namespace/kind/name`; a slash inside a part is written `%2F`, so that no name can imitate two parts."""
    return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)


def shown_image(repository: str, digest: str, text: str = "") -> str:
    """An image for sentences: repository and short digest, or what the spec says."""
    if not digest:
        return text or repository or "an image without digest"
    return f"{repository or text}@{short_digest(digest)}"
