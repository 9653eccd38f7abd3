"""The table of topics against the code: who it says writes or reads a topic is who does."""

from typing import get_args

from alerting.lifecycle import Lifecycle
from alerting.models import IncidentAction, IncidentPart, ShardReached
from streams import alerter, handlers
from streams.events import NamespaceObserved, Observation, Tick, TrustChanged
from streams.local.processor import LocalProcessor
from streams.processors import JudgeProcessor
from streams.sinks import documents
from streams.topics import TOPICS

ROLES = {"alerter", "cli", "collectors", "fetcher", "indexer", "judge"}
INDEXED: set[type] = set(documents._MAKERS)
HANDLED: set[type] = set(handlers.HANDLERS) - {Tick}  # time is no record
ALERTED: set[type] = {IncidentPart, ShardReached, IncidentAction, NamespaceObserved, TrustChanged}  # not passed over


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
    assert written_by("collectors") == set(get_args(Observation))


def test_the_judge_writes_what_handlers_give():
    assert written_by("judge") == set(get_args(handlers.Output))


def test_the_alerter_writes_what_it_gives():
    """Of a transition only the record keeps a line; it has no topic."""
    assert written_by("alerter") == set(get_args(alerter.Output)) - {Lifecycle}


def test_the_judge_reads_what_has_a_handler():
    assert read_by("judge") == set(JudgeProcessor.topics) == holding(HANDLED)


def test_the_alerter_reads_what_it_does_not_pass_over():
    assert read_by("alerter") == holding(ALERTED)


def test_the_indexer_reads_what_the_record_keeps():
    assert read_by("indexer") == holding(INDEXED)


def test_the_one_process_reads_what_its_parts_read_and_do_not_write():
    parts = ("judge", "alerter", "indexer")
    own = {name for name, topic in TOPICS.items() if set(topic.writers) <= set(parts)}
    assert set(LocalProcessor.topics) == read_by(*parts) - own
