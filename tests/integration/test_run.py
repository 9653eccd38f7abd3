"""`revet run` as people start it: what it says, when it ends, what a second one is told, how soon it judges."""

from __future__ import annotations

import http.client
import json
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from streams.engine.sqlite import append_trust, connect, trust_log
from streams.local.lease import Lease
from tests.helpers.cluster import PLANTED, Recording, audit_batches, demo_images, write_recording, write_trust
from tests.helpers.process import EVIDENCE, Revet, command, environment, run, run_args
from verifier.trust import changes
from verifier.trust.records import TRUST_RECORD
from verifier.trust.state import TrustState

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return write_recording(tmp_path_factory.mktemp("recording"), events=700, images=demo_images(), pace=6, seed=2)


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trust(tmp_path_factory.mktemp("trust"))


# -------------------------------------------------------------------------------------------------------------- replay


def test_a_replay_prints_a_summary_and_ends(recording: Recording, trust: Path, tmp_path: Path) -> None:
    state = tmp_path / "s.sqlite"
    done = run(*run_args(state, recording.audit, recording.pods, trust, "--output", "json"))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["schema"] == "revet.run/v1"
    assert told["replay"]["items"] >= recording.items
    assert told["replay"]["finished"] is True
    assert told["summary"]["deadletters"] == recording.broken
    assert sum(told["summary"]["verdicts"].values()) == told["summary"]["containers"] > 0
    assert told["summary"]["trust_epoch"] == 8
    assert "single-machine mode" in done.stderr
    assert str(state) in done.stderr
    assert PLANTED not in done.stdout + done.stderr
    assert PLANTED.encode() not in state.read_bytes()


def test_standard_input_and_named_clusters(recording: Recording, trust: Path, tmp_path: Path) -> None:
    args = ("run", "--replay", "prod-us=-", "--replay", f"prod-eu={recording.pods}", "--trust", str(trust), *EVIDENCE,
            "--state", str(tmp_path / "s.sqlite"), "--quiet")  # fmt: skip
    done = subprocess.run(
        command(*args),
        input=recording.audit.read_bytes(),
        capture_output=True,
        check=False,
        env=environment(),
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(tmp_path / "s.sqlite")) as connection:
        query = "SELECT DISTINCT json_extract(body, '$.\"orchestrator.cluster.id\"') FROM record WHERE home = ?"
        assert connection.execute(query, ("revet.admission",)).fetchall() == [("prod-us",)]
        assert connection.execute(query, ("revet-state-containers",)).fetchall() == [("prod-eu",)]
        assert connection.execute("SELECT DISTINCT printed FROM messages").fetchall() in ([(2,)], [])
    assert b"CRITICAL" not in done.stdout


def test_until_stops_the_clock(recording: Recording, trust: Path, tmp_path: Path) -> None:
    """Later items stay unread, and a second run reads them."""
    whole, parts = tmp_path / "whole.sqlite", tmp_path / "parts.sqlite"
    assert run(*run_args(whole, recording.audit, recording.pods, trust)).returncode == 0
    args = run_args(parts, recording.audit, recording.pods, trust, "--output", "json")
    first = run(*args, "--until", "2026-11-18T11:10:00Z")
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert told["summary"]["clock"] == 1795000200000000
    assert 0 < told["replay"]["items"] < recording.items
    assert run(*args).returncode == 0
    assert _containers(parts) == _containers(whole)


def _containers(state: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(state)) as connection:
        query = """SELECT id, json_extract(body, '$."provenance.state"') FROM record WHERE home = ?"""
        return sorted(connection.execute(query, ("revet-state-containers",)))


def test_a_file_that_grew_is_read_on(recording: Recording, trust: Path, tmp_path: Path) -> None:
    """And another file under the old name is read from its start."""
    audit, state = tmp_path / "audit.jsonl", tmp_path / "s.sqlite"
    lines = recording.audit.read_bytes().splitlines(keepends=True)
    new = []
    for content in (lines[:100], lines, lines[150:]):
        audit.write_bytes(b"".join(content))
        done = run("run", "--replay", str(audit), "--cluster", "c1", *EVIDENCE, "--state", str(state), "-o", "json")
        assert done.returncode == 0, done.stderr
        new.append(json.loads(done.stdout)["replay"]["new"])
    assert 0 < new[0] <= 110
    assert new[0] < new[1]
    assert new[2] <= 20  # signs of life alone: everything else is known


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        ((), 2, "nothing to do: give --replay FILE; or --listen, --watch or --ui to stay"),
        (("--replay", "none.jsonl"), 2, "--replay none.jsonl: no such file; example: --replay prod-eu=audit.jsonl"),
        (("--listen", "nowhere"), 2, "listen.address: expected HOST:PORT, got 'nowhere'; example: 127.0.0.1:9880"),
        (("--listen", "127.0.0.1:1", "--until", "2h"), 2, "--until ends a replay"),
        (
            ("--listen", "127.0.0.1:0", "--evidence", "s3"),
            2,
            "evidence.source: expected registry or oci-layout:DIR, got 's3'",
        ),
        (("--listen", "127.0.0.1:0", "--evidence", "oci-layout:/nonexistent"), 4, "/nonexistent"),
        (("--listen", "192.0.2.1:9880"), 4, "cannot listen on 192.0.2.1:9880"),
        (("--listen", "127.0.0.1:0", "--listen-token-file", "none"), 2, "listen.token_file: none: No such file"),
    ],
)
def test_what_is_wrong_is_said_with_an_example(args: tuple[str, ...], code: int, says: str, tmp_path: Path) -> None:
    done = run("run", *args, "--state", str(tmp_path / "s.sqlite"), timeout=100)
    assert done.returncode == code, done.stderr
    assert says in done.stderr.replace("\n", " ")


def test_settings_come_from_flags_then_variables_then_the_file(recording: Recording, tmp_path: Path) -> None:
    (tmp_path / "revet.yaml").write_text("cluster: of-the-file\nquiet: true\nevidence: {source: registry}\n")
    state = tmp_path / "s.sqlite"
    args = (
        "run",
        "--replay",
        str(recording.pods),
        "--settings",
        str(tmp_path / "revet.yaml"),
        *EVIDENCE,
        "--state",
        str(state),
    )
    said = run(*args).stderr, run(*args, REVET_CLUSTER="of-the-variable").stderr
    last = run(*args, "--cluster", "of-the-flag", REVET_CLUSTER="of-the-variable").stderr
    assert ["cluster of-the-file" in said[0], "cluster of-the-variable" in said[1], "cluster of-the-flag" in last] == [
        True
    ] * 3


# --------------------------------------------------------------------------------------------------------- one driver


def test_a_second_process_is_told_who_drives_the_state(recording: Recording, tmp_path: Path) -> None:
    state = tmp_path / "s.sqlite"
    lease = Lease.try_acquire(state, "the test")
    assert lease is not None
    with lease:
        done = run("run", "--replay", str(recording.pods), "--state", str(state), timeout=100)
    assert done.returncode == 4
    assert "the test (pid" in done.stderr
    assert "drives" in done.stderr
    assert not state.exists()


# ---------------------------------------------------------------------------------------------------------------- live


def _post(port: int, body: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/audit", body)
        return connection.getresponse().status
    finally:
        connection.close()


def test_replay_then_listen_then_a_revocation_within_a_second(
    recording: Recording, trust: Path, tmp_path: Path
) -> None:
    """Another process appends a trust record; how long until the verdict is on record is measured, loosely."""
    state = tmp_path / "s.sqlite"
    with Revet(*run_args(state, recording.audit, recording.pods, trust, "--listen", "127.0.0.1:0")) as process:
        port = process.port(60)
        for body in audit_batches(recording, 100):
            assert _post(port, body) == 200
        seconds = _revoke_and_wait(state)
        assert process.end() == 0, process.err
    print(f"judged after {seconds:.2f} s")
    assert seconds < 3.0  # one second where nothing else runs; test machines are busy
    assert "KEY" in process.out.upper()
    assert "SIGTERM: finishing what was begun" in process.err


def _revoke_and_wait(state: Path) -> float:
    with closing(connect(state, create=False)) as connection:
        folded = TrustState.empty()
        for epoch, value in trust_log(connection):
            folded, _ = folded.apply(TRUST_RECORD.validate_json(value), epoch)
        by = changes.By("test", time.time_ns() // 1000)
        record = changes.revoke(folded, by, "key", "dev", reason="keyCompromise", all_signatures=True)
        began = time.monotonic()
        append_trust(connection, [TRUST_RECORD.dump_json(record)], by.at, folded.epoch)
        query = "SELECT count(*) FROM record WHERE home = 'revet.finding' AND body LIKE '%key-revoked%'"
        while not connection.execute(query).fetchone()[0]:
            assert time.monotonic() - began < 30
            time.sleep(0.02)
        return time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_gracefully(number: signal.Signals, tmp_path: Path) -> None:
    with Revet("run", "--listen", "127.0.0.1:0", "--state", str(tmp_path / "s.sqlite")) as process:
        process.port()
        process.process.send_signal(number)
        assert process.wait(20) == 0, process.err


def test_a_signal_in_a_replay_leaves_the_rest_for_the_next_run(trust: Path, tmp_path: Path) -> None:
    recording = write_recording(tmp_path / "r", events=6_000, images=demo_images(), seed=8)
    state = tmp_path / "s.sqlite"
    args = run_args(state, recording.audit, recording.pods, trust)
    with Revet(*args) as process:
        for _ in range(500):
            if state.exists() and _items(state) > 0:
                break
            time.sleep(0.02)
        assert process.end() == 130, process.err
    done = _items(state)
    assert 0 < done < recording.items
    assert "run it again to go on where it stopped" in process.err


def _items(state: Path) -> int:
    try:
        with closing(sqlite3.connect(state)) as connection:
            rows = connection.execute("SELECT progress FROM sources").fetchall()
    except sqlite3.Error:
        return 0
    return sum(int(progress.split()[0]) // 2 for (progress,) in rows)


def test_everybody_may_send_only_where_it_was_said(tmp_path: Path) -> None:
    with Revet("run", "--listen", "0.0.0.0:0", "--state", str(tmp_path / "s.sqlite")) as process:
        process.port()
        assert process.said(r"(warning: whoever reaches)")
        assert process.end() == 0
    (tmp_path / "token").write_text("a-long-token\n")
    token = ("--listen-token-file", str(tmp_path / "token"))
    with Revet("run", "--listen", "127.0.0.1:0", *token, "--state", str(tmp_path / "s.sqlite")) as process:
        assert _post(process.port(), b"{}") == 401
        assert process.end() == 0
    assert "a-long-token" not in process.err + process.out
