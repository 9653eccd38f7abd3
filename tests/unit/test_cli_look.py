"""`revet trace`, `blast-radius` and `search` on the state that the demo leaves."""

import json
import re
from itertools import pairwise

import pytest

from tests.helpers.command import revet
from tests.helpers.demo_state import played_demo

REFUNDS = "registry.example.com/payments/refunds:2.3"
DIGEST = "sha256:49024d919cd42afa07bf22d4d5550dc0fedc90bae4c015dabcde4c6d49ab5541"
UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def look(*args, code=0):
    ran = revet(*args, "--state", played_demo().state)
    assert ran.code == code, ran.err
    return ran


def ask(*args):
    return look(*args, "-o", "json").json


# --------------------------------------------------------------------------------------------------------------- trace


def test_trace_of_an_image_tells_its_whole_life():
    found = ask("trace", REFUNDS)
    assert found["schema"] == "revet.trace/v1"
    assert found["subject"] == {"kind": "image", "name": REFUNDS, "values": [DIGEST], "known": True}
    assert (found["running"], found["ended"]) == (0, 2)
    (signature,) = found["signatures"]
    assert (signature["signer"], signature["time_kind"]) == ("build", "observed")
    kinds = {row["kind"] for row in found["rows"]}
    assert {"trust", "signed", "admitted", "started", "verdict", "ended", "finding", "incident"} <= kinds


def test_trace_is_in_order_and_every_time_is_utc():
    rows = ask("trace", REFUNDS)["rows"]
    assert all(UTC.fullmatch(row["time"]) for row in rows)
    assert all(a["time"] <= b["time"] for a, b in pairwise(rows))


def test_trace_names_who_let_it_in_and_why_a_verdict_changed():
    rows = ask("trace", REFUNDS)["rows"]
    admitted = [row for row in rows if row["kind"] == "admitted"]
    assert {row["ids"]["user"] for row in admitted} == {"system:serviceaccount:kube-system:replicaset-controller"}
    fell = [row for row in rows if row["ids"].get("previous") == "valid"]
    assert fell
    assert all("because: demo revoked key" in row["text"] for row in fell)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (DIGEST, "digest"),
        (DIGEST[:17], "digest"),
        (DIGEST.removeprefix("sha256:")[:10], "digest"),
        (f"registry.example.com/payments/refunds@{DIGEST}", "digest"),
        ("registry.example.com/payments/refunds", "image"),
        ("payments/Deployment/payments-refunds", "workload"),
        ("prod-eu/payments/Deployment/payments-refunds", "workload"),
        ("payments/payments-fx-rates", "pod"),
        ("build", "key"),
        ("3acb414d8f57", "key"),
        ("key:build", "key"),
        ("shop-signed", "policy"),
    ],
)
def test_trace_finds_what_a_text_stands_for(text, kind):
    found = ask("trace", text)
    assert found["subject"]["kind"] == kind
    assert found["rows"]


def test_trace_finds_incidents_and_findings_by_the_ids_it_shows():
    rows = ask("trace", REFUNDS)["rows"]
    incident = next(row["ids"]["short_id"] for row in rows if row["kind"] == "incident")
    finding = next(row["ids"]["finding_id"] for row in rows if row["kind"] == "finding")
    assert ask("trace", incident)["subject"]["kind"] == "incident"
    assert ask("trace", incident.lower())["subject"]["kind"] == "incident"
    assert ask("trace", finding)["subject"]["kind"] == "finding"


def test_trace_at_a_time_leaves_out_what_came_later():
    revoked = next(row["time"] for row in ask("trace", "key:build")["rows"] if "revoked key" in row["text"])
    found = ask("trace", REFUNDS, "--at", revoked[:17] + "00Z")
    assert (found["running"], found["ended"]) == (2, 0)
    assert not {"ended", "finding", "incident"} & {row["kind"] for row in found["rows"]}


def test_trace_prints_blind_spots_last():
    out = look("trace", REFUNDS).out
    head, _, tail = out.partition("\nnot seen:\n")
    assert "0 containers running, 2 ended" in head
    assert "revet's own first sight: it existed by then" in head
    assert tail.startswith("  no data for cluster ")
    assert tail.count("\n") == len(tail.splitlines())


def test_trace_of_an_undated_signature_says_that_nothing_proves_its_time():
    assert "nothing proves when" in look("trace", "registry.example.com/data/loader:4.0").out


@pytest.mark.parametrize("text", ["no-such-thing", "payments/no-such-pod", "r.example/none:1", "0123456789ab"])
def test_trace_of_an_unknown_name_is_an_answer(text):
    assert "nothing on record is called so" in look("trace", text).out
    found = ask("trace", text)
    assert (found["subject"]["known"], found["rows"]) == (False, [])


def test_trace_of_an_unknown_digest_is_an_answer():
    assert "nothing is known of it" in look("trace", "sha256:" + "0" * 64).out


def test_trace_prints_nothing_of_a_hostile_name_raw():
    assert "\x1b" not in look("trace", "\x1b[31mred\u202e").out


# -------------------------------------------------------------------------------------------------------- blast radius


def test_blast_radius_of_a_revoked_key_splits_its_signatures():
    found = ask("blast-radius", "--key", "build")
    assert found["schema"] == "revet.blast-radius/v1"
    parts = found["signatures"]
    assert (parts["total"], parts["before"], parts["after"], parts["undated"]) == (7, 2, 4, 1)
    assert found["revocations"][0]["reason"] == "keyCompromise"
    assert found["revocations"][0]["compromised_since"] == parts["since"]


def test_blast_radius_sums_up_alike_however_it_is_counted():
    found = ask("blast-radius", "--key", "build")
    for table in ("by_cluster", "by_namespace", "by_team", "images"):
        assert sum(row["containers"] for row in found[table]) == found["containers"], table
        assert sum(row["ended"] for row in found[table]) == found["ended"], table
    assert sum(found["verdicts"].values()) == found["containers"]


def test_blast_radius_at_the_revocation_counts_what_ran_then():
    revoked = next(row["time"] for row in ask("trace", "key:build")["rows"] if "revoked key" in row["text"])
    then = ask("blast-radius", "--key", "build", "--at", revoked)
    assert (then["containers"], then["verdicts"]) == (14, {"valid": 4, "violates": 10})


def test_blast_radius_of_a_window_counts_what_ended_in_it():
    args = ("blast-radius", "--key", "build")
    everything = ask(*args)["ended"]
    assert everything == 10
    after = next(row["time"] for row in ask("trace", "key:build")["rows"] if "revoked key" in row["text"])
    assert ask(*args, "--from", after)["ended"] == everything
    assert ask(*args, "--to", "2026-11-21T13:00:00Z")["ended"] == 0
    assert "ran between 2026-11-21T13:00:00Z and now and has ended" in look(*args, "--from", "2026-11-21T13:00:00Z").out


def test_blast_radius_of_a_key_that_was_only_rotated_has_no_split():
    parts = ask("blast-radius", "--key", "release")["signatures"]
    assert (parts["since"], parts["before"], parts["after"]) == (None, 0, 0)
    assert "undated)" in look("blast-radius", "--key", "release").out


@pytest.mark.parametrize(
    "args",
    [
        ("--digest", DIGEST),
        ("--digest", REFUNDS),
        ("--digest", DIGEST.removeprefix("sha256:")[:12]),
        ("--policy-id", "shop-signed"),
        ("--key", "3acb414d8f57"),
    ],
)
def test_blast_radius_of_other_things(args):
    found = ask("blast-radius", *args)
    assert found["containers"] + found["ended"] > 0
    assert found["subject"]["known"]


def test_blast_radius_of_an_incident():
    incident = next(row["short_id"] for row in ask("incident", "list", "--all")["rows"] if row["kind"] == "key-revoked")
    assert ask("blast-radius", "--incident", incident)["ended"] == 10


@pytest.mark.parametrize("args", [(), ("--key", "build", "--digest", DIGEST)])
def test_blast_radius_is_of_exactly_one_thing(args):
    assert "give one of --key" in look("blast-radius", *args, code=2).err


def test_blast_radius_of_an_unknown_name_is_an_answer():
    out = look("blast-radius", "--key", "nobody").out
    assert "nothing on record is called so" in out
    assert ask("blast-radius", "--key", "nobody")["containers"] == 0


def test_a_time_that_is_none_is_a_wrong_question():
    assert "is no time" in look("blast-radius", "--key", "build", "--at", "teatime", code=2).err


# -------------------------------------------------------------------------------------------------------------- search


def test_search_finds_what_violates_in_a_namespace():
    hits = ask("search", "verdict:violates and namespace:payments and state:running")["hits"]
    assert {hit["kubernetes.pod.name"] for hit in hits} == {"payments-fx-rates", "payments-hotfix", "payments-import"}


def test_search_prints_a_table_of_the_columns_asked_for():
    out = look("search", "pod:payments-fx-rates and verdict:*", "--fields", "pod,reason").out
    assert out.splitlines()[0].split() == ["pod", "reason"]
    assert out.splitlines()[1].split() == ["payments-fx-rates", "unsigned"]


def test_search_json_has_only_the_fields_asked_for():
    (hit,) = ask("search", "pod:payments-fx-rates and verdict:*", "--fields", "pod,reason")["hits"]
    assert set(hit) == {"home", "id", "kubernetes.pod.name", "provenance.reason.code"}
    assert hit["provenance.reason.code"] == ["unsigned"]


@pytest.mark.parametrize(
    "home",
    ["containers", "findings", "incidents", "images", "namespaces", "feeds", "admission", "lifecycle", "verification",
     "finding", "incident", "trust", "evidence", "configuration", "namespace", "history", "revet.trust"],
)  # fmt: skip
def test_search_reads_every_part_of_the_record(home):
    assert ask("search", "", "--in", home, "--limit", "3")["hits"]
    assert len(look("search", "", "--in", home, "--limit", "3").out.splitlines()) >= 2


def test_search_goes_on_where_it_stopped():
    everything = [hit["id"] for hit in ask("search", "", "--in", "admission", "--limit", "1000")["hits"]]
    pages, after = [], ""
    while True:
        page = ask("search", "", "--in", "admission", "--limit", "70", "--after", after)
        pages += [hit["id"] for hit in page["hits"]]
        after = page["after"]
        if not after:
            break
    assert pages == everything
    assert "there is more: --after " in look("search", "", "--limit", "1").err


@pytest.mark.parametrize(
    ("query", "column"),
    [
        ("verdict:violates annd namespace:x", 18),
        ("namespace:(a or", 16),
        ("nofield:1", 1),
        ('namespace:payments and verdict:"open', 32),
        ("\x1b[31m:x", 1),
    ],
)
def test_search_points_at_the_column_of_a_mistake(query, column):
    ran = look("search", query, code=2)
    told, shown, mark = ran.err.splitlines()
    assert f"query, column {column}:" in told
    assert "\x1b" not in ran.err
    assert mark.index("^") == 2 + column - 1
    assert shown.startswith("  ")


def test_the_mark_stands_below_the_place_in_a_long_query():
    query = "namespace:payments and " * 8 + "!!:3"
    _, shown, mark = look("search", query, code=2).err.splitlines()
    assert shown[mark.index("^") :].startswith("!!")


def test_nothing_found_is_an_answer():
    ran = look("search", "namespace:nowhere")
    assert (ran.out, ran.err) == ("", "nothing found\n")
    assert ask("search", "namespace:nowhere")["hits"] == []


def test_search_lists_the_fields():
    out = look("search", "--list-fields").out
    assert "provenance.verdict" in out
    assert "event.original" not in out  # kept for reading, cannot be searched
    fields = ask("search", "--list-fields", "--in", "trust")["fields"]
    assert all("trust" in field["in"] for field in fields)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("x", "--in", "nowhere"), "is no part of the record"),
        ((), "give a QUERY"),
        (("x", "--fields", "nofield"), "no field 'nofield'"),
        (("x", "--fields", ","), "--fields names no field"),
        (("x", "--after", "garbage"), "is no position"),
        (("", "--in", "trust", "--at", "2026-11-21"), "--at"),
    ],
)
def test_wrong_questions_are_told_apart(args, said):
    assert said in look("search", *args, code=2).err


def test_search_at_a_time_has_the_verdicts_of_then():
    revoked = next(row["time"] for row in ask("trace", "key:build")["rows"] if "revoked key" in row["text"])
    earlier = revoked[:17] + "00Z"
    query = f'image:"{REFUNDS}"'
    assert {h["provenance.verdict"] for h in ask("search", query, "--at", earlier)["hits"]} == {"valid"}
    assert {h["provenance.verdict"] for h in ask("search", query, "--at", revoked)["hits"]} == {"violates"}


# ---------------------------------------------------------------------------------------------------------- everywhere

COMMANDS = [
    ("trace", "x"),
    ("blast-radius", "--key", "x"),
    ("search", "x"),
    ("incident", "list"),
    ("incident", "show", "x"),
    ("deadletter", "list"),
    ("deadletter", "show", "x"),
    ("deadletter", "retry"),
    ("verdict", "replay", "--all"),
]


@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_without_a_state_file_it_says_how_to_get_one(tmp_path, args):
    ran = revet(*args, "--state", tmp_path / "none.sqlite")
    assert ran.code == 2
    assert "start with `revet demo`" in ran.err
    assert not (tmp_path / "none.sqlite").exists()


@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_a_file_that_is_no_state_is_refused(tmp_path, args):
    other = tmp_path / "notes.txt"
    other.write_text("not a database, and longer than one page header so that it is read as one\n" * 4)
    ran = revet(*args, "--state", other)
    assert ran.code == 2
    assert "not a revet state file" in ran.err


@pytest.mark.parametrize(
    "path",
    [("trace",), ("blast-radius",), ("search",), ("verdict", "replay"), ("deadletter", "list"), ("deadletter", "show"),
     ("deadletter", "retry"), *(("incident", name) for name in ("list", "show", "ack", "note", "close"))],
    ids=" ".join,
)  # fmt: skip
def test_help_shows_an_example(path):
    ran = revet(*path, "--help")
    assert ran.code == 0
    assert f"$ revet {' '.join(path)}" in ran.out


def test_json_is_one_document_without_raw_control_characters():
    out = look("search", "", "--in", "history", "--limit", "500", "-o", "json").out
    assert json.loads(out)["schema"] == "revet.search/v1"
    assert out.replace("\n", "").isprintable()
