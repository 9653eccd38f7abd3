"""The incident book: absolute parts in any order, resolved only with reason, told once."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.incidents import IncidentBook, short_id
from alerting.lifecycle import Lifecycle, Notification
from alerting.models import Cause, Incident, IncidentAction, IncidentPart, Member, ShardReached
from alerting.routing import Routes
from alerting.timing import KEEP_RESOLVED, TIMINGS
from verifier.times import DAY, HOUR, MINUTE, SECOND

T0 = 1_767_225_600 * SECOND
REVOKED = Cause("revocation", "key:aa", "ops", T0, 3)
BASELINE = Cause("baseline-policy", "signed", "signed", T0, 3)


def part(
    incident="v1:i",
    *,
    kind="key-revoked",
    cause=REVOKED,
    severity="critical",
    shard=0,
    cluster="c",
    namespace="pay",
    sequence=1,
    time=T0,
    containers=3,
    workloads=1,
    opened=T0,
    closed=(),
):
    examples = (Member(cluster, namespace, "Deployment/api", "main", "r/a:1", "sha256:aa", containers, opened),)
    return IncidentPart(
        incident=incident,
        kind=kind,
        subject=cause.id or "s",
        cause=cause,
        policy="signed",
        severity=severity,
        shard=shard,
        cluster=cluster,
        namespace=namespace,
        epoch=3,
        sequence=sequence,
        time=time,
        containers=containers,
        workloads=workloads,
        opened=opened,
        message="why",
        examples=examples if containers else (),
        closed=closed,
    )


def gone(**changes):
    return part(containers=0, workloads=0, **changes)


def heard(book, epoch=3, shards=1, time=T0):
    for shard in range(shards):
        book.reached(ShardReached(shard, shards, epoch, time), time)


def run(book, until):
    """Every output up to and including `until`, on a virtual clock that jumps from due to due."""
    outputs = []
    while (due := book.next_due()) is not None and due <= until:
        outputs += book.tick(due)
    return outputs


def notices(outputs):
    return [output for output in outputs if isinstance(output, Notification)]


def transitions(outputs):
    return [output.transition for output in outputs if isinstance(output, Lifecycle)]


def row_of(book):
    """The row of the one incident; untyped, because it is there."""
    return book.incident("v1:i")


def open_book(**changes):
    book = IncidentBook()
    heard(book)
    book.apply(part(**changes), T0)
    run(book, T0)
    return book


# Opening and telling.


def test_a_part_without_a_count_opens_nothing():
    book = IncidentBook()
    assert book.apply(gone(), T0) == []
    assert book.next_due() is None
    assert list(book.incidents()) == []


def test_the_first_part_with_a_count_opens_it():
    row, lifecycle = IncidentBook().apply(part(), T0)
    assert isinstance(row, Incident)
    assert isinstance(lifecycle, Lifecycle)
    assert (row.state, row.containers, row.workloads, row.revision) == ("open", 3, 1, 1)
    assert lifecycle.transition == "opened"


@pytest.mark.parametrize(
    ("cause", "severity", "kind", "delay"),
    [
        (REVOKED, "critical", "key-revoked", 0),
        (Cause(), "critical", "denied-but-running", 5 * SECOND),
        (Cause(), "high", "unsigned", 20 * SECOND),
        (Cause("policy-change", "p@2", "p"), "medium", "policy-changed", MINUTE),
        (Cause(), "low", "tag-moved", MINUTE),
        (BASELINE, "critical", "baseline", MINUTE),
    ],
)
def test_the_first_post_waits_as_long_as_its_severity_allows(cause, severity, kind, delay):
    book = IncidentBook()
    book.apply(part(cause=cause, severity=severity, kind=kind), T0)
    assert notices(run(book, T0 + delay - 1)) == []
    (notice,) = notices(run(book, T0 + delay))
    assert (notice.destination, notice.time) == ("security", T0 + delay)


def test_what_one_trust_event_turns_is_told_with_whole_numbers():
    book = IncidentBook()
    for shard in range(8):
        assert notices(book.apply(part(shard=shard), T0)) == []
    assert len(notices(book.tick(T0))) == 1
    assert row_of(book).containers == 24


def test_something_medium_that_came_and_went_is_recorded_and_not_told():
    book = open_book(severity="medium", cause=Cause(), kind="mixed-digests")
    book.apply(gone(sequence=2, time=T0 + SECOND), T0 + SECOND)
    outputs = run(book, T0 + DAY)
    assert notices(outputs) == []
    assert transitions(outputs) == ["changed", "resolved"]


def test_something_critical_that_came_and_went_is_told():
    book = open_book(cause=Cause(), kind="denied-but-running")
    book.apply(gone(sequence=2, time=T0 + SECOND), T0 + SECOND)
    assert [notice.resolved for notice in notices(run(book, T0 + DAY))] == [False, True]


def test_edits_come_less_often_as_it_ages():
    book = IncidentBook()
    heard(book)
    sent = []
    for second in range(3600):
        now = T0 + second * SECOND
        book.apply(part(sequence=second + 1, containers=second + 1, time=now), now)
        sent += [notice.time for notice in notices(book.tick(now))]
    gaps = {(later - before) // SECOND for before, later in pairwise(sent)}
    assert min(gaps) == 3
    assert max(gaps) <= 301
    assert len(sent) < 40 + 60 + 8


def test_a_worse_part_raises_the_severity_brings_the_post_forward_and_voids_the_acknowledgement():
    book = open_book(severity="high")
    run(book, T0 + MINUTE)
    book.act(IncidentAction("a1", T0 + MINUTE, "v1:i", "ack", "ann"))
    assert row_of(book).state == "acknowledged"
    outputs = book.apply(part(sequence=2, severity="critical"), T0 + 2 * MINUTE)
    row = row_of(book)
    assert (row.severity, row.state, row.acknowledged_by) == ("critical", "open", "")
    assert [reply.purpose for notice in notices(outputs) for reply in notice.replies] == ["severity-raised"]
    book.act(IncidentAction("a0", T0 + MINUTE + 1, "v1:i", "ack", "ann"))
    assert row_of(book).state == "open", "an acknowledgement given before it became worse does not count"


def test_severity_never_falls_while_it_is_open():
    book = open_book()
    book.apply(part(sequence=2, severity="medium"), T0)
    run(book, T0 + HOUR)
    assert row_of(book).severity == "critical"


# Order, duplicates, restarts.

KEYS = st.tuples(st.integers(0, 2), st.sampled_from(["c1", "c2"]), st.sampled_from(["pay", "web"]))
SEVERITIES = st.sampled_from(["low", "medium", "high", "critical"])


@st.composite
def histories(draw):
    """Parts of several keys, each key's in sequence, and two interleavings of them with duplicates."""
    keys = draw(st.lists(KEYS, min_size=1, max_size=5, unique=True))
    lanes = [
        _lane(key, draw(st.lists(st.tuples(st.integers(0, 4), SEVERITIES), min_size=1, max_size=4))) for key in keys
    ]
    return draw(_interleaving(lanes)), draw(_interleaving(lanes))


def _lane(key, steps):
    shard, cluster, namespace = key
    return [
        part(
            shard=shard,
            cluster=cluster,
            namespace=namespace,
            sequence=index + 1,
            containers=count,
            workloads=min(count, 1),
            severity=severity,
            kind="key-revoked" if severity == "critical" else "wrong-signer",
            time=T0 + index,
            opened=T0 - 5 * shard - index,
            cause=msgspec.structs.replace(REVOKED, epoch=3 + (index + shard) % 3),
            closed=(("replaced", index),),
        )
        for index, (count, severity) in enumerate(steps)
    ]


@st.composite
def _interleaving(draw, lanes):
    order = draw(st.permutations([index for index, lane in enumerate(lanes) for _ in lane]))
    positions = [0] * len(lanes)
    sent = []
    for lane in order:
        sent.append(lanes[lane][positions[lane]])
        positions[lane] += 1
        if draw(st.booleans()):
            sent.append(draw(st.sampled_from(sent)))
    return sent


def _final(parts):
    book = IncidentBook()
    heard(book, epoch=5, shards=3)
    for each in parts:
        book.apply(each, T0 + 10)
    run(book, T0 + 2 * MINUTE)
    early = row_of(book)
    run(book, T0 + HOUR)
    return [row and msgspec.structs.replace(row, revision=0, changed=0) for row in (early, row_of(book))]


@settings(max_examples=150)
@given(histories())
def test_any_order_and_any_duplication_gives_the_same_totals_and_state(history):
    one, other = history
    assert _final(one) == _final(other)


@settings(max_examples=60)
@given(histories(), st.data())
def test_a_restart_at_any_point_changes_nothing(history, data):
    parts = history[0]
    stop = data.draw(st.integers(0, len(parts)))
    book, whole = IncidentBook(), IncidentBook()
    store: dict[str, bytes] = {}
    straight, crashed = [], []
    for index, each in enumerate(parts):
        now = T0 + index * SECOND
        straight += whole.apply(each, now) + whole.tick(now)
        if index == stop:
            book = IncidentBook.from_rows(store.items())
        crashed += book.apply(each, now) + book.tick(now)
        store.update({key: value for key, value in book.dirty().items() if value is not None})
        book.saved()
    book = IncidentBook.from_rows(store.items())
    assert crashed == straight
    assert book.to_rows() == store == whole.to_rows()
    assert run(book, T0 + DAY) == run(whole, T0 + DAY)


def test_a_duplicate_puts_nothing_out_and_dirties_nothing():
    book = open_book()
    book.saved()
    assert book.apply(part(), T0 + SECOND) == []
    assert book.apply(part(sequence=0, containers=99), T0 + SECOND) == []
    assert book.dirty() == {}


def test_only_what_changed_is_written():
    book = IncidentBook()
    for namespace in range(200):
        book.apply(part(namespace=f"n{namespace}"), T0)
    book.saved()
    book.apply(part(namespace="n7", sequence=2, containers=9), T0)
    assert len(book.dirty()) == 2


def test_an_action_is_done_once():
    book = open_book()
    action = IncidentAction("a", T0 + SECOND, "v1:i", "note", "ann", "looking")
    assert transitions(book.act(action)) == ["noted"]
    assert book.act(action) == []
    assert row_of(book).notes == ((T0 + SECOND, "ann", "looking"),)


# Resolving.


def test_resolved_needs_nothing_left_every_shard_and_the_hold():
    book = IncidentBook()
    book.apply(part(), T0)
    run(book, T0)
    book.apply(gone(sequence=2, time=T0 + MINUTE), T0 + MINUTE)
    run(book, T0 + DAY)
    assert row_of(book).state == "open", "no shard was heard"
    book.reached(ShardReached(0, 2, 3, T0 + DAY), T0 + DAY)
    run(book, T0 + 2 * DAY)
    assert row_of(book).state == "open", "shard 1 was never heard"
    book.reached(ShardReached(1, 2, 2, T0 + DAY), T0 + DAY)
    run(book, T0 + 2 * DAY)
    assert row_of(book).state == "open", "shard 1 has not reached the epoch of the cause"
    book.reached(ShardReached(1, 2, 3, T0 + DAY + 1), T0 + DAY + 1)
    run(book, T0 + 2 * DAY)
    row = row_of(book)
    assert (row.state, row.final, row.containers) == ("resolved", True, 0)


@pytest.mark.parametrize("severity", ["critical", "high", "medium", "low"])
def test_the_hold_keeps_rollouts_from_flapping(severity):
    about = {"severity": severity, "cause": Cause(), "kind": "unsigned"}
    book = open_book(**about)
    hold = TIMINGS[severity].hold
    book.apply(gone(sequence=2, time=T0 + MINUTE, **about), T0 + MINUTE)
    outputs = run(book, T0 + MINUTE + hold - 1)
    book.apply(part(sequence=3, time=T0 + MINUTE + hold - 1, **about), T0 + MINUTE + hold - 1)
    outputs += run(book, T0 + 3 * HOUR)
    assert set(transitions(outputs)) == {"changed"}
    book.apply(gone(sequence=4, time=T0 + 3 * HOUR, **about), T0 + 3 * HOUR)
    assert "resolved" not in transitions(run(book, T0 + 3 * HOUR + hold - 1))
    assert "resolved" in transitions(run(book, T0 + 3 * HOUR + hold))


def _resolved_book():
    book = open_book()
    book.apply(gone(sequence=2, time=T0 + MINUTE, closed=(("replaced", 3),)), T0 + MINUTE)
    run(book, T0 + HOUR)
    assert row_of(book).state == "resolved"
    return book


def test_reopened_within_a_day_keeps_id_and_message():
    book = _resolved_book()
    outputs = book.apply(part(sequence=3, time=T0 + 2 * HOUR, opened=T0 + 2 * HOUR), T0 + 2 * HOUR)
    (notice,) = notices(outputs)
    assert transitions(outputs) == ["reopened"]
    assert (notice.episode, [reply.purpose for reply in notice.replies]) == (1, ["reopened"])
    row = row_of(book)
    assert (row.state, row.reopened, row.opened, row.resolved) == ("open", 1, T0, None)


def test_reopened_later_keeps_the_id_and_starts_a_new_message():
    book = _resolved_book()
    later = T0 + 3 * DAY
    book.apply(part(sequence=3, time=later, opened=later, containers=1), later)
    (notice,) = notices(book.tick(later))
    row = row_of(book)
    assert (notice.episode, notice.replies, row.id, row.reopened) == (2, (), "v1:i", 1)
    assert (row.opened, row.peak_containers) == (later, 1)


def test_a_resolved_incident_is_forgotten_after_ninety_days():
    book = _resolved_book()
    book.saved()
    run(book, T0 + KEEP_RESOLVED + DAY)
    assert list(book.incidents()) == []
    assert set(book.dirty().values()) == {None}
    assert book.next_due() is None


# People.


def test_acknowledging_is_shown_and_said_once():
    book = open_book()
    outputs = book.act(IncidentAction("a", T0 + SECOND, "v1:i", "ack", "ann", "mine"))
    row = row_of(book)
    assert (row.state, row.acknowledged_by, row.notes) == ("acknowledged", "ann", ((T0 + SECOND, "ann", "mine"),))
    assert [reply.purpose for notice in notices(outputs) for reply in notice.replies] == ["acknowledged"]
    assert book.act(IncidentAction("b", T0 + 2 * SECOND, "v1:i", "ack", "bob")) == []


def test_acknowledging_what_is_resolved_changes_nothing_and_says_so():
    book = _resolved_book()
    before = row_of(book)
    outputs = book.act(IncidentAction("a", T0 + 2 * HOUR, "v1:i", "ack", "ann"))
    assert transitions(outputs) == ["refused"]
    assert row_of(book) == before
    assert book.act(IncidentAction("a", T0 + 2 * HOUR, "v1:i", "ack", "ann")) == []


@pytest.mark.parametrize("first", ["ack", "resolve"])
def test_acknowledge_and_resolve_race_to_resolved(first):
    book = open_book()
    at = T0 + MINUTE + TIMINGS["critical"].hold
    book.apply(gone(sequence=2, time=T0 + MINUTE), T0 + MINUTE)
    run(book, at - 1)
    steps = [lambda: book.act(IncidentAction("a", at, "v1:i", "ack", "ann")), lambda: book.tick(at)]
    for step in steps if first == "ack" else reversed(steps):
        step()
    assert row_of(book).state == "resolved"


def test_closed_by_a_person_it_reopens_when_more_comes():
    book = open_book(containers=5)
    assert "closed" in transitions(book.act(IncidentAction("a", T0 + HOUR, "v1:i", "close", "ann", "accepted")))
    book.apply(part(sequence=2, containers=4, time=T0 + HOUR), T0 + HOUR)
    run(book, T0 + 2 * HOUR)
    assert row_of(book).state == "resolved", "fewer than accepted"
    book.apply(part(sequence=3, containers=5, time=T0 + 2 * HOUR), T0 + 2 * HOUR)
    assert row_of(book).state == "open", "what went away and came back is more"


def test_an_unknown_incident_is_not_acted_on():
    assert IncidentBook().act(IncidentAction("a", T0, "v1:none", "ack", "ann")) == []


# Whose, and how many messages.


def test_a_cluster_of_300_namespaces_where_nothing_is_signed_gives_one_message_per_team():
    book = IncidentBook()
    for number in range(300):
        book.own("c", f"n{number}", f"team{number % 20}" if number % 3 else "unowned", T0)
    told = []
    for number in range(300):
        for shard in range(4):
            now = T0 + number * SECOND // 4
            baseline = part(
                kind="baseline",
                cause=BASELINE,
                severity="low",
                shard=shard,
                namespace=f"n{number}",
                time=now,
                containers=2,
            )
            told += book.apply(baseline, now) + book.tick(now)
    heard(book, shards=4)
    for number in range(0, 300, 2):  # half of it is worked off during the day
        now = T0 + HOUR + number * MINUTE
        told += book.apply(
            gone(kind="baseline", cause=BASELINE, severity="low", namespace=f"n{number}", sequence=2, time=now), now
        )
        told += run(book, now)
    told += run(book, T0 + DAY)
    posts = notices(told)
    parents = {(notice.destination, notice.episode) for notice in posts}
    assert len(parents) == len({notice.destination for notice in posts}) == 21
    assert all(not notice.paging and not notice.replies for notice in posts)
    (row,) = book.incidents()
    assert (row.namespaces, row.clusters, row.paging) == (300, 1, False)
    assert row.containers == 2 * (4 * 300 - 150)


def test_ten_thousand_containers_of_forty_teams_give_41_parents_and_few_edits():
    book = IncidentBook()
    for number in range(400):
        book.own("c", f"n{number}", f"team{number % 40}", T0)
    told = []
    for step in range(10_000):
        now = T0 + step * SECOND // 1000
        grown = part(namespace=f"n{step % 400}", sequence=step // 400 + 1, containers=step // 400 + 1, time=now)
        told += book.apply(grown, now) + book.tick(now)
    told += run(book, T0 + HOUR)
    row = row_of(book)
    assert (row.containers, row.workloads, len(row.teams)) == (10_000, 400, 40)
    assert {count for _, count, _ in row.teams} == {250}
    assert len({notice.destination for notice in notices(told)}) == 41
    assert sum(notice.destination == "security" for notice in notices(told)) <= 6


def test_beyond_the_limit_of_teams_the_parent_carries_the_table():
    book = IncidentBook(Routes(max_teams=5))
    for number in range(9):
        book.own("c", f"n{number}", f"t{number}", T0)
        book.apply(
            part(namespace=f"n{number}", cause=Cause(), kind="tag-moved", severity="low", containers=9 - number), T0
        )
    told = {notice.destination for notice in notices(run(book, T0 + HOUR))}
    assert told == {"security", "team/t0", "team/t1", "team/t2", "team/t3", "team/t4"}


def test_a_slice_shows_a_team_its_own():
    book = open_book(namespace="pay", containers=3)
    book.own("c", "web", "web", T0)
    book.apply(part(namespace="web", containers=4), T0)
    run(book, T0 + HOUR)
    mine = book.slice_of("v1:i", "team/web")
    assert (mine.containers, mine.namespaces, [member.namespace for member in mine.examples]) == (4, 1, ["web"])
    assert book.slice_of("v1:i", "security").containers == 7
    assert mine.incident.teams == (("web", 4, 1), ("unowned", 3, 1))
    assert book.slice_of("v1:none", "security") is None


def test_an_owner_who_becomes_known_is_told():
    book = open_book()
    book.own("c", "pay", "payments", T0 + MINUTE)
    assert {notice.destination for notice in notices(run(book, T0 + HOUR))} == {"security", "team/payments"}


def test_one_terminal_gets_one_message():
    book = IncidentBook(Routes(team_slices=False))
    book.own("c", "pay", "payments", T0)
    book.apply(part(), T0)
    assert [notice.destination for notice in notices(book.tick(T0))] == ["security"]


def test_short_ids_are_short_and_stable():
    assert short_id("v1:x") == short_id("v1:x")
    assert len({short_id(f"v1:{number}") for number in range(2000)}) == 2000
    assert all(len(short_id(f"v1:{number}")) == 10 for number in range(20))
