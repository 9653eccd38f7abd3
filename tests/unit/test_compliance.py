"""Evidence for controls: counts by hand over a small day, samples that can be drawn again, gaps, people by number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import streams.queries.compliance as module
from dashboards.report import page
from streams.queries.compliance import FRAMEWORKS, Sampling, compliance
from streams.queries.compliance.model import EVIDENCE
from streams.queries.conditions import both, is_
from streams.queries.port import one
from streams.queries.report import Wanted
from streams.queries.report.model import Report, as_json
from streams.sinks.fields import HOMES
from tests.helpers.command import revet
from tests.helpers.demo_state import played_demo
from tests.helpers.hostilereport import hostile
from tests.helpers.pagereading import PageRead
from tests.helpers.questionday import at, played
from tests.helpers.recorded import RecordedWorld


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def world(request) -> RecordedWorld:
    return played(request.param)


def made(world: RecordedWorld, name: str = "nist-800-53", start: float = 0, **sampling: Any) -> Report:
    wanted = Wanted(at(start), at(51), world.now)
    return compliance(world.reader, wanted, name, Sampling(**sampling))


def rows(report: Report, caption: str) -> list[dict[str, Any]]:
    sections: Any = as_json(report)["sections"]
    blocks = (block for section in sections for part in section["parts"] for block in part["blocks"])
    (found,) = (b for b in blocks if b["type"] == "table" and b["caption"].startswith(caption))
    listed: list[dict[str, Any]] = found["rows"]
    return listed


def gaps(report: Report, control: str) -> list[str]:
    parts = (part for section in report.sections for part in section.parts if part.title == control)
    return [i for part in parts for block in part.blocks if hasattr(block, "items") for i in map(str, block.items)]


def drawn(report: Report) -> Iterator[dict[str, Any]]:
    for control in FRAMEWORKS["nist-800-53"].controls:
        yield from rows(report, f"{control.id}: sample")


def test_what_is_on_record_is_counted(world):
    """One revocation; one exemption; three containers run; two were admitted by a decision, of three made."""
    keys = {row["shows"]: row["number"] for row in rows(made(world), "SC-12 [L M H], SC-17 [M H]: what")}
    assert keys["revocations and withdrawals"] == 1
    held = {row["shows"]: row["number"] for row in rows(made(world), "CM-7(5) [M H]: what")}
    assert held["admission decisions: who asked for what, and the outcome"] == 3
    assert held["exemptions with author, approver and expiry"] == 1
    assert held["let in beside the rules (break-glass, exceptions)"] == 1
    runs = {row["shows"]: row["number"] for row in rows(made(world), "CM-8 [L M H], (2) [H], (3) [M H]: what")}
    assert runs["containers that run now, by digest"] == 3
    assert runs["containers that run without an admission decision on record"] == 1


def test_only_what_is_of_the_window_is_counted(world):
    found = {row["shows"]: row["number"] for row in rows(made(world, start=39), "SC-12 [L M H], SC-17 [M H]: what")}
    assert found["revocations and withdrawals"] == 0


@pytest.mark.parametrize("name", sorted(FRAMEWORKS))
def test_every_framework_is_told_whole(world, name):
    report = made(world, name, size=3)
    assert report.sections[0].id == "coverage"
    assert [row["control"] for row in rows(report, "Controls, and")] == [c.id for c in FRAMEWORKS[name].controls]
    assert PageRead.of(page(report)).broken() == []
    assert PageRead.of(page(hostile(report))).broken() == []


def test_every_control_has_its_evidence_in_the_table_and_its_own_name():
    for framework in FRAMEWORKS.values():
        assert len({control.id for control in framework.controls}) == len(framework.controls)
        for control in framework.controls:
            assert control.evidence, control.id
            assert set(control.evidence) <= set(EVIDENCE), control.id
    assert {kind for f in FRAMEWORKS.values() for c in f.controls for kind in c.evidence} == set(EVIDENCE)


def test_a_sample_names_documents_that_are_there_and_fit(world):
    for row in drawn(made(world, size=100)):
        evidence = EVIDENCE[row["evidence"]]
        assert row["index"] == HOMES[evidence.home]
        assert one(world.reader, row["index"], both(evidence.where, is_("id", row["id"]))) is not None


def test_the_same_seed_draws_the_same_and_another_draws_others(world):
    ids = [[row["id"] for row in drawn(made(world, size=4, seed=seed))] for seed in (1, 1, 2)]
    assert ids[0] == ids[1]
    assert ids[0] != ids[2]


@pytest.mark.parametrize("size", [0, 1, 5])
def test_a_sample_is_as_large_as_was_asked_for_where_there_is_enough(world, size):
    found = made(world, size=size)
    if not size:
        assert "sample, seed" not in str(found)
        return
    assert len(rows(found, "AU-2, AU-12 [L M H], AU-12(1) [H]: sample")) == size


def test_what_is_not_there_is_a_gap_and_what_nobody_could_show_too(world):
    assert any("revet ledger verify" in text for text in gaps(made(world), "AU-10 [H]"))
    changes = "gap: none on record: changes of policies"
    assert changes in gaps(made(world, start=39), "CM-3 [M H], CM-5(1) [H]")
    assert changes not in gaps(made(world), "CM-3 [M H], CM-5(1) [H]")


def test_people_are_numbers_unless_names_are_asked_for(world):
    without, named = made(world, size=100), made(world, size=100, names=True)
    for person in ("alice", "bob", "carol"):
        assert person not in page(without)
    assert {"alice", "bob"} <= {row["by"] for row in drawn(named)}
    assert {row["by"] for row in drawn(without)} <= {"", *(f"person {n}" for n in range(1, 20))}
    assert "sentence" not in next(drawn(without))


def test_of_a_large_record_a_piece_is_drawn_from_in_which_every_document_is_as_likely(world, monkeypatch):
    """With room for few ids, the piece the seed names is looked at; over many seeds every verdict is drawn."""
    whole = rows(made(world, "hipaa", size=1000), "164.312(b): sample")
    verdicts = {row["id"] for row in whole if row["evidence"] == "verdicts"}
    monkeypatch.setattr(module, "MANY", 5)
    seen: set[str] = set()
    for seed in range(60):
        report = made(world, "hipaa", size=10, seed=seed)
        seen |= {row["id"] for row in rows(report, "164.312(b): sample") if row["evidence"] == "verdicts"}
    assert seen <= verdicts
    assert len(seen) >= len(verdicts) * 0.8


def test_the_command(tmp_path):
    state, file = played_demo().state, tmp_path / "evidence.html"
    ran = revet("report", "--state", state, "--compliance", "pci-dss", "--sample", "2", "-O", file)
    assert ran.code == 0, ran.err
    assert PageRead.of(file.read_text()).broken() == []
    assert "alice@example.com" not in file.read_text()
    named = revet("report", "--state", state, "--compliance", "pci-dss", "--names", "-o", "json")
    assert "alice@example.com" in named.out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--compliance", "soc2"], "'soc2' is not one of"),
        (["--compliance", "hipaa", "--image", "x"], "--image is drawn in the report"),
        (["--names"], "--names goes with --compliance"),
        (["--compliance", "hipaa", "--sample", "-1"], "-1 is not in the range"),
    ],
)
def test_what_is_wrong_is_said(args, words):
    ran = revet("report", "--state", played_demo().state, *args)
    assert ran.code == 2
    assert words in ran.err.replace("\n", " ")
