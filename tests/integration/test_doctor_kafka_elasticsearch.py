"""`revet doctor` of the clustered mode on real servers: what is wrong is named with what mends it, without secrets."""

from __future__ import annotations

import base64
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from streams.elastic import connect
from streams.events import ProgressSeen
from streams.kafka.admin import KafkaAdmin
from streams.kafka.plan import compare, wanted_topics
from streams.kafka.producer import KafkaDoor
from streams.outputs import output
from streams.settings import ElasticsearchSettings, KafkaSettings
from streams.sinks.setup import setup
from tests.helpers.command import revet
from tests.helpers.fresh import fresh_namespace, fresh_prefix
from tests.helpers.process import run
from tests.helpers.servers import secure_broker, secure_node

PASSWORD = "hunter2-of-the-brokers"
KEY = base64.b64encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw()).decode()


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("REVET_") and not name.startswith("REVET_TEST")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))


def doctor(*args: object) -> tuple[int, dict[str, list[dict[str, Any]]], str]:
    """Exit code, checks by name, and everything it wrote. A process of its own: kafka-python leaves sockets of refused
    connections to the garbage collector, which the tests make an error.
    """
    given = (*map(str, args), "--settings", str(Path.cwd() / "revet.yaml"))
    ran = run("doctor", "-o", "json", *given)
    found: dict[str, list[dict[str, Any]]] = {}
    for check in json.loads(ran.stdout)["checks"]:
        found.setdefault(check["name"], []).append(check)
    return ran.returncode, found, ran.stdout + ran.stderr


def worst(checks: list[dict[str, Any]]) -> str:
    return max((check["status"] for check in checks), key=("ok", "warn", "fail").index)


@pytest.fixture
def closed() -> Iterator[str]:
    """An address on which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{unused.getsockname()[1]}"


def test_dependencies_that_are_not_there_are_named_one_by_one(closed, tmp_path):
    (tmp_path / "revet.yaml").write_text(
        f"kafka: {{bootstrap: '{closed}', security: sasl_ssl, username: revet, password: {PASSWORD}}}\n"
        f"elasticsearch: {{url: 'http://{closed}', api_key: {PASSWORD}}}\n"
    )
    code, checks, written = doctor()
    assert code == 4
    assert worst(checks["kafka"]) == worst(checks["elasticsearch"]) == worst(checks["evidence"]) == "fail"
    assert closed in checks["kafka"][0]["message"]
    assert worst(checks["administrators"]) == "fail"
    assert "process" not in checks  # the brokers were told of once
    assert all(check["mend"] for found in checks.values() for check in found if check["status"] == "fail")
    assert "kafka.password" in str(checks["secrets"])
    ran = revet("doctor")
    assert PASSWORD not in written + ran.out + ran.err


def test_wrong_settings_are_a_line_where_nobody_named_them_and_an_error_where_somebody_did(tmp_path):
    (tmp_path / "revet.yaml").write_text("kafka: {bootstrap: nowhere}\n")
    ran = revet("doctor", "-o", "json")
    assert ran.code == 4
    assert "kafka.bootstrap: expected HOST:PORT" in ran.json["checks"][0]["message"]
    assert revet("doctor", "--settings", "revet.yaml").code == 2


@pytest.mark.needs("kafka")
@pytest.mark.needs("elasticsearch")
def test_from_a_fresh_installation_to_a_sound_one(kafka_server, elastic_server, tmp_path):
    prefix, namespace = fresh_prefix(kafka_server.bootstrap, "d"), fresh_namespace(elastic_server.url, "doctor")
    kafka = KafkaSettings(bootstrap=kafka_server.bootstrap, prefix=prefix, partitions=2)
    elastic = ElasticsearchSettings(url=elastic_server.url, namespace=namespace, replicas=0)
    (tmp_path / "evidence").mkdir()
    file = tmp_path / "revet.yaml"
    file.write_text(
        f"kafka: {{bootstrap: '{kafka.bootstrap}', prefix: {prefix}, partitions: 2}}\n"
        f"elasticsearch: {{url: '{elastic.url}', namespace: {namespace}, replicas: 0}}\n"
        f"evidence: {{store: 'directory:{tmp_path}/evidence'}}\n"
        f"administrators: {{keys: ['alice={KEY}']}}\n"
    )
    code, checks, _ = doctor()
    assert code == 4
    assert [(c["status"], c["mend"]) for c in checks["topics"]] == [("fail", "revet topics apply")]
    assert next((c["status"], c["mend"]) for c in checks["index"]) == ("fail", "revet index setup")
    assert worst(checks["kafka"]) == worst(checks["clock"]) == worst(checks["administrators"]) == "ok"
    assert worst(checks["trust"]) == "fail"  # its topic is missing
    with KafkaAdmin(kafka) as admin:
        admin.apply(compare(wanted_topics(kafka), admin.topics([t.name for t in wanted_topics(kafka)])))
    with connect(elastic) as server:
        setup(server, elastic)
    code, checks, _ = doctor()
    assert code == 0, checks
    assert worst(checks["topics"]) == worst(checks["index"]) == "ok"
    assert "everything is ungoverned" in checks["trust"][0]["message"]
    assert "no judge runs" in str(checks["process"])
    door = KafkaDoor(kafka)
    now = time.time_ns() // 1000
    door.send([output(ProgressSeen("p1", now, "judge", "judge-1", 0, lag=3, gate="another"))])
    door.close()
    code, checks, _ = doctor()
    assert "judge-1: 1 shards, 3 records wait" in str(checks["process"])
    assert "judge-1: other administrators" in str(checks["administrators"])
    assert code == 4


@pytest.mark.needs("kafka")
def test_topics_of_another_number_of_partitions_and_a_broker_that_is_away(kafka_server, closed, tmp_path):
    prefix = fresh_prefix(kafka_server.bootstrap, "d")
    kafka = KafkaSettings(bootstrap=kafka_server.bootstrap, prefix=prefix, partitions=2)
    with KafkaAdmin(kafka) as admin:
        admin.apply(compare(wanted_topics(kafka), {}))
    (tmp_path / "revet.yaml").write_text(
        f"kafka: {{bootstrap: '{closed},{kafka.bootstrap}', prefix: {prefix}, partitions: 3}}\n"
    )
    code, checks, _ = doctor()
    assert code == 4
    assert [c["status"] for c in checks["kafka"]] == ["warn", "ok"]
    assert closed in checks["kafka"][0]["message"]
    assert "reshard" in checks["topics"][0]["mend"]


@pytest.mark.slow
@pytest.mark.needs("kafka")
def test_who_may_not_come_in_is_told_why_and_the_password_is_not(tmp_path):
    """The right password, a wrong one, and a CA that issued nothing here; the password in a file and directly."""
    with secure_broker("SASL_SSL") as secured:
        (password,) = secured.users.values()
        (tmp_path / "right").write_text(password)
        (tmp_path / "wrong").write_text(PASSWORD)
        ways = {
            "right": (secured.tls.ca, f"password_file: {tmp_path}/right"),
            "wrong": (secured.tls.ca, f"password_file: {tmp_path}/wrong"),
            "direct": (secured.tls.ca, f"password: {PASSWORD}"),
            "other CA": (secured.tls.other_ca, f"password: {password}"),
        }
        found: dict[str, list[dict[str, Any]]] = {}
        for name, (ca, given) in ways.items():
            (tmp_path / "revet.yaml").write_text(
                f"kafka: {{bootstrap: '{secured.broker.secure_bootstrap}', security: sasl_ssl, sasl_mechanism: PLAIN,"
                f" username: revet, {given}, ca_file: {ca}}}\n"
            )
            _, checks, written = doctor()
            found[name] = checks["kafka"]
            assert PASSWORD not in written
            assert password not in written
            if name == "right":
                assert worst(checks["rights"]) == "fail"  # it came in, and was given nothing yet
                assert "--principal ROLE=User:revet" in checks["rights"][0]["mend"]
    assert "sasl_ssl as revet" in str(found["right"])
    assert "kafka.username" in str(found["wrong"])
    assert "kafka.username" in str(found["direct"])
    assert "kafka.ca_file" in str(found["other CA"])
    assert [worst(checks) for checks in found.values()] == ["ok", "fail", "fail", "fail"]


@pytest.mark.slow
@pytest.mark.needs("elasticsearch")
def test_who_may_not_read_the_record_is_told_why_and_the_secret_is_not(tmp_path):
    with secure_node() as secured:
        (password,) = secured.users.values()
        ways = {
            "right": (secured.tls.ca, f"username: revet, password: {password}"),
            "wrong": (secured.tls.ca, f"username: revet, password: {PASSWORD}"),
            "key": (secured.tls.ca, f"api_key: {PASSWORD}"),
            "other CA": (secured.tls.other_ca, f"username: revet, password: {password}"),
        }
        found: dict[str, list[dict[str, Any]]] = {}
        for name, (ca, given) in ways.items():
            (tmp_path / "revet.yaml").write_text(
                f"elasticsearch: {{url: '{secured.node.url}', {given}, ca_file: {ca}}}\n"
            )
            _, checks, written = doctor()
            found[name] = checks["elasticsearch"]
            assert PASSWORD not in written
            assert password not in written
    assert found["right"][0]["message"].startswith("version 9")
    assert [worst(found[name]) for name in ("wrong", "key", "other CA")] == ["fail", "fail", "fail"]
    assert all(found[name][0]["message"] for name in found)
