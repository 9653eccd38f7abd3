"""CBOR as evidence must be: the part of RFC 8949 that COSE signatures use, with one meaning and one spelling per value.

    decode_cbor(bytes.fromhex("a10126"), limit=1024)           {1: -7}
    decode_cbor(bytes.fromhex("a201260126"), limit=1024)       EvidenceError envelope-malformed: key 1 twice
    decode_cbor(bytes.fromhex("c11a65920080"), limit=1024)     Tagged(1, 1704067200)

Integers, byte and text strings, arrays, maps with integer or text keys, true, false, null, and the tags 1 (seconds
since the epoch) and 18 (COSE_Sign1) are read. Everything else is refused by name: floating point, other tags, other
simple values, indefinite lengths, repeated keys, numbers in more bytes than they need, bytes after the end. Readers
disagree about these, and a signature must say the same to everybody.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from verifier.errors import EvidenceError
from verifier.evidence.content import excerpt

CBOR_DEPTH: Final = 16
"""Arrays, maps and tags inside each other. An envelope of the Notary Project nests 4 deep; the reader recurses."""

CBOR_ITEMS: Final = 4096
"""Data items of one document, keys counted. An envelope with ten certificates has about 40; each costs about a
microsecond, so this bounds the time."""

EPOCH_TIME: Final = 1
"""Tag of RFC 8949 section 3.4.2: seconds since 1970-01-01T00:00Z; integers only, here."""

COSE_SIGN1: Final = 18
"""Tag of RFC 9052 section 4.2."""

_MALFORMED: Final = "envelope-malformed"
_SIMPLE: Final = {20: False, 21: True, 22: None}
_SIZES: Final = {24: 1, 25: 2, 26: 4, 27: 8}
"""Additional information -> bytes of the argument that follow."""

Label = int | str
"""A key of a map."""


class Tagged(NamedTuple):
    """A tag and what it is on."""

    tag: int
    value: object


def decode_cbor(data: bytes, *, limit: int) -> object:
    """The one data item in `data`: int, bytes, str, bool, None, list, dict or `Tagged`.

    Args:
        data: the exact bytes that were hashed and signed.
        limit: most bytes accepted.

    Raises:
        EvidenceError: `limit-exceeded` for size, depth and number of items, `envelope-malformed` for everything else.
    """
    if len(data) > limit:
        raise EvidenceError("limit-exceeded", f"CBOR of {len(data)} bytes, limit {limit}")
    reader = _Reader(data)
    value = reader.item(CBOR_DEPTH)
    if reader.left:
        raise EvidenceError(_MALFORMED, f"CBOR: {reader.left} bytes after the end of the data item")
    return value


def encode_text(text: str) -> bytes:
    """A text string, RFC 8949 section 3.1 major type 3."""
    raw = text.encode()
    return _head(3, len(raw)) + raw


def encode_bytes(raw: bytes) -> bytes:
    """A byte string, major type 2."""
    return _head(2, len(raw)) + raw


def encode_array(*items: bytes) -> bytes:
    """An array of items that are encoded already, major type 4."""
    return _head(4, len(items)) + b"".join(items)


def _head(major: int, argument: int) -> bytes:
    """The shortest head (RFC 8949 section 4.2.1)."""
    if argument < 24:
        return bytes([major << 5 | argument])
    code, size = next((code, size) for code, size in _SIZES.items() if argument < 1 << 8 * size)
    return bytes([major << 5 | code]) + argument.to_bytes(size)


class _Reader:
    """A position in the bytes, and how many items may still come."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._items = CBOR_ITEMS

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def item(self, depth: int) -> object:
        self._items -= 1
        if self._items < 0:
            raise EvidenceError("limit-exceeded", f"CBOR with more than {CBOR_ITEMS} data items")
        if depth <= 0:
            raise EvidenceError("limit-exceeded", f"CBOR nested deeper than {CBOR_DEPTH}")
        major, info = divmod(self._take(1)[0], 32)
        if major == 7:
            return _simple(info)
        argument = self._argument(info)
        if major == 0:
            return argument
        if major == 1:
            return -1 - argument
        if major == 2:
            return self._take(argument)
        if major == 3:
            return self._text(argument)
        return self._nested(major, argument, depth - 1)

    def _nested(self, major: int, argument: int, depth: int) -> object:
        if major == 6:
            return self._tagged(argument, depth)
        if argument > self.left:  # each item takes a byte at least: nothing is built for a length that cannot be true
            raise EvidenceError(_MALFORMED, f"CBOR: {argument} items announced, {self.left} bytes left")
        if major == 4:
            return [self.item(depth) for _ in range(argument)]
        return self._map(argument, depth)

    def _map(self, pairs: int, depth: int) -> dict[Label, object]:
        members: dict[Label, object] = {}
        for _ in range(pairs):
            key = self.item(depth)
            if isinstance(key, bool) or not isinstance(key, int | str):
                raise EvidenceError(_MALFORMED, f"CBOR: a map key of type {type(key).__name__}, expected int or text")
            if key in members:
                raise EvidenceError(_MALFORMED, f"CBOR: key {excerpt(key)} twice in one map")
            members[key] = self.item(depth)
        return members

    def _tagged(self, tag: int, depth: int) -> Tagged:
        if tag not in {EPOCH_TIME, COSE_SIGN1}:
            raise EvidenceError(_MALFORMED, f"CBOR: tag {tag}, expected {EPOCH_TIME} or {COSE_SIGN1}")
        value = self.item(depth)
        if tag == EPOCH_TIME and (isinstance(value, bool) or not isinstance(value, int)):
            raise EvidenceError(_MALFORMED, f"CBOR: a time of type {type(value).__name__}, expected whole seconds")
        return Tagged(tag, value)

    def _argument(self, info: int) -> int:
        if info < 24:
            return info
        size = _SIZES.get(info)
        if size is None:
            what = "an indefinite length" if info == 31 else f"reserved additional information {info}"
            raise EvidenceError(_MALFORMED, f"CBOR: {what}")
        value = int.from_bytes(self._take(size))
        if value < (24 if size == 1 else 1 << 4 * size):
            raise EvidenceError(_MALFORMED, f"CBOR: {value} written in {size} bytes, which is not its shortest form")
        return value

    def _take(self, count: int) -> bytes:
        if count > self.left:
            raise EvidenceError(_MALFORMED, f"CBOR: ends early, {count} bytes announced, {self.left} left")
        start, self._at = self._at, self._at + count
        return self._data[start : self._at]

    def _text(self, count: int) -> str:
        try:
            return self._take(count).decode()
        except UnicodeDecodeError as error:
            raise EvidenceError(_MALFORMED, f"CBOR: a text string that is not UTF-8: {error.reason}") from error


def _simple(info: int) -> bool | None:
    if info in _SIMPLE:
        return _SIMPLE[info]
    what = "floating point" if info in {25, 26, 27} else f"simple value or break code {info}"
    raise EvidenceError(_MALFORMED, f"CBOR: {what} is not read")
