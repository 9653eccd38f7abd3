"""Entries of the ledger: one per document of history, and one per act. Pure.

    entry = entry_of(document)               what is kept for ever: dataset, id, time, SHA-256 of the document
    leaf_hash(entry_bytes(entry))            its leaf in the Merkle tree

*Canonical bytes* of a document are its body as UTF-8 JSON with sorted members, without spaces and without escapes of
printable characters. The body is the same in the SQLite file, as `_source` in Elasticsearch and in an export, and so
are its canonical bytes. What an entry names (dataset, id, time) is hashed into the leaf with the document's hash: so a
document that is gone can still be named, and nobody can rename it.

An *act* is an entry about the ledger or about other entries: a key, an erasure, an end of retention, a document that no
store took. What it says stands in `note`, canonical JSON, and its hash is that of the note, except for an erasure,
where it is the hash of what was put in the place of the document.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Final

import orjson

from streams.events import LedgerEntry, LedgerWritten
from streams.sinks.document import Document
from streams.sinks.fields import is_current
from verifier.canonical import canonical_json
from verifier.models import Micros

FORM: Final = "revet-ledger-entry-v1"
PACK_BYTES: Final = 48 * 1024
"""Bytes of one pack of entries, roughly: a record of a broker should stay below 64 KiB."""
PACK_ENTRIES: Final = 500
_OVERHEAD: Final = 70
"""Bytes of an entry on the wire beside its texts: hash, time, kind, lengths."""


def canonical_body(body: Mapping[str, object]) -> bytes:
    """Canonical bytes of a document: what its hash is over."""
    try:
        return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONEncodeError, UnicodeEncodeError):
        return canonical_json(_plain(body))  # only of a body that nobody here wrote; it must have a hash as well


def _plain(value: object) -> object:
    """The same without what UTF-8 cannot hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {str(_plain(k)): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def body_hash(body: Mapping[str, object]) -> bytes:
    """SHA-256 of the canonical bytes, 32 bytes."""
    return sha256(canonical_body(body)).digest()


def entry_of(document: Document) -> LedgerEntry:
    """The entry of a document of history."""
    return LedgerEntry("record", document.home, document.id, document.time, body_hash(document.body))


def entries_of(documents: Iterable[Document]) -> Iterator[LedgerEntry]:
    """Entries of what is covered: history. Current state is replaced as the world changes, and has none."""
    return (entry_of(one) for one in documents if not is_current(one.home))


def act(kind: str, note: Mapping[str, object], time: Micros, *, home: str = "", id_: str = "") -> LedgerEntry:
    """An entry that says something of the ledger or of another entry."""
    text = canonical_json(note).decode()
    return LedgerEntry(kind, home, id_, time, sha256(text.encode()).digest(), text)


def entry_bytes(entry: LedgerEntry) -> bytes:
    """What is hashed into the leaf: a JSON list, which no two different entries share."""
    return orjson.dumps([FORM, entry.kind, entry.home, entry.id, entry.time, entry.sha256.hex(), entry.note])


def packed(entries: Iterable[LedgerEntry], time: Micros) -> Iterator[LedgerWritten]:
    """Entries in packs that a broker takes, in their order. The id of a pack is that of its content."""
    pack: list[LedgerEntry] = []
    size = 0
    for entry in entries:
        length = _OVERHEAD + len(entry.home) + len(entry.id.encode()) + len(entry.note.encode())
        if pack and (size + length > PACK_BYTES or len(pack) >= PACK_ENTRIES):
            yield _pack(pack, time)
            pack, size = [], 0
        pack.append(entry)
        size += length
    if pack:
        yield _pack(pack, time)


def _pack(entries: list[LedgerEntry], time: Micros) -> LedgerWritten:
    # The hash of a document is over its id and time as well; an act's is not.
    digest = sha256(b"".join(e.sha256 if e.kind == "record" else sha256(entry_bytes(e)).digest() for e in entries))
    return LedgerWritten(f"ledger:{digest.hexdigest()[:40]}", time, tuple(entries))
