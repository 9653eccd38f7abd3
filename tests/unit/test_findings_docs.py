"""docs/findings is what the table says, and its written parts are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerting.docs import TO_WRITE, WRITTEN_SECTIONS, finding_page, findings_index, written_section
from alerting.findings import FINDINGS

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "findings"


@pytest.mark.parametrize("code", FINDINGS)
def test_the_page_is_fresh(code):
    page = (FOLDER / f"{code}.md").read_text(encoding="utf-8")
    assert page == finding_page(code, page), "run: python scripts/generate_findings_docs.py"


@pytest.mark.parametrize("code", FINDINGS)
def test_the_page_has_written_text(code):
    page = (FOLDER / f"{code}.md").read_text(encoding="utf-8")
    for name in WRITTEN_SECTIONS:
        assert written_section(page, name) not in ("", TO_WRITE), f"{code}.md: section {name!r} is not written"


def test_the_index_is_fresh():
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == findings_index()


def test_no_page_without_a_row():
    assert {path.stem for path in FOLDER.glob("*.md")} == {*FINDINGS, "README"}


def test_written_text_survives_generating():
    page = finding_page("unsigned").replace(TO_WRITE, "Our words.\n\nIn two paragraphs.", 1)
    again = finding_page("unsigned", page)
    assert written_section(again, WRITTEN_SECTIONS[0]) == "Our words.\n\nIn two paragraphs."
    assert written_section(again, WRITTEN_SECTIONS[1]) == TO_WRITE
    assert finding_page("unsigned", again) == again
