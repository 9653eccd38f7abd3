r"""Canonical JSON of Notary v1: the bytes its signatures are over (the OLPC dialect, wiki.laptop.org Canonical_JSON).

    canonical({"b": 1, "a": "x\ny"})      b'{"a":"x\ny","b":1}'     with a real line end inside the string

Members are sorted by code point, nothing is spaced, and only `"` and `\` are escaped: control characters stand as they
are, so the result is not always JSON. Two different documents never have the same form. Numbers with a fraction have no
form and are refused; so is a whole number beyond 2^53, which the tools that sign read as a double.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from verifier.errors import EvidenceError

_LARGEST: Final = 2**53
"""Whole numbers up to here are read alike by everybody."""

_encode: Final = msgspec.json.Encoder(order="sorted").encode

_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_FRACTION: Final = re.compile(rb"[0-9][.eE]")
_LONG: Final = re.compile(rb"[0-9]{16,}")

_BACKSLASH: Final = b"\xff"
"""Stands for an escaped backslash meanwhile: a byte that UTF-8 never has."""
_CONTROLS: Final = tuple((_encode(chr(code))[1:-1], bytes([code])) for code in range(0x20))
"""How the encoder writes each control character."""


def canonical(value: object, code: str = "payload-malformed") -> bytes:
    """The canonical form of a document that `strictjson.loads_strict` read.

    Raises:
        EvidenceError: with `code`, a number or a text that has no canonical form.
    """
    try:
        # The standard form differs by the escapes of control characters alone; everything here runs at C speed, because
        # a hostile file may hold a hundred thousand of anything.
        form = _encode(value)
    except (UnicodeEncodeError, OverflowError, msgspec.MsgspecError, RecursionError) as error:
        raise EvidenceError(code, "a text that is no Unicode, or a huge number, has no canonical form") from error
    _check_numbers(form, code)
    if b"\\" not in form:
        return form
    form = form.replace(b"\\\\", _BACKSLASH)
    for escaped, raw in _CONTROLS:
        form = form.replace(escaped, raw)
    return form.replace(_BACKSLASH, b"\\\\")


def _check_numbers(form: bytes, code: str) -> None:
    outside = _STRING.sub(b"", form)
    if _FRACTION.search(outside) or any(int(number) > _LARGEST for number in _LONG.findall(outside)):
        raise EvidenceError(code, "a number with a fraction, or beyond 2^53, has no canonical form")
