"""`revet index setup|check|reindex` on a real server: idempotent, finds every drift, mends it, says what it lacks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from streams.elastic import url_path
from streams.sinks.mapping import MAPPING_VERSION, Shape, state_index, templates
from streams.sinks.setup import ready
from tests.helpers.command import Ran, revet
from tests.helpers.elasticspace import Space, history, state
from verifier.errors import PlaceRefused

pytestmark = pytest.mark.needs("elasticsearch")


@pytest.fixture
def space(elastic_server) -> Iterator[Space]:
    made = Space.fresh(elastic_server.url)
    yield made
    made.close()


@pytest.fixture
def run(space, monkeypatch) -> Callable[..., Ran]:
    """`revet index …` for that namespace, settings from the environment."""
    monkeypatch.setenv("REVET_ELASTICSEARCH_URL", space.settings.url)
    monkeypatch.setenv("REVET_ELASTICSEARCH_NAMESPACE", space.settings.namespace)
    monkeypatch.setenv("REVET_ELASTICSEARCH_REPLICAS", "0")
    return lambda *args: revet("index", *args)


def drift(ran: Ran) -> dict[str, tuple[str, str]]:
    return {row["what"]: (row["why"], row["mend"]) for row in ran.json["drift"]}


def test_setup_and_check_and_setup_again(run, space):
    """Before: everything is missing. After: nothing. Again: nothing is changed."""
    before = run("check", "-o", "json")
    assert before.code == 1
    assert {why for why, _ in drift(before).values()} == {"is missing"}
    with pytest.raises(PlaceRefused, match="run `revet index setup`"):
        ready(space.server, space.names)
    assert run("setup").code == 0
    ready(space.server, space.names)
    checked = run("check")
    assert (checked.code, checked.out.splitlines()[0]) == (0, "everything is as this version wants it")
    again = run("setup", "-o", "json")
    assert {step["what"] for step in again.json["steps"] if step["done"] != "unchanged"} <= {"roles"}


def test_the_probe_says_what_the_test_server_lacks_and_what_that_costs(run):
    """The published node has no data stream API, no lifecycle, no security."""
    found = run("check", "-o", "json").json["found"]
    lacks = {missing["feature"]: missing["cost"] for missing in found["missing"]}
    assert {"data-stream-api", "lifecycle", "security", "roles"} <= set(lacks)
    assert "failure-store" not in lacks
    assert "history grows" in lacks["lifecycle"]


def test_a_template_that_somebody_edited_is_found_and_mended(run, space):
    """By content, not by its stamp."""
    space.set_up()
    piece = next(p for p in templates(space.names, Shape(replicas=0)) if p.name == space.names.target("trust"))
    body = space.server.call("GET", piece.path).body["index_templates"][0]["index_template"]
    edited = {name: body[name] for name in piece.body if name in body}
    edited["template"]["mappings"]["properties"]["extra"] = {"type": "long"}
    edited["priority"] = 201
    space.server.call("PUT", piece.path, body=edited)
    found = drift(run("check", "-o", "json"))
    assert found == {
        f"index template {piece.name}": (
            "differs: priority, template.mappings.properties.extra.type",
            "revet index setup",
        )
    }
    assert run("setup").code == 0
    assert run("check").code == 0


def test_an_index_with_fewer_fields_gets_them_in_place(run, space):
    """As after an upgrade that added rows: state and data streams, without a new index."""
    space.set_up()
    space.write([history("a", "trust"), state("a", 1)])
    index, stream = space.names.index("containers"), space.names.target("trust")
    stale = {"_meta": {"revet": {"mapping": 0, "fields": "old", "profile": "reduced"}}}
    for target in (index, stream):
        space.server.call("PUT", url_path(target, "_mapping"), body=stale)
    with pytest.raises(PlaceRefused, match="has a mapping this revet does not know"):
        ready(space.server, space.names)
    changed = [step for step in run("setup", "-o", "json").json["steps"] if step["done"] == "changed"]
    assert len(changed) == 2
    ready(space.server, space.names)
    assert len(space.copies("trust")["a"]) == 1


def install_older(space: Space, home: str) -> None:
    """The template as an older revet had it: `event.reason` was a text."""
    piece = next(p for p in templates(space.names, Shape(replicas=0)) if p.name == space.names.target(home))
    mapping = piece.body["template"]["mappings"]
    mapping["properties"]["event"]["properties"]["reason"] = {"type": "text"}
    mapping["_meta"] = {"revet": {"mapping": 0, "fields": "old", "profile": "reduced"}}
    space.server.call("PUT", piece.path, body=piece.body)


def test_a_field_of_another_type_needs_a_reindex_and_gets_one(run, space):
    """setup leaves it, check names the command, the command mends it; every document is there, with its version."""
    space.set_up()
    install_older(space, "feeds")
    old = space.names.index("feeds")
    space.server.call("DELETE", url_path(old))
    space.server.call("PUT", url_path(old), body=state_index(space.names, "feeds"))
    documents = [state(f"f{n}", n + 1, "feeds", event__reason="why") for n in range(50)]
    space.write(documents)
    steps = run("setup", "-o", "json").json["steps"]
    assert [(s["what"], s["note"]) for s in steps if s["done"] == "left" and s["what"] != "roles"] == [
        (old, "revet index reindex feeds")
    ]
    assert drift(run("check", "-o", "json")) == {old: ("other mapping of event.reason", "revet index reindex feeds")}
    ran = run("reindex", "feeds", "--drop-old")
    assert ran.code == 0
    assert "50 documents copied" in ran.out
    assert run("check").code == 0
    assert {hit["_id"]: hit["_version"] for hit in space.hits("feeds")} == {f"f{n}": n + 1 for n in range(50)}
    assert space.server.call("HEAD", url_path(old), accept=(404,)).status == 404
    assert space.write(documents).stored == 50


def test_a_changed_type_in_a_data_stream_is_a_rollover(run, space):
    """Old documents keep their index, new ones get the new mapping; nobody stops."""
    space.set_up()
    install_older(space, "evidence")
    space.write([history("a", "evidence")])
    steps = run("setup", "-o", "json").json["steps"]
    assert [step["what"] for step in steps if step["done"] == "rolled over"] == [space.names.target("evidence")]
    assert run("check").code == 0
    assert space.write([history("a", "evidence"), history("b", "evidence")]).stored == 1


def test_a_newer_revet_was_here(run, space):
    """An older one changes nothing, and says what to do."""
    space.set_up()
    piece = next(iter(templates(space.names, Shape(replicas=0))))
    body = piece.body | {"_meta": {"revet": {"mapping": MAPPING_VERSION + 1}}}
    space.server.call("PUT", piece.path, body=body)
    refused = run("setup")
    assert refused.code == 4
    assert f"mapping version {MAPPING_VERSION + 1}, this revet has {MAPPING_VERSION}; upgrade revet" in refused.err
    checked = run("check", "-o", "json")
    assert (checked.code, [mend for _, mend in drift(checked).values()]) == (1, ["upgrade revet"])


def test_an_index_that_took_the_name_of_the_alias(run, space):
    """Something wrote before setup, with dynamic mapping: named, not repaired by deleting."""
    space.server.call("PUT", url_path(space.names.target("images")))
    ran = run("setup")
    assert ran.code == 4
    assert f"{space.names.target('images')} is an index and has to be an alias" in ran.err


def test_an_alias_that_was_taken_away_comes_back_with_its_documents(run, space):
    """The index is still there."""
    space.set_up()
    space.write([state("a", 1, "images")])
    index, alias = space.names.index("images"), space.names.target("images")
    space.server.call("POST", "/_aliases", body={"actions": [{"remove": {"index": index, "alias": alias}}]})
    assert drift(run("check", "-o", "json")) == {alias: ("no index takes writes under this alias", "revet index setup")}
    assert run("setup").code == 0
    assert set(space.copies("images")) == {"a"}


def test_the_operators_own_component_wins_over_our_settings(run, space, elastic_server):
    """`revet@custom`: other settings, further fields; neither is drift."""
    custom = {"template": {"settings": {"index.codec": "best_compression"}}}
    space.server.call("PUT", "/_component_template/revet@custom", body=custom)
    try:
        space.set_up()
        index = space.names.index("findings")
        found = space.server.call("GET", url_path(index, "_settings")).body[index]["settings"]["index"]
        assert found["codec"] == "best_compression"
        assert run("check").code == 0
    finally:
        space.server.call("PUT", "/_component_template/revet@custom", body={"template": {}})


def test_replicas_follow_the_setting(run, space, monkeypatch):
    """Also of indices that exist."""
    space.set_up()
    monkeypatch.setenv("REVET_ELASTICSEARCH_REPLICAS", "1")
    assert run("check").code == 1
    assert run("setup").code == 0
    assert run("check").code == 0
    index = space.names.index("findings")
    found = space.server.call("GET", url_path(index, "_settings")).body[index]["settings"]["index"]
    assert found["number_of_replicas"] == "1"


@pytest.mark.parametrize("profile", ["full", "reduced"])
def test_both_profiles_can_be_applied(run, space, monkeypatch, profile):
    """The test server has stand-ins for the types of `full`; the templates are those of production."""
    monkeypatch.setenv("REVET_ELASTICSEARCH_PROFILE", profile)
    assert run("setup").code == 0
    assert run("check").code == 0
    (found,) = space.server.call("GET", url_path("_index_template", space.names.target("trust"))).body[
        "index_templates"
    ]
    message = found["index_template"]["template"]["mappings"]["properties"]["message"]
    assert message["type"] == {"full": "match_only_text", "reduced": "text"}[profile]


@pytest.mark.parametrize("what", [("check",), ("setup",), ("reindex", "feeds")])
def test_nobody_answers(run, what, monkeypatch):
    """Exit code 4 and the address; without an address 2 and an example."""
    monkeypatch.setenv("REVET_ELASTICSEARCH_URL", "http://127.0.0.1:9")
    ran = run(*what)
    assert (ran.code, ran.out) == (4, "")
    assert "http://127.0.0.1:9" in ran.err
    monkeypatch.setenv("REVET_ELASTICSEARCH_URL", "")
    assert run(*what).code == 2


def test_reindex_before_setup(run):
    """Says which command comes first."""
    ran = run("reindex", "feeds")
    assert ran.code == 4
    assert "run `revet index setup`" in ran.err


@pytest.mark.parametrize("team", ["a", "=b", "a=", "a b=c", "é=c"])
def test_a_team_that_is_none(run, team):
    """With an example."""
    ran = run("check", "--team", team)
    assert ran.code == 2
    assert "example: payments=pay,pay-staging" in ran.err


def test_two_setups_at_once(space):
    """Two people, or two replicas of a job: both end well."""
    problems: list[Exception] = []

    def run() -> None:
        other = Space(space.settings)
        try:
            other.set_up()
        except Exception as error:  # noqa: BLE001  # whatever it is, the test shows it
            problems.append(error)
        finally:
            other.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    ready(space.server, space.names)
