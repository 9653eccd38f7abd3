"""Documents again and again, each time about other things: what fills a record in the benchmarks.

made = template(document, same)
made.copy(7, image=0, place=0)      ids and pods of its own, in a place and of an image that seven others have too
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

import orjson

from streams.sinks.document import Document, instant

_ID, _DIGEST, _PLACE, _REPOSITORY, _NAME = map(chr, range(0xE000, 0xE005))
"""Stand for a number in a template; of the private use area, so in no document."""

_FOUND: Final = re.compile(
    r"(?P<id>v1:[A-Za-z0-9_-]{21})[A-Za-z0-9_-]{6}"
    r"|\b[0-9a-f]{8}(?P<digest>[0-9a-f]{56})\b"
    r"|\b(?P<place>shop|lab)\b"
    r"|(?P<repository>r\.example/(?:pay|lab))"
    r"|(?P<name>uid-|INC-[0-9A-Z]{6})"
)
_MARKED: Final = {
    "id": f"{{}}{_ID}", "digest": f"{_DIGEST}{{}}", "place": f"{{}}{_PLACE}",
    "repository": f"{{}}{_REPOSITORY}", "name": f"{{}}{_NAME}",
}  # fmt: skip


class Template(NamedTuple):
    """A document with marks where copies differ."""

    document: Document
    id: str
    text: str

    def copy(self, number: int, *, image: int, place: int, later: int = 0) -> Document:
        """The document about other things; `later`: microseconds."""
        marks = {
            _ID: f"{number:06x}", _DIGEST: f"{image:08x}", _PLACE: f"-{place:x}", _REPOSITORY: f"-{image:x}",
            _NAME: f"{number:x}-",
        }  # fmt: skip
        id_, text = self.id, self.text
        for mark, value in marks.items():
            id_, text = id_.replace(mark, value), text.replace(mark, value)
        body, time = orjson.loads(text), self.document.time + later
        body["@timestamp"] = instant(time)
        return Document(self.document.home, id_, time, body, self.document.version)


def template(document: Document, same: Iterable[str]) -> Template:
    """`same`: ids and digests (hex) that all copies share."""
    known = frozenset(same)

    def marked(found: re.Match[str]) -> str:
        kind = found.lastgroup or ""
        return found[0] if found[0] in known else _MARKED[kind].format(found[kind])

    return Template(document, _FOUND.sub(marked, document.id), _FOUND.sub(marked, orjson.dumps(document.body).decode()))


def named_in(documents: Iterable[Document]) -> set[str]:
    """Ids and digests (hex) that stand in documents."""
    texts = " ".join(orjson.dumps(document.body).decode() for document in documents)
    return {*re.findall(r"v1:[A-Za-z0-9_-]{27}", texts), *re.findall(r"\b[0-9a-f]{64}\b", texts)}
