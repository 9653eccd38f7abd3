"""The evidence store in SQLite, on a connection that is given: what it writes is part of the caller's transaction.

    create_evidence_tables(connection)
    store = SqliteEvidenceStore(connection)
    with connection:
        store.put(evidence, first_seen)         # and whatever else must be durable together with it

It commits nothing and begins nothing. Where the store is all there is, it has a file of its own:

    with opened_evidence_file(path) as store: ...       # every call is a transaction
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from verifier.errors import EvidenceError, PlaceRefused, PlaceUnavailable
from verifier.evidence.identity import check_evidence_id
from verifier.models import Evidence, EvidenceFormat, Micros
from verifier.oci.manifests import IndexChild

EVIDENCE_TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS evidence (
        id TEXT PRIMARY KEY,
        format TEXT NOT NULL,
        payload BLOB NOT NULL,
        annotations BLOB NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS evidence_place (
        repository TEXT NOT NULL,
        subject TEXT NOT NULL,
        id TEXT NOT NULL,
        artifact TEXT NOT NULL,
        place TEXT NOT NULL,
        PRIMARY KEY (repository, subject, id)
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS evidence_place_by_id ON evidence_place (id)",
    "CREATE TABLE IF NOT EXISTS evidence_first_seen (id TEXT PRIMARY KEY, time INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS evidence_index (
        repository TEXT NOT NULL,
        child TEXT NOT NULL,
        index_digest TEXT NOT NULL,
        platform TEXT NOT NULL,
        PRIMARY KEY (repository, child, index_digest, platform)
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS evidence_index_by_index ON evidence_index (repository, index_digest, child, platform)",
)
"""The tables, in the order they are created. Bytes once per id, however many places they lie at."""

_SELECT: Final = """
    SELECT e.id, e.format, p.repository, p.subject, e.payload, e.annotations, p.artifact, p.place
    FROM evidence_place p JOIN evidence e ON e.id = p.id
"""
_PARAMETERS: Final = 500
"""Values in one `IN (…)`; SQLite allows 999 in its oldest builds."""


def create_evidence_tables(connection: sqlite3.Connection) -> None:
    """Creates what is missing.

    Raises:
        PlaceUnavailable: the database cannot be written.
    """
    with _translated():
        for statement in EVIDENCE_TABLES:
            connection.execute(statement)


class SqliteEvidenceStore:
    """An `EvidenceStore` over `EVIDENCE_TABLES`; raises what the port says."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def put(self, evidence: Evidence, first_seen: Micros | None) -> bool:
        """See `EvidenceStore.put`."""
        annotations = msgspec.json.encode(evidence.annotations, order="sorted")
        with _translated():
            self._connection.execute(
                "INSERT INTO evidence VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (evidence.id, evidence.format, evidence.payload, annotations),
            )
            cursor = self._connection.execute(
                "INSERT INTO evidence_place VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (evidence.repository, evidence.subject, evidence.id, evidence.artifact, evidence.place),
            )
            if first_seen is not None:
                self._connection.execute(
                    "INSERT INTO evidence_first_seen VALUES (?, ?)"
                    " ON CONFLICT DO UPDATE SET time = excluded.time WHERE excluded.time < time",
                    (evidence.id, first_seen),
                )
            return cursor.rowcount == 1

    def get(self, evidence_id: str) -> Evidence | None:
        """See `EvidenceStore.get`."""
        found = self._select("WHERE p.id = ? ORDER BY p.repository, p.subject LIMIT 1", evidence_id)
        return found[0] if found else None

    def for_digest(self, repository: str, digest: str) -> tuple[Evidence, ...]:
        """See `EvidenceStore.for_digest`."""
        return self._select("WHERE p.repository = ? AND p.subject = ? ORDER BY p.id", repository, digest)

    def first_seen(self, evidence_ids: Iterable[str]) -> dict[str, Micros]:
        """See `EvidenceStore.first_seen`."""
        wanted = list(dict.fromkeys(evidence_ids))
        found: dict[str, Micros] = {}
        with _translated():
            for start in range(0, len(wanted), _PARAMETERS):
                part = wanted[start : start + _PARAMETERS]
                marks = ", ".join("?" * len(part))
                query = f"SELECT id, time FROM evidence_first_seen WHERE id IN ({marks})"  # noqa: S608 - question marks only
                found.update(self._connection.execute(query, part).fetchall())
        return found

    def link(self, repository: str, children: Iterable[IndexChild]) -> None:
        """See `EvidenceStore.link`."""
        with _translated():
            self._connection.executemany(
                "INSERT INTO evidence_index VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [(repository, child.digest, child.index, child.platform) for child in children],
            )

    def indexes_of(self, repository: str, child: str) -> tuple[str, ...]:
        """See `EvidenceStore.indexes_of`."""
        query = (
            "SELECT DISTINCT index_digest FROM evidence_index WHERE repository = ? AND child = ? ORDER BY index_digest"
        )
        with _translated():
            return tuple(row[0] for row in self._connection.execute(query, (repository, child)))

    def children_of(self, repository: str, index: str) -> tuple[IndexChild, ...]:
        """See `EvidenceStore.children_of`."""
        query = (
            "SELECT index_digest, child, platform FROM evidence_index WHERE repository = ? AND index_digest = ?"
            " ORDER BY child, platform"
        )
        with _translated():
            return tuple(IndexChild(*row) for row in self._connection.execute(query, (repository, index)))

    def _select(self, where: str, *values: str) -> tuple[Evidence, ...]:
        with _translated():
            rows = self._connection.execute(_SELECT + where, values).fetchall()
        return tuple(_evidence(*row) for row in rows)


class EvidenceFile:
    """An `EvidenceStore` in a SQLite file of its own: every call is a transaction. Safe to use from several threads."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._store = SqliteEvidenceStore(connection)
        self._lock = threading.Lock()

    @contextmanager
    def _alone(self) -> Iterator[SqliteEvidenceStore]:
        with self._lock, _translated(), self._connection:
            yield self._store

    def put(self, evidence: Evidence, first_seen: Micros | None) -> bool:
        """See `EvidenceStore.put`."""
        with self._alone() as store:
            return store.put(evidence, first_seen)

    def get(self, evidence_id: str) -> Evidence | None:
        """See `EvidenceStore.get`."""
        with self._alone() as store:
            return store.get(evidence_id)

    def for_digest(self, repository: str, digest: str) -> tuple[Evidence, ...]:
        """See `EvidenceStore.for_digest`."""
        with self._alone() as store:
            return store.for_digest(repository, digest)

    def first_seen(self, evidence_ids: Iterable[str]) -> dict[str, Micros]:
        """See `EvidenceStore.first_seen`."""
        with self._alone() as store:
            return store.first_seen(evidence_ids)

    def link(self, repository: str, children: Iterable[IndexChild]) -> None:
        """See `EvidenceStore.link`."""
        with self._alone() as store:
            store.link(repository, children)

    def indexes_of(self, repository: str, child: str) -> tuple[str, ...]:
        """See `EvidenceStore.indexes_of`."""
        with self._alone() as store:
            return store.indexes_of(repository, child)

    def children_of(self, repository: str, index: str) -> tuple[IndexChild, ...]:
        """See `EvidenceStore.children_of`."""
        with self._alone() as store:
            return store.children_of(repository, index)


@contextmanager
def opened_evidence_file(path: Path) -> Iterator[EvidenceFile]:
    """The file, made when missing, for its owner only.

    Raises:
        PlaceUnavailable: it cannot be written, is locked, or is no SQLite file.
    """
    with _translated(), _files():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
        connection = sqlite3.connect(path, timeout=30.0, check_same_thread=False)
    with closing(connection):
        with _translated():
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            with connection:
                create_evidence_tables(connection)
        yield EvidenceFile(connection)


def _evidence(
    name: str,
    kind: EvidenceFormat,
    repository: str,
    subject: str,
    payload: bytes,
    annotations: bytes,
    artifact: str,
    place: str,
) -> Evidence:
    """One row, and proof that its bytes are the ones that were put."""
    try:
        carrying = msgspec.json.decode(annotations, type=dict[str, str])
        evidence = Evidence(name, kind, repository, subject, payload, carrying, artifact, place)
        sound = check_evidence_id(evidence)
    except (msgspec.MsgspecError, EvidenceError, TypeError) as error:
        raise PlaceRefused("payload-digest-mismatch", f"evidence store: {name[:80]} cannot be read back") from error
    if not sound:
        raise PlaceRefused("payload-digest-mismatch", f"evidence store: {name[:80]} holds other bytes than it took")
    return evidence


@contextmanager
def _files() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PlaceUnavailable("registry-unavailable", f"evidence store: {error.strerror or 'no access'}") from error


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise PlaceUnavailable("registry-unavailable", f"evidence store: {error}") from error
