"""`revet incident` on the state that the demo leaves: look, take, note, close, beside a running service or without."""

import shutil
import threading
from contextlib import closing
from pathlib import Path

import pytest

from streams.local import acting
from streams.local.lease import Lease
from streams.local.node import LocalNode, NodeSettings
from tests.helpers.command import revet
from tests.helpers.demo_state import copy_of_demo, played_demo

PROPOSABLE = frozenset({"unsigned", "wrong-signer", "attestation-missing", "untrusted-registry", "expired", "baseline"})


class Desk:
    """A copy of the state, and commands on it."""

    def __init__(self, state: Path) -> None:
        self.state = state

    def run(self, *args, code=0):
        ran = revet("incident", *args, "--state", self.state)
        assert ran.code == code, ran.err or ran.out
        return ran

    def ask(self, *args):
        return self.run(*args, "-o", "json").json

    def rows(self, *args):
        return self.ask("list", *args)["rows"]

    def of(self, kind):
        return next(row["short_id"] for row in self.rows("--all") if row["kind"] == kind)


@pytest.fixture
def desk(tmp_path):
    return Desk(copy_of_demo(tmp_path))


@pytest.fixture
def shelf():
    """The state itself: to look at, not to change."""
    return Desk(played_demo().state)


# ---------------------------------------------------------------------------------------------------------------- look


def test_the_list_has_what_is_open_and_with_all_what_is_resolved_too(shelf):
    assert {row["state"] for row in shelf.rows()} == {"open"}
    assert {row["state"] for row in shelf.rows("--all")} == {"open", "resolved"}
    assert shelf.ask("list")["schema"] == "revet.incidents/v1"


def test_the_list_is_narrowed_by_a_query(shelf):
    found = shelf.rows("--query", "severity:medium")
    assert {row["severity"] for row in found} == {"medium"}
    assert len(found) < len(shelf.rows())
    assert "query, column 10:" in shelf.run("list", "--query", "severity:", code=2).err


def test_an_empty_list_says_so(shelf):
    assert "no incident is open" in shelf.run("list", "--query", "severity:low").err


def test_show_is_the_message_then_the_timeline_then_the_members(shelf):
    out = shelf.run("show", shelf.of("key-revoked")).out
    heads = ("RESOLVED CRITICAL: image signed", "time  ", "state   finding")
    message, timeline, members = map(out.index, heads)
    assert message < timeline < members
    assert "compromised since" in out[timeline:members]
    assert out[members:].count("key-revoked") == 7  # workloads
    assert out.index("\nnot seen:") > members


def test_show_tells_of_an_open_incident_what_would_be_told_now(shelf):
    shown = shelf.ask("show", shelf.of("failed-open"))
    assert shown["schema"] == "revet.incident/v1"
    assert shown["message"]["state"] == "open"
    assert shown["message"]["headline"].startswith("HIGH: ")
    assert shown["incident"]["short_id"] in shown["message"]["headline"]
    assert [member["provenance.state"] for member in shown["members"]] == ["open"]


def test_an_incident_is_found_by_both_of_its_ids(shelf):
    row = shelf.rows()[0]
    assert shelf.ask("show", row["id"])["incident"] == shelf.ask("show", row["short_id"])["incident"] == row


def test_an_unknown_incident_is_a_wrong_question(shelf):
    assert "nothing in the record is called 'INC-NOBODY'" in shelf.run("show", "INC-NOBODY", code=2).err


# ----------------------------------------------------------------------------------------------------------------- act


def test_acknowledging_is_seen_at_once_and_kept_with_its_note(desk):
    incident = desk.of("unadmitted")
    out = desk.run("ack", incident, "--note", "mine").out
    assert f"{incident} is acknowledged by local:" in out
    (row,) = (row for row in desk.rows() if row["short_id"] == incident)
    assert row["state"] == "acknowledged"
    assert row["notes"][0]["text"] == "mine"
    assert "acked by" in desk.run("show", incident).out


def test_a_proposal_is_kept_with_the_command_for_an_administrator_and_grants_nothing(desk):
    row = next(r for r in desk.rows() if r["state"] == "open" and r["kind"] in PROPOSABLE)
    desk.run("propose", row["short_id"], "--why", "the vendor signs soon", "--ticket", "SEC-12", "--days", "7")
    (after,) = (r for r in desk.rows() if r["short_id"] == row["short_id"])
    assert (after["state"], after["containers"]) == (row["state"], row["containers"])
    ((_, by, why, days, ticket),) = after["proposals"]
    assert (by[:6], why, days, ticket) == ("local:", "the vendor signs soon", 7, "SEC-12")
    out = desk.run("show", row["short_id"]).out
    assert "accept it for 7 days" in out
    assert "revet exempt add --policy" in out
    assert "exemption-proposed" in out


def test_a_proposal_for_what_shows_a_compromise_is_refused(desk):
    rows = [r for r in desk.rows() if r["kind"] in ("key-revoked", "signature-invalid", "digest-denied")]
    assert rows, [r["kind"] for r in desk.rows()]
    for row in rows:
        asked = desk.run("propose", row["short_id"], "--why", "x", code=2)
        assert "no exemption accepts that" in asked.err


def test_a_proposal_needs_a_reason(desk):
    row = desk.rows()[0]
    assert "--why needs some text" in desk.run("propose", row["short_id"], "--why", "  ", code=2).err


def test_what_is_done_is_told_in_the_order_it_was_done(desk):
    incident = desk.of("unadmitted")
    for args in (("ack", incident), ("note", incident, "looking"), ("close", incident, "--reason", "test pod")):
        desk.run(*args)
    timeline = desk.ask("show", incident)["timeline"]
    told = [row["text"] for row in timeline if row["kind"] == "incident"]
    found = [next(i for i, text in enumerate(told) if word in text) for word in ("open,", "acknowledged", "looking")]
    assert found == sorted(found)
    times = [row["time"] for row in timeline]
    assert times == sorted(times)
    assert desk.ask("show", incident)["incident"]["state"] == "resolved"


def test_a_closed_incident_stays_closed_while_no_more_comes_in(desk):
    incident = desk.of("unadmitted")
    assert "1 container left" in desk.run("close", incident, "--reason", "a test").out
    assert incident not in {row["short_id"] for row in desk.rows()}
    assert desk.ask("show", incident)["incident"]["notes"][-1]["text"] == "a test"


@pytest.mark.parametrize("verb", ["ack", "close"])
def test_what_is_resolved_cannot_be_taken_or_closed(desk, verb):
    args = ("--reason", "x") if verb == "close" else ()
    ran = desk.run(verb, desk.of("key-revoked"), *args, code=2)
    assert "is resolved since" in ran.err


def test_a_resolved_incident_can_still_be_annotated(desk):
    incident = desk.of("key-revoked")
    desk.run("note", incident, "post-mortem: see the wiki")
    assert desk.ask("show", incident)["incident"]["state"] == "resolved"
    assert "post-mortem" in desk.run("show", incident).out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("close", "INC"), "--reason"),
        (("close", "INC", "--reason", " "), "a reason needs some text"),
        (("note", "INC", ""), "a note needs some text"),
        (("note", "INC", "x" * 2001), "at most 2000"),
        (("ack", "INC-NOBODY"), "nothing in the record is called"),
    ],
)
def test_wrong_requests_change_nothing(desk, args, said):
    before = desk.rows("--all")
    args = tuple(desk.of("unadmitted") if arg == "INC" else arg for arg in args)
    assert said in desk.run(*args, code=2).err
    assert desk.rows("--all") == before


def test_a_hostile_note_reaches_no_terminal_raw(desk):
    incident = desk.of("unadmitted")
    desk.run("note", incident, "\x1b[2J\u202egone\nINC-FAKE is resolved")
    for args in (("show", incident), ("list",), ("show", incident, "-o", "json")):
        out = desk.run(*args).out
        assert "\x1b" not in out
        assert "\u202e" not in out
        assert "\nINC-FAKE" not in out


# -------------------------------------------------------------------------------------------- beside a running service


def test_a_running_service_does_it(desk):
    """The command only appends; whoever holds the lease works."""
    incident = desk.of("unadmitted")
    stop, started = threading.Event(), threading.Event()

    def serve() -> None:
        lease = Lease.try_acquire(desk.state, "run")
        assert lease is not None
        with lease, closing(LocalNode.open(desk.state, NodeSettings(replay=True))) as node:
            started.set()
            while not stop.wait(0.02):
                node.engine.run_once()

    service = threading.Thread(target=serve)
    service.start()
    try:
        assert started.wait(10)
        done = desk.ask("ack", incident)
    finally:
        stop.set()
        service.join()
    assert (done["done_by"], done["incident"]["state"]) == ("service", "acknowledged")


def test_a_service_that_hangs_is_told_and_the_act_is_durable(desk, monkeypatch):
    monkeypatch.setattr(acting, "GIVE_UP", 0.2)
    incident = desk.of("unadmitted")
    lease = Lease.try_acquire(desk.state, "run")
    assert lease is not None
    with lease:
        ran = desk.run("ack", incident, code=4)
    assert "has not come to it yet" in ran.err
    assert desk.ask("note", incident, "now")["incident"]["state"] == "acknowledged"


def test_looking_needs_no_lease_and_writes_nothing(tmp_path):
    state = copy_of_demo(tmp_path)
    twin = tmp_path / "twin.sqlite"
    shutil.copyfile(state, twin)
    lease = Lease.try_acquire(state, "run")
    assert lease is not None
    with lease:
        Desk(state).run("list")
        Desk(state).run("show", Desk(state).of("unadmitted"))
    assert state.read_bytes() == twin.read_bytes()
