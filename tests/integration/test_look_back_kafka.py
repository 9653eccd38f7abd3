"""`revet serve files --look-back` on a real broker: archives are history on a topic of their own, and nothing else."""

import random
from pathlib import Path

import pytest

from streams.codec import decode
from streams.events import EvidenceWanted, PastSeen
from streams.topics import CLUSTER_SIGHT, HISTORY, OBSERVATIONS, RAW, REQUESTS
from tests.helpers.archives import Case, archive, told
from tests.helpers.kafkatopics import Place
from tests.helpers.process import ROOT, Revet

pytestmark = [pytest.mark.needs("kafka"), pytest.mark.timeout(600)]


@pytest.fixture
def place(kafka_server) -> Place:
    return Place(kafka_server.bootstrap).prepare()


def look_back(place: Place, progress: Path, *given: str) -> Revet:
    arguments = ("serve", "files", "--look-back", *given, "--progress", str(progress))
    return Revet(*arguments, cwd=ROOT, **place.environment())


def past(place: Place) -> list[PastSeen]:
    return [event for record in place.read(HISTORY) if isinstance(event := decode(record.value), PastSeen)]


def test_archives_become_history_and_reach_no_judge(place, tmp_path):
    """A folder of many files, which would not fit on a command line of the process that reads them; killed between."""
    events = archive()
    random.Random(3).shuffle(events)
    case = Case(tmp_path)
    for part, event in enumerate(events * 12):
        case.write(f"archive/prod-eu/{part % 7}/audit-with-a-long-name-{'x' * 60}-{part:04}.log", [event])
    given = f"prod-eu={tmp_path / 'archive'}"
    with look_back(place, tmp_path / "p.json", given) as process:
        process.until(lambda: past(place), timeout=240)
        process.kill()
    with look_back(place, tmp_path / "p.json", given) as process:
        assert process.wait() == 0, process.err
    wanted = {one.id: one for one in told([archive()], cluster="prod-eu") if isinstance(one, PastSeen)}
    assert {one.id: one.time for one in past(place)} == {id_: one.time for id_, one in wanted.items()}
    assert place.read(OBSERVATIONS) == []
    assert place.read(RAW) == []
    asked = [e for r in place.read(REQUESTS) if isinstance(e := decode(r.value), EvidenceWanted)]
    images = {(e.repository, e.digest) for e in told([archive()]) if isinstance(e, EvidenceWanted)}
    assert {(e.repository, e.digest) for e in asked} == images
    sight = [decode(record.value) for record in place.read(CLUSTER_SIGHT)]
    assert {type(event).__name__ for event in sight} <= {"ProgressSeen"}


def test_a_log_that_is_followed_is_no_archive(place, tmp_path):
    with look_back(place, tmp_path / "p.json", "--follow", f"prod-eu={tmp_path / 'audit.log'}") as process:
        assert process.wait() == 2
    assert "--look-back takes what is archived" in process.err
