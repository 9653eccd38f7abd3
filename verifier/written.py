"""What every model of something people write shares, in policies, content rules and tests of policies.

class Rule(Model):
    valid_from: Instant | None = None

Rule.model_validate(mapping, context=DOCUMENT)      what a person wrote
Rule.model_validate(mapping)                        what the trust log holds
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    SerializationInfo,
    ValidationInfo,
    WithJsonSchema,
)

from verifier.times import parse_instant, show_instant

DOCUMENT: Final = "document"
"""Validation and serialisation context: what a person wrote, as opposed to what the trust log holds."""


def read_instant(value: object, info: ValidationInfo) -> object:
    """RFC 3339 text to microseconds. In a document a bare number is refused: is 2026 a year or two milliseconds?

    Raises:
        ValueError: a text that is no instant (`parse_instant`), or a number in a document.
    """
    if isinstance(value, str):
        return parse_instant(value)
    if value is not None and info.context == DOCUMENT:
        raise ValueError("expected a time with zone, as RFC 3339 writes it, such as 2026-01-31T12:00:00Z")
    return value


def write_instant(value: int, info: SerializationInfo) -> int | str:
    """The number, and RFC 3339 where a document is written."""
    return show_instant(value) if info.context == DOCUMENT else value


Instant = Annotated[
    int,
    BeforeValidator(read_instant),
    PlainSerializer(write_instant),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""Microseconds since the Unix epoch, UTC; written as RFC 3339."""


class Model(BaseModel):
    """What people write: frozen, strict about members, and silent about what was typed when it is wrong."""

    # hide_input_in_errors: what was typed may be a private key or a control sequence
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)
