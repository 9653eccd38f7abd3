"""`trust`, `key`, `revoke`, `revocation`, `exempt` through the front door, on a state file of their own."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from streams.cli import changing
from streams.cli.outcomes import Outcome
from streams.engine.sqlite import connect
from streams.local.lease import Lease, holder
from streams.local.node import LocalNode
from streams.local.sqlite import Came, open_reading, progress, state_now
from tests.helpers.statefile import SINCE, Shop, a_policy, revet
from tests.helpers.world import MINUTE, START
from verifier.trust.records import PolicyRemoved

LEAK = ("revoke", "key", "build", "--reason", "keyCompromise", "--compromised-since", "2026-11-18T11:36:40Z")
"""`SINCE`, as people write it."""


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def verdicts(shop):
    """image -> outcome, as the record says it now."""
    with open_reading(shop.state) as connection:
        rows = connection.execute("SELECT body FROM record WHERE home = 'revet-state-containers'").fetchall()
    found = [json.loads(body) for (body,) in rows]
    return {b["container.image.name"].rsplit("/", 1)[-1]: b["provenance.verdict"] for b in found}


# -------------------------------------------------------------------------------------------------------------- revoke


def test_the_time_of_the_test_is_the_time_of_the_shop():
    assert changing.when("2026-11-18T11:36:40Z", 0, "--at") == SINCE


def test_a_dry_run_says_the_split_and_the_reach_and_writes_nothing(shop):
    before = shop.state.read_bytes()
    result = shop.run(*LEAK, "--dry-run")
    assert result.code == 0
    assert "signatures: 1 before, 1 after, 1 of unknown time" in result.out
    assert "in use by: 3 containers of 3 workloads in 1 namespace of 1 cluster" in result.out
    assert "would begin to violate: 2 containers of 2 workloads" in result.out
    assert "web: 2 containers of 2 workloads" in result.out
    assert "dry run: nothing was applied" in result.out
    assert shop.epoch() == 2
    assert shop.state.read_bytes() == before


def test_a_revocation_is_judged_before_the_command_returns(shop):
    assert set(verdicts(shop).values()) == {"valid", "violates"}
    result = shop.run(*LEAK, "--yes", "--note", "laptop stolen")
    assert result.code == 0, result.err
    split, outcome = result.out.index("signatures: 1 before"), result.out.index("epoch 3:")
    assert split < outcome
    assert "re-judged: 2 classes changed: 2 violates" in result.out
    assert "findings: opened 2 key-revoked; closed 0" in result.out
    assert "key-revoked build: open, 2 containers (findings: 2 opened)" in result.out
    assert verdicts(shop) == {
        "early:1": "valid",
        "late:1": "violates",
        "undated:1": "violates",
        "strange:1": "violates",
    }


def test_what_was_foretold_is_what_came(shop):
    foretold = shop.ask(*LEAK, "--dry-run")["preview"]
    outcome = shop.ask(*LEAK, "--yes")["outcome"]
    assert outcome["came"]["classes"] == len(foretold["changes"]) == 2
    assert outcome["came"]["opened"] == {"key-revoked": len(foretold["opened"])}
    assert [i["containers"] for i in outcome["came"]["incidents"]] == [foretold["violating"]["containers"]]
    assert (outcome["judged"], outcome["judged_by"]) == (True, "command")


def test_withdrawing_restores_what_was_and_it_can_be_revoked_again(shop):
    before = verdicts(shop)
    for _ in range(2):
        record = shop.ask(*LEAK, "--yes")["revocation"]
        assert verdicts(shop) != before
        result = shop.run("revocation", "withdraw", record["id"][:14], "--note", "false alarm")
        assert result.code == 0, result.err
        assert "findings: opened 0; closed 2 valid-again" in result.out
        assert "key-revoked build: open (findings: 2 closed)" in result.out
        assert verdicts(shop) == before
    assert shop.ask("revocation", "list")["revocations"] == []
    listed = shop.ask("revocation", "list", "--all")["revocations"]
    assert [r["status"] for r in listed] == ["withdrawn", "withdrawn"]


REFUSED = [
    ("a compromise without a time", ["--reason", "keyCompromise"], "expected compromised-since or all-signatures"),
    ("no reason", ["--all-signatures"], "--reason"),
    ("an unknown reason", ["--reason", "boredom"], "boredom"),
    ("two times", ["--reason", "keyCompromise", "--compromised-since", "1h", "--all-signatures"], "all-signatures and"),
    ("a retirement since when", ["--reason", "superseded", "--compromised-since", "1h"], "expected effective"),
    ("no time at all", ["--reason", "keyCompromise", "--compromised-since", "tuesday"], "is no time"),
    ("a compromise ahead", ["--reason", "keyCompromise", "--compromised-since", "2031-01-01"], "lies after now"),
]


@pytest.mark.parametrize(("options", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_revocation_that_leaves_a_question_open_is_refused(shop, options, said):
    result = shop.run("revoke", "key", "build", *options, "--yes")
    assert result.code == 2
    assert said in result.err
    assert shop.epoch() == 2


def test_nobody_to_ask_means_nothing_is_applied(shop):
    result = shop.run(*LEAK)
    assert result.code == 2
    assert "signatures: 1 before" in result.out, "the split is said all the same"
    assert "--yes" in result.err
    assert shop.epoch() == 2


@pytest.mark.parametrize(("answer", "code", "after"), [("y\n", 0, 3), ("n\n", 130, 2)])
def test_on_a_terminal_it_asks(shop, monkeypatch, answer, code, after):
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    result = shop.run(*LEAK, input=answer)
    assert result.code == code
    assert "apply this revocation?" in result.err
    assert shop.epoch() == after


def test_a_denied_digest_violates_at_once(shop):
    digest = next(d for repository, d in shop.world.evidence if repository.endswith("early"))
    result = shop.run("revoke", "digest", f"r.example/shop/early@{digest}", "--reason", "unspecified", "--yes")
    assert result.code == 0, result.err
    assert "would begin to violate: 1 container" in result.out
    assert "digest-denied" in result.out
    assert verdicts(shop)["early:1"] == "violates"


def test_one_signature_can_be_revoked_by_its_id(shop):
    hit = shop.ask(*LEAK, "--dry-run")["split"]["signatures"]
    early = next(s for s in hit if s["image"].endswith("early:1"))
    result = shop.ask("revoke", "evidence", early["evidence"], "--reason", "unspecified", "--yes")
    assert [s["evidence"] for s in result["split"]["signatures"]] == [early["evidence"]]
    assert verdicts(shop)["early:1"] == "violates"


def test_ages_count_from_the_clock_of_the_state(shop):
    revocation = shop.ask(
        "revoke", "key", "build", "--reason", "keyCompromise", "--compromised-since", "1860s", "--dry-run"
    )
    assert revocation["revocation"]["compromised_since"] == SINCE


# ------------------------------------------------------------------------------------------------ somebody else judges


@contextmanager
def service(shop) -> Iterator[LocalNode]:
    """What `revet run` does: holds the lease, polls the log."""
    lease = Lease.try_acquire(shop.state, "run")
    assert lease is not None
    node = LocalNode.open(shop.state, shop.settings)
    stop = threading.Event()

    def loop():
        while not stop.wait(0.02):
            asyncio.run(node.drain())

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield node
    finally:
        stop.set()
        thread.join()
        node.close()
        lease.close()


def test_beside_a_running_service_the_service_judges(shop):
    with service(shop):
        started = time.monotonic()
        outcome = shop.ask(*LEAK, "--yes")["outcome"]
        took = time.monotonic() - started
    assert (outcome["judged_by"], outcome["judged"], outcome["came"]["classes"]) == ("service", True, 2)
    assert [i["state"] for i in outcome["came"]["incidents"]] == ["open"]
    assert took < 5


def test_a_key_added_beside_a_running_service_is_checked_before_the_command_returns(shop):
    policy = shop.write("p.yaml", a_policy("strange", "extra", "r.example/shop/strange**"))
    with service(shop):
        assert shop.run("trust", "apply", shop.pem("extra"), policy).code == 0
    assert verdicts(shop)["strange:1"] == "violates", "the policy signed still asks for build"
    with open_reading(shop.state) as connection:
        assert progress(connection).unanswered == 0


def test_a_service_that_does_not_come_to_it_is_said_so(shop, monkeypatch):
    monkeypatch.setattr(changing, "GIVE_UP", 0.3)
    lease = Lease.try_acquire(shop.state, "run")
    assert lease is not None
    try:
        result = shop.run(*LEAK, "--yes")
    finally:
        lease.close()
    assert result.code == 4
    assert "has not judged it yet" in result.err
    assert shop.epoch() == 3, "recorded all the same"
    assert shop.run("trust", "history").out.count("revoked key") == 1
    shop.run("key", "add", "other", "--pem", shop.pem("other"))  # whoever drives next judges it
    assert verdicts(shop)["late:1"] == "violates"


def test_a_lease_is_held_once_and_ends_with_its_holder(tmp_path):
    path = tmp_path / "state.sqlite"
    first = Lease.try_acquire(path, "run")
    assert first is not None
    assert Lease.try_acquire(path) is None
    assert (found := holder(path)) is not None
    assert found.what == "run"
    first.close()
    first.close()
    second = Lease.try_acquire(path, "again")
    assert second is not None
    with second:
        assert Lease.try_acquire(path) is None


def test_nobody_holds_what_was_never_held(tmp_path):
    assert holder(tmp_path / "none") is None


# -------------------------------------------------------------------------------------------------- show, history, diff


def test_show_tells_every_kind(shop):
    shop.run(*LEAK, "--yes")
    shop.run(
        "exempt", "add", "--policy", "signed", "--namespace", "web", "--why", "w", "--owner", "o", "--approver", "a"
    )
    shown = shop.ask("trust", "show")
    assert [len(shown[k]) for k in ("policies", "keys", "exemptions", "clusters", "revocations")] == [1, 1, 1, 0, 1]
    assert shown["keys"][0]["status"] == "revoked"
    table = shop.run("trust", "show").out
    assert all(title in table for title in ("policies", "keys", "exemptions", "revocations"))
    assert "clusters" not in table
    assert shop.run("trust", "show", "clusters").code == 0


def test_history_is_newest_first_and_limited(shop):
    shop.run(*LEAK, "--yes")
    entries = shop.ask("trust", "history", "--limit", "2")["entries"]
    assert [entry["epoch"] for entry in entries] == [3, 2]
    assert "revoked key" in shop.run("trust", "history").out


def test_history_names_what_was_ignored(shop):
    node = LocalNode.open(shop.state, shop.settings)
    node.change_trust([PolicyRemoved(author="bob", at=START, policy_id="signed", expects=0)])
    node.close()
    assert "ignored, stale: made for epoch 0" in shop.run("trust", "history").out


def test_diff_with_files_says_what_apply_would_change(shop):
    text = a_policy("signed")
    result = shop.run("trust", "diff", "-", input=text)
    assert result.code == 0, result.err
    assert "~ policy signed: changed" in result.out
    assert any(line.strip().startswith("+") and "signedBy" in line for line in result.out.splitlines())
    assert shop.epoch() == 2
    shop.run("trust", "apply", "-", input=text)
    assert "no difference" in shop.run("trust", "diff", "-", input=text).out


def test_diff_between_epochs(shop):
    shop.run(*LEAK, "--yes")
    changes = shop.ask("trust", "diff", "--from", "0", "--to", "2")["changes"]
    assert [(c["what"], c["kind"]) for c in changes] == [("policy", "added"), ("key", "added")]
    (one,) = shop.ask("trust", "diff", "--from", "2")["changes"]
    assert (one["what"], one["kind"]) == ("revocation", "added")
    assert shop.run("trust", "diff", "--from", "9").code == 2
    assert shop.run("trust", "diff").code == 2


# ------------------------------------------------------------------------------------------------------- key and exempt


def test_rotation_lights_up_nothing(shop):
    before = verdicts(shop)
    result = shop.run("key", "rotate", "build", "--new", shop.pem("build-2027"))
    assert result.code == 0, result.err
    assert "findings: opened 0; closed 0" in result.out
    assert verdicts(shop) == before
    keys = shop.ask("key", "list")["keys"]
    assert [(k["name"], k["status"]) for k in keys] == [("build", "superseded"), ("build", "current")]


def test_an_added_key_is_checked_against_stored_evidence_at_once(shop):
    """No place is asked: the evidence is in the store."""
    strange = a_policy("strange", "extra", "r.example/shop/strange**")
    before = verdicts(shop)["strange:1"]
    result = shop.run("trust", "apply", shop.pem("extra"), shop.write("p.yaml", strange), "-o", "json")
    assert result.code == 0, result.err
    assert result.json["waiting"] == 0
    assert result.json["came"]["verdicts"]["valid"] == 1
    assert before == "violates"


def test_a_key_that_is_in_use_is_not_removed_without_asking(shop):
    result = shop.run("key", "remove", "build")
    assert result.code == 2
    assert "would begin to violate: 3 containers" in result.out
    assert shop.run("key", "remove", "build", "--yes").code == 0
    assert set(verdicts(shop).values()) == {"violates"}
    assert shop.ask("key", "list")["keys"] == []
    (gone,) = shop.ask("key", "list", "--all")["keys"]
    assert gone["status"] == "removed"


def test_a_key_that_is_none_is_refused(shop):
    result = shop.run(
        "key", "add", "x", "--pem", "-", input="-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
    )
    assert result.code == 2
    assert shop.epoch() == 2


EXEMPT = (
    "exempt",
    "add",
    "--policy",
    "signed",
    "--namespace",
    "web",
    "--why",
    "vendor",
    "--owner",
    "web",
    "--approver",
    "eve",
)


def test_an_exemption_closes_the_finding_and_its_end_reopens_it(shop):
    added = shop.run(*EXEMPT, "--ticket", "SEC-1", "--days", "60")
    assert added.code == 0, added.err
    assert "closed 1 exempted" in added.out
    assert verdicts(shop)["strange:1"] == "violates", "the verdict stays"
    (entry,) = shop.ask("exempt", "list")["exemptions"]
    assert (entry["ticket"], entry["approver"], entry["status"]) == ("SEC-1", "eve", "in force")
    ended = shop.run("exempt", "end", entry["id"][:14])
    assert ended.code == 0, ended.err
    assert "opened 1 wrong-signer" in ended.out
    again = shop.run(*EXEMPT, "--ticket", "SEC-1", "--days", "60")
    assert again.code == 0, again.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--days", "181"], "181"),
        (["--until", "2030-01-01"], "lasts"),
        (["--days", "3", "--until", "2026-11-20"], "not both"),
        (["--reason", "tired"], "tired"),
    ],
)
def test_an_exemption_beyond_the_rules_is_refused(shop, options, said):
    result = shop.run(*EXEMPT, *options)
    assert result.code == 2
    assert said in result.err


def test_an_exemption_of_everything_is_refused(shop):
    result = shop.run("exempt", "add", "--why", "w", "--owner", "o", "--approver", "a", "--image", "**")
    assert result.code == 2
    assert "matches everything" in result.err


# ------------------------------------------------------------------------------------------------------ hostile, clocks

HOSTILE = "boom\x1b[2J\u202egnp\r\nEND"


def test_hostile_text_never_reaches_the_terminal_raw(shop):
    shop.run(*LEAK, "--yes", "--note", HOSTILE)
    shop.run(*EXEMPT[:7], HOSTILE, *EXEMPT[8:], "--ticket", HOSTILE)
    for command in (["trust", "history"], ["trust", "show"], ["exempt", "list"], ["trust", "diff", "--from", "0"]):
        for output in ("table", "json"):
            extra = [] if output == "table" else ["-o", "json"]
            out = shop.run(*command, *extra).out
            assert not {"\x1b", "\u202e", "\r"} & set(out)
    result = shop.run("revoke", "key", HOSTILE, "--reason", "keyCompromise", "--all-signatures", "--yes")
    assert not {"\x1b", "\u202e"} & set(result.out + result.err)


def test_a_live_state_lives_in_the_time_of_the_wall(tmp_path):
    shop = Shop(tmp_path, recorded=False)
    with open_reading(shop.state) as connection:
        assert state_now(connection, START + 10**15) == START + 10**15
        assert state_now(connection, START - MINUTE) >= START


def test_a_replay_lives_in_its_own_time(shop):
    with open_reading(shop.state) as connection:
        assert state_now(connection, START + 10**15) == START + 61 * MINUTE
    (entry, *_) = shop.ask("trust", "history")["entries"]
    assert entry["epoch"] == 2
    shop.run(*LEAK, "--yes")
    with open_reading(shop.state) as connection:
        assert state_now(connection, 0) == START + 61 * MINUTE, "a change moves no clock"


def test_reading_never_writes(shop):
    before = shop.state.read_bytes()
    with connect(shop.state, create=False) as held:
        held.execute("BEGIN IMMEDIATE")  # a service that is busy writing does not hold a reader up
        assert shop.run("trust", "show").code == 0
        assert shop.run(*LEAK, "--dry-run").code == 0
        held.execute("ROLLBACK")
    held.close()
    assert shop.state.read_bytes() == before


@pytest.mark.parametrize(
    "command",
    [
        *("trust apply", "trust show", "trust history", "trust diff"),
        *("key add", "key rotate", "key remove", "key list"),
        *("revoke key", "revoke digest", "revoke evidence", "revocation list", "revocation withdraw"),
        *("exempt add", "exempt list", "exempt end"),
        *("policy check", "policy import", "policy preview", "policy schema"),
    ],
)
def test_every_help_has_an_example(command):
    result = revet(*command.split(), "--help")
    assert result.code == 0
    assert f"$ revet {command}" in result.out


def test_an_outcome_is_plain_data():
    outcome = Outcome((), "nobody", True, Came())
    assert msgspec.json.decode(msgspec.json.encode(outcome))["came"]["incidents"] == []
