"""The signed form byte by byte, lines of administrators, private keys."""

from __future__ import annotations

import base64
import hashlib
import itertools

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from streams.codec import decode, encode
from streams.events import TrustChanged
from tests.helpers.trustadmins import ALICE, BOB, person
from verifier.errors import TrustError
from verifier.trust.signing import (
    MAX_ADMINISTRATORS,
    TrustEntry,
    check,
    entry_hash,
    generate,
    is_encrypted,
    load_private_key,
    read_administrators,
    sign,
    signed_form,
)

KEY = base64.b64encode(ALICE.administrator.key).decode()


def test_the_signed_form_is_the_one_that_is_written_down():
    """A change of one byte here makes every signature there is worthless."""
    entry = TrustEntry("revet", b"\x01" * 32, 7, 1_767_225_600_000_000, b'{"kind":"x"}')
    form = b"revet trust entry v1 5 revet 32 " + b"\x01" * 32 + b' 1 7 16 1767225600000000 12 {"kind":"x"}'
    assert signed_form(entry) == form
    assert entry_hash(entry) == hashlib.sha256(form).digest()
    assert sign(entry, ALICE.key).value == ALICE.key.sign(form)


parts = st.builds(
    TrustEntry,
    st.text(max_size=12),
    st.binary(max_size=8),
    st.integers(-3, 30),
    st.integers(-3, 300),
    st.binary(max_size=12),
)


@given(parts, parts)
def test_no_two_entries_have_one_form(one, other):
    assert (signed_form(one) == signed_form(other)) == (one == other)


def test_a_record_cannot_imitate_its_neighbours():
    """Digits, spaces and whole forms inside the parts."""
    texts = [b"", b" ", b"1", b"1 2", b" 1 1", b"5 revet", b"revet trust entry v1"]
    entries = [
        TrustEntry(log, previous, epoch, time, record)
        for log, previous, epoch, time, record in itertools.product(("a", "a 1"), texts[:4], (1, 11), (1, 11), texts)
    ]
    assert len({signed_form(entry) for entry in entries}) == len(entries)


def test_old_records_are_read_unchanged():
    """A trust record from before signatures, as a log of one machine holds it."""
    old = msgspec.msgpack.encode([1, {"type": "trust", "id": "v1:x", "time": 5, "epoch": 1, "record": b"{}"}])
    event = TrustChanged("v1:x", 5, 1, b"{}")
    assert decode(old) == event
    assert decode(encode(event)) == event


# ------------------------------------------------------------------------------------------------ lines of the settings


@pytest.mark.parametrize(
    ("line", "since", "until"),
    [
        (f"alice={KEY}", 1, None),
        (f"  alice={KEY}  ", 1, None),
        (f"alice={KEY} from=5", 5, None),
        (f"alice={KEY} until=9", 1, 9),
        (f"alice={KEY} until=9 from=5", 5, 9),
    ],
)
def test_a_line_names_a_key_and_its_window(line, since, until):
    (found,) = read_administrators([line])
    assert (found.name, found.key, found.since, found.until) == ("alice", ALICE.administrator.key, since, until)
    assert read_administrators([found.line()]) == (found,)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "alice",
        f"={KEY}",
        "alice=",
        "alice=AAAA",
        f"alice={KEY}=",
        f"alice={KEY[:-4]}",
        f"al ice={KEY}",
        f"alice={KEY} from=0",
        f"alice={KEY} from=-1",
        f"alice={KEY} from=9 until=5",
        f"alice={KEY} from=1 from=2",
        f"alice={KEY} since=1",
        f"alice={KEY} from=1 until=2 from=3",
        f"alice={KEY} from=1 until=2 x",
        f"-alice={KEY}",
        f"{'a' * 200}={KEY}",
        "alice=MC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ],
)
def test_a_wrong_line_is_refused_by_its_number_and_not_repeated(line):
    with pytest.raises(ValueError, match="key 2 is not NAME=KEY") as refused:
        read_administrators([f"bob={base64.b64encode(BOB.administrator.key).decode()}", line])
    assert len(line) < 20 or line not in str(refused.value)


def test_one_person_may_have_two_keys_and_one_key_has_one_person():
    second = person("alice", 2).administrator
    assert len(read_administrators([f"alice={KEY} until=5", second.line()])) == 2
    with pytest.raises(ValueError, match="key 2: bob has the key of alice; they would count as two"):
        read_administrators([f"alice={KEY}", f"bob={KEY}"])
    with pytest.raises(ValueError, match="key 2: alice comes twice"):
        read_administrators([f"alice={KEY}", f"alice={KEY} from=9"])


def test_so_many_administrators_are_a_mistake():
    lines = [person("p", number).administrator.line() for number in range(MAX_ADMINISTRATORS + 1)]
    with pytest.raises(ValueError, match="at most 64"):
        read_administrators(lines)


# --------------------------------------------------------------------------------------------------------- private keys


def test_a_new_key_signs_for_the_line_that_is_printed():
    pem, public = generate()
    entry = TrustEntry("revet", b"", 1, 1, b"{}")
    line = f"new={base64.b64encode(public).decode()}"
    assert check(entry, [sign(entry, load_private_key(pem))], read_administrators([line])).names == ("new",)


def test_a_passphrase_keeps_the_key():
    pem, _ = generate(b"long enough")
    assert is_encrypted(pem)
    assert load_private_key(pem, b"long enough").public_key() is not None
    for wrong in (b"", b"other", None):
        with pytest.raises(TrustError, match="cannot be opened with this passphrase"):
            load_private_key(pem, wrong)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a key",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        ec.derive_private_key(7, ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        generate()[0][:60],
    ],
    ids=["empty", "words", "short", "short and encrypted", "of another kind", "cut"],  # one of them is new in every run
)
def test_what_is_no_key_is_refused_without_a_word_of_it(data):
    with pytest.raises(TrustError) as refused:
        load_private_key(data, b"x")
    told = repr(refused.value) + repr(refused.value.__cause__)
    assert "keygen" in told
    assert not any(line in told for line in data.decode().splitlines() if line and not line.startswith("-"))


def test_keys_do_not_print_themselves():
    key = Ed25519PrivateKey.generate()
    raw = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    told = repr(key) + repr(sign(TrustEntry("l", b"", 1, 1, b""), key))
    assert raw.hex() not in told
    assert base64.b64encode(raw).decode() not in told
