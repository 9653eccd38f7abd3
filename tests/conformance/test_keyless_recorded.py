"""Keyless signatures of a private instance, recorded: what real Fulcio, Rekor v2 and a timestamp authority wrote.

`scripts/record/keyless.py` wrote the files and asked real cosign about each bundle under each of its variations; the
same variations are put before revet here, which judges a year later: the certificates lasted ten minutes. Where the two
differ, `STRICTER` says so, and docs/differences.md why.
"""

import hashlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.helpers.oracle_cases import SPDX
from tests.helpers.oracle_differences import ROWS
from tests.helpers.oracle_tools import judge_evidence
from tests.helpers.oracle_world import Question
from verifier.evidence.identity import evidence_id
from verifier.models import Evidence, Verdict
from verifier.times import parse_instant

FOLDER = ROOT / "tests" / "assets" / "keyless"
EXPECTATIONS: dict[str, Any] = json.loads((FOLDER / "expectations.json").read_text())
BUNDLES: dict[str, Any] = EXPECTATIONS["bundles"]
VARIATIONS = tuple(BUNDLES["signature"]["cosign"])
RECORDED = parse_instant(EXPECTATIONS["recorded"])
YEAR = 365 * 86_400 * 1_000_000
REPOSITORY = "registry.example.com/recorded"
UNLOGGED = "signature-unlogged"
PROVENANCE = "slsaprovenance1"

STRICTER = {
    "Rekor window ended": "v2-log-window",
    "Rekor window to come": "v2-log-window",
    "proof with another root hash": "v2-proof-root",
    "proof with another index": "v2-proof-index",
    "entry with another kind": "kind-version",
}
"""Variation -> row of docs/differences.md. They are about a log entry: a bundle without one is good under them."""

ALSO_STRICTER = {(UNLOGGED, "entry of another bundle"): "unrelated-entry"}
"""cosign was told to ignore the log here, and looks at no entry; revet is shown one that is about something else."""

REASONS = {
    "wrong identity": "wrong-signer",
    "wrong issuer": "wrong-signer",
    "payload tampered": "signature-mismatch",
    "signature tampered": "signature-mismatch",
    "another root": "wrong-signer",
    "timestamp stripped": "outside-certificate-window",
    "entry stripped": "log-entry-missing",
    "timestamp of another bundle": "timestamp-invalid",
    "entry of another bundle": "log-entry-mismatch",
    "certificate of another bundle": "signature-mismatch",
    "envelope of another bundle": "signature-mismatch",
    "Fulcio window ended": "outside-certificate-window",
    "Fulcio window to come": "outside-certificate-window",
    "TSA window ended": "outside-certificate-window",
    "TSA window to come": "outside-certificate-window",
    "CT window ended": "sct-missing",
    "Rekor window ended": "log-entry-missing",
    "Rekor window to come": "log-entry-missing",
    "TSA unknown": "outside-certificate-window",
    "Rekor unknown": "log-entry-missing",
    "CT log unknown": "sct-missing",
    "proof with another root hash": "log-proof-invalid",
    "proof with another index": "log-proof-invalid",
    "entry with another kind": "log-entry-mismatch",
}
"""Variation -> the reason, or the problem of the fact: each falls for its own reason."""


@pytest.fixture(scope="module")
def recorder() -> Iterator[Any]:
    """scripts/record/keyless.py, which is no package; its variations are pure functions."""
    folder = ROOT / "scripts" / "record"
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location("record_keyless", folder / "keyless.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["record_keyless"] = module  # its dataclasses look their module up
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(folder))
        for name in ("record_keyless", "cosign_matrix"):
            sys.modules.pop(name, None)


def verdict_on(recorder: Any, name: str, variation: str, now: int) -> Verdict:
    read = {key: (FOLDER / f"{key}.sigstore.json").read_bytes() for key in BUNDLES}
    root = (FOLDER / "trusted_root.json").read_text()
    other = read["signature" if name == "signature-ci" else "signature-ci"]
    identity = BUNDLES[name]["identity"]
    asked = recorder.varied(variation, read[name], other, root, identity, EXPECTATIONS["issuer"])
    payload = json.dumps(asked.bundle).encode()
    found = evidence_id(hashlib.sha256(payload).hexdigest(), {})
    evidence = Evidence(found, "sigstore-bundle", REPOSITORY, BUNDLES[name]["digest"], payload)
    question = Question(
        attestation=PROVENANCE if name == "attestation" else "",
        root=asked.root,
        identity=asked.identity,
        issuer=asked.issuer,
        log=name != UNLOGGED,
        sct=True,
    )
    return judge_evidence([evidence], question, now)


def cosign_accepts(name: str, variation: str) -> bool:
    return BUNDLES[name]["cosign"][variation] == 0


def row_of(name: str, variation: str) -> str:
    if name == UNLOGGED:
        return ALSO_STRICTER.get((name, variation), "")
    return STRICTER.get(variation, "")


@pytest.mark.parametrize("now", [RECORDED, RECORDED + YEAR], ids=["that day", "a year later"])
@pytest.mark.parametrize("name", BUNDLES)
def test_good_bundles_are_good_for_ever(recorder, name, now):
    verdict = verdict_on(recorder, name, "good", now)
    assert (verdict.outcome, cosign_accepts(name, "good")) == ("valid", True), verdict.reasons
    (signature,) = verdict.signatures
    assert (signature.signer, signature.time_kind) == (BUNDLES[name]["identity"], "attested")
    assert abs((signature.time or 0) - RECORDED) < 600 * 1_000_000


@pytest.mark.parametrize("variation", VARIATIONS)
@pytest.mark.parametrize("name", BUNDLES)
def test_as_cosign_answered(recorder, name, variation):
    verdict = verdict_on(recorder, name, variation, RECORDED + YEAR)
    row = row_of(name, variation)
    expected = cosign_accepts(name, variation) is (row == "")
    assert verdict.outcome == ("valid" if expected else "violates"), verdict.reasons
    if row:
        assert row in {known.id for known in ROWS}


@pytest.mark.parametrize("variation", REASONS)
def test_each_falls_for_its_own_reason(recorder, variation):
    verdict = verdict_on(recorder, "signature", variation, RECORDED + YEAR)
    assert verdict.outcome == "violates"
    (reason,) = verdict.reasons
    assert REASONS[variation] in {reason.code, *reason.message.split()}, reason


def test_every_variation_was_recorded_for_every_bundle(recorder):
    assert tuple(recorder.VARIATIONS) == VARIATIONS
    assert set(REASONS) == set(VARIATIONS) - {"good"}
    assert all(tuple(entry["cosign"]) == VARIATIONS for entry in BUNDLES.values())


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.needs("cosign", "registry")
def test_real_cosign_still_answers_what_is_recorded(recorder, require, tmp_path):
    read = {key: (FOLDER / f"{key}.sigstore.json").read_bytes() for key in BUNDLES}
    root = (FOLDER / "trusted_root.json").read_text()
    changed = {}
    with recorder.run_registry(require("registry"), recorder.free_port()) as registry:
        for name, entry in BUNDLES.items():
            manifest = recorder.put_image(registry, name)
            target = f"{registry.address}/{name}@{entry['digest']}"
            other = read["signature" if name == "signature-ci" else "signature-ci"]
            for variation, code in entry["cosign"].items():
                asked = (variation, read[name], other, root, entry["identity"], EXPECTATIONS["issuer"])
                question = recorder.varied(*asked)
                recorder.attach(registry, name, manifest, json.dumps(question.bundle).encode())
                arguments = recorder.question_for_cosign(name, question, tmp_path / "root.json", target)
                environment = recorder.quiet_environment(tmp_path)
                command = [str(require("cosign")), *arguments]
                done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)
                if done.returncode != code:
                    changed[name, variation] = done.returncode
    assert changed == {}


def test_a_bundle_that_says_nothing_about_this_image_does_not_count(recorder):
    """The same good bundle beside another image."""
    payload = (FOLDER / "signature.sigstore.json").read_bytes()
    found = evidence_id(hashlib.sha256(payload).hexdigest(), {})
    elsewhere = Evidence(found, "sigstore-bundle", REPOSITORY, BUNDLES["signature-ci"]["digest"], payload)
    root = json.loads((FOLDER / "trusted_root.json").read_text())
    question = Question(root=root, identity=BUNDLES["signature"]["identity"], issuer=EXPECTATIONS["issuer"], log=True)
    verdict = judge_evidence([elsewhere], question, RECORDED + YEAR)
    assert (verdict.outcome, verdict.reasons[0].code) == ("violates", "subject-mismatch")


def test_a_signature_is_no_attestation_and_the_reverse(recorder):
    for name, attestation in (("signature", SPDX), ("attestation", "")):
        payload = (FOLDER / f"{name}.sigstore.json").read_bytes()
        found = evidence_id(hashlib.sha256(payload).hexdigest(), {})
        evidence = Evidence(found, "sigstore-bundle", REPOSITORY, BUNDLES[name]["digest"], payload)
        root = json.loads((FOLDER / "trusted_root.json").read_text())
        identity = BUNDLES[name]["identity"]
        question = Question(
            root=root, identity=identity, issuer=EXPECTATIONS["issuer"], log=True, attestation=attestation
        )
        assert judge_evidence([evidence], question, RECORDED + YEAR).outcome == "violates"


def test_the_recording_is_small_and_holds_no_secret():
    files = sorted(FOLDER.iterdir())
    assert sum(file.stat().st_size for file in files) < 300_000
    assert not [file.name for file in files if b"PRIVATE" in file.read_bytes()]
