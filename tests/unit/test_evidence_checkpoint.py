"""Checkpoints: what is a note, whose line counts, and what an attacker would write instead."""

import dataclasses

import pytest

from tests.helpers.rekor import MemoryLog, b64, witness_line
from verifier.errors import EvidenceError
from verifier.evidence.checkpoint import (
    CHECKPOINT_CHARACTERS,
    CHECKPOINT_LINES,
    OWN_LINES,
    read_checkpoint,
    verify_checkpoint,
)

V1 = MemoryLog("rekor.example")
V2 = MemoryLog("tiles.example", version=2)
OTHER = MemoryLog("other.example", version=2)
LOGS = [
    V1,
    V2,
    MemoryLog("p384.example", key_type="p384"),
    MemoryLog("rsa.example", key_type="rsa2048"),
    MemoryLog("v2-ecdsa.example", version=2, key_type="p256"),
]


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.host)
def test_a_log_signs_its_own_head(log):
    checkpoint = read_checkpoint(log.checkpoint())
    assert (checkpoint.origin, checkpoint.size) == (log.origin, len(log.leaves))
    assert len(checkpoint.root) == 32
    assert checkpoint.signed == log.head().encode()
    assert verify_checkpoint(checkpoint, log.log)


@pytest.mark.parametrize("log", [V1, V2], ids=["v1", "v2"])
def test_extension_lines_are_signed_with_the_rest(log):
    head = log.head() + "Timestamp: 1689177396617352539\n"
    note = f"{head}\n{log.line(head)}"
    assert verify_checkpoint(read_checkpoint(note), log.log)
    assert not verify_checkpoint(read_checkpoint(note.replace("1689", "1690")), log.log)


# ---------------------------------------------------------------------------------------------------- whose line counts


def lines(log: MemoryLog, *names: str) -> str:
    head = log.head()
    made = {
        "own": log.line(head),
        "witness": witness_line(head),
        "other log": OTHER.line(head),
        "own name, other key": OTHER.line(head, name=log.host, hint=bytes.fromhex(log.id)[:4]),
        "other name": log.line(head, name="someone.example"),
        "other hint": log.line(head, hint=b"\0\1\2\3"),
        "other text": log.line(head + "more\n"),
        "empty head": log.line("\n"),
    }
    return f"{head}\n" + "".join(made[name] for name in names)


@pytest.mark.parametrize("log", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize(
    ("names", "good"),
    [
        (["own"], True),
        (["own", "witness"], True),
        (["witness", "own"], True),
        (["own", "own"], True),
        (["own name, other key", "own"], True),
        (["other log", "own"], True),
        (["witness"], False),
        (["other log"], False),
        (["own name, other key"], False),
        (["other name"], False),
        (["other hint"], False),
        (["other text"], False),
        (["empty head"], False),
        (["other name", "other hint", "witness"], False),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
def test_one_line_of_the_log_itself_is_needed_and_enough(log, names, good):
    assert verify_checkpoint(read_checkpoint(lines(log, *names)), log.log) is good


@pytest.mark.parametrize("log", [V1, V2], ids=["v1", "v2"])
def test_no_byte_of_the_signed_text_can_be_changed(log):
    head, rest = log.head(), log.checkpoint()[len(log.head()) :]
    for place in range(len(head)):
        changed = head[:place] + chr(ord(head[place]) ^ 1) + head[place + 1 :]
        try:
            good = verify_checkpoint(read_checkpoint(changed + rest), log.log)
        except EvidenceError as error:
            assert error.code == "log-entry-malformed"  # noqa: PT017 - both endings are fine
            good = False
        assert not good, f"byte {place}: {changed!r}"


def test_rekor_v2_signs_under_the_host_of_its_url_only():
    """A log of another origin that holds the same key must not speak for this one."""
    renamed = dataclasses.replace(V2.log, origin="elsewhere.example")
    assert not verify_checkpoint(read_checkpoint(V2.checkpoint()), renamed)


def test_rekor_v1_may_name_itself_otherwise_than_its_url():
    inside = dataclasses.replace(V1.log, origin="rekor.internal.example")
    assert verify_checkpoint(read_checkpoint(V1.checkpoint()), inside)


def test_rekor_v1_origin_and_line_must_agree():
    head = V1.head().replace("rekor.example - ", "rekor.other - ")
    assert not verify_checkpoint(read_checkpoint(f"{head}\n{V1.line(head)}"), V1.log)
    assert verify_checkpoint(read_checkpoint(f"{head}\n{V1.line(head, name='rekor.other')}"), V1.log)


def test_many_lines_in_the_name_of_the_log_are_not_all_tried():
    """Each costs a verification, a bad Ed25519 one thousands of times what writing it costs."""
    assert not verify_checkpoint(read_checkpoint(lines(V2, *["own name, other key"] * OWN_LINES)), V2.log)
    with pytest.raises(EvidenceError) as caught:
        verify_checkpoint(read_checkpoint(lines(V2, *["own name, other key"] * (OWN_LINES + 1))), V2.log)
    assert caught.value.code == "limit-exceeded"


# ------------------------------------------------------------------------------------------------------- what is a note

ROOT = b64(bytes(32))
LINE = f"\u2014 tiles.example {b64(b'hint' + bytes(64))}\n"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("\n\n", id="empty lines only"),
        pytest.param(f"\n\n{LINE}", id="no text"),
        pytest.param(f"o\n1\n{ROOT}\n", id="no signatures"),
        pytest.param(f"o\n1\n{ROOT}\n\n", id="no signature lines"),
        pytest.param(f"o\n1\n{ROOT}\n{LINE}", id="no empty line"),
        pytest.param(f"o\n1\n{ROOT}\n\n{LINE[:-1]}", id="last line without end"),
        pytest.param(f"o\n1\n{ROOT}\n\n{LINE}\n", id="empty line at the end"),
        pytest.param(f"o\n1\n{ROOT}\n\n{LINE}\n{LINE}", id="a signature line inside the text"),
        pytest.param(f"1\n{ROOT}\n\n{LINE}", id="no origin"),
        pytest.param(f"\n1\n{ROOT}\n\n{LINE}", id="empty origin"),
        pytest.param(f" \n1\n{ROOT}\n\n{LINE}", id="blank origin"),
        pytest.param(f"o\n{ROOT}\n\n{LINE}", id="no size"),
        pytest.param(f"o\n1\n\n{LINE}", id="no root hash"),
        pytest.param(f"o\n-1\n{ROOT}\n\n{LINE}", id="negative size"),
        pytest.param(f"o\n+1\n{ROOT}\n\n{LINE}", id="signed size"),
        pytest.param(f"o\n01\n{ROOT}\n\n{LINE}", id="size with a leading zero"),
        pytest.param(f"o\n 1\n{ROOT}\n\n{LINE}", id="size with a space"),
        pytest.param(f"o\n1_0\n{ROOT}\n\n{LINE}", id="size as Python writes it"),
        pytest.param(f"o\n\u0661\n{ROOT}\n\n{LINE}", id="size in other digits"),
        pytest.param(f"o\n1e3\n{ROOT}\n\n{LINE}", id="size as a float"),
        pytest.param(f"o\n{'9' * 20}\n{ROOT}\n\n{LINE}", id="size of twenty digits"),
        pytest.param(f"o\n1\n{b64(bytes(31))}\n\n{LINE}", id="root hash of 31 bytes"),
        pytest.param(f"o\n1\n{b64(bytes(33))}\n\n{LINE}", id="root hash of 33 bytes"),
        pytest.param(f"o\n1\n{ROOT[:-1]}\n\n{LINE}", id="root hash without padding"),
        pytest.param(f"o\n1\n {ROOT}\n\n{LINE}", id="root hash with a space"),
        pytest.param(f"o\n1\n{ROOT}\n\n{LINE.replace(chr(0x2014), '-')}", id="hyphen for the dash"),
        pytest.param(f"o\n1\n{ROOT}\n\n{LINE.replace(chr(0x2014), chr(0x2013))}", id="en dash for the dash"),
        pytest.param(f"o\n1\n{ROOT}\n\n\u2014  {b64(b'hint' + bytes(64))}\n", id="line without a name"),
        pytest.param(f"o\n1\n{ROOT}\n\n\u2014 a+b {b64(b'hint' + bytes(64))}\n", id="plus sign in a name"),
        pytest.param(f"o\n1\n{ROOT}\n\n\u2014 a b {b64(b'hint' + bytes(64))}\n", id="space in a name"),
        pytest.param(f"o\n1\n{ROOT}\n\n\u2014 a\u00a0b {b64(b'hint' + bytes(64))}\n", id="no-break space in a name"),
        pytest.param(f"o\n1\n{ROOT}\n\n\u2014 a {b64(b'hint')}\n", id="line of a hint alone"),
        pytest.param(f"o\n1\n{ROOT}\n\n\u2014 a {b64(b'hint' + bytes(64))} x\n", id="line with more behind"),
        pytest.param(f"o\n1\n{ROOT}\n\n\u2014 a {b64(b'hint' + bytes(66))[:-1]}x\n", id="left-over bits"),
        pytest.param(f"o\n1\n{ROOT}\n\n{LINE}garbage\n", id="one bad line among good ones"),
        pytest.param(f"o\r\n1\r\n{ROOT}\r\n\r\n{LINE}", id="carriage returns"),
        pytest.param(f"o\0\n1\n{ROOT}\n\n{LINE}", id="NUL"),
        pytest.param(f"o\ud800\n1\n{ROOT}\n\n{LINE}", id="half a surrogate pair"),
    ],
)
def test_malformed(text):
    with pytest.raises(EvidenceError) as caught:
        read_checkpoint(text)
    assert caught.value.code == "log-entry-malformed"


def test_the_least_there_can_be():
    checkpoint = read_checkpoint(f"o\n0\n{ROOT}\n\n{LINE}")
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == ("o", 0, bytes(32))
    assert checkpoint.signed == f"o\n0\n{ROOT}\n".encode()
    assert [(line.name, line.hint) for line in checkpoint.signatures] == [("tiles.example", b"hint")]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("o" * (CHECKPOINT_CHARACTERS + 1), id="characters"),
        pytest.param(f"o\n1\n{ROOT}\n\n" + f"\u2014 w {b64(b'hint' + b'x')}\n" * (CHECKPOINT_LINES + 1), id="lines"),
    ],
)
def test_limits(text):
    with pytest.raises(EvidenceError) as caught:
        read_checkpoint(text)
    assert caught.value.code == "limit-exceeded"
