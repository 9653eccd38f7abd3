"""Public keys: what is loaded, what is refused, and which algorithm is said to have matched."""

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from verifier.canonical import stable_id
from verifier.errors import PolicyError
from verifier.evidence.ed25519ph import BASE, ORDER, add, decode_point, encode_point, multiply, verify_ph
from verifier.evidence.keys import load_public_key, looks_like_signature
from verifier.evidence.limits import PUBLIC_KEY_BYTES, SIGNATURE_BYTES
from verifier.facts.candidates import key_set, keyset_id
from verifier.testing import KeyType, Signer, sign_ph

MESSAGE = b"what was signed"
KEY_TYPES: dict[KeyType, str] = {
    "ecdsa-p256": "ecdsa-p256-sha256",
    "ecdsa-p384": "ecdsa-p384-sha384",
    "ecdsa-p521": "ecdsa-p521-sha512",
    "rsa": "rsa-pkcs1-sha256",
    "rsa-pss": "rsa-pss-sha256",
    "ed25519": "ed25519",
    "ed25519ph": "ed25519ph",
}


def pem(key) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(encoding, form).decode()


@pytest.mark.parametrize(("key_type", "algorithm"), KEY_TYPES.items())
def test_says_what_matched(key_type, algorithm):
    signer = Signer("dev", key_type)
    signature = signer.sign(MESSAGE)
    assert signer.public_key.verify(signature, MESSAGE) == algorithm
    assert signer.public_key.verify(signature, MESSAGE + b".") == ""
    assert signer.public_key.verify(signature[:-1], MESSAGE) == ""
    assert signer.public_key.verify(b"", MESSAGE) == ""
    assert Signer("ops", key_type).public_key.verify(signature, MESSAGE) == ""


@pytest.mark.parametrize(
    ("curve", "algorithm"), [(ec.SECP384R1(), "ecdsa-p384-sha256"), (ec.SECP521R1(), "ecdsa-p521-sha256")]
)
def test_tries_sha256_after_the_hash_the_key_implies(curve, algorithm):
    """cosign verifies every key with SHA-256 unless told otherwise, so some signers use it with long keys."""
    key = ec.generate_private_key(curve)
    signature = key.sign(MESSAGE, ec.ECDSA(hashes.SHA256()))
    assert load_public_key(pem(key.public_key())).verify(signature, MESSAGE) == algorithm


def test_p256_is_not_tried_with_other_hashes():
    key = ec.generate_private_key(ec.SECP256R1())
    signature = key.sign(MESSAGE, ec.ECDSA(hashes.SHA512()))
    assert load_public_key(pem(key.public_key())).verify(signature, MESSAGE) == ""


def test_raw_r_and_s_are_taken_only_at_exactly_twice_the_field():
    signer = Signer("dev")
    r, s = decode_dss_signature(signer.sign(MESSAGE))
    raw = r.to_bytes(32) + s.to_bytes(32)
    key = signer.public_key
    assert key.verify(raw, MESSAGE) == "ecdsa-p256-sha256-p1363"
    assert key.verify_digest(raw, hashlib.sha256(MESSAGE).digest()) == "ecdsa-p256-sha256-p1363"
    assert key.verify(raw + b"\0", MESSAGE) == ""
    assert key.verify(r.to_bytes(33) + s.to_bytes(33), MESSAGE) == ""


@pytest.mark.parametrize("salt", [padding.PSS.DIGEST_LENGTH, padding.PSS.MAX_LENGTH, 0])
def test_pss_with_any_salt_length(salt):
    key = rsa.generate_private_key(65537, 2048)
    signature = key.sign(MESSAGE, padding.PSS(padding.MGF1(hashes.SHA256()), salt), hashes.SHA256())
    assert load_public_key(pem(key.public_key())).verify(signature, MESSAGE) == "rsa-pss-sha256"


def test_a_digest_will_do_where_the_hash_is_sha256():
    digest = hashlib.sha256(MESSAGE).digest()
    suitable: tuple[KeyType, ...] = ("ecdsa-p256", "rsa", "rsa-pss")
    for key_type in suitable:
        signer = Signer("dev", key_type)
        assert signer.public_key.verify_digest(signer.sign(MESSAGE), digest) == KEY_TYPES[key_type]
    others: tuple[KeyType, ...] = ("ecdsa-p384", "ed25519", "ed25519ph")
    for key_type in others:
        signer = Signer("dev", key_type)
        assert signer.public_key.verify_digest(signer.sign(MESSAGE), digest) == ""
        assert not signer.public_key.signs_sha256


def test_key_id_is_the_hash_of_the_subject_public_key_info():
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    loaded = load_public_key(pem(key))
    assert loaded.key_id == hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()
    assert loaded.type == "ecdsa-p256"
    assert load_public_key(pem(key).replace("\n", "\r\n").encode()) == loaded, "line ends do not make another key"
    assert load_public_key(pem(key)) is load_public_key(pem(key)), "loaded once"


def test_pkcs1_rsa_keys_have_the_id_of_the_same_key():
    key = rsa.generate_private_key(65537, 2048).public_key()
    pkcs1 = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1)
    assert load_public_key(pkcs1) == load_public_key(pem(key))


def private_pem() -> str:
    key = ed25519.Ed25519PrivateKey.generate()
    no = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, no).decode()


GOOD = Signer("dev").pem
REFUSED = [
    ("a certificate", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "got a certificate"),
    (
        "a certificate behind a key",
        GOOD + "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "certificate",
    ),
    ("a private key", private_pem(), "got a private key"),
    ("cosign's private key", "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n", "got a private key"),
    ("two keys", GOOD + Signer("ops").pem, "one PEM block"),
    ("no PEM", "dev.pub", "one PEM block"),
    ("nothing", "", "one PEM block"),
    ("a block that is no key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "does not decode"),
    ("a cut block", GOOD[:80] + "\n-----END PUBLIC KEY-----", "does not decode"),
    ("not ASCII", "-----BEGIN PUBLIC KEY-----\né".encode(), "not ASCII"),
    ("too long", "A" * (PUBLIC_KEY_BYTES + 1), "limit"),
    ("secp256k1", pem(ec.generate_private_key(ec.SECP256K1()).public_key()), "secp256k1"),
    ("P-224", pem(ec.generate_private_key(ec.SECP224R1()).public_key()), "secp224r1"),
    ("RSA 1024", pem(rsa.generate_private_key(65537, 1024).public_key()), "got 1024"),
    ("Ed448", pem(ed448.Ed448PrivateKey.generate().public_key()), "expected an ECDSA, RSA or Ed25519 key"),
    ("X25519", pem(x25519.X25519PrivateKey.generate().public_key()), "expected an ECDSA, RSA or Ed25519 key"),
]


@pytest.mark.parametrize(("what", "text", "message"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refuses(what, text, message):
    with pytest.raises(PolicyError, match=message) as caught:
        load_public_key(text)
    shown = str(caught.value)
    assert "AAAA" not in shown
    assert private_body(text) not in shown, "a pasted secret is never repeated"


def private_body(text: str | bytes) -> str:
    lines = (text if isinstance(text, str) else text.decode("utf-8", "replace")).splitlines()
    return lines[1] if len(lines) > 2 else "no body"


def test_key_sets_do_not_depend_on_order_or_names():
    dev, ops = Signer("dev").public_key, Signer("ops").public_key
    one, two = key_set([("dev", dev), ("ops", ops)]), key_set([("x", ops), ("a", dev), ("z", dev)])
    assert one == two
    assert list(one.keys) == list(two.keys) == sorted([dev.key_id, ops.key_id])
    assert two.names == {dev.key_id: "a", ops.key_id: "x"}
    assert one.id == keyset_id([ops.key_id, dev.key_id, dev.key_id]) == stable_id("keyset", sorted(one.keys))
    assert key_set([]).id != one.id
    with pytest.raises(TypeError):
        one.keys["x"] = dev  # type: ignore[index]  # that it is refused at run time too is the test


SHAPES = [
    ("DER", Signer("dev").sign(MESSAGE), True),
    ("64 bytes", b"\0" * 64, True),
    ("RSA 2048", b"\0" * 256, True),
    ("nothing", b"", False),
    ("cut DER", Signer("dev").sign(MESSAGE)[:-3], False),
    ("text", b"signature", False),
    ("longer than any key", b"\0" * (SIGNATURE_BYTES + 1), False),
]


@pytest.mark.parametrize(("what", "signature", "plausible"), SHAPES, ids=[row[0] for row in SHAPES])
def test_shape_of_signatures(what, signature, plausible):
    assert looks_like_signature(signature) == plausible


def test_ed25519ph_vector_of_rfc_8032_section_7_3():
    seed = bytes.fromhex("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42")
    public = bytes.fromhex("ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf")
    signature = bytes.fromhex(
        "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41"
        "31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406"
    )
    assert verify_ph(public, signature, b"abc")
    assert sign_ph(seed, b"abc") == signature
    assert not verify_ph(public, signature, b"abd")
    for position in (0, 31, 32, 63):
        changed = bytearray(signature)
        changed[position] ^= 1
        assert not verify_ph(public, bytes(changed), b"abc")


def test_ed25519ph_refuses_a_second_form_of_a_signature():
    signer = Signer("dev", "ed25519ph")
    signature = signer.sign(MESSAGE)
    s = int.from_bytes(signature[32:], "little") + ORDER
    assert signer.public_key.verify(signature[:32] + s.to_bytes(32, "little"), MESSAGE) == ""


def test_edwards_points_come_back():
    assert encode_point(multiply(ORDER, BASE)) == encode_point((0, 1, 1, 0)), "the base point has prime order"
    assert encode_point(add(BASE, BASE)) == encode_point(multiply(2, BASE))
    for scalar in (1, 2, 3, 2**200 + 7):
        encoded = encode_point(multiply(scalar, BASE))
        point = decode_point(encoded)
        assert point is not None
        assert encode_point(point) == encoded


@pytest.mark.parametrize(
    "data", [b"\xff" * 32, (2**255 - 19).to_bytes(32, "little"), b"\x02" + b"\0" * 31, b"\x01" + b"\0" * 30 + b"\x80"]
)
def test_bytes_that_are_no_point(data):
    assert decode_point(data) is None


def test_prehashed_and_plain_agree():
    key = ec.generate_private_key(ec.SECP256R1())
    digest = hashlib.sha256(MESSAGE).digest()
    signature = key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256())))
    assert load_public_key(pem(key.public_key())).verify(signature, MESSAGE) == "ecdsa-p256-sha256"
