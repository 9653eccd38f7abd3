"""The table of topics against the code: who it says writes or reads a topic is who does."""

from typing import get_args

import pytest

from alerting.models import IncidentAction, IncidentContext, IncidentPart, ShardReached, SilenceAction
from streams import alerter, handlers
from streams.clustered import ClusterAlerter, ClusterJudge
from streams.events import (
    AuditCounted,
    DeadLetter,
    EvidenceWanted,
    LedgerChecked,
    LedgerDay,
    NamespaceObserved,
    Observation,
    ProgressSeen,
    Tick,
    TrustChanged,
)
from streams.local.processor import LocalProcessor
from streams.processors import JudgeProcessor
from streams.sinks import documents
from streams.topics import ACTIONS, ALERTS, CLAIMS, CLUSTER_SIGHT, HISTORY, PULLS, STATE, TOPICS

ROLES = {"admission", "alerter", "cli", "collectors", "fetcher", "indexer", "judge", "ledger"}
INDEXED: set[type] = set(documents._MAKERS)
HANDLED: set[type] = set(handlers.HANDLERS) - {Tick}  # time is no record
ALERTED: set[type] = {  # not passed over
    IncidentPart, ShardReached, IncidentAction, IncidentContext, SilenceAction, NamespaceObserved, TrustChanged,
    AuditCounted,
}  # fmt: skip
FROM_EVERYBODY: set[type] = {*TOPICS[CLUSTER_SIGHT].holds, DeadLetter}
"""Signs of life, beside which collectors say what they saw; and dead letters."""


def written_by(*roles: str) -> set[type]:
    return {kind for topic in TOPICS.values() if set(roles) & set(topic.writers) for kind in topic.holds}


def read_by(*roles: str) -> set[str]:
    return {name for name, topic in TOPICS.items() if set(roles) & set(topic.readers)}


def holding(kinds: set[type]) -> set[str]:
    return {name for name, topic in TOPICS.items() if set(topic.holds) & kinds}


def test_every_topic_has_writers_and_readers_and_they_are_the_parts_of_the_program():
    assert all(topic.writers and topic.readers for topic in TOPICS.values())
    assert {role for topic in TOPICS.values() for role in (*topic.writers, *topic.readers)} == ROLES


def test_an_event_is_in_one_topic():
    kinds = [kind for topic in TOPICS.values() for kind in topic.holds]
    assert len(kinds) == len(set(kinds))


def test_collectors_write_the_observations():
    """And, as every process, that they live; what API servers count; in a recording also what time it is.

    A look-back asks for the evidence of images in archives.
    """
    beside = {ProgressSeen, AuditCounted, LedgerChecked, LedgerDay, Tick, EvidenceWanted}
    assert written_by("collectors") == {*get_args(Observation), *beside}


def test_the_judge_writes_what_handlers_give():
    assert written_by("judge") - FROM_EVERYBODY == set(get_args(handlers.Output))


def test_the_alerter_writes_what_it_gives():
    """And to the topic of actions: what people press, and what the record adds, come back to it from there."""
    pressed = set(TOPICS[ACTIONS].holds)
    assert written_by("alerter") - FROM_EVERYBODY == set(get_args(alerter.Output)) | pressed


def test_the_judge_reads_what_has_a_handler():
    for processor in (JudgeProcessor, ClusterJudge):
        assert read_by("judge") - {STATE} == set(processor.topics) == holding(HANDLED)


def test_the_alerter_reads_what_it_does_not_pass_over():
    assert read_by("alerter") - {ALERTS} == set(ClusterAlerter.topics) == holding(ALERTED)


def test_the_indexer_reads_every_topic_with_something_for_the_record():
    """What has no document is passed over: pods are kept as their containers, signs of life are not kept."""
    indexed = {name for name, topic in TOPICS.items() if topic.indexed}
    assert read_by("indexer") - indexed == {PULLS}  # only to say what cannot be read there
    assert indexed <= read_by("indexer")
    assert {kind for topic in TOPICS.values() for kind in topic.indexed} == INDEXED


@pytest.mark.parametrize("topic", [CLAIMS, HISTORY])
def test_what_other_engines_and_archives_say_reaches_nothing_that_judges_or_tells(topic):
    assert TOPICS[topic].readers == ("indexer",)
    assert not set(TOPICS[topic].holds) & (HANDLED | ALERTED)
    assert topic not in {*JudgeProcessor.topics, *ClusterJudge.topics, *ClusterAlerter.topics}


def test_one_process_reads_what_its_topics_hold():
    """The judge's, and of the rest what is only recorded."""
    assert set(LocalProcessor.topics) >= set(JudgeProcessor.topics)
