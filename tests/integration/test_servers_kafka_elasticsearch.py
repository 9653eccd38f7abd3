"""The servers that other tests rely on: shared by a run, private where a test breaks them, gone when the run is."""

import contextlib
import shutil
import socket
import ssl
import tempfile
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path

import pytest

from scripts.servers import __main__ as servers
from scripts.servers import kafka
from scripts.servers.base import free_port
from tests.helpers.servers import secure_broker, secure_node

# What a client of each kind does with them is tested with that client; here: that they are what they claim.


def get(url: str, context: ssl.SSLContext | None = None, user: str = "") -> tuple[int, str]:
    request = urllib.request.Request(url)
    if user:
        request.add_header("Authorization", "Basic " + b64encode(user.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=20, context=context) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.needs("kafka")
def test_a_killed_broker_comes_back_on_the_same_port(kafka_server, kafka_broker):
    broker = kafka_broker(properties={"log.retention.hours": "3"})
    assert broker.bootstrap != kafka_server.bootstrap
    assert kafka.answers(broker.port)
    assert broker.kill()
    assert not kafka.answers(broker.port)
    assert not broker.kill()  # nothing left to kill
    broker.start()
    assert kafka.answers(broker.port)
    assert "log.retention.hours=3" in (broker.folder / "server.properties").read_text()
    assert broker.stop()
    assert broker.pid is None
    port = int(kafka_server.bootstrap.rpartition(":")[2])
    assert kafka.answers(port)


@pytest.mark.needs("elasticsearch")
@pytest.mark.slow
def test_a_killed_node_comes_back_with_its_data(elastic_node):
    node = elastic_node(settings={"indexing_pressure.memory.limit": "300kb"})
    made = urllib.request.Request(node.url + "/kept", method="PUT")
    urllib.request.urlopen(made, timeout=30).close()
    assert node.kill()
    with contextlib.suppress(OSError):
        pytest.fail(f"still answers: {node.get('/')}")
    node.start()
    assert "kept" in node.get("/kept")
    assert "300kb" in get(node.url + "/_nodes/settings")[1]


@pytest.mark.needs("kafka", "elasticsearch")
@pytest.mark.slow
def test_up_starts_both_once_and_down_keeps_their_data(monkeypatch, capsys):
    folder = tempfile.mkdtemp(prefix="revet-up-")  # not among pytest's, which another user may not enter
    Path(folder).chmod(0o755)
    monkeypatch.setenv("REVET_UP", "jars")
    monkeypatch.setenv("REVET_SERVERS_DATA", folder)
    for name in ("KAFKA_PORT", "CONTROLLER_PORT", "ELASTICSEARCH_PORT"):
        monkeypatch.setattr(servers, name, free_port())
    try:
        assert servers.main(["status"]) == 1
        assert servers.main(["up"]) == 0
        assert servers.main(["status"]) == 0
        broker, node = servers.servers()
        pids = broker.pid, node.pid
        made = urllib.request.Request(node.url + "/kept", method="PUT")
        urllib.request.urlopen(made, timeout=30).close()
        capsys.readouterr()
        assert servers.main(["up"]) == 0  # again: the same ones
        said = capsys.readouterr().out
        assert f"Kafka runs already: {broker.bootstrap} (process {pids[0]}" in said
        assert f"Elasticsearch runs already: {node.url} (process {pids[1]}" in said
        assert servers.main(["down"]) == 0
        assert servers.main(["up"]) == 0
        assert "kept" in node.get("/kept")
    finally:
        assert servers.main(["down", "--wipe"]) == 0
        assert list(Path(folder).iterdir()) == [Path(folder) / ".lock"]
        shutil.rmtree(folder)


@pytest.mark.needs("elasticsearch")
@pytest.mark.slow
def test_a_secure_node_asks_who_is_there():
    role = {"cluster": ["monitor"], "indices": [{"names": ["a-*"], "privileges": ["read"]}]}
    users = {"revet": "elastic-secret", "reader": "reader-secret"}
    with secure_node(users, user_roles={"reader": ("readers",)}, roles={"readers": role}) as secured:
        url = secured.node.url
        trusting = ssl.create_default_context(cafile=str(secured.tls.ca))
        assert get(url + "/_cluster/health", trusting)[0] == 401
        assert get(url + "/_cluster/health", trusting, "revet:wrong")[0] == 401
        assert get(url + "/_cluster/health", trusting, "revet:elastic-secret")[0] == 200
        assert get(url + "/_cluster/health", trusting, "reader:reader-secret")[0] == 200
        status, said = get(url + "/b-1/_search", trusting, "reader:reader-secret")
        assert (status, "security_exception" in said) == (403, True)
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            get(url, ssl.create_default_context(cafile=str(secured.tls.other_ca)))


@pytest.mark.needs("kafka")
@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT", "SSL"])
def test_a_secure_broker_speaks_the_protocol_it_was_asked_for(protocol):
    """The open listener answers without anything; on the other, TLS is verified where it is spoken."""
    with secure_broker(protocol) as secured:
        host, _, port = secured.broker.secure_bootstrap.partition(":")
        assert kafka.answers(secured.broker.port)
        if protocol.endswith("SSL"):
            trusting = ssl.create_default_context(cafile=str(secured.tls.ca))
            with socket.create_connection((host, int(port)), 5) as plain:
                trusting.wrap_socket(plain, server_hostname=host).close()
