"""The validating webhook asked by a real API server, about really signed images in a real registry."""

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from streams.settings import load_settings
from tests.helpers.command import DEMO, revet
from tests.helpers.registry_server import push_whole, registry_process
from tests.helpers.watchedcluster import WatchedCluster
from tests.helpers.webhook import IMAGES, SIGNED, TAGGED, UNSIGNED, Running, WebhookWorld, pod
from tests.integration.test_list_pods_kube import cluster

__all__ = ["cluster"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

HOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
NAME = "images.admission.revet"


class Said(NamedTuple):
    code: int
    body: dict[str, Any]
    warnings: list[str]

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))


def ask(cluster: WatchedCluster, method: str, path: str, body: object = None, kind: str = "application/json") -> Said:
    """What the API server says, warnings too."""
    headers = {"Authorization": "Bearer admin-token", "Content-Type": kind}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{cluster.server}{path}", data, headers, method=method)
    try:
        answer = urllib.request.urlopen(request, timeout=40, context=cluster.trusts)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        warned = answer.headers.get_all("Warning") or []
        return Said(answer.status, json.load(answer), [re.sub(r'^299 - "|"$', "", text) for text in warned])


def create(cluster: WatchedCluster, item: dict[str, Any], query: str = "") -> Said:
    return ask(cluster, "POST", f"/api/v1/namespaces/pay/pods{query}", bare(item))


def bare(item: dict[str, Any]) -> dict[str, Any]:
    """Without the uid that only an API server gives."""
    return {**item, "metadata": {key: value for key, value in item["metadata"].items() if key != "uid"}}


@pytest.fixture(scope="module")
def registry(require) -> Iterator[str]:
    with registry_process(require("registry")) as host:
        push_whole(DEMO / "oci", f"http://{host}")
        yield host


@pytest.fixture(scope="module", autouse=True)
def namespace(cluster: WatchedCluster) -> None:
    for name in ("pay", "revet"):
        ask(cluster, "POST", "/api/v1/namespaces", {"metadata": {"name": name}})


@pytest.fixture
def world(tmp_path: Path, registry: str) -> WebhookWorld:
    return WebhookWorld(tmp_path, registry)


class Hook:
    """The configuration that revet prints, installed; gone with the block."""

    def __init__(self, cluster: WatchedCluster, world: WebhookWorld, running: Running, **admission: object) -> None:
        self._cluster, self._world = cluster, world
        file = world.settings(url=running.url, **admission)
        printed = revet("serve", "admission", "--print-webhook", "--settings", file)
        assert printed.code == 0, printed.err
        self.document = yaml.safe_load(printed.out)

    def __enter__(self) -> None:
        said = ask(self._cluster, "POST", HOOKS, self.document)
        assert said.code == 201, said
        deadline = time.monotonic() + 30
        number = 0
        while not any(decision.name.startswith("probe") for decision in self._world.decisions()):
            number += 1  # the API server takes a moment to go by what it was given
            create(self._cluster, pod(f"probe{number}", IMAGES["payments-notify"]), "?dryRun=All")
            if time.monotonic() > deadline:
                self.__exit__()
                pytest.fail("the API server never asked")
            time.sleep(0.2)

    def __exit__(self, *_: object) -> None:
        assert ask(self._cluster, "DELETE", f"{HOOKS}/{NAME}").code == 200


def of(world: WebhookWorld, name: str, number: int = 1) -> list[Any]:
    """Decisions about a pod of that name, once there are so many."""
    deadline = time.monotonic() + 20
    while len(found := [d for d in world.decisions() if d.name == name]) < number:
        assert time.monotonic() < deadline, (name, world.decisions())
        time.sleep(0.05)
    return found


def test_enforce_denies_what_is_not_signed_and_admits_what_is(cluster, world):
    with world.started(mode="enforce") as running, Hook(cluster, world, running, mode="enforce"):
        admitted = create(cluster, pod("good", SIGNED))
        assert (admitted.code, admitted.warnings) == (201, [])
        denied = create(cluster, pod("bad", UNSIGNED))
        assert denied.code == 403
        for word in (f'admission webhook "{NAME}" denied the request', UNSIGNED, "payments-signed", "unsigned", "Sign"):
            assert word in denied.message
        mixed = create(cluster, pod("mixed", SIGNED, UNSIGNED))
        assert mixed.code == 403
        weaker = create(cluster, pod("weaker", IMAGES["checkout-promo"]))  # its policy is in audit mode
        assert (weaker.code, len(weaker.warnings)) == (201, 1)
        good, bad = of(world, "good")[0], of(world, "bad")[0]
        assert (good.outcome, good.uid, good.owner.name) == ("admitted", admitted.body["metadata"]["uid"], "good")
        assert (bad.outcome, bad.uid, bad.by, bad.engine, bad.user) == ("denied", "", NAME, "revet", "admin")
        assert "wrong-signer" in of(world, "weaker")[0].audited[0]


def test_a_dry_run_is_answered_the_same_and_recorded_as_what_it_is(cluster, world):
    with world.started(mode="enforce") as running, Hook(cluster, world, running, mode="enforce"):
        assert create(cluster, pod("tried", UNSIGNED), "?dryRun=All").code == 403
        assert create(cluster, pod("tried-good", SIGNED), "?dryRun=All").code == 201
        assert [d.dry_run for name in ("tried", "tried-good") for d in of(world, name)] == [True, True]
        assert of(world, "tried-good")[0].uid == ""


def test_an_ephemeral_container_and_a_patched_image_are_judged_and_nothing_else_of_an_update(cluster, world):
    with world.started(mode="enforce") as running, Hook(cluster, world, running, mode="enforce"):
        assert create(cluster, pod("host", SIGNED)).code == 201
        path = "/api/v1/namespaces/pay/pods/host"
        extra = [{"name": "debug", "image": UNSIGNED, "targetContainerName": "c0"}]
        patch = {"spec": {"ephemeralContainers": extra}}
        strategic = "application/strategic-merge-patch+json"
        said = ask(cluster, "PATCH", f"{path}/ephemeralcontainers", patch, strategic)
        assert said.code == 403
        assert "(container debug)" in said.message
        extra[0]["image"] = SIGNED
        assert ask(cluster, "PATCH", f"{path}/ephemeralcontainers", patch, strategic).code == 200
        image = {"spec": {"containers": [{"name": "c0", "image": UNSIGNED}]}}
        assert ask(cluster, "PATCH", path, image, strategic).code == 403
        label = {"metadata": {"labels": {"touched": "yes"}}}
        assert ask(cluster, "PATCH", path, label, strategic).code == 200
        found = of(world, "host", 4)
        assert [(d.resource, d.operation, d.outcome) for d in found] == [
            ("pods", "create", "admitted"),
            ("pods/ephemeralcontainers", "update", "denied"),
            ("pods/ephemeralcontainers", "update", "admitted"),
            ("pods", "update", "denied"),
        ]
        assert [[i.container for i in d.images] for d in found[1:]] == [["debug"], ["debug"], ["c0"]]


def test_templates_are_judged_by_the_labels_and_the_account_of_their_pods(cluster, world):
    def deployment(name: str, image: str) -> Said:
        template = {
            "metadata": {"labels": {"app": name}},
            "spec": {
                "containers": [{"name": "app", "image": image}],
                "initContainers": [{"name": "i", "image": image}],
            },
        }
        item = {
            "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"app": name}}, "template": template, "replicas": 0},
        }
        return ask(cluster, "POST", "/apis/apps/v1/namespaces/pay/deployments", item)

    def cron(name: str, image: str) -> Said:
        pods = {"spec": {"containers": [{"name": "app", "image": image}], "restartPolicy": "Never"}}
        spec = {"schedule": "1 1 1 1 *", "jobTemplate": {"spec": {"template": pods}}}
        return ask(
            cluster, "POST", "/apis/batch/v1/namespaces/pay/cronjobs", {"metadata": {"name": name}, "spec": spec}
        )

    with world.started(mode="enforce") as running, Hook(cluster, world, running, mode="enforce"):
        assert (deployment("web", SIGNED).code, cron("settle", SIGNED).code) == (201, 201)
        assert (deployment("web-bad", UNSIGNED).code, cron("settle-bad", UNSIGNED).code) == (403, 403)
        found = {d.name: d for name in ("web", "settle", "web-bad", "settle-bad") for d in of(world, name)}
        assert (found["web"].owner.kind, found["settle"].owner.kind) == ("Deployment", "CronJob")
        assert [i.kind for i in found["web"].images] == ["init", "main"]


def test_warn_warns(cluster, world):
    with world.started(mode="warn") as running, Hook(cluster, world, running, mode="warn"):
        said = create(cluster, pod("warned", UNSIGNED))
        assert said.code == 201
        assert "unsigned" in said.warnings[0]
        assert len(said.warnings[0]) <= 256
        tagged = create(cluster, pod("tagged", TAGGED["payments-api-1.4.2"]))
        assert (tagged.code, len(tagged.warnings)) == (201, 1)
        assert "unpinned" in tagged.warnings[0]


def test_observe_only_records(cluster, world):
    with world.started() as running, Hook(cluster, world, running):
        said = create(cluster, pod("observed", UNSIGNED))
        assert (said.code, said.warnings) == (201, [])
        assert "unsigned" in of(world, "observed")[0].audited[0]


def test_unpinned_images_are_refused_where_that_is_switched_on(cluster, world):
    options = {"mode": "enforce", "refuse_unpinned": True}
    with world.started(**options) as running, Hook(cluster, world, running, **options):
        said = create(cluster, pod("tagged-too", TAGGED["payments-api-1.4.2"]))
        assert said.code == 403
        assert "unpinned" in said.message
        assert create(cluster, pod("pinned", SIGNED)).code == 201


def test_namespaces_of_the_system_and_of_revet_are_out_of_scope(cluster, world):
    with world.started(mode="enforce") as running, Hook(cluster, world, running, mode="enforce"):
        item = bare(pod("own", UNSIGNED))
        item["metadata"]["namespace"] = "revet"
        assert ask(cluster, "POST", "/api/v1/namespaces/revet/pods", item).code == 201
        assert create(cluster, pod("outside", UNSIGNED)).code == 403


@pytest.mark.parametrize("doubt", ["admit", "deny"])
def test_a_registry_that_is_down_costs_the_budget_and_no_more(cluster, tmp_path, doubt):
    world = WebhookWorld(tmp_path, "127.0.0.1:9")  # discard: nobody listens
    options = {"mode": "enforce", "unverifiable": doubt, "budget_seconds": 1.0, "timeout_seconds": 10}
    with world.started(**options) as running, Hook(cluster, world, running, **options):
        said = create(cluster, pod("cold", SIGNED))
        assert said.code == (201 if doubt == "admit" else 403)
        told = said.warnings[0] if doubt == "admit" else said.message
        assert "budget: no verdict within 1 s" in told
        decision = of(world, "cold")[0]
        assert "budget" in (decision.audited[0] if doubt == "admit" else decision.message)


def test_without_the_webhook_the_api_server_goes_on(cluster, world):
    with world.started(mode="enforce") as running, Hook(cluster, world, running, mode="enforce"):
        running.process.kill()
        assert create(cluster, pod("unasked", UNSIGNED)).code == 201


def test_the_certificate_is_renewed_over_its_end(cluster, world):
    world.authority.write(world.folder, seconds=12)
    with world.started(mode="enforce") as running, Hook(cluster, world, running, mode="enforce"):
        ends = time.monotonic() + 12
        assert create(cluster, pod("before", UNSIGNED)).code == 403
        world.authority.write(world.folder)
        running.process.said("(certificate-renewed)")
        time.sleep(max(0.0, ends - time.monotonic()) + 1)
        assert create(cluster, pod("after", UNSIGNED)).code == 403  # failurePolicy Ignore would have let it in
        assert running.ask(b"{}")[0] == 400  # a new connection, after the end of the first certificate


def test_settings_of_the_printed_configuration_are_those_of_the_process(cluster, world):
    with world.started() as running:
        hook = Hook(cluster, world, running, failure_policy="Fail", timeout_seconds=7)
        settings = load_settings(world.folder / "revet.yaml", {}, {}).admission
        (printed,) = hook.document["webhooks"]
        assert printed["timeoutSeconds"] == settings.timeout_seconds == 7
        assert (printed["failurePolicy"], printed["sideEffects"]) == ("Fail", "NoneOnDryRun")
