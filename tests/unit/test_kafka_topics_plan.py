"""The plan between the table of topics and the brokers: what is done, what is refused, who may do what."""

import pytest

from streams.kafka.plan import (
    ROLES,
    Actual,
    Grant,
    compare,
    compare_grants,
    principals_of,
    refusal,
    wanted_grants,
    wanted_topics,
)
from streams.settings import KafkaSettings
from streams.topics import OBSERVATIONS, PODS, RAW, STATE, TOPICS, TRUST
from verifier.errors import InputError

SETTINGS = KafkaSettings(bootstrap="127.0.0.1:9092", prefix="staging.", partitions=12, replication=3)


def as_wanted() -> dict[str, Actual]:
    return {t.name: Actual(t.partitions, t.replication, dict(t.configs)) for t in wanted_topics(SETTINGS)}


def of(topic: str, settings: KafkaSettings = SETTINGS) -> dict[str, str]:
    return next(t.configs for t in wanted_topics(settings) if t.topic == topic)


def test_every_topic_is_created_where_there_is_none():
    plan = compare(wanted_topics(SETTINGS), {})
    assert {step.what for step in plan.steps} == {f"staging.{name}" for name in TOPICS}
    assert {step.act for step in plan.steps} == {"create"}
    assert refusal(plan) == ""


def test_nothing_is_done_twice():
    assert compare(wanted_topics(SETTINGS), as_wanted()).fine


def test_what_is_kept_follows_the_table():
    assert of(TRUST)["retention.ms"] == "-1"
    assert of(TRUST)["cleanup.policy"] == "delete"
    assert of(STATE)["cleanup.policy"] == "compact"
    assert int(of(OBSERVATIONS)["retention.ms"]) >= 7 * 24 * 3600 * 1000
    assert {of(topic)["unclean.leader.election.enable"] for topic in TOPICS} == {"false"}


@pytest.mark.parametrize(("copies", "in_step"), [(1, "1"), (2, "1"), (3, "2"), (5, "2")])
def test_with_three_copies_two_must_be_in_step(copies, in_step):
    settings = KafkaSettings(bootstrap="127.0.0.1:9092", replication=copies)
    assert of(TRUST, settings)["min.insync.replicas"] == in_step


def test_a_configuration_that_differs_is_altered_alone():
    there = as_wanted()
    there["staging.revet.trust"].configs["retention.ms"] = "1000"
    there["staging.revet.state"].configs["min.cleanable.dirty.ratio"] = "0.20"
    plan = compare(wanted_topics(SETTINGS), there)
    assert [(step.act, step.what, step.configs) for step in plan.steps] == [
        ("alter", "staging.revet.trust", {"retention.ms": "-1"})
    ]


@pytest.mark.parametrize("there", [11, 24, 1])
def test_another_number_of_partitions_refuses_everything(there):
    actual = as_wanted() | {"staging.revet.observations": Actual(there, 3, of(OBSERVATIONS))}
    del actual["staging.revet.trust"]
    plan = compare(wanted_topics(SETTINGS), actual)
    assert f"staging.revet.observations has {there} partition" in refusal(plan)
    assert "reshard" in refusal(plan)
    assert not plan.fine


def test_too_few_copies_are_told_and_do_not_stop_every_writer():
    """min.insync.replicas 2 on a topic of one copy would take no write any more."""
    there = {
        name: Actual(t.partitions, 1, {**t.configs, "min.insync.replicas": "1"}) for name, t in as_wanted().items()
    }
    plan = compare(wanted_topics(SETTINGS), there)
    assert plan.steps == ()
    assert {d.what for d in plan.differences} == set(there)
    assert refusal(plan) == ""


# ------------------------------------------------------------------------------------------------------------ rights


def allowed(role: str) -> set[tuple[str, str]]:
    granted = wanted_grants(SETTINGS, {role: ("User:x",)})
    return {(grant.operation, grant.name.removeprefix("staging.")) for grant in granted}


def test_each_role_gets_what_the_table_says_and_nothing_else():
    for role, part in ROLES.items():
        writes = {name for operation, name in allowed(role) if operation == "WRITE"}
        reads = {name for operation, name in allowed(role) if operation == "READ" and name in TOPICS}
        assert writes == {t.name for t in TOPICS.values() if part in t.writers}
        assert reads == {t.name for t in TOPICS.values() if part in t.readers}


def test_collectors_read_only_what_they_keep_and_only_people_write_trust():
    assert {operation for operation, _ in allowed("collectors")} == {"READ", "WRITE", "DESCRIBE"}
    assert {name for operation, name in allowed("collectors") if operation == "READ"} & set(TOPICS) == {PODS}
    assert ("WRITE", RAW) in allowed("collectors")
    assert [role for role in ROLES if ("WRITE", TRUST) in allowed(role)] == ["cli"]


def test_who_reads_as_a_group_may():
    assert ("READ", "revet.judge") in allowed("judge")
    assert not any(name == "revet.judge" for _, name in allowed("index"))


def test_rights_beyond_the_table_are_told():
    wanted = wanted_grants(SETTINGS, {"judge": ("User:x",)})
    beyond = Grant("User:x", "topic", "staging.revet.trust", "WRITE")
    other = Grant("User:x", "topic", "unrelated", "WRITE")
    plan = compare_grants(wanted, {*wanted[1:], beyond, other}, "staging.")
    assert [step.grant for step in plan.steps] == [wanted[0]]
    assert [str(beyond) in warning for warning in plan.warnings] == [True]


def test_a_role_may_be_several_principals():
    assert principals_of(["judge=User:a", "judge=User:b"]) == {"judge": ("User:a", "User:b")}


@pytest.mark.parametrize(
    "text", ["jude=User:a", "judge", "judge=a", "judge=User:", "judge=User:*", "judge=Group:a", ""]
)
def test_what_is_no_principal_is_refused(text):
    with pytest.raises(InputError, match="--principal"):
        principals_of([text])
