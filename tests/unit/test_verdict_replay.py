"""Recorded verdicts are judged again from their recorded inputs: the same bytes, or what differs is said."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.local.inputs import LogInputs
from streams.local.looking import looking
from streams.local.node import LocalNode
from streams.queries.lists import verdict_document
from streams.replaying import RecordInputs, Replayed, Replayer, compare
from streams.sinks.judged import stored_verdict
from tests.helpers.command import revet
from tests.helpers.demo_state import copy_of_demo, played_demo
from tests.helpers.statefile import Shop
from verifier.errors import InputError


def verdicts(state: Path) -> list[tuple[str, dict[str, Any]]]:
    """(id, document) of every recorded verdict, by plain SQL."""
    with sqlite3.connect(state) as connection:
        query = "SELECT id, body FROM record WHERE home = 'revet.verification' ORDER BY row"
        rows = connection.execute(query).fetchall()
    return [(id_, msgspec.json.decode(body)) for id_, body in rows]


def rewrite(state: Path, verdict: str, body: dict[str, Any]) -> None:
    with sqlite3.connect(state) as connection:
        text = msgspec.json.encode(body).decode()
        connection.execute("UPDATE record SET body = ? WHERE home = 'revet.verification' AND id = ?", (text, verdict))


def replay(state: Path, verdict: str) -> Replayed:
    with looking(state, 0) as look:
        return Replayer(LogInputs(look.connection)).replay(verdict_document(look.reader, verdict))


def replay_all(state: Path) -> list[Replayed]:
    with looking(state, 0) as look:
        return list(Replayer(LogInputs(look.connection)).replay_all(look.reader))


# ------------------------------------------------------------------------------------------------------- what is true


def test_every_verdict_of_the_demo_replays_byte_for_byte():
    found = replay_all(played_demo().state)
    assert [(r.id, r.differences, r.missing) for r in found if r.result != "same"] == []
    assert sorted(r.id for r in found) == sorted(id_ for id_, _ in verdicts(played_demo().state))
    assert {r.verdict for r in found} == {"valid", "violates", "unverifiable"}


def test_the_demo_has_verdicts_of_every_kind_of_input():
    """Evidence pending, fetched, of an image without digest, before and after the revocation and the rotation."""
    found = {r.id: r.recomputed for r in replay_all(played_demo().state)}
    codes = {reason.code for v in found.values() if v for reason in v.reasons}
    assert {"evidence-pending", "digest-not-addressable", "key-revoked", "key-revoked-time-unknown"} <= codes
    assert len({v.epoch for v in found.values() if v}) > 2


@pytest.mark.parametrize("recorded", [True, False], ids=["in a recording's time", "live"])
def test_ungoverned_verdicts_replay_too(tmp_path, recorded):
    shop = Shop(tmp_path, recorded=recorded)
    node = LocalNode.open(shop.state, shop.settings)
    image = shop.world.image("r.example/other/tool:1", signed_by=("build",))
    node.ingest([shop.world.pod("web", "tool-1", {"app": image})])
    asyncio.run(node.drain())
    node.close()
    found = [r for r in replay_all(shop.state) if "other/tool" in r.image]
    assert [(r.verdict, r.result) for r in found] == [("ungoverned", "same")] * len(found)
    assert found


def test_the_order_of_epochs_asked_for_does_not_matter():
    with looking(played_demo().state, 0) as look:
        replayer = Replayer(LogInputs(look.connection))
        ids = [id_ for id_, _ in verdicts(played_demo().state)]
        results = [replayer.replay(verdict_document(look.reader, id_)).result for id_ in reversed(ids)]
    assert set(results) == {"same"}


# --------------------------------------------------------------------------------------------------------- what is not


def revoked() -> tuple[str, dict[str, Any]]:
    """The verdict on an image that the revocation brought down."""
    return next((i, b) for i, b in verdicts(played_demo().state) if "key-revoked" in b["provenance.reason.code"])


ALTERED = [
    ("the outcome turned to valid", {"outcome": "valid"}, {"outcome", "document: provenance.verdict"}),
    ("a reason's sentence polished", {"reasons": []}, {"reasons", "document: provenance.reason.code"}),
    ("another policy version", {"policy_version": "v1:x"}, {"policy_version", "document: provenance.policy.version"}),
    ("a trust epoch before the revocation", {"epoch": 12}, {"outcome", "id", "document: provenance.trust.epoch"}),
    ("another instant", {"instant": 1_795_900_000_000_000}, {"id"}),
    ("an exemption that never was", {"exempted_by": "v1:mine"}, {"exempted_by", "document: provenance.exemption.id"}),
    ("a fact left out", {"facts": []}, {"facts"}),
    ("a signature left out", {"signatures": []}, {"signatures"}),
    ("an id of one's own", {"id": "v1:mine"}, {"id", "document: event.id"}),
    ("a policy that is not in trust", {"policy": "mine"}, {"policy", "document: provenance.policy.id"}),
    ("no policy, as if none matched", {"policy": ""}, {"policy", "document: provenance.policy.id"}),
    ("a longer life", {"valid_until": 1}, {"valid_until"}),
    ("other code", {"verifier": "0"}, {"document: provenance.evaluation.engine_version"}),
]


@pytest.mark.parametrize(("what", "change", "places"), ALTERED, ids=[row[0] for row in ALTERED])
def test_a_tampered_verdict_is_told_with_what_differs(tmp_path, what, change, places):
    state = copy_of_demo(tmp_path)
    verdict, body = revoked()
    original = msgspec.json.decode(body["event.original"]) | change
    rewrite(state, verdict, body | {"event.original": msgspec.json.encode(original).decode()})
    found = replay(state, verdict)
    assert found.result == "differs", what
    assert places <= {d.where for d in found.differences}


def test_a_signature_that_was_made_to_count_is_found_at_its_place(tmp_path):
    state = copy_of_demo(tmp_path)
    verdict, body = revoked()
    original = msgspec.json.decode(body["event.original"])
    original["signatures"][0]["counts"] = True
    rewrite(state, verdict, body | {"event.original": msgspec.json.encode(original).decode()})
    (difference,) = replay(state, verdict).differences
    assert (difference.where, difference.recorded, difference.recomputed) == ("signatures[0].counts", "true", "false")


def test_a_document_that_says_other_than_the_verdict_inside_it(tmp_path):
    """Searches answer from the document; the verdict inside is what counts."""
    state = copy_of_demo(tmp_path)
    verdict, body = revoked()
    rewrite(state, verdict, body | {"provenance.verdict": "valid"})
    (difference,) = replay(state, verdict).differences
    assert difference.where == "document: provenance.verdict"
    assert (difference.recorded, difference.recomputed) == ('"valid"', '"violates"')


@pytest.mark.parametrize("text", ["", "{", '{"id": 3}', "[]"])
def test_a_verdict_that_cannot_be_read_differs(tmp_path, text):
    state = copy_of_demo(tmp_path)
    verdict, body = revoked()
    rewrite(state, verdict, body | {"event.original": text})
    found = replay(state, verdict)
    assert (found.result, found.differences[0].where) == ("differs", "event.original")


def test_the_same_verdict_in_other_bytes_differs():
    verdict = stored_verdict(revoked()[1]["event.original"])
    text = msgspec.json.encode(verdict).decode()
    assert compare(text, verdict, verdict) == ()
    (difference,) = compare(text.replace(",", ", ", 1), verdict, verdict)
    assert difference.recorded == "other bytes of the same verdict"


def test_inputs_that_are_not_on_record_are_named_and_judge_nothing(tmp_path):
    state = copy_of_demo(tmp_path)
    with sqlite3.connect(state) as connection:
        connection.execute("DELETE FROM log WHERE topic = 'revet.facts'")
    found = replay_all(state)
    missing = [r for r in found if r.result == "inputs-missing"]
    assert missing
    assert all(r.missing[0].startswith("evidence set v1:") for r in missing)
    assert {r.result for r in found} == {"same", "inputs-missing"}  # those that needed no evidence are still the same


def test_a_trust_log_that_was_cut_short_is_named(tmp_path):
    state = copy_of_demo(tmp_path)
    with sqlite3.connect(state) as connection:
        newest = "SELECT max(position) FROM log WHERE topic = 'revet.trust'"
        connection.execute(f"DELETE FROM log WHERE position = ({newest})")
    missing = [r.missing[0] for r in replay_all(state) if r.result == "inputs-missing"]
    assert missing
    assert all("the trust log ends at 13" in told for told in missing)


def test_a_trust_log_that_was_changed_makes_verdicts_differ(tmp_path):
    """Somebody moves the compromise in the log and leaves the verdicts: they no longer follow."""
    state = copy_of_demo(tmp_path)
    with sqlite3.connect(state) as connection:
        rows = connection.execute("SELECT position, value FROM log WHERE topic = 'revet.trust'").fetchall()
        position, value = next((p, v) for p, v in rows if b"revocation-put" in v)
        changed = value.replace(b'"compromised_since":1795', b'"compromised_since":1796')
        connection.execute("UPDATE log SET value = ? WHERE position = ?", (changed, position))
    assert any(r.result == "differs" for r in replay_all(state))


# ----------------------------------------------------------------------------------------------------- from documents


def from_documents(state: Path) -> list[Replayed]:
    """As beside a cluster, where the documents of the record are all there is."""
    with looking(state, 0) as look:
        return list(Replayer(RecordInputs(look.reader)).replay_all(look.reader))


def test_every_verdict_replays_from_the_documents_of_the_record_alone(tmp_path):
    state = copy_of_demo(tmp_path)
    with sqlite3.connect(state) as connection:
        connection.execute("DELETE FROM log")
    found = from_documents(state)
    assert [(r.id, r.differences, r.missing) for r in found if r.result != "same"] == []
    assert len(found) == len(verdicts(state))
    codes = {reason.code for r in found if r.recomputed for reason in r.recomputed.reasons}
    assert "digest-not-addressable" in codes


def rewrite_evidence(state: Path, old: str, new: str) -> int:
    with sqlite3.connect(state) as connection:
        rows = connection.execute("SELECT row, body FROM record WHERE home = 'revet.evidence'").fetchall()
        made = [(body.replace(old, new), row) for row, body in rows]
        connection.executemany("UPDATE record SET body = ? WHERE row = ?", made)
        return sum(new != old for (new, _), (_, old) in zip(made, rows, strict=True))


def test_a_fact_that_was_changed_in_a_document_makes_verdicts_differ(tmp_path):
    state = copy_of_demo(tmp_path)
    assert rewrite_evidence(state, '\\"verified_by\\":[\\"', '\\"verified_by\\":[\\"0')
    assert any(r.result == "differs" for r in from_documents(state))


def test_answers_that_were_not_kept_whole_are_inputs_that_are_missing(tmp_path):
    """Documents of an older version, and broken ones."""
    state = copy_of_demo(tmp_path)
    assert rewrite_evidence(state, '"event.original":"{', '"event.original":"')
    found = from_documents(state)
    assert {r.result for r in found} == {"same", "inputs-missing"}
    assert all("no such answer is in revet.evidence" in told for r in found for told in r.missing)


def test_a_trust_log_with_a_gap_in_its_documents_is_refused(tmp_path):
    state = copy_of_demo(tmp_path)
    with sqlite3.connect(state) as connection:
        connection.execute(
            "DELETE FROM record WHERE home = 'revet.trust' AND body LIKE '%\"provenance.trust.epoch\":3,%'"
        )
    with pytest.raises(InputError, match="lacks entries of the trust log"):
        from_documents(state)


# ------------------------------------------------------------------------------------------------------------- command


def test_the_command_says_same_byte_for_byte():
    verdict, _ = revoked()
    ran = revet("verdict", "replay", verdict, "--state", played_demo().state)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[1] == "same byte for byte"


def test_the_command_replays_everything():
    ran = revet("verdict", "replay", "--all", "--state", played_demo().state, "-o", "json")
    total = len(verdicts(played_demo().state))
    assert ran.code == 0
    assert ran.json == {
        "schema": "revet.verdict-replay/v1",
        "total": total,
        "same": total,
        "differs": 0,
        "inputs-missing": 0,
        "not_same": [],
    }


def test_the_command_ends_with_1_when_one_differs_and_names_it(tmp_path):
    state = copy_of_demo(tmp_path)
    verdict, body = revoked()
    rewrite(state, verdict, body | {"provenance.verdict": "valid\x1b[31m"})
    one = revet("verdict", "replay", verdict, "--state", state)
    everything = revet("verdict", "replay", "--all", "--state", state)
    assert (one.code, everything.code) == (1, 1)
    for ran in (one, everything):
        assert "document: provenance.verdict" in ran.out
        assert "\x1b" not in ran.out
    assert f"{verdict}: " in everything.out
    assert "1 differ, 0 without inputs" in everything.out


def test_the_command_ends_with_3_when_inputs_are_missing(tmp_path):
    state = copy_of_demo(tmp_path)
    with sqlite3.connect(state) as connection:
        connection.execute("DELETE FROM log WHERE topic = 'revet.facts'")
    ran = revet("verdict", "replay", revoked()[0], "--state", state)
    assert ran.code == 3
    assert "its inputs are not on record" in ran.out
    assert revet("verdict", "replay", "--all", "--state", state).code == 3


@pytest.mark.parametrize("args", [(), ("v1:x", "--all")])
def test_one_verdict_or_all_of_them(args):
    assert revet("verdict", "replay", *args, "--state", played_demo().state).code == 2


def test_an_unknown_verdict_is_a_wrong_question():
    ran = revet("verdict", "replay", "v1:nothing", "--state", played_demo().state)
    assert ran.code == 2
    assert "no verdict 'v1:nothing'" in ran.err


def test_after_a_restart_every_verdict_still_replays(tmp_path: Path) -> None:
    """A command that drives the state restores the judge; what it says again must be what was said before."""
    state = tmp_path / "demo.sqlite"
    assert revet("demo", "--state", str(state)).code == 0
    incidents = revet("incident", "list", "--all", "--state", str(state), "--output", "json").json
    noted = revet("incident", "note", incidents["rows"][0]["short_id"], "seen", "--state", str(state))
    assert noted.code == 0
    replayed = revet("verdict", "replay", "--all", "--state", str(state))
    assert replayed.code == 0, replayed.out
    assert "0 differ" in replayed.out
