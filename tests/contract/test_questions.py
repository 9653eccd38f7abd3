"""The fifteen questions on every record: one small day (`tests.helpers.questionday`), every answer computed by hand."""

from __future__ import annotations

from typing import Any

import pytest

from streams.queries.blast import blast_radius
from streams.queries.conditions import is_
from streams.queries.questions import QUESTIONS, Asked, ask, question
from streams.queries.results import as_json
from streams.queries.subjects import resolve
from streams.sinks.document import instant
from tests.helpers.questionday import API, BUILDER, ONE, TWO, at, played
from tests.helpers.recorded import RecordedWorld
from tests.helpers.stores import STORES, opened
from tests.helpers.world import digest_of
from verifier.errors import InputError


@pytest.fixture(scope="module", params=STORES)
def world(request) -> RecordedWorld:
    return played(opened(request))


def answer(world: RecordedWorld, name: str, subject: str = "", **asked: Any) -> dict[str, Any]:
    found = resolve(world.reader, subject) if subject else None
    made = Asked(subject=found, now=world.now, **asked)
    return as_json(ask(world.reader, question(name), made))


def rows(world: RecordedWorld, name: str, subject: str = "", **asked: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = answer(world, name, subject, **asked)["rows"]
    return found


def pods(world: RecordedWorld, name: str, subject: str = "", **asked: Any) -> set[str]:
    return {row["pod"] for row in rows(world, name, subject, **asked)}


def workloads(world: RecordedWorld, subject: str = "", **asked: Any) -> dict[tuple[str, str], int]:
    found = rows(world, "running", subject, **asked)
    return {(row["workload"].rpartition("/")[2], row["digest"]): row["containers"] for row in found}


# ------------------------------------------------------------------------------------------------ made


def test_signed(world):
    """The signature and the attestation of ONE; revet saw one of them at minute 5, nothing dates the other."""
    found = {row["kind"]: row for row in rows(world, "signed", API)}
    assert set(found) == {"signature", "attestation"}
    assert {row["digest"] for row in found.values()} == {ONE}
    assert found["signature"]["signed_by"] == "build"
    assert found["signature"]["existed_by"] == instant(at(5))
    assert found["signature"]["trusted"].startswith("it existed by then")
    assert found["attestation"]["trusted"].startswith("no:")


@pytest.mark.parametrize(
    ("asked", "kinds"),
    [
        ({"at": at(4)}, set[str]()),  # before revet's first sight, by what was known at 4
        ({"at": at(6)}, set()),  # the fetcher had not answered before 10
        ({"known_at": at(9)}, set()),
        ({"known_at": at(10)}, {"signature", "attestation"}),
    ],
)
def test_signed_as_known_by_an_instant(world, asked, kinds):
    assert {row["kind"] for row in rows(world, "signed", API, **asked)} == kinds


def test_built(world):
    (row,) = rows(world, "built", API)
    assert (row["builder"], row["commit"]) == (BUILDER, "c0ffee" + "0" * 34)
    assert row["stated_by"] == "build"
    assert (row["source"], row["run"]) == ("https://git.example/pay/api@refs/heads/main", "https://ci.example/runs/7")
    assert row["build_type"] == "https://builder.example/type"


@pytest.mark.parametrize("base", ["alpine", "base"])
def test_what_is_built_on_a_base(world, base):
    """One is named by the manifest's annotations, the other among the materials of the provenance."""
    digest = digest_of(base)
    for text in (f"base:{digest}", f"base:{digest[7:20]}", f"base:r.example/{base}@{digest}"):
        subject = resolve(world.reader, text)
        assert (subject.kind, subject.values) == ("base", (digest,))
    found = blast_radius(world.reader, resolve(world.reader, f"base:{digest}"))
    assert (found.containers, found.ended, found.signatures) == (0, 1, None)
    assert workloads(world, f"base:{digest}", at=at(20)) == {("api", ONE): 1}


def test_shares(world):
    """slow is signed by the same key; TWO by nobody."""
    (row,) = rows(world, "shares", "shop/api-1")
    assert (row["shares"], row["value"], row["running"]) == ("signer", "build", 1)
    assert row["digest"] == digest_of("r.example/pay/slow:1")


# ------------------------------------------------------------------------------------------------ ran


def test_running_now(world):
    assert workloads(world, API) == {("api", TWO): 1}
    (row,) = rows(world, "running", API)
    assert (row["cluster"], row["namespace"], row["owner"]) == ("prod-eu", "shop", "pay")


SLOW = ("slow", digest_of("r.example/pay/slow:1"))


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"at": at(12)}, {("api", ONE): 1, SLOW: 1}),  # slow ran, as is known today
        ({"at": at(12), "known_at": at(29)}, {("api", ONE): 1}),  # and nobody knew for 19 minutes
        ({"at": at(12), "known_at": at(30)}, {("api", ONE): 1, SLOW: 1}),
        ({"known_at": at(29)}, {("api", ONE): 1, ("api", TWO): 1}),
        ({"at": at(45.5)}, {("api", TWO): 1, SLOW: 1}),  # api-1 had ended
        ({"at": at(45.5), "known_at": at(45.5)}, {("api", ONE): 1, ("api", TWO): 1, SLOW: 1}),  # not that we knew
        ({"at": at(45), "known_at": at(46)}, {("api", TWO): 1, SLOW: 1}),  # what ends at an instant no longer runs
        ({"at": at(9)}, {}),
    ],
)
def test_running_at_an_instant_and_as_known_by_one(world, asked, found):
    assert workloads(world, **asked, where=is_("namespace", "shop")) == found


def test_what_a_key_signed_and_runs(world):
    assert workloads(world, "key:build") == {SLOW: 1}
    assert workloads(world, "key:build", at=at(20)) == {SLOW: 1, ("api", ONE): 1}


def test_ran_in_a_window(world):
    assert pods(world, "ran", start=at(5), end=at(14)) == {"api-1", "slow-1"}
    assert pods(world, "ran", start=at(46), end=at(49)) == {"api-2", "slow-1"}
    assert pods(world, "ran", start=at(5), end=at(14), known_at=at(29)) == {"api-1"}
    (row,) = rows(world, "ran", "shop/api-1")
    assert (row["started"], row["ended"]) == (instant(at(10)), instant(at(45)))
    (row,) = rows(world, "ran", "shop/api-1", known_at=at(45.5), start=at(10), end=at(50))
    assert row["ended"] is None


def test_unadmitted(world):
    (row,) = rows(world, "unadmitted")
    assert (row["pod"], row["why"], row["started"]) == ("slow-1", "", instant(at(11)))
    assert pods(world, "unadmitted", known_at=at(20)) == set()
    assert pods(world, "unadmitted", at=at(20), known_at=at(30)) == {"slow-1"}
    assert pods(world, "unadmitted", where=is_("namespace", "lab")) == set()


def test_moved(world):
    found = [(row["digest"], row["first"], row["running"]) for row in rows(world, "moved", API)]
    assert found == [(ONE, instant(at(10)), 0), (TWO, instant(at(15)), 1)]
    assert [row["digest"] for row in rows(world, "moved", "r.example/pay/api", at=at(14))] == [ONE]
    assert {row["tag"] for row in rows(world, "moved", "shop/api-2")} == {API}


# ------------------------------------------------------------------------------------------------ let in


def test_admitted(world):
    found = rows(world, "admitted", API)
    assert [(row["time"], row["decision"], row["flags"]) for row in found] == [
        (instant(at(10)), "admitted", ""),
        (instant(at(15)), "admitted", "break-glass"),
    ]
    assert [row["policies"].rpartition(": ")[2] for row in found] == ["valid (later)", "violates (later)"]
    assert len(rows(world, "admitted", API, at=at(12))) == 1


def test_created(world):
    (row,) = rows(world, "created", "shop/api-2")
    assert (row["time"], row["user"], row["object"]) == (instant(at(15)), "alice", "pods/api-2")


def let_in(world: RecordedWorld, **asked: Any) -> list[tuple[str, str, str, str]]:
    found = rows(world, "let-in", **asked)
    return [(row["how"], row["who"], row["approved_by"], row["workload"].rpartition("/")[2]) for row in found]


def test_let_in(world):
    """Now: the break-glass admission, and TWO by its exemption; slow violates and the policy only audits."""
    assert let_in(world) == [
        ("break-glass", "alice", "", "api"),
        ("exemption", "bob", "carol", "api"),
        ("audit-mode", "test", "", "slow"),
    ]
    exempted = rows(world, "let-in")[1]
    assert (exempted["ticket"], exempted["why"]) == ("SEC-1", "until the new build")


def test_let_in_at_an_instant_and_as_known_by_one(world):
    """At 36 ONE and slow had fallen and TWO was not exempt; nobody knew of slow at 29, and nothing had fallen."""
    assert let_in(world, at=at(36))[1:] == [("audit-mode", "test", "", name) for name in ("api", "api", "slow")]
    assert let_in(world, at=at(36), known_at=at(29))[1:] == [("audit-mode", "test", "", "api")]


# ------------------------------------------------------------------------------------------------ judged


@pytest.mark.parametrize(
    ("asked", "verdicts"),
    [
        ({}, {ONE: "violates", TWO: "violates"}),
        ({"at": at(20)}, {ONE: "valid", TWO: "violates"}),
        ({"known_at": at(34)}, {ONE: "valid", TWO: "violates"}),
        ({"at": at(36)}, {ONE: "violates", TWO: "violates"}),
        ({"at": at(36), "known_at": at(34)}, {ONE: "valid", TWO: "violates"}),
        ({"at": at(12)}, {ONE: "valid"}),
    ],
)
def test_believed(world, asked, verdicts):
    found = rows(world, "believed", API, **asked)
    assert len(found) == len(verdicts)
    images = {digest[:19]: verdict for digest, verdict in verdicts.items()}
    assert {row["image"].partition("@")[2]: row["verdict"] for row in found} == images
    assert all(row["id"] and row["epoch"] for row in found)


def test_changed(world):
    found = rows(world, "changed", "shop/api-1")
    assert [row["what"] for row in found] == ["last pass", "trust", "first fail"]
    assert "revoked key" in found[1]["sentence"]
    assert [row["time"][:23] for row in found] == [instant(at(minute))[:23] for minute in (10, 35, 35)]
    assert rows(world, "changed", "shop/api-1", known_at=at(34)) == []
    assert rows(world, "changed", "shop/api-2") == []


def test_unverified(world):
    (row,) = rows(world, "unverified")
    assert (row["since"], row["reasons"], row["last_verdict"]) == (instant(at(50)), "registry-unavailable", "never")
    assert row["containers"] == 1
    assert rows(world, "unverified", where=is_("namespace", "shop")) == []
    assert rows(world, "unverified", at=at(49)) == []
    assert len(rows(world, "unverified", known_at=at(50))) == 1


# ------------------------------------------------------------------------------------------------ told


def test_told(world):
    found = rows(world, "told", API)
    assert {"opened"} <= {row["what"] for row in found}
    assert any(row["time"] == instant(at(35)) and row["severity"] == "critical" for row in found)
    exempted = [row for row in found if row["what"] == "exempted"]
    assert exempted[0]["time"] == instant(at(40))
    assert all(row["time"] <= instant(at(36)) for row in rows(world, "told", API, at=at(36)))


def test_blind(world):
    found = [(row["feed"], row["blind_from"], row["blind_to"]) for row in rows(world, "blind")]
    gap = (instant(at(20)), instant(at(25)))
    assert found == [("audit", *gap), ("pods", *gap)]
    assert {row["blind_from"] for row in rows(world, "blind", start=at(30))} == {None}


# ------------------------------------------------------------------------------------------------ all of them


@pytest.mark.parametrize("of", QUESTIONS, ids=lambda of: of.name)
def test_every_answer_says_where_it_was_blind(world, of):
    """In the blind minutes each says so; later windows do not speak of them."""
    subject = API if of.needs_subject else ""
    sentence = f"no data for cluster prod-eu (pods) {'2026'}"
    then = {"at": at(22)} if of.of_instant else {"start": at(18), "end": at(27)}
    assert any(s.startswith(sentence) for s in answer(world, of.name, subject, **then)["blind_spots"])
    after = {"at": at(40)} if of.of_instant else {"start": at(30), "end": at(51)}
    assert not any(s.startswith(sentence) for s in answer(world, of.name, subject, **after)["blind_spots"])


@pytest.mark.parametrize("of", QUESTIONS, ids=lambda of: of.name)
def test_pages_together_are_the_answer(world, of):
    subject = API if of.needs_subject else ""
    for asked in ({}, {"at": at(36)}, {"known_at": at(36)}):
        whole = rows(world, of.name, subject, **asked)
        paged: list[dict[str, Any]] = []
        after = ""
        for _ in range(50):
            found = answer(world, of.name, subject, limit=1, after=after, **asked)
            paged += found["rows"]
            after = found["after"]
            if not after:
                break
        assert paged == whole


@pytest.mark.parametrize("of", QUESTIONS, ids=lambda of: of.name)
def test_what_nobody_knows_finds_nothing(world, of):
    if of.subjects:
        assert rows(world, of.name, "sha256:" + "0" * 64) == []
        assert rows(world, of.name, "sha256:" + "0" * 64, at=at(20), known_at=at(10)) == []


@pytest.mark.parametrize("after", ["x", "q1.", "q1.!!", "q1.kA", "q1.kgEC", "1:2:3", "e1.kA", "q1.€"])
def test_a_cursor_of_another_list_is_refused(world, after):
    with pytest.raises(InputError, match=r"is no position|is a position in another"):
        rows(world, "running", after=after)


def test_a_question_without_its_subject_is_refused(world):
    with pytest.raises(InputError, match="is asked about something"):
        answer(world, "signed")
    with pytest.raises(InputError, match="no question 'who'"):
        question("who")
