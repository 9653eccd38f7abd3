r"""Pieces of signed content that every format has: annotations, and excerpts of untrusted text for messages.

text_annotations({"env": "prod", "n": 1})      (("env", "prod"),)
excerpt("a\nb")                                 "'a\\nb'"
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from verifier.errors import EvidenceError
from verifier.evidence.limits import SIGNED_ANNOTATION_CHARACTERS, SIGNED_ANNOTATIONS

EXCERPT_CHARACTERS: Final = 80
"""Characters of untrusted text quoted in a message."""


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
