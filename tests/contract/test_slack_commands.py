"""`revet alert test` and `revet alert routes`, and what settings of Slack are refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.serving.logs import secrets_of
from streams.settings import Settings, load_settings
from streams.tellers import channels_of, links_of, routes_of
from tests.helpers.command import revet
from tests.helpers.slack_server import Workspace, threaded
from tests.helpers.slack_socket import Sockets
from tests.helpers.slackworld import SECURITY
from verifier.errors import InputError

TEAM = "C0PAY0001"


@pytest.fixture
def slack() -> Iterator[Workspace]:
    workspace = Workspace(lambda: time.time_ns() // 1000)
    workspace.know(SECURITY, TEAM)
    with threaded(workspace):
        yield workspace


def file(folder: Path, slack: Workspace, more: str = "") -> Path:
    (folder / "token").write_text(slack.token + "\n")
    path = folder / "revet.yaml"
    path.write_text(
        f"slack:\n  token_file: {folder / 'token'}\n  api: {slack.url or 'http://127.0.0.1:1/api/'}\n"
        f"  channels: {{security: {SECURITY}, team/pay: {TEAM}, shop-alerts: C0SHOP001}}\n{more}"
    )
    return path


# ------------------------------------------------------------------------------------------------- alert test


@pytest.mark.parametrize(
    ("token", "ok", "word"), [("xapp-0000-secret-of-the-test", True, "app-level token"), ("xapp-other", False, "xapp-")]
)
def test_buttons_are_tried_by_asking_for_a_connection(
    slack: Workspace, tmp_path: Path, token: str, ok: bool, word: str
) -> None:
    Sockets(slack)
    (tmp_path / "app").write_text(token)
    more = f"  app_token_file: {tmp_path / 'app'}\n  people: {{U0ANN0001: ann}}\n"
    ran = revet("alert", "test", "--to", "buttons", "--settings", file(tmp_path, slack, more), "-o", "json")
    assert ran.code == (0 if ok else 4), ran.err
    (step,) = ran.json["steps"]
    assert (step["step"], step["ok"], word in step["detail"] + step["advice"]) == ("connect", ok, True)
    assert token not in ran.out + ran.err


def test_buttons_that_nobody_set_up_are_named(slack: Workspace, tmp_path: Path) -> None:
    ran = revet("alert", "test", "--to", "buttons", "--settings", file(tmp_path, slack))
    assert (ran.code, "slack.app_token" in ran.err) == (2, True)


def test_a_destination_that_works_is_tried_in_four_steps(slack: Workspace, tmp_path: Path) -> None:
    ran = revet("alert", "test", "--to", "team/pay", "--settings", file(tmp_path, slack), "-o", "json")
    assert ran.code == 0, ran.err
    assert [(step["step"], step["ok"]) for step in ran.json["steps"]] == [
        ("post", True), ("find", True), ("reply", True), ("edit", True),
    ]  # fmt: skip
    (parent,) = slack.parents(TEAM)
    assert parent.text.startswith("RESOLVED TEST")
    assert len(slack.replies(TEAM, parent.ts)) == 1
    assert slack.parents(SECURITY) == []


@pytest.mark.parametrize(
    ("how", "step", "detail", "advice"),
    [
        ("member", "post", "not_in_channel", "invite the app"),
        ("archived", "post", "is_archived", "choose another"),
        ("unknown", "post", "channel_not_found", "the ID is wrong"),
        ("history", "find", "missing_scope", "channels:history"),
        ("token", "post", "invalid_auth", "slack.token_file"),
    ],
)
def test_what_is_missing_is_named_with_what_mends_it(
    how: str, step: str, detail: str, advice: str, slack: Workspace, tmp_path: Path
) -> None:
    channel = slack.channels[SECURITY]
    channel.member, channel.archived = how != "member", how == "archived"
    slack.history = how != "history"
    if how == "unknown":
        del slack.channels[SECURITY]
    path = file(tmp_path, slack)
    if how == "token":
        slack.token = "another"
    ran = revet("alert", "test", "--to", "security", "--settings", path, "-o", "json")
    assert ran.code == 4
    failed = next(s for s in ran.json["steps"] if not s["ok"])
    assert (failed["step"], failed["detail"]) == (step, detail)
    assert advice in failed["advice"]
    assert "secret" not in ran.out + ran.err


def test_a_destination_without_a_channel_is_an_error_that_lists_those_there_are(
    slack: Workspace, tmp_path: Path
) -> None:
    ran = revet("alert", "test", "--to", "team/none", "--settings", file(tmp_path, slack))
    assert ran.code == 2
    assert "team/pay" in ran.err


def test_without_slack_there_is_nothing_to_try(tmp_path: Path) -> None:
    (tmp_path / "revet.yaml").write_text("quiet: true\n")
    ran = revet("alert", "test", "--to", "security", "--settings", tmp_path / "revet.yaml")
    assert ran.code == 2
    assert "slack.token" in ran.err


def test_nobody_answers(slack: Workspace, tmp_path: Path) -> None:
    slack.url = ""
    ran = revet("alert", "test", "--to", "security", "--settings", file(tmp_path, slack), "-o", "json")
    assert ran.code == 4
    assert ran.json["steps"][0]["detail"] == "ClientConnectorError"


# ------------------------------------------------------------------------------------------------- alert routes


def test_routes_tell_the_channel_of_each_destination(slack: Workspace, tmp_path: Path) -> None:
    ran = revet("alert", "routes", "--settings", file(tmp_path, slack), "-o", "json")
    assert [(r["destination"], r["channel"]) for r in ran.json["routes"]] == [
        ("security", SECURITY), ("team/pay", TEAM), ("shop-alerts", "C0SHOP001"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "team", "why", "low", "critical"),
    [
        (["team=pay"], "pay", "label:team", [TEAM], [SECURITY, TEAM]),
        (["team=nobody"], "nobody", "label:team", [SECURITY], [SECURITY]),
        ([], "unowned", "default", [SECURITY], [SECURITY]),
        (["team=shop", "slack-channel=shop-alerts"], "shop", "label:team", ["C0SHOP001"], [SECURITY, "C0SHOP001"]),
        (["team=shop", "slack-channel=C0EVIL001"], "shop", "label:team", [SECURITY], [SECURITY]),
        (["argocd.argoproj.io/instance=checkout"], "pay", "table:0", [TEAM], [SECURITY, TEAM]),
        (["kustomize.toolkit.fluxcd.io/name=checkout-eu"], "pay", "table:0", [TEAM], [SECURITY, TEAM]),
    ],
)
def test_routes_explain_a_namespace(
    labels: list[str], team: str, why: str, low: list[str], critical: list[str], slack: Workspace, tmp_path: Path
) -> None:
    path = file(tmp_path, slack, "owners: {table: [{application: checkout*, team: pay}]}\n")
    flags = [part for label in labels for part in ("--label", label)]
    ran = revet("alert", "routes", "--explain", "--namespace", "shop", *flags, "--settings", path, "-o", "json")
    assert ran.code == 0, ran.err
    told = ran.json["explained"]
    assert (told["team"], told["why"]) == (team, why)
    found = {severity: [r["channel"] for r in routes] for severity, routes in told["by_severity"].items()}
    assert (found["low"], found["critical"]) == (low, critical)


@pytest.mark.parametrize(("label", "told"), [("env=prod", True), ("env=test", False)])
def test_routes_explain_rules_over_clusters(label: str, told: bool, slack: Workspace, tmp_path: Path) -> None:
    path = file(tmp_path, slack, "owners: {also: [{labels: {env: prod}, to: shop-alerts}]}\n")
    flags = ("--explain", "--namespace", "x", "--cluster-label", label)
    ran = revet("alert", "routes", *flags, "--settings", path, "-o", "json")
    found = [route["channel"] for route in ran.json["explained"]["by_severity"]["high"]]
    assert ("C0SHOP001" in found) is told


def test_routes_are_readable(slack: Workspace, tmp_path: Path) -> None:
    ran = revet("alert", "routes", "--explain", "--namespace", "x\x1b[2J", "--settings", file(tmp_path, slack))
    assert ran.code == 0
    assert SECURITY in ran.out
    assert "\x1b" not in ran.out + ran.err


@pytest.mark.parametrize("flags", [["--explain"], ["--explain", "--namespace", "x", "--label", "nothing"]])
def test_routes_need_a_namespace_and_labels_of_two_parts(flags: list[str], slack: Workspace, tmp_path: Path) -> None:
    assert revet("alert", "routes", *flags, "--settings", file(tmp_path, slack)).code == 2


# ------------------------------------------------------------------------------------------------- settings


def loaded(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    return load_settings(path, {}, {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("slack: {token: xoxb-abcdefgh}", "names no channel for 'security'"),
        ("slack: {token: xoxb-abcdefgh, token_file: /x, channels: {security: C0SEC0001}}", "not both"),
        ("slack: {channels: {security: '#alerts'}}", "channel ID such as"),
        ("slack: {channels: {'<!x>': C0SEC0001}}", "expected names such as"),
        ("slack: {mentions: ['@here']}", "expected IDs"),
        ("slack: {groups: {team/pay: '@payments-oncall'}}", "team/pay: expected the ID of a user group"),
        ("slack: {groups: {team/pay: here}}", "team/pay: expected the ID of a user group"),
        ("slack: {channels: {security: C0SEC0001}, groups: {team/pay: S0PAY0001}}", "groups: team/pay: channels names"),
        ("slack: {api: 'http://slack.example/api'}", "expected https"),
        ("slack: {api: 'https://u:p@slack.example/api'}", "without a name"),
        ("alerting: {docs_url: 'javascript:alert(1)'}", "expected https"),
        ("alerting: {kibana_url: 'https://k.example/|x'}", "quotes"),
        ("alerting: {quiet_hours: '22-7'}", "HH:MM-HH:MM"),
        ("alerting: {quiet_hours: '22:00-07:00 Mars/Base'}", "time zone"),
        ("alerting: {quiet_hours: '07:00-07:00'}", "silence"),
        ("alerting: {webhook_url: 'http://h.example/SECRETPATH'}", "alerting.webhook_url: expected https"),
        ("owners: {table: [{team: all}]}", "own everything"),
        (
            "slack: {token: xoxb-abcdefgh, channels: {security: C0SEC0001}}\nowners: {also: [{to: nowhere}]}",
            "names no channel 'nowhere'",
        ),
        (
            "slack: {token: xoxb-abcdefgh, channels: {security: C0SEC0001}}\nledger: {slack: audit}",
            "ledger.slack: slack.channels names no channel 'audit'",
        ),
    ],
)
def test_settings_that_would_mislead_are_refused(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        loaded(tmp_path, text)
    assert said in str(error.value)
    assert "SECRETPATH" not in str(error.value)
    assert "xoxb" not in str(error.value)


def test_secrets_of_places_are_known_to_the_log_and_shown_nowhere(tmp_path: Path) -> None:
    text = (
        "slack: {token: xoxb-abcdefgh, channels: {security: C0SEC0001}}\n"
        "alerting: {webhook_url: 'https://h.example/SECRETPATH', pagerduty_key: PDKEY12345678}\n"
    )
    found = loaded(tmp_path, text)
    for secret in ("xoxb-abcdefgh", "https://h.example/SECRETPATH", "PDKEY12345678"):
        assert secret in secrets_of(found)
        assert secret not in repr(found) + found.model_dump_json()


def test_what_the_settings_come_to(tmp_path: Path) -> None:
    alone = loaded(tmp_path, "slack: {token: xoxb-abcdefgh, channels: {security: C0SEC0001}}")
    assert not routes_of(alone).team_slices
    teams = loaded(tmp_path, "slack: {token: xoxb-abcdefgh, channels: {security: C0SEC0001, team/a: C0TEAM001}}")
    assert routes_of(teams).team_slices
    none = loaded(tmp_path, "slack: {channels: {security: C0SEC0001, team/a: C0TEAM001}}")
    assert channels_of(none) is None
    assert not routes_of(none).team_slices
    assert links_of(none)[3:] == ("revet-state-findings-default", "logs-revet.incident-default")


def test_variables_set_channels_too() -> None:
    found = load_settings(None, {"REVET_SLACK_CHANNELS": "security=C0SEC0001,team/pay=C0PAY0001"}, {})
    assert found.slack.channels == {"security": "C0SEC0001", "team/pay": "C0PAY0001"}
