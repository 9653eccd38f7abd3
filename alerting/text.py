r"""Untrusted text made fit for a terminal: what cannot be seen is spelt out, what is long is cut in the middle.

Image references, owner names, annotations, registry error bodies and notes come from people revet does not know. They
travel as `Untrusted` and are shown only through `safe`:

    safe("pay<ESC>[2Jments<LF>")  ->  pay\x1b[2Jments\n   (the escapes are visible characters)

`safe` is idempotent, so a second pass (the console's last line of defence) changes nothing. It is made for showing, not
for reading back: a backslash stays a backslash.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from verifier.times import DAY, HOUR, MINUTE, SECOND, format_instant

TEXT_LIMIT: Final = 200
"""Default length of one shown value, in characters."""

_MARKS_IN_A_ROW: Final = 2
"""Combining marks shown after one character; more of them paint over neighbouring lines."""

_NAMED: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

_INVISIBLE: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | frozenset(
    chr(code) for code in (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
)
"""Characters that Unicode calls printable and that show nothing: fillers, blank Braille, variation selectors."""


class Untrusted(str):
    """Text from a cluster, a registry or a signature: shown only through `safe`, or in elements that parse nothing."""

    __slots__ = ()


def safe(text: str, limit: int = TEXT_LIMIT, *, ascii_only: bool = False) -> str:
    """One printable line of at most `limit` characters.

    `ascii_only` also spells out every non-ASCII character: for names whose grammar is ASCII (references, digests,
    Kubernetes names), where a letter from another script is a disguise.
    """
    head_and_tail = text if len(text) <= 2 * limit else text[:limit] + "…" + text[-limit:]
    return cut(_escaped(head_and_tail, ascii_only=ascii_only), limit)


def cut(text: str, limit: int) -> str:
    """`text`, its middle replaced by `…` when it is longer than `limit`; both ends stay (digest prefix and suffix)."""
    if len(text) <= limit:
        return text
    if limit < 3:
        return text[: max(limit, 0)]
    tail = (limit - 1) // 3
    return text[: limit - 1 - tail] + "…" + text[len(text) - tail :]


def encodable(text: str, encoding: str) -> str:
    """Text a stream of this encoding can take; without Unicode it gets escapes, and plain characters for our lines."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        plain = text.replace("─", "-").replace("…", "~")
        return plain.encode(encoding, "backslashreplace").decode(encoding)
    return text


def is_plain(text: str) -> bool:
    """Whether `text` is printable ASCII throughout, so that it may stand in a command to paste."""
    return text.isascii() and text.isprintable()


def width(text: str) -> int:
    """Terminal columns of safe text: East Asian wide characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def pad(text: str, columns: int) -> str:
    """`text` with spaces added up to `columns` terminal columns."""
    return text + " " * max(0, columns - width(text))


def wrap(text: str, columns: int) -> list[str]:
    """Lines of at most `columns` terminal columns, broken at spaces, and inside a word that is longer than a line."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and width(lines[-1]) + 1 + width(word) > columns:
            lines.append("")
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        *full, lines[-1] = _broken(joined, columns)
        lines[-1:-1] = full
    return lines


def _broken(text: str, columns: int) -> list[str]:
    if width(text) <= columns:
        return [text]
    pieces, used = [""], 0
    for character in text:
        used += _columns(character)
        if used > columns:
            pieces.append("")
            used = _columns(character)
        pieces[-1] += character
    return pieces


def utc(micros: int) -> str:
    """`2026-03-01 10:02:11Z`; `unknown` for a time outside the calendar."""
    try:
        return format_instant(micros, "seconds").replace("T", " ")
    except OverflowError:
        return "unknown"


def duration(micros: int) -> str:
    """A length of time in its two largest units: `3d 4h`, `12m 5s`, `0s`."""
    rest = max(0, micros)
    parts: list[str] = []
    for unit, length in (("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def count(number: int, singular: str, plural: str = "") -> str:
    """`1 container`, `10,000 containers`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def short_digest(digest: str) -> str:
    """`sha256:` and twelve hex digits: enough to recognise, never used to look anything up."""
    algorithm, colon, value = digest.partition(":")
    return f"{algorithm}:{value[:12]}" if colon else digest[:19]


def is_hidden(character: str) -> bool:
    """Whether a character shows nothing, or does something to a terminal instead of being shown."""
    return not character.isprintable() or character in _INVISIBLE


def _escaped(text: str, *, ascii_only: bool) -> str:
    if text.isascii() and text.isprintable():
        return text
    shown: list[str] = []
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        hidden = is_hidden(character) or marks > _MARKS_IN_A_ROW
        foreign = ascii_only and not character.isascii() and character != "…"
        shown.append(_spelt(character) if hidden or foreign else character)
    return "".join(shown)


def _spelt(character: str) -> str:
    code = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
