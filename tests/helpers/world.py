"""A small world for handler tests: keys, images, pods, decisions, and a fetcher that answers from memory.

world = World(keys=("dev", "ops"))
api = world.image("registry.example.com/payments/api:1", signed_by=("dev",))
world.trust(policy("signed", signed_by=("dev",)))
world.send(world.pod("payments", "api-1", {"app": api}))
world.open_codes()
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from alerting.models import Finding, IncidentPart
from streams.events import (
    ContainerChanged,
    DecisionObserved,
    EvidenceFound,
    EvidenceWanted,
    FeedSeen,
    ImageAsked,
    ObservedContainer,
    Owner,
    Pod,
    PodObserved,
    Tick,
    TrustChanged,
    VerdictReached,
)
from streams.handlers import finish_sweep, handle
from streams.state import ShardState
from verifier.canonical import canonical_json, stable_id
from verifier.evidence.keys import load_public_key
from verifier.facts.candidates import key_set
from verifier.facts.derive import derive_fact
from verifier.models import DigestClosure, Evidence, EvidenceSet, PlaceAsked
from verifier.oci.port import BASE
from verifier.policy.attestors import Attestor
from verifier.policy.model import MatchRule, Policy, Requirement
from verifier.reference import names_in, parse_reference
from verifier.testing import Signer
from verifier.times import MINUTE
from verifier.trust.records import TRUST_RECORD, KeyPut, PolicyPut, TrustRecord

START = 1_795_000_000_000_000
"""2026-11-18, in microseconds."""


def digest_of(text: str) -> str:
    """A digest that stands for some content."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def policy(
    name: str, *, signed_by: Iterable[str], images: Iterable[str] = ("**",), mode: str = "audit", **match: object
) -> Policy:
    """A policy that asks for all of the given keys."""
    names = tuple(signed_by)
    bare = Policy(
        id=name,
        mode=mode,  # type: ignore[arg-type]  # pydantic checks it
        match=(MatchRule(images=tuple(images), **match),),  # type: ignore[arg-type]  # pydantic checks them
        attestors={key: Attestor(keys=(key,)) for key in names},
        require=Requirement(all=tuple(Requirement(signed_by=key) for key in names)),
    )
    content = bare.model_dump(mode="json", by_alias=True, exclude={"version"})
    return bare.model_copy(update={"version": stable_id("policy-version", canonical_json(content).decode())})


@dataclass
class World:
    """One shard, driven by hand."""

    keys: tuple[str, ...] = ("dev",)
    state: ShardState = field(default_factory=ShardState)
    now: int = START
    signers: dict[str, Signer] = field(default_factory=dict)
    evidence: dict[tuple[str, str], list[Evidence]] = field(default_factory=dict)
    indexes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    broken: dict[tuple[str, str], str] = field(default_factory=dict)
    bases: dict[tuple[str, str], str] = field(default_factory=dict)
    """(repository, digest) -> the base that its annotations name."""
    names: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    """(repository, digest) -> tags and pinned indexes that requests were about."""
    outputs: list[object] = field(default_factory=list)
    auto_fetch: bool = True
    wanted: list[EvidenceWanted] = field(default_factory=list)
    cluster: str = "prod-eu"
    _serial: int = 0

    def __post_init__(self) -> None:
        for name in self.keys:
            self.add_key(name)

    # ------------------------------------------------------------------ trust

    def signer(self, name: str) -> Signer:
        """The signer of a key name, made on first use."""
        if name not in self.signers:
            self.signers[name] = Signer(name)
        return self.signers[name]

    def add_key(self, name: str) -> None:
        """Put a key into the ring."""
        signer = self.signer(name)
        self.record(KeyPut(author="test", at=self.now, name=name, key_id=signer.key_id, pem=signer.pem))

    def trust(self, *policies: Policy) -> None:
        """Apply policies."""
        for one in policies:
            self.record(PolicyPut(author="test", at=self.now, policy=one))

    def record(self, record: TrustRecord) -> None:
        """Append one trust record and let the sweep finish."""
        epoch = self.state.trust.epoch + 1
        value = TRUST_RECORD.dump_json(record)
        self.send(TrustChanged(stable_id("trust", epoch, value.decode()), self.now, epoch, value))

    # ------------------------------------------------------------------ images

    def image(
        self,
        reference: str,
        *,
        signed_by: Iterable[str] = (),
        bundle_by: Iterable[str] = (),
        attested_by: Iterable[str] = (),
        seen: int | None = -1,
        content: str = "",
    ) -> tuple[str, str]:
        """An image in the registry: (reference, digest). `seen` dates the evidence (-1: now, None: undated)."""
        digest = digest_of(content or reference)
        repository = parse_reference(reference).repository
        found = self.evidence.setdefault((repository, digest), [])
        made = [self.signer(k).sign_simple(repository, digest, {}) for k in signed_by]
        made += [self.signer(k).sign_bundle(repository, digest, {}) for k in bundle_by]
        made += [self.signer(k).attest(repository, digest, "https://spdx.dev/Document", {}) for k in attested_by]
        for one in made:
            found.append(one)
            if seen is not None:
                self.seen[one.id] = self.now if seen == -1 else seen
        return reference, digest

    def fetch(self, repository: str, digest: str) -> EvidenceFound:
        """What the fetcher would answer now."""
        keys = key_set((k, load_public_key(pem)) for k, pem in self.state.trust.candidate_keys().items())
        found = self.evidence.get((repository, digest), [])
        failure = self.broken.get((repository, digest), "")
        places: tuple[PlaceAsked, ...] = (
            PlaceAsked("sig-tag", digest, "error" if failure else ("found" if found else "absent"), failure),
        )
        if (repository, digest) in self.bases:
            places += (PlaceAsked(BASE, self.bases[repository, digest], "found"),)
        facts = tuple(derive_fact(e, keys) for e in found)
        content = [e.id for e in found], failure, keys.id
        return EvidenceFound(
            id=stable_id("evidence-found", repository, digest, str(content), self.now),
            time=self.now,
            set=EvidenceSet(
                repository=repository,
                digest=digest,
                evidence=tuple(e.id for e in found),
                closure=DigestClosure(digest, self.indexes.get(digest, ())),
                places=places,
                complete=not failure,
                fetched_at=self.now,
                keyset=keys.id,
                version=stable_id("evidence-set", repository, digest, str(content)),
                names=self.names.get((repository, digest), ()),
            ),
            facts=facts,
            first_seen=tuple((e.id, self.seen[e.id]) for e in found if e.id in self.seen),
        )

    # ------------------------------------------------------------------ events

    def pod(
        self,
        namespace: str,
        name: str,
        images: Mapping[str, tuple[str, str]],
        *,
        owner: tuple[str, str] | None = None,
        gone: bool = False,
        version: str = "",
        created: int | None = None,
        kind: str = "main",
        phase: str = "Running",
        cluster: str = "",
    ) -> PodObserved:
        """A running pod (or its end)."""
        self._serial += 1
        cluster = cluster or self.cluster
        uid = f"uid-{namespace}-{name}"
        containers = tuple(
            ObservedContainer(
                kind=kind,  # type: ignore[arg-type]  # tests write literals
                name=container,
                image=reference,
                digest=digest,
                image_id_kind="repo-digest",
                state="running",
                started=self.now,
            )
            for container, (reference, digest) in images.items()
        )
        pod = Pod(
            cluster=cluster,
            namespace=namespace,
            name=name,
            uid=uid,
            owner=Owner(*(owner or ("Deployment", name.rsplit("-", 1)[0]))),
            resource_version=version or str(self._serial),
            created=self.now if created is None else created,
            containers=containers,
            phase=phase,
        )
        content = stable_id("pod", cluster, uid, pod.resource_version, repr(pod), gone)
        return PodObserved(id=content, time=self.now, source="test", pod=pod, gone=gone)

    def decision(self, pod: PodObserved, outcome: str = "admitted", **fields: object) -> DecisionObserved:
        """A decision about a pod."""
        self._serial += 1
        observed = pod.pod
        return DecisionObserved(
            id=stable_id("decision", observed.cluster, "", str(self._serial), *[""] * 7),
            time=self.now,
            cluster=observed.cluster,
            namespace=observed.namespace,
            owner=observed.owner,
            outcome=outcome,  # type: ignore[arg-type]  # tests write literals
            operation="create",
            resource="pods",
            name=observed.name,
            uid=observed.uid if outcome == "admitted" else "",
            user="alice",
            images=tuple(ImageAsked(c.name, c.kind, c.image, c.image) for c in observed.containers),
            **fields,  # type: ignore[arg-type]  # any of its members
        )

    def feeds(self, *feeds: str, since: int | None = None) -> None:
        """Both feeds are alive."""
        for feed in feeds or ("audit", "pods"):
            self.send(
                FeedSeen(
                    id=f"{feed}{self.now}",
                    time=self.now,
                    cluster=self.cluster,
                    feed=feed,  # type: ignore[arg-type]  # tests write literals
                    since=self.now if since is None else since,
                )
            )

    def send(self, *events: object) -> list[object]:
        """Handle events, answer every request for evidence, finish every sweep; returns the outputs."""
        start = len(self.outputs)
        for event in events:
            self._take(list(handle(self.state, event)))  # type: ignore[arg-type]  # one of Event
            self._take(list(finish_sweep(self.state)))
        return self.outputs[start:]

    def _take(self, outputs: list[object]) -> None:
        self.outputs.extend(outputs)
        for out in outputs:
            if isinstance(out, EvidenceWanted):
                slot = (out.repository, out.digest)
                own = names_in(parse_reference(out.reference), out.digest) if out.reference else ()
                self.names[slot] = tuple(dict.fromkeys((*self.names.get(slot, ()), *own)))
                if self.auto_fetch:
                    self.send(self.fetch(out.repository, out.digest))
                else:
                    self.wanted.append(out)

    def wait(self, micros: int) -> list[object]:
        """Let time pass."""
        self.now += micros
        return self.send(Tick(id=str(self.now), time=self.now))

    # ------------------------------------------------------------------ looking

    def open(self) -> list[Finding]:
        """Open findings, sorted by code and workload."""
        found = [f for f in self.state.findings.values() if f.state == "open"]
        return sorted(found, key=lambda f: (f.code, f.namespace, f.owner_name, f.container))

    def open_codes(self) -> list[str]:
        """Codes of open findings."""
        return [f.code for f in self.open()]

    def newest_parts(self) -> dict[tuple[str, str, str], IncidentPart]:
        """The newest part per (incident, cluster, namespace)."""
        parts = [o for o in self.outputs if isinstance(o, IncidentPart)]
        return {(p.incident, p.cluster, p.namespace): p for p in parts}

    def verdicts(self) -> list[VerdictReached]:
        """Every verdict spoken."""
        return [o for o in self.outputs if isinstance(o, VerdictReached)]

    def containers(self) -> dict[str, ContainerChanged]:
        """Newest document per container instance."""
        newest: dict[str, ContainerChanged] = {}
        for out in self.outputs:
            if isinstance(out, ContainerChanged):
                newest[out.id] = out
        return newest

    def summary(self) -> tuple[object, ...]:
        """What must not depend on the order of events: containers, verdicts, open findings, counts."""
        containers = sorted(
            (
                c.id,
                c.state,
                c.digest,
                c.class_id,
                c.ended is None,
                tuple((v.policy, v.outcome, v.codes) for v in c.verdicts),
            )
            if c.ended is None
            else (c.id, c.state, c.digest, c.class_id, False)  # an ended one keeps the verdict of its end
            for c in self.containers().values()
        )
        classes = sorted(
            (c.id, c.members, tuple(sorted((p, j.decided.outcome, j.codes) for p, j in c.judged.items())))
            for c in self.state.classes.values()
        )
        findings = sorted((f.id, f.code, f.members, f.incident) for f in self.open())
        counts = sorted((k, p.containers, p.workloads) for k, p in self.newest_parts().items() if p.containers)
        return containers, classes, findings, counts


def packed(state: ShardState) -> list[tuple[str, str, bytes]]:
    """Everything a shard would store now."""
    return [(kind, key, value) for kind, key, value in state.take_dirty() if value is not None]


__all__ = ["MINUTE", "START", "World", "digest_of", "msgspec", "packed", "policy"]
