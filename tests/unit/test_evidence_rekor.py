"""Log entries: every kind that is read, and what an attacker would hand in instead of the right one."""

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from tests.helpers.rekor import (
    ALICE,
    ALICE_CERTIFIED,
    CONTENT,
    KINDS,
    MALLORY,
    MALLORY_CERTIFIED,
    MESSAGE,
    PAYLOAD,
    SIGNED_AT,
    V1_KINDS,
    MemoryLog,
    Scene,
    b64,
    body_of,
    canonical,
    dsse1,
    envelope_of,
    hashedrekord1,
    hashedrekord2,
    intoto2,
    put,
    read,
)
from verifier.errors import EvidenceError
from verifier.evidence.dsse import pae
from verifier.evidence.keys import load_public_key
from verifier.evidence.material import NO_MATERIAL, Material
from verifier.evidence.rekor import (
    annotation_entry,
    check_distinct,
    check_entry,
)
from verifier.evidence.rekorbody import Signed, check_body, kind_of
from verifier.models import LogClaim

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def second(signature: bytes) -> bytes:
    """Another good ECDSA signature over the same message, which needs no key to make: (r, n - s)."""
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, P256_ORDER - s)


# ------------------------------------------------------------------------------------------------------------- it holds


@pytest.mark.parametrize("signer", [ALICE, ALICE_CERTIFIED], ids=["key", "certificate"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(kind, signer):
    scene = Scene(kind, signer)
    claim = scene.check(need_proof=True)
    assert isinstance(claim, LogClaim)
    assert (claim.log, claim.kind, claim.included) == (scene.log.id, kind, True)
    assert claim.index == int(scene.written["logIndex"])
    v1 = kind in V1_KINDS
    assert (claim.promised, claim.time) == ((True, SIGNED_AT * 1_000_000) if v1 else (False, None))


@pytest.mark.parametrize("kind", V1_KINDS)
def test_a_promise_without_a_proof_is_enough_where_no_proof_is_asked_for(kind):
    claim = Scene(kind, proven=False).check()
    assert isinstance(claim, LogClaim)
    assert (claim.included, claim.promised, claim.time) == (False, True, SIGNED_AT * 1_000_000)


def test_a_proof_without_a_promise_proves_no_time():
    """integratedTime without a SET is anybody's."""
    claim = Scene("hashedrekord/0.0.1", promised=False).check(need_proof=True)
    assert isinstance(claim, LogClaim)
    assert (claim.included, claim.promised, claim.time) == (True, False, None)


def test_the_classic_annotation():
    log, signature = MemoryLog("rekor.example"), ALICE.sign(CONTENT)
    entry = annotation_entry(log.annotation(hashedrekord1(CONTENT, signature, ALICE)))
    claim = check_entry(entry, ALICE.signed(CONTENT, signature), Material.of((), [log.log]), need_proof=False)
    assert claim == LogClaim(
        log.id, "hashedrekord/0.0.1", entry.index, included=False, promised=True, time=SIGNED_AT * 1_000_000
    )


@pytest.mark.parametrize("key_type", ["p384", "p521", "rsa2048", "ed25519"])
def test_logs_with_other_keys(key_type):
    log, signature = MemoryLog("rekor.example", key_type=key_type), ALICE.sign(CONTENT)
    written = log.entry(hashedrekord1(CONTENT, signature, ALICE))
    claim = check_entry(read(written), ALICE.signed(CONTENT, signature), Material.of((), [log.log]), need_proof=True)
    assert isinstance(claim, LogClaim)
    assert (claim.included, claim.promised) == (True, True)


@pytest.mark.parametrize(
    ("name", "algorithm"), [("sha256", "SHA2_256"), ("sha384", "SHA2_384"), ("sha512", "SHA2_512")]
)
def test_content_is_compared_under_the_hash_the_entry_names(name, algorithm):
    signature = ALICE.sign(CONTENT)
    signed = ALICE.signed(CONTENT, signature)
    check_body("hashedrekord/0.0.1", canonical(hashedrekord1(CONTENT, signature, ALICE, name)), signed)
    details = f"PKIX_ECDSA_P384_SHA_{name[3:]}"
    check_body("hashedrekord/0.0.2", canonical(hashedrekord2(CONTENT, signature, ALICE, algorithm, details)), signed)


def test_of_content_whose_digest_alone_is_known_only_that_digest_compares():
    signature = ALICE.sign(CONTENT)
    digest = bytes.fromhex(hashedrekord1(CONTENT, signature, ALICE)["spec"]["data"]["hash"]["value"])
    signed = msgspec.structs.replace(ALICE.signed(CONTENT, signature), message=None, message_sha256=digest)
    check_body("hashedrekord/0.0.1", canonical(hashedrekord1(CONTENT, signature, ALICE)), signed)
    with pytest.raises(EvidenceError, match="only the SHA-256") as caught:
        check_body("hashedrekord/0.0.1", canonical(hashedrekord1(CONTENT, signature, ALICE, "sha512")), signed)
    assert caught.value.code == "log-entry-mismatch"
    with pytest.raises(EvidenceError, match="hash of the signed content"):
        check_body("hashedrekord/0.0.1", canonical(hashedrekord1(b"other", signature, ALICE)), signed)
    with pytest.raises(EvidenceError, match="not in one"):
        check_body("dsse/0.0.1", canonical(dsse1(CONTENT, b"", [(signature, ALICE)])), signed)


def test_a_key_that_is_trusted_as_such_may_have_shown_a_certificate():
    """`cosign sign --key k --certificate c` logs the certificate; the key is what the policy names."""
    signature = ALICE.sign(CONTENT)
    body = canonical(hashedrekord1(CONTENT, signature, ALICE_CERTIFIED))
    check_body("hashedrekord/0.0.1", body, ALICE.signed(CONTENT, signature))
    with pytest.raises(EvidenceError, match="about a signature of key"):
        check_body("hashedrekord/0.0.1", body, MALLORY.signed(CONTENT, signature))


def test_a_certificate_that_is_believed_must_be_the_one_that_was_logged():
    """Otherwise whoever watches the log for an identity would not see the signature."""
    signature = ALICE.sign(CONTENT)
    with pytest.raises(EvidenceError, match="another certificate"):
        check_body(
            "hashedrekord/0.0.1",
            canonical(hashedrekord1(CONTENT, signature, ALICE)),
            ALICE_CERTIFIED.signed(CONTENT, signature),
        )


def test_a_chain_in_the_entry_shows_the_signer_first():
    signature, other = ALICE.sign(CONTENT), MALLORY_CERTIFIED.pem
    body = hashedrekord1(CONTENT, signature, ALICE_CERTIFIED)
    shown = body["spec"]["signature"]["publicKey"]
    shown["content"] = b64(f"\n{ALICE_CERTIFIED.pem}{other}".encode())
    check_body("hashedrekord/0.0.1", canonical(body), ALICE_CERTIFIED.signed(CONTENT, signature))
    shown["content"] = b64(f"{other}{ALICE_CERTIFIED.pem}".encode())
    with pytest.raises(EvidenceError, match="another certificate"):
        check_body("hashedrekord/0.0.1", canonical(body), ALICE_CERTIFIED.signed(CONTENT, signature))


@pytest.mark.parametrize("make", [dsse1, intoto2])
def test_an_envelope_of_several_signers(make):
    signatures = [(MALLORY.sign(MESSAGE), MALLORY), (ALICE.sign(MESSAGE), ALICE)]
    body = make(PAYLOAD, b"", signatures)
    for signature, signer in signatures:
        check_body(kind_of(canonical(body)), canonical(body), signer.signed(MESSAGE, signature, payload=PAYLOAD))
    swapped = ALICE.signed(MESSAGE, signatures[0][0], payload=PAYLOAD)
    with pytest.raises(EvidenceError, match="about a signature of key"):
        check_body(kind_of(canonical(body)), canonical(body), swapped)


# ---------------------------------------------------------------------------------------- CVE-2026-22703: another entry


def test_a_second_signature_is_as_good_as_the_first():
    first = ALICE.sign(CONTENT)
    assert second(first) != first
    assert load_public_key(ALICE.pem).verify(second(first), CONTENT)


@pytest.mark.parametrize("signer", [ALICE, ALICE_CERTIFIED], ids=["key", "certificate"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["content", "signature", "signer", "signature of another over the same"])
def test_a_transplanted_entry_is_refused_however_good_its_proofs_are(kind, signer, what):
    scene = Scene(kind, signer)
    mallory = MALLORY_CERTIFIED if signer.certified else MALLORY
    again, message, payload, signature, shown = second(scene.signature), MESSAGE, PAYLOAD, scene.signature, signer
    if what == "content":
        payload = b'{"other":1}'
        message = pae("application/vnd.in-toto+json", payload)
    elif what == "signature":
        signature = again
    elif what == "signer":
        shown = mallory
    else:
        signature, shown = mallory.sign(MESSAGE), mallory
    envelope = envelope_of(payload, signature)
    scene.written = scene.log.entry(body_of(kind, message, payload, envelope, signature, shown))
    assert isinstance(check_entry(read(scene.written), *others(scene, locals()), need_proof=True), LogClaim)
    assert scene.code(need_proof=True) == "log-entry-mismatch"


def others(scene: Scene, names: dict) -> tuple[Signed, Material]:
    """The signature the transplanted entry is really about: there it holds."""
    shown = names["shown"]
    signed = shown.signed(names["message"], names["signature"], payload=names["payload"], envelope=names["envelope"])
    return signed, scene.material


@pytest.mark.parametrize("kind", ["dsse/0.0.1", "intoto/0.0.1"])
def test_the_hash_of_a_stored_envelope_is_compared(kind):
    scene = Scene(kind)
    scene.signed = msgspec.structs.replace(scene.signed, envelope=scene.envelope + b" ")
    assert scene.code() == "log-entry-mismatch"


def test_without_the_stored_envelope_only_kinds_that_name_it_alone_fail():
    for kind, good in [("dsse/0.0.1", True), ("intoto/0.0.2", True), ("intoto/0.0.1", False)]:
        scene = Scene(kind)
        scene.signed = msgspec.structs.replace(scene.signed, envelope=None)
        if good:
            assert isinstance(scene.check(), LogClaim)
        else:
            assert scene.code() == "log-entry-mismatch"


@pytest.mark.parametrize("kind", ["dsse/0.0.1", "intoto/0.0.1", "intoto/0.0.2"])
def test_an_entry_of_an_envelope_is_not_about_a_signature_outside_of_one(kind):
    scene = Scene(kind)
    scene.signed = msgspec.structs.replace(scene.signed, payload=None, envelope=None)
    assert scene.code() == "log-entry-mismatch"


@pytest.mark.parametrize("declared", [kind for kind in KINDS if kind != "hashedrekord/0.0.1"] + ["hashedrekord/0.0.01"])
def test_the_declared_kind_is_the_bodys(declared):
    scene = Scene("hashedrekord/0.0.1")
    scene.written["kindVersion"] = dict(zip(("kind", "version"), declared.split("/"), strict=True))
    assert scene.code() == "log-entry-mismatch"


@pytest.mark.parametrize(
    "kind", ["dsse/0.0.2", "alpine/0.0.1", "hashedrekord/0.0.3", "cose/0.0.1", "/", "HashedRekord/0.0.1"]
)
def test_kinds_that_cannot_be_compared(kind):
    log, signature = MemoryLog("rekor.example"), ALICE.sign(CONTENT)
    name, _, version = kind.partition("/")
    body = hashedrekord1(CONTENT, signature, ALICE) | {"kind": name, "apiVersion": version}
    with pytest.raises(EvidenceError, match="cannot be compared") as caught:
        check_entry(
            read(log.entry(body)), ALICE.signed(CONTENT, signature), Material.of((), [log.log]), need_proof=False
        )
    assert caught.value.code == "log-entry-mismatch"
    assert ("draft of Rekor v2" in str(caught.value)) == (kind == "dsse/0.0.2")


def test_a_body_is_not_compared_as_another_kind():
    body = canonical(hashedrekord1(CONTENT, b"s", ALICE))
    with pytest.raises(EvidenceError) as caught:
        check_body("rekord/0.0.1", body, ALICE.signed(CONTENT, b"s"))
    assert caught.value.code == "log-entry-mismatch"


@pytest.mark.parametrize(
    ("algorithm", "details", "found"),
    [
        ("SHA2_256", "PKIX_ED25519", "pure Ed25519"),
        ("SHA2_256", "PKIX_ED25519_PH", "a digest of"),
        ("SHA2_256", "PKIX_ECDSA_P384_SHA_384", "a digest of"),
        ("SHA2_512", "PKIX_RSA_PKCS1V15_3072_SHA256", "a digest of"),
    ],
)
def test_rekor_v2_digests_are_those_of_the_key(algorithm, details, found):
    signature = ALICE.sign(CONTENT)
    body = canonical(hashedrekord2(CONTENT, signature, ALICE, algorithm, details))
    with pytest.raises(EvidenceError, match=found) as caught:
        check_body("hashedrekord/0.0.2", body, ALICE.signed(CONTENT, signature))
    assert caught.value.code == "log-entry-mismatch"


@pytest.mark.parametrize(
    ("pem", "code"),
    [
        ("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n", "log-entry-mismatch"),
        ("untrusted comment: minisign public key", "log-entry-mismatch"),
        ("", "log-entry-mismatch"),
        ("x" + ALICE.pem, "log-entry-mismatch"),
        (ALICE.pem.replace("PUBLIC KEY", "EC PRIVATE KEY"), "log-entry-mismatch"),
        ("-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----", "log-entry-mismatch"),
        ("-----BEGIN PUBLIC KEY-----\nAA=A\n-----END PUBLIC KEY-----", "log-entry-malformed"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "log-entry-malformed"),
        ("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----", "log-entry-malformed"),
        ("-----BEGIN CERTIFICATE-----\nMAIwAA==\n-----END CERTIFICATE-----", "log-entry-malformed"),
        ("-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----", "log-entry-mismatch"),
    ],
)
def test_a_signer_that_cannot_be_read_is_not_ours(pem, code):
    signature = ALICE.sign(CONTENT)
    body = hashedrekord1(CONTENT, signature, ALICE)
    body["spec"]["signature"]["publicKey"]["content"] = b64(pem.encode())
    with pytest.raises(EvidenceError) as caught:
        check_body("hashedrekord/0.0.1", canonical(body), ALICE.signed(CONTENT, signature))
    assert caught.value.code == code


# ------------------------------------------------------------------------------------------------------ the log vouches


def test_an_unknown_log_is_answered_by_its_id():
    scene = Scene("hashedrekord/0.0.1")
    assert check_entry(read(scene.written), scene.signed, NO_MATERIAL, need_proof=True) == scene.log.id


def test_a_ct_log_of_the_same_id_is_no_transparency_log():
    scene = Scene("hashedrekord/0.0.1")
    scene.material = Material.of((), [type(scene.log.log)(scene.log.id, "ct", scene.log.log.key)])
    assert scene.check() == scene.log.id


def flip(text: str) -> str:
    """Base64 of the same length with one bit changed."""
    return ("B" if text[0] == "A" else "A") + text[1:]


PROOF_ATTACKS = {
    "SET of nobody": put("inclusionPromise.signedEntryTimestamp", b64(b"no signature")),
    "SET with a bit changed": put("inclusionPromise.signedEntryTimestamp", lambda t: t[:20] + flip(t[20:])),
    "SET for another time": put("integratedTime", str(SIGNED_AT - 3600)),
    "SET for another index": put("logIndex", lambda t: str(int(t) + 1)),
    "time taken away": put("integratedTime", None),
    "path with a bit changed": put("inclusionProof.hashes", lambda hashes: [flip(hashes[0]), *hashes[1:]]),
    "path shortened": put("inclusionProof.hashes", lambda hashes: hashes[:-1]),
    "path lengthened": put("inclusionProof.hashes", lambda hashes: [*hashes, b64(bytes(32))]),
    "path taken away": put("inclusionProof.hashes", None),
    "another leaf's index": put("inclusionProof.logIndex", "3"),
    "index is the size": put("inclusionProof.logIndex", "6"),
    "negative index in the proof": put("inclusionProof.logIndex", "-1"),
    "negative index": put("logIndex", "-1"),
    "negative time": put("integratedTime", "-1"),
    "negative size": put("inclusionProof.treeSize", "-6"),
    "size differs from the checkpoint's": put("inclusionProof.treeSize", "7"),
    "size taken away": put("inclusionProof.treeSize", None),
    "root hash differs from the checkpoint's": put("inclusionProof.rootHash", flip),
    "checkpoint of an older tree": put(
        "inclusionProof.checkpoint.envelope", lambda _: MemoryLog("rekor.example").checkpoint()
    ),
    "checkpoint of another log": put(
        "inclusionProof.checkpoint.envelope", lambda text: text.replace(".example", ".evil")
    ),
    "checkpoint signed by nobody known": put(
        "inclusionProof.checkpoint.envelope", lambda text: text.rsplit(" ", 1)[0] + f" {b64(b'hint' + bytes(64))}\n"
    ),
}


@pytest.mark.parametrize("attack", PROOF_ATTACKS)
def test_rekor_v1_proofs(attack):
    scene = Scene("hashedrekord/0.0.1")
    assert isinstance(scene.check(need_proof=True), LogClaim)
    PROOF_ATTACKS[attack](scene.written)
    assert scene.code(need_proof=True) == "log-proof-invalid"
    assert scene.code(need_proof=False) == "log-proof-invalid"  # a bad proof is never overlooked for a good SET


@pytest.mark.parametrize("attack", [name for name in PROOF_ATTACKS if "SET" not in name and "time" not in name])
def test_rekor_v2_proofs(attack):
    scene = Scene("hashedrekord/0.0.2")
    assert isinstance(scene.check(), LogClaim)
    PROOF_ATTACKS[attack](scene.written)
    assert scene.code() == "log-proof-invalid"


def test_a_whole_tree_of_an_impostor_is_worth_nothing():
    """Root, path, checkpoint and SET all fit together, under a key that is not the log's."""
    scene, impostor = Scene("hashedrekord/0.0.1"), MemoryLog("rekor.example", key_type="p384")
    written = impostor.entry(scene.body)
    written["logId"] = scene.written["logId"]
    scene.written = written
    assert scene.code() == "log-proof-invalid"
    del written["inclusionProof"]
    assert scene.code() == "log-proof-invalid"


@pytest.mark.parametrize("missing", ["proof", "checkpoint", "empty checkpoint"])
def test_a_proof_that_is_needed(missing):
    scene = Scene("hashedrekord/0.0.1")
    if missing == "proof":
        del scene.written["inclusionProof"]
    elif missing == "checkpoint":
        del scene.written["inclusionProof"]["checkpoint"]
    else:
        scene.written["inclusionProof"]["checkpoint"] = {}
    assert scene.code(need_proof=True) == "log-proof-invalid"
    claim = scene.check(need_proof=False)
    assert isinstance(claim, LogClaim)
    assert (claim.included, claim.promised) == (False, True)


def test_neither_promise_nor_proof_is_no_log_entry():
    scene = Scene("hashedrekord/0.0.1", promised=False, proven=False)
    assert scene.code() == "log-proof-invalid"
    scene.written["inclusionPromise"] = {"signedEntryTimestamp": ""}
    assert scene.code() == "log-proof-invalid"


def test_rekor_v2_needs_its_proof_though_nobody_asks():
    scene = Scene("hashedrekord/0.0.2")
    del scene.written["inclusionProof"]
    assert scene.code(need_proof=False) == "log-proof-invalid"


def test_rekor_v2_makes_no_promises():
    """A timestamp signed with the key of a tiles log would be a new kind of time nobody asked for."""
    scene = Scene("hashedrekord/0.0.2")
    raw = read(scene.written).body
    promise = scene.log.promise(raw, int(scene.written["logIndex"]), SIGNED_AT)
    scene.written |= {"integratedTime": str(SIGNED_AT), "inclusionPromise": {"signedEntryTimestamp": b64(promise)}}
    assert scene.code() == "log-proof-invalid"


def test_rekor_v2_has_one_index():
    """It tells entries apart, and nothing else would bind it."""
    scene = Scene("hashedrekord/0.0.2")
    scene.written["logIndex"] = "4711"
    assert scene.code() == "log-proof-invalid"


def test_a_rekor_v2_time_is_not_believed():
    scene = Scene("hashedrekord/0.0.2")
    scene.written["integratedTime"] = str(SIGNED_AT)
    claim = scene.check()
    assert isinstance(claim, LogClaim)
    assert claim.time is None


def test_a_promise_without_a_time_proves_none():
    assert Scene("hashedrekord/0.0.1", at=0).code() == "log-proof-invalid"


def test_the_first_leaf_of_the_first_tree():
    """protobuf leaves out what is zero or empty: both indexes, and the path."""
    log, signature = MemoryLog("rekor.example", offset=0, leaves=[]), ALICE.sign(CONTENT)
    written = log.entry(hashedrekord1(CONTENT, signature, ALICE))
    del written["logIndex"], written["inclusionProof"]["logIndex"], written["inclusionProof"]["hashes"]
    claim = check_entry(read(written), ALICE.signed(CONTENT, signature), Material.of((), [log.log]), need_proof=True)
    assert isinstance(claim, LogClaim)
    assert (claim.index, claim.included) == (0, True)


def test_one_place_of_a_log_counts_once():
    one, two = Scene("hashedrekord/0.0.1"), Scene("hashedrekord/0.0.2")
    check_distinct([read(one.written), read(two.written), read(one.log.entry(one.body))])
    with pytest.raises(EvidenceError) as caught:
        check_distinct([read(one.written), read(two.written), read(one.written)])
    assert caught.value.code == "log-entry-malformed"
