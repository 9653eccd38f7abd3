"""The CBOR subset of COSE: what is read, what is refused, and what hostile bytes cost."""

import random
import time

import pytest

from tests.helpers.notation import Raw, Tag, cbor, pairs
from verifier.errors import EvidenceError
from verifier.evidence.cbor import (
    CBOR_DEPTH,
    CBOR_ITEMS,
    Tagged,
    decode_cbor,
    encode_array,
    encode_bytes,
    encode_text,
)

LIMIT = 1 << 20


@pytest.mark.parametrize(
    ("text", "value"),
    [  # RFC 8949 appendix A, what of it belongs to the subset
        ("00", 0),
        ("17", 23),
        ("1818", 24),
        ("1903e8", 1000),
        ("1a000f4240", 1000000),
        ("1b000000e8d4a51000", 1000000000000),
        ("1bffffffffffffffff", 18446744073709551615),
        ("20", -1),
        ("3863", -100),
        ("3bffffffffffffffff", -18446744073709551616),
        ("f4", False),
        ("f5", True),
        ("f6", None),
        ("c11a514b67b0", Tagged(1, 1363896240)),
        ("40", b""),
        ("4401020304", b"\x01\x02\x03\x04"),
        ("60", ""),
        ("62c3bc", "ü"),
        ("64f0908591", "\U00010151"),
        ("80", []),
        ("8301820203820405", [1, [2, 3], [4, 5]]),
        ("a0", {}),
        ("a201020304", {1: 2, 3: 4}),
        ("a26161016162820203", {"a": 1, "b": [2, 3]}),
        ("d28441a0a04040", Tagged(18, [b"\xa0", {}, b"", b""])),
    ],
)
def test_reads(text, value):
    found = decode_cbor(bytes.fromhex(text), limit=LIMIT)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "ends early"),
        ("0000", "after the end"),
        ("18", "ends early"),
        ("1817", "shortest form"),
        ("190017", "shortest form"),
        ("1a0000ffff", "shortest form"),
        ("1b00000000ffffffff", "shortest form"),
        ("5817" + "00" * 23, "shortest form"),
        ("f90000", "floating point"),
        ("fa47c35000", "floating point"),
        ("fb3ff199999999999a", "floating point"),
        ("f7", "simple value"),
        ("f0", "simple value"),
        ("f818", "simple value"),
        ("ff", "break code"),
        ("5f42010243030405ff", "indefinite length"),
        ("7f657374726561646d696e67ff", "indefinite length"),
        ("9f01ff", "indefinite length"),
        ("bf6161 01ff", "indefinite length"),
        ("1c", "reserved"),
        ("c074323031332d30332d32315432303a30343a30305a", "tag 0"),
        ("c249010000000000000000", "tag 2"),
        ("d9d9f700", "tag 55799"),
        ("c1fb41d452d9ec200000", "floating point"),
        ("c160", "expected whole seconds"),
        ("c1f5", "expected whole seconds"),
        ("a201260126", "key '1' twice"),
        ("a2616101616102", "key 'a' twice"),
        ("a1f501", "map key of type bool"),
        ("a1410101", "map key of type bytes"),
        ("a18001", "map key of type list"),
        ("a1f601", "map key of type NoneType"),
        ("61ff", "not UTF-8"),
        ("63eda080", "not UTF-8"),
        ("4501", "ends early"),
        ("8201", "announced"),
    ],
)
def test_refuses(text, says):
    with pytest.raises(EvidenceError, match=says) as caught:
        decode_cbor(bytes.fromhex(text), limit=LIMIT)
    assert caught.value.code == "envelope-malformed"


@pytest.mark.parametrize("head", ["9bffffffffffffffff", "bbffffffffffffffff", "5bffffffffffffffff", "7a7fffffff"])
def test_attack_a_length_nobody_could_send_allocates_nothing(head):
    started = time.thread_time()
    with pytest.raises(EvidenceError, match="announced"):
        decode_cbor(bytes.fromhex(head) + b"\x00" * 100, limit=LIMIT)
    assert time.thread_time() - started < 0.05


@pytest.mark.parametrize("opening", [b"\x81", b"\xa1\x01", b"\xc1", b"\xd2"])
def test_attack_nesting_ends_the_reader_not_the_interpreter(opening):
    with pytest.raises(EvidenceError, match="nested deeper than") as caught:
        decode_cbor(opening * 100_000, limit=LIMIT)
    assert caught.value.code == "limit-exceeded"


def test_depth_is_counted_exactly():
    assert decode_cbor(b"\x81" * (CBOR_DEPTH - 1) + b"\x00", limit=LIMIT)
    with pytest.raises(EvidenceError):
        decode_cbor(b"\x81" * CBOR_DEPTH + b"\x00", limit=LIMIT)


def test_attack_a_million_small_items_are_refused_early():
    data = cbor([0] * CBOR_ITEMS)
    started = time.thread_time()
    with pytest.raises(EvidenceError, match="data items") as caught:
        decode_cbor(data, limit=LIMIT)
    assert caught.value.code == "limit-exceeded"
    assert time.thread_time() - started < 0.05
    assert len(decode_cbor(cbor([0] * (CBOR_ITEMS - 1)), limit=LIMIT)) == CBOR_ITEMS - 1  # type: ignore[arg-type]  # a list


def test_size_is_looked_at_first():
    with pytest.raises(EvidenceError, match="11 bytes, limit 10") as caught:
        decode_cbor(b"\xff" * 11, limit=10)
    assert caught.value.code == "limit-exceeded"


def test_a_key_and_a_text_that_look_alike_are_two_keys():
    assert decode_cbor(pairs([(1, 2), ("1", 3)]), limit=LIMIT) == {1: 2, "1": 3}


@pytest.mark.parametrize("size", [0, 23, 24, 255, 256, 65535, 65536])
def test_what_is_encoded_is_read_back(size):
    parts = decode_cbor(encode_array(encode_text("x" * size), encode_bytes(b"y" * size)), limit=LIMIT)
    assert parts == ["x" * size, b"y" * size]
    assert encode_bytes(b"y" * size) == cbor(b"y" * size)


def _anything(chance: random.Random, depth: int = 0) -> object:
    kinds = ["int", "bytes", "text", "constant"] + ["list", "map"] * (depth < 5)
    kind = chance.choice(kinds)
    if kind == "int":
        return chance.randint(-(1 << chance.randint(0, 64)), (1 << chance.randint(0, 64)) - 1)
    if kind == "bytes":
        return chance.randbytes(chance.randint(0, 40))
    if kind == "text":
        return "".join(chance.choice("aé漢😀\0") for _ in range(chance.randint(0, 9)))
    if kind == "list":
        return [_anything(chance, depth + 1) for _ in range(chance.randint(0, 4))]
    if kind == "map":
        keys = [chance.choice([chance.randint(-99, 99), f"k{chance.randint(0, 99)}"]) for _ in range(3)]
        return {key: _anything(chance, depth + 1) for key in keys}
    return chance.choice([True, False, None])


def test_values_come_back_as_they_went_in():
    chance = random.Random(7)
    for _ in range(500):
        value = _anything(chance)
        assert decode_cbor(cbor(value), limit=LIMIT) == value


def test_damaged_documents_raise_nothing_else():
    chance = random.Random(11)
    whole = cbor(Tag(18, [cbor({1: -7, 2: ["a"], "t": Tag(1, 5)}), {33: [b"x" * 30]}, b"{}", b"s" * 64]))
    refused = 0
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            decode_cbor(bytes(data[: chance.randint(1, len(data))]), limit=LIMIT)
        except EvidenceError:
            refused += 1
    assert refused > 1000


def test_an_encoded_part_is_taken_as_it_is():
    assert cbor([Raw(b"\x01")]) == b"\x81\x01"
