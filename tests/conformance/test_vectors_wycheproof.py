"""Signature primitives against Project Wycheproof, through `PublicKey`, which picks hash and padding by itself."""

import base64
import hashlib
import json
from functools import cache

import pytest

from verifier.evidence.ed25519ph import verify_with_prefix
from verifier.evidence.keys import load_public_key

FILES = {
    "ecdsa_secp256r1_sha256_test": ("ecdsa-p256-sha256", 484),
    "ecdsa_secp256r1_sha256_p1363_test": ("ecdsa-p256-sha256-p1363", 262),
    "ecdsa_secp384r1_sha384_test": ("ecdsa-p384-sha384", 504),
    "ecdsa_secp384r1_sha384_p1363_test": ("ecdsa-p384-sha384-p1363", 280),
    "ecdsa_secp521r1_sha512_test": ("ecdsa-p521-sha512", 542),
    "ed25519_test": ("ed25519", 151),
    "rsa_signature_2048_sha256_test": ("rsa-pkcs1-sha256", 259),
    "rsa_signature_3072_sha384_test": ("rsa-pkcs1-sha384", 259),
    "rsa_signature_4096_sha512_test": ("rsa-pkcs1-sha512", 259),
    "rsa_pss_2048_sha256_mgf1_32_test": ("rsa-pss-sha256", 108),
    "rsa_pss_3072_sha256_mgf1_32_test": ("rsa-pss-sha256", 108),
    "rsa_pss_4096_sha512_mgf1_32_test": ("rsa-pss-sha512", 177),
}
"""File -> (algorithm that must be reported for valid signatures, number of cases)."""

ACCEPTABLE = {
    # DigestInfo without the NULL parameter: RFC 8017 section 9.2 note 1 allows to accept it. Refused: nobody signs so.
    ("rsa_signature_2048_sha256_test", "MissingNull"): "",
    ("rsa_signature_3072_sha384_test", "MissingNull"): "",
    ("rsa_signature_4096_sha512_test", "MissingNull"): "",
}
"""Cases the vectors leave to the implementation, and what we decided."""

OTHER_PARAMETERS = {
    # A file fixes hash, padding and salt length, and calls a good signature with others invalid. We fix none of them:
    # the key signed these bytes, which is the question, and the answer names what it signed with.
    ("rsa_signature_2048_sha256_test", 221): "rsa-pkcs1-sha384",
    ("rsa_signature_2048_sha256_test", 223): "rsa-pkcs1-sha512",
    ("rsa_signature_3072_sha384_test", 222): "rsa-pkcs1-sha256",
    ("rsa_signature_3072_sha384_test", 224): "rsa-pkcs1-sha512",
    ("rsa_signature_4096_sha512_test", 222): "rsa-pkcs1-sha256",
    ("rsa_signature_4096_sha512_test", 224): "rsa-pkcs1-sha384",
    # The other padding.
    **{("rsa_signature_2048_sha256_test", case): "rsa-pss-sha256" for case in range(255, 258)},
    **{("rsa_signature_3072_sha384_test", case): "rsa-pss-sha384" for case in range(256, 260)},
    **{("rsa_signature_4096_sha512_test", case): "rsa-pss-sha512" for case in range(256, 260)},
    ("rsa_pss_2048_sha256_mgf1_32_test", 108): "rsa-pkcs1-sha256",
    ("rsa_pss_3072_sha256_mgf1_32_test", 108): "rsa-pkcs1-sha256",
    ("rsa_pss_4096_sha512_mgf1_32_test", 176): "rsa-pkcs1-sha256",
    ("rsa_pss_4096_sha512_mgf1_32_test", 177): "rsa-pkcs1-sha512",
    # A salt of 0, 1, 20, 31, 33 or the most bytes that fit instead of 32. Signers differ; security does not hang on it.
    **{("rsa_pss_2048_sha256_mgf1_32_test", case): "rsa-pss-sha256" for case in range(67, 73)},
    **{("rsa_pss_3072_sha256_mgf1_32_test", case): "rsa-pss-sha256" for case in range(67, 73)},
    **{("rsa_pss_4096_sha512_mgf1_32_test", case): "rsa-pss-sha512" for case in range(136, 142)},
}
"""Good signatures under parameters other than the file's, by case number: each with the answer that is right for us."""


def pem(group: dict) -> str:
    for name in ("publicKeyPem", "keyPem"):
        if name in group:
            return group[name]
    der = base64.b64encode(bytes.fromhex(group.get("publicKeyDer") or group["publicKeyAsn"])).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n"


@cache
def load(path) -> dict:
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", FILES)
def test_every_vector(require, name):
    algorithm, count = FILES[name]
    document = load(require("vectors") / "wycheproof" / f"{name}.json")
    differing, tried = [], 0
    for group in document["testGroups"]:
        key = load_public_key(pem(group))
        for case in group["tests"]:
            tried += 1
            found = key.verify(bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"]))
            if found != expected(name, case, algorithm):
                differing.append((case["tcId"], case["comment"], case["flags"], case["result"], found))
    assert differing == []
    assert tried == count


def expected(name: str, case: dict, algorithm: str) -> str:
    if case["result"] == "acceptable":
        return ACCEPTABLE[name, case["flags"][0]]
    if case["result"] == "invalid" and (other := OTHER_PARAMETERS.get((name, case["tcId"]))):
        assert other != algorithm or case["comment"].startswith("s_len changed to")
        return other
    return algorithm if case["result"] == "valid" else ""


@pytest.mark.parametrize("name", ["ecdsa_secp256r1_sha256_test", "rsa_signature_2048_sha256_test"])
def test_a_digest_alone_gives_the_same_answers(require, name):
    algorithm, _ = FILES[name]
    for group in load(require("vectors") / "wycheproof" / f"{name}.json")["testGroups"]:
        key = load_public_key(pem(group))
        for case in group["tests"]:
            digest = hashlib.sha256(bytes.fromhex(case["msg"])).digest()
            answer = expected(name, case, algorithm)
            by_digest = answer if "sha256" in answer else ""  # of another hash nothing can be known
            assert key.verify_digest(bytes.fromhex(case["sig"]), digest) == by_digest


def test_own_edwards_arithmetic_agrees_on_every_ed25519_vector(require):
    """Ed25519ph differs from Ed25519 by a prefix and a pre-hash; without them the same code must verify Ed25519."""
    for group in load(require("vectors") / "wycheproof" / "ed25519_test.json")["testGroups"]:
        key = bytes.fromhex(group["publicKey"]["pk"])
        for case in group["tests"]:
            good = verify_with_prefix(key, bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"]), b"")
            assert good == (case["result"] == "valid"), case
