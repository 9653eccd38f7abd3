"""The whole way in one process that is killed: a recorded fleet, a key that is revoked, and one message in Slack."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.cluster import demo_images, write_recording, write_trust
from tests.helpers.process import EVIDENCE, Revet, run, run_args
from tests.helpers.slack_server import Workspace, threaded
from tests.helpers.slackworld import SECURITY

pytestmark = [pytest.mark.kill, pytest.mark.slow]


@pytest.fixture
def slack() -> Iterator[Workspace]:
    workspace = Workspace(lambda: time.time_ns() // 1000)
    workspace.know(SECURITY)
    with threaded(workspace):
        yield workspace


def until(condition: Callable[[], object], process: Revet, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, process.err
        assert process.process.poll() is None, process.err
        time.sleep(0.05)


def about_key(slack: Workspace) -> list[str]:
    return [shown.text for shown in slack.parents(SECURITY) if "revoked key" in shown.text]


def test_a_revocation_is_one_message_in_slack_through_kills_and_lost_answers(slack: Workspace, tmp_path: Path) -> None:
    recording = write_recording(tmp_path / "r", events=400, images=demo_images(), seed=3)
    trust, state = write_trust(tmp_path / "trust"), tmp_path / "s.sqlite"
    played = run(*run_args(state, recording.audit, recording.pods, trust, "--quiet"))
    assert played.returncode == 0, played.stderr
    (tmp_path / "token").write_text(slack.token)
    settings = tmp_path / "revet.yaml"
    settings.write_text(
        f"slack: {{token_file: {tmp_path / 'token'}, api: '{slack.url}', channels: {{security: {SECURITY}}}}}\n"
    )
    serve = ("run", "--listen", "127.0.0.1:0", "--cluster", "c1", *EVIDENCE, "--state", str(state))
    slack.fault("chat.postMessage", *["drop-after"] * 3)
    with Revet(*serve, "--settings", str(settings)) as process:
        process.port()
        done = run("revoke", "key", "release-2025", "--reason", "keyCompromise", "--all-signatures", "--yes",
                   "--state", str(state))  # fmt: skip
        assert done.returncode == 0, done.stderr
        until(lambda: about_key(slack), process)
        process.kill()
        assert slack.token not in process.err + process.out
    with Revet(*serve, "--settings", str(settings)) as process:
        process.port()
        incident = about_key(slack)[0].rpartition("[")[2].rstrip("]")
        done = run("incident", "ack", incident, "--note", "on it", "--state", str(state))
        assert done.returncode == 0, done.stderr
        until(lambda: any("acknowledged" in reply.text for reply in slack.replies(SECURITY)), process)
        assert process.end() == 0, process.err
    assert len(about_key(slack)) == 1
    assert len({shown.text.rpartition("[")[2] for shown in slack.parents(SECURITY)}) == len(slack.parents(SECURITY))
    assert slack.limited == {}
    assert slack.refused == []
