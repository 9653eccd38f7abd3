"""Strict JSON: one meaning for every parser, within limits, and quick refusals."""

import json
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.errors import EvidenceError
from verifier.evidence.base64text import decode_any_base64, decode_base64, decode_spaced_base64
from verifier.evidence.limits import JSON_DEPTH, MIB
from verifier.evidence.strictjson import StrictDecoder, loads_strict

REFUSED = [
    ("duplicate members", b'{"a":1,"a":2}', "payload-malformed"),
    ("the same member with the same value", b'{"a":1,"a":1}', "payload-malformed"),
    ("duplicates deep inside", b'[{"x":{"a":1, "b":[{"c":1,"c":2}]}}]', "payload-malformed"),
    ("duplicates spelled with an escape", b'{"a":1,"\\u0061":2}', "payload-malformed"),
    ("data behind the document", b'{"a":1} {"a":2}', "payload-malformed"),
    ("a byte-order mark", b'\xef\xbb\xbf{"a":1}', "payload-malformed"),
    ("UTF-16", '{"a":1}'.encode("utf-16"), "payload-malformed"),
    ("invalid UTF-8", b'{"a":"\xff"}', "payload-malformed"),
    ("an overlong encoding", b'{"a":"\xc0\xaf"}', "payload-malformed"),
    ("a surrogate in UTF-8", b'{"a":"\xed\xa0\x80"}', "payload-malformed"),
    ("a lone surrogate", b'{"a":"\\ud800"}', "payload-malformed"),
    ("NaN", b'{"a":NaN}', "payload-malformed"),
    ("infinity", b'{"a":-Infinity}', "payload-malformed"),
    ("a number beyond any double", b'{"a":1e999}', "payload-malformed"),
    ("a number of 5000 digits", b'{"a":' + b"9" * 5000 + b"}", "payload-malformed"),
    ("a number of 100000 digits", b'{"a":' + b"9" * 100_000 + b"}", "payload-malformed"),
    ("single quotes", b"{'a':1}", "payload-malformed"),
    ("a comma at the end", b'{"a":1,}', "payload-malformed"),
    ("a comment", b'{"a":1}//', "payload-malformed"),
    ("a control character in a string", b'{"a":"\n"}', "payload-malformed"),
    ("nothing", b"", "payload-malformed"),
    ("only white space", b"  ", "payload-malformed"),
    ("unfinished", b'{"a":', "payload-malformed"),
    ("nested too deep", b"[" * (JSON_DEPTH + 1) + b"]" * (JSON_DEPTH + 1), "limit-exceeded"),
    ("nested a million deep", b'{"a":' * 200_000, "limit-exceeded"),
    ("too large", b'"' + b"a" * MIB + b'"', "limit-exceeded"),
]


@pytest.mark.parametrize(("what", "data", "code"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refuses(what, data, code):
    with pytest.raises(EvidenceError) as caught:
        loads_strict(data, limit=MIB)
    assert caught.value.code == code
    assert str(caught.value).isprintable()


ACCEPTED = [
    ("compact", b'{"a":{"b":[1,2.5,true,null,"x"]}}'),
    ("with spaces", b'{ "a" : { "b" : [ 1, 2.5 ] } }\n'),
    ("with escapes", b'{"a":"\\u003cx\\u003e \\ud83d\\ude00"}'),
    ("members that differ in capitals", b'{"Env":1,"env":2}'),
    ("the same member in two objects", b'[{"a":1},{"a":1}]'),
    ("large integers", b'{"a":123456789012345678901234567890}'),
    ("exactly as deep as allowed", b"[" * JSON_DEPTH + b"]" * JSON_DEPTH),
    ("brackets inside strings", b'{"a":"' + b"[{" * 5000 + b'"}'),
    ("brackets behind an escaped quote", b'{"a":"\\"' + b"[" * 5000 + b'\\\\"}'),
    ("wide rather than deep", b"[" + b"[]," * 5000 + b"[]]"),
]


@pytest.mark.parametrize(("what", "data"), ACCEPTED, ids=[row[0] for row in ACCEPTED])
def test_reads_what_json_reads(what, data):
    assert loads_strict(data, limit=MIB) == json.loads(data)


@pytest.mark.parametrize(
    "data",
    [b'"' + b'\\"' * 500_000, b'"' * 1_000_000, b"[" + b"[]," * 333_000, b'{"a":"' + b"\\" * 999_000, b"{" * 1_000_000],
    ids=["escaped quotes without end", "quotes", "brackets", "backslashes", "braces"],
)
def test_refusing_a_megabyte_takes_no_time(data):
    """No input makes the depth check or the decoder quadratic."""
    start = time.process_time()
    with pytest.raises(EvidenceError):
        loads_strict(data, limit=MIB)
    assert time.process_time() - start < 2


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150)
@given(documents, st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")]), st.booleans())
def test_any_document_without_duplicates_is_read_whatever_its_spacing(value, separators, ascii_only):
    data = json.dumps(value, separators=separators, ensure_ascii=ascii_only)
    assert loads_strict(data.encode(), limit=MIB) == json.loads(data)


@settings(max_examples=150)
@given(st.dictionaries(st.text(max_size=5), documents, min_size=1, max_size=4), st.data())
def test_any_repeated_member_is_refused(value, data):
    name = data.draw(st.sampled_from(sorted(value)))
    for separators in ((",", ":"), (", ", ": ")):
        again = json.dumps({name: value[name]}, separators=separators)
        text = json.dumps(value, separators=separators)[:-1] + separators[0] + again[1:]
        with pytest.raises(EvidenceError) as caught:
            loads_strict(text.encode(), limit=MIB)
        assert caught.value.code == "payload-malformed"


class Inner(msgspec.Struct, frozen=True):
    image: str = ""


class Outer(msgspec.Struct, frozen=True):
    critical: Inner
    parts: tuple[Inner | None, ...] = ()
    free: dict[str, object] | None = None


OUTER = StrictDecoder(Outer, "bundle-malformed")

STRUCTS = [
    ("exact", b'{"critical":{"image":"x"},"parts":[],"free":null}', ""),
    ("unknown members", b'{"critical":{"image":"x","note":1},"version":2}', ""),
    ("names of a free object may differ in capitals", b'{"critical":{"image":"x"},"free":{"Env":1,"env":2}}', ""),
    ("other capitals beside", b'{"critical":{"image":"x","Image":"y"}}', "bundle-malformed"),
    ("other capitals alone", b'{"critical":{"Image":"y"}}', "bundle-malformed"),
    (
        "other capitals by a look-alike Go folds",
        '{"critical":{"image":"x"},"part\u017f":[]}'.encode(),
        "bundle-malformed",
    ),
    ("other capitals inside a list", b'{"critical":{"image":"x"},"parts":[null,{"IMAGE":"y"}]}', "bundle-malformed"),
    ("a member missing", b'{"parts":[]}', "bundle-malformed"),
    ("a member of another type", b'{"critical":{"image":1}}', "bundle-malformed"),
    ("duplicates in a part nobody reads", b'{"critical":{"image":"x"},"other":{"a":1,"a":2}}', "bundle-malformed"),
]


@pytest.mark.parametrize(("what", "data", "code"), STRUCTS, ids=[row[0] for row in STRUCTS])
def test_structs(what, data, code):
    if not code:
        assert OUTER.decode(data, limit=MIB).critical.image == "x"
        return
    with pytest.raises(EvidenceError) as caught:
        OUTER.decode(data, limit=MIB)
    assert caught.value.code == code


BASE64 = [
    ("c2lnbg==", b"sign", b"sign", b"sign"),
    ("", b"", b"", b""),
    ("c2lnbg", None, None, b"sign"),
    ("c2ln\nbg==\r\n", None, b"sign", None),
    ("_-8=", None, None, b"\xff\xef"),
    ("_-8", None, None, b"\xff\xef"),
    ("c2lnbh==", None, None, None),
    ("c2lnbg=", None, None, None),
    ("c2lnbg===", None, None, None),
    ("c2ln!bg==", None, None, None),
    ("c2lnbg==c2lnbg==", None, None, None),
    ("é", None, None, None),
    ("\ud800", None, None, None),
    ("=", None, None, None),
]
"""(text, strict, spaced, any alphabet); None: refused."""


@pytest.mark.parametrize(("text", "strict", "spaced", "any_alphabet"), BASE64, ids=[ascii(row[0]) for row in BASE64])
def test_base64_has_one_spelling(text, strict, spaced, any_alphabet):
    for decode, expected in (
        (decode_base64, strict),
        (decode_spaced_base64, spaced),
        (decode_any_base64, any_alphabet),
    ):
        if expected is not None:
            assert decode(text, "sig", "signature-malformed") == expected
            continue
        with pytest.raises(EvidenceError) as caught:
            decode(text, "sig", "signature-malformed")
        assert caught.value.code == "signature-malformed"
