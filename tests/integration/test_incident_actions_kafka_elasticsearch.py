"""What a person does to an incident of a cluster: through Kafka to the alerter, and back through the record."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from alerting.models import IncidentAction
from streams.codec import decode
from streams.kafka.admin import KafkaAdmin
from streams.kafka.plan import compare, wanted_topics
from streams.kafka.reading import KafkaLog
from streams.local.acting import act
from streams.serving import acting
from streams.settings import KafkaSettings
from streams.topics import ACTIONS
from tests.helpers import elastic, parity
from tests.helpers.command import revet
from tests.helpers.demo_state import played_demo
from tests.helpers.fresh import fresh_prefix

pytestmark = [pytest.mark.needs("kafka", "elasticsearch"), pytest.mark.slow]


class Installation:
    """Topics, a record with the demo's documents, and the demo's state as the alerter's memory."""

    def __init__(self, bootstrap: str, url: str, folder: Path) -> None:
        self.kafka = KafkaSettings(bootstrap=bootstrap, prefix=fresh_prefix(bootstrap, "i"), partitions=2)
        with KafkaAdmin(self.kafka) as admin:
            wanted = wanted_topics(self.kafka)
            admin.apply(compare(wanted, admin.topics([topic.name for topic in wanted])))
        self.state = folder / "alerter.sqlite"
        shutil.copyfile(played_demo().state, self.state)
        elastic.use(url)
        sink, _ = elastic.elastic_record()
        assert isinstance(sink, elastic.Space)
        self.sink = sink
        sink.write(parity.kept_documents(self.state))
        self.environment = {
            "REVET_ELASTICSEARCH_URL": url,
            "REVET_ELASTICSEARCH_NAMESPACE": sink.names.namespace,
            "REVET_KAFKA_BOOTSTRAP": bootstrap,
            "REVET_KAFKA_PREFIX": self.kafka.prefix,
            "REVET_KAFKA_PARTITIONS": "2",
            "REVET_SERVE_CLOCK": "recorded",
        }

    def actions(self) -> list[IncidentAction]:
        """Everything on the topic."""
        log = KafkaLog(self.kafka)
        found = [decode(record.value) for record in log.read(ACTIONS, None)]
        assert all(isinstance(event, IncidentAction) for event in found)
        return found  # type: ignore[return-value]  # looked at in the line above

    @contextmanager
    def alerter(self) -> Iterator[None]:
        """Somebody who does what is asked, and writes what came of it to the record."""
        end = threading.Event()

        def work() -> None:
            done = 0
            while not end.wait(0.2):
                for action in self.actions()[done:]:
                    act(self.state, action)
                    self.sink.write(parity.kept_documents(self.state))
                    done += 1

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()


@pytest.fixture
def installation(kafka_server, elastic_server, tmp_path, monkeypatch) -> Installation:
    made = Installation(kafka_server.bootstrap, elastic_server.url, tmp_path)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


def open_incident() -> str:
    row = next(row for row in revet("incident", "list", "-o", "json").json["rows"] if row["state"] == "open")
    short_id: str = row["short_id"]
    return short_id


def test_without_an_alerter_it_is_durable_and_said_so(installation, monkeypatch):
    """Exit code 4, the action in the topic word for word, and the incident as it was."""
    monkeypatch.setattr(acting, "GIVE_UP", 1.0)
    incident = open_incident()
    ran = revet("incident", "note", incident, "the key was on the old runner")
    assert ran.code == 4
    assert "recorded, but the running service has not come to it yet" in ran.err
    assert f"{incident} is open" in ran.out
    (action,) = installation.actions()
    assert (action.action, action.text) == ("note", "the key was on the old runner")
    assert action.by.startswith("local:")


def test_what_the_alerter_makes_of_it_is_shown(installation, monkeypatch):
    """Acknowledged, noted, closed; then there is nothing to acknowledge any more."""
    monkeypatch.setattr(acting, "GIVE_UP", 60.0)
    incident = open_incident()
    with installation.alerter():
        acked = revet("incident", "ack", incident, "--note", "rolling back", "-o", "json")
        assert (acked.code, acked.json["done_by"], acked.json["incident"]["state"]) == (0, "service", "acknowledged")
        assert [note["text"] for note in acked.json["incident"]["notes"]] == ["rolling back"]
        again = revet("incident", "ack", incident)
        assert (again.code, f"{incident} is acknowledged by local:" in again.out) == (0, True)
        closed = revet("incident", "close", incident, "--reason", "torn down")
        assert (closed.code, f"{incident} is resolved" in closed.out) == (0, True), closed.err
    late = revet("incident", "ack", incident)
    assert (late.code, "nothing to acknowledge" in late.err) == (2, True)
    assert [action.action for action in installation.actions()] == ["ack", "close"]


def test_settings_without_kafka_say_what_is_missing(installation, monkeypatch):
    """Reading needs no broker; acting does."""
    monkeypatch.delenv("REVET_KAFKA_BOOTSTRAP")
    ran = revet("incident", "note", open_incident(), "x")
    assert (ran.code, "kafka.bootstrap" in ran.err) == (2, True), ran.err
