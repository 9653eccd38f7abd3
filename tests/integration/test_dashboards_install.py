"""`revet dashboards install` and `check` against a Kibana that holds the published contract, over HTTP."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from dashboards.content import RULE_ID
from dashboards.model import dashboard_id
from streams.sinks.mapping import Names
from tests.helpers.command import Ran, revet
from tests.helpers.kibana_server import FakeKibana, serving

OVERVIEW = dashboard_id(Names(), "overview")


class World:
    """A Kibana and a shell beside it."""

    def __init__(self, kibana: FakeKibana, url: str) -> None:
        self.kibana, self.url = kibana, url

    def run(self, *args: object, **environment: str) -> Ran:
        named = {"REVET_KIBANA_URL": self.url} | {f"REVET_KIBANA_{k.upper()}": v for k, v in environment.items()}
        with mock.patch.dict(os.environ, named):
            return revet("dashboards", *args)

    def steps(self, *args: object, **environment: str) -> dict[str, tuple[str, str]]:
        ran = self.run(*args, "-o", "json", **environment)
        assert ran.code in (0, 1), ran.err
        return {step["what"]: (step["done"], step["note"]) for step in ran.json["steps"]}


@pytest.fixture
def world() -> Iterator[World]:
    kibana = FakeKibana()
    with serving(kibana) as url:
        yield World(kibana, url)


def done(steps: dict[str, tuple[str, str]]) -> set[str]:
    return {kind for what, (kind, _) in steps.items() if not what.startswith("Kibana ")}


# ------------------------------------------------------------------------------------------------------------- install


def test_a_fresh_kibana_gets_everything(world):
    steps = world.steps("install")
    assert done(steps) == {"made"}
    assert "revet" in world.kibana.spaces
    assert len(world.kibana.of("dashboard")) == 7
    assert len(world.kibana.of("search")) == 15
    assert len(world.kibana.of("view")) == 19
    assert world.kibana.of("rule")[RULE_ID]["enabled"] is False
    assert world.kibana.role["revet_default_kibana_analyst"]["kibana"][0]["spaces"] == ["revet"]
    assert world.kibana.of("dashboard", "default") == {}


def test_a_second_time_changes_nothing(world):
    world.run("install")
    before = len(world.kibana.writes)
    assert done(world.steps("install")) == {"unchanged"}
    assert len(world.kibana.writes) == before


def test_check_says_what_is_missing_and_writes_nothing(world):
    ran = world.run("check")
    assert ran.code == 1
    assert "space revet" in ran.out
    world.kibana.spaces["revet"] = {"id": "revet"}
    assert done(world.steps("check")) == {"missing", "unchanged"}
    assert world.kibana.writes == []
    world.run("install")
    ran = world.run("check")
    assert (ran.code, ran.err) == (0, "")
    assert "as this version wants it, 0 other" in ran.out


def test_what_was_changed_by_hand_is_told_and_mended(world):
    world.run("install")
    world.kibana.of("dashboard")[OVERVIEW]["title"] = "mine"
    (view,) = [one for one in world.kibana.of("view").values() if one["title"] == "revet-state-findings-default"]
    view["timeFieldName"] = "x"
    view["title"] = "logs-*"
    search = next(iter(world.kibana.of("search").values()))
    search["attributes"]["columns"] = []
    world.kibana.role["revet_default_kibana_analyst"]["kibana"][0]["base"] = ["all"]
    found = world.steps("check")
    assert found["dashboard overview"] == ("differs", "title")
    assert found["data view revet: findings"] == ("differs", "title")
    assert found["15 saved searches"][0] == "differs"
    assert found["role revet_default_kibana_analyst"][0] == "differs"
    assert "changed" in done(world.steps("install"))
    assert world.run("check").code == 0
    assert world.kibana.of("dashboard")[OVERVIEW]["title"] == "revet: Overview"


def test_what_the_security_team_did_to_the_rule_stays(world):
    world.run("install")
    rule = world.kibana.of("rule")[RULE_ID]
    rule.update(enabled=True, actions=[{"id": "slack"}], exceptions_list=[{"id": "ours"}])
    assert world.run("check").code == 0
    rule["query"] = "*:*"
    assert world.steps("install")[f"detection rule {RULE_ID}"] == ("changed", "query")
    after = world.kibana.of("rule")[RULE_ID]
    assert (after["enabled"], after["actions"], after["exceptions_list"]) == (True, [{"id": "slack"}], [{"id": "ours"}])


def test_another_space_and_another_namespace(world):
    with mock.patch.dict(os.environ, {"REVET_ELASTICSEARCH_NAMESPACE": "staging"}):
        assert done(world.steps("install", space="security")) == {"made"}
    assert len(world.kibana.of("dashboard", "security")) == 7
    assert OVERVIEW not in world.kibana.of("dashboard", "security")
    assert "revet-state-containers-staging" in json.dumps(world.kibana.of("dashboard", "security"))


def test_the_default_space_is_left_as_it_is(world):
    steps = world.steps("install", space="default")
    assert steps["space default"][0] == "unchanged"
    assert len(world.kibana.of("dashboard", "default")) == 7
    assert list(world.kibana.spaces) == ["default"]


# ------------------------------------------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize(
    ("version", "code"), [("9.3.4", 4), ("8.19.1", 4), ("9.4.0", 0), ("9.5.0", 0), ("10.0.0-x", 0)]
)
def test_versions(world, version, code):
    world.kibana.version = version
    ran = world.run("install")
    assert ran.code == code
    if code:
        assert f"Kibana {version} has no Dashboards API" in ran.err
        assert world.kibana.writes == []
    assert ("a preview" in ran.out) == (version == "9.4.0")


def test_what_is_no_kibana(world):
    world.kibana.faults = [("GET /api/status", (200, "<html>hello</html>"))]
    ran = world.run("install")
    assert (ran.code, "is it a Kibana?" in ran.err) == (4, True)


def test_credentials(world, tmp_path):
    world.kibana.password = "correct horse"
    wrong = world.run("install")
    assert (wrong.code, "401" in wrong.err, "kibana.username" in wrong.err) == (4, True, True)
    secret = tmp_path / "password"
    secret.write_text("correct horse\n")
    right = world.run("install", username="installer", password_file=str(secret))
    assert right.code == 0, right.err
    bad = world.run("install", username="installer", password="battery staple")
    assert bad.code == 4
    assert "battery" not in bad.err + bad.out
    assert world.run("install", username="installer").code == 2


def test_a_conflict_is_tried_again_and_then_told(world):
    path = "PUT /s/revet/api/dashboards"
    world.kibana.faults = [(path, (409, {"message": "conflict"}))] * 2
    assert world.run("install").code == 0
    world.kibana.of("dashboard")[OVERVIEW]["title"] = "mine"
    world.kibana.faults = [(path, (409, {"message": "conflict"}))] * 3
    ran = world.run("install")
    assert (ran.code, "409" in ran.err) == (4, True)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_kibana_that_is_unwell_is_told_and_a_second_run_finishes(world, status):
    world.kibana.faults = [("PUT /s/revet/api/dashboards", (status, {"message": "not now"}))]
    ran = world.run("install")
    assert (ran.code, str(status) in ran.err, "not now" in ran.err) == (4, True, True)
    assert world.run("install").code == 0
    assert world.run("check").code == 0


def test_a_page_that_kibana_keeps_otherwise_is_told_and_the_rest_goes_on(world):
    """A round trip that loses something is a page that nobody tried."""
    world.kibana.warn = True
    ran = world.run("install")
    assert ran.code == 1
    assert ran.out.count("Kibana warns") == 7
    assert "dropped_panel" in ran.out
    assert len(world.kibana.of("search")) == 15
    world.kibana.warn = False
    assert world.run("check").code == 0


def test_searches_without_their_data_view_are_an_error(world):
    partly = {"success": False, "errors": [{"id": "x", "error": {"type": "missing_references"}}]}
    world.kibana.faults = [("POST /s/revet/api/saved_objects/_import", (200, partly))]
    ran = world.run("install")
    assert (ran.code, "missing_references" in ran.err) == (4, True)


def test_an_account_without_rules_and_roles_gets_the_pages(world):
    world.kibana.rules = world.kibana.roles = False
    steps = world.steps("install")
    assert steps[f"detection rule {RULE_ID}"][0] == "left"
    assert steps["role revet_default_kibana_analyst"][0] == "left"
    assert len(world.kibana.of("dashboard")) == 7
    assert world.run("check").code == 0


def test_a_redirect_is_not_followed(world):
    world.kibana.faults = [("GET /api/status", (302, None))]
    ran = world.run("install")
    assert (ran.code, "redirect" in ran.err) == (4, True)


def test_nobody_there():
    ran = World(FakeKibana(), "http://127.0.0.1:9").run("install")
    assert (ran.code, "127.0.0.1:9" in ran.err) == (4, True)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "no Kibana is named"),
        ("https://u:p@kibana.example", "no name or password in it"),
        ("kibana.example", "expected http"),
        ("https://kibana.example/s/security", "without a space"),
    ],
)
def test_a_wrong_address(url, says):
    ran = World(FakeKibana(), url).run("install")
    assert (ran.code, says in ran.err) == (2, True), ran.err


def test_a_ca_file_that_is_none(tmp_path):
    (tmp_path / "ca.pem").write_text("garbage")
    ran = World(FakeKibana(), "https://127.0.0.1:9").run("install", ca_file=str(tmp_path / "ca.pem"))
    assert (ran.code, "kibana.ca_file" in ran.err) == (2, True)


def test_the_fake_asks_for_the_header_that_kibana_asks_for():
    """So that the tests above prove that it is sent."""
    status, body = FakeKibana().answer("PUT", "/api/dashboards/x", {}, b"{}")
    assert (status, "kbn-xsrf" in str(body)) == (400, True)
    assert FakeKibana().answer("PUT", "/api/dashboards/x", {"kbn-xsrf": "true"}, b'{"title": "x"}')[0] == 400
    assert FakeKibana().answer("GET", "/s/nowhere/api/dashboards/x", {}, b"")[0] == 404


# -------------------------------------------------------------------------------------------------------------- export


def test_export_writes_what_install_sends(world, tmp_path):
    ran = world.run("export", "--to", tmp_path / "kibana")
    assert ran.code == 0
    world.run("install")
    written = json.loads((tmp_path / "kibana" / "overview.json").read_text())
    assert written == {"id": OVERVIEW, "data": world.kibana.of("dashboard")[OVERVIEW]}
    assert len((tmp_path / "kibana" / "searches.ndjson").read_text().splitlines()) == 15


def test_export_where_nothing_can_be_written(world, tmp_path: Path):
    (tmp_path / "file").write_text("x")
    ran = world.run("export", "--to", tmp_path / "file" / "below")
    assert (ran.code, "--to" in ran.err) == (2, True)


# ---------------------------------------------------------------------------------------------------------------- live


@pytest.mark.needs("kibana")
def test_a_real_kibana_keeps_everything():
    """What Kibana gives back is what was sent, without a warning; twice changes nothing. In a space of its own."""
    with mock.patch.dict(os.environ, {"REVET_KIBANA_SPACE": "revet-contract-test"}):
        first = revet("dashboards", "install", "-o", "json")
        assert first.code == 0, first.err
        again = revet("dashboards", "install", "-o", "json")
        assert {step["done"] for step in again.json["steps"]} <= {"unchanged", "left"}
        assert revet("dashboards", "check").code == 0
