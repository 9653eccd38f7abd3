"""`revet deadletter`: what could not be read is listed, explained, and read again where that is possible."""

import asyncio
import hashlib
import json

import pytest

from streams.collectors import read_stream, reduced_original
from streams.events import DeadLetter
from streams.local.acting import append
from streams.local.lease import Lease
from streams.local.node import LocalNode
from streams.local.replay import ReplaySource, replay
from tests.helpers.command import DEMO, revet
from tests.helpers.demo_state import copy_of_demo, played_demo
from tests.helpers.statefile import Shop

SECRET = "hunter2-planted-secret"
BROKEN = f'{{"kind":"Event","apiVersion":"audit.k8s.io/v1","user":{{"password":"{SECRET}"'


def run(state, *args, code=0):
    ran = revet("deadletter", *args, "--state", state)
    assert ran.code == code, ran.err or ran.out
    return ran


def letters(state, *args):
    return run(state, "list", *args, "-o", "json").json["rows"]


class Clinic:
    """A state that replayed a file with broken lines."""

    def __init__(self, folder):
        self.shop = Shop(folder)
        self.state = self.shop.state
        self.file = folder / "audit.jsonl"
        self.file.write_text(f'{{"kind":"ConfigMap","apiVersion":"v1"}}\n{BROKEN}\n')
        node = LocalNode.open(self.state, self.shop.settings)
        asyncio.run(self.play(node))
        node.close()

    async def play(self, node):
        async for _ in replay(node, [ReplaySource("prod-eu", self.file)]):
            pass

    def pod(self):
        """A pod as the API server lists it, of the recording."""
        lines = (DEMO / "clusters" / "prod-eu" / "pods.jsonl").read_text().splitlines()
        objects = [json.loads(line)["object"] for line in lines]
        return next(o for o in reversed(objects) if o["metadata"].get("name", "").startswith("checkout-wallet"))


@pytest.fixture
def clinic(tmp_path):
    return Clinic(tmp_path)


# ---------------------------------------------------------------------------------------------------------------- look


def test_a_state_without_dead_letters_says_so():
    assert "everything that came in was understood" in run(played_demo().state, "list").err
    assert letters(played_demo().state) == []


def test_the_list_names_place_and_reason(clinic):
    rows = letters(clinic.state)
    assert {row["code"] for row in rows} == {"json-truncated", "kind-not-read"}
    assert {row["source"] for row in rows} == {f"prod-eu={clinic.file}:1", f"prod-eu={clinic.file}:2"}
    assert {row["state"] for row in rows} == {"open"}


def test_show_explains_and_holds_nothing_of_the_input(clinic):
    letter = next(row for row in letters(clinic.state) if row["code"] == "json-truncated")
    out = run(clinic.state, "show", letter["id"]).out
    assert f"sha256     {letter['sha256']}" in out
    assert letter["sha256"] in {hashlib.sha256(f"{BROKEN}{end}".encode()).hexdigest() for end in ("", "\n")}
    assert "the JSON ends early" in out
    assert "The bytes themselves are not kept" in out
    for args in (("list",), ("show", letter["id"]), ("retry",), ("show", letter["id"], "-o", "json")):
        ran = run(clinic.state, *args)
        assert SECRET not in ran.out + ran.err


def test_an_unknown_letter_is_a_wrong_question(clinic):
    assert "no dead letter 'v1:x\"'" in run(clinic.state, "show", 'v1:x"', code=2).err


# --------------------------------------------------------------------------------------------------------------- retry


def retried(state):
    return run(state, "retry", "-o", "json").json


def result(state, code):
    return next(letter["result"] for letter in retried(state)["letters"] if letter["code"] == code)


def test_what_still_cannot_be_read_is_said(clinic):
    assert {letter["result"] for letter in retried(clinic.state)["letters"]} == {"unreadable"}
    assert "still cannot be read" in run(clinic.state, "retry").out
    assert len(letters(clinic.state)) == 2


def test_a_file_that_is_gone_is_said(clinic):
    clinic.file.unlink()
    assert {letter["result"] for letter in retried(clinic.state)["letters"]} == {"gone"}


def test_a_file_that_has_something_else_there_now_is_not_taken_for_it(clinic):
    """A replay of the mended file reads it; a retry only reads the bytes it once could not."""
    clinic.file.write_text(json.dumps(clinic.pod()) + "\n")
    assert result(clinic.state, "kind-not-read") == "changed"
    assert retried(clinic.state)["new"] == 0


def test_what_came_over_a_connection_cannot_be_retried_and_why(clinic):
    letter = DeadLetter("v1:live", clinic.shop.world.now, "audit:prod-eu", "json-malformed", "not JSON", 3, "0" * 64)
    append(clinic.state, [letter])
    node = LocalNode.open(clinic.state, clinic.shop.settings)
    asyncio.run(node.drain())
    node.close()
    assert result(clinic.state, "json-malformed") == "not-kept"
    assert "came over a connection; the bytes of unreadable input" in run(clinic.state, "retry").out


def test_what_this_version_reads_is_added_judged_and_closed(clinic):
    """An earlier version could not read this line; it left a dead letter and went on."""
    line = json.dumps(clinic.pod())
    clinic.file.write_text(f"{line}\n{BROKEN}\n")
    at, digest, time = f"prod-eu={clinic.file}:1", hashlib.sha256(line.encode()).hexdigest(), clinic.shop.world.now
    old = DeadLetter("v1:old", time, at, "object-malformed", "as an older reader said", len(line), digest)
    append(clinic.state, [old])
    node = LocalNode.open(clinic.state, clinic.shop.settings)
    asyncio.run(node.drain())
    node.close()

    done = retried(clinic.state)
    assert done["new"] == 1
    assert next(x["result"] for x in done["letters"] if x["id"] == "v1:old") == "read"
    found = clinic.shop.ask("search", "pod:checkout-wallet* and verdict:*")["hits"]
    assert [hit["container.name"] for hit in found] == ["app"]
    assert "v1:old" not in {row["id"] for row in letters(clinic.state)}
    assert next(r["state"] for r in letters(clinic.state, "--all") if r["id"] == "v1:old") == "retried"
    assert retried(clinic.state)["new"] == 0


def test_kept_originals_are_read_again_and_a_mended_parser_finds_more(clinic):
    """An earlier version kept the reduced original of this pod and made nothing of it."""
    (raw,) = read_stream([json.dumps(clinic.pod()).encode()])
    node = LocalNode.open(clinic.state, clinic.shop.settings)
    node.ingest([], originals=[reduced_original(raw)])
    node.close()
    done = retried(clinic.state)
    assert (done["originals"], done["new"], done["not_placed"]) == (1, 1, 0)
    assert retried(clinic.state)["new"] == 0


def test_the_demos_originals_say_the_same_again(tmp_path):
    """Reduced originals keep all that is read; nothing is added, nothing is read differently."""
    state = copy_of_demo(tmp_path)
    done = retried(state)
    assert (done["new"], done["differently"]) == (0, 0)
    assert done["same"] > 300


def test_originals_of_several_clusters_that_nothing_places_are_counted(tmp_path):
    assert retried(copy_of_demo(tmp_path))["not_placed"] > 0
    assert "nothing tells which cluster" in run(tmp_path / "demo.sqlite", "retry").out


def test_beside_a_running_service_a_retry_without_news_waits_for_nobody(clinic):
    lease = Lease.try_acquire(clinic.state, "run")
    assert lease is not None
    with lease:
        assert "still cannot be read" in run(clinic.state, "retry").out
