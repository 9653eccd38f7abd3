"""The documentation of policies is true: its blocks load, its limits are the constants, its patterns match."""

import re
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from verifier.policy.check import check_documents
from verifier.policy.documents import MODELS, load_documents
from verifier.policy.globs import compile_glob
from verifier.policy.importers.kyverno import import_kyverno
from verifier.policy.importers.notes import WeakeningImport
from verifier.policy.model import ONE_OF, MatchRule

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


def test_every_kind_and_every_member_is_explained():
    assert {yaml.safe_load(text)["kind"] for text in blocks(POLICY)} == set(MODELS)
    members = [field.alias or name for name, field in MatchRule.model_fields.items()]
    missing = [name for name in (*members, *ONE_OF, "repositoryClaim") if f"`{name}`" not in POLICY]
    assert missing == []


LIMITS = re.findall(r"^\| [^|]+ \| (\d+) \| `([a-z.]+)\.([A-Z_]+)` \|$", POLICY, flags=re.MULTILINE)


def test_every_limit_is_listed_with_its_value():
    listed = {(module, name): int(value) for value, module, name in LIMITS}
    actual = {
        (module, name): value
        for module in ("yamltree", "model", "pem", "documents")
        for name, value in vars(import_module(f"verifier.policy.{module}")).items()
        if name.startswith("MAX_") or name == "DEFAULT_EXEMPTION_DAYS"
    }
    home = {f"verifier.policy.{module}": module for module in ("yamltree", "model", "pem", "documents")}
    assert {(home[module], name): value for (module, name), value in listed.items()} == {
        key: value for key, value in actual.items() if key[0] in home.values() and _defined_in(*key)
    }


def _defined_in(module, name):
    source = Path(str(import_module(f"verifier.policy.{module}").__file__)).read_text(encoding="utf-8")
    return f"\n{name}: Final" in source


TAGGED, PINNED = "registry.example.com/a/app:1.2", "registry.example.com/a/app@sha256:" + "0" * 64
ROWS = re.findall(r"^\| `([^`]+)` \| (yes|no)[^|]* \| (yes|no)[^|]* \|$", POLICY, flags=re.MULTILINE)


@pytest.mark.parametrize(("pattern", "tagged", "pinned"), ROWS)
def test_patterns_match_as_the_table_says(pattern, tagged, pinned):
    matcher = compile_glob(pattern, "native", "image")
    assert matcher(TAGGED) is (tagged == "yes")
    assert matcher(PINNED) is (pinned == "yes")


def test_there_are_rows_to_check():
    assert len(ROWS) == 7
    assert len(LIMITS) == 14


def test_the_first_kyverno_block_is_refused_as_the_page_says():
    first = blocks(KYVERNO)[0]
    with pytest.raises(WeakeningImport) as caught:
        import_kyverno([("release-images.yaml", first)])
    assert caught.value.codes == ("key-reference", "keyless")
    shown = re.findall(r"^WeakeningImport: (.*)$", KYVERNO, flags=re.MULTILINE)[0]
    assert str(caught.value) == shown.replace("…", "spec.rules[0].verifyImages[0].attestors[0].")


def test_and_accepted_once_its_key_is_given():
    given = {"k8s://security/cosign-ops": re.findall(r"-----BEGIN.*?END PUBLIC KEY-----", KYVERNO, re.DOTALL)[0]}
    result = import_kyverno([("release-images.yaml", blocks(KYVERNO)[0])], keys=given)
    assert result.policies[0].require.all is not None
    assert [(n.severity, n.code) for n in result.notes] == [("loses", "keyless")]


def test_the_other_kyverno_blocks_are_imported():
    result = import_kyverno([(f"{i}.yaml", text) for i, text in enumerate(blocks(KYVERNO)[1:])])
    assert [p.id for p in result.policies] == ["old-form.check"]
    assert [e.spec.policy for e in result.exemptions] == ["old-form.check"]


def test_every_code_of_the_importer_is_on_its_page():
    sources = (Path(import_kyverno.__code__.co_filename).parent).glob("kyverno*.py")
    text = "".join(path.read_text(encoding="utf-8") for path in sources)
    codes = set(re.findall(r'"(?:weakens|loses)",\s*"([a-z-]+)"', text))
    assert codes
    assert {code for code in codes if f"`{code}`" not in KYVERNO} == set()
