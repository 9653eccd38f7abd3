"""`revet ask` on the state that the demo leaves: tables, JSON, CSV, pages, and questions put wrongly."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from streams.queries.questions import QUESTIONS
from tests.helpers.command import Ran, revet
from tests.helpers.demo_state import played_demo

REFUNDS = "registry.example.com/payments/refunds:2.3"


def asked(*args: str, code: int = 0) -> Ran:
    ran = revet("ask", *args, "--state", played_demo().state)
    assert ran.code == code, ran.err
    return ran


def plain(*args: str) -> dict[str, Any]:
    found: dict[str, Any] = asked(*args, "-o", "json").json
    return found


@pytest.mark.parametrize("of", QUESTIONS, ids=lambda of: of.name)
def test_number_and_name_ask_the_same(of):
    subject = [REFUNDS] if of.needs_subject else []
    found = plain(str(of.number), *subject)
    assert found == plain(of.name, *subject)
    assert (found["schema"], found["number"], found["columns"]) == ("revet.ask/v1", of.number, list(of.columns))
    assert all(list(row) == list(of.columns) for row in found["rows"])
    assert found["rows"] or of.name in ("built", "unverified")


def test_the_revocation_is_what_changed():
    found = plain("changed", REFUNDS)["rows"]
    assert [row["what"] for row in found] == 2 * ["last pass", "trust", "first fail"]


def test_what_was_known_before_the_revocation_is_not_what_is_known_now():
    before, now = (plain("believed", REFUNDS, *extra)["rows"] for extra in (["--known-at", "2026-11-21T13:50:00Z"], []))
    signed = [{row["verdict"] for row in rows if row["policy"] == "shop-signed"} for rows in (before, now)]
    assert signed == [{"valid"}, {"violates"}]


def test_the_table_says_last_what_was_not_seen():
    out = asked("running", "key:build").out
    assert out.startswith("4 Where does it run")
    assert out.index("\nnot seen:\n") > out.index("registry.example.com/")


def test_csv_has_a_head_every_row_and_nothing_else():
    ran = asked("ran", "payments/Deployment/payments-api", "-o", "csv")
    head, *rows = csv.reader(io.StringIO(ran.out))
    found = plain("ran", "payments/Deployment/payments-api")
    assert head == found["columns"]
    assert [dict(zip(head, row, strict=True)) for row in rows] == [
        {name: "" if value is None else str(value) for name, value in row.items()} for row in found["rows"]
    ]
    assert "not seen: no data for cluster" in ran.err


def test_pages_in_csv_are_continued():
    first = asked("ran", "--limit", "3", "-o", "csv")
    assert len(list(csv.reader(io.StringIO(first.out)))) == 4
    after = first.err.partition("--after ")[2].split()[0].strip("'")
    second = asked("ran", "--limit", "3", "--after", after, "-o", "csv")
    assert second.out.splitlines()[1:] != first.out.splitlines()[1:]


def test_narrowed_to_a_namespace_and_a_cluster():
    found = plain("running", "--namespace", "data", "--cluster", "staging")
    assert {(row["cluster"], row["namespace"]) for row in found["rows"]} == {("staging", "data")}
    assert all("prod-eu" not in sentence for sentence in found["blind_spots"])
    assert plain("running", "--cluster", "nowhere")["rows"] == []


def test_the_list_names_all_fifteen():
    assert [q["number"] for q in asked("--list", "-o", "json").json["questions"]] == list(range(1, 16))
    assert len(asked("--list").out.splitlines()) >= 16
    assert len(list(csv.reader(io.StringIO(asked("--list", "-o", "csv").out)))) == 16


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "give a QUESTION"),
        (["who"], "no question 'who'"),
        (["16"], "there are 1 signed"),
        (["signed"], "is asked about something"),
        (["blind", "prod-eu"], "takes no subject"),
        (["running", "--at", "yesterday"], "is no time"),
        (["ran", "--at", "2026-11-21", "--from", "2026-11-20"], "give one of both"),
        (["running", "--from", "2026-11-20"], "is about an instant"),
        (["ran", "--from", "2026-11-21", "--to", "2026-11-20"], "--from is later"),
        (["running", "--after", "q1.x"], "is no position"),
        (["running", "--limit", "0"], "0 is not in the range"),
    ],
)
def test_a_question_put_wrongly_says_what_is_wrong(args, words):
    assert words in asked(*args, code=2).err.replace("\n", " ")


def test_an_unknown_name_is_an_answer():
    ran = asked("signed", "r.example/none:1")
    assert "nothing on record is called so" in ran.out
    assert plain("signed", "r.example/none:1")["rows"] == []


@pytest.mark.parametrize("output", ["table", "json", "csv"])
def test_a_hostile_name_is_printed_raw_nowhere(output):
    ran = asked("ran", "\x1b[31m=cmd|' /C calc'!A0\u202e", "-o", output)
    assert "\x1b" not in ran.out + ran.err
    assert "\u202e" not in ran.out + ran.err
