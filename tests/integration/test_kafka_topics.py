"""`revet topics` on a real broker: from nothing to right, twice, after somebody's hand, and what it refuses."""

import json

import pytest

from streams.kafka.admin import KafkaAdmin
from streams.kafka.plan import Plan, Step, Wanted, wanted_topics
from streams.topics import TOPICS
from tests.helpers.kafkatopics import Place
from tests.helpers.process import run
from tests.helpers.servers import KafkaServer

pytestmark = pytest.mark.needs("kafka")


@pytest.fixture
def place(kafka_server: KafkaServer) -> Place:
    return Place(kafka_server.bootstrap)


def topics(place: Place, *args: str, **extra: str):
    return run("topics", *args, timeout=110, **place.environment(**extra))


def made(place: Place) -> dict[str, int]:
    names = [topic.name for topic in wanted_topics(place.settings)]
    with KafkaAdmin(place.settings) as admin:
        return {name: actual.partitions for name, actual in admin.topics(names).items()}


def test_from_nothing_to_right_and_no_further(place):
    prefix = place.settings.prefix
    assert topics(place, "check").returncode == 1
    shown = topics(place, "diff")
    assert (shown.returncode, made(place)) == (0, {})
    assert f"{prefix}revet.trust" in shown.stdout
    assert topics(place, "apply").returncode == 0
    assert made(place) == {f"{prefix}{t.name}": t.partitions(4) for t in TOPICS.values()}
    assert topics(place, "check").returncode == 0
    again = topics(place, "apply", "--output", "json")
    assert (again.returncode, json.loads(again.stdout)["steps"]) == (0, [])


def test_a_changed_configuration_is_found_and_mended(place):
    place.prepare()
    name = f"{place.settings.prefix}revet.trust"
    with KafkaAdmin(place.settings) as admin:
        admin.apply(Plan((Step("alter", name, "", configs={"retention.ms": "1000"}),)))
    found = topics(place, "check", "--output", "json")
    assert found.returncode == 1
    assert [(s["act"], s["what"], s["configs"]) for s in json.loads(found.stdout)["steps"]] == [
        ("alter", name, {"retention.ms": "-1"})
    ]
    assert topics(place, "apply").returncode == 0
    assert topics(place, "check").returncode == 0


def test_another_number_of_partitions_is_refused_and_nothing_is_touched(place):
    place.prepare()
    name = f"{place.settings.prefix}revet.trust"
    with KafkaAdmin(place.settings) as admin:
        admin.apply(Plan((Step("alter", name, "", configs={"retention.ms": "1000"}),)))
    refused = topics(place, "apply", REVET_KAFKA_PARTITIONS="8")
    assert refused.returncode == 4
    assert "reshard" in refused.stderr
    assert f"{place.settings.prefix}revet.observations has 4 partitions, and should have 8" in refused.stderr
    assert topics(place, "check", REVET_KAFKA_PARTITIONS="8").returncode == 1
    with KafkaAdmin(place.settings) as admin:
        assert admin.topics([name])[name].configs["retention.ms"] == "1000"


def test_more_copies_than_brokers_are_refused_by_the_broker(place):
    refused = topics(place, "apply", REVET_KAFKA_REPLICATION="3")
    assert refused.returncode == 4
    assert "kafka.replication" in refused.stderr


def test_no_broker_is_a_service_that_failed(place):
    gone = place.other(bootstrap="127.0.0.1:1")
    found = topics(gone, "check")
    assert found.returncode == 4
    assert "127.0.0.1:1" in found.stderr
    assert "revet doctor" in found.stderr


def test_rights_without_an_authorizer_are_a_named_error(place):
    place.prepare()
    found = topics(place, "apply", "--acls", "--principal", "judge=User:x")
    assert found.returncode == 4
    assert "authorizer" in found.stderr


def test_two_who_apply_at_once_are_both_content(place):
    """The slower one finds that its topics are there."""
    wanted = wanted_topics(place.settings)
    with KafkaAdmin(place.settings) as one, KafkaAdmin(place.settings) as other:
        steps = tuple(Step("create", topic.name, "", topic) for topic in wanted)
        one.apply(Plan(steps))
        other.apply(Plan(steps))
    assert len(made(place)) == len(wanted)


@pytest.mark.timeout(300)
def test_a_broker_that_makes_topics_by_itself_is_warned_of(kafka_broker):
    broker = kafka_broker(properties={"auto.create.topics.enable": "true"})
    place = Place(broker.bootstrap).prepare()
    found = topics(place, "check")
    assert found.returncode == 0
    assert "auto.create.topics.enable" in found.stderr


def test_a_name_the_broker_does_not_take_is_told(place):
    with KafkaAdmin(place.settings) as admin, pytest.raises(Exception, match="cannot be created"):
        admin.apply(Plan((Step("create", "b/d", "", Wanted("x", "b/d", 1, 1, {})),)))
