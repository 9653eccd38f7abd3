"""Silences and buttons on a real broker: asked for through Kafka, kept by `revet serve alert`, through kills."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from alerting.models import Cause, IncidentPart, Member, SilenceAction, SilenceScope
from alerting.models import ShardReached as Reached
from streams.kafka.producer import KafkaDoor
from streams.outputs import output
from streams.serving import silencing
from streams.settings import Settings
from tests.helpers.kafkatopics import Place
from tests.helpers.pipeline import KEY
from tests.helpers.process import Revet
from tests.helpers.servers import KafkaServer
from tests.helpers.slack_server import Workspace, threaded, words
from tests.helpers.slack_socket import ANN, Click, Sockets
from tests.helpers.slackworld import DIGEST, SECURITY
from verifier.errors import InputError
from verifier.times import HOUR

pytestmark = [pytest.mark.needs("kafka"), pytest.mark.kill, pytest.mark.slow, pytest.mark.timeout(400)]


def wall() -> int:
    return time.time_ns() // 1000


class Installation:
    """A broker, a workspace with its side of Socket Mode, and settings for the processes."""

    def __init__(self, place: Place, sockets: Sockets, loop: asyncio.AbstractEventLoop, folder: Path) -> None:
        self.place, self.sockets, self.slack, self.loop, self.folder = place, sockets, sockets.workspace, loop, folder
        for name, secret in (("token", self.slack.token), ("app-token", self.slack.app_token)):
            (folder / name).write_text(secret)
        self.file = folder / "revet.yaml"
        self.file.write_text(
            f"slack: {{token_file: {folder / 'token'}, app_token_file: {folder / 'app-token'}, people: {{{ANN}: ann}},"
            f" api: '{self.slack.url}', channels: {{security: {SECURITY}}}}}\n"
            f"administrators: {{keys: ['alice={KEY}']}}\n"
        )
        self.settings = Settings(kafka=place.settings)
        self.environ = place.environment(REVET_KAFKA_SESSION_TIMEOUT_SECONDS="6", REVET_KAFKA_ENGINE="aiokafka")

    def alerter(self) -> Revet:
        return Revet("serve", "alert", "--settings", str(self.file), cwd=self.folder, **self.environ)

    def act(self, silence: str, action: str, namespace: str = "shop", length: int = HOUR) -> str:
        now = wall()
        if action == "end":
            return silencing.act(self.settings, SilenceAction(f"{silence}:end", now, silence, "end", "ann", "done"))
        scope = SilenceScope(codes=("unsigned",), namespaces=(namespace,))
        asked = SilenceAction(f"{silence}:add", now, silence, "add", "ann", "moving", scope, now + length)
        return silencing.act(self.settings, asked)

    def press(self, label: str) -> Click:
        """A person presses a button of the newest message."""

        async def pressed() -> Click:
            click = self.sockets.press(SECURITY, label)
            await click.settled()
            return click

        return asyncio.run_coroutine_threadsafe(pressed(), self.loop).result(10)


@pytest.fixture
def installation(kafka_server: KafkaServer, tmp_path: Path) -> Iterator[Installation]:
    workspace = Workspace(wall)
    workspace.know(SECURITY)
    sockets = Sockets(workspace)
    with threaded(workspace, *sockets.routes()) as loop:
        yield Installation(Place(kafka_server.bootstrap, partitions=1).prepare(), sockets, loop, tmp_path)


def part(namespace: str, containers: int, sequence: int) -> IncidentPart:
    now = wall()
    member = Member("prod", namespace, "Deployment/shop", "shop", "reg.example/shop:1", DIGEST, containers, now)
    return IncidentPart(
        f"v1:of-{namespace}", "unsigned", f"signed r.example/{namespace}", Cause(), "signed", "critical", 0, "prod",
        namespace, 1, sequence, now, containers, 1, now, "no signature", (member,),
    )  # fmt: skip


def until(condition: Callable[[], object], *processes: Revet, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, [process.err[-3000:] for process in processes]
        time.sleep(0.1)


def test_a_silence_holds_through_a_kill_and_its_end_tells_what_is_left(installation: Installation) -> None:
    slack = installation.slack
    with closing(KafkaDoor(installation.place.settings, part="judge")) as door:
        with installation.alerter() as one:
            one.said(r"( ready )", 60)
            door.send([output(Reached(0, 1, 1, wall()))])
            assert installation.act("v1:s1", "add") == "service"
            (known,) = silencing.silences(installation.settings)
            assert (known.id, known.state, known.by, known.why) == ("v1:s1", "in-force", "ann", "moving")
            door.send([output(part("shop", 3, 1)), output(part("pay", 2, 1))])
            until(lambda: slack.parents(SECURITY), one)
            one.kill()
        with installation.alerter() as two:
            two.said(r"( ready )", 60)
            door.send([output(part("shop", 5, 2)), output(part("pay", 4, 2))])
            until(lambda: any("4 containers" in s.text for s in slack.parents(SECURITY)), two)
            assert len(slack.parents(SECURITY)) == 1, "what is silenced is told nobody"
            (known,) = silencing.silences(installation.settings)
            assert known.withheld >= 1
            assert installation.act("v1:s1", "end") == "service"
            until(lambda: len(slack.parents(SECURITY)) == 2, two)
            assert "5 containers" in slack.parents(SECURITY)[1].text
            assert [s.state for s in silencing.silences(installation.settings)] == ["ended"]
            assert two.end() == 0, two.err


def test_without_an_alerter_it_is_durable_and_done_by_the_next_one(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silencing, "GIVE_UP", 1.0)
    assert installation.act("v1:s2", "add") == "nobody"
    assert silencing.silences(installation.settings) == []
    with installation.alerter() as one:
        one.said(r"( ready )", 60)
        until(lambda: [s.id for s in silencing.silences(installation.settings)] == ["v1:s2"], one)
        assert one.end() == 0, one.err


def test_without_kafka_it_says_what_is_missing() -> None:
    with pytest.raises(InputError, match=r"kafka\.bootstrap"):
        silencing.silences(Settings())


def test_a_press_is_on_the_broker_before_it_is_acknowledged_and_survives_a_kill(installation: Installation) -> None:
    slack = installation.slack
    with closing(KafkaDoor(installation.place.settings, part="judge")) as door:
        with installation.alerter() as one:
            one.said(r"( ready )", 60)
            door.send([output(Reached(0, 1, 1, wall())), output(part("shop", 3, 1))])
            until(lambda: slack.parents(SECURITY) and installation.sockets.live, one)
            click = installation.press("Acknowledge")
            one.kill()  # whatever it had in hand is gone; what it acknowledged is not
            assert click.acks
        with installation.alerter() as two:
            until(lambda: slack.replies(SECURITY), two)
            assert f"acknowledged by ann (slack:{ANN})" in words(slack.replies(SECURITY)[0])
            assert two.end() == 0, two.err
        assert "xapp-" not in two.err + two.out + one.err + one.out
