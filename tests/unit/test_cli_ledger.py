"""`revet ledger` on a state file, as an operator and as an auditor would type it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from alerting.routing import Routes
from streams.ledger import checker
from streams.local.ledgering import Keeper, LocalPlace
from streams.local.node import LocalNode, NodeSettings
from streams.settings import LedgerSettings
from tests.helpers.command import Ran, revet
from tests.helpers.demo_state import played_demo


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = tmp_path / "s.sqlite"
    shutil.copy(played_demo().state, file)
    return file


def ran(state: Path, *args: object, code: int = 0) -> Ran:
    done = revet("ledger", *args, "--state", state)
    assert done.code == code, (done.out, done.err)
    return done


def begun(state: Path) -> str:
    key: str = ran(state, "init", "-o", "json").json["key"]
    return key


def sql(state: Path, statement: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(state)) as connection, connection:
        return connection.execute(statement, values).fetchall()


def admission(state: Path) -> str:
    (row,) = sql(state, "SELECT id FROM record WHERE home = 'revet.admission' AND body LIKE '%user.name%' LIMIT 1")
    return str(row[0])


def test_a_ledger_begins_with_what_is_there(state: Path) -> None:
    key = begun(state)
    assert key.startswith("ledger-")
    (number,) = sql(state, "SELECT count(*) FROM record WHERE version IS NULL")[0]
    found = ran(state, "verify", "-o", "json").json
    assert (found["schema"], found["fine"], found["records"]) == ("revet.ledger-verify/v1", True, number)
    assert (state.with_name("s.sqlite.ledger-key.pem").stat().st_mode & 0o777) == 0o600
    assert list(state.with_name("s.sqlite.checkpoints").glob("batch-*.txt"))
    assert "already" in ran(state, "init", "--key-file", "other.pem", code=2).err
    assert not Path("other.pem").exists()
    assert "everything is as it was sealed" in ran(state, "verify").out


def test_without_a_ledger_each_command_says_how_to_begin(state: Path) -> None:
    for args in (("verify", "--key", KEY), ("seal",), ("prove", "x", "--key", KEY), ("export", "f", "--key", KEY)):
        assert "revet ledger init" in ran(state, *args, code=2).err
    assert "nobody says whose checkpoints" in ran(state, "verify", code=2).err
    assert "no state at" in revet("ledger", "verify", "--key", KEY, "--state", "none.sqlite").err


KEY = "ledger-x=Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="


def test_a_change_is_named_and_ends_with_1(state: Path) -> None:
    begun(state)
    target = admission(state)
    sql(state, "UPDATE record SET body = replace(body, 'admitted', 'denied  ') WHERE id = ?", target)
    done = ran(state, "verify", code=1)
    assert "record-changed" in done.out
    assert target in done.out
    assert "NOT as it was sealed" in done.out
    assert ran(state, "verify", "-o", "json", code=1).json["problems"][0]["id"] == target
    assert ran(state, "verify", "--to", "2020-01-01", "-o", "json").json["records"] == 0


def test_nothing_signed_is_could_not_tell(state: Path) -> None:
    """A key was named, and nothing it signed is there."""
    begun(state)
    sql(state, "DELETE FROM log WHERE topic = 'revet.ledger' AND id LIKE 'ledger-%'")
    shutil.rmtree(state.with_name("s.sqlite.checkpoints"))
    assert "nobody can tell" in ran(state, "verify", code=3).out


def test_what_an_auditor_gets(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = begun(state)
    done = ran(state, "export", "e.jsonl.gz", "--checker", "check.py", "-o", "json")
    assert done.json["documents"] > 100
    assert checker.main(["e.jsonl.gz", "--key", key]) == 0
    assert Path("check.py").read_bytes() == Path(checker.__file__).read_bytes()
    assert ran(state, "verify", "--export", "e.jsonl.gz", "-o", "json").json["fine"]
    proof = ran(state, "prove", admission(state)).out
    Path("p.json").write_text(proof)
    assert checker.main(["p.json", "--key", key]) == 0
    assert json.loads(proof)["revet"] == "ledger-proof/v1"
    assert "no entry" in ran(state, "prove", "v1:none", code=2).err


def test_erasure(state: Path) -> None:
    """The content is gone from record, terms and log; the entry stays, and the act; a search finds nothing of it."""
    begun(state)
    target = admission(state)
    (body,) = sql(state, "SELECT body FROM record WHERE id = ?", target)[0]
    person = json.loads(body)["user.name"]
    assert "gone" in ran(state, "erase", "gone", "--reason", "x", "--yes", code=2).err
    ran(state, "erase", target, "--reason", "request 4711", "--yes")
    (after,) = sql(state, "SELECT body FROM record WHERE id = ?", target)[0]
    assert person not in after
    assert set(json.loads(after)) == {
        "@timestamp",
        "ecs.version",
        "event.id",
        "event.module",
        "event.dataset",
        "message",
    }
    for (value,) in sql(state, "SELECT value FROM log WHERE topic = 'revet.observations' AND id = ?", target):
        assert person.encode() not in value
    ran(state, "seal")
    found = ran(state, "verify", "-o", "json").json
    assert (found["counts"], found["erased"]) == ({}, 1)
    sql(state, "UPDATE record SET body = ? WHERE id = ?", body, target)
    assert ran(state, "verify", "-o", "json", code=1).json["counts"] == {"erasure-undone": 1}


def test_keys_change_and_get_lost(state: Path) -> None:
    old = begun(state)
    fresh = ran(state, "rotate", "--new-key-file", "next.pem", "--reason", "yearly", "-o", "json").json["key"]
    ran(state, "seal", "--key-file", "next.pem")
    found = ran(state, "verify", "--key", old, "-o", "json").json
    assert (found["fine"], found["keys"][0]) == (True, old.partition("=")[0])
    assert "is there already" in ran(state, "lost", "x", "--reason", "y", "--key-file", "next.pem", code=2).err
    Path("next.pem").unlink()
    name = fresh.partition("=")[0]
    third = ran(state, "lost", name, "--reason", "disk", "--key-file", "third.pem", "-o", "json").json["key"]
    assert ran(state, "verify", "--key", old, "--key", third, "-o", "json").json["fine"]
    assert not ran(state, "verify", "--key", old, "-o", "json", code=1).json["fine"]


def test_the_standing_job_finds_and_tells(state: Path) -> None:
    """What runs checks by itself, and says so like everything else; a clean check of everything takes it back."""
    begun(state)
    target = admission(state)
    (body,) = sql(state, "SELECT body FROM record WHERE id = ?", target)[0]
    sql(state, "UPDATE record SET body = replace(body, 'admitted', 'denied  ') WHERE id = ?", target)
    ran(state, "verify", "--tell", code=1)
    assert _played(state) == ["open"]
    sql(state, "UPDATE record SET body = ? WHERE id = ?", body, target)
    ran(state, "verify", "--tell")
    assert _played(state) == ["closed"]
    assert ran(state, "verify", "-o", "json").json["fine"], "what was told since has entries of its own"


def _played(state: Path) -> list[str]:
    node = LocalNode.open(state, NodeSettings(replay=False))
    try:
        while node.engine.run_once():
            pass
        said: list[str] = []
        keeper = Keeper(node, LocalPlace(state, LedgerSettings()), said.append)
        keeper.step(force=True)
        assert not said
    finally:
        node.close()
    rows = sql(state, "SELECT body FROM record WHERE home = 'revet-state-findings' AND body LIKE '%ledger-broken%'")
    return [json.loads(body)["provenance.state"] for (body,) in rows]


def test_a_keeper_without_a_key_closes_and_says_so(state: Path) -> None:
    begun(state)
    state.with_name("s.sqlite.ledger-key.pem").write_text("garbage")
    node = LocalNode.open(state, NodeSettings(replay=False))
    said: list[str] = []
    try:
        keeper = Keeper(node, LocalPlace(state, LedgerSettings()), said.append)
        keeper.step(force=True)
        keeper.step(force=True)
    finally:
        node.close()
    assert len(said) == 1
    assert "no Ed25519 key" in said[0]


def test_the_line_of_a_day_reaches_the_delivery_ledger_once(state: Path) -> None:
    """By whatever process, and however often one is started on that day."""
    begun(state)
    settings = LedgerSettings(slack="audit")
    for _ in range(2):
        node = LocalNode.open(state, NodeSettings(replay=False, routes=Routes(checkpoints="audit")))
        try:
            keeper = Keeper(node, LocalPlace(state, settings), lambda _: None)
            keeper.step(force=True)
            keeper.step(force=True)
            while node.engine.run_once():
                pass
            rows = [row for row in node.processor.alerter.ledger.rows() if row.destination == "also/audit"]
            assert len(rows) == 1
            message = node.processor.alerter.message(rows[0].incident, "also/audit")
        finally:
            node.close()
    assert message is not None
    newest = min(state.with_name("s.sqlite.checkpoints").glob("batch-*.txt")).read_text().splitlines()
    shown = {fact.label: fact.value for fact in message.facts}
    assert shown["root"] == newest[2]
    assert newest[-1].split()[2].startswith(shown["signature"].removesuffix("…"))
    assert ran(state, "verify", "-o", "json").json["fine"]


def test_a_restore_is_accepted_by_name_and_every_check_says_so(state: Path) -> None:
    key = begun(state)
    assert "nothing is missing" in ran(state, "accept-restore", "--reason", "x", "--yes", code=2).err
    (first, second) = [row[0] for row in sql(state, "SELECT id FROM record WHERE home = 'revet.admission' LIMIT 2")]
    sql(state, "DELETE FROM record WHERE id IN (?, ?)", first, second)
    asked = revet("ledger", "accept-restore", "--reason", "x", "--state", state, stdin="n\n")
    assert asked.code == 130, "aborted, as every question of revet is"
    assert "2 documents (revet.admission 2)" in asked.err
    assert ran(state, "verify", "-o", "json", code=1).json["counts"] == {"record-missing": 2}
    made = ran(state, "accept-restore", "--reason", "disk \x1b[31mdied", "--yes", "-o", "json").json
    assert (made["schema"], made["documents"], made["acts"]) == ("revet.ledger-restore/v1", 2, 1)
    found = ran(state, "verify", "--key", key, "-o", "json").json
    assert (found["fine"], found["lost"], found["restores"][0]["reason"]) == (True, 2, "disk \x1b[31mdied")
    shown = ran(state, "verify", "--key", key).out
    assert "restore accepted" in shown
    assert "\x1b" not in shown
    ran(state, "export", "e.jsonl", "--key", key)
    assert checker.main(["e.jsonl", "--key", key]) == 0
    assert ran(state, "verify", "--export", "e.jsonl", "--key", key, "-o", "json").json["lost"] == 2
    (third,) = [row[0] for row in sql(state, "SELECT id FROM record WHERE home = 'revet.admission' LIMIT 1")]
    sql(state, "DELETE FROM record WHERE id = ?", third)
    ran(state, "export", "f.jsonl", "--key", key)
    assert checker.main(["f.jsonl", "--key", key]) == 1
    assert ran(state, "verify", "-o", "json", code=1).json["counts"] == {"record-missing": 1}


def test_a_restore_does_not_excuse_what_was_changed(state: Path) -> None:
    begun(state)
    target = admission(state)
    sql(
        state,
        "DELETE FROM record WHERE id = (SELECT id FROM record WHERE home = 'revet.admission' AND id != ?)",
        target,
    )
    sql(state, "UPDATE record SET body = replace(body, 'admitted', 'denied  ') WHERE id = ?", target)
    said = ran(state, "accept-restore", "--reason", "x", "--yes", code=2).err
    assert "1 record-changed" in said
    state.with_name("s.sqlite.ledger-key.pem").unlink()
    assert "--key" in ran(state, "accept-restore", "--reason", "x", "--yes", code=2).err


def test_the_files_that_were_put_back_are_gone_on_with(state: Path) -> None:
    """The whole state file from a backup, as on one machine it is: its log is shorter than what was signed."""
    key = begun(state)
    shutil.copy(state, "backup")
    ran(state, "erase", admission(state), "--reason", "r", "--yes")
    ran(state, "seal")
    for suffix in ("-wal", "-shm"):
        state.with_name(state.name + suffix).unlink(missing_ok=True)
    shutil.copy("backup", state)
    assert ran(state, "verify", "-o", "json", code=1).json["counts"] == {"tail-cut": 1}
    assert "1 entry behind what is left" in ran(state, "accept-restore", "--reason", "backup", "--yes").out
    found = ran(state, "verify", "--key", key, "-o", "json").json
    assert (found["fine"], found["restores"][0]["entries"]) == (True, 1)
    ran(state, "export", "e.jsonl", "--key", key)
    notes = [word for file in Path("s.sqlite.checkpoints").glob("*.txt") for word in ("--checkpoint", str(file))]
    assert checker.main(["e.jsonl", "--key", key, *notes]) == 0


def test_wrong_uses_are_told(state: Path) -> None:
    begun(state)
    assert "--tell is of a check" in ran(state, "verify", "--tell", "--from", "1d", code=2).err
    assert "is no export" in ran(state, "verify", "--export", str(state) + ".lock", code=2).err
    assert "ledger.keys" in ran(state, "verify", "--key", "nothing", code=2).err
    assert "ledger.keys" in ran(state, "verify", "--key", "a=b", code=2).err
