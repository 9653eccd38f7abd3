"""OpenPGP without gpg: rings and messages written packet by packet, most of them by an enemy.

That ordinary ones are read as gpg reads them is shown in tests/conformance/test_openpgp_gpg.py.
"""

import bz2
import hashlib
import json
import time
import zlib
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.helpers.openpgp import (
    CERTIFIES,
    DIGEST,
    SECOND,
    SIGNS,
    T0,
    Key,
    armored,
    created,
    document,
    integer,
    literal,
    message,
    one_pass,
    packet,
    primary,
    revocation,
    subkey,
    subpacket,
    user_id,
)
from verifier.errors import EvidenceError, TrustError
from verifier.evidence.material import NO_MATERIAL, Authority, Material
from verifier.evidence.openpgp import (
    FOREVER,
    MESSAGE_BYTES,
    MESSAGE_SIGNATURES,
    PAYLOAD_BYTES,
    OpenPgpKey,
    OpenPgpParts,
    openpgp_fact_parts,
    read_keyring,
    read_openpgp,
)
from verifier.evidence.openpgp_keyring import KEYRING_CHARACTERS, KEYRING_CHECKS
from verifier.evidence.openpgp_packets import PACKETS, SUBPACKETS, read_packets
from verifier.models import Evidence


def ring(*sequences: bytes) -> tuple[Authority, ...]:
    return read_keyring(armored(b"".join(sequences)))


def refused_ring(*sequences: bytes) -> str:
    with pytest.raises(TrustError) as caught:
        ring(*sequences)
    return str(caught.value)


def evidence_of(data: bytes) -> Evidence:
    return Evidence("sha256:" + hashlib.sha256(data).hexdigest(), "openpgp-simplesigning", "", DIGEST, data)


def parts_of(data: bytes, *authorities: Authority) -> OpenPgpParts:
    return openpgp_fact_parts(evidence_of(data), Material.of(authorities))


def refused(data: bytes) -> EvidenceError:
    with pytest.raises(EvidenceError) as caught:
        read_openpgp(evidence_of(data))
    return caught.value


KEY = Key()
OTHER = Key()


# --------------------------------------------------------------------------------------------------------- what holds


@pytest.mark.parametrize(
    ("kind", "algorithm", "key_type"),
    [
        ("ed25519", "ed25519-sha256", "ed25519"),
        ("ed25519-native", "ed25519-sha256", "ed25519"),
        ("p256", "ecdsa-p256-sha256", "ecdsa-p256"),
        ("rsa", "rsa-pkcs1-sha256", "rsa-2048"),
    ],
)
def test_kinds_of_keys(kind, algorithm, key_type):
    key = Key(kind)
    (authority,) = ring(primary(key))
    assert authority.key is not None
    assert authority.key.type == key_type
    parts = parts_of(message(key), authority)
    assert parts.algorithm == algorithm
    assert parts.signature_good
    assert parts.subjects == (DIGEST,)
    assert parts.signed_repository == "registry.example.com/payments/api"
    assert parts.claimed_time == (T0 + 10) * SECOND
    (chain,) = parts.chains
    assert (chain.authority, chain.valid_from, chain.valid_until) == (authority.id, T0 * SECOND, FOREVER)
    assert chain.key_ids == (authority.key.key_id,)


def test_many_signatures_verify_when_leading_zeros_are_left_out():
    """Numbers are written without leading zeros: about one EdDSA signature in 128 is shorter than the rest."""
    (authority,) = ring(primary(KEY))
    for at in range(T0 + 10, T0 + 310):
        assert parts_of(message(KEY, at=at), authority).signature_good


def test_the_key_answers_as_a_public_key():
    (authority,) = ring(primary(KEY))
    key = authority.key
    assert isinstance(key, OpenPgpKey)
    signature = KEY.sign(0, b"data", created(T0))
    assert key.verify(signature, b"data") == "ed25519-sha256"
    assert key.verify(signature, b"Data") == ""
    assert key.verify(b"junk", b"data") == ""
    assert key.verify_digest(signature, bytes(32)) == ""


@pytest.mark.parametrize("old_format", [0x90, 0x91, 0x92])
def test_old_packet_headers(old_format):
    size = 1 << (old_format & 3)
    body = KEY.body
    if size == 1:
        assert len(body) < 256
    assert read_packets(bytes([0x80 | 6 << 2 | old_format & 3]) + len(body).to_bytes(size) + body)[0].body == body


def test_partial_lengths_are_joined():
    content = document()
    body = b"b\x00ABCD" + content
    chunked = bytes([0xC0 | 11, 0xE0 | 6]) + body[:64] + bytes([0xE0 | 5]) + body[64:96] + b"\xff"
    chunked += len(body[96:]).to_bytes(4) + body[96:]
    whole = message(KEY)
    data = one_pass(KEY) + chunked + whole[-len(packet(2, KEY.sign(0, content, created(T0 + 10)))) :]
    (authority,) = ring(primary(KEY))
    assert parts_of(data, authority).signature_good


def deflated(data: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-15)
    return b"\x01" + squeeze.compress(data) + squeeze.flush()


@pytest.mark.parametrize(
    "body",
    [lambda d: b"\x00" + d, deflated, lambda d: b"\x02" + zlib.compress(d), lambda d: b"\x03" + bz2.compress(d)],
    ids=["uncompressed", "zip", "zlib", "bzip2"],
)
def test_compressed_messages(body):
    (authority,) = ring(primary(KEY))
    assert parts_of(packet(8, body(message(KEY))), authority).signature_good
    assert parts_of(b"\xa3" + body(message(KEY)), authority).signature_good  # without a length
    assert parts_of(packet(10, b"PGP") + packet(8, body(message(KEY))), authority).signature_good  # a marker


def test_what_a_signature_says_of_itself():
    (authority,) = ring(primary(KEY))
    expires = subpacket(3, (60).to_bytes(4))
    content = document(optional={"creator": "tool 1", "timestamp": 5, "unknown": [1], "env": "prod"})
    parts = parts_of(message(KEY, content, expires), authority)
    assert parts.expires == (T0 + 70) * SECOND
    assert parts.annotations == (("creator", "tool 1"), ("env", "prod"))
    assert parts.key_hint == KEY.fingerprint[-8:].hex()
    never = subpacket(3, bytes(4))
    assert parts_of(message(KEY, None, never), authority).expires is None


# ------------------------------------------------------------------------------------------- messages that do not hold


def test_a_stranger_is_undecided():
    (authority,) = ring(primary(OTHER))
    for material in (Material.of([authority]), NO_MATERIAL):
        parts = openpgp_fact_parts(evidence_of(message(KEY)), material)
        assert parts.undecided == ("authority",)
        assert not parts.signature_good
        assert parts.chains == ()
        assert parts.hinted == parts.algorithm == ""


def test_a_stranger_who_gives_a_known_name_is_a_forger():
    (authority,) = ring(primary(OTHER))
    content = document()
    body = KEY.sign(0, content, created(T0 + 10), unhashed=OTHER.hint)
    parts = parts_of(one_pass(OTHER) + literal(content) + packet(2, body), authority)
    assert not parts.signature_good
    assert parts.hinted == authority.id
    assert parts.undecided == ()


def test_a_signature_older_than_its_key_is_none():
    (authority,) = ring(primary(KEY))
    parts = parts_of(message(KEY, at=T0 - 1), authority)
    assert not parts.signature_good
    assert parts.hinted == authority.id


def test_another_document_under_a_good_signature():
    (authority,) = ring(primary(KEY))
    forged = document({"image": {"docker-manifest-digest": f"sha256:{8:064x}"}})
    data = message(KEY).replace(literal(document()), literal(forged))
    parts = parts_of(data, authority)
    assert not parts.signature_good
    assert parts.hinted == authority.id


def test_the_first_expiry_of_several_signers_counts():
    content = document()
    first = KEY.sign(0, content, created(T0 + 10), subpacket(3, (60).to_bytes(4)))
    second = OTHER.sign(0, content, created(T0 + 20))
    data = one_pass(OTHER, last=0) + one_pass(KEY) + literal(content) + packet(2, first) + packet(2, second)
    authorities = ring(primary(KEY), primary(OTHER))
    parts = parts_of(data, *authorities)
    assert len(parts.chains) == 2
    assert parts.expires == (T0 + 70) * SECOND


MALFORMED = "openpgp-malformed"
UNSUPPORTED = "unsupported-evidence"
LIMIT = "limit-exceeded"
GOOD = message(KEY)
SIGNED = packet(2, KEY.sign(0, document(), created(T0 + 10)))


def with_signature(body: bytes, **options: Any) -> bytes:
    return one_pass(KEY, **options) + literal(document()) + packet(2, body)


def signed_with(*hashed: bytes, kind: int = 0, hash_: int = 8) -> bytes:
    return with_signature(KEY.sign(kind, document(), *hashed, hash_=hash_), kind=kind, hash_=hash_)


BOMB = zlib.compress(bytes(50_000_000), 9)

HOSTILE = {
    "nothing": (b"", MALFORMED),
    "text": (b"hello", MALFORMED),
    "a document": (document(), MALFORMED),
    "armor": (b"-----BEGIN PGP MESSAGE-----\n", UNSUPPORTED),
    "a header alone": (b"\xc2", MALFORMED),
    "a length beyond the end": (b"\xc2\xff\xff\xff\xff\xff", MALFORMED),
    "only a document": (literal(document()), MALFORMED),
    "only a signature": (SIGNED, UNSUPPORTED),
    "the old order": (SIGNED + literal(document()), MALFORMED),
    "one signature of two": (one_pass(KEY, last=0) + GOOD, MALFORMED),
    "two documents": (one_pass(KEY) + literal(document()) * 2 + SIGNED, MALFORMED),
    "something behind": (GOOD + literal(document()), MALFORMED),
    "an encrypted message": (packet(1, b"\x03") + packet(18, b"\x01"), MALFORMED),
    "a message in a message": (
        one_pass(KEY, last=1) + one_pass(KEY, last=1) + literal(document()) + SIGNED * 2,
        UNSUPPORTED,
    ),
    "one-pass of version 6": (one_pass(KEY, version=6) + literal(document()) + SIGNED, UNSUPPORTED),
    "one-pass of another hash": (one_pass(KEY, hash_=10) + literal(document()) + SIGNED, MALFORMED),
    "one-pass of another type": (one_pass(KEY, kind=1) + literal(document()) + SIGNED, MALFORMED),
    "one-pass of another key": (one_pass(OTHER) + literal(document()) + SIGNED, MALFORMED),
    "one-pass cut": (packet(4, b"\x03\x00\x08") + literal(document()) + SIGNED, MALFORMED),
    "signature version 3": (with_signature(b"\x03\x05\x00" + bytes(20)), UNSUPPORTED),
    "signature version 5": (with_signature(b"\x05\x00\x16\x08" + bytes(20)), UNSUPPORTED),
    "signature version 6": (with_signature(b"\x06\x00\x16\x08" + bytes(20)), UNSUPPORTED),
    "signature without a body": (with_signature(b""), MALFORMED),
    "text mode": (signed_with(created(T0), kind=1), UNSUPPORTED),
    "SHA-1": (signed_with(created(T0), hash_=2), UNSUPPORTED),
    "MD5": (signed_with(created(T0), hash_=1), UNSUPPORTED),
    "no creation time": (signed_with(), MALFORMED),
    "two creation times": (signed_with(created(T0), created(T0 + 9)), MALFORMED),
    "two expiries": (signed_with(created(T0), subpacket(3, b"\0\0\0\1"), subpacket(3, b"\0\0\0\2")), MALFORMED),
    "a short creation time": (signed_with(subpacket(2, b"\1")), MALFORMED),
    "an empty subpacket": (signed_with(created(T0), b"\x00"), MALFORMED),
    "a subpacket beyond the area": (signed_with(created(T0), b"\x20\x10"), MALFORMED),
    "a critical notation": (signed_with(created(T0), subpacket(20, bytes(8), critical=True)), UNSUPPORTED),
    "a critical unknown": (signed_with(created(T0), subpacket(99, b"", critical=True)), UNSUPPORTED),
    "many subpackets": (signed_with(created(T0), subpacket(99, b"") * (SUBPACKETS + 1)), LIMIT),
    "a huge signature packet": (with_signature(bytes(40_000)), LIMIT),
    "many signatures": (
        one_pass(KEY, last=0) * MESSAGE_SIGNATURES
        + one_pass(KEY)
        + literal(document())
        + SIGNED * (MESSAGE_SIGNATURES + 1),
        LIMIT,
    ),
    "many packets": (packet(10, b"") * (PACKETS + 1), LIMIT),
    "many parts": (b"\xcb" + b"\xe0x" * (PACKETS + 2) + b"\x00", LIMIT),
    "a large file": (bytes(MESSAGE_BYTES + 1), LIMIT),
    "a large document": (message(KEY, document(optional={"pad": "x" * PAYLOAD_BYTES})), LIMIT),
    "a zip bomb": (packet(8, b"\x02" + BOMB), LIMIT),
    "a bzip2 bomb": (packet(8, b"\x03" + bz2.compress(bytes(50_000_000))), LIMIT),
    "compressed twice": (packet(8, deflated(packet(8, deflated(GOOD)))), MALFORMED),
    "something behind the compressed": (packet(8, deflated(GOOD)) + literal(b""), MALFORMED),
    "something behind the stream": (packet(8, deflated(GOOD) + b"x"), MALFORMED),
    "a stream cut": (packet(8, deflated(GOOD)[:-4]), MALFORMED),
    "a stream of junk": (packet(8, b"\x02junk"), MALFORMED),
    "bzip2 junk": (packet(8, b"\x03junk"), MALFORMED),
    "compression 9": (packet(8, b"\x09junk"), UNSUPPORTED),
    "no compression at all": (packet(8, b""), UNSUPPORTED),
    "a literal of no kind": (one_pass(KEY) + packet(11, b"x\x00ABCD{}") + SIGNED, MALFORMED),
    "a literal cut": (one_pass(KEY) + packet(11, b"b\xffABCD{}") + SIGNED, MALFORMED),
}


@pytest.mark.parametrize(("data", "code"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_messages(data, code):
    start = time.perf_counter()
    error = refused(data)
    assert error.code == code
    assert len(str(error)) < 300
    assert time.perf_counter() - start < 0.5  # a few milliseconds on a quiet machine


DOCUMENTS = {
    "no JSON": (b"{", MALFORMED),
    "a list": (b"[]", MALFORMED),
    "nothing optional": (document().replace(b', "optional": {}', b""), MALFORMED),
    "optional is null": (document(optional=None), MALFORMED),
    "another member": (document(more=1), MALFORMED),
    "another critical member": (document({"more": 1}), MALFORMED),
    "another image member": (document({"image": {"docker-manifest-digest": DIGEST, "x": 1}}), MALFORMED),
    "another identity member": (document({"identity": {"docker-reference": "a", "x": 1}}), MALFORMED),
    "a member twice": (document().replace(b'"optional"', b'"optional": {}, "optional"'), MALFORMED),
    "a member twice in capitals": (document(Optional={}), MALFORMED),
    "a digest twice": (document().replace(b'"image": {', b'"image": {"docker-manifest-digest": "x", '), MALFORMED),
    "no digest": (document({"image": {}}), MALFORMED),
    "a digest that is none": (document({"image": {"docker-manifest-digest": "sha256:abc"}}), MALFORMED),
    "a digest of SHA-512": (document({"image": {"docker-manifest-digest": "sha512:" + "a" * 128}}), MALFORMED),
    "a reference that is a number": (document({"identity": {"docker-reference": 5}}), MALFORMED),
    "cosign's type": (document({"type": "cosign container image signature"}), UNSUPPORTED),
    "creator is a number": (document(optional={"creator": 5}), MALFORMED),
    "timestamp is text": (document(optional={"timestamp": "5"}), MALFORMED),
    "timestamp is true": (document(optional={"timestamp": True}), MALFORMED),
    "timestamp has a fraction": (document(optional={"timestamp": 5.5}), MALFORMED),
    "timestamp is too large": (document(optional={"timestamp": 2**63}), MALFORMED),
    "a byte-order mark": (b"\xef\xbb\xbf" + document(), MALFORMED),
    "something behind it": (document() + b"{}", MALFORMED),
    "deep": (document(optional={"a": json.loads("[" * 70 + "]" * 70)}), LIMIT),
    "a long name": (document({"identity": {"docker-reference": "a" * 2000}}), LIMIT),
    "many annotations": (document(optional={f"a{n}": "x" for n in range(100)}), LIMIT),
}


@pytest.mark.parametrize(("content", "code"), DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_documents_that_are_signed_and_not_accepted(content, code):
    error = refused(message(KEY, content))
    assert error.code == code


def test_a_reference_that_is_none_equals_no_repository():
    (authority,) = ring(primary(KEY))
    content = document({"identity": {"docker-reference": "Not A Name"}})
    assert parts_of(message(KEY, content), authority).signed_repository == "Not A Name"


@given(st.binary(max_size=400))
@example(b"\x80" * 300)
@example(b"\xff\xff\xff\xff\xff\xff")
@settings(max_examples=300)
def test_any_bytes_are_refused_by_one_error(data):
    assert refused(data).code in {MALFORMED, UNSUPPORTED, LIMIT}


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
@settings(max_examples=300)
def test_a_changed_byte_never_turns_into_another_good_signature(at, mask):
    data = bytearray(GOOD)
    data[at] ^= mask
    answer = answer_of(bytes(data))
    if isinstance(answer, EvidenceError):
        assert answer.code in {MALFORMED, UNSUPPORTED, LIMIT}
    elif answer.signature_good:
        assert answer.subjects == (DIGEST,)
        assert answer.claimed_time == (T0 + 10) * SECOND


def answer_of(data: bytes) -> OpenPgpParts | EvidenceError:
    try:
        return parts_of(data, *GOOD_RING)
    except EvidenceError as error:
        return error


GOOD_RING = ring(primary(KEY))


# ------------------------------------------------------------------------------------------------- what keys are for


def test_the_newest_self_signature_says_when_a_key_ends():
    day = subpacket(9, (86_400).to_bytes(4))
    year = subpacket(9, (31_536_000).to_bytes(4))
    (authority,) = ring(packet(6, KEY.body), user_id(KEY, year, at=T0 + 9), user_id(KEY, day, text=b"b", at=T0 + 5))
    assert authority.valid_until == (T0 + 31_536_000) * SECOND
    (authority,) = ring(packet(6, KEY.body), user_id(KEY, year, at=T0 + 5), user_id(KEY, day, text=b"b", at=T0 + 9))
    assert authority.valid_until == (T0 + 86_400) * SECOND
    (authority,) = ring(packet(6, KEY.body), user_id(KEY, day), user_id(KEY, at=T0 + 9))
    assert authority.valid_until is None


def test_a_direct_key_signature_that_says_nothing_of_expiry_takes_no_expiry_away():
    """gpg writes one to appoint a revoker; it must not make an expired key eternal."""
    day = subpacket(9, (86_400).to_bytes(4))
    appointing = packet(2, KEY.sign(0x1F, KEY.hashable, created(T0 + 9)))
    (authority,) = ring(packet(6, KEY.body), appointing, user_id(KEY, day))
    assert authority.valid_until == (T0 + 86_400) * SECOND
    stating = packet(2, KEY.sign(0x1F, KEY.hashable, created(T0 + 9), subpacket(9, (60).to_bytes(4))))
    (authority,) = ring(packet(6, KEY.body), stating, user_id(KEY, day))
    assert authority.valid_until == (T0 + 60) * SECOND


def test_a_self_signature_that_expires_ends_the_key():
    (authority,) = ring(primary(KEY, subpacket(3, (60).to_bytes(4)), subpacket(9, (86_400).to_bytes(4))))
    assert authority.valid_until == (T0 + 60) * SECOND


def test_certifications_by_others_mean_nothing():
    day = subpacket(9, (86_400).to_bytes(4))
    forged = user_id(KEY, at=T0 + 99, signer=OTHER)
    claimed = packet(2, OTHER.sign(0x13, KEY.hashable + b"\xb4\0\0\0\1a", created(T0 + 99), unhashed=KEY.hint))
    (authority,) = ring(primary(KEY, day), forged, packet(13, b"a"), claimed)
    assert authority.valid_until == (T0 + 86_400) * SECOND
    assert authority.label == f"Build <build@example.com> {KEY.fingerprint.hex().upper()}"


def test_sub_keys_and_who_may_bind_them():
    sub = Key("p256")
    found = ring(primary(KEY, CERTIFIES), subkey(KEY, sub))
    assert [a.key.packet.fingerprint for a in found if isinstance(a.key, OpenPgpKey)] == [sub.fingerprint]
    assert parts_of(message(sub), *found).signature_good


def test_somebody_elses_sub_key_cannot_be_adopted():
    """Without the sub-key's own agreement Mallory could bind Alice's signing key below a key of his."""
    alices = Key()
    reasons = refused_ring(primary(KEY, CERTIFIES), subkey(KEY, alices, back=b""))
    assert "back-signature" in reasons
    forged = OTHER.sign(0x19, KEY.hashable + alices.hashable, created(T0), unhashed=alices.hint)
    assert "back-signature" in refused_ring(primary(KEY, CERTIFIES), subkey(KEY, alices, back=forged))
    elsewhere = alices.sign(0x19, OTHER.hashable + alices.hashable, created(T0))
    assert "back-signature" in refused_ring(primary(KEY, CERTIFIES), subkey(KEY, alices, back=elsewhere))
    wrong_type = alices.sign(0x18, KEY.hashable + alices.hashable, created(T0))
    assert "back-signature" in refused_ring(primary(KEY, CERTIFIES), subkey(KEY, alices, back=wrong_type))


def test_a_sub_key_bound_by_a_stranger_is_none():
    sub = Key()
    bound = packet(14, sub.body) + packet(
        2,
        OTHER.sign(
            0x18,
            KEY.hashable + sub.hashable,
            created(T0),
            SIGNS,
            subpacket(32, sub.sign(0x19, KEY.hashable + sub.hashable, created(T0))),
            unhashed=KEY.hint,
        ),
    )
    assert len(ring(primary(KEY), bound)) == 1


def test_the_newest_binding_says_what_a_sub_key_is_for():
    sub = Key()
    withdrawn = packet(2, KEY.sign(0x18, KEY.hashable + sub.hashable, created(T0 + 9), subpacket(27, b"\x0c")))
    assert len(ring(primary(KEY), subkey(KEY, sub))) == 2
    assert len(ring(primary(KEY), subkey(KEY, sub), withdrawn)) == 1


def test_a_sub_key_of_two_primary_keys_ends_with_either():
    sub = Key()
    day = subpacket(9, (86_400).to_bytes(4))
    one = packet(6, KEY.body) + revocation(KEY, 2) + user_id(KEY) + subkey(KEY, sub)
    two = primary(OTHER, day) + subkey(OTHER, sub)
    for sequence in (one + two, two + one):
        found = {a.label.split()[-1]: a for a in ring(sequence)}
        shared = found[sub.fingerprint.hex().upper()]
        assert shared.revoked == (("hard-all", (T0 + 5) * SECOND),)
        assert shared.valid_until == (T0 + 86_400) * SECOND


REASONS = [
    (None, "hard-all"),
    (0, "hard-all"),
    (2, "hard-all"),
    (100, "hard-all"),
    (7, "hard-all"),
    (1, "soft"),
    (3, "soft"),
    (32, "soft"),
]


@pytest.mark.parametrize(("reason", "row"), REASONS)
def test_reasons_of_revocation(reason, row):
    sub = Key()
    found = ring(packet(6, KEY.body), revocation(KEY, reason), user_id(KEY), subkey(KEY, sub))
    assert [authority.revoked for authority in found] == [((row, (T0 + 5) * SECOND),)] * 2


def test_all_revocations_are_kept():
    (authority,) = ring(packet(6, KEY.body), revocation(KEY, 1), revocation(KEY, 2, at=T0 + 9), user_id(KEY))
    assert authority.revoked == (("hard-all", (T0 + 9) * SECOND), ("soft", (T0 + 5) * SECOND))


def test_a_newer_self_signature_does_not_undo_a_revocation():
    (authority,) = ring(packet(6, KEY.body), revocation(KEY, 2), user_id(KEY, at=T0 + 99))
    assert authority.revoked


def test_a_stranger_cannot_revoke():
    by_name = revocation(KEY, 2, signer=OTHER)
    by_lie = revocation(KEY, 2, signer=OTHER, unhashed=KEY.hint)
    (authority,) = ring(packet(6, KEY.body), by_name, by_lie, user_id(KEY))
    assert authority.revoked == ()


def test_a_revocation_counts_even_where_a_certification_would_not():
    odd = packet(2, KEY.sign(0x20, KEY.hashable, created(T0 + 5), subpacket(99, b"", critical=True)))
    (authority,) = ring(packet(6, KEY.body), odd, user_id(KEY))
    assert authority.revoked == (("hard-all", (T0 + 5) * SECOND),)


def test_a_revocation_that_cannot_be_checked_is_not_passed_over():
    assert "MD5" in refused_ring(packet(6, KEY.body), revocation(KEY, 2, hash_=1), user_id(KEY))
    version_3 = packet(2, b"\x03\x05\x20" + bytes(20))
    assert "version 3" in refused_ring(packet(6, KEY.body), version_3, user_id(KEY))
    version_6 = packet(2, b"\x06\x28" + bytes(20))
    assert "version 6" in refused_ring(packet(6, KEY.body), version_6, user_id(KEY))
    certification_3 = packet(2, b"\x03\x05\x10" + bytes(20))
    assert ring(primary(KEY), certification_3)


def test_a_key_may_be_revoked_by_the_one_it_appointed():
    appointing = packet(2, KEY.sign(0x1F, KEY.hashable, created(T0), subpacket(12, b"\x80\x16" + OTHER.fingerprint)))
    revoked = packet(6, KEY.body) + appointing + revocation(KEY, 2, signer=OTHER) + user_id(KEY)
    by_label = {a.label.split()[-1]: a.revoked for a in ring(revoked, primary(OTHER))}
    assert by_label[KEY.fingerprint.hex().upper()] == (("hard-all", (T0 + 5) * SECOND),)
    assert by_label[OTHER.fingerprint.hex().upper()] == ()
    assert "which is not in the ring" in refused_ring(revoked)


def test_self_signatures_of_old_keys_may_be_sha1():
    text = b"Vendor"
    certified = KEY.sign(0x13, KEY.hashable + b"\xb4" + len(text).to_bytes(4) + text, created(T0), hash_=2)
    (authority,) = ring(packet(6, KEY.body), packet(13, text), packet(2, certified))
    assert authority.label.startswith("Vendor ")


def test_a_key_whose_names_are_all_withdrawn_is_retired():
    text = b"Build <build@example.com>"
    body = KEY.hashable + b"\xb4" + len(text).to_bytes(4) + text
    withdrawn = packet(2, KEY.sign(0x30, body, created(T0 + 7)))
    (authority,) = ring(primary(KEY), withdrawn)
    assert authority.revoked == (("soft", (T0 + 7) * SECOND),)
    (authority,) = ring(primary(KEY), withdrawn, user_id(KEY, at=T0 + 8))
    assert authority.revoked == ()


def test_one_key_is_one_authority_whatever_its_name():
    (one,) = ring(primary(KEY))
    (two,) = ring(packet(6, KEY.body), user_id(KEY, text=b"Other name"))
    (three,) = ring(primary(Key()))
    assert one.id == two.id != three.id
    assert len(read_keyring(armored(primary(KEY), primary(KEY)))) == 1


def test_labels_hold_nothing_that_a_terminal_obeys():
    (authority,) = ring(packet(6, KEY.body), user_id(KEY, text=b"\x1b[2J\xff\n" + "é\u202e".encode() + b"x" * 500))
    assert authority.label.isprintable()
    assert len(authority.label) < 200


# ---------------------------------------------------------------------------------------------------------- bad rings


def rsa_of(bits: int) -> bytes:
    number = (1 << (bits - 1)) + 1
    return b"\x04" + T0.to_bytes(4) + b"\x01" + integer(number) + integer(65537)


BAD_RINGS = {
    "no key": (b"", "without a key"),
    "a signature first": (SIGNED, "before any key"),
    "a user id first": (packet(13, b"x") + primary(KEY), "before any key"),
    "no self-signature": (packet(6, KEY.body), "no self-signature"),
    "a certificate by another": (packet(6, KEY.body) + user_id(KEY, signer=OTHER), "no self-signature"),
    "signed before it was made": (packet(6, KEY.body) + user_id(KEY, at=T0 - 1), "no self-signature"),
    "version 3": (packet(6, b"\x03" + KEY.body[1:]), "version 3"),
    "version 6": (packet(6, b"\x06" + KEY.body[1:]), "version 6"),
    "weak RSA": (packet(6, rsa_of(1024)), "RSA of 1024 bits"),
    "huge RSA": (packet(6, rsa_of(20_000)), "RSA of 20000 bits"),
    "DSA": (packet(6, b"\x04" + T0.to_bytes(4) + b"\x11" + bytes(8)), "DSA"),
    "a curve nobody accepts": (packet(6, b"\x04" + T0.to_bytes(4) + b"\x13\x05" + bytes(20)), "P-256, P-384 and P-521"),
    "a point off the curve": (
        packet(
            6,
            b"\x04"
            + T0.to_bytes(4)
            + b"\x13\x08"
            + bytes.fromhex("2a8648ce3d030107")
            + integer(b"\x04" + b"\x01" * 64),
        ),
        "no key",
    ),
    "a short Ed25519 key": (
        packet(
            6,
            b"\x04"
            + T0.to_bytes(4)
            + b"\x16\x09"
            + bytes.fromhex("2b06010401da470f01")
            + integer(b"\x40" + b"\x01" * 20),
        ),
        "0x40 and 32 bytes",
    ),
    "bytes behind the key": (packet(6, KEY.body + b"x"), "bytes after its end"),
    "an even modulus": (
        packet(6, b"\x04" + T0.to_bytes(4) + b"\x01" + integer(1 << 2047) + integer(65537)),
        "no self-signature",
    ),
    "a long exponent": (
        packet(6, b"\x04" + T0.to_bytes(4) + b"\x01" + integer((1 << 2047) + 1) + integer((1 << 100) + 1)),
        "exponent",
    ),
    "a private key": (packet(5, KEY.body), "private key"),
    "a private sub-key": (primary(KEY) + packet(7, KEY.body), "private key"),
    "a message": (primary(KEY) + literal(b"x"), "no place in a key ring"),
    "a huge key packet": (packet(6, bytes(9000)), "limit"),
    "it cannot sign": (primary(KEY, CERTIFIES), "flags do not allow signing"),
    "the first bit": (b"\x00" + primary(KEY), "not binary OpenPGP"),
}


@pytest.mark.parametrize(("sequence", "says"), BAD_RINGS.values(), ids=BAD_RINGS.keys())
def test_bad_rings_are_refused_with_packet_and_reason(sequence, says):
    told = refused_ring(sequence)
    assert says in told
    assert told.startswith("key ring: ")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "found none"),
        ("junk", "found none"),
        ("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n", "without END"),
        ("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n*\n-----END PGP PUBLIC KEY BLOCK-----", "base64"),
        (
            "-----BEGIN PGP PRIVATE" + " KEY BLOCK-----\n\nc2VjcmV0\n-----END PGP PRIVATE" + " KEY BLOCK-----",
            "private key",
        ),
        ("x" * (KEYRING_CHARACTERS + 1), "limit"),
    ],
)
def test_what_is_no_armor_is_refused(content, says):
    with pytest.raises(TrustError, match=says) as caught:
        read_keyring(content)
    assert "c2VjcmV0" not in str(caught.value)


def test_a_ring_that_only_keeps_the_reader_busy_is_refused():
    claim = packet(2, KEY.sign(0x1F, KEY.hashable, created(T0)))
    assert "self-signatures in one key ring" in refused_ring(packet(6, KEY.body), claim * (KEYRING_CHECKS + 1))


def test_what_others_put_into_rings_is_passed_over():
    attribute = packet(17, b"photo") + packet(2, OTHER.sign(0x13, b"x", created(T0)))
    trust, marker, private_use = packet(12, b"\x00"), packet(10, b"PGP"), packet(60, b"x")
    odd_sub = packet(14, b"\x03" + KEY.body[1:]) + packet(2, OTHER.sign(0x18, b"x", created(T0)))
    encryption = packet(14, b"\x04" + T0.to_bytes(4) + b"\x12\x00") + packet(2, KEY.sign(0x18, b"x", created(T0)))
    (authority,) = ring(marker, primary(KEY), trust, attribute, private_use, odd_sub, encryption)
    assert authority.label.endswith(KEY.fingerprint.hex().upper())


@given(st.binary(max_size=300))
@settings(max_examples=200)
def test_any_ring_is_refused_by_one_error(data):
    assert refused_ring(data)


@given(st.integers(0, 10_000), st.integers(1, 255))
@settings(max_examples=200)
def test_a_changed_byte_in_a_ring_gives_no_other_key(at, mask):
    data = bytearray(primary(KEY, subpacket(9, (60).to_bytes(4))))
    data[at % len(data)] ^= mask
    for authority in authorities_or_none(bytes(data)):
        assert authority.valid_until == (T0 + 60) * SECOND
        assert authority.id == GOOD_RING[0].id


def authorities_or_none(data: bytes) -> tuple[Authority, ...]:
    try:
        return ring(data)
    except TrustError:
        return ()
