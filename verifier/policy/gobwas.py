r"""Patterns of github.com/gobwas/glob, compiled without separators: how Kyverno's ImageValidatingPolicy and Connaisseur
match images.

    `*` and `**` any run, `/` too · `?` any one character · `[abc]` `[a-z]` `[!abc]` one character of (not of) a set
    `{a,b}` one of several patterns, which may nest · `\` the next character as it is · all else literal; whole text

    gobwas_regexes("r.example/{a,b}/*")      two regular expressions, of which one has to match the whole text

Groups are written out, so what is left has one kind of star; then the leftmost match of what follows a star is never
wrong, and an atomic group around it never goes back: linear in the text for every pattern. It refuses what the grammar
leaves open and the original reads by accident: a group or a set without its end, an empty set, a range backwards.
Two faults of gobwas 0.2.3 are not copied: `a*a` matches `a` there (both ends on the same character), and `?` nothing.
"""

from __future__ import annotations

import re
from typing import Final

MAX_BRACE_DEPTH: Final = 8
"""Levels of `{…}` inside `{…}`. People write one; every level is one more call."""

MAX_ALTERNATIVES: Final = 64
"""Patterns that one with groups may stand for: `{a,b}{c,d}` stands for four. Each is tried."""

_STAR: Final = ""
"""Stands for a star among the pieces of a pattern; the others are regular expressions, never empty."""

_Pieces = tuple[str, ...]


def gobwas_regexes(pattern: str) -> tuple[str, ...]:
    """The pattern as regular expressions (with DOTALL), one for each way through its groups.

    Raises:
        ValueError: it is not well-formed, or stands for too many; the message names the part and never repeats the
            pattern.
    """
    return tuple(map(_regex, _Reader(pattern).sequence(depth=0)))


def _regex(pieces: _Pieces) -> str:
    segments: list[str] = [""]
    for piece in pieces:
        if piece == _STAR:
            segments.append("")
        else:
            segments[-1] += piece
    middle = "".join(f"(?>.*?{segment})" for segment in segments[1:-1] if segment)
    return segments[0] + middle + (f".*?{segments[-1]}" if len(segments) > 1 else "")


class _Reader:
    """Reads a pattern from left to right; `_at` is the position of the next character."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0

    def _take(self) -> str:
        if self._at >= len(self._text):
            raise ValueError("the pattern ends inside a group, a set or after a backslash")
        self._at += 1
        return self._text[self._at - 1]

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def sequence(self, depth: int) -> list[_Pieces]:
        """The ways through what stands up to the end or, inside a group, up to its `,` or `}`, which is left."""
        ways: list[_Pieces] = [()]
        while self._at < len(self._text) and not (depth and self._next() in ",}"):
            found = self._part(self._take(), depth)
            if len(ways) * len(found) > MAX_ALTERNATIVES:
                raise ValueError(f"its groups stand for more than {MAX_ALTERNATIVES} patterns")
            ways = [(*way, *more) for way in ways for more in found]
        return ways

    def _part(self, character: str, depth: int) -> list[_Pieces]:
        match character:
            case "*":
                return [(_STAR,)]
            case "?":
                return [(".",)]
            case "\\":
                return [(re.escape(self._take()),)]
            case "[":
                return [(self._set(),)]
            case "{":
                return self._group(depth + 1)
            case _:
                return [(re.escape(character),)]

    def _group(self, depth: int) -> list[_Pieces]:
        if depth > MAX_BRACE_DEPTH:
            raise ValueError(f"groups nested more than {MAX_BRACE_DEPTH} levels")
        ways = self.sequence(depth)
        while self._take() == ",":
            ways += self.sequence(depth)
        return ways

    def _set(self) -> str:
        negated = self._next() == "!"
        self._at += negated
        is_range = self._text[self._at + 1 : self._at + 2] == "-"
        members = self._range() if is_range else self._list()
        return f"[{'^' if negated else ''}{members}]"

    def _range(self) -> str:
        low, _, high = self._take(), self._take(), self._take()
        if low > high:
            raise ValueError("a range in a set runs backwards")
        if self._take() != "]":
            raise ValueError("a set holds one range, or single characters")
        return f"{re.escape(low)}-{re.escape(high)}"

    def _list(self) -> str:
        members: list[str] = []
        while (character := self._take()) != "]":
            members.append(re.escape(self._take() if character == "\\" else character))
        if not members:
            raise ValueError("an empty set matches nothing")
        return "".join(members)
