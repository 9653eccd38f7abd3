"""Archives in Elasticsearch: nothing lost and nothing doubled over rollovers, and the answers of one machine."""

import random
import time

import pytest

from streams.engine.port import Record
from streams.engine.wire import from_wire
from streams.events import DecisionObserved, PastSeen
from streams.kafka.records import records_of
from streams.queries.elasticsearch import ElasticsearchReader
from streams.serving.documenting import Documenting
from streams.settings import Settings
from streams.shared import Shared
from streams.sinks.fields import HOMES
from streams.topics import HISTORY, OBSERVATIONS
from tests.helpers import parity
from tests.helpers.archives import Case, archive, asked, told
from tests.helpers.elasticspace import Space
from tests.helpers.trustadmins import ALICE, gate

pytestmark = [pytest.mark.needs("elasticsearch"), pytest.mark.slow]

DAY_MS = 24 * 3_600_000


@pytest.fixture
def space(elastic_server):
    made = Space.fresh(elastic_server.url)
    made.set_up()
    yield made
    made.close()


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    made = Case(tmp_path_factory.mktemp("local"))
    made.read(made.write("audit.log", archive()))
    return made


def on_brokers(observed, written_ms: int) -> list[Record]:
    """As the topics hold them, produced at an instant."""
    wired = records_of(observed, [], source="file", cluster="prod-eu", shards=4)
    return [
        from_wire(w.topic, w.partition, offset, w.key, w.value, w.headers, written_ms) for offset, w in enumerate(wired)
    ]


def documents(records, topics=(HISTORY, OBSERVATIONS)):
    made = Documenting(Shared(gate(ALICE)), Settings().owners.routes())
    return [versioned for record in records if record.topic in topics for versioned in made.of(record)]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.mark.timeout(300)
def test_archives_in_any_order_over_rollovers_are_on_record_once(space, local):
    """Split, shuffled, told twice, data streams rolled over between: the answers of one machine."""
    chance = random.Random(7)
    events = archive()
    chance.shuffle(events)
    parts = [told([events[n::4]], cluster="prod-eu") for n in range(4)]
    for part in (*parts, parts[1], parts[0]):
        space.write(documents(on_brokers(part, now_ms())))
        space.roll_over("admission")
    beside = [d for d in parity.kept_documents(local.state) if d.home in (HOMES["images"], HOMES["trust"])]
    space.write(beside)
    assert {id_: where for id_, where in space.copies("admission").items() if len(where) > 1} == {}
    assert space.count("admission") == 51
    assert asked(ElasticsearchReader(space.server, space.names)) == local.asked()


@pytest.mark.timeout(300)
def test_what_was_seen_live_is_not_doubled_by_an_archive_read_after_rollovers(space):
    """It is in an older backing index, and the archive's copy is produced today: only its own time tells that."""
    past = [one for one in told([archive()], cluster="prod-eu") if isinstance(one, PastSeen)]
    live = [one.what for one in past if isinstance(one.what, DecisionObserved)]
    space.write(documents(on_brokers(live, now_ms() - 90 * DAY_MS)))
    space.roll_over("admission")
    written = space.write(documents(on_brokers(past, now_ms() + DAY_MS)))
    assert written.duplicate == len(live)
    assert space.count("admission") == len(live)
    marked = space.hits("admission", {"term": {"provenance.looked_back": True}})
    assert marked == []  # the first copy stays, and it was seen live


@pytest.mark.timeout(300)
def test_a_decision_that_is_too_long_for_a_record_is_cut_and_told(space):
    decision = next(one.what for one in told([archive()]) if isinstance(one, PastSeen) and hasattr(one.what, "images"))
    long = PastSeen(decision.id, decision.time, type(decision)(**{**as_dict(decision), "message": "x" * 200_000}))
    records = on_brokers([long], now_ms())
    assert max(len(record.value) for record in records) <= 64 * 1024
    assert {record.topic for record in records} == {HISTORY, "revet.deadletters"}
    assert space.write(documents(records)).stored == 1


def as_dict(struct):
    return {name: getattr(struct, name) for name in struct.__struct_fields__}
