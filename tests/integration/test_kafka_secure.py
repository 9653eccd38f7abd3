"""TLS, SASL and rights on a real broker that asks who is there: what works, and what each refusal says."""

from __future__ import annotations

import gc
import http.client
import logging
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from streams.events import FeedSeen
from streams.kafka.admin import KafkaAdmin
from streams.kafka.plan import principals_of, wanted_grants
from streams.kafka.producer import KafkaDoor
from streams.kafka.reading import KafkaLog
from streams.outputs import output
from streams.settings import KafkaSettings
from streams.topics import CLUSTER_SIGHT, TRUST
from tests.helpers.kafkatopics import Place
from tests.helpers.process import ROOT, Revet, run
from tests.helpers.servers import SecureBroker, secure_broker
from verifier.errors import PlaceError, PlaceRefused

pytestmark = [
    pytest.mark.needs("kafka"),
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # sockets of connections that failed
]
COLLECTOR, JUDGE, SECRET = "revet-audit", "revet-judge", "kafka-hunter2"
USERS = {COLLECTOR: SECRET, JUDGE: SECRET}


@pytest.fixture(scope="module")
def secured(require) -> Iterator[SecureBroker]:
    require("kafka")
    with secure_broker("SASL_SSL", USERS) as broker:
        yield broker


@pytest.fixture(autouse=True)
def sockets_left() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture
def place(secured: SecureBroker) -> Place:
    """Topics, made through the open listener, where everybody is an administrator."""
    return Place(secured.broker.bootstrap).prepare()


def as_user(place: Place, secured: SecureBroker, user: str = COLLECTOR, **different: object) -> KafkaSettings:
    said: dict[str, object] = {
        "bootstrap": secured.broker.secure_bootstrap, "prefix": place.settings.prefix, "partitions": 4,
        "security": "sasl_ssl", "sasl_mechanism": "SCRAM-SHA-512", "username": user, "password": SecretStr(SECRET),
        "ca_file": secured.tls.ca, **different,
    }  # fmt: skip
    return KafkaSettings.model_validate(said)


def grant(place: Place, *principals: str) -> None:
    named = [word for principal in principals for word in ("--principal", principal)]
    done = run("topics", "apply", "--acls", *named, timeout=110, **place.environment())
    assert done.returncode == 0, done.stderr


def send(settings: KafkaSettings) -> None:
    door = KafkaDoor(settings)
    try:
        door.send([output(FeedSeen("f1", 5, "c1", "audit", 1))])
    finally:
        door.close()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_who_has_the_right_writes_and_nobody_else_reads(place, secured, mechanism):
    grant(place, f"collectors=User:{COLLECTOR}")
    settings = as_user(place, secured, sasl_mechanism=mechanism)
    send(settings)
    assert [record.id for record in place.read(CLUSTER_SIGHT)] == ["f1"]
    with pytest.raises(PlaceRefused) as told:
        list(KafkaLog(settings).read(CLUSTER_SIGHT))
    assert told.value.code == "kafka-denied"
    assert f"User:{COLLECTOR}" in str(told.value)


@pytest.mark.parametrize(
    ("different", "code", "says"),
    [
        ({"password": SecretStr("wrong-" + SECRET)}, "kafka-login", "kafka.username"),
        ({"username": "nobody"}, "kafka-login", "kafka.username"),
        ({"sasl_mechanism": "PLAIN", "password": SecretStr("wrong")}, "kafka-login", "kafka.username"),
        ({"ca_file": "other_ca"}, "kafka-tls", "kafka.ca_file"),
        ({"bootstrap": "127.0.0.1:1"}, "kafka-unavailable", "127.0.0.1:1"),
        ({"security": "sasl_plaintext", "ca_file": None}, "kafka-tls", "kafka.security"),
    ],
    ids=["wrong password", "unknown user", "wrong password, PLAIN", "another CA", "nobody there", "no TLS"],
)
def test_what_is_wrong_is_told_without_the_secret(place, secured, different, code, says, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("streams.kafka.connecting.CONNECT_SECONDS", 3)
    if different.get("ca_file") == "other_ca":
        different = {"ca_file": secured.tls.other_ca}
    with pytest.raises(PlaceError) as told:
        send(as_user(place, secured, **different))
    assert told.value.code == code
    assert says in str(told.value)
    chain = f"{told.value!r} {told.value.__cause__!r} {caplog.text}"
    assert SECRET not in chain


def test_without_a_right_the_topic_and_the_command_are_named(place, secured):
    with pytest.raises(PlaceRefused) as told:
        send(as_user(place, secured, JUDGE))
    assert told.value.code == "kafka-denied"
    assert f"{place.settings.prefix}{CLUSTER_SIGHT}" in str(told.value)
    assert "revet topics apply --acls" in str(told.value)


def test_rights_are_given_once_and_what_is_beyond_is_told(place, secured):
    principals = ("--principal", f"judge=User:{JUDGE}", "--principal", f"collectors=User:{COLLECTOR}")
    missing = run("topics", "check", "--acls", *principals, timeout=110, **place.environment())
    assert missing.returncode == 1
    told_rights = " ".join(missing.stdout.split())  # a long right is folded in its column
    assert f"User:{JUDGE} may READ topic {place.settings.prefix}{TRUST}" in told_rights
    grant(place, f"judge=User:{JUDGE}", f"collectors=User:{COLLECTOR}")
    assert run("topics", "check", "--acls", *principals, timeout=110, **place.environment()).returncode == 0
    assert list(KafkaLog(as_user(place, secured, JUDGE)).read(TRUST)) == []
    with KafkaAdmin(place.settings) as admin:
        found = admin.grants([f"User:{JUDGE}"])
    assert found == set(wanted_grants(place.settings, principals_of([f"judge=User:{JUDGE}"])))
    told = run(
        "topics", "check", "--acls", "--principal", f"collectors=User:{JUDGE}", timeout=110, **place.environment()
    )
    assert f"User:{JUDGE} may READ topic" in told.stderr
    assert "does not ask for" in told.stderr


def test_nobody_without_the_right_makes_topics(secured):
    """An administrator does; a process never has to."""
    place = Place(secured.broker.bootstrap)
    settings = as_user(place, secured)
    environment = Place(secured.broker.bootstrap).other(**settings.model_dump(exclude={"password"}), password=SECRET)
    done = run("topics", "apply", timeout=110, **environment.environment())
    assert done.returncode == 4
    assert COLLECTOR in done.stderr
    assert SECRET not in done.stderr + done.stdout


def test_a_receiver_needs_no_more_than_its_rights(place, secured):
    grant(place, f"collectors=User:{COLLECTOR}")
    settings = as_user(place, secured)
    own = place.other(**settings.model_dump(exclude={"password"}), password=SECRET)
    environment = own.environment(REVET_LISTEN_ADDRESS="127.0.0.1:0")
    with Revet("serve", "audit", cwd=ROOT, **environment) as process:
        port = int(process.said(r"url=http://\S*:(\d+)/audit"))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/audit", b'{"kind":')
        assert connection.getresponse().status == 200
        connection.close()
        assert process.end() == 0
    assert SECRET not in process.err + process.out
    assert len(place.read("revet.deadletters")) == 1


def test_a_receiver_without_rights_ends_its_start(place, secured):
    own = place.other(**as_user(place, secured, JUDGE).model_dump(exclude={"password"}), password=SECRET)
    with Revet("serve", "audit", cwd=ROOT, **own.environment(REVET_LISTEN_ADDRESS="127.0.0.1:0")) as process:
        assert process.wait() == 4
    assert "revet topics apply --acls" in process.err
    assert SECRET not in process.err


def test_a_certificate_of_ones_own_is_shown():
    with secure_broker("SSL", client_certificates=True) as secured:
        place = Place(secured.broker.bootstrap).prepare()
        said = {"bootstrap": secured.broker.secure_bootstrap, "prefix": place.settings.prefix, "partitions": 4,
                "security": "ssl", "ca_file": secured.tls.ca}  # fmt: skip
        shown = {"certificate_file": secured.tls.client_certificate, "key_file": secured.tls.client_key}
        grant(place, "collectors=User:CN=revet")
        send(KafkaSettings.model_validate(said | shown))
        assert len(place.read(CLUSTER_SIGHT)) == 1
        with pytest.raises(PlaceError):
            KafkaDoor(KafkaSettings.model_validate(said))
