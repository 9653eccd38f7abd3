"""Acceptance 14 on a real node that is killed: alerts flow and say so, and what happened meanwhile is indexed once.

`revet serve alert` and `revet serve index` are processes of their own; the node is one of their own too.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from alerting.models import Cause, IncidentPart, Member, ShardReached
from alerting.render import RECORD_DOWN
from scripts.servers.elasticsearch import Node
from streams.codec import decode
from streams.engine.port import Output
from streams.events import DecisionObserved, Owner
from streams.kafka.producer import KafkaDoor
from streams.kafka.reading import KafkaLog
from streams.outputs import output
from streams.queries.conditions import EVERYTHING
from streams.queries.port import every
from streams.sinks.documents import documents
from streams.sinks.fields import HOMES
from streams.topics import INCIDENTS
from tests.helpers.pipeline import Cluster
from tests.helpers.process import Revet
from tests.helpers.servers import KafkaServer, private_node
from tests.helpers.slack_server import Workspace, threaded, words
from tests.helpers.slackworld import DIGEST, SECURITY

pytestmark = [
    pytest.mark.needs("kafka", "elasticsearch"), pytest.mark.kill, pytest.mark.slow, pytest.mark.timeout(1200)
]  # fmt: skip

INCIDENTS_TOLD = ("v1:incident-0", "v1:incident-1")
OTHER = "sha256:" + "cd" * 32


def now() -> int:
    return time.time_ns() // 1000


@pytest.fixture
def slack() -> Iterator[Workspace]:
    workspace = Workspace(now)
    workspace.know(SECURITY)
    with threaded(workspace):
        yield workspace


@pytest.fixture
def node() -> Iterator[Node]:
    with private_node() as running:
        yield running


def parts(containers: int, sequence: int, digest: str = DIGEST) -> list[Output]:
    """What a shard counts of each incident."""
    at = now()
    member = Member("prod", "shop", "Deployment/shop", "shop", "reg.example/shop:1", digest, containers, at)
    made = []
    for incident in INCIDENTS_TOLD:
        why = Cause("revocation", f"key:{incident}", f"key {incident}", at, 1)
        part = IncidentPart(
            incident, "key-revoked", f"key:{incident}", why, "p", "critical", 0, "prod", "shop", 1, sequence, at,
            containers, 1, at, "signed with a revoked key", (member,),
        )  # fmt: skip
        made.append(output(part))
    return made


def admitted() -> DecisionObserved:
    """The decision that let in what `parts` are about."""
    owner = Owner("Deployment", "shop")
    return DecisionObserved(
        "d1", now(), "prod", "shop", owner, "admitted", "update", "deployments", "shop", user="bob", user_agent="argocd"
    )


def until(condition: Callable[[], object], slack: Workspace, *processes: Revet, seconds: float = 300) -> None:
    """Edits of what moves become rare: the wait is as long as the longest pause between two."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "\n\n".join([*shown(slack), *(process.err[-1500:] for process in processes)])
        time.sleep(0.5)


def told(cluster: Cluster) -> set[tuple[str, str]]:
    """(home, id) of every document that what is told makes."""
    events = (decode(record.value) for record in KafkaLog(cluster.settings.kafka).read(INCIDENTS))
    return {(document.home, document.id) for event in events for document in documents(event)}


def recorded(cluster: Cluster, *homes: str) -> Counter[tuple[str, str]]:
    """The same of the record, each as often as it is there."""
    with cluster.reader() as reader:
        return Counter((home, hit.id) for home in homes for hit in every(reader, home, EVERYTHING))


def shown(slack: Workspace) -> list[str]:
    """Messages of the two incidents. Others may say, rightly, that the indexer does not move on."""
    return [words(parent) for parent in slack.parents(SECURITY) if "revoked key" in parent.text]


def all_say(slack: Workspace, text: str) -> bool:
    return all(text in one for one in shown(slack))


def test_14_a_killed_node_holds_up_no_alert_and_everything_is_indexed_later_once(
    kafka_server: KafkaServer, node: Node, slack: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(slack.token)
    environ = {
        "REVET_SLACK_TOKEN_FILE": str(tmp_path / "token"),
        "REVET_SLACK_API": slack.url,
        "REVET_SLACK_CHANNELS": f"security={SECURITY}",
    }
    cluster = Cluster(kafka_server.bootstrap, node.url, tmp_path / "cluster", 1, **environ)
    cluster.prepare()
    with (
        Revet("serve", "alert", cwd=tmp_path, **cluster.environ) as alert,
        Revet("serve", "index", cwd=tmp_path, **cluster.environ) as index,
        closing(KafkaDoor(cluster.settings.kafka, part="judge")) as door,
    ):
        for process in (alert, index):
            process.said(r"( ready )", 120)
        door.send([output(admitted())])
        until(lambda: recorded(cluster, HOMES["admission"]), slack, index)
        node.kill()
        door.send([output(ShardReached(0, 1, 1, now())), *parts(3, 1)])
        until(lambda: len(shown(slack)) == 2, slack, alert)
        door.send(parts(8, 2))
        for said in ("8 containers", RECORD_DOWN):
            until(partial(all_say, slack, said), slack, alert)
        assert {id_ for home, id_ in told(cluster) if home == HOMES["incidents"]} == set(INCIDENTS_TOLD)
        node.start(seconds=400)
        homes = sorted({home for home, _ in told(cluster)})
        until(lambda: recorded(cluster, *homes).keys() >= told(cluster), slack, index)
        door.send(parts(9, 3, OTHER))  # another image: what the record adds is asked about anew
        for said in ("9 containers", "deployed: "):
            until(partial(all_say, slack, said), slack, alert, index)
        until(lambda: not any(RECORD_DOWN in text for text in shown(slack)), slack, alert)
        until(lambda: recorded(cluster, *homes) == Counter(told(cluster)), slack, index)
        assert [alert.end(), index.end()] == [0, 0], alert.err + index.err
    assert len(shown(slack)) == 2
    others = [parent.text for parent in slack.parents(SECURITY) if "revoked key" not in parent.text]
    assert [text for text in others if "index" not in text] == []
    assert slack.refused == []
