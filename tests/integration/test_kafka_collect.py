"""`revet serve audit` and `revet serve files` on a real broker: what was answered 200, or kept as progress, is in the
topics, whoever is killed meanwhile.
"""

import gzip
import http.client
import json
import os
import random
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.codec import decode
from streams.collectors import observe_stream, read_stream, reduced_original
from streams.events import DeadLetter, DecisionObserved, PodObserved
from streams.kafka.records import originals_of
from streams.topics import CLUSTER_SIGHT, DEADLETTERS, OBSERVATIONS, RAW
from tests.helpers.cluster import PLANTED, Recording, audit_batches, demo_images, write_recording
from tests.helpers.kafkatopics import Place, audit_ids
from tests.helpers.process import ROOT, Revet
from tests.helpers.servers import KafkaServer
from tests.helpers.servingpki import ServingCa

pytestmark = [pytest.mark.needs("kafka"), pytest.mark.timeout(600)]

FULL = os.environ.get("REVET_FAULTS") == "full"
KILLS = 30 if FULL else 3
LISTENING = r"url=http://\S*:(\d+)/audit"


@pytest.fixture
def place(kafka_server: KafkaServer) -> Place:
    return Place(kafka_server.bootstrap).prepare()


def receiver(place: Place, **extra: str) -> Revet:
    return Revet("serve", "audit", cwd=ROOT, **place.environment(REVET_LISTEN_ADDRESS="127.0.0.1:0", **extra))


def post(port: int, body: bytes, path: str = "/audit", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def small(folder: Path, events: int = 1_500, seed: int = 9) -> Recording:
    return write_recording(folder, events=events, images=demo_images(), seed=seed)


class Sender(threading.Thread):
    """Posts batches as the API server does: again until it is answered 200."""

    def __init__(self, bodies: list[bytes]) -> None:
        super().__init__(daemon=True)
        self.bodies, self.port = bodies, 0
        self.repeated = 0
        self.answers: set[int] = set()
        self.done = threading.Event()

    def run(self) -> None:
        for body in self.bodies:
            while self._send(body) != 200:
                self.repeated += 1
                time.sleep(0.05)
        self.done.set()

    def _send(self, body: bytes) -> int:
        try:
            status, _ = post(self.port, body)
        except (OSError, http.client.HTTPException):
            return 0
        self.answers.add(status)
        return status


# ------------------------------------------------------------------------------------------------------------- audit


@pytest.mark.parametrize("parsers", ["0", "1", "2"])
def test_everything_of_a_body_is_in_its_topic(place, tmp_path, parsers):
    recording = small(tmp_path / "r", 400)
    bodies = list(audit_batches(recording, 50))
    with receiver(place, REVET_LISTEN_PARSERS=parsers) as process:
        port = int(process.said(LISTENING))
        assert [post(port, body) for body in [*bodies, b'{"kind":']] == [(200, "")] * (len(bodies) + 1)
        assert post(port, gzip.compress(bodies[0]), "/audit/other")[0] == 200
        assert process.end() == 0, process.err
    found = place.read(OBSERVATIONS)
    assert audit_ids(r for r in found if r.key.startswith("c1/")).keys() == set(recording.audit_ids)
    assert any(record.key.startswith("other/") for record in found)
    letters = [event.code for r in place.read(DEADLETTERS) if isinstance(event := decode(r.value), DeadLetter)]
    assert "json-truncated" in letters
    assert {r.key for r in place.read(CLUSTER_SIGHT)} >= {"c1/feed/audit", "other/feed/audit"}
    assert PLANTED.encode() not in b"".join(r.value for r in place.read(OBSERVATIONS, RAW, DEADLETTERS, CLUSTER_SIGHT))


def test_originals_are_kept_reduced(place, tmp_path):
    recording = small(tmp_path / "r", 300)
    bodies = list(audit_batches(recording, 50))
    with receiver(place) as process:
        port = int(process.said(LISTENING))
        for body in bodies:
            post(port, body)
        assert process.end() == 0
    expected = [o for body in bodies for item in read_stream([body], kind="audit") if (o := reduced_original(item))]
    raw = place.read(RAW)
    assert {record.key for record in raw} == {"audit:c1"}
    assert list(originals_of((r.value, {"id": r.id.encode()}) for r in raw)) == expected


def test_a_missing_topic_ends_the_start_with_what_to_do(kafka_server):
    bare = Place(kafka_server.bootstrap)
    with receiver(bare) as process:
        assert process.wait() == 4
    assert "revet topics apply" in process.err
    assert "Traceback" not in process.err


def test_nothing_to_listen_on_names_the_setting(place):
    with Revet("serve", "audit", cwd=ROOT, **place.environment()) as process:
        assert process.wait() == 2
    assert "listen.address" in process.err


def test_a_token_is_asked_for_and_never_told(place):
    with receiver(place, REVET_LISTEN_TOKEN="hunter2-token") as process:
        port = int(process.said(LISTENING))
        assert post(port, b"")[0] == 401
        assert post(port, b"", Authorization="Bearer hunter2-token")[0] == 200
        process.end()
    assert "hunter2-token" not in process.err + process.out


def test_the_receiver_does_not_outlive_its_parser(place):
    with receiver(place) as process:
        process.said(LISTENING)
        children = Path(f"/proc/{process.process.pid}/task/{process.process.pid}/children").read_text().split()
        os.kill(int(children[0]), 9)
        assert process.wait() == 4
    assert "parses has ended" in process.err


def test_the_cluster_is_that_of_the_certificate(place, tmp_path):
    """The whole process, as its settings file says: TLS, a CA of senders, a certificate and a token."""
    ca, recording = ServingCa("senders"), small(tmp_path / "r", 200)
    (tmp_path / "ca.crt").write_bytes(ca.pem)
    own, peer = ca.pair(tmp_path, "receiver"), ca.pair(tmp_path, "cp-1", client=True)
    (tmp_path / "token").write_text("hunter2-" + "t" * 24)
    senders = [
        {"cluster": "prod-eu", "certificate": "cn:cp-1", "server": "cp-1"},
        {"cluster": "prod-us", "token_file": str(tmp_path / "token")},
    ]
    listen = {"certificate_file": str(own.certificate), "key_file": str(own.key), "senders": senders}
    (tmp_path / "revet.json").write_text(json.dumps({"listen": {**listen, "client_ca_file": str(tmp_path / "ca.crt")}}))
    (tmp_path / "revet.json").rename(tmp_path / "revet.yaml")  # JSON is YAML
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    bodies = list(audit_batches(recording, 50))
    environment = place.environment(REVET_LISTEN_ADDRESS="127.0.0.1:0")
    with Revet("serve", "audit", "--settings", str(tmp_path / "revet.yaml"), cwd=ROOT, **environment) as process:
        port = int(process.said(r"url=https://\S*:(\d+)/audit"))

        def send(body: bytes, **headers: str) -> int:
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
            connection.request("POST", "/audit", body, headers)
            status = connection.getresponse().status
            connection.close()
            return status

        assert send(bodies[0]) == 401
        assert send(bodies[0], Authorization="Bearer hunter2-" + "t" * 24) == 200
        context.load_cert_chain(peer.certificate, peer.key)
        assert [send(body) for body in bodies] == [200] * len(bodies)
        assert process.end() == 0, process.err
    found = place.read(OBSERVATIONS)
    assert audit_ids(r for r in found if r.key.startswith("prod-eu/")).keys() == set(recording.audit_ids)
    assert {r.key.partition("/")[0] for r in found} == {"prod-eu", "prod-us"}
    assert "hunter2" not in process.err + process.out


@pytest.mark.kill
@pytest.mark.slow
def test_what_was_answered_200_is_in_the_topic(place, tmp_path):
    """`kill -9` of the receiver under load, again and again."""
    recording = small(tmp_path / "r", 4_000)
    chance = random.Random(2)
    sender = Sender(list(audit_batches(recording, 10)))
    kills = 0
    while not sender.done.is_set():
        with receiver(place) as process:
            sender.port = int(process.said(LISTENING))
            if not kills:
                sender.start()
            if kills < KILLS:
                sender.done.wait(chance.uniform(0.1, 1.0))
                pid = process.process.pid
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                process.kill()
                kills += 1
                assert _gone(children), "the parser outlived the receiver"
            else:
                sender.join(300)
                assert process.end() == 0, process.err
    assert kills == KILLS
    assert sender.repeated > 0
    assert audit_ids(place.read(OBSERVATIONS)).keys() == set(recording.audit_ids)


def _gone(children: list[str]) -> bool:
    for _ in range(200):
        if not any(Path(f"/proc/{child}/cmdline").exists() and _runs(child) for child in children):
            return True
        time.sleep(0.05)
    return False


def _runs(child: str) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{child}/status").read_text()
    except OSError:
        return False


@pytest.mark.kill
@pytest.mark.slow
def test_a_broker_that_is_killed_meanwhile_makes_it_slow_and_loses_nothing(kafka_broker, tmp_path):
    broker = kafka_broker()
    place = Place(broker.bootstrap).prepare()
    recording = small(tmp_path / "r", 3_000)
    sender = Sender(list(audit_batches(recording, 10)))
    with receiver(place, REVET_SERVE_OPERATIONS="127.0.0.1:0") as process:
        sender.port = int(process.said(LISTENING))
        sender.start()
        for _ in range(2):
            sender.done.wait(0.7)
            broker.kill()
            broker.start()
        sender.join(300)
        assert sender.done.is_set(), process.err
        assert process.end() == 0, process.err
    assert audit_ids(place.read(OBSERVATIONS)).keys() == set(recording.audit_ids)
    assert sender.answers <= {200, 503}


@pytest.mark.slow
def test_while_the_broker_is_away_for_long_it_answers_503_and_says_so(kafka_broker):
    broker = kafka_broker()
    place = Place(broker.bootstrap).prepare()
    with receiver(place, REVET_SERVE_OPERATIONS="127.0.0.1:0") as process:
        port = int(process.said(LISTENING))
        operations = int(process.said(r"operations=127\.0\.0\.1:(\d+)"))
        broker.kill()
        status, said = post(port, b'{"kind":')
        assert (status, said) == (503, "not durable; send it again\n")
        ready = http.client.HTTPConnection("127.0.0.1", operations, timeout=30)
        ready.request("GET", "/readyz")
        answer = ready.getresponse()
        assert answer.status == 503
        assert "kafka" in answer.read().decode()
        ready.close()
        broker.start()
        assert post(port, b'{"kind":')[0] == 200
        assert process.end() == 0, process.err
    assert len(place.read(DEADLETTERS)) >= 1


# ------------------------------------------------------------------------------------------------------------- files


def files(place: Place, progress: Path, *recordings: str) -> Revet:
    return Revet("serve", "files", *recordings, "--progress", str(progress), cwd=ROOT, **place.environment())


def test_recordings_are_sent_once_and_read_on(place, tmp_path):
    recording, progress = small(tmp_path / "r", 600), tmp_path / "p.json"
    given = (f"c1={recording.audit}", f"c1={recording.pods}")
    for expected in (True, False):
        with files(place, progress, *given) as process:
            assert process.wait() == 0, process.err
        assert (int(process.said(r"observations=(\d+)")) > 0) is expected
    found = place.read(OBSERVATIONS)
    assert dict(audit_ids(found)) == dict.fromkeys(recording.audit_ids, 1)
    pods = {event.pod.uid for r in found if isinstance(event := decode(r.value), PodObserved)}
    assert pods == set(recording.pod_uids)
    with recording.audit.open("ab") as grown:
        grown.write(next(audit_batches(small(tmp_path / "more", 20, seed=77), 20)) + b"\n")
    with files(place, progress, *given) as process:
        assert process.wait() == 0
    assert len(audit_ids(place.read(OBSERVATIONS))) > len(recording.audit_ids)


def test_two_clusters_keep_their_own(place, tmp_path):
    one, other = small(tmp_path / "a", 200), small(tmp_path / "b", 200, seed=10)
    with files(place, tmp_path / "p.json", f"eu={one.audit}", f"us={other.audit}") as process:
        assert process.wait() == 0, process.err
    events = [e for r in place.read(OBSERVATIONS) if isinstance(e := decode(r.value), DecisionObserved)]
    assert {e.audit_id for e in events if e.cluster == "eu"} == set(one.audit_ids)
    assert {e.audit_id for e in events if e.cluster == "us"} == set(other.audit_ids)
    assert {record.key for record in place.read(RAW)} == {f"eu={one.audit}", f"us={other.audit}"}


def test_other_brokers_get_everything_again(place, tmp_path, kafka_server):
    recording, progress = small(tmp_path / "r", 200), tmp_path / "p.json"
    elsewhere = Place(kafka_server.bootstrap).prepare()
    for where in (place, elsewhere):
        with files(where, progress, str(recording.audit)) as process:
            assert process.wait() == 0
        assert audit_ids(where.read(OBSERVATIONS)).keys() == set(recording.audit_ids)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder / "absent.jsonl", "no such file"),
        (lambda folder: folder, "a folder without files"),
    ],
    ids=["absent", "a folder"],
)
def test_what_is_no_recording_is_told(place, tmp_path, make, says):
    with files(place, tmp_path / "p.json", str(make(tmp_path))) as process:
        assert process.wait() == 2
    assert says in process.err


def test_rubbish_is_dead_letters_and_no_error(place, tmp_path):
    rubbish = tmp_path / "rubbish.jsonl"
    rubbish.write_bytes(random.Random(1).randbytes(200_000) + b"\n" + b'{"kind":"Event"}\n' + b"[" * 5_000)
    with files(place, tmp_path / "p.json", str(rubbish)) as process:
        assert process.wait() == 0, process.err
    assert len(place.read(DEADLETTERS)) >= 1


def test_a_progress_file_of_somebody_else_is_not_overwritten(place, tmp_path):
    precious = tmp_path / "precious.json"
    precious.write_text("{}")
    with files(place, precious, str(small(tmp_path / "r", 50).audit)) as process:
        assert process.wait() == 2
    assert "--progress" in process.err
    assert precious.read_text() == "{}"


@pytest.mark.kill
@pytest.mark.slow
def test_recordings_killed_again_and_again_are_whole(place, tmp_path):
    recording, progress = small(tmp_path / "r", 6_000), tmp_path / "p.json"
    chance = random.Random(3)
    for _ in range(KILLS):
        with files(place, progress, str(recording.audit)) as process:
            process.said("files (started)")
            time.sleep(chance.uniform(0.5, 3.0))
            process.kill()
    with files(place, progress, str(recording.audit)) as process:
        assert process.wait(300) == 0, process.err
    assert audit_ids(place.read(OBSERVATIONS)).keys() == set(recording.audit_ids)


def test_a_signal_stops_it_in_order(place, tmp_path):
    recording, progress = small(tmp_path / "r", 6_000), tmp_path / "p.json"
    with files(place, progress, str(recording.audit)) as process:
        process.said("files (started)")
        assert process.end() == 0, process.err
    with files(place, progress, str(recording.audit)) as process:
        assert process.wait(200) == 0
    assert dict(audit_ids(place.read(OBSERVATIONS))) == dict.fromkeys(recording.audit_ids, 1)


@pytest.mark.kill
@pytest.mark.slow
def test_a_log_that_is_written_rotated_and_followed_through_kills_is_whole(place, tmp_path):
    """kube-apiserver's rotation by rename, logrotate's by copy and truncation, compressed or not; `kill -9` between."""
    lines = small(tmp_path / "r", 3_000).audit.read_bytes().splitlines(keepends=True)
    log, progress, chance = tmp_path / "audit.log", tmp_path / "p.json", random.Random(4)
    expected = {e.audit_id for o in observe_stream(lines, cluster="c1", source="x") if (e := _decision(o))}
    rotations, at = 0, 0
    for last in [False] * KILLS + [True]:
        with files(place, progress, "--follow", f"c1={log}") as process:
            process.said("(following)")
            for _ in range(4):
                end = len(lines) if last else min(len(lines), at + chance.randint(50, 300))
                with log.open("ab") as file:
                    file.writelines(lines[at:end])
                at, rotations = end, rotations + _rotated(log, chance, rotations)
                time.sleep(chance.uniform(0.2, 1.0))
            if not last:
                process.kill()
            else:
                _until(lambda: expected <= audit_ids(place.read(OBSERVATIONS)).keys())
                assert process.end() == 0, process.err
    assert audit_ids(place.read(OBSERVATIONS)).keys() == expected
    assert rotations > 0
    assert "log-gap" not in process.err


def _decision(observation: object) -> DecisionObserved | None:
    return observation if isinstance(observation, DecisionObserved) else None


def _rotated(log: Path, chance: random.Random, number: int) -> int:
    if chance.random() < 0.4 or not log.stat().st_size:
        return 0
    if chance.random() < 0.5:
        target = log.with_name(f"audit-2026-11-22T01-02-{number:02}.log")
        log.rename(target)
    else:
        target = log.with_name(f"audit.log.{number}")
        target.write_bytes(log.read_bytes())
        os.truncate(log, 0)
    if chance.random() < 0.5:
        Path(f"{target}.gz").write_bytes(gzip.compress(target.read_bytes()))
        target.unlink()
    return 1


def _until(reached: Callable[[], bool]) -> None:
    for _ in range(100):
        if reached():
            return
        time.sleep(0.3)
    raise AssertionError("not reached")
