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
ALL = "chat:write,channels:history,groups:history"


class Workspace:
    """What `auth.test` answers: a body, and the header that says what the token may."""

    def __init__(self) -> None:
        self.body: dict[str, Any] = {"ok": True, "team": "Test", "user": "revet"}
        self.scopes: str | None = ALL
        self.status = 200
        self.asked: list[tuple[str, str]] = []
        workspace = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                workspace.asked.append((self.path, self.headers.get("Authorization", "")))
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = json.dumps(workspace.body).encode()
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
    known = {"token_file": tmp_path / "token", "api": url, "channels": {"security": "C0SEC0001"}}
    found = list(look(Settings(slack=SlackSettings.model_validate(known | slack))))
    assert TOKEN not in repr(found)
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


def test_without_a_token_nobody_is_asked():
    assert list(look(Settings())) == []
