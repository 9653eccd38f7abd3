"""The pod watch as a state machine, on lines that a real API server wrote (the demo's recording) and on broken ones."""

import json
from collections.abc import Sequence
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.codec import encode
from streams.collectors import observe, podwatch
from streams.collectors.lines import BEGINNING, Lines
from streams.collectors.podwatch import FEED_INTERVAL, MEND_INTERVAL, Ending, Known, PodWatch, Position, Step
from streams.engine.wire import MAX_RECORD_BYTES
from streams.events import DeadLetter, FeedSeen, PodObserved
from streams.kafka.records import records_of
from tests.helpers.cluster import DEMO_DATA
from verifier.times import MINUTE, SECOND

FOLDER = DEMO_DATA / "clusters" / "prod-eu"
LINES = [line for name in ("pods", "pods-after") for line in (FOLDER / f"{name}.jsonl").read_bytes().splitlines()]
SNAPSHOT = 3
"""Lines of it until the snapshot is whole."""
T0 = 1_795_200_000_000_000
CLEAN, CUT, SILENT = Ending("clean"), Ending("cut"), Ending("silent")
EXPIRED = (
    b'{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old'
    b' resource version: 1 (237)","reason":"Expired","code":410}}'
)


def a_pod(name: str, version: int, image: str = "registry.example.com/shop/web:1", **meta: object) -> dict:
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "shop", "uid": f"uid-{name}", "resourceVersion": str(version), **meta},
        "spec": {"containers": [{"name": "web", "image": image}]},
        "status": {"phase": "Running"},
    }


def event(kind: str, pod: dict) -> bytes:
    return json.dumps({"type": kind, "object": pod}, separators=(",", ":")).encode()


def end_of_list(version: int) -> bytes:
    notes = {"resourceVersion": str(version), "annotations": {"k8s.io/initial-events-end": "true"}}
    return event("BOOKMARK", {"kind": "Pod", "apiVersion": "v1", "metadata": notes, "spec": {"containers": None}})


def bookmark(version: int) -> bytes:
    return event("BOOKMARK", {"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": str(version)}})


def page(pods: Sequence[object], version: int = 50, after: str = "") -> bytes:
    meta = {"resourceVersion": str(version), **({"continue": after} if after else {})}
    return json.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": meta, "items": pods}).encode()


def feed(watch: PodWatch, lines: Sequence[bytes], now: int = T0) -> Step:
    for line in lines:
        watch.line(line, now)
    return watch.take()


def synced(pods: Sequence[dict] = (), version: int = 50) -> PodWatch:
    """A watch that has read a snapshot; what it told is taken."""
    watch = PodWatch("c1")
    watch.ask(0.5)
    feed(watch, [*(event("ADDED", pod) for pod in pods), end_of_list(version)])
    watch.ended(CLEAN, T0, 0.5)
    watch.ask(0.5)
    return watch


def told(step: Step) -> list[PodObserved]:
    return [found for found in step.observations if isinstance(found, PodObserved)]


def letters(step: Step) -> list[DeadLetter]:
    return [found for found in step.observations if isinstance(found, DeadLetter)]


def names(step: Step) -> list[tuple[str, bool]]:
    return [(found.pod.name, found.gone) for found in told(step)]


def stored(watch: PodWatch) -> dict[str, Known]:
    """What a successor reads."""
    return {uid: Known(k.version, k.mark, k.packed, k.version) for uid, k in watch.known.items()}


def state_of(watch: PodWatch) -> dict[str, bytes]:
    return {uid: known.mark for uid, known in watch.known.items()}


# -------------------------------------------------------------------------------------------------- the real recording


def test_a_recorded_watch_is_told_change_by_change():
    watch = PodWatch("c1")
    step = feed(watch, LINES)
    assert letters(step) == []
    assert (watch.phase, watch.position.version) == (
        "watch",
        json.loads(LINES[-1])["object"]["metadata"]["resourceVersion"],
    )
    deleted = {json.loads(line)["object"]["metadata"]["uid"] for line in LINES if line.startswith(b'{"type":"DELETED"')}
    assert {found.pod.uid for found in told(step) if found.gone} == deleted
    assert not deleted & watch.known.keys()
    assert len({found.id for found in told(step)}) == len(told(step))
    assert len(step.originals) == len(told(step))


def test_what_is_told_is_what_a_replay_of_the_recording_reads():
    """The same ids: a cluster that is watched and one whose recording is played have one history."""
    watch = PodWatch("c1")
    ours = {found.id for found in told(feed(watch, LINES))}
    replayed = [o for line in LINES for o in observe(line, cluster="c1", source="watch") if isinstance(o, PodObserved)]
    assert ours <= {found.id for found in replayed}
    last = {o.pod.uid: o for o in replayed}
    for uid, known in watch.known.items():
        packed = msgspec.msgpack.encode(msgspec.structs.replace(last[uid].pod, resource_version=""))
        assert known.packed == packed


def test_a_state_that_did_not_change_is_not_told():
    watch = synced([a_pod("a", 1)])
    probe = a_pod("a", 2)
    probe["status"]["conditions"] = [{"type": "Ready", "lastTransitionTime": "2026-11-21T13:31:20Z"}]
    probe["metadata"]["managedFields"] = [{"manager": "kubelet"}]
    step = feed(watch, [event("MODIFIED", probe)])
    assert (step.observations, step.rows, step.position.version) == ([], {}, "2")
    assert watch.counts["same"] == 1


@given(st.integers(SNAPSHOT, len(LINES) - 1), st.sampled_from([CUT, CLEAN, SILENT]))
def test_a_cut_anywhere_goes_on_from_the_version(place, ending):
    """The next watch gives what came after the version: nothing is told twice, nothing is left out."""
    whole, watch = PodWatch("c1"), PodWatch("c1")
    before = feed(watch, LINES[:place])
    watch.ended(ending, T0, 0.5)
    assert "sendInitialEvents" not in watch.ask(0.5).query
    after = feed(watch, LINES[place:])
    assert [o.id for o in (*told(before), *told(after))] == [o.id for o in told(feed(whole, LINES))]
    assert state_of(watch) == state_of(whole)


@given(st.integers(SNAPSHOT, len(LINES) - 1))
def test_a_successor_that_begins_further_back_ends_in_the_same_state(place):
    """It has the rows that are durable, and a position that is older: the same changes come again."""
    first, whole = PodWatch("c1"), PodWatch("c1")
    feed(first, LINES[:SNAPSHOT])
    old = first.position
    feed(first, LINES[SNAPSHOT:place])
    second = PodWatch("c1", stored(first), old)
    again = feed(second, LINES[SNAPSHOT:])
    everything = {o.id for o in told(feed(whole, LINES))}
    assert state_of(second) == state_of(whole)
    assert {o.id for o in told(again) if o.gone} <= everything


# ------------------------------------------------------------------------------------------------------ a new snapshot


@pytest.mark.parametrize("way", ["event", "http"])
def test_both_kinds_of_410_begin_anew(way):
    watch = synced([a_pod("a", 1), a_pod("b", 2)])
    if way == "event":
        feed(watch, [EXPIRED])
    pause = watch.ended(CLEAN if way == "event" else Ending("status", 410), T0 + SECOND, 0.5)
    assert pause <= 1
    assert watch.ask(0.5).query["sendInitialEvents"] == "true"
    step = feed(watch, [event("ADDED", a_pod("b", 2)), event("ADDED", a_pod("c", 60)), end_of_list(70)], T0 + MINUTE)
    assert names(step) == [("c", False), ("a", True)]
    gone = told(step)[1]
    assert (gone.gone_reason, gone.gone_after, gone.time) == ("vanished", T0, T0 + MINUTE)
    assert gone.pod.containers
    assert step.rows["uid-a"] is None


def test_a_pod_that_was_being_deleted_is_said_to_be_deleted():
    watch = synced([a_pod("a", 1, deletionTimestamp="2026-11-21T13:31:20Z")])
    feed(watch, [EXPIRED])
    watch.ended(CLEAN, T0, 0.5)
    step = feed(watch, [end_of_list(70)], T0 + MINUTE)
    assert [(o.gone, o.gone_reason) for o in told(step)] == [(True, "deleted-unseen")]


def test_a_vanished_pod_has_one_id_whoever_finds_it():
    """The watcher that crashed before it kept so, and its successor, tell the same end."""
    ids: list[str] = []
    for _ in range(2):
        watch = synced([a_pod("a", 1)])
        if ids:  # the second one has seen a newer version of the same state
            feed(watch, [event("MODIFIED", a_pod("a", 9))])
        feed(watch, [EXPIRED])
        watch.ended(CLEAN, T0, 0.5)
        ids += [o.id for o in told(feed(watch, [end_of_list(70)], T0 + MINUTE))]
    assert len(ids) == 2
    assert ids[0] == ids[1]


def test_everything_is_told_again_when_that_is_asked_for_under_the_ids_it_had():
    first = synced()
    told_first = told(feed(first, [event("ADDED", a_pod("a", 51)), event("ADDED", a_pod("b", 52))]))
    second = PodWatch("c1", stored(first), first.position)
    second.tell_again()
    assert "sendInitialEvents" in second.ask(0.5).query
    step = feed(second, [event("ADDED", a_pod("a", 51)), end_of_list(60)])
    assert [o.id for o in told(step)][:1] == [told_first[0].id]
    assert names(step) == [("a", False), ("b", True)]


def test_a_retired_cluster_ends_with_that_reason_a_part_at_a_time():
    watch = synced([a_pod(name, n) for n, name in enumerate("abc", 1)])
    assert watch.retire(T0 + MINUTE, 2) is True
    first = told(watch.take())
    assert watch.retire(T0 + MINUTE, 2) is False
    second = told(watch.take())
    assert [o.pod.name for o in (*first, *second)] == ["a", "b", "c"]
    assert {(o.gone, o.gone_reason, o.gone_after) for o in (*first, *second)} == {(True, "cluster-retired", T0)}
    assert watch.known == {}
    assert "sendInitialEvents" in PodWatch("c1", {}, watch.position).ask(0.5).query


def test_sight_is_unbroken_over_a_cut_and_begins_anew_with_a_snapshot():
    watch = synced([a_pod("a", 1)])
    since = watch.position.since
    watch.ended(CUT, T0, 0.5)
    step = feed(watch, [bookmark(60)], T0 + FEED_INTERVAL)
    assert isinstance(step.sign, FeedSeen)
    assert (step.sign.since, step.sign.time) == (since, T0 + FEED_INTERVAL)
    feed(watch, [EXPIRED])
    watch.ended(CLEAN, T0 + MINUTE, 0.5)
    step = feed(watch, [event("ADDED", a_pod("a", 1)), end_of_list(70)], T0 + 2 * MINUTE)
    assert step.sign is not None
    assert (step.sign.since, step.observations) == (T0 + 2 * MINUTE, [])


def test_sight_begins_with_the_first_of_a_snapshot_and_is_told_before_it():
    """What a snapshot shows ran before: judged in the light of that, it is a baseline and no surprise."""
    watch = PodWatch("c1")
    step = feed(watch, [event("ADDED", a_pod("a", 1))], T0)
    assert step.first_sign is not None
    assert (step.first_sign.since, step.first_sign.time, step.sign) == (T0, T0, None)
    step = feed(watch, [event("ADDED", a_pod("b", 2)), end_of_list(50)], T0 + SECOND)
    assert step.first_sign is None
    assert step.sign is not None
    assert (step.sign.since, step.sign.time) == (T0, T0 + SECOND)
    assert watch.position == Position("50", T0, T0 + SECOND)


def test_a_cut_in_the_middle_of_a_snapshot_ends_nobody():
    watch = synced([a_pod(name, n) for n, name in enumerate("abc", 1)])
    feed(watch, [EXPIRED])
    watch.ended(CLEAN, T0, 0.5)
    assert feed(watch, [event("ADDED", a_pod("a", 1))]).observations == []
    watch.ended(CUT, T0, 0.5)
    assert "sendInitialEvents" in watch.ask(0.5).query
    step = feed(watch, [*(event("ADDED", a_pod(name, n)) for n, name in enumerate("bca", 1)), end_of_list(70)])
    assert names(step) == []


def test_a_silent_server_is_asked_again_and_then_the_version_is_doubted():
    """After a restore from a backup the version lies in the future, and a watch from there never says anything."""
    watch = synced([a_pod("a", 1)])
    assert watch.ended(SILENT, T0, 0.5) > 0.5
    assert watch.ask(0.5).query["resourceVersion"] == "50"
    watch.ended(SILENT, T0, 0.5)
    assert "sendInitialEvents" in watch.ask(0.5).query
    feed(watch, [event("ADDED", a_pod("a", 1)), end_of_list(7)])
    assert watch.position.version == "7"
    watch.ended(SILENT, T0, 0.5)
    feed(watch, [bookmark(8)])
    watch.ended(SILENT, T0, 0.5)
    assert watch.ask(0.5).query["resourceVersion"] == "8", "it spoke in between"


# ---------------------------------------------------------------------------------------------------------- older ways


@pytest.mark.parametrize(
    ("lines", "ending"),
    [
        pytest.param([], Ending("status", 422), id="refused"),
        pytest.param([], Ending("status", 400), id="unknown"),
        pytest.param([event("ADDED", a_pod("a", 1))], CLEAN, id="ignored"),
        pytest.param([EXPIRED.replace(b"410", b"500")], CLEAN, id="etcd-3.4"),
    ],
)
def test_servers_that_cannot_stream_a_snapshot_are_asked_page_by_page(lines, ending):
    watch = PodWatch("c1")
    watch.ask(0.5)
    feed(watch, lines)
    watch.ended(ending, T0, 0.5)
    ask = watch.ask(0.5)
    assert (ask.watch, ask.query) == (False, {"limit": "500"})
    assert watch.page(page([a_pod("a", 1)], 50, "more"), T0)
    assert watch.ended(CLEAN, T0, 1.0) == 0.0
    assert watch.ask(0.5).query == {"limit": "500", "continue": "more"}
    assert watch.page(page([a_pod("b", 2)], 50), T0)
    assert (watch.phase, watch.position.version, sorted(watch.known)) == ("watch", "50", ["uid-a", "uid-b"])


def paged() -> PodWatch:
    watch = PodWatch("c1")
    watch.ask(0.5)
    watch.ended(Ending("status", 422), T0, 0.5)
    watch.ask(0.5)
    return watch


def test_a_continue_token_that_expired_begins_the_list_anew():
    """What the first page showed and the second list does not has ended."""
    watch = paged()
    watch.page(page([a_pod("a", 1), a_pod("b", 2)], 50, "more"), T0)
    watch.ended(CLEAN, T0, 0.5)
    watch.ask(0.5)
    watch.ended(Ending("status", 410), T0, 0.5)
    assert watch.ask(0.5).query == {"limit": "500"}
    watch.page(page([a_pod("b", 2)], 60), T0)
    assert names(watch.take()) == [("a", False), ("b", False), ("a", True)]


def test_a_page_that_is_too_large_is_asked_for_in_smaller_ones():
    watch = paged()
    for limit in ("125", "31", "7", "1", "1"):
        watch.ended(Ending("too-large"), T0, 0.5)
        assert watch.ask(0.5).query["limit"] == limit


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"items":[]}', b'{"items":7,"metadata":{}}'])
def test_what_is_no_page_is_said_to_be_none(body):
    assert paged().page(body, T0) is False


def test_one_bad_pod_of_a_page_is_a_dead_letter():
    watch = paged()
    bad = a_pod("bad", 3) | {"spec": 7}
    assert watch.page(page([a_pod("a", 1), bad, a_pod("c", 2)]), T0)
    step = watch.take()
    assert (names(step), [found.code for found in letters(step)]) == (
        [("a", False), ("c", False)],
        ["object-malformed"],
    )


# ------------------------------------------------------------------------------------------------------ broken answers

GARBAGE = [
    b"not json",
    b'{"type":"MODIFIED","object":{"kind":"Pod","metadata":{"na',
    b'{"type":"MODIFIED","object":{"kind":"Secret","metadata":{"name":"s","uid":"u"},"data":{"password":"hunter2"}}}',
    b'{"type":"MODIFIED"}',
    b'{"type":"SURPRISE","object":{"kind":"Pod","metadata":{}}}',
    b'{"type":"ADDED","object":{"kind":"Pod","metadata":{"name":"x"}}}',
    b'{"type":"ADDED","object":{"kind":"Pod","metadata":[]}}',
    b"\xff\xfe",
    b"[" * 200_000,
    b'{"type":"ADDED","object":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001,
]


@pytest.mark.parametrize("line", GARBAGE, ids=range(len(GARBAGE)))
def test_a_line_that_is_no_event_is_a_dead_letter_and_the_next_one_counts(line):
    watch = synced([a_pod("a", 1)])
    step = feed(watch, [line, event("ADDED", a_pod("b", 60))])
    assert (len(letters(step)), names(step)) == (1, [("b", False)])
    assert b"hunter2" not in encode(letters(step)[0])


@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from(LINES), st.sampled_from(GARBAGE)), max_size=8))
def test_no_bytes_stop_it(lines):
    watch = PodWatch("c1")
    feed(watch, lines)
    watch.ended(CLEAN, T0, 0.5)
    watch.ask(0.5)


def test_an_unreadable_pod_does_not_end_and_a_garbled_snapshot_ends_nobody():
    watch = synced([a_pod("a", 1), a_pod("b", 2)])
    feed(watch, [EXPIRED])
    watch.ended(CLEAN, T0, 0.5)
    step = feed(watch, [event("ADDED", a_pod("a", 1) | {"spec": 7}), event("ADDED", a_pod("b", 2)), end_of_list(60)])
    assert (names(step), len(letters(step))) == ([], 1)
    feed(watch, [EXPIRED])
    watch.ended(CLEAN, T0, 0.5)
    step = feed(watch, [b"garbage", event("ADDED", a_pod("b", 2)), end_of_list(70)])
    assert (names(step), len(letters(step))) == ([], 1), "the garbage may have been a"


def test_what_could_not_be_read_is_asked_for_again_but_not_all_the_time():
    watch = synced([a_pod("a", 1)])
    feed(watch, [b"garbage"])
    watch.ended(CLEAN, T0, 0.5)
    assert "sendInitialEvents" in watch.ask(0.5).query
    feed(watch, [b"garbage", event("ADDED", a_pod("a", 1)), end_of_list(60)])
    watch.ended(CLEAN, T0 + MINUTE, 0.5)
    assert watch.ask(0.5).query["resourceVersion"] == "60"
    watch.ended(CLEAN, T0 + MEND_INTERVAL, 0.5)
    assert "sendInitialEvents" in watch.ask(0.5).query


def test_a_pod_of_two_mebibytes_is_told_in_a_record_that_fits():
    pod = a_pod("fat", 60)
    pod["metadata"]["labels"] = {f"label-{n}": "x" * 60 for n in range(3_000)}
    pod["spec"]["containers"] = [
        {"name": f"c{n}", "image": "registry.example.com/shop/web:1", "env": [{"name": "A", "value": "x" * 1000}]}
        for n in range(1_900)
    ]
    line = event("ADDED", pod)
    assert len(line) > 2 * 1024 * 1024
    watch = synced()
    step = feed(watch, [line, event("MODIFIED", {**pod, "status": {"phase": "Running"}})])
    assert names(step) == [("fat", False)]
    assert len(watch.known["uid-fat"].packed) <= podwatch.MAX_KEPT + 16 * 1024
    records = records_of(step.observations, step.originals, source="watch:c1", cluster="c1", shards=4)
    assert max(len(record.value or b"") for record in records) <= MAX_RECORD_BYTES


def test_a_version_that_is_older_than_what_is_known_is_not_told():
    watch = synced([a_pod("a", 10)])
    step = feed(watch, [event("MODIFIED", a_pod("a", 12, "web:3")), event("MODIFIED", a_pod("a", 11, "web:2"))])
    assert [o.pod.containers[0].image for o in told(step)] == ["web:3"]
    assert watch.counts["older"] == 1


# ------------------------------------------------------------------------------------------------------------ patience


def test_pauses_grow_to_half_a_minute_and_start_over_once_something_was_heard():
    watch = synced([a_pod("a", 1)])
    pauses = [watch.ended(Ending("unreachable"), T0, 1.0) for _ in range(8)]
    assert pauses == [2, 4, 8, 16, 30, 30, 30, 30]
    assert watch.ended(Ending("status", 429, 120.0), T0, 0.0) == 120.0
    assert watch.ended(Ending("status", 503, 86_400.0), T0, 0.0) == 300.0
    feed(watch, [bookmark(60)])
    assert watch.ended(CLEAN, T0, 1.0) <= 1


def test_an_api_server_that_expires_everything_is_not_asked_without_pause():
    """One library did so: 978 requests in four seconds."""
    watch = PodWatch("c1", {}, Position("5", T0, T0))
    pauses = []
    for _ in range(6):
        feed(watch, [EXPIRED])
        pauses.append(watch.ended(CLEAN, T0, 1.0))
    assert all(after >= before for before, after in pairwise(pauses))
    assert pauses[-1] >= 30


def test_excluded_namespaces_are_not_asked_for_and_what_was_known_of_them_ends():
    kept = {"uid-a": synced([a_pod("a", 1)]).known["uid-a"]}
    watch = PodWatch("c1", kept, Position("", 0, T0), ["shop", "kube-system"])
    assert watch.ask(0.5).query["fieldSelector"] == "metadata.namespace!=kube-system,metadata.namespace!=shop"
    assert [(o.gone, o.gone_reason) for o in told(feed(watch, [end_of_list(60)]))] == [(True, "excluded")]


def test_a_watch_lasts_as_long_as_it_is_told_give_or_take():
    seconds = {synced().ask(chance / 10, 300).query["timeoutSeconds"] for chance in range(11)}
    assert len(seconds) == 11
    assert (min(map(int, seconds)), max(map(int, seconds))) == (240, 300)


# --------------------------------------------------------------------------------------------------------------- lines


@given(st.lists(st.binary(max_size=30), max_size=6), st.integers(1, 9))
def test_lines_are_the_same_whatever_the_chunks(parts, size):
    data = b"".join(part.replace(b"\n", b"") + b"\n" for part in parts)
    lines = Lines(10_000)
    found = [line for at in range(0, len(data), size) for line in lines.feed(data[at : at + size])]
    assert found == data.split(b"\n")[:-1]
    assert lines.left == 0


def test_a_line_that_is_too_long_is_measured_and_the_next_one_is_whole():
    lines = Lines(100)
    found = lines.feed(b"a" * 90) + lines.feed(b"b" * 90) + lines.feed(b"c" * 5_000 + b"\nnext\nrest")
    assert found == [(5_180, b"a" * 90 + b"b" * 90), b"next"]
    assert lines.left == 4
    watch = synced()
    watch.too_long(5_180, b"{" * BEGINNING, T0)
    assert [letter.code for letter in letters(watch.take())] == ["event-too-large"]
