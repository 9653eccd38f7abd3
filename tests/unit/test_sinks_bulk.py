"""Bulk requests as bytes and the table of outcomes: every row of it, and what never reaches the server."""

from __future__ import annotations

import json

import pytest

from streams.elastic import reason_of
from streams.sinks.bulk import (
    MALFORMED,
    MAX_VERSION,
    Encoder,
    Item,
    Refused,
    Told,
    Versioned,
    chunks,
    newest,
    outcome_of,
    read_answer,
)
from streams.sinks.document import Document, document, prepared
from streams.sinks.mapping import Names

ENCODER = Encoder(Names("t"))


def history(id_: str = "a", **body: object) -> Document:
    return document("admission", id_, 1, prepared(body))


def state(id_: str = "k", version: int = 1, **body: object) -> Document:
    return document("containers", id_, 1, prepared(body), version=version)


def item(made: Document, **more) -> Item:
    found = ENCODER.item(Versioned(made, **more))
    assert isinstance(found, Item)
    return found


def refused(made: Document, **more) -> Refused:
    found = ENCODER.item(Versioned(made, **more))
    assert isinstance(found, Refused)
    return found


# ------------------------------------------------------------------------------------------------------------ requests


def test_history_is_created_in_its_data_stream_under_its_own_id():
    """`create`, so that a replay is a conflict and never a change."""
    action, body = item(history("a", message="é")).data.decode().splitlines()
    wanted = {"_index": "logs-revet.admission-t", "require_data_stream": True, "_id": "a"}
    assert json.loads(action) == {"create": wanted}
    assert json.loads(body)["message"] == "é"


def test_state_is_indexed_behind_its_alias_with_an_external_version():
    """An equal version is taken again; an older one loses."""
    action, _ = item(state("k", 7)).data.decode().splitlines()
    assert json.loads(action) == {
        "index": {
            "_index": "revet-state-containers-t",
            "require_alias": True,
            "version_type": "external_gte",
            "_id": "k",
            "version": 7,
        }
    }


def test_the_version_of_the_record_wins_over_that_of_the_document():
    """The position in Kafka tells a stale owner's write, which the document does not know."""
    assert json.loads(item(state(version=7), version=1 << 48).data.splitlines()[0])["index"]["version"] == 1 << 48
    assert b"version" not in item(history(), version=5).data.splitlines()[0]


def test_an_id_that_is_too_long_is_hashed():
    """One item above 512 bytes makes the server refuse the whole request."""
    long = "é" * 400
    made = item(history(long))
    assert made.id.startswith("sha256:")
    assert json.loads(made.data.splitlines()[1])["event.id"] == long


@pytest.mark.parametrize("version", [-1, MAX_VERSION + 1, 2**80])
def test_a_version_out_of_range_never_reaches_the_server(version):
    """The same; at the upper end the server's arithmetic wraps."""
    made = refused(state(version=version))
    assert (made.outcome, made.code) == ("poison", MALFORMED)
    assert str(version) in made.reason
    assert refused(state(), version=version).code == MALFORMED


def test_what_is_no_json_never_reaches_the_server():
    """An integer of more than 64 bits, an empty id."""
    assert refused(history("a", **{"event.severity": 2**70})).code == MALFORMED
    assert refused(history("")).reason == "it has no id"


def test_ids_and_values_cannot_break_out_of_their_line():
    """Bulk requests are lines; line breaks and quotes are data."""
    made = item(history('a"}}\n{"delete":{"_index":"x"}}', message="b\r\n\u2028"))
    assert made.data.count(b"\n") == 2
    assert json.loads(made.data.splitlines()[0])["create"]["_id"] == 'a"}}\n{"delete":{"_index":"x"}}'


def test_one_write_sends_one_document_of_an_id():
    """What one after the other would leave, so that chunks may travel in any order."""
    first, later = history("a", message="first"), history("a", message="later")
    kept, duplicates, stale = newest(
        [
            Versioned(first),
            Versioned(state("k", 5)),
            Versioned(later),
            Versioned(state("k", 3)),
            Versioned(state("k", 5)),
        ]
    )
    assert [(made.document.id, made.document.version) for made in kept] == [("a", None), ("k", 5)]
    assert kept[0].document is first
    assert (duplicates, stale) == (1, 2)


def test_one_write_keeps_the_last_of_equal_versions():
    """As the server would: `external_gte`."""
    kept, _, _ = newest([Versioned(state("k", 5, message="one")), Versioned(state("k", 5, message="two"))])
    assert kept[0].document.body["message"] == "two"


@pytest.mark.parametrize(
    ("sizes", "documents", "size", "expected"),
    [
        ([], 2, 10, []),
        ([1, 1, 1], 2, 10, [2, 1]),
        ([6, 6, 3], 9, 10, [1, 2]),
        ([50, 1, 1], 9, 10, [1, 2]),
        ([5, 5, 1], 9, 10, [2, 1]),
    ],
)
def test_chunks(sizes, documents, size, expected):
    """By number and bytes; what is larger than a chunk goes alone."""
    items = [Item(Versioned(history()), "t", "a", b"x" * n) for n in sizes]
    made = chunks(items, documents, size)
    assert [len(part) for part in made] == expected
    assert [one for part in made for one in part] == items


# ------------------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("status", "kind", "reason", "in_history", "in_state"),
    [
        (409, "version_conflict_engine_exception", "", "duplicate", "stale"),
        (429, "es_rejected_execution_exception", "", "again", "again"),
        (429, "cluster_block_exception", "disk usage exceeded flood-stage watermark", "blocked", "blocked"),
        (403, "cluster_block_exception", "index write (api)", "blocked", "blocked"),
        (403, "security_exception", "", "forbidden", "forbidden"),
        (404, "index_not_found_exception", "", "missing", "missing"),
        (400, "document_parsing_exception", "", "poison", "poison"),
        (400, "mapper_parsing_exception", "", "poison", "poison"),
        (400, "strict_dynamic_mapping_exception", "", "poison", "poison"),
        (400, "illegal_argument_exception", "Document contains at least one immense term", "poison", "poison"),
        (400, "illegal_argument_exception", "no write index is defined for alias [a]", "missing", "missing"),
        (
            400,
            "illegal_argument_exception",
            "only write ops with an op_type of create",
            "missing",
            "missing",
        ),
        (400, "index_closed_exception", "", "blocked", "blocked"),
        (400, "validation_exception", "this action would add [2] shards", "blocked", "blocked"),
        (503, "unavailable_shards_exception", "", "again", "again"),
        (500, "null_pointer_exception", "", "again", "again"),
        (408, "timeout", "", "again", "again"),
        (418, "a_kind_nobody_knows", "", "poison", "poison"),
    ],
)
def test_outcomes(status, kind, reason, in_history, in_state):
    """The whole policy. Blocks are told by type: the status of a full disk is that of back-pressure."""
    assert outcome_of(status, kind, reason, history=True) == in_history
    assert outcome_of(status, kind, reason, history=False) == in_state


def test_a_document_in_the_failure_store_is_not_stored():
    """The server calls it a success."""
    items = [item(history("a")), item(history("b"))]
    answers = [
        {"create": {"_index": ".ds-x-000001", "status": 201}},
        {"create": {"_index": ".fs-x-000002", "status": 201, "failure_store": "used"}},
    ]
    told = read_answer(items, answers)
    assert [one.outcome for one in told] == ["stored", "parked"]
    assert told[0].index == ".ds-x-000001"
    assert told[1].why.endswith("see logs-revet.admission-t::failures")


def test_a_failure_store_that_is_off_or_broken_leaves_poison():
    """`not_enabled` and `failed` come with an error."""
    for store in ("not_enabled", "failed"):
        answer = {"create": {"status": 400, "failure_store": store, "error": {"type": "document_parsing_exception"}}}
        assert read_answer([item(history())], [answer])[0].outcome == "poison"


@pytest.mark.parametrize("answers", [None, [], [{}], ["x"], [{"create": {}}], [{"create": 1}], {"a": 1}, [1, 2]])
def test_an_answer_of_another_shape_is_no_answer(answers):
    """A proxy's, or one cut short: what was sent is sent again."""
    with pytest.raises(ValueError, match="answer"):
        read_answer([item(history())], answers)


def test_reasons_hold_no_values_of_the_document():
    """The server shows a preview in spite of `include_source_on_error`."""
    reason = "failed to parse field [event.severity]. Preview of field's value: 'hunter2'"
    error = {"type": "document_parsing_exception", "reason": reason}
    (told,) = read_answer([item(history())], [{"create": {"status": 400, "error": error}}])
    assert told == Told("poison", 400, "", "document_parsing_exception: failed to parse field [event.severity].")
    assert reason_of({"error": error}) == (error["type"], "failed to parse field [event.severity].")


@pytest.mark.parametrize("body", ["", "<html>502</html>", None, {}, {"error": None}, {"error": []}, [1]])
def test_errors_of_any_shape_have_a_reason(body):
    """Proxies answer with whatever they like."""
    assert reason_of(body) == ("", "")


def test_reasons_are_short():
    """A hostile or chatty server cannot fill a log."""
    assert len(reason_of({"error": "x" * 10_000})[1]) <= 300
    assert len(reason_of({"error": {"type": "y" * 10_000, "reason": "x" * 10_000}})[0]) <= 80
