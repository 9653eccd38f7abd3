"""JSON as evidence must be: one meaning only, for every parser that may read it.

    loads_strict(b'{"a": 1}', limit=MIB)             {"a": 1}
    loads_strict(b'{"a": 1, "a": 2}', limit=MIB)     EvidenceError payload-malformed: member 'a' twice
    StrictDecoder(Envelope).decode(data, limit=MIB)  an Envelope, by the same rules

Duplicate members, trailing data, byte-order marks, invalid UTF-8, lone surrogates, NaN and infinities are refused: each
is read differently by some parser, so that two verifiers would see two documents under one signature.
"""

from __future__ import annotations

import json
import math
import re
from functools import cache
from typing import Final, Generic, NoReturn, TypeVar

import msgspec

from verifier.errors import EvidenceError
from verifier.evidence.limits import JSON_DEPTH

T = TypeVar("T")

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
_NOT_JSON: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What the decoders raise for bytes that are not what was asked for."""
_STRING: Final = re.compile(rb'"[^"]*+(?:"|\Z)')
"""A string, or one without end up to the end: every byte is looked at once, whatever the input."""
_NOT_STRUCTURE: Final = bytes(set(range(256)) - set(b'[]{}"'))
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_NESTED: Final = (dict, list)
_OPEN: Final = ord("[")
_LEAVES: Final = 3
"""Levels of innermost brackets that are taken away at C speed before the rest is counted one by one."""


def loads_strict(data: bytes, *, limit: int, max_depth: int = JSON_DEPTH) -> object:
    """The document in `data`: dicts, lists, strings, numbers, booleans and None.

    Args:
        data: the exact bytes that were hashed and signed.
        limit: most bytes accepted.
        max_depth: most arrays and objects inside each other.

    Raises:
        EvidenceError: `limit-exceeded` for size and depth, `payload-malformed` for everything else.
    """
    return _DOCUMENT.decode(data, limit=limit, max_depth=max_depth)


class StrictDecoder(Generic[T]):
    """Reads documents into a frozen struct (or `object`). Members a struct does not know are allowed and ignored."""

    def __init__(self, model: type[T], code: str = "payload-malformed") -> None:
        self._decode = msgspec.json.Decoder(model).decode
        self._code = code

    def decode(self, data: bytes, *, limit: int, max_depth: int = JSON_DEPTH) -> T:
        """The struct in `data`; arguments as for `loads_strict`.

        Raises:
            EvidenceError: `limit-exceeded`, or the decoder's code: not JSON, two meanings, a member that is missing, of
                another type, or spelled with other capitals (Go would read `Image` as `image`).
        """
        if len(data) > limit:
            raise EvidenceError("limit-exceeded", f"JSON of {len(data)} bytes, limit {limit}")
        # Depth cannot exceed the number of opening brackets; only a document with many is measured.
        if data.count(b"{") + data.count(b"[") > max_depth:
            _check_depth(data, max_depth)
        try:
            value = self._decode(data)
        except _NOT_JSON as error:
            raise EvidenceError(self._code, f"not the expected JSON: {error}") from error
        # A document that comes out of decoding and encoding byte for byte had no member twice and none unknown: they
        # would be gone. Signing tools write compact JSON, so this settles most signatures at a fraction of the cost.
        if _encode(value) != data:
            _check_spelling(value, self._document(data, value), self._code)
        return value

    def _document(self, data: bytes, value: T) -> object:
        """All members of every object. Compact JSON with members that the struct leaves out is settled as above."""
        document = _compact(data) if isinstance(value, msgspec.Struct) else None
        return _members_of(data, self._code) if document is None else document


def _compact(data: bytes) -> object:
    """The document, if it comes out again byte for byte; else None, and nothing is held while it is read once more."""
    try:
        document: object = _decode(data)
    except _NOT_JSON:
        return None
    return document if _encode(document) == data else None


_DOCUMENT: Final[StrictDecoder[object]] = StrictDecoder(object)


def _members_of(data: bytes, code: str) -> object:
    """The slow way, for documents with spaces, escapes or unknown members: look at every member of every object."""
    try:
        value: object = json.loads(
            data.decode(), object_pairs_hook=_members, parse_constant=_constant, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        raise EvidenceError(code, f"not the expected JSON: {error}") from error
    return value


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError(f"member {_first_repeated(pairs)[:60]!a} twice in one object")
    return members


def _first_repeated(pairs: list[tuple[str, object]]) -> str:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            return name
        seen.add(name)
    raise AssertionError("called for an object whose members are all different")


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number beyond the range of a double")
    return number


def _check_depth(data: bytes, max_depth: int) -> None:
    """Measures without parsing: brackets outside strings only. Unbalanced input is left to the decoder."""
    # Without escaped quotes a quote begins or ends a string; two in a row change nothing for what stands behind them.
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"").translate(_ONE_KIND, _NOT_STRUCTURE).replace(b'""', b"")
    brackets = _STRING.sub(b"", plain)
    for _ in range(_LEAVES):  # the deepest brackets hold none, so each round takes one level
        brackets = brackets.replace(b"[]", b"")
    depth = _LEAVES
    for bracket in brackets:
        depth += 1 if bracket == _OPEN else -1
        if depth > max_depth:
            raise EvidenceError("limit-exceeded", f"JSON nested deeper than {max_depth}")


def _check_spelling(value: object, document: object, code: str) -> None:
    """Refuses `Image` beside or in place of `image` wherever a struct was expected."""
    if isinstance(value, tuple) and isinstance(document, list):
        for item, part in zip(value, document, strict=True):
            if isinstance(part, _NESTED):
                _check_spelling(item, part, code)
    if not isinstance(value, msgspec.Struct) or not isinstance(document, dict):
        return
    members, folded = _spelling(type(value))
    for name, part in document.items():
        member = members.get(name)
        if member is None and name.casefold() in folded:
            raise EvidenceError(code, f"member {name[:60]!a} is spelled with other capitals than expected")
        if member is not None and isinstance(part, _NESTED):
            _check_spelling(getattr(value, member), part, code)


@cache
def _spelling(struct: type[msgspec.Struct]) -> tuple[dict[str, str], frozenset[str]]:
    """Member as written -> attribute, and the members in no particular capitals; of our own types, so there are few."""
    members = dict(zip(struct.__struct_encode_fields__, struct.__struct_fields__, strict=True))
    return members, frozenset(name.casefold() for name in members)
