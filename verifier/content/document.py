"""A predicate, decoded once and shared by all rules that look at one attestation.

    predicate = read_predicate("https://spdx.dev/Document", raw)      strict: no member twice, limits on size and depth
    predicate = Predicate("https://spdx.dev/Document", value)         from a statement that was decoded strictly already
    predicate.view(list_components)                                   what a module made of it, made once

cosign's `custom` type wraps what was attested into text (`Data`), and its `spdx` type makes one text of the document;
`document` unwraps both, strictly again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar, cast

import msgspec

from verifier.content.outcome import Mismatch
from verifier.content.predicates import COSIGN_CUSTOM, SPDX, same_type
from verifier.errors import EvidenceError
from verifier.evidence.limits import ENVELOPE_BYTES
from verifier.evidence.strictjson import loads_strict

T = TypeVar("T")

MAX_PREDICATE_BYTES: Final = ENVELOPE_BYTES
"""Bytes of a predicate: no more than the envelope it comes in."""


class _Wrapped(msgspec.Struct, frozen=True):
    data: object = msgspec.field(name="Data", default=None)
    timestamp: str | None = msgspec.field(name="Timestamp", default=None)


class Predicate:
    """A predicate type (URI) and the decoded predicate; immutable for whoever looks at it."""

    def __init__(self, predicate_type: str, value: object) -> None:
        self.type = predicate_type
        self.value = value
        """dicts, lists, text, numbers, booleans and None, from bytes in which no object has a member twice."""
        self._views: dict[object, object] = {}

    def view(self, make: Callable[[Predicate], T]) -> T:
        """What `make` returns for this predicate; it is asked once. A `Mismatch` it raises is raised each time."""
        if make not in self._views:
            try:
                self._views[make] = make(self)
            except Mismatch as error:
                self._views[make] = error
        made = self._views[make]
        if isinstance(made, Mismatch):
            raise Mismatch(str(made))
        return cast("T", made)


def read_predicate(predicate_type: str, raw: bytes) -> Predicate:
    """The predicate in `raw`, the JSON text as it was signed.

    Raises:
        Mismatch: not JSON, a member twice, more than `MAX_PREDICATE_BYTES`, nested too deep.
    """
    return Predicate(predicate_type, _strict(raw, "the predicate"))


def document(predicate: Predicate) -> object:
    """The attested document: the predicate, or what cosign wrapped into a text.

    Raises:
        Mismatch: the wrapped text is no JSON.
    """
    return predicate.view(_unwrap)


def wrapped_at(predicate: Predicate) -> str | None:
    """The `Timestamp` beside wrapped `Data`."""
    wrapped = _wrapped(predicate)
    return wrapped.timestamp if wrapped else None


def _unwrap(predicate: Predicate) -> object:
    if isinstance(predicate.value, str) and same_type(SPDX, predicate.type):
        return _strict(predicate.value.encode(), "the text of the predicate (SPDX is read in JSON)")
    wrapped = _wrapped(predicate)
    if wrapped is None:
        return predicate.value
    if not isinstance(wrapped.data, str):
        return wrapped.data
    return _strict(wrapped.data.encode(), "Data of the custom predicate")


def _wrapped(predicate: Predicate) -> _Wrapped | None:
    if not same_type(COSIGN_CUSTOM, predicate.type) or not isinstance(predicate.value, dict):
        return None
    try:
        wrapped = msgspec.convert(predicate.value, _Wrapped)
    except msgspec.ValidationError:
        return None
    return None if wrapped.data is None else wrapped


def _strict(raw: bytes, what: str) -> object:
    try:
        return loads_strict(raw, limit=MAX_PREDICATE_BYTES)
    except EvidenceError as error:
        raise Mismatch(f"{what}: {str(error)[:200]}") from error
