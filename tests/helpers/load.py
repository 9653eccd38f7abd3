"""A fleet that is observed: pods and decisions with deterministic ids, and what one process makes of the same input.

    made = load(workloads=40, pods=3, seed=7, at=now)
    for part in made.parts(10): await cluster.send([output(event) for event in part])
    expected = asyncio.run(judged_by_one(folder, made.events, trust_records))
    with cluster.reader() as reader: assert told(reader) == expected

Images are the demo's, with real signatures; some are signed by nobody. `Told` holds what must not depend on which
process judged, how often it was killed, or what was delivered twice: no times, no sequences.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from streams.events import DecisionObserved, ImageAsked, ObservedContainer, Owner, Pod, PodObserved
from streams.local.demo import DATA, Heard
from streams.local.node import LocalNode, NodeSettings
from streams.queries.conditions import EVERYTHING
from streams.queries.port import Hit, RecordReader, every
from streams.queries.reading import text_of
from streams.queries.sqlite import SqliteReader
from streams.sinks.fields import HOMES
from tests.helpers.cluster import DEMO_DATA, Image, demo_images
from tests.helpers.world import policy
from verifier.adapters.ocilayout import OciLayoutPlace
from verifier.canonical import stable_id
from verifier.times import SECOND
from verifier.trust import changes
from verifier.trust.records import TrustRecord
from verifier.trust.state import TrustState

PLATFORM: Final = "linux/amd64"
SOURCE: Final = f"oci-layout:{DATA / 'oci'}"
CLUSTER: Final = "c1"
SIGNERS: Final = ("dev", "sec", "release-2025")
REVOKED: Final = "dev"
OWN: Final = frozenset({"pipeline-stalled", "trust-refused"})
"""Incidents about revet itself: they tell of the faults, not of the input."""


class Load(NamedTuple):
    """What was made."""

    events: tuple[PodObserved | DecisionObserved, ...]
    """In the order in which they happened."""

    @property
    def decisions(self) -> set[str]:
        """Ids of the decisions."""
        return {event.id for event in self.events if isinstance(event, DecisionObserved)}

    @property
    def containers(self) -> set[str]:
        """Ids of the container instances that ran."""
        return {
            stable_id("container", e.pod.cluster, e.pod.uid, c.kind, c.name, c.digest)
            for e in self.events
            if isinstance(e, PodObserved)
            for c in e.pod.containers
        }

    def parts(self, number: int) -> Iterator[Sequence[PodObserved | DecisionObserved]]:
        """The events in so many parts, none empty."""
        size = -(-len(self.events) // number)
        for start in range(0, len(self.events), size):
            yield self.events[start : start + size]


def load(*, workloads: int, pods: int, seed: int, at: int, images: Sequence[Image] = ()) -> Load:
    """Deployments of `pods` pods each; everything happens within seconds before `at` (microseconds)."""
    chance = random.Random(seed)
    known = list(images) or demo_images()
    made: list[PodObserved | DecisionObserved] = []
    now = at - 2 * workloads * pods * 1000
    for workload in range(workloads):
        image = chance.choice(known)
        for number in range(pods):
            now += 1000
            made.extend(_pod(seed, workload, number, image, now, chance))
    return Load(tuple(made))


def _pod(
    seed: int, workload: int, number: int, image: Image, now: int, chance: random.Random
) -> Iterator[PodObserved | DecisionObserved]:
    """Admitted and seen; some are seen first, some end, some have a second one that was turned away."""
    uid = f"uid-{seed}-{workload}-{number}"
    owner = Owner("Deployment", f"app-{workload}")
    namespace = f"team-{workload % 5}"
    pod = Pod(
        CLUSTER, namespace, f"app-{workload}-{number}", uid, owner, "1", now, labels=(("app", owner.name),),
        phase="Running", service_account="default", node=f"node-{workload % 7}",
        containers=(
            ObservedContainer(
                "main", "app", image.reference, image.digest, "repo-digest", image.repository, "running", now,
            ),
        ),
    )  # fmt: skip
    observed = PodObserved(stable_id("pod", CLUSTER, uid, "1", "", False), now, "test", pod)
    decision = DecisionObserved(
        stable_id("decision", CLUSTER, "", uid, *[""] * 7), now, CLUSTER, namespace, owner, "admitted", "create",
        "pods", pod.name, uid, "alice", images=(ImageAsked("app", "main", image.reference, image.reference),),
    )  # fmt: skip
    yield from (decision, observed) if chance.random() < 0.8 else (observed, decision)
    if chance.random() < 0.1:
        denied = stable_id("decision", CLUSTER, "", uid + "-denied", *[""] * 7)
        yield msgspec.structs.replace(decision, id=denied, outcome="denied", uid="", name="", by="guard")
    if chance.random() < 0.2:
        gone = msgspec.structs.replace(pod, resource_version="2", deleted=now + 500)
        yield PodObserved(stable_id("pod", CLUSTER, uid, "2", "", True), now + 500, "test", gone, gone=True)


# -------------------------------------------------------------------------------------------------------------- trust


def first_trust(trust: TrustState, at: int) -> list[TrustRecord]:
    """Keys and two policies; made one after the other, as a person does."""
    made: list[Callable[[TrustState, changes.By], TrustRecord]] = [
        *(_key(name) for name in SIGNERS),
        lambda known, by: changes.put_policy(known, by, policy("signed", signed_by=("dev",), mode="enforce")),
        lambda known, by: changes.put_policy(
            known, by, policy("sec-too", signed_by=("sec",), images=("registry.example.com/payments/**",))
        ),
    ]
    return _one_after_the_other(trust, at, made)


def revocation(trust: TrustState, at: int) -> list[TrustRecord]:
    """Nothing that the key ever signed counts."""

    def revoke(known: TrustState, by: changes.By) -> TrustRecord:
        return changes.revoke(known, by, "key", REVOKED, reason="keyCompromise", all_signatures=True)

    return _one_after_the_other(trust, at, [revoke])


def _key(name: str) -> Callable[[TrustState, changes.By], TrustRecord]:
    pem = (DEMO_DATA / "keys" / f"{name}.pub").read_text()
    return lambda known, by: changes.add_key(known, by, name, pem)


def _one_after_the_other(
    trust: TrustState, at: int, made: Sequence[Callable[[TrustState, changes.By], TrustRecord]]
) -> list[TrustRecord]:
    records: list[TrustRecord] = []
    for make in made:
        record = make(trust, changes.By("alice", at))
        trust, _ = trust.apply(record, trust.epoch + 1)
        records.append(record)
    return records


# ------------------------------------------------------------------------------------------------------------ answers


class Told(NamedTuple):
    """What a record says, without times."""

    decisions: frozenset[str]
    containers: Mapping[str, tuple[Any, ...]]
    verdicts: Mapping[tuple[str, str], str]
    """(class, policy) -> the newest outcome."""
    findings: Mapping[str, tuple[Any, ...]]
    incidents: Mapping[str, tuple[Any, ...]]

    def against(self, expected: Told) -> list[str]:
        """How it differs, shortly."""
        found = [f"decisions: missing {one}" for one in sorted(expected.decisions - self.decisions)]
        found += [f"decisions: too many {one}" for one in sorted(self.decisions - expected.decisions)]
        for name in ("containers", "verdicts", "findings", "incidents"):
            ours: Mapping[Any, object] = getattr(self, name)
            other: Mapping[Any, object] = getattr(expected, name)
            for key in sorted(ours.keys() | other.keys()):
                if ours.get(key) != other.get(key):
                    found.append(f"{name} {key}: {ours.get(key)} expected {other.get(key)}")
        return found


def told(reader: RecordReader) -> Told:
    """What stands in a record. Raises AssertionError when an id stands there twice.

    Findings that are closed again are left out. Whether one was ever opened depends on what was read first, and nobody
    says in which order two topics are: a revocation or the end of a workload, an image or the index that speaks for it.
    """
    verdicts: dict[tuple[str, str], str] = {}
    for hit in documents(reader, "verification").values():
        pair = (text_of(hit.body, "class"), text_of(hit.body, "provenance.policy.id"))
        verdicts[pair] = text_of(hit.body, "verdict")
    return Told(
        frozenset(documents(reader, "admission")),
        {id_: _container(hit) for id_, hit in documents(reader, "containers").items()},
        verdicts,
        {
            id_: _members(hit, "finding.type", "state", "finding.affected_count", "incident.id", "severity")
            for id_, hit in documents(reader, "findings").items()
            if hit.body["event.code"] not in OWN and hit.body[_STATE] != "closed"
        },
        {
            id_: _members(hit, *(f"incident.{n}" for n in ("kind", "state", "containers", "workloads", "namespaces")))
            for id_, hit in documents(reader, "incidents").items()
            if hit.body["event.code"] not in OWN
        },
    )


_STATE: Final = "provenance.state"


def documents(reader: RecordReader, home: str) -> dict[str, Hit]:
    """Documents of a home by id, in the order of their times; none stands there twice."""
    found: dict[str, Hit] = {}
    for hit in every(reader, HOMES[home], EVERYTHING):
        assert hit.id not in found, f"{home}: {hit.id} stands in the record twice"
        found[hit.id] = hit
    return found


def _container(hit: Hit) -> tuple[Any, ...]:
    """An ended one keeps what was known at its end; how far that was depends on who was faster."""
    lasting = _members(hit, "class.id", "state", "admission.id", "image.digest")
    return lasting + (() if hit.body[_STATE] == "terminated" else _members(hit, "verdict", "reason.code"))


def _members(hit: Hit, *names: str) -> tuple[Any, ...]:
    return tuple(hit.body.get(f"provenance.{name}") for name in names)


def chains(reader: RecordReader) -> list[str]:
    """Verdicts that contradict the one before: each names it, or repeats it word for word."""
    by_pair: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for hit in documents(reader, "verification").values():
        pair = (str(hit.body["provenance.class.id"]), str(hit.body.get("provenance.policy.id", "")))
        by_pair.setdefault(pair, []).append(hit.body)
    wrong: list[str] = []
    for pair, bodies in by_pair.items():
        before: dict[str, Any] = {}
        for body in bodies:
            follows = body.get("provenance.previous_verdict", "") == before.get("provenance.verdict", "")
            if not follows and not all(body.get(name) == before.get(name) for name in _SAID):
                wrong.append(f"{pair}: {[b.get(n) for b in (before, body) for n in _SAID]}")
            before = body
    return wrong


_SAID: Final = ("provenance.verdict", "provenance.previous_verdict", "provenance.reason.code")


# ------------------------------------------------------------------------------------------------------- one process


async def judged_by_one(
    folder: Path, events: Sequence[object], trust: Sequence[Sequence[TrustRecord]], now: int
) -> Told:
    """The single-machine mode's answer to the same input: events, then what trust was changed to, until `now`."""
    clock = count(now - 10 * SECOND)  # no two things happen at one instant: their order in the record is by time
    settings = NodeSettings(
        place=OciLayoutPlace(DATA / "oci"), platform=PLATFORM, notifier=Heard(), clock=lambda: next(clock)
    )
    node = LocalNode.open(folder / "reference.sqlite", settings)
    first, *later = trust
    node.change_trust(first)
    await node.drain()
    node.ingest(events)
    await node.drain()
    for records in later:
        node.change_trust(records)
        await node.drain()
    await node.advance(now)
    with closing(node.connection):
        return told(SqliteReader(node.connection))
