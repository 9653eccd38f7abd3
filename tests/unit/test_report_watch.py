"""The watch of reports without sockets: what is asked, what is told, and what silence, 404 and 410 come to."""

import json

import pytest

from streams.collectors.podwatch import Ending
from streams.collectors.reportwatch import ABSENT_SECONDS, PAGE, RESOURCES, ReportWatch
from streams.events import ClaimObserved, DeadLetter

CLEAN = Ending("clean")
GROUP = b'{"kind":"APIGroup","preferredVersion":{"groupVersion":"wgpolicyk8s.io/v1alpha2","version":"v1alpha2"}}'
PLACE = "/apis/wgpolicyk8s.io/v1alpha2/policyreports"
NOW = 1_795_300_000_000_000


def result(policy="signed", says="fail", at=1, **more):
    return {"policy": policy, "result": says, "source": "kyverno", "timestamp": {"seconds": at, "nanos": 0}, **more}


def report(uid="u1", version="1", *results):
    scope = {"kind": "Pod", "namespace": "shop", "name": f"pod-{uid}", "uid": f"pod-{uid}"}
    meta = {"uid": uid, "name": uid, "namespace": "shop", "resourceVersion": version}
    head = {"apiVersion": "wgpolicyk8s.io/v1alpha2", "kind": "PolicyReport"}
    return {**head, "metadata": meta, "scope": scope, "results": list(results)}


def event(kind, found):
    return json.dumps({"type": kind, "object": found}).encode()


def page(*items, after="", version="10"):
    return json.dumps({"metadata": {"resourceVersion": version, "continue": after}, "items": items}).encode()


def found(results=("pass", "fail", "warn", "error", "skip")) -> ReportWatch:
    watch = ReportWatch("prod-eu", RESOURCES[0], results)
    assert watch.ask(0.5)[:2] == (False, "/apis/wgpolicyk8s.io")
    watch.found(GROUP)
    assert watch.ended(CLEAN, 0.5) == 0.0
    return watch


def listed(*items, **more) -> ReportWatch:
    watch = found(**more)
    assert watch.ask(0.5) == (False, PLACE, {"limit": str(PAGE)})
    watch.page(page(*items), NOW)
    assert watch.ended(CLEAN, 0.5) == 0.0
    return watch


def told(watch):
    return [(one.name, one.policy, one.result) for one in watch.take() if isinstance(one, ClaimObserved)]


def test_a_list_and_every_change_after_it():
    watch = listed(report("u1", "3", result(), result("labels", "pass")), report("u2", "4", result(says="error")))
    assert told(watch) == [("pod-u1", "signed", "fail"), ("pod-u1", "labels", "pass"), ("pod-u2", "signed", "error")]
    ask = watch.ask(1.0, 300)
    assert (ask.watch, ask.path) == (True, PLACE)
    assert ask.query == {
        "watch": "1", "allowWatchBookmarks": "true", "resourceVersion": "10", "timeoutSeconds": "300",
    }  # fmt: skip
    watch.line(event("ADDED", report("u3", "11", result())), NOW)
    watch.line(event("MODIFIED", report("u1", "12", result(says="pass", at=9), result("labels", "pass", at=9))), NOW)
    watch.line(event("DELETED", report("u2", "13", result(says="error"))), NOW)
    watch.line(event("BOOKMARK", {"metadata": {"resourceVersion": "20"}}), NOW)
    assert told(watch) == [("pod-u3", "signed", "fail"), ("pod-u1", "signed", "pass")]
    assert sorted(watch.known) == ["u1", "u3"]
    assert 0 < watch.ended(CLEAN, 0.5) <= 1
    assert watch.ask(0.0).query["resourceVersion"] == "20"


def test_a_scan_that_finds_the_same_tells_nothing_and_one_that_comes_back_tells_again():
    """Engines write their reports anew at every scan, with a new time in each result."""
    watch = listed(report("u1", "3", result(at=1)))
    first = watch.take()
    watch.ask(0.5)
    watch.line(event("MODIFIED", report("u1", "11", result(at=3600))), NOW)
    assert told(watch) == []
    watch.line(event("MODIFIED", report("u1", "12", result(says="pass", at=7200))), NOW)
    watch.line(event("MODIFIED", report("u1", "13", result(at=9000))), NOW)
    second = watch.take()
    assert [one.result for one in second if isinstance(one, ClaimObserved)] == ["pass", "fail"]
    assert len({one.id for one in (*first, *second)}) == 3
    assert watch.counts == {"told": 3, "same": 1}


def test_who_starts_anew_tells_the_same_under_the_same_ids():
    items = [report("u1", "3", result()), report("u2", "4", {"policy": "p", "result": "warn"})]
    assert [one.id for one in listed(*items).take()] == [one.id for one in listed(*items).take()]


def test_pages_and_what_is_missing_in_the_end():
    watch = listed(report("u1", "3", result()), report("u2", "4", result()))
    watch.take()
    watch.ask(0.5)
    watch.line(event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"}), NOW)
    assert watch.ended(CLEAN, 0.5) <= 1
    assert watch.ask(0.5).query == {"limit": "500"}
    watch.page(page(report("u2", "4", result()), after="next"), NOW)
    assert watch.ended(CLEAN, 0.5) == 0.0
    assert watch.ask(0.5).query == {"limit": "500", "continue": "next"}
    watch.page(page(report("u3", "30", result()), version="31"), NOW)
    assert watch.ended(CLEAN, 0.5) == 0.0
    assert told(watch) == [("pod-u3", "signed", "fail")], "what was told before is not told again"
    assert sorted(watch.known) == ["u2", "u3"]
    assert watch.ask(0.5).query["resourceVersion"] == "31"


def test_a_410_as_an_answer_begins_anew_too():
    watch = listed(report())
    watch.ask(0.5)
    watch.ended(Ending("status", 410), 0.5)
    assert not watch.ask(0.5).watch


def test_a_cluster_without_such_reports_is_named_once_and_asked_every_minute():
    watch = ReportWatch("prod-eu", RESOURCES[0])
    for _ in range(3):
        assert watch.ask(0.5).path == "/apis/wgpolicyk8s.io"
        assert watch.ended(Ending("status", 404), 1.0) == ABSENT_SECONDS
    assert (watch.absent, watch.phase) == (True, "find")
    assert list(watch.notes) == [("reports-absent", {"group": "wgpolicyk8s.io", "resource": "policyreports"})]
    watch.ask(0.5)
    watch.found(GROUP)
    watch.ended(CLEAN, 0.5)
    watch.ask(0.5)
    watch.page(page(report("u1", "3", result())), NOW)
    assert (watch.absent, watch.phase) == (False, "watch")
    assert told(watch) == [("pod-u1", "signed", "fail")]


def test_a_group_with_only_some_of_its_resources_is_absent_as_well():
    watch = found()
    watch.ask(0.5)
    assert watch.ended(Ending("status", 404), 1.0) == ABSENT_SECONDS
    assert watch.phase == "find"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"preferredVersion":{"version":"../../api"}}', b'{"kind":"Status"}'])
def test_an_answer_that_is_no_group_is_asked_for_again(body):
    watch = ReportWatch("prod-eu", RESOURCES[0])
    watch.ask(0.5)
    watch.found(body)
    assert watch.ended(CLEAN, 0.5) > 0
    assert watch.ask(0.5).path == "/apis/wgpolicyk8s.io"


def test_what_fails_is_tried_again_ever_later_and_as_late_as_the_server_asks():
    watch = found()
    pauses = []
    for _ in range(8):
        watch.ask(1.0)
        pauses.append(watch.ended(Ending("status", 403), 1.0))
    assert pauses == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0]
    watch.ask(1.0)
    assert watch.ended(Ending("status", 429, 77.0), 1.0) == 77.0


def test_a_page_that_is_too_long_is_asked_for_in_smaller_ones():
    watch = found()
    limits = []
    for _ in range(6):
        limits.append(watch.ask(0.5).query["limit"])
        watch.ended(Ending("too-large"), 0.5)
    assert limits == ["500", "125", "31", "7", "1", "1"]


def test_two_silent_watches_make_the_version_doubtful_and_one_with_an_event_between_does_not():
    watch = listed(report())
    watch.ask(0.5)
    watch.ended(Ending("silent"), 0.5)
    watch.ask(0.5)
    watch.line(event("ADDED", report("u9", "90", result())), NOW)
    watch.ended(Ending("silent"), 0.5)
    for _ in range(2):
        assert watch.ask(0.5).watch
        watch.ended(Ending("silent"), 0.5)
    assert not watch.ask(0.5).watch


def test_an_error_event_that_is_no_410_is_a_failure_and_not_an_end():
    watch = listed(report())
    watch.ask(1.0)
    watch.line(event("ERROR", {"kind": "Status", "code": 500}), NOW)
    assert watch.ended(CLEAN, 1.0) == 2.0
    assert watch.ask(1.0).watch


def test_what_cannot_be_read_is_a_dead_letter_and_no_news_when_it_can_be_read_again():
    watch = listed(report("u1", "3", result()))
    watch.take()
    watch.ask(0.5)
    watch.line(event("MODIFIED", report("u1", "4") | {"results": 7}), NOW)
    watch.line(b"{nothing", NOW)
    watch.too_long(9_000_000, b'{"type":"ADDED"', NOW)
    letters = [one for one in watch.take() if isinstance(one, DeadLetter)]
    assert [one.code for one in letters] == ["object-malformed", "json-malformed", "event-too-large"]
    assert {one.source for one in letters} == {"reports:prod-eu:policyreports"}
    watch.line(event("MODIFIED", report("u1", "5", result(at=9))), NOW)
    assert told(watch) == []


def test_results_that_nobody_asked_for_are_counted():
    watch = listed(report("u1", "3", result(), result("labels", "pass")), results=("fail",))
    assert told(watch) == [("pod-u1", "signed", "fail")]
    assert watch.counts == {"told": 1, "other": 1}


def test_what_did_not_become_durable_is_told_again():
    watch = listed(report("u1", "3", result()))
    first = [one.id for one in watch.take()]
    watch.lost()
    assert not watch.ask(0.5).watch
    watch.page(page(report("u1", "3", result())), NOW + 1)
    assert [one.id for one in watch.take()] == first


def test_items_of_typed_lists_have_no_kind():
    bare = report("u1", "3", result())
    del bare["kind"], bare["apiVersion"]
    assert told(listed(bare)) == [("pod-u1", "signed", "fail")]
