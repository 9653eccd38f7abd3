"""From a cluster that nobody watches to its first verdict, as `docs/install.md` has it, by the clock.

A hub is there. The steps of a new cluster are then taken as they are printed: enrol it, change the two files of the
overlay, apply it to a real API server. The API server has no kubelets, so the test does what one would: it starts the
watcher with the arguments, the settings and the service account of the Deployment that was applied.
"""

from __future__ import annotations

import filecmp
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from streams.queries.lists import search
from tests.helpers.cluster import write_trust
from tests.helpers.load import PLATFORM, SOURCE
from tests.helpers.pipeline import Cluster
from tests.helpers.process import ROOT, Revet, run
from tests.helpers.trustadmins import ALICE
from tests.helpers.watchedcluster import WatchedCluster

pytestmark = [pytest.mark.needs("kube", "kafka", "elasticsearch"), pytest.mark.slow, pytest.mark.timeout(900)]

GOAL_SECONDS = 600
GOAL_FILES = 5
NAME = "prod-us"
EXAMPLE = "deploy/examples/prod-eu"


@pytest.fixture
def watched(require, tmp_path: Path) -> Iterator[WatchedCluster]:
    """A cluster in which something runs, and that nobody watches."""
    folder = tmp_path / "kube"
    folder.mkdir()
    with WatchedCluster(require("kube"), folder) as made:
        for number in range(3):
            made.run(f"api-{number}")
        yield made


class Hub:
    """What stands already: topics, indices, trust, and the processes that judge and record."""

    def __init__(self, bootstrap: str, url: str, folder: Path) -> None:
        evidence = {"REVET_EVIDENCE_SOURCE": SOURCE, "REVET_EVIDENCE_PLATFORM": PLATFORM}
        self.cluster = Cluster(bootstrap, url, folder / "hub", 2, **evidence)
        self._folder = folder
        self.key = folder / "alice.pem"
        self.key.touch(mode=0o600)
        self.key.write_bytes(ALICE.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.cluster.prepare()
        parts = [Revet("serve", part, cwd=self._folder, **self.cluster.environ) for part in ("judge", "fetch", "index")]
        for process in parts:
            self._stack.enter_context(process)
        for process in parts:
            process.said(r"( ready )", 120)
        self.revet("trust", "apply", str(write_trust(self._folder / "trust")), *self.signed)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def signed(self) -> tuple[str, str]:
        return ("--sign-with", str(self.key))

    def revet(self, *arguments: str) -> str:
        """A command that has to succeed; what it printed."""
        done = run(*arguments, timeout=110, **self.cluster.environ)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def found(self, query: str, among: str) -> list[dict[str, Any]]:
        """What `revet search` answers."""
        hits: list[dict[str, Any]] = json.loads(self.revet("search", query, "--in", among, "-o", "json"))["hits"]
        return hits

    def verdicts(self, cluster: str) -> list[str]:
        """Of the containers of a cluster that the record has, as soon as there are some."""
        with self.cluster.reader() as reader:
            hits = search(reader, f"cluster:{cluster}", "containers", limit=100).hits
        return sorted(str(hit.body["provenance.verdict"]) for hit in hits if "provenance.verdict" in hit.body)


def overlay(folder: Path, cluster: str, bootstrap: str) -> Path:
    """`deploy/` with a copy of the example for one more cluster, and what is ours in it."""
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    made = folder / "deploy" / "examples" / NAME
    shutil.copytree(ROOT / EXAMPLE, made)
    settings = yaml.safe_load((made / "revet.yaml").read_text())
    text = (made / "revet.yaml").read_text().replace(settings["cluster"], cluster)
    settings = yaml.safe_load(text)
    settings["kafka"] = {"bootstrap": bootstrap}  # the broker of this test asks nobody for a name
    (made / "revet.yaml").write_text(yaml.safe_dump(settings))
    kustomization = (made / "kustomization.yaml").read_text()
    (made / "kustomization.yaml").write_text(kustomization.replace("203.0.113.10/32", "127.0.0.1/32"))
    return made


def changed(folder: Path) -> list[str]:
    """Files of the overlay that are not as they are in `deploy/`; of those of everybody none may differ."""
    difference = filecmp.dircmp(ROOT / "deploy", folder / "deploy")
    assert (difference.left_only, difference.diff_files) == ([], [])
    example = filecmp.dircmp(ROOT / EXAMPLE, folder / "deploy" / "examples" / NAME)
    assert (example.left_only, example.right_only) == ([], [])
    return example.diff_files


def kubelet(watched: WatchedCluster, kubeconfig: Path, folder: Path, **environ: str) -> Revet:
    """Start what the Deployment of the watcher says, as its service account."""

    def kubectl(*arguments: str) -> str:
        return watched.kubectl(f"--kubeconfig={kubeconfig}", "-n", "revet", *arguments).stdout

    deployment: dict[str, Any] = json.loads(kubectl("get", "deployment", "revet-pods", "-o", "json"))
    spec = deployment["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    (settings,) = (volume["configMap"]["name"] for volume in spec["volumes"] if volume["name"] == "settings")
    text = json.loads(kubectl("get", "configmap", settings, "-o", "json"))["data"]["revet.yaml"]
    account = watched.kubeconfig("watcher", f"--token={kubectl('create', 'token', spec['serviceAccountName']).strip()}")
    (folder / "mounted.yaml").write_text(text.replace("in-cluster", str(account)))
    environ |= {"REVET_SERVE_OPERATIONS": "", "REVET_PROFILE": str(folder / "mounted.yaml")}
    return Revet(*container["args"], cwd=folder, **environ)


def test_a_new_cluster_has_its_first_verdict_in_minutes_and_with_two_files_changed(
    watched: WatchedCluster, kafka_server, elastic_server, tmp_path: Path, capsys
) -> None:
    admin = watched.kubeconfig("admin", "--token=admin-token")
    with Hub(kafka_server.bootstrap, elastic_server.url, tmp_path) as hub:
        began = time.monotonic()
        get_uid = ("get", "ns", "kube-system", "-o", "jsonpath={.metadata.uid}")
        uid = watched.kubectl(f"--kubeconfig={admin}", *get_uid).stdout
        hub.revet("cluster", "enroll", NAME, "--id", uid, "--label", "env=prod", *hub.signed)
        made = overlay(tmp_path, uid, kafka_server.bootstrap)
        watched.kubectl(f"--kubeconfig={admin}", "apply", "-k", str(made))
        applied = time.monotonic()
        own = {name: hub.cluster.environ[name] for name in ("REVET_KAFKA_PREFIX", "REVET_KAFKA_PARTITIONS")}
        with kubelet(watched, admin, tmp_path, **own) as watcher:
            watcher.until(lambda: len(hub.verdicts(uid)) == 3, GOAL_SECONDS)
            taken = time.monotonic() - began
            assert hub.verdicts(uid) == ["valid"] * 3
            found = hub.found(f"cluster_name:{NAME}", "containers")
            watcher.until(lambda: hub.found(f"cluster_name:{NAME}", "feeds"))
            feeds = hub.found(f"cluster_name:{NAME}", "feeds")
            shown = json.loads(hub.revet("cluster", "show", NAME, "-o", "json"))
    with capsys.disabled():
        print(f"\nverdicts after {taken:.1f} s, {applied - began:.1f} s of them commands; changed {changed(tmp_path)}")
    assert {hit["provenance.cluster.environment"] for hit in found} == {"prod"}
    assert len(found) == 3
    assert {hit["orchestrator.cluster.id"] for hit in feeds} == {uid}
    assert (shown["id"], shown["labels"]) == (uid, {"env": "prod"})
    assert taken <= GOAL_SECONDS
    assert len(changed(tmp_path)) <= GOAL_FILES
