"""docs/questions.md: a section for each question in order, and what is printed there is what the command prints.

`REVET_REGENERATE=1` writes the outputs instead of comparing them.
"""

from __future__ import annotations

import os
import re

import pytest

from streams.queries.questions import QUESTIONS
from tests.helpers.command import revet
from tests.helpers.demo_state import played_demo
from tests.helpers.docs import ROOT, revet_words

PAGE = ROOT / "docs" / "questions.md"
SHOWN = re.compile(r"^```text\n\$ (?P<line>revet ask [^\n]+)\n(?P<out>.*?)^```$", re.MULTILINE | re.DOTALL)
HOW = "stale: run this test with REVET_REGENERATE=1"


def printed(line: str) -> str:
    ran = revet(*(revet_words(line) or ()), "--state", played_demo().state)
    assert ran.code == 0, ran.err
    return "".join(f"{row.rstrip()}\n" for row in ran.out.splitlines())


def test_every_question_has_its_section_in_order():
    found = re.findall(r"^### (\d+)\. ([a-z-]+): (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert found == [(str(one.number), one.name, one.text) for one in QUESTIONS]


@pytest.mark.parametrize("number", range(len(QUESTIONS)), ids=lambda number: QUESTIONS[number].name)
def test_what_is_shown_is_what_is_printed(number):
    shown = list(SHOWN.finditer(PAGE.read_text(encoding="utf-8")))
    assert len(shown) == len(QUESTIONS)
    line, out = shown[number]["line"], printed(shown[number]["line"])
    assert line.split()[2] == QUESTIONS[number].name
    if os.environ.get("REVET_REGENERATE") == "1":
        text = PAGE.read_text(encoding="utf-8")
        start, end = list(SHOWN.finditer(text))[number].span("out")
        PAGE.write_text(text[:start] + out + text[end:], encoding="utf-8")
    assert list(SHOWN.finditer(PAGE.read_text(encoding="utf-8")))[number]["out"] == out, HOW
