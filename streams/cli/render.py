"""Untrusted text on a terminal: nothing from a cluster or a registry may move the cursor, colour, or reorder text."""

from __future__ import annotations

from typing import Final

from alerting import text

MAX_CELL: Final = 4096
"""Characters of one value that are ever printed; what is longer is cut in the middle."""

_LONGEST_ESCAPE: Final = len(r"\U0010ffff")


def safe(value: str, limit: int = MAX_CELL) -> str:
    """Text as `alerting.text.safe` spells it, so that a table and a message show the same. Raises nothing.

    Here `limit` counts the characters of the value, not those of its escapes, and both ends stay in equal parts.
    """
    if len(value) > limit:
        half = (limit - 1) // 2
        value = f"{value[:half]}…{value[len(value) - half :]}"
    return text.safe(value, _LONGEST_ESCAPE * len(value))
