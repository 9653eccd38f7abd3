"""`revet serve admission` as a process: what it answers, records and survives, without an API server."""

import json
import signal
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from streams.codec import decode
from streams.collectors.webhook import MAX_BODY
from streams.engine.sqlite import Connection, connect
from streams.events import DeadLetter, EvidenceFound
from streams.topics import DEADLETTERS, FACTS
from tests.helpers.command import DEMO, revet
from tests.helpers.registry_server import push_whole, registry_process
from tests.helpers.webhook import SIGNED, TAGGED, UNSIGNED, Authority, WebhookWorld, pod, review

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def registry(require) -> Iterator[str]:
    with registry_process(require("registry")) as host:
        push_whole(DEMO / "oci", f"http://{host}")
        yield host


@pytest.fixture
def world(tmp_path: Path, registry: str) -> WebhookWorld:
    return WebhookWorld(tmp_path, registry)


@contextmanager
def locked(file: Path) -> Iterator[Connection]:
    """Nobody else can write to the state file: as brokers that do not answer."""
    with closing(connect(file, create=False)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("ROLLBACK")


def events(world: WebhookWorld, topic: str) -> list[object]:
    with closing(connect(world.state, create=False)) as connection:
        rows = connection.execute("SELECT value FROM log WHERE topic = ? ORDER BY position", (topic,)).fetchall()
    return [decode(value) for (value,) in rows]


def test_what_was_answered_survives_a_kill_between_spool_and_log_and_is_recorded_once(world):
    with world.started() as running:
        running.admit(review(pod("warm", SIGNED)))
        world.recorded(1)
        with locked(world.state) as log:
            for number in range(20):
                assert running.admit(review(pod(f"p{number}", SIGNED)))["allowed"]
            running.process.kill()
            assert len(world.decisions(log)) == 1
    with world.started():
        found = world.recorded(21)
    assert Counter(d.name for d in found) == Counter(["warm", *(f"p{n}" for n in range(20))])
    assert len({d.id for d in found}) == 21


def test_a_kill_after_the_log_took_it_and_before_the_spool_knows_doubles_nothing(world):
    """The state of a file whose relay was ended between the two: the log has it, the spool has it still."""
    with world.started() as running:
        running.admit(review(pod("warm", SIGNED)))
        world.recorded(1)
        with locked(world.state):
            running.admit(review(pod("twice", SIGNED)))
            running.process.kill()
    with closing(connect(world.state, create=False)) as log:
        log.execute("ATTACH DATABASE ? AS waiting", (str(world.folder / "spool.sqlite"),))
        log.execute(
            "INSERT INTO log (topic, key, id, time, value) SELECT topic, key, id, time, value FROM waiting.spool"
        )
        assert log.execute("SELECT count(*) FROM waiting.spool").fetchone() == (1,)
    with world.started() as running:
        running.admit(review(pod("next", SIGNED)))
        found = world.recorded(3)
    assert [d.name for d in found] == ["warm", "twice", "next"]


def test_a_review_that_is_sent_twice_is_one_decision(world):
    with world.started() as running:
        asked = review(pod("same", SIGNED))
        first, second = running.admit(asked), running.admit(asked)
        assert first["auditAnnotations"]["decision"] == second["auditAnnotations"]["decision"]
        running.admit(review(pod("other", SIGNED)))
        assert [d.name for d in world.recorded(2)] == ["same", "other"]


@pytest.mark.parametrize("unrecorded", ["admit", "deny"])
def test_a_full_spool_delays_no_answer_and_loses_no_decision(world, unrecorded):
    """The file may not grow and nobody takes what is in it: the same error of the database as of a full disk."""
    options = {"mode": "enforce", "spool_mib": 1, "unrecorded": unrecorded}
    with world.started(**options) as running:
        running.admit(review(pod("warm", SIGNED)))
        world.recorded(1)
        sent, slowest = 1, 0.0
        with locked(world.state):
            while True:
                begun = time.monotonic()
                said = running.admit(review(pod(f"p{sent}", SIGNED)))
                slowest = max(slowest, time.monotonic() - begun)
                sent += 1
                if "unrecorded" in said["auditAnnotations"]:
                    break
                assert said["allowed"]
                assert sent < 5000
            assert said["allowed"] is (unrecorded == "admit")
            assert slowest < 3.5  # the budget
        found = world.recorded(sent, seconds=60)
    assert len(found) == sent == len({d.id for d in found})


def test_garbage_is_named_and_becomes_a_dead_letter_without_its_values(world):
    bodies = {
        b"garbage with a planted-secret": "json-malformed",
        b'{"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview"}': "kind-unexpected",
        b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}': "member-missing",
        b"[" * 100_000: "too-deep",
        json.dumps(review({"spec": {"containers": "planted-secret"}})).encode(): "object-malformed",
    }
    with world.started() as running:
        for body, code in bodies.items():
            status, said = running.ask(body)
            assert (status, said.decode().partition(":")[0]) == (400, code)
            assert b"planted-secret" not in said
        assert running.admit(review(pod("after", SIGNED)))["allowed"]
        world.recorded(1)
        letters = [letter for letter in events(world, DEADLETTERS) if isinstance(letter, DeadLetter)]
        assert sorted(letter.code for letter in letters) == sorted(bodies.values())
        assert "planted-secret" not in repr(letters) + running.process.err


def test_what_a_cold_look_found_is_handed_on_and_is_what_the_judge_goes_by(world):
    with world.started(mode="enforce") as running:
        assert running.admit(review(pod("good", SIGNED)))["allowed"]
        assert not running.admit(review(pod("bad", UNSIGNED)))["allowed"]
        world.recorded(2)
    found = {f"{e.set.repository}@{e.set.digest}": e for e in events(world, FACTS) if isinstance(e, EvidenceFound)}
    assert set(found) == {SIGNED, UNSIGNED}
    assert (len(found[SIGNED].facts), len(found[UNSIGNED].facts)) == (1, 0)
    said = revet("verify", SIGNED, UNSIGNED, "--policy", world.folder / "trust", "--state", world.state, "-o", "json")
    assert said.code in {0, 1, 2}  # the state file is sound for another command


def test_trust_that_changes_counts_from_the_next_request_on(world):
    with world.started(mode="enforce") as running:
        assert running.admit(review(pod("before", SIGNED)))["allowed"]
        reason = ("--reason", "keyCompromise", "--all-signatures", "--yes")
        ran = revet("revoke", "key", "dev", *reason, "--state", world.state)
        assert ran.code == 0, ran.err
        deadline = time.monotonic() + 10
        while (said := running.admit(review(pod("after", SIGNED))))["allowed"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert "key-revoked" in said["status"]["message"]


def test_only_who_shows_a_certificate_of_the_api_server_is_let_in_and_a_new_ca_counts_at_once(world):
    api, stranger = Authority("api"), Authority("stranger")
    file = world.folder / "api-ca.crt"
    file.write_bytes(api.pem)

    def asked_with(authority: Authority | None, port: int) -> bool:
        context = ssl.create_default_context(cadata=world.authority.pem.decode())
        if authority is not None:
            for name, data in zip(("c.crt", "c.key"), authority.pair(client=True), strict=True):
                (world.folder / name).write_bytes(data)
            context.load_cert_chain(world.folder / "c.crt", world.folder / "c.key")
        data = json.dumps(review(pod("x", SIGNED))).encode()
        try:
            with urllib.request.urlopen(f"https://127.0.0.1:{port}/admit", data, timeout=10, context=context) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    with world.started_unready(client_ca_file=str(file)) as running:
        deadline = time.monotonic() + 20
        while not asked_with(api, running.port):
            assert time.monotonic() < deadline
        assert not asked_with(None, running.port)
        assert not asked_with(stranger, running.port)
        file.write_bytes(stranger.pem)
        running.process.said("(certificate-renewed)")
        assert asked_with(stranger, running.port)
        assert not asked_with(api, running.port)


def test_files_of_a_certificate_that_do_not_fit_change_nothing_and_are_told(world):
    with world.started() as running:
        (world.folder / "tls.key").write_bytes(Authority("other").pair()[1])
        told = running.process.said("(certificate-unusable.*)")
        assert "do not belong together" in told
        assert "PRIVATE" not in running.process.err
        assert running.admit(review(pod("still", SIGNED)))["allowed"]


def test_many_requests_for_one_cold_image_ask_the_registry_once(world):
    with world.started(mode="enforce") as running:
        answers: list[bool] = []
        threads = [
            threading.Thread(target=lambda n=n: answers.append(running.admit(review(pod(f"p{n}", SIGNED)))["allowed"]))
            for n in range(24)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [True] * 24
        world.recorded(24)
    assert len(events(world, FACTS)) == 1


def test_a_tag_is_judged_by_what_it_means_and_marked(world):
    with world.started(mode="enforce") as running:
        said = running.admit(review(pod("tagged", TAGGED["payments-api-1.4.2"])))
        assert said["allowed"]
        assert said["auditAnnotations"]["digests"] == SIGNED.partition("@")[2]
        assert said["auditAnnotations"]["unpinned"] == TAGGED["payments-api-1.4.2"]
        gone = running.admit(review(pod("gone", "registry.example.com/payments/api:never-was")))
        assert gone["allowed"]
        assert "registry-not-found" in gone["auditAnnotations"]["reasons"]


def test_what_is_too_large_or_asked_in_another_way_is_turned_away(world):
    with world.started() as running:
        status, _ = running.ask(b" " * (MAX_BODY + 1))
        assert status == 413
        assert running.ask(b"{}", "elsewhere")[0] == 404
        assert running.admit(review(pod("after", SIGNED)))["allowed"]


def got(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_health_and_metrics_say_how_it_goes(world):
    world.operations = "127.0.0.1:0"
    with world.started(mode="enforce") as running:
        address = running.process.said(r"operations=(\S+)")
        running.admit(review(pod("good", SIGNED)))
        running.admit(review(pod("bad", UNSIGNED)))
        running.ask(b"garbage")
        world.recorded(2)
        status, metrics = got(f"http://{address}/metrics")
        assert status == 200
        for line in (
            'revet_admission_reviews_total{answer="allowed",outcome="valid"} 1.0',
            'revet_admission_reviews_total{answer="denied",outcome="violates"} 1.0',
            'revet_admission_reviews_total{answer="error",outcome="unreadable"} 1.0',
            "revet_admission_seconds_count 2.0",
            "revet_admission_lookups 2.0",
            "revet_trust_epoch 4.0",
        ):
            assert line in metrics, line
        status, body = got(f"http://{address}/healthz")
        assert (status, "certificate" in body) == (200, True)  # it ends within a day
        assert running.is_ready()  # which is no reason to ask nobody


def test_a_process_that_is_told_to_end_answers_until_it_has(world):
    with world.started() as running:
        running.process.process.send_signal(signal.SIGTERM)
        running.process.said("(stopping)")
        assert running.admit(review(pod("late", SIGNED)))["allowed"]
        assert running.process.wait(20) == 0
    assert [decision.name for decision in world.decisions()] == ["late"]


def test_a_process_without_what_it_needs_says_which_setting(world):
    for setting in ("address", "certificate_file"):
        file = world.settings()
        text = "\n".join(line for line in file.read_text().splitlines() if setting not in line)
        if setting == "certificate_file":
            text = "\n".join(line for line in text.splitlines() if "key_file" not in line)
        file.write_text(text)
        ran = revet("serve", "admission", "--settings", file)
        assert ran.code == 2
        assert f"admission.{setting}" in ran.err
