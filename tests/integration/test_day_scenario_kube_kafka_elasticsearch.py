"""A day of one cluster on real servers, and every finding, incident, document and message of it as written by hand.

An API server with the printed audit policy, a ValidatingAdmissionPolicy and revet's webhook; a registry with really
signed images; Kafka, Elasticsearch, a Slack; seven processes of revet between them. What a kubelet would say is said by
requests; what came past the API server is put into etcd. Beside it the recorded days of a cluster with Kyverno and of
one with Gatekeeper come in from files: what other engines refused is on record, and nobody is told of it. In the middle
something is disturbed: then nothing is lost, nothing is doubled, and nobody is told of what did not happen. One
disturbance, by the seed of the test run or REVET_SEED; with REVET_FAULTS=full each of them, in an order by that seed.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from streams.queries.lists import search
from streams.queries.subjects import resolve
from streams.queries.trace import trace
from tests.conftest import FINDERS
from tests.helpers.crew import FULL
from tests.helpers.daycluster import CHANNELS, CLUSTER, RECORDED, VAP, WEBHOOK, Installation, Servers, until
from tests.helpers.load import documents
from tests.helpers.slack_server import Workspace, threaded
from verifier.times import MINUTE, SECOND

pytestmark = [
    pytest.mark.needs("kube", "registry", "kafka", "elasticsearch"),
    pytest.mark.kill,
    pytest.mark.slow,
    pytest.mark.timeout(1800 if FULL else 600),
]

SECURITY, PAYMENTS = CHANNELS["security"], CHANNELS["team/payments"]
API = ("api-7d4b9c6f5d-bcdfg", "api-7d4b9c6f5d-hjklm")
REPLICAS = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "api-7d4b9c6f5d", "uid": "1", "controller": True}
OWNED: dict[str, object] = {"labels": {"pod-template-hash": "7d4b9c6f5d"}, "ownerReferences": [REPLICAS]}

# ------------------------------------------------------------------------------------------------- written by hand

DECIDED = f"""
audit admission  pay pods {API[0]} create admitted
audit admission  pay pods {API[1]} create admitted
audit admission  pay pods patched create admitted
audit admission  web pods site create admitted
audit admission  pay pods bad create denied {WEBHOOK}
audit admission  pay pods tried create denied {WEBHOOK} dry
audit admission  pay pods tried-good create admitted dry
audit            web pods forbidden create denied {VAP}
audit            web pods/ephemeralcontainers site patch denied {WEBHOOK}
admission        web pods/ephemeralcontainers site update denied {WEBHOOK}
audit            web pods/ephemeralcontainers site patch admitted
admission        web pods/ephemeralcontainers site update admitted
audit            pay pods patched patch denied {WEBHOOK}
admission        pay pods patched update denied {WEBHOOK}
audit            pay pods patched patch admitted
admission        pay pods patched update admitted
audit            pay pods unchecked create admitted open
audit admission  pay pods too-late create denied {WEBHOOK}
"""
"""Who told it, namespace, resource, name, operation, outcome, who said no; `dry` run, fail-`open`. Each once."""

RECORDED_DECISIONS = """
lab-kyverno      payments pods payments-api create admitted
lab-kyverno      payments pods payments-canary create denied mutate.kyverno.svc-fail
lab-kyverno      payments pods payments-ghost create errored mutate.kyverno.svc-fail
lab-kyverno      payments pods payments-down create denied validate.kyverno.svc-fail
lab-kyverno      checkout pods checkout-web create denied validate.kyverno.svc-fail
lab-kyverno      checkout pods checkout-web create admitted
lab-kyverno      inventory pods inventory-sync create admitted audited
lab-kyverno      inventory pods inventory-ok create admitted
lab-kyverno      orders pods orders-api create denied ivpol.validate.kyverno.svc-fail
lab-kyverno      orders pods orders-ok create admitted
lab-kyverno      orders pods orders-ghost create errored ivpol.mutate.kyverno.svc-fail
lab-kyverno      payments deployments payments-edge create denied mutate.kyverno.svc-fail
lab-kyverno      payments deployments payments-api create admitted
lab-kyverno      payments pods - create denied mutate.kyverno.svc-fail
lab-kyverno      payments pods/ephemeralcontainers payments-api patch denied mutate.kyverno.svc-fail
lab-kyverno      payments pods payments-api patch denied mutate.kyverno.svc-fail
lab-kyverno      payments pods payments-dry create denied mutate.kyverno.svc-fail dry
lab-kyverno      payments pods payments-late create errored mutate.kyverno.svc-fail
lab-kyverno      inventory pods inventory-late create errored mutate.kyverno.svc-fail
lab-gatekeeper   payments pods gk-api create admitted
lab-gatekeeper   payments pods gk-nginx create denied validation.gatekeeper.sh
lab-gatekeeper   payments pods gk-two create denied validation.gatekeeper.sh
lab-gatekeeper   checkout pods gk-warn create admitted
lab-gatekeeper   inventory pods gk-dry create admitted
lab-gatekeeper   payments pods gk-dr create denied validation.gatekeeper.sh dry
lab-gatekeeper   payments pods/ephemeralcontainers gk-api patch denied validation.gatekeeper.sh
lab-gatekeeper   payments pods - create denied validation.gatekeeper.sh
"""
"""The same of the recorded clusters, for each of the 19 and 8 steps that were taken there. `errored`: the engine could
not tell (no such tag, or it was down). What Gatekeeper's `warn` and `dryrun` found leaves nothing in the audit.
"""

RUNS = {
    ("Deployment/api", "app", "main", "keyed", "running", "violates"): 2,
    ("Pod/site", "app", "main", "early", "running", "valid"): 1,
    ("Pod/site", "debug", "ephemeral", "early", "running", "valid"): 1,
    ("Pod/patched", "app", "main", "keyed", "terminated", "valid"): 1,
    ("Pod/patched", "app", "main", "early", "running", "valid"): 1,
    ("Pod/bad", "app", "main", "bare", "running", "violates"): 1,
    ("Pod/ghost", "app", "main", "early", "running", "valid"): 1,
    ("Pod/unchecked", "app", "main", "bare", "running", "violates"): 1,
}
"""Workload, container, its kind, image, state, verdict -> how many."""

RECORDED_RUNS = {
    ("Pod/payments-api", "app", "main", "api", "waiting", ""): 1,
    ("Pod/checkout-web", "app", "main", "web", "waiting", ""): 1,
    ("Pod/inventory-sync", "app", "main", "web", "waiting", ""): 1,
    ("Pod/inventory-ok", "app", "main", "api", "waiting", ""): 1,
    ("Pod/orders-ok", "app", "main", "api", "waiting", ""): 1,
}
"""What Kyverno let in, as the recording ends: nobody played the kubelet. Nothing else came to be."""

FORETOLD = """\
would begin to violate: 2 containers of 1 workload in 1 namespace of 1 cluster
  payments: 2 containers of 1 workload
"""
"""What the command says before it revokes."""

FOUND = {
    ("key-revoked", "Deployment/api", "app", "critical", 2),
    ("ephemeral-added", "Pod/site", "debug", "high", 1),
    ("unsigned", "Pod/bad", "app", "critical", 1),
    ("unsigned", "Pod/unchecked", "app", "critical", 1),
    ("failed-open", "Pod/unchecked", WEBHOOK, "high", 1),
    ("denied-but-running", "Pod/bad", "", "critical", 1),
    ("unadmitted", "Pod/ghost", "", "critical", 1),
}
"""Code, workload, container, severity (of a cluster with `env=prod`: one up), containers."""

INCIDENTS = {
    ("key-revoked", 2, 1),
    ("ephemeral-added", 1, 1),
    ("unsigned", 2, 2),
    ("failed-open", 1, 1),
    ("denied-but-running", 1, 1),
    ("unadmitted", 1, 1),
}
"""Kind, containers, workloads: one of each."""


def messages() -> dict[str, list[str]]:
    """Channel -> the headline of each message in it, without the name of the incident."""
    one, bare = "1 container, 1 workload, 1 namespace, 1 cluster", "images-signed registry.example.com/bare"
    revoked = "CRITICAL: image signed with a revoked key: key dev; 2 containers, 1 workload, 1 namespace, 1 cluster"
    unsigned = f"CRITICAL: image runs without a signature: {bare}; 2 containers, 2 workloads, 1 namespace, 1 cluster"
    denied = f"CRITICAL: workload runs although admission denied it: {CLUSTER} pay Pod bad; {one}"
    passed = f"HIGH: admission webhook could not be asked and was passed over: {CLUSTER} {WEBHOOK}; {one}"
    unowned = [
        f"CRITICAL: pod runs without an admission on record: {CLUSTER} web Pod ghost; {one}; team unowned",
        f"HIGH: ephemeral container was added to a running pod: {CLUSTER} web Pod site; {one}; team unowned",
    ]
    owned = [revoked, unsigned, denied, passed]
    return {
        SECURITY: sorted([*(f"{text}; team payments" for text in owned), *unowned]),
        PAYMENTS: sorted(f"{text}; yours (payments)" for text in owned),
    }


# ---------------------------------------------------------------------------------------------------------- what is so


def decided(day: Installation) -> Counter[tuple[str, ...]]:
    """As `rows` has it, of the topic; and each stands in the record, once."""
    with day.reader() as reader:
        recorded = {
            id_ for id_, hit in documents(reader, "admission").items()
            if not str(hit.body.get("orchestrator.resource.name", "")).startswith("probe-")
        }  # fmt: skip
    known = day.decisions()  # behind the record: what comes in between is in the topic first
    assert recorded <= known.keys(), "the record has what nobody told"
    found: Counter[tuple[str, ...]] = Counter()
    for event in (event for id_, event in known.items() if id_ in recorded):
        more = [event.by] if event.outcome != "admitted" else []
        more += ["dry"] * event.dry_run + ["open"] * bool(event.failed_open) + ["audited"] * bool(event.audited)
        source = event.cluster if event.cluster in RECORDED else event.source.partition(":")[0]
        found[source, event.namespace, event.resource, event.name or "-", event.operation, event.outcome, *more] += 1
    return found


def rows(text: str) -> Counter[tuple[str, ...]]:
    """The table, a row for each who told it."""
    found: Counter[tuple[str, ...]] = Counter()
    for line in text.strip().splitlines():
        sources, _, rest = line.partition("  ")
        for source in sources.split():
            found[source, *rest.split()] += 1
    return found


def runs(day: Installation) -> Counter[tuple[str, ...]]:
    """Containers of the record. Who looked in between saw some wait for their image; that has ended as what started."""
    with day.reader() as reader:
        bodies = [hit.body for hit in search(reader, "not end_reason:started", "containers", limit=1000).hits]
    return Counter(
        (
            _workload(body), str(body["container.name"]), str(body["provenance.container.kind"]),
            str(body["provenance.image.repository"]).rpartition("/")[2], str(body["provenance.state"]),
            str(body.get("provenance.verdict", "")),
        )
        for body in bodies
    )  # fmt: skip


def found(day: Installation, state: str = "open") -> list[tuple[Any, ...]]:
    """Findings of the record that are in that state."""
    with day.reader() as reader:
        bodies = [hit.body for hit in search(reader, f"state:{state}", "findings", limit=1000).hits]
    members = ("provenance.severity", "provenance.finding.affected_count")
    return sorted(
        (
            str(body["provenance.finding.type"]), _workload(body), str(body.get("container.name", "")),
            *(body[name] for name in members),
        )
        for body in bodies
    )  # fmt: skip


def incidents(day: Installation, state: str = "open") -> list[tuple[Any, ...]]:
    """Incidents of the record that are in that state."""
    with day.reader() as reader:
        bodies = [hit.body for hit in search(reader, f"state:{state}", "incidents", limit=1000).hits]
    return sorted(
        tuple(body[f"provenance.incident.{n}"] for n in ("kind", "containers", "workloads")) for body in bodies
    )


def shown(day: Installation) -> dict[str, list[str]]:
    """Headlines of the messages."""
    said = {channel: day.slack.parents(channel) for channel in (SECURITY, PAYMENTS)}
    return {channel: sorted(one.text.rpartition(" [")[0] for one in parents) for channel, parents in said.items()}


def _workload(body: Any) -> str:
    return f"{body['provenance.workload.kind']}/{body['provenance.workload.name']}"


def same(day: Installation, look: Callable[[], object], wanted: object, seconds: float = 90) -> None:
    """Wait until it is so; what it was instead, for a failure."""
    until(lambda: look() == wanted, lambda: f"{look()}\n\nwanted\n{wanted}\n{day.told()}", seconds, pause=0.8)


def graces_pass(day: Installation) -> bool:
    """Is it told what was never admitted? If not, more time passes: a judge whose grace ended before it learned that
    the feed was heard asks again after as long.
    """
    is_told = any(row[0] == "unadmitted" for row in found(day))
    if not is_told:
        day.passes(4 * MINUTE)
    return is_told


class Wanted:
    """Decisions and containers as they were written by hand; what goes on happening is added.

    Args:
        recorded: the recorded clusters are there too.
    """

    def __init__(self, *, recorded: bool) -> None:
        self.decided = rows(DECIDED + RECORDED_DECISIONS * recorded)
        self.runs: Counter[tuple[str, ...]] = Counter(RUNS | RECORDED_RUNS if recorded else RUNS)


# ------------------------------------------------------------------------------------------------------------- the day


def morning(day: Installation) -> int:
    """What is admitted, refused, tried, changed. Gives the instant at which something came past the API server."""
    for name in API:
        assert day.create(name, "keyed", metadata=OWNED).code == 200
        day.runs(name, "keyed")
    for name, image, namespace in (("patched", "keyed", "pay"), ("site", "early", "web")):
        assert day.create(name, image, namespace).code == 200
        day.runs(name, image, namespace)
    refused = day.create("bad", "bare")
    assert (refused.code, "unsigned" in refused.body["message"]) == (403, True)
    day.plant("bad", "bare")
    day.plant("ghost", "early", "web")
    planted = time.time_ns() // 1000
    assert day.create("tried", "bare", query="?dryRun=All").code == 403
    assert day.create("tried-good", "keyed", query="?dryRun=All").code == 200
    assert day.create("forbidden", "early", "web", {"labels": {"forbidden": "yes"}}).code == 422
    assert day.debug("site", "bare", "web").code == 403
    assert day.debug("site", "early", "web").code == 200
    day.runs("site", "early", "web", ephemeral="debug")
    assert day.patch_image("patched", "bare").code == 403
    assert day.patch_image("patched", "early").code == 200
    day.runs("patched", "early")
    return planted


def noon(day: Installation, wanted: Wanted) -> None:
    """The webhook is away, and something comes in; it is back; a key is revoked."""
    day.kill("admission")
    assert day.create("unchecked", "bare").code == 200
    day.runs("unchecked", "bare")
    day.start("admission")
    day.admission_answers()
    before = {(*row[:-1], "valid") if row[0] == "Deployment/api" else row: n for row, n in wanted.runs.items()}
    same(day, lambda: runs(day), Counter(before))
    said = day.revet("revoke", "key", "dev", "--reason", "keyCompromise", "--all-signatures", "--yes")
    assert FORETOLD in said, said
    until(lambda: any("revoked key" in one.text for one in day.slack.parents(SECURITY)), day.told, 30)
    refused = day.create("too-late", "keyed")
    assert (refused.code, "key-revoked" in refused.body["message"]) == (403, True)


def hears_on(day: Installation, instant: int) -> None:
    """The audit feed is heard for long enough after an instant that what is missing would have come."""

    def heard() -> bool:
        day.probe("bare")
        return day.heard_since(instant)

    until(heard, day.told, 150, pause=3)


def everything(day: Installation, wanted: Wanted) -> None:
    """Nothing is missing, nothing is there that was not written down."""
    same(day, lambda: decided(day), wanted.decided)
    same(day, lambda: runs(day), wanted.runs)
    same(day, lambda: found(day), sorted(FOUND))
    same(day, lambda: incidents(day), sorted(INCIDENTS))
    same(day, lambda: shown(day), messages())
    assert found(day, "closed") == []
    with day.reader() as reader:
        assert documents(reader, "deadletters") == {}
    names = [one.text.rpartition("[")[2] for one in day.slack.parents(SECURITY)]
    assert len(set(names)) == len(names) == len(INCIDENTS)


def traced(day: Installation) -> None:
    """The life of the image whose key was revoked, in order."""
    reference = day.shop.reference("keyed")
    with day.reader() as reader:
        timeline = trace(reader, resolve(reader, reference))
    kinds = Counter(row.kind for row in timeline.rows)
    assert (timeline.running, timeline.ended) == (2, 1)
    assert [one.signer for one in timeline.signatures] == ["dev"]
    assert {
        "signed",
        "first-seen",
        "admitted",
        "denied",
        "started",
        "verdict",
        "finding",
        "incident",
        "trust",
    } <= kinds.keys()
    assert kinds["ended"] == 1
    assert [row.time for row in timeline.rows] == sorted(row.time for row in timeline.rows)


def evening(day: Installation, *others: tuple[str, str]) -> None:
    """Everything ends, and so does every incident, with a last word each."""
    pods = [("pay", name) for name in (*API, "patched", "bad", "unchecked")]
    for namespace, name in (*pods, ("web", "site"), ("web", "ghost"), *others):
        day.delete(name, namespace)
    stays = ("failed-open", "Pod/unchecked", WEBHOOK)
    same(day, lambda: [row[:3] for row in found(day, "closed")], sorted(row[:3] for row in FOUND if row[:3] != stays))
    assert [row[:3] for row in found(day)] == [stays]
    day.passes(11 * MINUTE)
    same(day, lambda: incidents(day), [row for row in sorted(INCIDENTS) if row[0] == "failed-open"])
    day.passes(50 * MINUTE)  # a webhook that answers again is believed after an hour
    same(day, lambda: found(day), [])
    day.passes(11 * MINUTE)
    same(day, lambda: sorted(row[0] for row in incidents(day, "resolved")), sorted(row[0] for row in INCIDENTS))
    assert incidents(day) == []

    def last_words() -> set[str]:
        return {one.text.split(" ", 1)[0] for channel in (SECURITY, PAYMENTS) for one in day.slack.parents(channel)}

    same(day, last_words, {"RESOLVED"})
    for channel, number in ((SECURITY, 6), (PAYMENTS, 4)):
        assert len(day.slack.parents(channel)) == number
        same(day, partial(_resolved, day, channel), number)
    assert day.slack.refused == []
    assert "xoxb-" not in day.output()


def _resolved(day: Installation, channel: str) -> int:
    return sum("resolved: nothing is left of it" in reply.text for reply in day.slack.replies(channel))


# -------------------------------------------------------------------------------------------------------- disturbances


class Afternoon:
    """Small things go on happening while something is disturbed; what they come to is known."""

    def __init__(self, day: Installation, wanted: Wanted, seed: int) -> None:
        self.day, self.wanted, self._seed = day, wanted, seed
        self.pods: list[tuple[str, str]] = []

    def disturbs(self, name: str) -> None:
        self.day.disturbed = f"{name} (REVET_SEED={self._seed})"
        DISTURBANCES[name](self)
        self.day.done(name)

    def goes_on(self, image: str = "early", *, told: bool = True) -> None:
        """A pod that is admitted, and one that is not. `told`: it can be told whether the image is good."""
        good, bad = f"pm-{len(self.pods)}", f"pm-{len(self.pods)}-bad"
        assert self.day.create(good, image, "web").code == 200
        self.day.runs(good, image, "web")
        assert self.day.create(bad, "bare").code == 403
        self.wanted.decided += rows(f"""
audit            web pods {good} create admitted
admission        web pods {good} create admitted {"" if told else "audited"}
audit admission  pay pods {bad} create denied {WEBHOOK}
""")
        self.wanted.runs[f"Pod/{good}", "app", "main", image, "running", "valid"] += 1
        self.pods.append(("web", good))

    def is_heard(self) -> None:
        """Everything decided so far has come: an API server that is killed takes with it what it has not sent."""
        same(self.day, lambda: decided(self.day), self.wanted.decided)

    def is_whole(self) -> None:
        everything(self.day, self.wanted)


def killed(part: str) -> Callable[[Afternoon], None]:
    """One process, as power loss would, while things go on."""

    def disturb(afternoon: Afternoon) -> None:
        afternoon.day.kill(part)
        if part != "admission":  # without it things would come in unasked, which is told: `noon`
            afternoon.goes_on()
        afternoon.day.start(part)
        if part == "admission":
            afternoon.day.admission_answers()
        afternoon.goes_on()

    return disturb


def api_server_restarted(afternoon: Afternoon) -> None:
    """What it had promised to watchers, and audit events it had not sent, are gone with it."""
    afternoon.goes_on()
    afternoon.is_heard()
    afternoon.day.kube.kill_server()
    afternoon.day.kube.start_server()
    afternoon.day.admission_answers()
    afternoon.goes_on()


def watch_cut(afternoon: Afternoon) -> None:
    for _ in range(3):
        afternoon.day.proxy.cut()
        afternoon.goes_on()


def versions_forgotten(afternoon: Afternoon) -> None:
    """The watcher comes back to an API server that knows nothing of before (410)."""
    day = afternoon.day
    day.kill("pods")
    afternoon.goes_on()
    afternoon.is_heard()
    day.kube.kill_server()
    day.kube.compact()
    day.kube.start_server()
    day.start("pods")
    day.admission_answers()
    afternoon.goes_on()


def registry_down(afternoon: Afternoon) -> None:
    """What is known goes on as before; of what is not, it cannot be told, until it can."""
    day = afternoon.day
    day.registry.kill()
    afternoon.goes_on()
    afternoon.goes_on("late", told=False)
    unknown = {(*row[:-1], "unverifiable") if row[3] == "late" else row: n for row, n in afternoon.wanted.runs.items()}
    same(day, lambda: runs(day), Counter(unknown))
    day.registry.start()
    day.passes(MINUTE + 10 * SECOND)


DISTURBANCES: dict[str, Callable[[Afternoon], None]] = {
    **{f"{part} killed": killed(part) for part in ("judge", "fetch", "index", "alert", "audit", "pods", "admission")},
    "API server restarted": api_server_restarted,
    "watch cut": watch_cut,
    "versions forgotten": versions_forgotten,
    "registry down": registry_down,
}


@pytest.fixture
def slack() -> Iterator[Workspace]:
    workspace = Workspace(lambda: time.time_ns() // 1000)
    workspace.know(*CHANNELS.values())
    with threaded(workspace):
        yield workspace


def test_a_day_and_everything_that_is_told_of_it(
    request, require, kafka_server, elastic_server, slack, tmp_path: Path, capsys
) -> None:  # fmt: skip
    servers = Servers(require("kube"), require("registry"), kafka_server.bootstrap, elastic_server.url)
    recorded = FINDERS["samples"]()
    seed = int(os.environ.get("REVET_SEED") or request.config.getoption("randomly_seed", 0))
    first, *others = random.Random(seed).sample(list(DISTURBANCES), len(DISTURBANCES) if FULL else 1)
    with Installation(servers, tmp_path, slack) as day:
        day.done("set-up")
        wanted = Wanted(recorded=isinstance(recorded, Path))
        afternoon = Afternoon(day, wanted, seed)
        if isinstance(recorded, Path):
            day.replay(recorded / "kubernetes" / "recorded")
        planted = morning(day)
        day.done("morning")
        noon(day, wanted)
        day.done("noon")
        afternoon.disturbs(first)
        hears_on(day, planted)
        day.done("heard")
        until(partial(graces_pass, day), day.told, pause=6)
        afternoon.is_whole()
        traced(day)
        day.done("everything")
        for name in others:
            afternoon.disturbs(name)
            afternoon.is_whole()
        if others:
            hears_on(day, time.time_ns() // 1000)
            for _ in range(2):
                day.passes(4 * MINUTE)
                time.sleep(6)
            afternoon.is_whole()
        evening(day, *afternoon.pods)
        day.done("evening")
        assert set(day.stop().values()) == {0}
        day.done("end")
    with capsys.disabled():
        print(f"\n{day.disturbed}; seconds: {', '.join(f'{part} {took:.0f}' for part, took in day.took.items())}")
