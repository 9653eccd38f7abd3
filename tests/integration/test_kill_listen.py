"""`kill -9` of the receiver while a client posts: every event that was answered 200 is on record, and none twice."""

from __future__ import annotations

import http.client
import os
import random
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from tests.helpers.cluster import Recording, audit_batches, demo_images, write_recording, write_trust
from tests.helpers.process import EVIDENCE, Revet

pytestmark = [pytest.mark.kill, pytest.mark.slow]

FULL = os.environ.get("REVET_FAULTS") == "full"
KILLS = 40 if FULL else 4


class Sender:
    """Posts batches as the API server does: again until it is answered 200."""

    def __init__(self, bodies: list[bytes]) -> None:
        self.bodies = bodies
        self.answered = 0
        self.repeated = 0
        self.port = 0
        self.done = threading.Event()
        self._thread = threading.Thread(target=self._send_all, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join(100)

    def _send_all(self) -> None:
        for body in self.bodies:
            while not self._send(body):
                self.repeated += 1
                time.sleep(0.02)
            self.answered += 1
        self.done.set()

    def _send(self, body: bytes) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("POST", "/audit", body)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@pytest.mark.timeout(900)
def test_what_was_answered_200_is_on_record_once(tmp_path: Path) -> None:
    recording = write_recording(tmp_path / "r", events=6_000, images=demo_images(), seed=9)
    trust = write_trust(tmp_path / "trust")
    state = tmp_path / "listen.sqlite"
    args = (
        "run",
        "--listen",
        "127.0.0.1:0",
        "--cluster",
        "c1",
        "--trust",
        str(trust),
        *EVIDENCE,
        "--state",
        str(state),
    )
    chance = random.Random(1)
    sender = Sender(list(audit_batches(recording, 12)))
    kills = 0
    while kills < KILLS and not sender.done.is_set():
        with Revet(*args) as process:
            sender.port = process.port()
            if not kills:
                sender.start()
            sender.done.wait(chance.uniform(0.05, 0.8))
            process.kill()
            kills += 1
    with Revet(*args) as process:
        sender.port = process.port()
        sender.join()
        assert sender.done.is_set(), process.err
        _wait_until_judged(state)
        assert process.end() == 0, process.err
    assert kills > 1
    assert sender.repeated > 0
    _check(state, recording)


def _wait_until_judged(state: Path) -> None:
    """Everything received is judged (nothing more may be asked of a process that is about to be ended)."""
    query = """SELECT count(*) FROM log WHERE topic IN ('revet.observations', 'revet.heartbeats', 'revet.deadletters')
               AND position > (SELECT position FROM positions WHERE reader = 'data')"""
    with closing(sqlite3.connect(state)) as connection:
        for _ in range(600):
            if connection.execute(query).fetchone() == (0,):
                return
            time.sleep(0.1)
    raise AssertionError("not everything was judged within a minute")


def _check(state: Path, recording: Recording) -> None:
    with closing(sqlite3.connect(state)) as connection:
        bodies = connection.execute("SELECT body FROM record WHERE home = 'revet.admission'").fetchall()
        ids = Counter(orjson.loads(body)["kubernetes.audit.auditID"] for (body,) in bodies)
        (log, distinct), *_ = connection.execute(
            "SELECT count(*), count(DISTINCT id) FROM log WHERE topic = 'revet.observations'"
        )
    assert ids.keys() == set(recording.audit_ids)
    assert {audit_id for audit_id, times in ids.items() if times > 1} == set()
    assert log == distinct
