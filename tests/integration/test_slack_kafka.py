"""`revet serve alert` on a real broker, with Slack: one message each through kills, standbys and lost answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from alerting.models import Cause, IncidentAction, IncidentPart, Member, ShardReached
from streams.kafka.producer import KafkaDoor
from streams.outputs import output
from tests.helpers.kafkatopics import Place
from tests.helpers.pipeline import KEY
from tests.helpers.process import Revet
from tests.helpers.servers import KafkaServer
from tests.helpers.slack_server import Workspace, threaded
from tests.helpers.slackworld import DIGEST, SECURITY

pytestmark = [pytest.mark.needs("kafka"), pytest.mark.kill, pytest.mark.slow, pytest.mark.timeout(400)]

CANARY = "C0CANARY1"


@pytest.fixture
def slack() -> Iterator[Workspace]:
    workspace = Workspace(lambda: time.time_ns() // 1000)
    workspace.know(SECURITY, CANARY)
    with threaded(workspace):
        yield workspace


def part(number: int, containers: int, sequence: int) -> IncidentPart:
    now = time.time_ns() // 1000
    why = Cause("revocation", f"key:{number}", f"key {number}", now, 1)
    member = Member("prod", "shop", "Deployment/shop", "shop", "reg.example/shop:1", DIGEST, containers, now)
    return IncidentPart(
        f"v1:incident-{number}", "key-revoked", f"key:{number}", why, "p", "critical", 0, "prod", "shop", 1, sequence,
        now, containers, 1, now, "signed with a revoked key", (member,),
    )  # fmt: skip


def until(condition: Callable[[], object], *processes: Revet, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, [process.err[-3000:] for process in processes]
        time.sleep(0.1)


def test_one_message_each_while_alerters_are_killed_and_others_take_over(
    kafka_server: KafkaServer, slack: Workspace, tmp_path: Path
) -> None:
    place = Place(kafka_server.bootstrap, partitions=1).prepare()
    (tmp_path / "token").write_text(slack.token)
    settings = tmp_path / "revet.yaml"
    settings.write_text(
        f"slack: {{token_file: {tmp_path / 'token'}, api: '{slack.url}',"
        f" channels: {{security: {SECURITY}, canary: {CANARY}}}}}\n"
        f"administrators: {{keys: ['alice={KEY}']}}\n"
    )
    environ = place.environment(REVET_KAFKA_SESSION_TIMEOUT_SECONDS="6", REVET_KAFKA_ENGINE="aiokafka")
    start = ("serve", "alert", "--settings", str(settings))
    slack.fault("chat.postMessage", "drop-after", "ok", "drop-before", "429-stored")
    with closing(KafkaDoor(place.settings, part="judge")) as door:
        with Revet(*start, cwd=tmp_path, **environ) as one:
            one.said(r"( ready )", 60)
            door.send([output(ShardReached(0, 1, 1, time.time_ns() // 1000))])
            door.send([output(part(number, 3, 1)) for number in range(5)])
            until(lambda: len(slack.parents(SECURITY)) >= 2, one)
            one.kill()
        with Revet(*start, cwd=tmp_path, **environ) as two, Revet(*start, cwd=tmp_path, **environ) as three:
            for process in (two, three):
                process.said(r"( ready )", 60)
            door.send([output(part(number, 8, 2)) for number in range(5)])
            until(lambda: sum("8 containers" in s.text for s in slack.parents(SECURITY)) == 5, two, three)
            action = IncidentAction("a1", time.time_ns() // 1000, "v1:incident-3", "ack", "ann")
            door.send([output(action)])
            until(lambda: slack.replies(SECURITY), two, three)
            until(lambda: slack.parents(CANARY) and slack.parents(CANARY)[0].edits, two, three)
            assert [two.end(), three.end()] == [0, 0], two.err + three.err
            said = two.err + two.out + three.err + three.out
    assert sorted(text.rpartition("[")[2] for text in _texts(slack)) == sorted(
        {text.rpartition("[")[2] for text in _texts(slack)}
    ), "no incident stands there twice"
    assert len(_texts(slack)) == 5
    assert len(slack.replies(SECURITY)) == 1
    assert slack.token not in said


def _texts(slack: Workspace) -> list[str]:
    return [shown.text for shown in slack.parents(SECURITY)]
