"""Canonical bytes are those of any other JSON writer; entries bind what they name; packs fit a broker."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from streams.codec import decode, encode
from streams.engine.wire import MAX_RECORD_BYTES
from streams.events import LedgerEntry
from streams.ledger.entries import act, body_hash, canonical_body, entries_of, entry_bytes, packed
from streams.ledger.merkle import leaf_hash
from streams.sinks.document import Document, clean, document, prepared
from tests.helpers.ledgered import decisions
from verifier.canonical import canonical_json

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALAR = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), TEXT)
VALUE = st.recursive(
    SCALAR, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4))
)


@given(st.dictionaries(TEXT, VALUE, max_size=6))
def test_the_fast_writer_writes_what_the_standard_library_writes(body: dict[str, Any]) -> None:
    """An auditor needs nothing of ours: `json.dumps` gives the same bytes."""
    plain = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert canonical_body(body) == plain == canonical_json(body)
    assert canonical_body(json.loads(plain)) == plain


@given(st.text(max_size=50))
def test_what_documents_hold_comes_back_the_same(text: str) -> None:
    """Through JSON of any store, whatever a stranger wrote."""
    made = document("admission", clean(text) or "x", 5, prepared({"event.reason": text, "user.roles": [text, "b"]}))
    assert body_hash(json.loads(json.dumps(made.body))) == body_hash(made.body)


def test_a_body_nobody_wrote_has_a_hash_too() -> None:
    """A store may give back anything once somebody has been at it."""
    assert body_hash({"a": "\ud800"}) != body_hash({"a": "?"})
    assert body_hash({"a": 2**70}) != body_hash({"a": 2**71})
    assert body_hash({"a": [{"b": "\udfff"}]})


@given(
    st.tuples(TEXT, TEXT, TEXT, st.integers(0, 2**53), TEXT), st.tuples(TEXT, TEXT, TEXT, st.integers(0, 2**53), TEXT)
)
def test_different_entries_have_different_bytes(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    made = [LedgerEntry(kind, home, id_, time, b"\1" * 32, note) for kind, home, id_, time, note in (one, other)]
    assert (entry_bytes(made[0]) == entry_bytes(made[1])) is (one == other)


def test_the_leaf_of_a_document_stays_what_it_is() -> None:
    """These bytes are in ledgers: another value here breaks every one of them."""
    body: Any = {"ü": [1, True], "event.id": "v1:x"}
    (one,) = entries_of([Document("revet.admission", "v1:x", 7, body)])
    assert canonical_body(body) == '{"event.id":"v1:x","ü":[1,true]}'.encode()
    assert leaf_hash(entry_bytes(one)).hex() == LEAF


LEAF = "194a3d93d50e172e51ea916b58b1a71b4582a445b6d9ed3b6aa2b4f3c7c95815"


def test_current_state_has_no_entry() -> None:
    assert not list(entries_of([Document("revet-state-containers", "a", 1, {}, 3)]))


def test_packs_fit_a_broker_and_keep_the_order() -> None:
    entries = [*entries_of(decisions(2000)), act("erased", {"why": "x" * 3000}, 5, home="h", id_="i" * 4096)]
    entries += list(
        entries_of(Document("revet.trust", "ü" * 4000 + str(n), n, {"event.id": str(n)}) for n in range(40))
    )
    packs = list(packed(entries, 9))
    assert [e for pack in packs for e in pack.entries] == entries
    for pack in packs:
        assert len(encode(pack)) <= MAX_RECORD_BYTES
        assert decode(encode(pack)) == pack
    assert len({pack.id for pack in packs}) == len(packs)


def test_an_act_says_what_is_hashed() -> None:
    made = act("key", {"b": "1", "a": "2"}, 5)
    assert msgspec.json.decode(made.note) == {"a": "2", "b": "1"}
    assert made.note == '{"a":"2","b":"1"}'
