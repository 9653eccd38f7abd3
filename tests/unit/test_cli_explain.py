"""`revet explain`, `version`, `doctor`, `evidence show`, and the examples in their help."""

import json
import os
import pty
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from alerting.findings import FINDINGS
from streams.cli import COMMANDS
from streams.cli.explain import explanations
from streams.collectors.deadletters import CODES
from streams.engine.sqlite import connect
from streams.events import FeedSeen
from streams.local.node import LocalNode, NodeSettings
from tests.helpers.command import DEMO, LAYOUT, ROOT, key, recorded_images, revet
from verifier.reasons import REASONS

ALL_CODES = sorted({*REASONS, *FINDINGS, *CODES})
API = "registry.example.com/payments/api:1.4.2"


# ------------------------------------------------------------------------------------------------------------- explain


@pytest.mark.parametrize("code", ALL_CODES)
def test_every_code_is_explained(code):
    ran = revet("explain", code)
    tables = [t for t, codes in (("reason", REASONS), ("finding", FINDINGS), ("dead letter", CODES)) if code in codes]
    assert ran.code == 0
    assert [t for t in ("reason", "finding", "dead letter") if f"{code} ({t}" in ran.out] == tables
    assert "Means" in ran.out


def test_a_finding_says_why_it_may_be_harmless_and_where_to_read_on():
    out = revet("explain", "failed-open").out
    assert FINDINGS["failed-open"].benign in out
    page = next(line.strip() for line in out.splitlines() if line.strip().startswith("docs/"))
    assert (ROOT / page).exists()


def test_the_list_names_all():
    assert {row["code"] for row in revet("explain", "--list", "-o", "json").json["entries"]} == set(ALL_CODES)
    listing = revet("explain", "--list").out
    assert all(code in listing for code in ALL_CODES)


@pytest.mark.parametrize(
    ("typed", "meant"), [("key-revokd", "key-revoked"), ("Unsigned", "unsigned"), ("json-malform", "json-malformed")]
)
def test_an_unknown_code_names_the_closest(typed, meant):
    ran = revet("explain", typed)
    assert (ran.code, ran.out) == (2, "")
    assert meant in ran.err


def test_a_code_like_no_other_and_a_hostile_one():
    ran = revet("explain", "\x1b[31m\u202eqqqqqqqqqqqq")
    assert (ran.code, "--list" in ran.err) == (2, True)
    assert "\x1b" not in ran.err


@pytest.mark.parametrize("args", [(), ("unsigned", "--list")])
def test_a_code_or_the_list(args):
    assert revet("explain", *args).code == 2


def test_as_json():
    document = revet("explain", "unsigned", "-o", "json").json
    assert (document["schema"], [row["table"] for row in document["entries"]]) == (
        "revet.explain/v1",
        ["reason", "finding"],
    )


def test_explanations_have_something_to_say():
    assert all(row.meaning and row.title for row in explanations())


# ------------------------------------------------------------------------------------------------------------- version


def test_version():
    assert re.match(r"revet \S+ \(verifier \d+, Python 3\.", revet("version").out)
    assert set(revet("version", "-o", "json").json) == {"schema", "revet", "verifier", "python", "platform"}


# -------------------------------------------------------------------------------------------------------------- doctor


def checks(*args: object) -> tuple[int, dict[str, list[dict]]]:
    ran = revet("doctor", "-o", "json", *args)
    found: dict[str, list[dict]] = {}
    for check in ran.json["checks"]:
        found.setdefault(check["name"], []).append(check)
    return ran.code, found


def status(found: dict[str, list[dict]]) -> dict[str, str]:
    return {name: rows[0]["status"] for name, rows in found.items()}


@pytest.fixture
def state(tmp_path) -> Path:
    path = tmp_path / "revet.sqlite"
    connect(path, create=True).close()
    return path


def test_a_new_machine_is_warned_and_sound(monkeypatch, tmp_path):
    monkeypatch.setenv("REVET_STATE", str(tmp_path / "none.sqlite"))
    code, found = checks()
    assert (code, status(found)["state"], status(found)["python"], status(found)["packages"]) == (0, "warn", "ok", "ok")
    assert "revet demo" in found["state"][0]["mend"]
    assert not list(tmp_path.iterdir())


def test_a_state_that_was_named_and_is_not_there_fails(tmp_path):
    code, found = checks("--state", tmp_path / "none.sqlite")
    assert (code, status(found)["state"]) == (4, "fail")


def test_a_fresh_state_is_sound_and_says_what_is_missing(state):
    code, found = checks("--state", state)
    assert code == 0
    assert status(found) == {
        **dict.fromkeys(("python", "packages", "disk", "permissions", "state", "journal", "requests"), "ok"),
        **dict.fromkeys(("trust", "feed", "record"), "warn"),
    }
    assert "no record yet" in found["record"][0]["message"]
    assert all(row["mend"] for rows in found.values() for row in rows if row["status"] != "ok")


def test_looking_changes_nothing(state):
    before = state.read_bytes()
    checks("--state", state)
    assert state.read_bytes() == before
    assert sorted(p.name for p in state.parent.iterdir() if p.suffix == ".sqlite") == [state.name]


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4_096, b"{}"])
def test_a_file_that_is_no_state_fails(tmp_path, content):
    (tmp_path / "x.sqlite").write_bytes(content)
    code, found = checks("--state", tmp_path / "x.sqlite")
    assert (code, found["state"][-1]["status"]) == (4, "fail")


def test_a_damaged_state_fails(state):
    with state.open("r+b") as file:
        file.seek(4_096)  # the header of the second page
        file.write(b"\xff" * 2_000)
    code, found = checks("--state", state)
    assert (code, found["state"][0]["status"]) == (4, "fail")


def test_a_state_others_may_open_is_warned_of(state):
    state.chmod(state.stat().st_mode | stat.S_IRGRP | stat.S_IROTH)
    code, found = checks("--state", state)
    assert (code, status(found)["permissions"]) == (0, "warn")
    assert "chmod 600" in found["permissions"][0]["mend"]


def test_a_state_of_a_newer_version_fails(state):
    connection = connect(state, create=False)
    connection.execute("UPDATE meta SET value = '99' WHERE key = 'file-version'")
    connection.close()
    assert checks("--state", state)[0] == 4


def test_how_long_since_each_feed_was_heard(state):
    hour_ago = 1_000_000 * 3_600
    node = LocalNode.open(state, NodeSettings())
    feeds: dict[Literal["audit", "pods"], int] = {
        "audit": node.settings.clock() - hour_ago,
        "pods": node.settings.clock(),
    }
    node.ingest([FeedSeen(id=feed, time=t, cluster="c\x1b[31m", feed=feed, since=t) for feed, t in feeds.items()])
    while node.engine.run_once():
        pass
    node.close()
    code, found = checks("--state", state)
    assert (code, [(row["status"], "last heard" in row["message"]) for row in found["feed"]]) == (
        0,
        [("warn", True), ("ok", True)],
    )
    table = revet("doctor", "--state", state)
    assert "\x1b" not in table.out
    assert "WHAT MENDS IT" in table.out.splitlines()[0]


# ------------------------------------------------------------------------------------------------------- evidence show


def shown(image: str, *options: object) -> dict:
    found: dict = revet("evidence", "show", image, "--evidence", LAYOUT, "-o", "json", *options).json
    return found


def test_what_exists_where_it_was_found_and_who_made_it():
    document = shown("registry.example.com/payments/ledger:3.0", "--trust", DEMO / "keys")
    assert (document["schema"], document["complete"]) == ("revet.evidence/v1", True)
    found = {e["format"]: ([k["name"] for k in e["verified_by"]], e["reaches"]) for e in document["evidence"]}
    assert found == {"cosign-simplesigning": (["sec"], "exact"), "sigstore-bundle": (["dev"], "exact")}
    places = {e["format"]: e["place"] for e in document["evidence"]}
    assert places["cosign-simplesigning"] == "sig-tag"
    assert places["sigstore-bundle"].startswith("referrers-")
    assert {p["place"] for p in document["places"]} >= {"referrers-api", "referrers-tag", "sig-tag", "att-tag"}


def test_without_keys_nothing_is_verified_and_everything_is_shown():
    (evidence,) = shown(API)["evidence"]
    assert (evidence["verified_by"], evidence["kind"]) == ([], "signature")


def test_a_copied_signature_names_another_image():
    (evidence,) = shown("registry.example.com/data/report:1.1", "--key", key("dev"))["evidence"]
    assert (evidence["reaches"], [k["name"] for k in evidence["verified_by"]]) == (None, ["dev"])
    assert (
        "(another image)" in revet("evidence", "show", "registry.example.com/data/report:1.1", "--evidence", LAYOUT).out
    )


def test_the_algorithm_that_matched_is_shown():
    (evidence,) = shown("registry.example.com/platform/p384:classic", "--key", key("p384"))["evidence"]
    assert evidence["algorithm"] == "ecdsa-p384-sha384"


@pytest.mark.parametrize("image", ["registry.example.com/payments/gone:1", "Not A Reference", "x\x1b[31m"])
def test_what_cannot_be_asked_is_could_not_tell(image):
    ran = revet("evidence", "show", image, "--evidence", LAYOUT)
    assert ran.code == 3
    assert "\x1b" not in ran.out + ran.err
    assert shown(image)["problem"]["code"] in REASONS


def test_every_recorded_image_can_be_shown():
    for image in recorded_images():
        document = shown(f"{image['reference']}@{image['digest']}", "--trust", DEMO / "keys")
        assert document["complete"]
        assert len(document["evidence"]) >= len(image["signers"])


# -------------------------------------------------------------------------------------------------- help and terminals

OURS = ("verify", "explain", "version", "doctor", "evidence")
_EXAMPLE = re.compile(r"^\s*\$ revet (.*)$", re.MULTILINE)


def help_of(name: str) -> str:
    return revet(name, "show" if name == "evidence" else "--help", *(["--help"] if name == "evidence" else [])).out


@pytest.mark.parametrize("name", OURS)
def test_help_has_an_example(name):
    assert name in COMMANDS
    assert _EXAMPLE.search(help_of(name))


EXAMPLES = sorted(
    {
        line
        for text in (*map(help_of, OURS), (ROOT / "docs" / "verification.md").read_text())
        for line in _EXAMPLE.findall(text)
        if "streams/demo_data" in line or line.split()[0] in ("explain", "version")
    }
)


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_run(example, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert revet(*shlex.split(example)).code == 0


def test_some_examples_were_found():
    assert {line.split()[0] for line in EXAMPLES} >= {"verify", "evidence", "explain", "version"}


COMMAND = [sys.executable, "-c", "from streams.cli import main; main()", "explain", "unsigned"]
QUIET = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}


def test_colours_only_on_a_terminal():
    piped = subprocess.run(COMMAND, env=QUIET, capture_output=True, check=True, cwd=ROOT)
    assert b"\x1b" not in piped.stdout
    master, slave = pty.openpty()
    subprocess.run(COMMAND, env=QUIET, stdout=slave, stderr=slave, check=True, cwd=ROOT)
    os.close(slave)
    assert b"\x1b[1m" in os.read(master, 65_536)
    os.close(master)


def test_json_output_is_one_document_whatever_the_command():
    for args in (("explain", "unsigned"), ("version",), ("doctor",), ("evidence", "show", API, "--evidence", LAYOUT)):
        assert json.loads(revet(*args, "-o", "json").out)["schema"].startswith("revet.")
