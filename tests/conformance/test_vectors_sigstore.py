"""The public Sigstore client conformance suite, 70 cases twice: through trust, facts, policy and verdict, in-process.

Each case that must fail does so for its own reason (`REASONS`): a verifier that refuses everything would pass as well.
The suite's program itself can be run against `tests/conformance/client`.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SHARED
from tests.helpers.conformance import ask, case_of, digest_of

VECTORS = SHARED / "vectors"
CASES = VECTORS / "sigstore-conformance" / "assets" / "bundle-verify"
PUBLIC_GOOD = VECTORS / "sigstore-public-good" / "trusted_root.json"
NOW = 1_795_000_000_000_000  # 2026-11-18
CLIENT = Path(__file__).with_name("client")

pytestmark = pytest.mark.needs("vectors")

MISMATCH, PROOF, WINDOW = "log-entry-mismatch", "log-proof-invalid", "outside-certificate-window"
REASONS = {
    "bundle-empty-certificate-chain": "log-entry-malformed",
    "bundle-from-wrong-instance": "wrong-signer",
    "bundle-invalid-base64-signature": "signature-malformed",
    "bundle-malformed-json": "bundle-malformed",
    "bundle-negative-log-index": PROOF,
    "bundle-unknown-version": "unsupported-evidence",
    "bundle-with-root-cert": "bundle-malformed",
    "checkpoint-bad-keyhint": PROOF,
    "checkpoint-wrong-roothash": PROOF,
    "dsse-invalid-sig": "signature-mismatch",
    "dsse-mismatch-envelope": MISMATCH,
    "dsse-mismatch-sig": MISMATCH,
    "inclusion-proof-corrupted-hash": PROOF,
    "incorrect-public-key": MISMATCH,
    "integrated-time-in-future": WINDOW,
    "intoto-expired-certificate": WINDOW,
    "intoto-log-entry-mismatch": MISMATCH,
    "intoto-missing-inclusion-proof": PROOF,
    "intoto-set-outside-signing-cert-validity": WINDOW,
    "intoto-tsa-timestamp-outside-cert-validity": WINDOW,
    "invalid-checkpoint-signature": PROOF,
    "invalid-ct-key": "sct-missing",
    "invalid-inclusion-proof": PROOF,
    "managed-key-no-key": "wrong-signer",
    "managed-key-wrong-key": "does not hold a readable public key",
    "message-digest-mismatch": "payload-digest-mismatch",
    "rekor2-checkpoint-missing-log-signature": "log-entry-malformed",
    "rekor2-checkpoint-missing-origin": "log-entry-malformed",
    "rekor2-checkpoint-missing-root-hash": "log-entry-malformed",
    "rekor2-checkpoint-missing-size": "log-entry-malformed",
    "rekor2-checkpoint-no-matching-signature": PROOF,
    "rekor2-dsse-invalid-sig": "signature-mismatch",
    "rekor2-dsse-mismatch-envelope": MISMATCH,
    "rekor2-dsse-mismatch-sig": MISMATCH,
    "rekor2-no-inclusion-proof": PROOF,
    "rekor2-no-timestamp": WINDOW,
    "rekor2-timestamp-outside-trust-root-tsa-validity": WINDOW,
    "rekor2-timestamp-outside-tsa-cert-validity": "timestamp-invalid",
    "rekor2-timestamp-payload-mismatch": "timestamp-invalid",
    "rekor2-timestamp-untrusted-tsa-with-embedded-cert": WINDOW,
    "rekor2-timestamp-untrusted-tsa-without-embedded-cert": WINDOW,
    "rekor2-timestamp-with-incorrect-time": "timestamp-malformed",
    "set-invalid-signature": PROOF,
    "signature-mismatch": "signature-mismatch",
    "trust-root-tlog-missing-validity-start": "start",
    "wrong-hashedrekord-artifact": MISMATCH,
    "wrong-hashedrekord-cert-and-sig": MISMATCH,
    "wrong-hashedrekord-entry": MISMATCH,
    "wrong-material": "payload-digest-mismatch",
}
"""Case -> what the answer has to name."""


def folders() -> list[Path]:
    return sorted(folder for folder in CASES.iterdir() if folder.is_dir()) if CASES.is_dir() else []


def names() -> list[str]:
    return [folder.name for folder in folders()] or ["(no vectors)"]


@pytest.mark.parametrize("form", ["path", "digest"])
@pytest.mark.parametrize("name", names())
def test_conformance_case(name, form):
    case = case_of(CASES / name, PUBLIC_GOOD.read_text())
    artifact = case["artifact"] if form == "path" else digest_of(case["artifact"])
    who = {member: case[member] for member in ("root", "key", "identity", "issuer")}
    answer = ask(case["bundle"], digest_of(artifact), NOW, **who)
    if name.endswith("fail"):
        assert any(REASONS[name.removesuffix("_fail")] in line for line in answer), list(answer)
    else:
        assert answer == []


def test_the_suite_is_whole():
    found = names()
    failing = {name.removesuffix("_fail") for name in found if name.endswith("fail")}
    assert (len(found), len(failing)) == (70, 49)
    assert failing == set(REASONS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("happy-path-v0.3", 0),
        ("managed-key-happy-path", 0),
        ("rekor2-happy-path", 0),
        ("wrong-material_fail", 1),
        ("set-invalid-signature_fail", 1),
    ],
)
@pytest.mark.parametrize("form", ["path", "digest"])
def test_the_client_speaks_the_suites_protocol(name, expected, form):
    case, folder = case_of(CASES / name, ""), CASES / name
    artifact = case["artifact"] if form == "path" else digest_of(case["artifact"])
    who = ["--certificate-identity", case["identity"], "--certificate-oidc-issuer", case["issuer"]]
    root = folder / "trusted_root.json"
    command = [sys.executable, str(CLIENT), "verify-bundle", "--bundle", str(folder / "bundle.sigstore.json")]
    command += ["--key", str(folder / "key.pub")] if case["key"] else who
    command += ["--trusted-root", str(root if root.exists() else PUBLIC_GOOD)]
    done = subprocess.run([*command, artifact], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == expected, done.stderr
    assert bool(done.stderr) == bool(expected)  # why not is said, and only then


def test_the_client_does_not_sign():
    done = subprocess.run(
        [sys.executable, str(CLIENT), "sign-bundle"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "does not sign" in done.stderr
