"""TLS, passwords, API keys and roles against a real node; and no secret anywhere it does not belong."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.elastic import Server, connect, connect_async
from streams.settings import ElasticsearchSettings
from streams.sinks.elasticsearch import ElasticRecord
from streams.sinks.mapping import Names
from streams.sinks.probe import probe
from streams.sinks.roles import roles
from streams.sinks.setup import ready
from tests.helpers.command import revet
from tests.helpers.elasticspace import Space, history, state
from tests.helpers.servers import SecureNode, secure_node
from verifier.errors import InputError, PlaceError, PlaceRefused

pytestmark = [pytest.mark.needs("elasticsearch"), pytest.mark.slow, pytest.mark.timeout(300)]

NAMESPACE = "secured"
PARTS = ("analyst", "ledger", "indexer", "operator")
USERS = {"revet": "elastic-secret", **{part: f"{part}-secret" for part in PARTS}, "nobody": "nobody-secret"}
WRONG = "a-wrong-secret"


@pytest.fixture(scope="module")
def secured() -> Iterator[SecureNode]:
    """A superuser, one user for each of our roles, and one without any."""
    made = roles(Names(NAMESPACE))
    held = {part: (f"revet_{NAMESPACE}_{part}",) for part in PARTS} | {"nobody": ("nothing",)}
    bodies = {name: {key: body[key] for key in ("cluster", "indices")} for name, body in made.items()}
    bodies["nothing"] = {"cluster": [], "indices": []}
    with secure_node(USERS, user_roles=held, roles=bodies) as node:
        space = as_user(node, "revet")
        space.set_up()
        space.close()
        yield node


def settings(secured: SecureNode, **more: Any) -> ElasticsearchSettings:
    base = {"url": secured.node.url, "namespace": NAMESPACE, "replicas": 0, "ca_file": secured.tls.ca}
    return ElasticsearchSettings.model_validate(base | more)


def as_user(secured: SecureNode, name: str) -> Space:
    return Space(settings(secured, username=name, password=USERS[name]))


# ---------------------------------------------------------------------------------------------------------- connection


def asked(server: Server) -> str:
    with server:
        return str(server.call("GET", "/_security/_authenticate").body["username"])


def test_password_from_the_settings_and_from_a_file(secured, tmp_path):
    """White space around the secret in the file is not part of it."""
    file = tmp_path / "password"
    file.write_text("elastic-secret\n")
    for how in ({"password": "elastic-secret"}, {"password_file": file}):
        assert asked(connect(settings(secured, username="revet", **how))) == "revet"


def test_coroutines_connect_the_same_way(secured):
    """Another HTTP library below, the same TLS and the same secret."""

    async def main() -> Any:
        async with connect_async(settings(secured, username="revet", password="elastic-secret")) as server:
            return (await server.call("GET", "/_security/_authenticate")).body["username"]

    assert asyncio.run(main()) == "revet"


BAD = {
    "password": {"username": "revet", "password": WRONG},
    "user": {"username": "eve", "password": WRONG},
    "api key": {"api_key": "d3Jvbmc6YS13cm9uZy1zZWNyZXQ="},
    "nothing": {},
    "not a key": {"api_key": WRONG},
}


@pytest.mark.parametrize("how", BAD)
def test_a_wrong_secret_is_refused_and_never_told(secured, how, caplog, capfd):
    """401 with what to check; no secret in the error, its chain, a log at any level, a repr, or on a screen."""
    caplog.set_level(logging.DEBUG)
    chosen = settings(secured, **BAD[how])
    server = connect(chosen)

    async def main() -> None:
        async with connect_async(chosen) as other:
            await ElasticRecord(other, Names(NAMESPACE)).write([])
            await other.call("GET", "/")

    with server, pytest.raises(PlaceRefused, match=r"401 .*check elasticsearch\.username") as caught:
        server.call("GET", "/_nodes")
    with pytest.raises(PlaceRefused) as other:
        asyncio.run(main())
    told = "".join(traceback.format_exception(caught.value)) + "".join(traceback.format_exception(other.value))
    told += repr(server) + repr(chosen) + str(vars(server)) + caplog.text + "".join(capfd.readouterr())
    for secret in (WRONG, "d3Jvbmc6YS13cm9uZy1zZWNyZXQ=", "cmV2ZXQ6YS13cm9uZy1zZWNyZXQ="):
        assert secret not in told


def test_a_certificate_of_somebody_else_is_refused(secured):
    """By both clients, without sending the secret; with what to check."""
    chosen = settings(secured, username="revet", password="elastic-secret", ca_file=secured.tls.other_ca)

    async def main() -> None:
        async with connect_async(chosen) as other:
            await other.call("GET", "/")

    with connect(chosen) as server, pytest.raises(PlaceRefused, match=r"TLS: .*check elasticsearch\.ca_file"):
        server.call("GET", "/")
    with pytest.raises(PlaceRefused, match=r"TLS: .*check elasticsearch\.ca_file"):
        asyncio.run(main())


def test_another_name_than_that_of_the_certificate_is_refused(secured):
    """The certificate is for 127.0.0.1 and localhost; the same node has other names. Both clients look."""
    url = secured.node.url.replace("127.0.0.1", "0.0.0.0")
    chosen = settings(secured, url=url, username="revet", password="elastic-secret")

    async def main() -> None:
        async with connect_async(chosen) as other:
            await other.call("GET", "/")

    with connect(chosen) as server, pytest.raises(PlaceRefused, match="TLS"):
        server.call("GET", "/")
    with pytest.raises(PlaceRefused, match="TLS"):
        asyncio.run(main())


def test_verification_can_be_switched_off_for_a_trial(secured):
    """By both clients."""
    chosen = settings(secured, username="revet", password="elastic-secret", ca_file=None, verify=False)

    async def main() -> Any:
        async with connect_async(chosen) as server:
            return (await server.call("GET", "/_security/_authenticate")).body["username"]

    assert asked(connect(chosen)) == asyncio.run(main()) == "revet"


def test_the_systems_authorities_do_not_vouch_for_a_private_one(secured):
    """Without a CA file."""
    chosen = settings(secured, username="revet", password="elastic-secret", ca_file=None)
    with connect(chosen) as server, pytest.raises(PlaceRefused, match="TLS"):
        server.call("GET", "/")


def test_plain_http_to_a_node_with_tls(secured):
    """No answer that makes sense: unavailable or refused, never accepted."""
    chosen = settings(secured, url=secured.node.url.replace("https", "http"), ca_file=None)
    with connect(chosen) as server, pytest.raises(PlaceError):
        server.call("GET", "/")


@pytest.mark.parametrize("content", ["", "no certificate", None])
def test_a_ca_file_that_is_none_is_a_wrong_setting(tmp_path: Path, content):
    """Named before anything is asked."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=rf"elasticsearch\.ca_file: {file}"):
        connect(ElasticsearchSettings(url="https://127.0.0.1:9", ca_file=file))


def test_the_command_never_prints_a_secret(secured, monkeypatch, tmp_path):
    """Right or wrong, whatever it answers."""
    for name, value in {"URL": secured.node.url, "NAMESPACE": NAMESPACE, "CA_FILE": str(secured.tls.ca)}.items():
        monkeypatch.setenv(f"REVET_ELASTICSEARCH_{name}", value)
    monkeypatch.setenv("REVET_ELASTICSEARCH_USERNAME", "revet")
    monkeypatch.setenv("REVET_DEBUG", "1")
    for secret, codes in (("elastic-secret", (0, 1)), (WRONG, (4,))):
        monkeypatch.setenv("REVET_ELASTICSEARCH_PASSWORD", secret)
        ran = revet("index", "check")
        assert ran.code in codes
        assert secret not in ran.out + ran.err


# --------------------------------------------------------------------------------------------------------------- roles


def test_the_indexer_writes_checks_and_looks_for_copies_and_cannot_install(secured):
    """What its work needs, and no more."""
    space, root = as_user(secured, "indexer"), as_user(secured, "revet")
    ready(space.server, space.names)
    documents = [*(history(f"i{n}") for n in range(20)), *(state(f"i{n}", 1) for n in range(20))]
    assert space.write(documents).stored == 40
    root.roll_over("admission")
    again = space.write(documents)  # with the look for earlier copies
    assert (again.stored, again.duplicate) == (20, 20)
    assert all(len(indices) == 1 for indices in space.copies("admission").values())
    with pytest.raises(PlaceRefused, match="403 security_exception"):
        space.set_up()
    with pytest.raises(PlaceRefused, match="403"):
        space.server.call("DELETE", f"/{space.names.index('feeds')}")
    for made in (space, root):
        made.close()


def test_the_indexer_takes_back_a_second_copy(secured):
    """The one deletion it may do."""
    space, root = as_user(secured, "indexer"), as_user(secured, "revet")
    documents = [history(f"s{n}", "trust") for n in range(5)]
    space.write(documents)
    root.roll_over("trust")
    stream = space.names.target("trust")
    root.server.call("PUT", f"/{stream}/_create/s0", body=documents[0].body)
    root.server.call("POST", f"/{stream}/_refresh")
    assert space.write(documents).duplicate == 5
    assert all(len(indices) == 1 for indices in space.copies("trust").values())
    for made in (space, root):
        made.close()


@pytest.mark.parametrize("who", ["analyst", "ledger"])
def test_readers_cannot_write(secured, who):
    """Told with the role that could."""
    space = as_user(secured, who)
    assert isinstance(space.hits("admission"), list)
    for document in (history("x"), state("x", 1)):
        with pytest.raises(PlaceRefused, match=r"role of the indexer|403 security_exception"):
            space.write([document])
    space.close()


def test_the_ledger_reads_history_only(secured):
    """Current state is nothing it proves."""
    space = as_user(secured, "ledger")
    with pytest.raises(PlaceRefused, match="403"):
        space.hits("containers")
    space.close()


def test_the_operator_installs_without_being_a_superuser(secured):
    """Everything but roles, which it is told."""
    space = as_user(secured, "operator")
    space.set_up()
    space.close()


def test_an_account_without_rights_learns_what_is_missing(secured):
    """The probe does not take "may not ask" for "is not there"."""
    space = as_user(secured, "nobody")
    with pytest.raises(PlaceRefused, match=r"403|not told"):
        ready(space.server, space.names)
    space.close()
    indexer = as_user(secured, "indexer")
    found = probe(indexer.server)
    assert "wildcard" in found.unknown
    assert found.profile == "reduced"
    indexer.close()
