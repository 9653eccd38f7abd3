"""`revet doctor` about Slack: the token, and what it may; one question, and not a word of the token."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from streams.serving.around import look
from streams.serving.checks import Check
from streams.settings import Settings, SlackSettings

TOKEN = "xoxb-planted-0f0e0d0c"
APP_TOKEN = "xapp-planted-1f1e1d1c"
ALL = "chat:write,channels:history,groups:history"


class Workspace:
    """What `auth.test` answers: a body, and the header that says what the token may; and what an app token is told."""

    def __init__(self) -> None:
        self.body: dict[str, Any] = {"ok": True, "team": "Test", "user": "revet"}
        self.scopes: str | None = ALL
        self.app: dict[str, Any] = {"ok": True, "url": "ws://127.0.0.1:9/never-gone-to?ticket=planted-ticket"}
        self.status = 200
        self.asked: list[tuple[str, str]] = []
        workspace = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                workspace.asked.append((self.path, self.headers.get("Authorization", "")))
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                is_app = self.path.endswith("apps.connections.open")
                body = json.dumps(workspace.app if is_app else workspace.body).encode()
                self.send_response(workspace.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                if workspace.scopes is not None:
                    self.send_header("X-OAuth-Scopes", workspace.scopes)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as in http.server
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/api/"


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    made = Workspace()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join(10)


def checks(url: str, tmp_path: Path, **slack: Any) -> list[Check]:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "app-token").write_text(APP_TOKEN)
    known = {"token_file": tmp_path / "token", "api": url, "channels": {"security": "C0SEC0001"}}
    found = list(look(Settings(slack=SlackSettings.model_validate(known | slack))))
    assert not any(secret in repr(found) for secret in (TOKEN, APP_TOKEN, "planted-ticket"))
    return found


def test_a_token_that_counts_and_may_do_everything(workspace, tmp_path):
    found = checks(workspace.url, tmp_path)
    assert [(c.name, c.status) for c in found] == [("slack", "ok"), ("slack", "ok")]
    assert found[0].message == "revet in Test; channels 1"
    assert workspace.asked == [("/api/auth.test", f"Bearer {TOKEN}")], "one question"


@pytest.mark.parametrize(
    ("scopes", "status", "named"),
    [
        ("chat:write,channels:history", "warn", "groups:history"),
        ("channels:history, groups:history", "fail", "chat:write"),
        ("", "fail", "chat:write, channels:history"),
        ("chat:write.public,channels:history", "fail", "chat:write"),
        (None, "warn", "does not say"),
    ],
)
def test_what_the_token_lacks_is_named(workspace, tmp_path, scopes, status, named):
    workspace.scopes = scopes
    found = checks(workspace.url, tmp_path)
    assert (found[1].status, named in found[1].message, bool(found[1].mend)) == (status, True, True)


@pytest.mark.parametrize("error", ["invalid_auth", "token_revoked", "account_inactive"])
def test_a_token_that_does_not_count(workspace, tmp_path, error):
    workspace.body = {"ok": False, "error": error}
    (found,) = checks(workspace.url, tmp_path)
    assert (found.status, found.message) == ("fail", f"auth.test: {error}")
    assert "slack.token_file" in found.mend


@pytest.mark.parametrize("status", [500, 503])
def test_a_service_that_is_out_of_order(workspace, tmp_path, status):
    workspace.status, workspace.body = status, {}
    (found,) = checks(workspace.url, tmp_path)
    assert (found.status, "slack.api" in found.mend) == ("fail", True)


def test_a_service_that_is_not_there(tmp_path):
    (found,) = checks("http://127.0.0.1:9/api/", tmp_path)
    assert (found.status, "slack.api" in found.mend) == ("fail", True)


def test_a_token_file_that_is_not_there_is_a_line(tmp_path):
    (found,) = checks("http://127.0.0.1:9/api/", tmp_path, token_file=tmp_path / "none")
    assert found.status == "fail"
    assert "none" in found.message


def with_buttons(workspace: Workspace, tmp_path: Path, **slack: Any) -> list[Check]:
    app = {"app_token_file": tmp_path / "app-token", "people": {"U0ANN0001": "ann"}}
    return checks(workspace.url, tmp_path, **app | slack)


def test_an_app_level_token_that_would_hear_buttons(workspace, tmp_path):
    found = with_buttons(workspace, tmp_path)
    assert [(c.name, c.status) for c in found] == [("slack", "ok")] * 3
    assert "app-level token" in found[2].message
    asked = [("/api/auth.test", f"Bearer {TOKEN}"), ("/api/apps.connections.open", f"Bearer {APP_TOKEN}")]
    assert workspace.asked == asked, "one question each, and nothing is opened"


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        ("invalid_auth", "slack.app_token_file"),
        ("not_allowed_token_type", "xapp-"),
        ("missing_scope", "connections:write"),
        ("token_revoked", "slack.app_token_file"),
        ("something_new", "Socket Mode"),
    ],
)
def test_an_app_level_token_that_would_not(workspace, tmp_path, error, mend):
    workspace.app = {"ok": False, "error": error}
    found = with_buttons(workspace, tmp_path)
    assert [c.status for c in found] == ["ok", "ok", "fail"], "the bot's own token is as it was"
    assert error in found[2].message
    assert mend in found[2].mend


def test_an_app_token_file_that_is_not_there_is_a_line_beside_the_others(workspace, tmp_path):
    found = with_buttons(workspace, tmp_path, app_token_file=tmp_path / "none")
    assert [c.status for c in found] == ["ok", "ok", "fail"]
    assert "none" in found[2].message


def test_without_a_token_nobody_is_asked():
    assert list(look(Settings())) == []
