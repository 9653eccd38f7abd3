"""The state file as a place where people look: every message is a row, and a terminal shows the rows it has not shown.

    notifier = SqliteNotifier(connection, sys.stdout)
    with transaction:                    # the caller's: the row and the step of the delivery ledger are one commit
        deliver(ledger, notifier, ...)
    notifier.print_waiting()             # after the commit

A terminal alone cannot be searched, so after a crash nobody could know whether a message was sent. Here `find`
answers from the table. A message is on record once, whatever happens; between printing and the mark that says so lies
an instant in which a crash makes the next start print it again.
"""

from __future__ import annotations

import hashlib
import io
import sqlite3
from typing import Final, Literal, Protocol

from alerting.adapters.console import DEFAULT_COLUMNS, ConsoleNotifier
from alerting.calls import Step
from alerting.delivery import SEND_DEADLINE, Failed, Find, Found, Post, Posted, SendReply, Update
from alerting.text import encodable, safe
from verifier.errors import PlaceUnavailable
from verifier.times import MINUTE

CHANNEL: Final = "state"
WAITING: Final = 0
PRINTED: Final = 1
SILENT: Final = 2
"""Recorded by a process that was asked to print nothing; later ones do not print it either."""

_DESTINATION_LIMIT: Final = 60
"""Characters of who is told; a team's name comes from outside, as a console shows it."""

MessageKind = Literal["parent", "update", "reply"]

_SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS messages (
  row INTEGER PRIMARY KEY, delivery TEXT NOT NULL, kind TEXT NOT NULL, part TEXT NOT NULL, ts TEXT NOT NULL,
  destination TEXT NOT NULL, time INTEGER NOT NULL, headline TEXT NOT NULL, text TEXT NOT NULL,
  printed INTEGER NOT NULL, UNIQUE (delivery, kind, part))""",
    "CREATE INDEX IF NOT EXISTS messages_waiting ON messages (row) WHERE printed = 0",
)
_INSERT: Final = (
    "INSERT OR IGNORE INTO messages (delivery, kind, part, ts, destination, time, headline, text, printed)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class Stream(Protocol):
    """Where messages are printed: standard output, or what stands in front of it."""

    @property
    def encoding(self) -> str | None:
        """Name of its encoding, when it has one."""

    def write(self, text: str, /) -> object:
        """Write text."""

    def flush(self) -> None:
        """Make it seen."""


class SqliteNotifier:
    """Implements `alerting.delivery.Notifier` on a connection that the caller owns; the console makes text safe."""

    def __init__(
        self, connection: sqlite3.Connection, stream: Stream | None = None, *, columns: int = DEFAULT_COLUMNS
    ) -> None:
        """Print on `stream` (None: never).

        Raises:
            PlaceUnavailable: the file cannot be written.
        """
        self._connection = connection
        self._stream = stream
        self._columns = columns
        try:
            for statement in _SCHEMA:
                connection.execute(statement)
        except sqlite3.Error as error:
            raise PlaceUnavailable("state-unavailable", f"messages cannot be kept: {error}") from error

    def post(self, call: Post) -> Posted | Failed:
        """Keep a new message."""
        return self._keep(call, "parent", "")

    def update(self, call: Update) -> Posted | Failed:
        """Keep the new headline; an edit below it is worth no line."""
        try:
            unchanged = self._headline(call.delivery) == call.message.headline
        except sqlite3.Error as error:
            return Failed("not-sent", f"the state file cannot be read: {error}")
        if unchanged:
            return Posted(CHANNEL, _ts(call.delivery, ""))
        return self._keep(call, "update", str(call.message.revision))

    def reply(self, call: SendReply) -> Posted | Failed:
        """Keep a line below a message."""
        return self._keep(call, "reply", call.reply.id)

    def find(self, call: Find) -> Found | Failed:
        """Is it on record? The answer is certain: the row and the ledger's step were one commit."""
        kind = "reply" if call.reply else "parent"
        query = "SELECT ts FROM messages WHERE delivery = ? AND kind = ? AND part = ?"
        try:
            rows = self._connection.execute(query, (call.delivery, kind, call.reply)).fetchall()
        except sqlite3.Error as error:
            return Failed("unavailable", f"the state file cannot be read: {error}")
        return Found(tuple(Posted(CHANNEL, ts) for (ts,) in rows), certain=True)

    def print_waiting(self) -> int:
        """Print what was recorded and not printed, oldest first, then mark it; returns how many.

        A stream that cannot be written (a closed pipe) is not written again; its rows wait for the next start.

        Raises:
            PlaceUnavailable: the rows cannot be read, or the mark cannot be written.
        """
        if self._stream is None:
            return 0
        try:
            rows = self._connection.execute("SELECT row, text FROM messages WHERE printed = 0 ORDER BY row").fetchall()
        except sqlite3.Error as error:
            raise PlaceUnavailable("state-unavailable", f"messages cannot be read: {error}") from error
        if not rows:
            return 0
        try:
            self._stream.write(encodable("".join(text for _, text in rows), self._stream.encoding or "utf-8"))
            self._stream.flush()
        except (OSError, ValueError):  # ValueError: the stream is closed
            self._stream = None
            return 0
        try:
            update = "UPDATE messages SET printed = ? WHERE printed = ? AND row <= ?"
            self._connection.execute(update, (PRINTED, WAITING, rows[-1][0]))
        except sqlite3.Error as error:
            raise PlaceUnavailable("state-unavailable", f"messages cannot be marked: {error}") from error
        return len(rows)

    def count(self) -> int:
        """Messages on record."""
        (found,) = self._connection.execute("SELECT count(*) FROM messages").fetchone()
        return int(found)

    def _headline(self, delivery: str) -> str:
        query = "SELECT headline FROM messages WHERE delivery = ? AND kind <> 'reply' ORDER BY row DESC LIMIT 1"
        row = self._connection.execute(query, (delivery,)).fetchone()
        return str(row[0]) if row is not None else ""

    def _keep(self, call: Post | Update | SendReply, kind: MessageKind, part: str) -> Posted | Failed:
        ts = _ts(call.delivery, part if kind == "reply" else "")
        printed = SILENT if self._stream is None else WAITING
        at = call.deadline - SEND_DEADLINE
        told = safe(call.destination, _DESTINATION_LIMIT)
        values = (call.delivery, kind, part, ts, told, at, call.message.headline, self._text(call), printed)
        try:
            self._connection.execute(_INSERT, values)
        except sqlite3.Error as error:
            return Failed("not-sent", f"the state file cannot be written: {error}")
        return Posted(CHANNEL, ts)

    def _text(self, call: Post | Update | SendReply) -> str:
        """What a console would show, made by the console itself."""
        paper = io.StringIO()
        console = ConsoleNotifier(paper, columns=self._columns)
        if isinstance(call, Post):
            console.post(call)
        elif isinstance(call, Update):
            console.update(call)
        else:
            console.reply(call)
        return paper.getvalue()


class Here:
    """Implements `Pace` for this place: a parent that stands elsewhere is edited by who can, when they run again.

    A command that works on the file beside a service that tells people in a chat must not take its messages over.
    """

    def wait(self, step: Step, now: int) -> int:
        """See `Pace.wait`."""
        del now
        return 0 if step.channel in ("", CHANNEL) else MINUTE


def _ts(delivery: str, reply: str) -> str:
    """Derived from the delivery, so that a ledger after a crash equals one without."""
    return hashlib.sha256(f"{delivery}/{reply}".encode()).hexdigest()[:16]
