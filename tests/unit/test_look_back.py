"""Archives of audit logs, read long afterwards: the same answers in any order, and nobody is told."""

import json
import random
import sqlite3
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events import DeadLetter, EvidenceWanted, FeedSeen, PastSeen, PodObserved
from streams.handlers import HANDLERS
from tests.helpers.archives import GONE, NOW, PINNED, SIGNED, Case, archive, told
from tests.helpers.audit_events import event, pod
from tests.helpers.command import DEMO, LAYOUT, revet
from tests.helpers.statefile import Shop


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The archive read at once from one file."""
    made = Case(tmp_path_factory.mktemp("whole"))
    made.read(made.write("audit.log", archive()))
    return made


def test_a_blast_radius_counts_who_was_let_in_and_says_its_limits(whole):
    by_digest, by_key, _ = (answer["history"] for answer in whole.asked())
    assert (by_digest["pods"], by_digest["maybe"], by_digest["denied"]) == (41, 5, 1)
    assert (by_digest["first"], by_digest["last"]) == ("2026-03-01T08:00:00.000000Z", "2026-05-28T10:00:00.000000Z")
    assert [(p["namespace"], p["pods"], p["maybe"]) for p in by_digest["by_namespace"]] == [
        ("pay", 21, 5),
        ("pay-staging", 20, 0),
    ]
    assert by_key["pods"] == 41
    limits = "\n".join(by_digest["limits"])
    assert "51 decisions" in limits
    assert "3 admitted pods without images" in limits
    assert "5 admitted pods with an image by tag" in limits


def test_the_limits_come_before_the_numbers(whole):
    printed = revet("blast-radius", "--digest", SIGNED["digest"], "--state", whole.state).out
    order = [printed.index(words) for words in ("an admission is not a run", "runs now", "admitted in the past")]
    assert order == sorted(order)
    assert "41 pods of 41 workloads by digest, 5 more by a tag" in printed


def test_evidence_that_is_gone_from_the_registry_is_said(whole):
    """The registry of today does not have every image of then: its signers are not known, and not `nobody`."""
    found = whole.rows("SELECT id FROM record WHERE home = 'revet-state-images'")
    assert any("gone" in id_ for (id_,) in found)


def test_a_window_narrows(whole):
    ran = revet(
        "blast-radius", "--digest", SIGNED["digest"], "--from", "2026-03-01T09:00:00Z", "--to", "2026-03-02T09:00:00Z",
        "--state", whole.state, "-o", "json",
    )  # fmt: skip
    assert ran.json["history"]["pods"] == 3


def test_nobody_is_told_of_what_ended_long_ago(whole):
    """Live, the same events open findings: a webhook was not asked."""
    assert (whole.summary["summary"]["messages"], whole.summary["summary"]["incidents"]) == (0, {})
    assert whole.rows("SELECT count(*) FROM record WHERE home IN ('revet.finding', 'revet.incident')") == [(0,)]
    assert whole.rows("SELECT count(*) FROM log WHERE topic = 'revet.observations'") == [(0,)]
    assert PastSeen not in HANDLERS


def test_played_as_a_recording_the_same_events_do_tell(case):
    path = case.write("audit.log", archive())
    more = ("--trust", DEMO / "keys", "--evidence", LAYOUT, "--state", case.state)
    assert revet("run", "--replay", f"prod-eu={path}", "--quiet", *more).code == 0
    assert case.rows("SELECT count(*) FROM record WHERE home = 'revet.finding'") > [(0,)]


def test_every_document_says_that_it_was_looked_back_at(whole):
    query = "SELECT count(*), sum(json_extract(body, '$.\"provenance.looked_back\"')) FROM record WHERE home = ?"
    for home in ("revet.admission", "revet-state-feeds"):
        with sqlite3.connect(whole.state) as connection:
            number, marked = connection.execute(query, (home,)).fetchone()
        assert number == marked > 0


@pytest.mark.parametrize("seed", range(4))
def test_answers_are_the_same_in_any_order_of_the_files(case, whole, seed):
    """Shuffled, split, packed, some of it twice, and over two runs: the same answers and as many documents."""
    chance = random.Random(seed)
    events = archive()
    if seed:
        chance.shuffle(events)
    files = [
        case.write(f"archive/{part}/audit-{part}.log{'.gz' if part % 2 else ''}", events[part::5], packed=part % 2 == 1)
        for part in range(5)
    ]
    files.append(case.write("again.log", events[: len(events) // 2]))
    chance.shuffle(files)
    case.read(*files[:3])
    case.read(*files[3:])
    case.read(case.folder / "archive")
    assert case.asked() == whole.asked()
    others = "home NOT LIKE '%trust%' AND home NOT LIKE '%evidence'"  # both are of the runs, not of the archives
    count = f"SELECT home, count(*) FROM record WHERE {others} GROUP BY home"  # our own words
    assert case.rows(count) == whole.rows(count)


@settings(max_examples=60, deadline=None)
@given(order=st.permutations(range(20)), cuts=st.lists(st.integers(0, 20), max_size=5), twice=st.booleans())
def test_what_is_made_of_events_does_not_depend_on_files(order, cuts, twice):
    events = archive()[30:50]
    shuffled = [events[n] for n in order]
    edges = [0, *sorted(cuts), len(shuffled)]
    parts = [shuffled[a:b] for a, b in pairwise(edges)]
    found = told(parts * 2 if twice else parts)
    assert {(type(o).__name__, o.id, o.time) for o in found} == {
        (type(o).__name__, o.id, o.time) for o in told([events])
    }


def test_sight_of_an_archive_is_told_by_the_hour_also_by_events_nobody_asks_for():
    read = event("get", requestReceivedTimestamp="2026-06-20T10:59:59.000000Z")
    (seen,) = told([[read, read]])
    assert isinstance(seen, PastSeen)
    assert isinstance(seen.what, FeedSeen)
    assert (seen.time - seen.what.since, seen.what.feed) == (3_600_000_000, "audit")


def test_evidence_is_asked_for_once_for_each_image_that_was_let_in():
    wanted = [o for o in told([archive()]) if isinstance(o, EvidenceWanted)]
    assert sorted(w.digest for w in wanted) == sorted([SIGNED["digest"], GONE.partition("@")[2]])
    assert {w.time for w in wanted} == {NOW}


def test_garbage_is_a_dead_letter_and_the_rest_is_read(case):
    path = case.write("audit.log", archive()[:3])
    path.write_bytes(b'{"kind":"Event","broken\n' + path.read_bytes() + b"\x00\xff not json\n")
    ran = case.read(path)
    assert ran["summary"]["deadletters"] == 2
    assert case.rows("SELECT count(*) FROM record WHERE home = 'revet.admission'") == [(3,)]
    assert [type(o) for o in told([[{"kind": "ConfigMap", "apiVersion": "v1"}]])] == [DeadLetter]


def test_pods_of_today_are_judged_as_ever(case):
    """Beside archives: what runs now may well be news."""
    listed = case.folder / "pods.json"
    image = {"name": "c", "image": PINNED, "imageID": PINNED, "state": {"running": {}}, "ready": True}
    now = pod(PINNED, name="api-now", namespace="pay", uid="u-now", creationTimestamp="2026-07-01T00:00:00Z")
    now["spec"]["containers"][0]["name"] = "c"
    now["status"] = {"phase": "Running", "containerStatuses": [image]}
    listed.write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": [now]}))
    ran = case.read(case.write("audit.log", archive()), listed)
    assert ran["summary"]["containers"] == 1
    radius = case.asked()[0]
    assert (radius["containers"], radius["history"]["pods"]) == (1, 41)
    assert [type(o) for o in told([[now]]) if not isinstance(o, FeedSeen)] == [PodObserved]


def test_a_record_without_archives_says_nothing_of_history(tmp_path):
    shop = Shop(tmp_path)
    ran = revet("blast-radius", "--key", "build", "--state", shop.state, "-o", "json")
    assert ran.json["history"] is None
    assert "looked back" not in revet("blast-radius", "--key", "build", "--state", shop.state).out


def test_the_command_refuses_what_is_no_archive(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    state = ("--state", tmp_path / "s.sqlite")
    for arguments, words in (
        (("--listen", "127.0.0.1:0"), "neither --listen"),
        ((), "nothing to do"),
        (("--replay", f"prod-eu={empty}"), "a folder without files"),
        (("--replay", "prod-eu=/nowhere.log"), "no such file"),
    ):
        ran = revet("run", "--look-back", *arguments, *state)
        assert ran.code == 2, arguments
        assert words in ran.err
