"""The documentation of policies is true: its blocks load, its limits are the constants, its patterns match."""

import re
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest
import yaml

from verifier.evidence.material import RootFormat
from verifier.policy.attestors import (
    ATTESTOR_KINDS,
    Attestor,
    Certificates,
    Keyless,
    Notary,
    OpenPgp,
    TrustData,
)
from verifier.policy.check import check_documents
from verifier.policy.documents import MODELS, ClusterSpec, ExemptionSpec, KeySpec, TrustRootSpec, load_documents
from verifier.policy.globs import compile_glob
from verifier.policy.identity import EXTENSION_NAMES, Identity
from verifier.policy.importers.kyverno import import_kyverno
from verifier.policy.importers.notes import WeakeningImport
from verifier.policy.model import ONE_OF, AtLeast, Dialect, MatchRule, PolicySpec, Requirement
from verifier.policy.notary import LEVELS

DOCS = Path(__file__).parents[2] / "docs"
POLICY = (DOCS / "policy.md").read_text(encoding="utf-8")
KYVERNO = (DOCS / "coming-from-kyverno.md").read_text(encoding="utf-8")


def blocks(text):
    return re.findall(r"^```yaml\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", blocks(POLICY), ids=lambda text: yaml.safe_load(text)["metadata"]["name"])
def test_every_block_of_the_reference_is_sound(text):
    documents, errors = load_documents("docs/policy.md", text)
    assert errors == ()
    assert len(documents) == 1
    severe = [p for p in check_documents(documents) if p.severity == "error"]
    assert severe == []


WRITTEN = (
    *(PolicySpec, MatchRule, Requirement, AtLeast, Attestor, Keyless, Certificates, Notary, OpenPgp, TrustData),
    *(Identity, KeySpec, TrustRootSpec, ExemptionSpec, ClusterSpec),
)
"""Everything that a document is made of; content rules have a page of their own."""


def test_every_kind_and_every_member_is_explained():
    assert {yaml.safe_load(text)["kind"] for text in blocks(POLICY)} == set(MODELS)
    names = {field.alias or name for model in WRITTEN for name, field in model.model_fields.items()}
    assert [name for name in sorted(names) if not re.search(rf"`{name}`|\b{name}:", POLICY)] == []
    prominent = {field.alias or name for name, field in MatchRule.model_fields.items()}
    prominent |= {field.alias or name for name, field in Attestor.model_fields.items()}
    prominent |= {field.alias or name for name, field in Identity.model_fields.items()}
    assert [name for name in sorted({*prominent, *ONE_OF}) if f"`{name}`" not in POLICY] == []


def test_the_policy_of_the_readme_is_sound():
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    (block,) = blocks(text)
    documents, errors = load_documents("README.md", block)
    assert errors == ()
    assert check_documents(documents) == ()


def test_every_kind_of_attestor_has_an_example():
    shown = {kind for text in blocks(POLICY) for kind in kinds_of(yaml.safe_load(text))}
    assert shown == set(ATTESTOR_KINDS)


def kinds_of(document):
    attestors = document["spec"].get("attestors", {}).values()
    return {kind for attestor in attestors for kind in attestor if kind in ATTESTOR_KINDS}


@pytest.mark.parametrize(
    "values",
    [EXTENSION_NAMES, get_args(RootFormat), get_args(Dialect), [n for n in LEVELS if n != "skip"]],
    ids=["extensions", "formats", "dialects", "levels"],
)
def test_every_value_is_listed(values):
    assert [value for value in sorted(values) if f"`{value}`" not in POLICY] == []


LIMITS = re.findall(r"^\| [^|]+ \| (\d+) \| `([a-z.]+)\.([A-Z_]+)` \|$", POLICY, flags=re.MULTILINE)


def test_every_limit_is_listed_with_its_value():
    listed = {(module, name): int(value) for value, module, name in LIMITS}
    assert listed == {
        (f"verifier.policy.{path.stem}", name): getattr(import_module(f"verifier.policy.{path.stem}"), name)
        for path in (DOCS.parent / "verifier" / "policy").glob("*.py")
        for name in re.findall(r"^([A-Z][A-Z_]+): Final = [\d_]+", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        if name != "MAX_REMEMBERED"  # of a cache
    }


TAGGED, PINNED = "registry.example.com/a/app:1.2", "registry.example.com/a/app@sha256:" + "0" * 64
ROWS = re.findall(r"^\| `([^`]+)` \| (yes|no)[^|]* \| (yes|no)[^|]* \|$", POLICY, flags=re.MULTILINE)


@pytest.mark.parametrize(("pattern", "tagged", "pinned"), ROWS)
def test_patterns_match_as_the_table_says(pattern, tagged, pinned):
    matcher = compile_glob(pattern, "native", "image")
    assert matcher(TAGGED) is (tagged == "yes")
    assert matcher(PINNED) is (pinned == "yes")


def test_there_are_rows_to_check():
    assert len(ROWS) == 7
    assert len(LIMITS) == 20


def test_the_first_kyverno_block_is_imported_with_one_note():
    result = import_kyverno([("release-images.yaml", blocks(KYVERNO)[0])])
    assert [(n.severity, n.code) for n in result.notes] == [("loses", "key-reference")]
    assert "k8s-security-cosign-ops" in KYVERNO
    assert "k8s-security-cosign-ops" in result.policies[0].attestors
    given = {"k8s://security/cosign-ops": re.findall(r"-----BEGIN.*?END PUBLIC KEY-----", KYVERNO, re.DOTALL)[0]}
    assert import_kyverno([("release-images.yaml", blocks(KYVERNO)[0])], keys=given).notes == ()


def test_the_second_kyverno_block_is_refused_as_the_page_says():
    second = blocks(KYVERNO)[1]
    with pytest.raises(WeakeningImport) as caught:
        import_kyverno([("sbom-without-gpl.yaml", second)])
    shown = re.findall(r"^WeakeningImport: (.*)$", KYVERNO, flags=re.MULTILINE)[0]
    assert str(caught.value) == shown.replace("…", "spec.rules[0].verifyImages[0].")
    assert import_kyverno([("f.yaml", second)], accept_weaker={"conditions"}).policies[0].require.attested_by


def test_the_other_kyverno_blocks_are_imported():
    result = import_kyverno([(f"{i}.yaml", text) for i, text in enumerate(blocks(KYVERNO)[2:])])
    assert [p.id for p in result.policies] == ["old-form.check"]
    assert [e.spec.policy for e in result.exemptions] == ["old-form.check"]


def test_every_code_of_the_importer_is_on_its_page():
    sources = (Path(import_kyverno.__code__.co_filename).parent).glob("kyverno*.py")
    text = "".join(path.read_text(encoding="utf-8") for path in sources)
    codes = set(re.findall(r'"(?:weakens|loses)",\s*"([a-z-]+)"', text))
    assert codes
    assert {code for code in codes if f"`{code}`" not in KYVERNO} == set()
