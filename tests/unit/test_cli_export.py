"""`trace --export`, `blast-radius --export` and `--kibana` on the state that the demo leaves."""

from __future__ import annotations

import csv
import hashlib
import json
import stat
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from streams.casefile import CaseFile, field
from streams.queries import kql
from tests.helpers.command import Ran, revet
from tests.helpers.demo_state import played_demo
from verifier.errors import InputError
from verifier.evidence.identity import evidence_id

REFUNDS = "registry.example.com/payments/refunds:2.3"
KIBANA = "https://kibana.example.com/s/security"


def look(*args: object, code: int = 0) -> Ran:
    ran = revet(*args, "--state", played_demo().state)
    assert ran.code == code, ran.err
    return ran


def hashes(folder: Path) -> dict[str, str]:
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("cases") / "refunds"
    look("trace", REFUNDS, "--export", folder)
    return folder


def test_every_file_has_its_hash(case):
    files = {path.relative_to(case).as_posix(): path for path in case.rglob("*") if path.is_file()}
    del files["SHA256SUMS"]
    assert hashes(case) == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    assert {"README.md", "trace.json", "timeline.csv", "members.csv", "documents.ndjson"} <= set(files)


def test_the_answer_in_it_is_the_answer(case):
    assert json.loads((case / "trace.json").read_bytes()) == look("trace", REFUNDS, "-o", "json").json


def test_every_document_of_the_timeline_is_there_in_full(case):
    rows = json.loads((case / "trace.json").read_bytes())["rows"]
    documents = {
        (d["home"], d["id"]): d["body"] for d in map(json.loads, (case / "documents.ndjson").read_text().splitlines())
    }
    named = {(row["home"], row["id"]) for row in rows if row["id"] and row["kind"] != "signed"}
    assert named <= set(documents)
    assert all(body["event.id"] == id_ for (_, id_), body in documents.items())
    assert any(body.get("event.original") for body in documents.values())


def test_members_are_the_containers_that_ran(case):
    rows = read_csv(case / "members.csv")
    assert {(row["cluster"], row["end_reason"]) for row in rows} == {("prod-eu", "completed"), ("staging", "completed")}


def test_evidence_is_there_byte_for_byte(case):
    (told,) = [json.loads(path.read_bytes()) for path in (case / "evidence").glob("*.json")]
    payload = (case / told["payload"]).read_bytes()
    assert told["payload_sha256"] == hashlib.sha256(payload).hexdigest()
    assert told["id"] == evidence_id(told["payload_sha256"], told["annotations"])


def test_the_readme_says_what_was_not_seen(case):
    text = (case / "README.md").read_text()
    tail = text.partition("## What is not here")[2]
    assert "no data for cluster prod-eu" in tail


def test_only_its_owner_may_read_it(case):
    for path in (case, *case.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_nothing_is_overwritten(case):
    assert "is not empty" in look("trace", REFUNDS, "--export", case, code=2).err.replace("\n", " ")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    assert "is no folder" in look("trace", REFUNDS, "--export", tmp_path / "file", code=2).err.replace("\n", " ")


def test_a_blast_radius_comes_with_its_images_evidence(tmp_path):
    look("blast-radius", "--key", "build", "--export", tmp_path / "build")
    folder = tmp_path / "build"
    plain = json.loads((folder / "blast-radius.json").read_bytes())
    rows = read_csv(folder / "members.csv")
    assert len([row for row in rows if not row["ended"]]) == plain["containers"]
    assert len(list((folder / "evidence").glob("*.payload"))) >= plain["signatures"]["total"]
    assert plain["revocations"]


def test_a_folder_that_cannot_be_made_is_an_error_of_the_place():
    assert look("trace", REFUNDS, "--export", "/proc/nowhere/case", code=4).err


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_a_spreadsheet_takes_no_name_for_a_formula(name):
    assert field(name) == f"'{name}"


def test_what_is_no_text_is_a_field_too():
    assert [field(value) for value in (None, 7, -7, "a\0b")] == ["", "7", "-7", "a\ufffdb"]


def test_a_case_file_takes_each_name_once(tmp_path):
    case = CaseFile(tmp_path / "case")
    case.write("a", b"1")
    with pytest.raises(Exception, match="File exists"):
        case.write("a", b"2")
    with pytest.raises(InputError, match="is not empty"):
        CaseFile(tmp_path / "case")


# -------------------------------------------------------------------------------------------------------------- kibana


def link(monkeypatch, *args: str) -> dict[str, dict[str, str]]:
    monkeypatch.setenv("REVET_ALERTING_KIBANA_URL", KIBANA)
    url = urlsplit(look(*args, "--kibana").out.strip())
    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{KIBANA}/app/r"
    given = parse_qs(url.query)
    assert given["l"] == ["DISCOVER_APP_LOCATOR"]
    found: dict[str, dict[str, str]] = json.loads(given["p"][0])
    return found


@pytest.mark.parametrize("subject", [REFUNDS, "key:build", "policy:shop-signed", "payments/payments-fx-rates"])
def test_the_link_of_a_trace_asks_all_of_history(monkeypatch, subject):
    found = link(monkeypatch, "trace", subject)
    assert found["dataViewSpec"]["title"] == "logs-revet.*-default"
    kql.parse(found["query"]["query"], None)
    hits = look("search", found["query"]["query"], "--in", "history", "--limit", "500", "-o", "json").json["hits"]
    assert hits


def test_the_link_of_a_blast_radius_finds_its_containers(monkeypatch):
    found = link(monkeypatch, "blast-radius", "--key", "build")
    assert found["dataViewSpec"]["title"] == "revet-state-containers-default"
    query = f"({found['query']['query']}) and state:running"
    hits = look("search", query, "--limit", "500", "-o", "json").json["hits"]
    assert len(hits) == look("blast-radius", "--key", "build", "-o", "json").json["containers"]


def test_without_a_kibana_it_says_which_setting():
    assert "REVET_ALERTING_KIBANA_URL" in look("trace", REFUNDS, "--kibana", code=2).err
