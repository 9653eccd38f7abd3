"""Cases with a managed key of the public Sigstore conformance suite.

What they say about logs and trust roots is not judged by this version: here only whose signature it is.
"""

import hashlib

import pytest

from verifier.errors import PolicyError
from verifier.evidence.keys import load_public_key
from verifier.facts.candidates import key_set
from verifier.facts.derive import derive_fact
from verifier.models import Fact
from verifier.testing import make_evidence

CASES = "managed-key-happy-path", "managed-key-and-trusted-root"


def fact_of(require, case: str, keys) -> Fact:
    assets = require("vectors") / "sigstore-conformance" / "assets"
    folder = assets / "bundle-verify" / case
    artifact = folder / "artifact" if (folder / "artifact").exists() else assets / "bundle-verify" / "a.txt"
    digest = "sha256:" + hashlib.sha256(artifact.read_bytes()).hexdigest()
    bundle = (folder / "bundle.sigstore.json").read_bytes()
    return derive_fact(make_evidence("sigstore-bundle", "r.example/app", digest, bundle), keys)


def key_of(require, case: str):
    path = require("vectors") / "sigstore-conformance" / "assets" / "bundle-verify" / case / "key.pub"
    return load_public_key(path.read_bytes())


@pytest.mark.parametrize("case", CASES)
def test_the_given_key_signed(require, case):
    key = key_of(require, case)
    fact = fact_of(require, case, key_set([("managed", key)]))
    assert fact.verified_by == (key.key_id,), fact.problem_detail
    assert fact.kind == "signature"
    assert fact.times == ()


def test_no_key_verifies_nothing(require):
    fact = fact_of(require, "managed-key-no-key_fail", key_set([]))
    assert (fact.verified_by, fact.problem) == ((), "")


def test_a_broken_key_is_refused_when_it_is_loaded(require):
    with pytest.raises(PolicyError, match="does not decode"):
        key_of(require, "managed-key-wrong-key_fail")


def test_bundles_with_certificates_are_answered_by_nobody_without_a_root(require):
    folders = require("vectors") / "sigstore-conformance" / "assets" / "bundle-verify"
    key = key_of(require, CASES[0])
    answers = {
        path.parent.name: fact_of(require, path.parent.name, key_set([("managed", key)]))
        for path in sorted(folders.glob("*/bundle.sigstore.json"))
        if "managed-key" not in path.parent.name
    }
    assert len(answers) > 60
    assert not [name for name, fact in answers.items() if fact.verified_by or fact.chains or fact.logs]
    good = answers["happy-path-v0.3"]
    assert (good.problem, good.certificate is not None) == ("", True), "nobody is trusted, and nothing is wrong with it"
    assert "authority" in good.undecided
    assert answers["bundle-malformed-json_fail"].problem == "bundle-malformed"
    assert answers["bundle-unknown-version_fail"].problem == "unsupported-evidence"
    assert answers["bundle-invalid-base64-signature_fail"].problem == "signature-malformed"
