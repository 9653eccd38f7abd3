"""A proof that one record is in the ledger: its entry, the way to the root, and a checkpoint over it.

    proof = prove(log, store, keys, "v1:…")        JSON that `checker.py` checks by itself

What it proves: that this document, byte for byte in canonical form, was in the record when the batch was signed. It
says nothing of what else was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

from streams.engine.reading import Unreadable, read
from streams.events import LedgerEntry
from streams.ledger.chain import Chain, Closed
from streams.ledger.entries import entry_bytes
from streams.ledger.exporting import entry_json, header_json
from streams.ledger.merkle import audit_path, leaf_hash
from streams.ledger.notes import Checkpoint, LedgerKey, signer
from streams.ledger.port import KeptStore, LedgerLog
from verifier.errors import InputError

FORMAT: Final = "ledger-proof/v1"


def prove(
    log: LedgerLog, store: KeptStore, keys: Collection[LedgerKey], id_: str, home: str = ""
) -> dict[str, Any]:  # Any: a tree of JSON
    """The proof for a record, by id; `home` where an id is in several datasets.

    Raises:
        InputError: no entry has this id, several datasets have, or no batch with it is closed and signed yet.
        PlaceUnavailable: log or store cannot be read.
    """
    chain, found = Chain(), list[tuple[Closed, int]]()
    behind: list[Closed] = []
    for record in log.read():
        event = read(record)
        closed = chain.take(None if isinstance(event, Unreadable) else event)
        if closed is not None:
            found += [(closed, n) for n, entry in enumerate(closed.entries) if _is_it(entry, id_, home)]
            behind += [closed] if found else []
    if not chain.name:
        raise InputError("there is no ledger here: begin one with `revet ledger init`")
    if not found:
        if any(_is_it(entry, id_, home) for entry in chain.pending_entries()):
            raise InputError(f"{id_} is in no batch yet; try again in a moment, or run `revet ledger seal`")
        raise InputError(f"no entry of the ledger has the id {id_[:200]}")
    homes = sorted({closed.entries[n].home for closed, n in found})
    if len(homes) > 1:
        raise InputError(f"{id_[:200]} is in {', '.join(homes)}; name one with --dataset")
    closed, index = found[0]
    return _proof(chain, closed, index, behind, keys) | {"document": _body(store, closed.entries[index])}


def _is_it(entry: LedgerEntry, id_: str, home: str) -> bool:
    return entry.kind == "record" and entry.id == id_ and home in ("", entry.home)


def _proof(
    chain: Chain, closed: Closed, index: int, behind: list[Closed], keys: Collection[LedgerKey]
) -> dict[str, Any]:  # Any: a tree of JSON
    entry = closed.entries[index]
    path = audit_path([leaf_hash(entry_bytes(e)) for e in closed.entries], index)
    headers: list[dict[str, Any]] = []  # as above
    for later in behind[behind.index(closed) :]:
        headers.append(header_json(later.header))
        for note in _signed(chain, later, keys):
            return {
                "revet": FORMAT, "ledger": chain.name, "entry": entry_json(entry), "index": index,
                "path": [step.hex() for step in path], "batches": headers, "checkpoint": note.note,
            }  # fmt: skip
    raise InputError(
        f"{entry.id} is in batch {closed.header.number}, which no named key has signed: `revet ledger seal`"
    )


def _signed(chain: Chain, closed: Closed, keys: Collection[LedgerKey]) -> Iterator[Checkpoint]:
    notes = chain.checkpoints.get(closed.header.number, ())
    return (note for note in notes if note.head == closed.head and signer(note.note, keys) is not None)


def _body(store: KeptStore, entry: LedgerEntry) -> object:
    """The document as it is there now; None when it is not."""
    return next((kept.body for kept in store.lookup([(entry.home, entry.id)])), None)
