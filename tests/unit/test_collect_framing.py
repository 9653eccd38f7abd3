"""Bytes of any shape become whole documents, and what cannot is refused by name without harm to its neighbours."""

import gzip
import hashlib
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.collectors.framing import (
    MAX_EVENT_BYTES,
    MAX_NESTING,
    SHORT,
    Document,
    Refused,
    split,
    too_deep,
)
from streams.collectors.originals import reduced_original
from tests.helpers.audit_events import observe_all, read_items

ONE, TWO = b'{"kind":"Event","n":1}', b'{"kind":"Event","n":2}'
PRETTY = json.dumps({"kind": "PodList", "items": [{"a": 1}, {"b": [1, 2]}]}, indent=2).encode()


def frames(*chunks, **options):
    return [(f.position, f.data if isinstance(f, Document) else f.code) for f in split(chunks, **options)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"\n \n\r\n", [], id="empty lines"),
        pytest.param(ONE, [("1", ONE)], id="one document without a line end"),
        pytest.param(ONE + b"\n" + TWO + b"\n", [("1", ONE), ("2", TWO)], id="JSON lines"),
        pytest.param(ONE + b"\r\n\r\n" + TWO + b"\r\n", [("1", ONE), ("3", TWO)], id="lines of Windows"),
        pytest.param(b"\xef\xbb\xbf" + ONE, [("1", ONE)], id="a byte order mark"),
        pytest.param(b"\xff\xfe{\x00}\x00", [("1", "not-utf-8")], id="UTF-16"),
        pytest.param(PRETTY + b"\n", [("1", PRETTY)], id="a document over many lines"),
        pytest.param(
            PRETTY + b"\n" + PRETTY, [("1", PRETTY), (str(PRETTY.count(b"\n") + 2), PRETTY)], id="two of them"
        ),
        pytest.param(
            PRETTY + b"\n" + ONE, [("1", PRETTY), (str(PRETTY.count(b"\n") + 2), ONE)], id="many lines, then one"
        ),
        pytest.param(b"[" + ONE + b"," + TWO + b"]", [("1", b"[" + ONE + b"," + TWO + b"]")], id="an array in a line"),
        pytest.param(
            b"[\n" + ONE + b",\n" + TWO + b"\n]", [("1", b"[\n" + ONE + b",\n" + TWO + b"\n]")], id="an array of lines"
        ),
        pytest.param(
            b"[\n" + ONE + b",\n" + TWO, [("1", "json-truncated"), ("2", ONE), ("3", TWO)], id="an array cut off"
        ),
        pytest.param(b'{"kind":"Ev\n' + ONE, [("1", "json-malformed"), ("2", ONE)], id="a line cut inside a string"),
        pytest.param(b'{"kind":{"a":1\n' + ONE, [("1", "json-truncated"), ("2", ONE)], id="a line cut behind a value"),
        pytest.param(b'{"kind":\n' + ONE, [("1", "json-truncated"), ("2", ONE)], id="a line cut behind a colon"),
        pytest.param(
            b'{"items":[\n' + ONE + b"\n" + TWO, [("1", "json-truncated"), ("2", ONE), ("3", TWO)], id="a cut list"
        ),
        pytest.param(b"{]\n" + ONE, [("1", "json-malformed"), ("2", ONE)], id="brackets that do not match"),
        pytest.param(
            PRETTY[:-2] + b"\n" + ONE, [("1", "json-truncated"), (str(PRETTY.count(b"\n") + 1), ONE)], id="pretty, cut"
        ),
        pytest.param(b'{"a":"}{"\n}\n' + ONE, [("1", b'{"a":"}{"\n}'), ("3", ONE)], id="brackets inside strings"),
        pytest.param(b"null\n" + ONE, [("1", "not-an-object"), ("2", ONE)], id="a value that is no object"),
        pytest.param(b"W0101 klog line\n" + ONE, [("1", "not-an-object"), ("2", ONE)], id="a log line in between"),
        pytest.param(b"kind: Pod\nspec:\n  a: 1\n", [("1", "yaml-not-read")], id="YAML is refused as a whole"),
        pytest.param(b"---\nkind: Pod\n" + ONE, [("1", "yaml-not-read"), ("3", ONE)], id="until JSON begins"),
        pytest.param(b"Warning: deprecated\n" + ONE, [("1", "yaml-not-read"), ("2", ONE)], id="a warning of kubectl"),
    ],
)
def test_splits_every_shape(text, expected):
    assert frames(text) == expected
    for size in (1, 3, 7):  # the chunks a stream arrives in change nothing
        assert frames(*[text[i : i + size] for i in range(0, len(text), size)]) == expected


def test_a_refusal_carries_size_and_hash():
    (refusal,) = split([b"not json"])
    assert isinstance(refusal, Refused)
    assert (refusal.size, refusal.sha256) == (8, hashlib.sha256(b"not json").hexdigest())


def test_hostile_a_ten_megabyte_line_does_not_take_its_neighbours_along():
    huge = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","x":"' + b"a" * 10_000_000 + b'"}'
    raws = list(read_items([ONE + b"\n" + huge + b"\n" + TWO + b"\n"]))
    assert [(r.position, getattr(r, "code", "kept")) for r in raws] == [
        ("1", "kind-not-read"),
        ("2", "event-too-large"),
        ("3", "kind-not-read"),
    ]
    assert raws[1].size == len(huge) > MAX_EVENT_BYTES


def test_hostile_a_line_without_end_is_forgotten_while_it_comes():
    piece = b"x" * 1000
    found = frames(ONE + b"\n", b'{"a":"', *[piece] * 50, b"\n" + TWO + b"\n", max_body=10_000)
    assert found == [("1", ONE), ("2", "body-too-large"), ("3", TWO)]


def test_a_document_larger_than_a_body_gives_its_lines():
    body = b"[\n" + b",\n".join([ONE] * 100) + b"\n]\n"
    found = frames(body, max_body=1000)
    assert [data for _, data in found].count(ONE) == 100
    assert found[0] == ("1", "body-too-large")


def test_hostile_brackets_without_end_cost_no_more_than_their_length():
    assert frames(b"[\n" * 20_000 + ONE) == [("1", "json-truncated"), ("20001", ONE)]


@pytest.mark.parametrize(
    ("data", "deep"),
    [
        pytest.param(b"[" * 10_000 + b"]" * 10_000, True, id="ten thousand arrays"),
        pytest.param(b'{"a":' * 10_000 + b"1" + b"}" * 10_000, True, id="ten thousand objects"),
        pytest.param(b'{"a":[' * 5_000, True, id="opened and never closed"),
        pytest.param(b'[{"a":' * (MAX_NESTING // 2 + 1) + b"1" + b"}]" * (MAX_NESTING // 2 + 1), True, id="just above"),
        pytest.param(b"[" * MAX_NESTING + b"]" * MAX_NESTING, False, id="just within"),
        pytest.param(b"[" + b"[]," * 5_000 + b"[]]", False, id="wide, not deep"),
        pytest.param(b'["' + b"[" * 5_000 + b'"]', False, id="brackets in a string"),
        pytest.param(b'["\\"' + b"[" * 5_000 + b'"]', False, id="behind an escaped quote"),
        pytest.param(b'"\\"' * 40_000 + b"[" * 600, False, id="quotes without end"),
    ],
)
def test_hostile_nesting_is_measured_before_decoding(data, deep):
    assert too_deep(data + b" " * SHORT) is deep


def test_hostile_nesting_of_a_short_document_is_refused_by_the_decoder():
    short = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","x":' + b"[" * 4_000 + b"]" * 4_000 + b"}"
    assert len(short) <= SHORT
    (raw,) = read_items([short])
    (letter,) = observe_all(raw, cluster="c", source="s")
    assert letter.code in {"too-deep", "member-missing"}  # as deep as this interpreter's stack allows


def test_hostile_deep_nesting_is_a_named_refusal():
    deep = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","x":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    assert [r.code for r in read_items([deep])] == ["too-deep"]


def test_gzip_is_read_also_in_members_and_small_chunks():
    packed = gzip.compress(ONE + b"\n") + gzip.compress(TWO + b"\n")
    assert frames(packed) == frames(*[packed[i : i + 1] for i in range(len(packed))]) == [("1", ONE), ("2", TWO)]


@pytest.mark.parametrize(
    ("packed", "code"),
    [
        pytest.param(gzip.compress(ONE + b"\n" + random.Random(1).randbytes(500))[:-9], "gzip-truncated", id="cut"),
        pytest.param(gzip.compress(ONE)[:-8] + bytes(8), "gzip-broken", id="damaged"),
        pytest.param(gzip.compress(b" " * 10_000_000), "gzip-expands", id="a bomb"),
    ],
)
def test_hostile_gzip_is_a_named_refusal(packed, code):
    assert code in [frame.code for frame in split([packed]) if isinstance(frame, Refused)]


@settings(max_examples=150)
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_bytes_split_without_exception(chunks):
    for frame in split(chunks):
        assert frame.position


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=60)
@given(st.lists(st.dictionaries(st.text(max_size=6), JSON, min_size=1, max_size=3), max_size=5), st.data())
def test_any_mixture_of_printings_gives_every_document(values, data):
    parts = []
    for value in values:
        indent = data.draw(st.sampled_from([None, 1, 4]))
        parts.append(json.dumps(value, indent=indent, ensure_ascii=data.draw(st.booleans())))
    text = "\n".join(parts).encode("utf-8", "replace")
    cut = data.draw(st.integers(0, len(text)))
    found: Any = list(split([text[:cut], text[cut:]]))
    assert all(isinstance(frame, Document) for frame in found)
    assert [json.loads(frame.data) for frame in found] == [json.loads(p.encode("utf-8", "replace")) for p in parts]


@settings(max_examples=100)
@given(st.lists(st.sampled_from([ONE, TWO, b"oops", b'{"a":', b"[", b"null", b'{"x":"', b"}"]), max_size=12))
def test_good_lines_survive_whatever_stands_around_them(lines):
    found = [frame.data for frame in split([b"\n".join(lines)]) if isinstance(frame, Document)]
    inside = b"\n".join(found)
    assert inside.count(ONE) == lines.count(ONE)
    assert inside.count(TWO) == lines.count(TWO)


# ------------------------------------------------------------------------------------------- the webhook's own list

BARE = (
    b'{"level":"Metadata","auditID":"a-1","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/pay/pods/api",'
    b'"verb":"create","user":{"username":"alice"},"objectRef":{"resource":"pods","namespace":"pay","name":"api",'
    b'"apiVersion":"v1"},"responseStatus":{"metadata":{},"code":201},'
    b'"requestReceivedTimestamp":"2026-11-20T18:51:42.521739Z","stageTimestamp":"2026-11-20T18:51:42.523967Z"}'
)


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
@pytest.mark.parametrize("order", ["kind first", "items first"])
def test_items_of_the_webhooks_list_have_no_kind(version, order):
    """Go leaves kind and apiVersion out of the items of a typed list; the log backend writes both."""
    members = [
        b'"kind":"EventList"',
        b'"apiVersion":"audit.k8s.io/' + version.encode() + b'"',
        b'"items":[' + BARE + b"]",
    ]
    body = b"{" + b",".join(members if order == "kind first" else members[::-1]) + b"}"
    (raw,) = read_items([body])
    assert raw.shape == "event"
    decision, original = observe_all(body, cluster="c1", source="s")[-1], reduced_original(raw)
    assert (decision.audit_id, decision.name) == ("a-1", "api")
    again = observe_all(original, cluster="c1", source="s")[-1]
    assert again.id == decision.id, "what is kept of it stands alone"


def test_another_groups_event_list_is_none_of_ours():
    """events.k8s.io has lists of that name too."""
    body = b'{"kind":"EventList","apiVersion":"events.k8s.io/v1","items":[{"metadata":{"name":"x"},"reason":"Pulled"}]}'
    assert [raw.code for raw in read_items([body])] == ["kind-missing"]
