"""`revet run --watch` on a real API server: one process and one file, killed and started again."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from streams.codec import decode
from streams.events import FeedSeen, PodObserved
from streams.topics import CLUSTER_SIGHT, OBSERVATIONS
from tests.helpers.process import ROOT, Revet
from tests.helpers.watchedcluster import WatchedCluster

pytestmark = [pytest.mark.needs("kube"), pytest.mark.timeout(240), pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster(require, tmp_path_factory) -> Iterator[WatchedCluster]:
    with WatchedCluster(require("kube"), tmp_path_factory.mktemp("kube")) as made:
        yield made


def logged(state: Path, topic: str) -> list[object]:
    with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True, timeout=20)) as connection:
        rows = connection.execute("SELECT value FROM log WHERE topic = ? ORDER BY rowid", (topic,)).fetchall()
    return [decode(value) for (value,) in rows]


def told(state: Path) -> list[tuple[str, bool, str]]:
    events = logged(state, OBSERVATIONS)
    return [(e.pod.name, e.gone, e.gone_reason) for e in events if isinstance(e, PodObserved)]


def watching(cluster: WatchedCluster, state: Path) -> Revet:
    file = cluster.kubeconfig("admin", "--token=admin-token")
    return Revet("run", "--watch", f"prod={file}", "--state", str(state), "--cluster", "prod", cwd=ROOT)


def test_one_machine_watches_and_finds_what_ended_while_it_was_down(cluster, tmp_path):
    state = tmp_path / "state.sqlite"
    for name in ("stays", "goes"):
        cluster.run(name)
    with watching(cluster, state) as first:
        first.until(lambda: state.exists() and len(told(state)) >= 2)
        first.until(lambda: logged(state, CLUSTER_SIGHT))
        first.kill()
    cluster.delete("goes")
    cluster.kill_server()
    cluster.compact()
    cluster.start_server()
    with watching(cluster, state) as second:
        second.until(lambda: any(name == "goes" and gone for name, gone, _ in told(state)))
        cluster.run("comes")
        second.until(lambda: ("comes", False, "") in told(state))
        assert second.end() == 0, second.err
    found = told(state)
    assert [row for row in found if row[0] == "stays" and row[1]] == []
    assert {row for row in found if row[0] == "goes" and row[1]} <= {("goes", True, "vanished"), ("goes", True, "")}
    signs = [event for event in logged(state, CLUSTER_SIGHT) if isinstance(event, FeedSeen)]
    assert {(sign.cluster, sign.feed) for sign in signs} == {("prod", "pods")}
    assert "admin-token" not in first.err + second.err


def test_a_kubeconfig_that_is_not_there_is_told_and_does_not_end_it(tmp_path):
    state = tmp_path / "state.sqlite"
    with Revet("run", "--watch", f"prod={tmp_path / 'none'}", "--state", str(state), cwd=ROOT) as process:
        process.said(r"(cluster prod: .*pods\.clusters)")
        assert process.end() == 0
