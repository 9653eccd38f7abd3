"""The console as a place where people look: plain text on a stream, 80 to 100 columns, no colour unless asked for.

A printed line cannot be edited or searched. An update is printed as a short line, and after a crash between two writes
the message is printed again: twice on a terminal is better than never.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final, TextIO

from alerting.delivery import Failed, Find, Found, Post, Posted, SendReply, Update
from alerting.models import Severity
from alerting.render import Fact, Message, Table, render_reply
from alerting.text import Untrusted, encodable, pad, safe, utc, width, wrap

CHANNEL: Final = "console"
DEFAULT_COLUMNS: Final = 96
_LABEL: Final = 10
_CELL_LIMITS: Final = (10, 14, 22, 7, 17, 70)
"""Longest cell per table column (cluster, namespace, workload, count, since, image): the first five fit 80 columns."""

_LINE_LIMIT: Final = 2000
"""Longer than any line the renderer makes; a command to paste is never cut."""

_COLOURS: Final[dict[Severity, str]] = {"critical": "1;31", "high": "31", "medium": "33", "low": "36", "info": "32"}


class ConsoleNotifier:
    """Prints to a stream. The stream's own errors (a closed pipe) are answered as `not-sent`."""

    def __init__(self, stream: TextIO, *, columns: int = DEFAULT_COLUMNS, colour: bool = False) -> None:
        self._stream = stream
        self._columns = max(80, min(columns, 100))
        self._colour = colour
        self._headlines: dict[str, str] = {}
        """Last headline per delivery: an edit below the headline is worth no line on a terminal."""

    def post(self, call: Post) -> Posted | Failed:
        """Print the whole message."""
        lines = list(message_lines(call.message, self._columns))
        if call.possible_duplicate:
            lines.append("(perhaps shown before)")
        return self._shown(call, [f"to {safe(call.destination, 60)}", *lines, ""])

    def update(self, call: Update) -> Posted | Failed:
        """Print the new headline."""
        if self._headlines.get(call.delivery) == call.message.headline:
            return _posted(call.delivery)
        lines = _labelled("update", call.message.headline, self._columns)
        return self._shown(call, lines)

    def reply(self, call: SendReply) -> Posted | Failed:
        """Print one line."""
        lines = _labelled("reply", render_reply(call.reply, call.message), self._columns)
        return self._print(lines, call.message.severity, f"{call.delivery}/{call.reply.id}")

    def find(self, call: Find) -> Found | Failed:
        """A terminal cannot be searched, and whoever wrote to it is gone: not in the ledger counts as not there."""
        del call
        return Found(posts=(), certain=True)

    def _shown(self, call: Post | Update, lines: list[str]) -> Posted | Failed:
        answer = self._print(lines, call.message.severity, call.delivery)
        if isinstance(answer, Posted):
            self._headlines[call.delivery] = call.message.headline
            if call.message.state == "resolved" and isinstance(call, Update):
                del self._headlines[call.delivery]
        return answer

    def _print(self, lines: list[str], severity: Severity, name: str) -> Posted | Failed:
        text = "\n".join(self._painted(_last_line_of_defence(line), severity) for line in lines)
        try:
            self._stream.write(encodable(text + "\n", getattr(self._stream, "encoding", None) or "utf-8"))
            self._stream.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            return Failed("not-sent", f"{type(error).__name__}: {error}")
        return _posted(name)

    def _painted(self, line: str, severity: Severity) -> str:
        if not self._colour or severity.upper() not in line:
            return line
        return line.replace(severity.upper(), f"\x1b[{_COLOURS[severity]}m{severity.upper()}\x1b[0m", 1)


def message_text(message: Message, columns: int = DEFAULT_COLUMNS) -> str:
    """The whole message as plain text."""
    return "\n".join(_last_line_of_defence(line) for line in message_lines(message, columns))


def message_lines(message: Message, columns: int) -> Iterator[str]:
    """Lines of a message: headline, what, facts, members, what to do, what is not known."""
    yield "─" * columns
    yield from wrap(message.headline, columns)
    yield ""
    yield from _labelled("what", shown(message.what, 400), columns)
    for fact in message.facts:
        yield from _fact(fact, columns)
    yield from _labelled("as of", utc(message.as_of), columns)
    yield from _table_lines(message.table, columns)
    if message.state != "resolved":
        yield from _labelled("harmless?", message.benign, columns)
        yield from _labelled("to do", message.todo, columns)
        yield from (f"  $ {command}" for command in message.commands)
    for sentence in message.unknown:
        yield from _labelled("not known", sentence, columns)
    yield from _labelled("more", message.link, columns)
    yield "─" * columns


def shown(value: str, limit: int) -> str:
    """A value of the message as text: untrusted text is made safe, the rest is ours."""
    return safe(value, limit) if isinstance(value, Untrusted) else value


def _posted(name: str) -> Posted:
    """The name is derived from the delivery: a ledger after a crash equals one without."""
    return Posted(CHANNEL, hashlib.sha256(name.encode()).hexdigest()[:16])


def _fact(fact: Fact, columns: int) -> list[str]:
    return _labelled(fact.label, shown(fact.value, 300), columns)


def _labelled(label: str, text: str, columns: int) -> list[str]:
    first, *rest = wrap(text, columns - _LABEL)
    return [f"{label:<{_LABEL}}{first}".rstrip(), *(" " * _LABEL + line for line in rest)]


def _table_lines(table: Table, columns: int) -> Iterator[str]:
    """Columns as wide as their cells need; the image goes below its workload when the line would be too long."""
    if not table.rows:
        return
    cells = [
        [safe(cell, limit, ascii_only=True) for cell, limit in zip(row, _CELL_LIMITS, strict=True)]
        for row in table.rows
    ]
    names = list(table.columns)
    widths = [max(width(row[index]) for row in [names, *cells]) for index in range(len(names))]
    below = sum(widths) + 2 * len(widths) > columns
    beside = len(names) - below
    yield ""
    yield _row(names[:beside], widths)
    for row in cells:
        yield _row(row[:beside], widths)
        yield from ("    " + cell for cell in row[beside:])
    if table.more:
        yield f"  … and {table.more:,} more"
    yield ""


def _row(cells: list[str], widths: list[int]) -> str:
    return ("  " + "  ".join(pad(cell, columns) for cell, columns in zip(cells, widths, strict=False))).rstrip()


def _last_line_of_defence(line: str) -> str:
    """Every line once more: what a renderer forgot cannot reach the terminal either. Idempotent on safe text."""
    return safe(line, _LINE_LIMIT)
