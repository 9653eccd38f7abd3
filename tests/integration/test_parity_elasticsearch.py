"""One record in both stores: the recorded day, asked through the commands in either mode."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from streams.engine.sqlite import connect
from streams.events import DeadLetter
from streams.local.acting import append, worked_off
from streams.queries.conditions import is_
from streams.queries.port import every
from streams.queries.sqlite import SqliteReader
from streams.sinks.fields import HOMES
from tests.helpers import elastic, parity
from tests.helpers.demo_state import played_demo

pytestmark = [pytest.mark.needs("elasticsearch"), pytest.mark.slow]


@pytest.fixture(scope="module")
def modes(elastic_server, tmp_path_factory) -> tuple[parity.Mode, parity.Mode]:
    """The demo's state with three inputs that could not be read, and the same documents in Elasticsearch."""
    state = tmp_path_factory.mktemp("parity") / "demo.sqlite"
    shutil.copyfile(played_demo().state, state)
    letters = [
        DeadLetter(f"l{n}", 1_795_268_000_000_000 + n // 2, f"a:{n}", "json-malformed", "x", 9, "ab" * 32)
        for n in range(3)
    ]
    append(state, letters)
    assert worked_off(state) == "command"
    elastic.use(elastic_server.url)
    sink, _ = elastic.elastic_record()
    assert isinstance(sink, elastic.Space)
    sink.write(parity.kept_documents(state))
    return parity.state_mode(state), parity.elastic_mode(
        elastic_server.url, sink.names.namespace, REVET_SERVE_CLOCK="recorded"
    )


def state_of(mode: parity.Mode) -> Path:
    return Path(mode.arguments[1])


@pytest.mark.timeout(900)
def test_every_command_answers_alike(modes):
    """Timelines, blast radii, searches, lists: now, at instants, in windows, page by page."""
    one, other = modes
    with closing(connect(state_of(one), create=False)) as connection:
        asked = parity.questions(SqliteReader(connection))
    assert parity.compare(asked, one, other) > len(asked) > 150


@pytest.mark.timeout(900)
def test_every_verdict_replays_byte_for_byte_in_either_store(modes):
    """In Elasticsearch from documents alone: no log, no topic, no registry."""
    one, other = (mode.ask(("verdict", "replay", "--all")) for mode in modes)
    assert (one.code, other.code) == (0, 0), other.err
    assert one.json == other.json
    assert other.json["same"] == other.json["total"] > 100


@pytest.mark.timeout(900)
def test_one_verdict_is_replayed_by_its_id_in_either_store(modes):
    with closing(connect(state_of(modes[0]), create=False)) as connection:
        verdict = next(every(SqliteReader(connection), HOMES["verification"], is_("reason", "key-revoked")))
    one, other = (mode.ask(("verdict", "replay", verdict.id)) for mode in modes)
    assert (one.code, one.out) == (other.code, other.out)
    assert other.json["result"] == "same"
