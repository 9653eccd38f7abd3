r"""Bytes in, whole JSON documents out: the first step of reading any input, without knowing what is in it.

Reads JSON lines, documents that go over many lines (also one after another, as `kubectl get -o json -w` prints them),
JSON arrays, with or without gzip and byte order mark, from chunks of any size. What cannot be split is refused by
name, with its place, size and hash, and everything around it is still read.

    for frame in split([b'{"kind":"Event"}\n', b'{"kind":']):
        ...                     # Document(position="1"), then Refused(code="json-truncated", position="2")

Memory is bounded by one body (`MAX_BODY_BYTES`), whatever the length of the stream. Nothing here raises on content.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

MAX_EVENT_BYTES: Final = 2 * 1024 * 1024
"""One event or object. The API server limits an object to 1.5 MiB (etcd's request limit); an audit event with two
whole copies of one that large is sent cut by servers that truncate, and is refused here."""

MAX_BODY_BYTES: Final = 32 * 1024 * 1024
"""One document, e.g. a list: 400 events, a full audit batch, take 1.4 MiB; a list of 500 pods 5 MiB."""

MAX_NESTING: Final = 512
"""Objects and arrays inside one another. Real pods have 12 levels; a decoder's stack has about 1,000."""

SHORT: Final = 8 * 1024
"""Documents up to here are not measured: 8 KiB cannot nest deeper than 4,096, which no stack minds, and the decoder
refuses by itself what is too deep for it. Nearly every event is this short; measuring takes a twentieth of its time."""

MAX_EXPANSION: Final = 200
"""Decompressed bytes per compressed byte. Audit logs shrink 20 to 60 times; gzip can hide 1,000."""

_INFLATE_STEP: Final = 1024 * 1024
"""Bytes decompressed at a time."""


class Document(msgspec.Struct, frozen=True, gc=False):
    """One document, believed to be whole; `position` is its first line, counted from 1."""

    data: bytes
    position: str


class Refused(msgspec.Struct, frozen=True, gc=False):
    """Bytes that could not be taken. `code` and its sentence stand in `deadletters.CODES`."""

    code: str
    position: str
    size: int
    sha256: str
    detail: str = ""
    """What adds to the sentence: counts, kinds, limits. Never a value of the input."""
    excerpt: str = ""


Frame = Document | Refused


def refused(code: str, data: bytes, position: str, *, detail: str = "", excerpt: str = "") -> Refused:
    """`data` as a whole refused for `code`."""
    return Refused(code, position, len(data), hashlib.sha256(data).hexdigest(), detail, excerpt)


# ------------------------------------------------------------------------------------------------------------- nesting

_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|(\\?\Z))', re.DOTALL)
"""A JSON string, or one that the text ends in (group 1). Never fails after a quote, so a search is linear."""

_BRACES: Final = bytes.maketrans(b"[]", b"{}")
_NO_BRACKET: Final = bytes(set(range(256)) - set(b"[]{}"))


def too_deep(data: bytes) -> bool:
    """True when objects and arrays are nested deeper than `MAX_NESTING`. Asked before anything is decoded."""
    if len(data) <= SHORT or data.count(b"{") + data.count(b"[") <= MAX_NESTING:
        return False  # so few brackets cannot nest so deep
    brackets = _STRING.sub(b"", data).translate(_BRACES, _NO_BRACKET)
    for _ in range(MAX_NESTING):  # each round takes the innermost pairs away
        inner = brackets.replace(b"{}", b"")
        if len(inner) == len(brackets):
            return brackets.count(b"{") > MAX_NESTING  # unbalanced: malformed, and deep when mostly opened
        brackets = inner
    return bool(brackets)


# ------------------------------------------------------------------------------------------------------------ encoding

_GZIP: Final = b"\x1f\x8b"
_UTF8_MARK: Final = b"\xef\xbb\xbf"
_OTHER_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_LONGEST_MARK: Final = 3


def _peek(chunks: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes, enough to see every mark, and the rest."""
    rest, head = iter(chunks), b""
    for chunk in rest:
        head += chunk
        if len(head) >= _LONGEST_MARK:
            break
    return head, rest


def _chain(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest


def _inflate(chunks: Iterable[bytes]) -> Iterator[bytes | Refused]:
    """Decompresses gzip, also several members in a row; ends with a refusal when it is broken, cut or a bomb."""
    engine, taken, given = zlib.decompressobj(wbits=31), 0, 0
    for chunk in chunks:
        taken += len(chunk)
        data = chunk
        while data:
            if engine.eof:
                engine = zlib.decompressobj(wbits=31)
            try:
                plain = engine.decompress(data, _INFLATE_STEP)
            except zlib.error:
                yield refused("gzip-broken", data, "1")
                return
            given += len(plain)
            if given > _INFLATE_STEP + taken * MAX_EXPANSION:
                yield refused("gzip-expands", data, "1", detail=f"more than {MAX_EXPANSION} times")
                return
            yield plain
            data = engine.unused_data if engine.eof else engine.unconsumed_tail
    if pending := engine.flush():
        yield pending
    if not engine.eof:
        yield refused("gzip-truncated", b"", "1")


# ----------------------------------------------------------------------------------------------------------- documents

_SPACE: Final = b" \t\r\n"
_YAML: Final = re.compile(rb"---|%YAML|#|- |[A-Za-z][\w.-]*:(?:\s|\Z)")
_OPEN: Final = b"{["
_CLOSER: Final = {ord("{"): ord("}"), ord("["): ord("]")}


class _Run:
    """Bytes that are refused together: the lines of a YAML file, a line longer than memory."""

    def __init__(self, code: str, position: str) -> None:
        self.code, self.position, self.size, self.hash = code, position, 0, hashlib.sha256()

    def add(self, data: bytes) -> None:
        self.size += len(data)
        self.hash.update(data)

    def end(self) -> Refused:
        return Refused(self.code, self.position, self.size, self.hash.hexdigest())


_ENDS: Final = ((b'{"', b"}"), (b"[{", b"]"), (b"[[", b"]"))


def _whole(text: bytes) -> bytes | None:
    """The document a line holds, if it looks like one, without the comma of an array behind it.

    Compact JSON begins a document with `{"` and ends it with `}` on the same line; printers that use several lines
    break them behind the first bracket. What only looks whole fails in its decoder, and costs nobody but itself. A
    line with a comma may also be the first of a list that goes on, so its brackets are counted (not looking at
    strings: wrong counts are settled bracket by bracket).
    """
    if not any(text.startswith(first) and text.endswith(last) for first, last in _ENDS):
        if text[-1:] != b"," or text[:1] not in (b"{", b"["):
            return text if text in (b"{}", b"[]") else None
        text = text.rstrip(b" \t\r,")
        if text.count(b"{") != text.count(b"}") or text.count(b"[") != text.count(b"]"):
            return None
    return text


def _record(line: bytes) -> bytes | None:
    """A line that is a whole JSON object by itself, unindented, perhaps with the comma of an array behind it."""
    return _whole(line.rstrip(b" \t\r")) if line.startswith(b'{"') else None


class _OpenDocument:
    """A document that goes over several lines, followed bracket by bracket."""

    def __init__(self, first: int) -> None:
        self.first, self.lines, self.size = first, list[bytes](), 0
        self._stack, self._last, self._began = bytearray(), 0, False

    def add(self, line: bytes) -> str:
        """Take one line; "open", "closed", or "broken" when it cannot be JSON whatever follows."""
        self.lines.append(line)
        self.size += len(line) + 1
        bare = _STRING.sub(lambda match: b'"' if match[1] is None else b"!", line).rstrip(_SPACE)
        if bare.endswith(b"!"):
            return "broken"  # a string never goes over the end of a line
        if bare:
            self._last = bare[-1]
        return self._follow(bare)

    def _follow(self, bare: bytes) -> str:
        for bracket in bare.translate(None, _NO_BRACKET):
            if bracket in _OPEN:
                if self._began and not self._stack:
                    return "broken"  # a second document behind the first, in one line
                self._began = True
                self._stack.append(_CLOSER[bracket])
            elif not self._stack or self._stack.pop() != bracket:
                return "broken"
        if self._stack:
            return "open"
        return "closed" if bare.rstrip(b",")[-1:] in (b"}", b"]") else "broken"

    def takes_value(self) -> bool:
        """Whether JSON allows a value here: after a colon, or in an array at its start or after a comma."""
        in_array = bool(self._stack) and self._stack[-1] == ord("]")
        return self._last == ord(":") or (in_array and self._last in b"[,")


class _Splitter:
    """Lines in, frames out. `_open` is the document under way, `_run` what is being refused."""

    def __init__(self, max_body: int) -> None:
        self._max_body, self._line = max_body, 0
        self._open: _OpenDocument | None = None
        self._run: _Run | None = None
        self._tail, self._tail_size = list[bytes](), 0
        self._overlong: _Run | None = None

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        *ended, tail = chunk.split(b"\n")
        for part in ended:
            if self._overlong:
                self._overlong.add(part + b"\n")
                yield self._overlong.end()
                self._overlong, self._line = None, self._line + 1
                continue
            line = part
            if self._tail:
                line = b"".join(self._tail) + part
                self._tail, self._tail_size = [], 0
            self._line += 1
            if line.startswith(b'{"') and line.endswith(b"}") and not (self._open or self._run):
                yield Document(line, str(self._line))  # what `_take` would find out: nearly every line of an audit log
            else:
                yield from self._take(line)
        if tail:
            yield from self._keep(tail)

    def close(self) -> Iterator[Frame]:
        if self._overlong:
            yield self._overlong.end()
        elif self._tail:
            self._line += 1
            yield from self._take(b"".join(self._tail))
        if self._open:
            yield from self._salvage("json-truncated")
        if self._run:
            yield self._run.end()

    def _keep(self, tail: bytes) -> Iterator[Frame]:
        """The unfinished line, until it is longer than a body may be."""
        if self._overlong:
            self._overlong.add(tail)
            return
        self._tail.append(tail)
        self._tail_size += len(tail)
        if self._tail_size > self._max_body:
            if self._open:
                yield from self._salvage("json-truncated")
            self._overlong = _Run("body-too-large", str(self._line + 1))
            self._overlong.add(b"".join(self._tail))
            self._tail, self._tail_size = [], 0

    def _take(self, line: bytes) -> Iterator[Frame]:
        if self._run:
            if line[:1] not in (b"{", b"["):
                self._run.add(line + b"\n")
                return
            yield self._run.end()
            self._run = None
        if self._open and _record(line) and not self._open.takes_value():
            yield from self._salvage("json-truncated")  # the document under way was cut, this line is the next one
        if self._open:
            yield from self._continue(self._open, line)
        elif text := line.strip(_SPACE):
            yield from self._begin(line, text)

    def _begin(self, line: bytes, text: bytes) -> Iterator[Frame]:
        if text[:1] not in (b"{", b"["):
            if _YAML.match(line):
                self._run = _Run("yaml-not-read", str(self._line))
                self._run.add(line + b"\n")
            else:
                yield refused("not-an-object", text, str(self._line))
            return
        if whole := _whole(text):
            yield Document(whole, str(self._line))
            return
        self._open = _OpenDocument(self._line)
        yield from self._continue(self._open, line)

    def _continue(self, document: _OpenDocument, line: bytes) -> Iterator[Frame]:
        state = document.add(line)
        if document.size > self._max_body:
            yield from self._salvage("body-too-large")
        elif state == "broken":
            yield from self._salvage("json-malformed")
        elif state == "closed":
            self._open = None
            yield Document(b"\n".join(document.lines).strip(_SPACE + b","), str(document.first))

    def _salvage(self, code: str) -> Iterator[Frame]:
        """A document that will never be whole: its lines that are records by themselves are read, the rest is refused.

        Every line comes here at most once, so hostile input costs no more than its length.
        """
        document, self._open = self._open, None
        run: _Run | None = None
        for number, line in enumerate(document.lines if document else (), document.first if document else 0):
            if text := _record(line):
                if run:
                    yield run.end()
                    run = None
                yield Document(text, str(number))
                continue
            run = run or _Run(code, str(number))
            run.add(line + b"\n")
        if run:
            yield run.end()


def split(chunks: Iterable[bytes], *, max_body: int = MAX_BODY_BYTES) -> Iterator[Frame]:
    """Every document of a stream in order, and a refusal for everything that is none.

    Args:
        chunks: the stream, in pieces of any size (also of a single byte).
        max_body: bytes of one document at most.
    """
    head, rest = _peek(chunks)
    if head.startswith(_OTHER_MARKS):
        run = _Run("not-utf-8", "1")
        for piece in _chain(head, rest):
            run.add(piece)
        yield run.end()
        return
    stream: Iterable[bytes | Refused] = _chain(head, rest)
    if head.startswith(_GZIP):
        stream = _inflate(_chain(head, rest))
    splitter, first = _Splitter(max_body), True
    for chunk in stream:
        if isinstance(chunk, Refused):
            yield from splitter.close()
            yield chunk
            return
        yield from splitter.feed(chunk.removeprefix(_UTF8_MARK) if first else chunk)
        first = first and not chunk
    yield from splitter.close()
