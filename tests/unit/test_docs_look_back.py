"""docs/look-back.md: what is shown is what is printed, times of the day apart."""

import re

import pytest

from tests.helpers.command import revet
from tests.helpers.docs import ROOT, revet_words
from tests.helpers.shown import Shown, check, same, shown

PAGE = ROOT / "docs" / "look-back.md"


def test_what_is_shown_is_what_is_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)

    def run(line: str) -> str:
        words = [str(tmp_path / word) if word == "lookback.sqlite" else word for word in revet_words(line) or ()]
        ran = revet(*words)
        assert ran.code == 0, ran.err
        out = re.sub(r"in \d+\.\d s", "in 0.6 s", ran.out)
        return re.sub(r"^(clock +)[\d:TZ.-]+", r"\g<1>2026-11-22T09:00:00Z", out, flags=re.MULTILINE)

    assert check(PAGE, run) == 2


@pytest.mark.parametrize(
    ("expected", "printed", "answer"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\n…\nd\n", "a\nb\nc\nd\n", True),
        ("a\n…\nd\n", "a\nb\nc\n", False),
        ("a\n", "a\nb\n", False),
        ("a.c\n", "abc\n", False),
    ],
)
def test_a_difference_is_found(expected, printed, answer):
    assert same(expected, printed) is answer


def test_commands_over_several_lines_and_several_in_a_block_are_found():
    text = "```text\n$ revet a \\\n    b\none\n\n$ revet c\ntwo\n```\n```sh\n$ revet d\n```\n"
    assert list(shown(text)) == [Shown("revet a b", "one\n\n"), Shown("revet c", "two\n")]
