"""docs/importing-policies.md is true: its blocks are imported, its table of patterns holds, it names every code."""

import re
from pathlib import Path

import pytest

from verifier.policy.globs import compile_glob, image_texts
from verifier.policy.importers import formats
from verifier.policy.importers.formats import IMPORTERS, detect, importer
from verifier.policy.model import Dialect
from verifier.reference import parse_reference

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "importing-policies.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(?:yaml|json)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)

EXPECTED = {
    "cip": (["signed-by-ci"], {"key-reference", "namespaces"}),
    "notation": (["notation.payments", "notation.no-statement"], {"root-reference"}),
    "containers-policy": (["containers.default", "containers.registry.example.com.payments"], {"key-reference"}),
    "connaisseur": (["connaisseur.rule-1"], {"key-reference"}),
    "binary-authorization": (["binary-authorization.example.default"], {"key-reference", "place", "system-images"}),
}


@pytest.mark.parametrize("text", BLOCKS, ids=lambda text: detect([("f", text)]))
def test_every_block_is_imported(text):
    name = detect([("f", text)])
    result = importer(name)([("f", text)])
    assert (
        [policy.id for policy in result.policies],
        {n.code for n in result.notes if n.severity == "loses"},
    ) == EXPECTED[name]


def test_there_is_a_block_for_every_format_without_a_page_of_its_own():
    assert {detect([("f", text)]) for text in BLOCKS} == IMPORTERS.keys() - {"kyverno", "openshift"}


ROWS = re.findall(
    r"^\| `([^`]+)` \| `([^`]+)` \| (yes|no) \| (yes|no) \| (yes|no) \| (yes|no) \|$", PAGE, flags=re.MULTILINE
)


@pytest.mark.parametrize(("pattern", "image", *("cip", "kyverno", "gobwas", "connaisseur")), ROWS)
def test_patterns_match_as_the_table_says(pattern, image, cip, kyverno, gobwas, connaisseur):
    said: dict[Dialect, str] = {"cip": cip, "kyverno": kyverno, "gobwas": gobwas, "connaisseur": connaisseur}
    for dialect, expected in said.items():
        texts = image_texts(parse_reference(image), "", dialect)
        assert any(map(compile_glob(pattern, dialect, "image"), texts)) is (expected == "yes"), dialect


def test_there_are_rows_to_check():
    assert len(ROWS) == 6


def test_every_format_and_every_code_is_named():
    assert [name for name in IMPORTERS if f"| `{name}` |" not in PAGE] == []
    both = PAGE + (DOCS / "coming-from-kyverno.md").read_text(encoding="utf-8")
    folder = Path(str(formats.__file__)).parent
    text = "".join(path.read_text(encoding="utf-8") for path in [*folder.glob("*.py"), folder.parent / "export.py"])
    codes = set(re.findall(r'"(?:weakens|loses)",\s*"([a-z-]+)"', text)) | set(
        re.findall(r'_UnsaidError\(\s*"([a-z-]+)"', text)
    )
    assert len(codes) > 25
    assert {code for code in codes if f"`{code}`" not in both} == set()
