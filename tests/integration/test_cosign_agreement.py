"""`revet verify --key` and real `cosign verify` on every recorded image and every key: where they differ, and why.

images.json holds what cosign 2.6 and 3.1 answered when the images were recorded. "cosign passes" means that one of
the two generations does: each reads what the other cannot. revet differs in exactly the rows of DIFFERENT.
"""

import importlib.util
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.helpers.command import DEMO, LAYOUT, ROOT, Ran, key, recorded_images, revet

IMAGES = {image["name"]: image for image in recorded_images()}
KEYS = sorted(path.stem for path in (DEMO / "keys").glob("*.pub"))
DOCUMENTATION = (ROOT / "docs" / "verification.md").read_text()


class Difference(NamedTuple):
    revet: str
    code: str
    anchor: str
    """Heading of docs/verification.md that gives the reason."""
    why: str


_ATTESTATION = "An attestation is not a signature"
_HIDDEN = "A bundle does not hide a classic signature"
_HASHES = "The hash that the key implies"

DIFFERENT = {
    ("inventory-search", "dev"): Difference(
        "violates",
        "attestation-only",
        _ATTESTATION,
        "cosign 3 passes an image that carries nothing but an SBOM attestation",
    ),
    ("payments-ledger", "sec"): Difference(
        "valid",
        "satisfied",
        _HIDDEN,
        "a bundle of dev makes both generations of cosign overlook the classic signature of sec",
    ),
    ("platform-p384-classic", "p384"): Difference(
        "valid", "satisfied", _HASHES, "cosign signs with P-384 over SHA-384 and verifies over SHA-256"
    ),
    ("platform-p384-bundle", "p384"): Difference("valid", "satisfied", _HASHES, "the same in a bundle"),
    ("platform-ed25519-classic", "ed25519"): Difference(
        "valid", "satisfied", _HASHES, "cosign signs Ed25519ph and verifies plain Ed25519"
    ),
}
"""(image, key) -> what revet says where cosign says the opposite."""


def pinned(image: dict[str, Any]) -> str:
    return f"{image['reference']}@{image['digest']}"


def results_for(name: str, *options: str) -> list[dict[str, Any]]:
    ran = revet("verify", *map(pinned, IMAGES.values()), "--key", key(name), "-o", "json", *options)
    assert ran.err == ""
    found: list[dict[str, Any]] = ran.json["results"]
    return found


@cache
def on_the_layout(name: str) -> dict[str, dict[str, Any]]:
    """Image name -> result under one key."""
    return dict(zip(IMAGES, results_for(name, "--evidence", LAYOUT), strict=True))


def cosign_passes(image: str, name: str) -> bool:
    """By either generation, and with or without the trusted root that cosign 2 needs where there is a bundle."""
    return 0 in IMAGES[image]["cosign"][name].values()


@pytest.mark.parametrize("name", KEYS)
def test_revet_agrees_with_recorded_cosign_on_every_image_but_the_named_ones(name):
    for image, result in on_the_layout(name).items():
        expected = "valid" if cosign_passes(image, name) else "violates"
        different = DIFFERENT.get((image, name))
        if different is not None:
            assert different.revet != expected, f"{image} {name}: no difference any more"
            expected = different.revet
        assert result["verdict"] == expected, f"{image} {name}: {result['reasons']}"
        assert result["digest"] == IMAGES[image]["digest"]


@pytest.mark.parametrize(("image", "name"), DIFFERENT)
def test_each_difference_has_its_reason_and_is_documented(image, name):
    different = DIFFERENT[image, name]
    result = on_the_layout(name)[image]
    assert [reason["code"] for reason in result["reasons"]] == [different.code]
    assert f"### {different.anchor}\n" in DOCUMENTATION


@pytest.mark.parametrize("image", IMAGES)
def test_the_exit_code_is_that_of_the_verdict(image):
    name = IMAGES[image]["signers"][0]["key"] if IMAGES[image]["signers"] else "dev"
    ran = revet("verify", pinned(IMAGES[image]), "--key", key(name), "--evidence", LAYOUT)
    assert ran.code == (0 if on_the_layout(name)[image]["verdict"] == "valid" else 1), ran.out


def test_wherever_cosign_2_passes_cosign_3_does_so_one_column_would_do():
    """What "combined" adds is only that nobody has to know which generation reads what."""
    only_v2 = [
        (image, name)
        for image, entry in IMAGES.items()
        for name, codes in entry["cosign"].items()
        if codes["v2"] == 0 != codes["v3"]
    ]
    assert only_v2 == []


def test_a_signature_on_the_index_covers_the_child_that_a_node_runs():
    """cosign answers 10 for the child; an index names its children by digest, so its signature says which they are."""
    child = IMAGES["platform-fluent-bit-amd64"]
    assert set(child["cosign"]["dev"].values()) == {10}
    index = IMAGES["platform-fluent-bit"]["reference"]
    ran = revet("verify", f"{index}@{child['digest']}", "--key", key("dev"), "--evidence", LAYOUT, "-o", "json")
    assert (ran.code, ran.json["results"][0]["signatures"][0]["via"]) == (0, "index_of")
    assert "### A signed index covers its children\n" in DOCUMENTATION


def test_a_signature_on_one_child_never_covers_the_index():
    index = IMAGES["platform-node-agent"]
    ran = revet("verify", pinned(index), "--key", key("dev"), "--evidence", LAYOUT)
    assert ran.code == 1


@pytest.mark.parametrize(
    ("image", "wanted", "code"),
    [
        ("payments-notify", "env=prod", 0),
        ("payments-notify", "env=dev", 1),
        ("checkout-notify", "env=prod", 0),
        ("checkout-notify", "env=dev", 1),
        ("payments-api-1.4.2", "env=prod", 1),
    ],
)
def test_annotations_are_asked_for_as_cosign_does(image, wanted, code):
    ran = revet("verify", pinned(IMAGES[image]), "--key", key("dev"), "-a", wanted, "--evidence", LAYOUT)
    assert ran.code == code, ran.out


# ------------------------------------------------------------------------------------------------ the real tools again


@pytest.fixture(scope="module")
def matrix() -> Iterator[Any]:
    """scripts/record/cosign_matrix.py, which is no package."""
    path = ROOT / "scripts" / "record" / "cosign_matrix.py"
    spec = importlib.util.spec_from_file_location("cosign_matrix", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cosign_matrix"] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["cosign_matrix"]


@pytest.fixture(scope="module")
def registry(matrix, require) -> Iterator[str]:
    """Address of a real registry that serves the recorded layout."""
    with matrix.serve_layout(DEMO / "oci", require("registry")) as address:
        yield address


ASKED_AGAIN = ("dev", "sec", "p384", "ed25519")
"""Keys under which real cosign is run again: every difference is under one of them."""


@pytest.mark.slow
@pytest.mark.timeout(300)  # some four hundred processes
@pytest.mark.needs("cosign", "cosign2", "registry")
def test_real_cosign_still_answers_what_is_recorded(matrix, registry, require):
    assert {name for _, name in DIFFERENT} <= set(ASKED_AGAIN)
    cosigns = matrix.Cosigns(require("cosign"), require("cosign2"))
    matrix.GENERATIONS = ("v3", "v2")
    answers = matrix.run_matrix(registry, list(IMAGES.values()), {n: key(n) for n in ASKED_AGAIN}, cosigns)
    recorded = {(i, n): IMAGES[i]["cosign"][n] for i in answers for n in ASKED_AGAIN}
    changed = {
        (image, name): codes
        for image, by_key in answers.items()
        for name, codes in by_key.items()
        if any(recorded[image, name][which] != code for which, code in codes.items())
    }
    assert changed == {}


@pytest.mark.needs("registry")
@pytest.mark.parametrize("name", ["dev", "sec"])
def test_the_registry_gives_the_verdicts_of_the_layout(registry, name):
    over_http = results_for(name, "--mirror", f"registry.example.com=http://{registry}")
    assert over_http == list(on_the_layout(name).values())


@pytest.mark.needs("registry")
def test_plain_http_asks_the_registry_in_the_reference(registry):
    image = f"{registry}/payments/api:1.4.2"
    ran = revet("verify", image, "--key", key("dev"), "--plain-http", "-o", "json")
    assert (ran.code, ran.json["results"][0]["digest"]) == (0, IMAGES["payments-api-1.4.2"]["digest"])


@pytest.mark.needs("registry")
def test_a_registry_that_does_not_answer_is_could_not_tell(registry):
    image = IMAGES["payments-api-1.4.2"]
    missing = revet("verify", f"{registry}/payments/api:0.0.0", "--key", key("dev"), "--plain-http", "-o", "json")
    assert _codes(missing) == (3, "unverifiable", ["registry-not-found"])
    tls = revet("verify", f"{registry}/payments/api@{image['digest']}", "--key", key("dev"), "-o", "json")
    assert _codes(tls) == (3, "unverifiable", ["registry-unavailable"])


def _codes(ran: Ran) -> tuple[int, str, list[str]]:
    result = ran.json["results"][0]
    return ran.code, result["verdict"], [reason["code"] for reason in result["reasons"]]


def test_everything_that_is_compared_is_there():
    assert (len(IMAGES) >= 40, len(KEYS) >= 9) == (True, True)
    assert all(set(image["cosign"]) == set(KEYS) for image in IMAGES.values())
    assert Path(DEMO / "oci" / "index.json").exists()
