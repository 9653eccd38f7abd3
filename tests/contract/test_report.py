"""The report on every record: one small day (`tests.helpers.questionday`), what stands in it computed by hand."""

from __future__ import annotations

from typing import Any

import pytest

from streams.queries.report import Wanted, report
from streams.queries.report.model import as_json
from streams.queries.subjects import resolve
from streams.sinks.document import instant
from tests.helpers.questionday import API, BUILDER, at, played
from tests.helpers.recorded import RecordedWorld
from tests.helpers.stores import STORES, opened
from tests.helpers.world import MINUTE


@pytest.fixture(scope="module", params=STORES)
def world(request) -> RecordedWorld:
    return played(opened(request))


@pytest.fixture(scope="module")
def found(world) -> dict[str, Any]:
    return made(world)


def made(world: RecordedWorld, start: float = 0, end: float = 51, *images: str) -> dict[str, Any]:
    subjects = tuple(resolve(world.reader, image) for image in images)
    wanted = Wanted(at(start), at(end), world.now, world.now, subjects)
    return as_json(report(world.reader, wanted, about="a test"))


def blocks(found: dict[str, Any], section: str, kind: str) -> list[dict[str, Any]]:
    (chapter,) = (one for one in found["sections"] if one["id"] == section)
    return [block for part in chapter["parts"] for block in part["blocks"] if block["type"] == kind]


def table(found: dict[str, Any], section: str, caption: str) -> list[dict[str, Any]]:
    (one,) = (block for block in blocks(found, section, "table") if block["caption"].startswith(caption))
    rows: list[dict[str, Any]] = one["rows"]
    return rows


def test_what_was_not_seen_comes_first(found):
    assert found["sections"][0]["id"] == "coverage"
    told = [item for block in blocks(found, "coverage", "sentences") for item in block["items"]]
    gap = f"{instant(at(20))} to {instant(at(25))}".replace(".000000Z", "Z")
    assert sum(gap in sentence for sentence in told) == 2, told


def test_evidence_that_no_place_answered_about(found):
    """down's registry did not answer; the others did."""
    assert table(found, "coverage", "Images whose evidence") == [{"registry": "r.example", "images": 1}]


def test_what_runs_now(found):
    """api-2 is unsigned and exempted, slow-1 is signed by the revoked key: both violate. down-1 cannot be told."""
    (bars,) = blocks(found, "posture", "bars")
    assert {bar["name"]: bar["value"] for bar in bars["bars"]} == {
        "valid": 0, "violates": 2, "unverifiable": 1, "ungoverned": 0
    }  # fmt: skip
    figures = {one["name"]: one["value"] for block in blocks(found, "posture", "figures") for one in block["items"]}
    assert (figures["running containers"], figures["workloads"], figures["verified"]) == ("3", "3", "0.0 %")


def test_whose_it_is(found):
    rows = {row["team"]: row["violates"] for row in table(found, "posture", "By team")}
    assert rows["pay"] == 2
    assert sum(rows.values()) == 2


def test_what_could_not_be_verified_and_what_nobody_admitted(found):
    (row,) = table(found, "posture", "What a policy could not be told of")
    assert row["workload"].endswith("/Deployment/down")
    assert {row["pod"] for row in table(found, "posture", "Running containers without")} == {"slow-1"}


def test_exemptions_name_who_wrote_and_who_approved_them(found):
    (row,) = table(found, "trust", "Exemptions, the next to end")
    assert (row["author"], row["approver"], row["ticket"]) == ("bob", "carol", "SEC-1")
    assert row["why"] == "until the new build"
    assert row["since"] == instant(at(40))


def test_an_exemption_that_is_over_no_longer_stands(world):
    wanted = Wanted(at(0), at(51), world.now + 400 * 24 * 60 * MINUTE)
    assert table(as_json(report(world.reader, wanted)), "trust", "Exemptions, the next to end") == []


def test_revocations_and_policies_that_stand(found):
    (row,) = table(found, "trust", "Revocations that were not withdrawn")
    assert (row["author"], row["reason"], row["since"]) == ("alice", "keyCompromise", instant(at(3)))
    assert [row["policy"] for row in table(found, "trust", "Policies")] == ["signed"]


def test_entries_of_trust_are_of_the_window_alone(world):
    rows = table(made(world, 39, 51), "trust", "Entries of the trust log")
    assert [row["author"] for row in rows] == ["bob"]


def test_what_came_in_beside_the_rules(found):
    rows = table(found, "trust", "Break-glass")
    assert ("break-glass", "revet/break-glass=INC-9") in {(row["how"], row["rule"]) for row in rows}
    assert {row["approved_by"] for row in rows if row["how"] == "exemption"} == {"carol"}


def test_signers(found):
    """`build` signed api:1 as ONE, which no longer runs, and slow; both were first seen at 5."""
    (row,) = (row for row in table(found, "signers", "Signers, those") if row["signer"] == "build")
    assert (row["images"], row["running_images"], row["first"], row["new"]) == (2, 1, instant(at(5)), "yes")
    assert {row["repository"] for row in table(found, "signers", "Signers whose first")} == {
        "r.example/pay/api", "r.example/pay/slow"
    }  # fmt: skip


def test_nobody_is_new_in_a_later_window(world):
    later = made(world, 10, 51)
    assert table(later, "signers", "Signers whose first") == []
    assert {row["new"] for row in table(later, "signers", "Signers, those")} == {""}


def test_incidents_have_their_timeline(found):
    rows = table(found, "incidents", "Open incidents")
    assert rows
    for row in rows:
        steps = table(found, "incidents", f"Timeline of {row['incident']}")
        assert steps[0]["time"] <= steps[-1]["time"]
        assert steps[0]["what"] in {"opened", "open"}


def test_provenance_of_an_image(world):
    found = made(world, 0, 51, API)
    (graph,) = blocks(found, "provenance", "graph")
    by: dict[str, list[str]] = {}
    for node in graph["nodes"]:
        by.setdefault(node["lane"], []).append(node["name"])
    (source,) = (node for node in graph["nodes"] if node["lane"] == "source")
    assert f"commit c0ffee{'0' * 34}" in (source["name"], source["detail"])
    assert by["build"] == [BUILDER]
    assert by["signed by"] == ["build"]
    assert {name.partition(" ")[0] for name in by["admission"]} == {"admitted"}
    assert len(by["runs"]) == 1


def test_plots_count_what_the_table_counts(found):
    """Every interval holds what happened in it, and all of them together what happened in the window."""
    rows = table(found, "changes", "Everything on record")
    counted = {(row["what"], row["kind"]): row["number"] for row in rows}
    plots = {
        plot["title"]: {s["name"]: sum(s["values"]) for s in plot["series"]}
        for plot in blocks(found, "changes", "trend")
    }
    assert plots["Admission decisions"] == {"admitted": counted["admission decision", "admitted"]}
    assert plots["Verdicts that differ from the one before"]["violates"] == counted["verdict", "violates"]
    assert counted["start or end of a container", "-"] == 5


def test_a_record_in_which_nothing_is_makes_a_report_too():
    world = RecordedWorld(keys=(), store="memory")
    found: Any = as_json(report(world.reader, Wanted(at(0), at(1), at(1), at(1))))
    assert found["sections"][0]["id"] == "coverage"
