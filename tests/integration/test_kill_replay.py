"""`kill -9` while recordings are played: the state that comes out is the one of a run that nobody disturbed.

Two ways: a real process that is killed at random instants and started again, and, faster and nearer to the edges, a
node whose process "dies" right after a transaction. Five instants in CI, two hundred with REVET_FAULTS=full.
"""

from __future__ import annotations

import asyncio
import io
import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from alerting.routing import Routes
from streams.cli.changing import read_documents
from streams.engine.sqlite import SqliteEngine
from streams.local.dated import read_dates
from streams.local.node import LocalNode, NodeSettings
from streams.local.plan import plan
from streams.local.replay import Replay, ReplaySource
from streams.topics import TRUST
from tests.helpers.cluster import DEMO_DATA, Recording, demo_images, write_recording, write_trust
from tests.helpers.process import Revet, run, run_args
from tests.helpers.state_dump import differences, dump
from verifier.adapters.ocilayout import OciLayoutPlace
from verifier.errors import PlaceUnavailable
from verifier.models import ImageReference
from verifier.oci.port import Collected
from verifier.trust import changes

pytestmark = [pytest.mark.kill, pytest.mark.slow]

FULL = os.environ.get("REVET_FAULTS") == "full"
KILLS = 200 if FULL else 5
MOST = 8
"""Kills of one run from an empty state to its end."""


class Played(NamedTuple):
    """A recording, and what a run that nobody disturbed made of it."""

    recording: Recording
    trust: Path
    state: dict[str, list[str]]
    seconds: float
    path: Path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Played:
    folder = tmp_path_factory.mktemp("recording")
    recording = write_recording(folder, events=3_000, images=demo_images(), pace=5, seed=11)
    trust = write_trust(folder / "trust")
    state = folder / "undisturbed.sqlite"
    began = time.monotonic()
    done = run(*run_args(state, recording.audit, recording.pods, trust))
    assert done.returncode == 0, done.stderr
    return Played(recording, trust, dump(state, working=True), time.monotonic() - began, state)


@pytest.mark.timeout(7200 if FULL else 300)
def test_a_process_killed_at_random_instants_ends_in_the_same_state(undisturbed: Played, tmp_path: Path) -> None:
    """Started, killed, started again ... until it ends; then every table is compared row by row; and from the start."""
    chance = random.Random(0)
    kills = chains = 0
    while kills < KILLS:
        state = tmp_path / f"killed-{chains}.sqlite"
        killed, printed = _play_and_kill(state, undisturbed, chance, min(KILLS - kills, MOST))
        assert "\n".join(differences(undisturbed.state, dump(state, working=True))) == ""
        _every_message_was_printed(state, printed)
        kills, chains = kills + killed, chains + 1
    print(f"{kills} kills in {chains} chains")


def _play_and_kill(state: Path, whole: Played, chance: random.Random, most: int) -> tuple[int, str]:
    """Runs from an empty state until one comes to its end; how many were killed, and all that was printed."""
    args = run_args(state, whole.recording.audit, whole.recording.pods, whole.trust)
    printed, kills = "", 0
    while True:
        with Revet(*args) as process:
            end = time.monotonic() + chance.uniform(0.15, 0.6) * whole.seconds
            while process.process.poll() is None and (time.monotonic() < end or kills == most):
                time.sleep(0.005)
            code = process.process.poll()
            if code is None:
                process.kill()
                kills += 1
        printed += process.out
        if code is not None:
            assert code == 0, process.err
            return kills, printed


def _every_message_was_printed(state: Path, printed: str) -> None:
    with closing(sqlite3.connect(state)) as connection:
        for text, shown in connection.execute("SELECT text, printed FROM messages"):
            assert shown == 1
            assert text.splitlines()[-1] in printed


def test_every_event_of_the_recording_is_on_record_once(undisturbed: Played) -> None:
    """Ids are compared with the input: what the files say about pods, and nothing else."""
    audit_ids = _values(undisturbed.path, "revet.admission", "kubernetes.audit.auditID")
    assert sorted(audit_ids) == sorted(undisturbed.recording.audit_ids)
    uids = _values(undisturbed.path, "revet-state-containers", "kubernetes.pod.uid")
    assert set(uids) == set(undisturbed.recording.pod_uids)
    letters = _values(undisturbed.path, "revet.deadletter", "error.code")
    assert len(letters) == undisturbed.recording.broken


def _values(path: Path, home: str, field: str) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        bodies = [orjson.loads(b) for (b,) in connection.execute("SELECT body FROM record WHERE home = ?", (home,))]
    return [body[field] for body in bodies if field in body]


def test_the_same_recording_again_changes_nothing(undisturbed: Played, tmp_path: Path) -> None:
    state = tmp_path / "twice.sqlite"
    with closing(sqlite3.connect(undisturbed.path)) as source, closing(sqlite3.connect(state)) as copy:
        source.backup(copy)
    done = run(*run_args(state, undisturbed.recording.audit, undisturbed.recording.pods, undisturbed.trust))
    assert done.returncode == 0, done.stderr
    assert "\n".join(differences(undisturbed.state, dump(state, working=True))) == ""
    assert "observations new    0" in done.stdout


def test_a_recording_in_two_parts_gives_the_same_record(undisturbed: Played, tmp_path: Path) -> None:
    """Only what names files or feeds may differ: where a dead letter stood, and when each part's sight began."""
    parts = _halves(undisturbed.recording.audit, tmp_path)
    state = tmp_path / "parts.sqlite"
    sources = [arg for path in (*parts, undisturbed.recording.pods) for arg in ("--replay", str(path))]
    args = run_args(state, parts[0], undisturbed.recording.pods, undisturbed.trust)
    done = run("run", *sources, *args[5:])
    assert done.returncode == 0, done.stderr
    assert "\n".join(differences(_without_places(undisturbed.path), _without_places(state))) == ""


def _halves(file: Path, folder: Path) -> tuple[Path, Path]:
    lines = file.read_bytes().splitlines(keepends=True)
    first, second = folder / "first.jsonl", folder / "second.jsonl"
    first.write_bytes(b"".join(lines[: len(lines) // 2]))
    second.write_bytes(b"".join(lines[len(lines) // 2 :]))
    return first, second


def _without_places(path: Path) -> dict[str, list[str]]:
    with closing(sqlite3.connect(path)) as connection:
        where = "home NOT LIKE '%deadletter%' AND home NOT LIKE '%feeds%'"
        query = f"SELECT home, id, version, time, body FROM record WHERE {where}"
        record = [(*row, _anonymous(body)) for *row, body in connection.execute(query)]
        messages = connection.execute("SELECT delivery, kind, part, time, text FROM messages").fetchall()
    return {"record": sorted(map(repr, record)), "messages": sorted(map(repr, messages))}


def _anonymous(body: str) -> bytes:
    """Without the name of the file an observation came from."""
    members = {k: v for k, v in orjson.loads(body).items() if not (isinstance(v, str) and v.startswith("c1=/"))}
    return orjson.dumps(members, option=orjson.OPT_SORT_KEYS)


# ------------------------------------------------------------------------------------------- death after a transaction


class Died(BaseException):
    """The process is gone; no handler of ours may catch it."""


class DyingEngine(SqliteEngine):
    """The real engine in a process that dies after a number of commits."""

    lives = 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with super().transaction():
            yield
        DyingEngine.lives -= 1
        if DyingEngine.lives <= 0:
            raise Died


class Unsteady(OciLayoutPlace):
    """A registry that is down for some repositories, so that there are incomplete sets and retries."""

    async def collect(
        self,
        reference: ImageReference,
        digest: str,
        platform: str | None = None,
        indexes: tuple[str, ...] = (),
        names: tuple[str, ...] = (),
    ) -> Collected:
        if "data/" in reference.repository:
            raise PlaceUnavailable("registry-unavailable", "down")
        return await super().collect(reference, digest, platform, indexes, names)


async def _story(node: LocalNode, recording: Recording, trust: Path) -> None:
    """Half the recording, a revocation and a new key, the other half, and an hour more. Each step is done once."""
    sources = [ReplaySource("c1", recording.audit), ReplaySource("c1", recording.pods)]
    start = Replay(sources).begins()
    assert start is not None
    middle, end = start + 1_200_000_000, start + 4 * 3_600_000_000
    if not node.now:
        node.tick(start - 1_000_000)
    documents, errors = read_documents([str(trust)])
    assert not errors
    if node.engine.count(TRUST) == 0:
        node.change_trust(plan(node.trust, documents, changes.By("test", node.now)).records)
    async for _ in Replay(sources, middle).play(node):
        pass
    await node.advance(middle)
    await _change_trust(node)
    async for _ in Replay(sources).play(node):
        pass
    await node.advance(end)


async def _change_trust(node: LocalNode) -> None:
    """A revocation, then a key that was not trusted before; trust itself says what is done already."""
    by = changes.By("test", node.now)
    if not node.trust.revocations:
        record = changes.revoke(node.trust, by, "key", "dev", reason="keyCompromise", all_signatures=True)
        node.change_trust([record])
    await node.drain()
    if "rogue" not in node.trust.names:
        node.change_trust([changes.add_key(node.trust, by, "rogue", (DEMO_DATA / "keys" / "rogue.pub").read_text())])
    await node.drain()


def _live(path: Path, recording: Recording, trust: Path, lives: int) -> bool:
    """One life of the process; True when it came to the end."""

    async def life() -> None:
        with (DEMO_DATA / "first-observations.jsonl").open("rb") as lines:
            dates = read_dates(lines, "first-observations.jsonl")
        settings = NodeSettings(
            place=Unsteady(DEMO_DATA / "oci"), replay=True, dates=dates, routes=Routes(team_slices=False)
        )
        node = LocalNode.open(path, settings)
        node.keep_messages(io.StringIO())
        node.engine.__class__ = DyingEngine
        DyingEngine.lives = lives
        try:
            await _story(node, recording, trust)
        finally:
            with suppress(sqlite3.Error):
                node.connection.rollback()
            node.close()

    try:
        asyncio.run(life())
    except Died:
        return False
    return True


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recording, Path, dict[str, list[str]]]:
    folder = tmp_path_factory.mktemp("small")
    recording = write_recording(folder, events=1_200, images=demo_images(), pace=9, seed=5, namespaces=3)
    trust = write_trust(folder / "trust")
    assert _live(folder / "one.sqlite", recording, trust, 10**9)
    return recording, trust, dump(folder / "one.sqlite", working=True)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(24 if FULL else 3))
def test_death_after_any_transaction_leaves_no_trace(
    seed: int, small: tuple[Recording, Path, dict[str, list[str]]], tmp_path: Path
) -> None:
    """Also in the middle of a sweep, of a retry, of a delivery, and of the time that passes after the recording."""
    recording, trust, whole = small
    chance = random.Random(seed)
    path = tmp_path / "dying.sqlite"
    deaths = 0
    while not _live(path, recording, trust, chance.randrange(1, 20 if seed % 2 else 60)):
        deaths += 1
    assert deaths > 0
    assert "\n".join(differences(whole, dump(path, working=True))) == ""
