"""Buttons on one machine, the whole way: a revocation, its message, a press, a kill; and who deployed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.cluster import demo_images, write_recording, write_trust
from tests.helpers.process import EVIDENCE, Revet, run, run_args
from tests.helpers.slack_server import Shown, Workspace, threaded, words
from tests.helpers.slack_socket import ANN, Click, Sockets
from tests.helpers.slackworld import SECURITY

pytestmark = [pytest.mark.kill, pytest.mark.slow]


def until(condition: Callable[[], object], process: Revet, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, process.err
        assert process.process.poll() is None, process.err
        time.sleep(0.05)


def about_key(slack: Workspace) -> list[Shown]:
    return [shown for shown in slack.parents(SECURITY) if "revoked key" in shown.text]


def test_a_press_is_done_once_through_a_kill_and_is_on_record(tmp_path: Path) -> None:
    recording = write_recording(tmp_path / "r", events=400, images=demo_images(), seed=3)
    trust, state = write_trust(tmp_path / "trust"), tmp_path / "s.sqlite"
    played = run(*run_args(state, recording.audit, recording.pods, trust, "--quiet"))
    assert played.returncode == 0, played.stderr
    slack = Workspace(lambda: time.time_ns() // 1000)
    slack.know(SECURITY)
    sockets = Sockets(slack)
    for name, secret in (("token", slack.token), ("app-token", slack.app_token)):
        (tmp_path / name).write_text(secret)
    with threaded(slack, *sockets.routes()) as loop:
        settings = tmp_path / "revet.yaml"
        settings.write_text(
            f"slack: {{token_file: {tmp_path / 'token'}, app_token_file: {tmp_path / 'app-token'},"
            f" people: {{{ANN}: ann}}, api: '{slack.url}', channels: {{security: {SECURITY}}}}}\n"
        )
        serve = ("run", "--listen", "127.0.0.1:0", "--cluster", "c1", *EVIDENCE, "--state", str(state))

        async def pressed() -> Click:
            click = sockets.press(SECURITY, "Acknowledge", shown=about_key(slack)[0])
            assert await click.settled()
            return click

        with Revet(*serve, "--settings", str(settings)) as process:
            process.port()
            done = run("revoke", "key", "release-2025", "--reason", "keyCompromise", "--all-signatures", "--yes",
                       "--state", str(state))  # fmt: skip
            assert done.returncode == 0, done.stderr
            until(lambda: about_key(slack) and sockets.live, process)
            until(lambda: "deployed: " in words(about_key(slack)[0]), process)
            click = asyncio.run_coroutine_threadsafe(pressed(), loop).result(10)
            process.kill()  # it is acknowledged, so it is in the file
            assert click.acks
            assert "xapp-" not in process.err + process.out
        incident = about_key(slack)[0].text.rpartition("[")[2].rstrip("]")
        with Revet(*serve, "--settings", str(settings)) as process:
            process.port()
            until(lambda: any("acknowledged" in reply.text for reply in slack.replies(SECURITY)), process)
            until(lambda: sockets.live, process)
            loop.call_soon_threadsafe(sockets.again, click)  # it comes once more, to another process
            until(lambda: len(click.acks) == 2, process)
            assert process.end() == 0, process.err
    shown = run("incident", "show", incident, "--state", str(state)).stdout
    assert f"ann (slack:{ANN})" in shown
    assert sum("acknowledged" in reply.text for reply in slack.replies(SECURITY)) == 1
    assert len(about_key(slack)) == 1
    assert slack.refused == []
    assert sockets.strange == []
