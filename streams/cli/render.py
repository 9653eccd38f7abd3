"""Untrusted text on a terminal: nothing from a cluster or a registry may move the cursor, colour, or reorder text."""

from __future__ import annotations

from typing import Final

MAX_CELL: Final = 4096
"""Characters of one value that are ever printed; what is longer is cut in the middle."""


def safe(text: str, limit: int = MAX_CELL) -> str:
    """Text with every control, bidirectional and invisible character made visible as an escape, cut in the middle."""
    if len(text) > limit:
        half = (limit - 1) // 2
        text = f"{text[:half]}…{text[-half:]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
