"""What the three formats have in common once they are read: which bytes are signed, and what those bytes say.

Readers (`simplesigning`, `dsse`, `bundle`) turn `Evidence` into `SignedContent` and verify nothing; `facts` verifies
and reads nothing. The bytes that were parsed are the bytes that are verified; there is no second rendering.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from verifier.errors import EvidenceError
from verifier.evidence.limits import SIGNED_ANNOTATION_CHARACTERS, SIGNED_ANNOTATIONS
from verifier.models import FactKind, Micros

EXCERPT_CHARACTERS: Final = 80
"""Characters of untrusted text quoted in a message."""

CERTIFICATE_UNREAD: Final = (
    "signed with a certificate, and no given key matches; certificates are not read by this version"
)


class SignedContent(msgspec.Struct, frozen=True, gc=False):
    """Evidence, read. Nothing in here is verified yet."""

    kind: FactKind
    signatures: tuple[bytes, ...]
    subjects: tuple[str, ...]
    message: bytes | None = None
    """The bytes the signatures are over; None when only their digest is known."""
    message_sha256: bytes = b""
    """Set when `message` is None: SHA-256 of the signed bytes."""
    signed_repository: str = ""
    predicate_type: str = ""
    annotations: tuple[tuple[str, str], ...] = ()
    key_hint: str = ""
    claimed_time: Micros | None = None
    unsupported: str = ""
    """Why this version may be unable to verify it (a certificate, an unknown type). Only said if no key matches."""


def text_annotations(members: Mapping[str, object] | None) -> tuple[tuple[str, str], ...]:
    """The members whose value is text, sorted. Numbers and objects cannot equal the text a policy asks for.

    Raises:
        EvidenceError: `limit-exceeded`, too many or too long.
    """
    if not members:
        return ()
    if len(members) > SIGNED_ANNOTATIONS:
        raise EvidenceError("limit-exceeded", f"{len(members)} signed annotations, limit {SIGNED_ANNOTATIONS}")
    texts = []
    for name, text in members.items():
        if isinstance(text, str):
            if len(name) + len(text) > SIGNED_ANNOTATION_CHARACTERS:
                raise EvidenceError(
                    "limit-exceeded", f"a signed annotation of more than {SIGNED_ANNOTATION_CHARACTERS} characters"
                )
            texts.append((name, text))
    texts.sort()
    return tuple(texts)


def excerpt(text: object) -> str:
    """Untrusted text as an ASCII literal, cut."""
    shown = str(text)
    return ascii(shown if len(shown) <= EXCERPT_CHARACTERS else shown[: EXCERPT_CHARACTERS - 3] + "...")
