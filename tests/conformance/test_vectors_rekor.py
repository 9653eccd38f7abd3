"""What the cases of the public Sigstore conformance suite say about logs and trust roots, asked of our functions alone.

Certificates, identities and timestamps are other tests' business: a case that must fail for one of those passes here.
Each case is listed with its answer, so that a new one of the suite does not pass unnoticed.
"""

import hashlib
import json
from base64 import b64decode
from pathlib import Path

import msgspec
import pytest

from verifier.errors import EvidenceError, TrustError
from verifier.evidence.dsse import pae
from verifier.evidence.keys import load_public_key
from verifier.evidence.material import Material
from verifier.evidence.rekor import TlogEntry, bundle_entry, check_distinct, check_entry
from verifier.evidence.rekorbody import Signed
from verifier.models import LogClaim
from verifier.trust.roots import read_root

MISMATCH, INVALID, MALFORMED = "log-entry-mismatch", "log-proof-invalid", "log-entry-malformed"
V1, V2, DSSE, INTOTO = "hashedrekord/0.0.1", "hashedrekord/0.0.2", "dsse/0.0.1", "intoto/0.0.2"

ANSWERS = {
    # What the logs say holds; where the name says `fail`, it is for a reason beside them.
    "bundle-with-root-cert_fail": f"{V1} promised",
    "bundle-with-sct-with-extensions": f"{V2} included",
    "happy-path-intoto-in-dsse-v3": f"{DSSE} included promised",
    "happy-path-v0.1": f"{V1} included promised",
    "happy-path-v0.2": f"{V1} included promised",
    "happy-path-v0.3": f"{V1} included promised",
    "happy-path-v0.3-new-mediaType": f"{V1} included promised",
    "integrated-time-in-future_fail": f"{V1} included promised",
    "intoto-expired-certificate_fail": f"{INTOTO} included promised",
    "intoto-set-outside-signing-cert-validity_fail": f"{INTOTO} included promised",
    "intoto-tsa-timestamp-outside-cert-validity_fail": f"{INTOTO} included promised",
    "intoto-with-custom-trust-root": f"{INTOTO} included promised",
    "invalid-ct-key_fail": f"{V1} included promised",
    "managed-key-and-trusted-root": f"{V1} included promised",
    "managed-key-happy-path": f"{V1} included promised",
    "message-digest-mismatch_fail": f"{V1} included promised",
    "rekor2-checkpoint-cosigned": f"{V2} included",
    "rekor2-checkpoint-multiple-cosigs": f"{V2} included",
    "rekor2-checkpoint-origin-not-first": f"{V2} included",
    "rekor2-checkpoint-two-sigs-cosigned": f"{V2} included",
    "rekor2-checkpoint-two-sigs-from-origin": f"{V2} included",
    "rekor2-dsse-happy-path": f"{V2} included",
    "rekor2-happy-path": f"{V2} included",
    "rekor2-no-timestamp_fail": f"{V2} included",
    "rekor2-timestamp-outside-trust-root-tsa-validity_fail": f"{V2} included",
    "rekor2-timestamp-outside-tsa-cert-validity_fail": f"{V2} included",
    "rekor2-timestamp-payload-mismatch_fail": f"{V2} included",
    "rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail": f"{V2} included",
    "rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail": f"{V2} included",
    "rekor2-timestamp-with-embedded-cert": f"{V2} included",
    "rekor2-timestamp-with-expired-cert-chain": f"{V2} included",
    "rekor2-timestamp-with-incorrect-time_fail": f"{V2} included",
    "rekor2-timestamp-without-embedded-cert": f"{V2} included",
    "trust-root-tlog-validity-end-inclusive": f"{V1} included promised",
    "trust-root-tsa-validity-end-inclusive": f"{V2} included",
    # A log that is not in the trust root.
    "bundle-from-wrong-instance_fail": "unknown log",
    # Entries about something else.
    "dsse-invalid-sig_fail": MISMATCH,
    "dsse-mismatch-envelope_fail": MISMATCH,
    "dsse-mismatch-sig_fail": MISMATCH,
    "incorrect-public-key_fail": MISMATCH,
    "intoto-log-entry-mismatch_fail": MISMATCH,
    "managed-key-no-key_fail": MISMATCH,
    "rekor2-dsse-invalid-sig_fail": MISMATCH,
    "rekor2-dsse-mismatch-envelope_fail": MISMATCH,
    "rekor2-dsse-mismatch-sig_fail": MISMATCH,
    "signature-mismatch_fail": MISMATCH,
    "wrong-hashedrekord-artifact_fail": MISMATCH,
    "wrong-hashedrekord-cert-and-sig_fail": MISMATCH,
    "wrong-hashedrekord-entry_fail": MISMATCH,
    "wrong-material_fail": MISMATCH,
    # Proofs that prove nothing.
    "bundle-negative-log-index_fail": INVALID,
    "checkpoint-bad-keyhint_fail": INVALID,
    "checkpoint-wrong-roothash_fail": INVALID,
    "inclusion-proof-corrupted-hash_fail": INVALID,
    "intoto-missing-inclusion-proof_fail": INVALID,
    "invalid-checkpoint-signature_fail": INVALID,
    "invalid-inclusion-proof_fail": INVALID,
    "rekor2-checkpoint-no-matching-signature_fail": INVALID,
    "rekor2-no-inclusion-proof_fail": INVALID,
    "set-invalid-signature_fail": INVALID,
    # What cannot be read.
    "bundle-empty-certificate-chain_fail": MALFORMED,
    "bundle-unknown-version_fail": MALFORMED,
    "rekor2-checkpoint-missing-log-signature_fail": MALFORMED,
    "rekor2-checkpoint-missing-origin_fail": MALFORMED,
    "rekor2-checkpoint-missing-root-hash_fail": MALFORMED,
    "rekor2-checkpoint-missing-size_fail": MALFORMED,
    "trust-root-tlog-missing-validity-start_fail": "refused root: tlogs[1].publicKey.validFor",
}

NOT_ABOUT_LOGS = {
    "bundle-invalid-base64-signature_fail",
    "bundle-malformed-json_fail",
    "managed-key-wrong-key_fail",
}
"""Nothing is left to ask a log about: the bundle, the signature or the given key cannot be read."""


@pytest.fixture
def assets(require) -> Path:
    return require("vectors") / "sigstore-conformance" / "assets" / "bundle-verify"


def material_of(folder: Path, vectors: Path) -> Material:
    own = folder / "trusted_root.json"
    text = (own if own.exists() else vectors / "sigstore-public-good" / "trusted_root.json").read_text()
    document = read_root("sigstore-trusted-root", text)
    return Material.of(document.authorities, document.logs)


def signed_of(folder: Path, bundle: dict) -> Signed:
    """As a bundle's reader and a verifier would hand it over."""
    material = bundle["verificationMaterial"]
    chain = material.get("x509CertificateChain", {}).get("certificates", [])
    certificates = [material["certificate"]] if "certificate" in material else chain
    certificate = b64decode(certificates[0]["rawBytes"]) if certificates else None
    key = folder / "key.pub"
    key_id = load_public_key(key.read_bytes()).key_id if key.exists() else "0" * 64
    if "messageSignature" in bundle:
        own = folder / "artifact"
        artifact = (own if own.exists() else folder.parent / "a.txt").read_bytes()
        signature, digest = b64decode(bundle["messageSignature"]["signature"]), hashlib.sha256(artifact).digest()
        return Signed(signature=signature, key_id=key_id, certificate=certificate, message_sha256=digest)
    envelope = bundle["dsseEnvelope"]
    payload = b64decode(envelope["payload"])
    return Signed(
        signature=b64decode(envelope["signatures"][0]["sig"]),
        key_id=key_id,
        certificate=certificate,
        message=pae(envelope["payloadType"], payload),
        payload=payload,
    )


def answer(folder: Path, vectors: Path) -> str:
    bundle = json.loads((folder / "bundle.sigstore.json").read_bytes())
    try:
        material = material_of(folder, vectors)
    except TrustError as error:
        return f"refused root: {error}"
    written = bundle["verificationMaterial"]["tlogEntries"]
    try:
        entries = [bundle_entry(msgspec.convert(entry, TlogEntry)) for entry in written]
        check_distinct(entries)
        signed, need_proof = signed_of(folder, bundle), "0.1" not in bundle["mediaType"]
        claims = [check_entry(entry, signed, material, need_proof=need_proof) for entry in entries]
    except EvidenceError as error:
        return error.code
    return ", ".join(told(claim) for claim in claims)


def told(claim: LogClaim | str) -> str:
    if isinstance(claim, str):
        return "unknown log"
    assert (claim.time is not None) == claim.promised
    return " ".join([claim.kind, *["included"] * claim.included, *["promised"] * claim.promised])


@pytest.mark.parametrize("case", ANSWERS)
def test_case(assets, require, case):
    expected, found = ANSWERS[case], answer(assets / case, require("vectors"))
    if expected.startswith("refused root: "):
        assert found.startswith("refused root: ")
        assert expected.removeprefix("refused root: ") in found
    else:
        assert found == expected


def test_every_case_of_the_suite_is_listed(assets):
    folders = {path.parent.name for path in assets.glob("*/bundle.sigstore.json")}
    assert folders == ANSWERS.keys() | NOT_ABOUT_LOGS


def test_every_trust_root_but_the_broken_one_is_read(assets):
    refused = set()
    for path in sorted(assets.glob("*/trusted_root.json")):
        try:
            document = read_root("sigstore-trusted-root", path.read_text())
        except TrustError:
            refused.add(path.parent.name)
        else:
            assert document.logs
            assert document.authorities
    assert refused == {"trust-root-tlog-missing-validity-start_fail"}


def test_the_times_promises_prove(assets, require):
    folder = assets / "trust-root-tlog-validity-end-inclusive"
    bundle = json.loads((folder / "bundle.sigstore.json").read_bytes())
    material = material_of(folder, require("vectors"))
    entry = bundle_entry(msgspec.convert(bundle["verificationMaterial"]["tlogEntries"][0], TlogEntry))
    claim = check_entry(entry, signed_of(folder, bundle), material, need_proof=False)
    assert isinstance(claim, LogClaim)
    log = material.log("transparency", claim.log)
    assert log is not None
    assert claim.time == log.valid_until == 1_689_177_396_000_000
