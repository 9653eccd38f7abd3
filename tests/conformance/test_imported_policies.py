"""Imported policies judge the recorded images as the real tools did (tests/assets/policy_oracles.json).

The answers of policy-controller's `tester` and of `kubectl-kyverno` were recorded by scripts/record/policy_oracles.py
against the images of streams/demo_data. revet differs in exactly the rows of DIFFERENT, each for a reason that
docs/verification.md gives: it looks at both generations of signatures, and never takes an attestation for one.
"""

import json
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.helpers.command import LAYOUT, ROOT, recorded_images, revet
from verifier.policy.documents import plain, policy_document
from verifier.policy.importers.formats import detect, importer

ORACLES = json.loads((ROOT / "tests" / "assets" / "policy_oracles.json").read_text(encoding="utf-8"))
CASES = {case["name"]: case for case in ORACLES["cases"]}
IMAGES = {image["name"]: image for image in recorded_images()}
HOST = "registry.example.com"

BUNDLE = "the tool reads classic signatures only; this image carries a bundle"
CLASSIC = "the tool reads bundles only; this image carries a classic signature"
HIDDEN = "one bundle hides every classic signature from the tool"
STATEMENT = "the tool takes an attestation for a signature"

DIFFERENT: dict[str, dict[str, str]] = {
    "dev-only": {
        "payments-ledger": BUNDLE,
        "checkout-web-2026.11.3": BUNDLE,
        "checkout-pay-gateway": BUNDLE,
        "checkout-wallet": BUNDLE,
        "platform-fluent-bit": BUNDLE,
    },
    "sec-only": {"checkout-pay-gateway": BUNDLE},
    "dev-or-sec": {
        "checkout-web-2026.11.3": BUNDLE,
        "checkout-pay-gateway": BUNDLE,
        "checkout-wallet": BUNDLE,
        "platform-fluent-bit": BUNDLE,
    },
    "one-level": {"payments-ledger": BUNDLE},
    "dev-classic": {
        "payments-ledger": BUNDLE,
        "checkout-web-2026.11.3": BUNDLE,
        "checkout-pay-gateway": BUNDLE,
        "checkout-wallet": BUNDLE,
        "platform-fluent-bit": BUNDLE,
    },
    "sec-classic": {"checkout-pay-gateway": BUNDLE},
    "dev-bundle": {
        "payments-api-1.4.2": CLASSIC,
        "payments-settle": CLASSIC,
        "inventory-search": STATEMENT,
    },
    "two-of-three": {"payments-ledger": BUNDLE, "checkout-pay-gateway": BUNDLE},
    "all-of-two": {"payments-ledger": BUNDLE, "checkout-pay-gateway": BUNDLE},
    "ivpol-any": {"inventory-search": STATEMENT},
    "ivpol-two": {"payments-ledger": HIDDEN},
    "ivpol-group": {"payments-ledger": HIDDEN},
}
"""Case -> image -> why revet says the opposite."""


def imported(case):
    sources = [(f"{case['name']}.yaml", case["policy"].replace("HOST", HOST))]
    return importer(detect(sources))(sources)


@cache
def verdicts(name: str, folder: Path) -> dict[str, str]:
    """Image -> the worst verdict, under the imported policies alone."""
    result = imported(CASES[name])
    if not result.policies:
        return dict.fromkeys(CASES[name]["answers"], "ungoverned")
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump_all([plain(policy_document(policy)) for policy in result.policies]))
    images = [IMAGES[image] for image in CASES[name]["answers"]]
    pinned = [f"{image['reference'].rpartition(':')[0]}@{image['digest']}" for image in images]
    ran = revet("verify", *pinned, "--policy", path, "--evidence", LAYOUT, "-o", "json")
    assert ran.err == ""
    return {image["name"]: found["verdict"] for image, found in zip(images, ran.json["results"], strict=True)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("imported")


@pytest.mark.parametrize("name", CASES)
def test_an_imported_policy_judges_as_the_tool_did(name, folder):
    case, found = CASES[name], verdicts(name, folder)
    for image, said in case["answers"].items():
        expected = {"pass": "valid", "fail": "violates", "unmatched": "ungoverned"}[said]
        if DIFFERENT.get(name, {}).get(image):
            expected = "valid" if expected == "violates" else "violates"
        if said == "pass" and found[image] == "ungoverned":  # a policy that asks this image for nothing passes it
            assert asks_for_nothing(case, image), f"{name} {image}: not governed any more"
        else:
            assert found[image] == expected, f"{name} {image}: {case['tool']} said {said}"


def asks_for_nothing(case, image):
    outside = case["name"] == "ivpol-group" and not IMAGES[image]["reference"].startswith(
        (f"{HOST}/payments/", f"{HOST}/data/")
    )
    return case["name"] == "static-pass" or outside


def test_every_difference_is_one():
    for name, images in DIFFERENT.items():
        assert set(images) <= CASES[name]["answers"].keys(), name


@pytest.mark.parametrize("name", CASES)
def test_nothing_was_lost_that_weakens(name):
    assert {note.severity for note in imported(CASES[name]).notes} <= {"info", "loses"}


def test_what_was_asked():
    assert set(ORACLES["versions"]) == {"tester", "kubectl-kyverno"}
    assert len(CASES) == 18
    assert {answer for case in CASES.values() for answer in case["answers"].values()} == {"pass", "fail", "unmatched"}
