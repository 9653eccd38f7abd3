"""The pages on verification are true: every guard rail is listed with its constant, and what they name exists.

`REVET_REGENERATE=1` writes the tables of docs/verification/limits.md instead of comparing them.
"""

import ast
import os
import re
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, get_args

import pytest

from verifier.adapters import tuf_root  # noqa: F401  # imported here: its HTTP library tries a socket when it is loaded
from verifier.models import EvidenceFormat
from verifier.policy import notary
from verifier.policy.signers import NOTARY_CODES
from verifier.reasons import REASONS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LIMITS = DOCS / "verification" / "limits.md"
PAGES = sorted((DOCS / "verification").glob("*.md"))
HOW = "stale: run this test with REVET_REGENERATE=1"

UNITS = re.compile(
    r"Bytes|Characters|Nested|Levels|Arrays|Data items|Signatures?|Subjects|Signed a|Certificates|RFC 3161 time|"
    r"Transparency-log e|Layers|Weaker|Larger|Bits|Extensions|Parts|Signature lines|Lines|Entries|Commas|Timestamps|"
    r"Hashes|Keys|Self-signatures|Packets|Subpackets|Objects|Metadata files|Tags|The largest|Names|Pinned|Logs|"
    r"Root versions|Longest"
)
"""How the docstring of a limit begins: with what is counted."""

NO_LIMITS = {
    ("checkpoint", "HINT_BYTES"),
    ("content", "EXCERPT_CHARACTERS"),
    ("ed25519ph", "KEY_BYTES"),
    ("ed25519ph", "SIGNATURE_BYTES"),
    ("merkle", "HASH_BYTES"),
    ("openpgp_keyring", "LABEL_CHARACTERS"),
    ("sct", "_HEADER"),
    ("tufkeys", "LABEL_CHARACTERS"),
}
"""Sizes of things that have one size, and where text for people is cut."""

PARTS = (
    ("What evidence may hold", "verifier/evidence"),
    ("What trust roots may hold", "verifier/trust"),
    ("Fetching a trust root", "verifier/adapters/tuf_root.py"),
)


class Limit(NamedTuple):
    module: str
    name: str
    value: float
    what: str
    why: str

    @property
    def row(self) -> str:
        return f"| {self.what} | {int(self.value)} | {self.why} | `{self.module}.{self.name}` |"


def constants(path: Path) -> Iterator[tuple[str, str]]:
    """(name, docstring) of the documented constants of a module."""
    for node, after in pairwise(ast.parse(path.read_text(encoding="utf-8")).body):
        match node, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, " ".join(text.split())


def limits_of(place: str) -> Iterator[Limit]:
    where = ROOT / place
    for path in sorted(where.glob("*.py")) if where.is_dir() else [where]:
        module = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for name, text in constants(path):
            value = getattr(import_module(module), name)
            counted = isinstance(value, int | float) and not isinstance(value, bool) and UNITS.match(text)
            cache = name.endswith("_CACHED") or (name.startswith("_") and " kept" in text)
            if counted and not cache and (path.stem, name) not in NO_LIMITS:
                what, _, why = text.replace("|", "\\|").partition(". ")
                yield Limit(module, name, value, what.rstrip("."), why)


def tables() -> str:
    parts = []
    for title, place in PARTS:
        rows = [limit.row for limit in limits_of(place)]
        parts += [f"## {title}", "", "| limit | value | why | constant |", "|---|---|---|---|", *rows, ""]
    return "\n".join(parts)


def test_every_limit_is_listed_with_its_value():
    page = LIMITS.read_text(encoding="utf-8")
    begin, end = "<!-- generated: limits -->\n", "<!-- end -->"
    text = page[: page.index(begin) + len(begin)] + tables() + page[page.index(end) :]
    if os.environ.get("REVET_REGENERATE") == "1":
        LIMITS.write_text(text, encoding="utf-8")
        page = text
    assert page == text, HOW


def test_no_documented_number_is_forgotten():
    """A constant in capitals that is a number above 1 is a limit, a size, or a number of a standard that says so."""
    of_standards = re.compile(r"Tag of|Type of|Added to a tag|The end of a window|Microseconds")
    listed = {(limit.module, limit.name) for limit in limits_of("verifier/evidence")}
    for path in sorted((ROOT / "verifier" / "evidence").glob("*.py")):
        module = f"verifier.evidence.{path.stem}"
        for name, text in constants(path):
            value = getattr(import_module(module), name)
            if name.startswith("_") or not isinstance(value, int) or (module, name) in listed:
                continue
            explained = (path.stem, name) in NO_LIMITS or of_standards.match(text)
            assert explained, f"{module}.{name}: a limit whose docstring does not begin with a unit?"


def test_there_are_limits_to_list():
    assert len(list(limits_of("verifier/evidence"))) >= 60


# ----------------------------------------------------------------------------------------------------- what is named


@pytest.mark.parametrize("path", [DOCS / "verification.md", *PAGES], ids=lambda path: path.stem)
def test_files_that_are_named_exist(path):
    named = set(re.findall(r"`((?:verifier|streams|tests)/[\w./*-]+)`", path.read_text(encoding="utf-8")))
    assert [name for name in sorted(named) if not list(ROOT.glob(name))] == []
    files = set(re.findall(r"`([a-z0-9_]+\.py)`", path.read_text(encoding="utf-8")))
    assert [name for name in sorted(files) if not list((ROOT / "verifier").rglob(name))] == []


@pytest.mark.parametrize("path", [DOCS / "verification.md", *PAGES], ids=lambda path: path.stem)
def test_limits_that_are_named_exist(path):
    known = {limit.name for _, place in PARTS for limit in limits_of(place)}
    named = set(re.findall(r"`([A-Z][A-Z_]{4,})`", path.read_text(encoding="utf-8")))
    assert named <= known


def test_every_problem_of_evidence_is_told_of():
    """Reason codes of facts: each is on one of the pages, so that somebody who meets it finds the check."""
    text = "".join(path.read_text(encoding="utf-8") for path in [DOCS / "verification.md", *PAGES])
    roots = {"root-unavailable", "root-refused", "revocation-malformed", "revocation-invalid"}
    codes = {code for code, row in REASONS.items() if row.effect == ""} - roots
    assert sorted(code for code in codes if f"`{code}`" not in text) == []


def test_every_format_has_its_page():
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES)
    readers = {"cosign-simplesigning": "simplesigning.py", "cosign-dsse": "dsse.py", "sigstore-bundle": "bundle.py"}
    readers |= {"notation-jws": "jws.py", "notation-cose": "cose.py"}
    readers |= {"openpgp-simplesigning": "openpgp.py", "tuf-trust-data": "trustdata.py"}
    assert set(readers) == set(get_args(EvidenceFormat))
    assert [name for name in readers.values() if name not in text] == []


# ------------------------------------------------------------------------------------------------------------- tables


def rows(page: str, columns: int) -> list[list[str]]:
    cells = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in page.splitlines()]
    return [row for row in cells if len(row) == columns]


def test_the_levels_are_the_codes():
    page = (DOCS / "verification" / "notary-project.md").read_text(encoding="utf-8")
    found = {row[0]: tuple(row[1:]) for row in rows(page, 6) if row[0] in notary.LEVELS}
    assert found == {name: tuple(actions) for name, actions in notary.LEVELS.items() if name != "skip"}


def test_the_validations_have_their_reasons():
    page = (DOCS / "verification" / "notary-project.md").read_text(encoding="utf-8")
    found = {row[0]: row[2] for row in rows(page, 3) if row[0] in NOTARY_CODES}
    assert found == NOTARY_CODES
