"""The report as a page: read strictly, with the texts of a small day and with hostile ones in their place."""

from __future__ import annotations

import pytest

from dashboards.report import page
from streams.queries.report import Wanted, report
from streams.queries.report.model import (
    Bar,
    Bars,
    Graph,
    Node,
    Part,
    Report,
    Section,
    Sentences,
    Series,
    Table,
    Trend,
)
from streams.queries.subjects import resolve
from tests.helpers.command import revet
from tests.helpers.demo_state import played_demo
from tests.helpers.hostilereport import NAMES, hostile
from tests.helpers.pagereading import PageRead
from tests.helpers.questionday import API, at, played


@pytest.fixture(scope="module")
def day() -> Report:
    world = played("memory")
    wanted = Wanted(at(0), at(51), world.now, world.now, (resolve(world.reader, API),))
    return report(world.reader, wanted, about="state file <day>.sqlite")


def of(*blocks: Sentences | Table | Bars | Trend | Graph) -> Report:
    return Report("A title", "", at(0), at(0), at(1), (Section("one", "One", "", (Part(blocks),)),))


def test_a_page_is_sound(day):
    found = PageRead.of(page(day))
    assert found.broken() == []
    assert len(found.tables) > 15


def test_what_stands_in_the_record_stands_on_the_page(day):
    tables = PageRead.of(page(day)).tables
    (row,) = tables["Exemptions, the next to end first"]
    assert (row["author"], row["approver"], row["ticket"]) == ("bob", "carol", "SEC-1")
    assert row["since"].endswith("Z")


def test_hostile_names_change_nothing_but_the_text(day):
    """Every text of the report is replaced; a page of harmless ones has the same elements in the same order."""
    found = PageRead.of(page(hostile(day)))
    assert found.broken() == []
    assert found.shape == PageRead.of(page(hostile(day, ("x",)))).shape


def test_hostile_names_are_not_raw_in_the_file(day):
    text = page(hostile(day))
    assert not any(name in text for name in NAMES if set(name) & set('<">'))
    assert not any(character in text for character in "\u202e\u2066\u2029\0\x1b\r\ufeff")
    assert "n" * 500 not in text
    text.encode()  # a lone surrogate is spelt out


def test_an_empty_page_is_sound():
    report_ = of(
        Sentences((), "unknown", "nothing"),
        Table("A caption", ("a",), ()),
        Bars("Bars", "things", ()),
        Trend("Trend", (at(0),), at(1), ()),
        Graph("Graph", ("a", "b"), ()),
    )
    assert PageRead.of(page(report_)).broken() == []


def test_numbers_that_are_large_zero_or_alone_are_drawn():
    report_ = of(
        Bars("Bars", "things", (Bar("none", 0), Bar("one", 1, "bad"), Bar("many", 10**9, "good"))),
        Trend("Trend", (at(0), at(1)), at(2), (Series("a", (0, 10**9)), Series("b", (1, 0), "bad"))),
        Graph("Graph", ("a", "b", "c"), (Node("a", "x"), Node("c", "y", "z", "bad")), ("2 more",)),
    )
    found = PageRead.of(page(report_))
    assert found.broken() == []
    widths = [float(rect.attributes["width"]) for rect in found.root.all("rect")]
    assert all(0 <= width <= 1000 for width in widths)
    assert found.tables["Trend, by the start of each interval"][1]["a"] == "1,000,000,000"


def test_columns_that_are_empty_are_left_out_but_never_who_approved():
    report_ = of(Table("T", ("name", "nothing", "approver"), (("x", "", ""), ("y", None, ""))))
    assert list(PageRead.of(page(report_)).tables["T"][0]) == ["name", "approver"]


def test_a_list_says_what_it_leaves_out():
    report_ = of(Table("T", ("name",), (("x",),), "12 rows more: `revet ask running`"))
    assert "12 rows more: `revet ask running`." in PageRead.of(page(report_)).root.words


# ------------------------------------------------------------------------------------------------ the command


def test_the_command_writes_a_sound_page_for_its_owner_alone(tmp_path):
    file = tmp_path / "out.html"
    file.write_text("what was there before")
    ran = revet("report", "--state", played_demo().state, "-O", file)
    assert (ran.code, ran.out) == (0, ""), ran.err
    assert "KiB" in ran.err
    found = PageRead.of(file.read_text())
    assert found.broken() == []
    assert file.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["out.html"]
    assert str(played_demo().state.parent) not in file.read_text()  # folders of this machine are nobody's business


def test_json_holds_what_the_page_holds_and_the_same_is_the_same():
    first, second = (revet("report", "--state", played_demo().state, "-o", "json") for _ in range(2))
    assert first.json["schema"] == "revet.report/v1"
    assert first.out == second.out
    assert next(s["id"] for s in first.json["sections"]) == "coverage"


def test_to_standard_output():
    ran = revet("report", "--state", played_demo().state, "-O", "-", "--from", "1h")
    assert ran.out.startswith("<!doctype html>")
    assert PageRead.of(ran.out).broken() == []


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--from", "yesterday"], "is no time"),
        (["--from", "2026-11-22", "--to", "2026-11-21"], "--from is later"),
        (["--image", "r.example/none:1"], "nothing in the record"),
        (["-O", "/nowhere/at/all.html"], "/nowhere/at/all.html: No such file"),
        (["-O", "/"], "/ is a folder"),
        (["--image", "x"] * 21, "at most 20"),
    ],
)
def test_what_is_wrong_is_said(args, words):
    ran = revet("report", "--state", played_demo().state, *args)
    assert ran.code == 2
    assert words in ran.err.replace("\n", " ")
