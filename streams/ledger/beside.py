"""Which fields of a document say something else than the original that stands beside them. Pure.

Verdicts and trust records carry themselves whole (`event.original`). When such a document is not the one that was
sealed, making it anew from its original tells whether the original was changed, or a field beside it.
"""

from __future__ import annotations

import msgspec

from streams.events import TrustChanged, VerdictReached
from streams.sinks.document import Body, Document
from streams.sinks.documents import documents
from streams.sinks.fields import HOMES
from streams.sinks.judged import stored_verdict
from verifier.errors import InputError
from verifier.models import Micros

ORIGINAL = "event.original"


def beside_original(home: str, id_: str, time: Micros, body: Body) -> tuple[str, ...]:
    """Names of fields that differ from what the original says, sorted; of a document without an original none.

    `event.original` alone when the original itself cannot be read.
    """
    original = body.get(ORIGINAL)
    if not isinstance(original, str):
        return ()
    try:
        made = _made_anew(home, id_, time, body, original)
    except (msgspec.DecodeError, InputError, ValueError):
        return (ORIGINAL,)
    if made is None:
        return ()
    return tuple(sorted(name for name, value in made.body.items() if not _agrees(value, body.get(name))))


def _made_anew(home: str, id_: str, time: Micros, body: Body, original: str) -> Document | None:
    """The document that this original makes, as far as it says; what only its event knew is taken from the body."""
    event: object
    if home == HOMES["verification"]:
        event = VerdictReached(
            id_, time, _text(body, "provenance.class.id"), _text(body, "provenance.evaluation.trigger"),
            _text(body, "provenance.previous_verdict"), _text(body, "provenance.cause.label"),
            _number(body, "provenance.class.members"), stored_verdict(original),
        )  # fmt: skip
    elif home == HOMES["trust"]:
        event = TrustChanged(id_, time, _number(body, "provenance.trust.epoch"), original.encode())
    else:
        return None
    return next((made for made in documents(event) if made.home == home), None)


def _agrees(made: object, there: object) -> bool:
    """Names of keys and owners come from elsewhere: a list may hold more than the original gives."""
    if isinstance(made, list) and isinstance(there, list):
        return all(value in there for value in made)
    return made == there


def _text(body: Body, name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""


def _number(body: Body, name: str) -> int:
    value = body.get(name)
    return value if isinstance(value, int) else 0
