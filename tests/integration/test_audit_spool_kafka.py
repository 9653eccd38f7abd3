"""`revet serve audit` with a spool, and a broker that is away: answered at once, delivered later, whoever is killed."""

import time
from pathlib import Path

import pytest

from streams.topics import OBSERVATIONS
from tests.helpers.cluster import audit_batches
from tests.helpers.kafkatopics import Place, audit_ids
from tests.helpers.process import ROOT, Revet
from tests.helpers.servers import private_broker
from tests.integration.test_kafka_collect import LISTENING, post, small

pytestmark = [pytest.mark.needs("kafka"), pytest.mark.timeout(300)]


def receiver(place: Place, spool: Path) -> Revet:
    environment = place.environment(REVET_LISTEN_ADDRESS="127.0.0.1:0", REVET_LISTEN_SPOOL=str(spool))
    return Revet("serve", "audit", cwd=ROOT, **environment)


def arrived(place: Place, wanted: set[str], seconds: float = 90.0) -> set[str]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = set(audit_ids(place.read(OBSERVATIONS)))
        if found >= wanted:
            return found
        time.sleep(0.5)
    return found


def test_events_are_taken_while_the_broker_is_away_and_delivered_after_a_kill(tmp_path):
    """Broker there, away under load, receiver killed meanwhile and started without a broker; then all of it arrives."""
    recording = small(tmp_path / "r", 900)
    bodies = list(audit_batches(recording, 30))
    third = len(bodies) // 3
    with private_broker() as broker:
        place, spool = Place(broker.bootstrap).prepare(), tmp_path / "spool.sqlite"
        with receiver(place, spool) as process:
            port = int(process.said(LISTENING))
            assert {post(port, body)[0] for body in bodies[:third]} == {200}
            broker.kill()
            began = time.monotonic()
            assert {post(port, body)[0] for body in bodies[third : 2 * third]} == {200}
            assert time.monotonic() - began < 60, "nobody waited for the broker"
            process.kill()
        with receiver(place, spool) as process:
            port = int(process.said(LISTENING))
            assert {post(port, body)[0] for body in bodies[2 * third :]} == {200}
            process.said("(brokers-away)")
            broker.start()
            assert arrived(place, set(recording.audit_ids)) == set(recording.audit_ids)
            assert process.end() == 0, process.err
