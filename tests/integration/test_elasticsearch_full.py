"""What the reduced server cannot show: API keys, and roles over HTTP, on a full node with TLS (its licence: basic)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.elastic import connect
from streams.settings import ElasticsearchSettings
from streams.sinks.mapping import Names
from streams.sinks.roles import roles
from streams.sinks.setup import check, setup
from tests.helpers.command import revet
from tests.helpers.elasticspace import Space, history, state
from tests.helpers.servers import SecureNode, secure_node
from verifier.errors import PlaceRefused

pytestmark = [pytest.mark.needs("elasticsearch-full"), pytest.mark.slow, pytest.mark.timeout(300)]

NAMESPACE = "full"
NAMES = Names(NAMESPACE)
TEAM = f"revet_{NAMESPACE}_analyst_payments"


@pytest.fixture(scope="module")
def node() -> Iterator[SecureNode]:
    """One superuser, `revet`; nothing is set up but by the first test."""
    with secure_node(full=True) as made:
        with connect(settings(made, username="revet", password="elastic-secret")) as server:
            setup(server, settings(made), teams={"payments": ["pay"]})
        yield made


def settings(node: SecureNode, **more: Any) -> ElasticsearchSettings:
    base = {"url": node.node.url, "namespace": NAMESPACE, "replicas": 0, "ca_file": node.tls.ca}
    return ElasticsearchSettings.model_validate(base | more)


def api_key(node: SecureNode, part: str) -> str:
    """As an operator makes one for a process: with the rights of a role that `index setup` installs."""
    body = roles(NAMES)[f"revet_{NAMESPACE}_{part}"]
    limited = {part: {"cluster": body["cluster"], "indices": body["indices"]}}
    with connect(settings(node, username="revet", password="elastic-secret")) as server:
        answer = server.call("POST", "/_security/api_key", body={"name": part, "role_descriptors": limited})
    return str(answer.body["encoded"])


def test_what_was_set_up_is_as_it_should_be_and_nothing_is_changed_twice(node):
    """Templates, indices, streams and roles; what the licence does not give is left, and said."""
    chosen = settings(node, username="revet", password="elastic-secret")
    with connect(chosen) as server:
        assert check(server, chosen).drift == ()
        again = setup(server, chosen, teams={"payments": ["pay"]})
        left = [(step.what, step.note) for step in again.steps if step.done != "unchanged"]
        assert left == [(f"role {TEAM}", "this cluster's licence has no document level security")]
        installed = server.call("GET", "/_security/role").body
    for name, body in roles(NAMES).items():
        assert {frozenset(entry["names"]) for entry in installed[name]["indices"]} == {
            frozenset(entry["names"]) for entry in body["indices"]
        }


@pytest.mark.parametrize("how", ["key", "file"])
def test_an_api_key_writes_as_the_role_it_was_made_for(node, tmp_path: Path, how):
    """From the settings or from a file; what its role may not, it may not."""
    key = api_key(node, "indexer")
    file = tmp_path / "key"
    file.write_text(f"{key}\n")
    chosen = settings(node, **({"api_key": key} if how == "key" else {"api_key_file": file}))
    space = Space(chosen)
    written = space.write([history(f"{how}1", "admission"), state(f"{how}1", 1)])
    assert (written.stored, written.refused) == (2, ())
    with pytest.raises(PlaceRefused, match="403") as caught:
        space.set_up()
    space.close()
    assert key not in repr(chosen) + str(caught.value) + repr(caught.value)


def test_the_commands_work_with_an_api_key_and_never_print_it(node, monkeypatch):
    """Also where it may not what the command wants."""
    for part, codes in (("operator", (0, 1)), ("analyst", (0, 1, 4))):
        key = api_key(node, part)
        for name, value in {
            "URL": node.node.url,
            "NAMESPACE": NAMESPACE,
            "CA_FILE": node.tls.ca,
            "API_KEY": key,
        }.items():
            monkeypatch.setenv(f"REVET_ELASTICSEARCH_{name}", str(value))
        monkeypatch.setenv("REVET_DEBUG", "1")
        ran = revet("index", "check")
        assert ran.code in codes, ran.err
        assert key not in ran.out + ran.err
