"""Transactions on a SQLite file, and what its errors mean for who asked: for every file that is named sqlite.py.

with transaction(connection, "the state file cannot be written"):
    connection.execute("INSERT …")          durable when this ends, or did not happen
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from verifier.errors import InputError, PlaceUnavailable

UNAVAILABLE: Final = "state-unavailable"
NOTHING_RECORDED: Final = "nothing has been recorded in this state file yet"
"""What it means when a table of the record is not there."""


@contextmanager
def explained(what: str, *, code: str = UNAVAILABLE, missing: str = "") -> Iterator[None]:
    """Errors of the database as errors of ours.

    `what`: the sentence they begin with; `missing`: the sentence when a table is not there, where that is no trouble.

    Raises:
        PlaceUnavailable: the file is locked, full, damaged, or cannot be read or written.
        InputError: a table is not there, and `missing` says what that means.
    """
    try:
        yield
    except sqlite3.Error as error:
        if missing and isinstance(error, sqlite3.OperationalError) and "no such table" in str(error):
            raise InputError(missing) from error
        raise PlaceUnavailable(code, f"{what}: {error}") from error


@contextmanager
def transaction(
    connection: sqlite3.Connection, what: str, *, code: str = UNAVAILABLE, missing: str = ""
) -> Iterator[None]:
    """One transaction for writing: durable when this ends, or it did not happen. Raises as `explained`."""
    with explained(what, code=code, missing=missing):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # some errors have rolled it back already
                connection.execute("ROLLBACK")
            raise
