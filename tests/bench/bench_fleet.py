"""A fleet in one shard: memory per container, and the time to judge it all again after one revocation.

1,000,000 containers on 50,000 digests, 3 signatures each, 40 policies of which 3 govern a class. The state is made by
the real handlers from pod and evidence events; facts are made by hand (no cryptography: judging never repeats it).

The physical limit printed beside: one look-up in a dictionary per (class, policy) that is judged again.
"""

from __future__ import annotations

import gc
import hashlib
import resource
import time
from pathlib import Path

from alerting.models import IncidentPart
from streams.events import EvidenceFound, EvidenceWanted, ObservedContainer, Owner, Pod, PodObserved, TrustChanged
from streams.handlers import handle, sweep_slice
from streams.state import ShardState
from verifier.canonical import canonical_json, stable_id
from verifier.models import DigestClosure, EvidenceSet, Fact, PlaceAsked
from verifier.policy.attestors import Attestor
from verifier.policy.model import MatchRule, Policy, Requirement
from verifier.testing import Signer
from verifier.trust import changes
from verifier.trust.records import TRUST_RECORD, KeyPut, PolicyPut, TrustRecord

START = 1_795_000_000_000_000
HOUR = 3_600_000_000
PER_DIGEST = 20
TEAMS = 400


def _policy(name: str, image: str, keys: tuple[str, ...]) -> Policy:
    bare = Policy(
        id=name,
        match=(MatchRule(images=(image,)),),
        attestors={key: Attestor(keys=(key,)) for key in keys},
        require=Requirement(all=tuple(Requirement(signed_by=key) for key in keys)),
    )
    version = stable_id("policy-version", canonical_json(bare.model_dump(mode="json")).decode())
    return bare.model_copy(update={"version": version})


def _release(image: str) -> Policy:
    """Any of the three release keys will do."""
    bare = _policy("release", image, ("rest",))
    attestors = {"release": Attestor(keys=("rest", "tenth", "hundredth"))}
    return bare.model_copy(update={"attestors": attestors, "require": Requirement(signed_by="release")})


class Fleet:
    """A shard full of containers."""

    def __init__(self, digests: int) -> None:
        self.digests = digests
        self.state = ShardState()
        self.epoch = 0
        self.signers = {name: Signer(name) for name in ("common", "second", "tenth", "hundredth", "rest")}
        for name, signer in self.signers.items():
            self.trust(KeyPut(author="bench", at=START, name=name, key_id=signer.key_id, pem=signer.pem))
        self.trust(PolicyPut(author="bench", at=START, policy=_policy("all", "r.example/**", ("common",))))
        self.trust(PolicyPut(author="bench", at=START, policy=_policy("org", "r.example/org/**", ("second",))))
        self.trust(PolicyPut(author="bench", at=START, policy=_release("r.example/org/*/**")))
        for number in range(37):
            policy = _policy(f"p{number}", f"r.example/org/a{number}/**", ("common",))
            self.trust(PolicyPut(author="bench", at=START, policy=policy))

    def trust(self, record: TrustRecord) -> None:
        """Apply a trust record and finish its sweep."""
        self.change(record)
        while sweep_slice(self.state) is not None:
            pass

    def change(self, record: TrustRecord) -> None:
        """Apply a trust record; the sweep is left to the caller."""
        self.epoch += 1
        list(handle(self.state, TrustChanged(f"t{self.epoch}", record.at, self.epoch, TRUST_RECORD.dump_json(record))))

    def evidence(self, number: int) -> EvidenceFound:
        """Three signatures of digest `number`, each first seen at its own time."""
        digest = "sha256:" + hashlib.sha256(str(number).encode()).hexdigest()
        repository = f"r.example/org/b/{number % 5000}"
        facts, seen = [], []
        for signer in self._names(number):
            evidence_id = "sha256:" + hashlib.sha256(f"{number}{signer}".encode()).hexdigest()
            facts.append(
                Fact(
                    id=stable_id("fact", evidence_id, self.state.trust.keyset_id, "1"),
                    evidence_id=evidence_id,
                    format="cosign-simplesigning",
                    kind="signature",
                    repository=repository,
                    subject=digest,
                    subjects=(digest,),
                    verified_by=(self.signers[signer].key_id,),
                    keyset=self.state.trust.keyset_id,
                )
            )
            seen.append((evidence_id, START + number))
        closure = DigestClosure(digest)
        places = (PlaceAsked("sig-tag", digest, "found"),)
        found = EvidenceSet(
            repository, digest, tuple(f.evidence_id for f in facts), closure, places, True, START,
            self.state.trust.keyset_id, str(number), (f"v{number}",),
        )  # fmt: skip
        return EvidenceFound(f"e{number}", START, found, tuple(facts), tuple(seen))

    def _names(self, number: int) -> tuple[str, ...]:
        """Who signed digest `number`: one of three release keys (1 %, 10 %, the rest), and two keys that sign all."""
        release = "hundredth" if number % 100 == 0 else "tenth" if number % 10 == 1 else "rest"
        return (release, "common", "second")

    def pod(self, number: int, replica: int) -> PodObserved:
        """Replica of the workload that runs digest `number`."""
        digest = "sha256:" + hashlib.sha256(str(number).encode()).hexdigest()
        image = f"r.example/org/b/{number % 5000}:v{number}"
        name = f"workload-{number}-7d4b9c6f5d-{replica:05d}"
        uid = f"{number:08d}-0000-4000-8000-{replica:012d}"
        container = ObservedContainer(
            "main", "app", image, digest, "repo-digest", state="running", started=START + HOUR
        )
        pod = Pod(
            cluster="c1", namespace=f"team-{number % TEAMS}", name=name, uid=uid,
            owner=Owner("Deployment", f"workload-{number}"), resource_version=str(replica), created=START + HOUR,
            node=f"node-{replica % 500}", labels=(("app", f"workload-{number}"),), containers=(container,),
        )  # fmt: skip
        return PodObserved(f"{uid}", START + HOUR, "bench", pod)

    def fill(self, replicas: range, *, tell: bool = True) -> float:
        """Run these replicas of every workload; returns CPU seconds."""
        begun = time.process_time()
        for number in range(self.digests):
            for replica in replicas:
                for out in handle(self.state, self.pod(number, replica)):
                    if isinstance(out, EvidenceWanted):
                        list(handle(self.state, self.evidence(number)))
            self.state.take_dirty()
            if tell and number % 10000 == 9999:
                print(f"  … {(number + 1) * len(replicas):,} containers", flush=True)
        return time.process_time() - begun


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def revoke(fleet: Fleet, key: str) -> dict[str, object]:
    """Revoke a key for all signatures; measure judging, the first incident, and telling everybody."""
    record = changes.revoke(
        fleet.state.trust, changes.By("bench", START + 2 * HOUR), subject_kind="key", subject=key,
        reason="keyCompromise", all_signatures=True,
    )  # fmt: skip
    before = len(fleet.state.classes)
    key_id = fleet.signers[key].key_id
    slots = fleet.state.key_images[key_id]
    touched = [fleet.state.classes[c] for s in slots for c in fleet.state.images[s].classes][-1:]
    begun = time.process_time()
    fleet.change(record)
    judged = first = None
    parts = verdicts = 0
    while (outputs := sweep_slice(fleet.state)) is not None:
        now = time.process_time()
        if judged is None and all(c.epoch == fleet.epoch for c in touched):
            judged = now - begun
        for out in outputs:
            if isinstance(out, IncidentPart):
                parts += 1
                if first is None and out.containers:
                    first = now - begun
            elif type(out).__name__ == "VerdictReached":
                verdicts += 1
    total = time.process_time() - begun
    hit = sum(1 for c in fleet.state.classes.values() if any("key-revoked" in j.codes for j in c.judged.values()))
    fleet.trust(changes.withdraw(fleet.state.trust, changes.By("bench", START + 2 * HOUR), record.id))
    return {"classes": before, "hit": hit, "judged": judged, "first": first, "total": total, "verdicts": verdicts}


def run(digests: int = 50_000) -> list[dict[str, object]]:
    """The benchmark; rows for the report."""
    gc.disable()
    base = _rss()
    fleet = Fleet(digests)
    half = PER_DIGEST // 2
    seconds = fleet.fill(range(half))
    first = _rss()
    seconds += fleet.fill(range(half, PER_DIGEST))
    containers = digests * PER_DIGEST
    marginal = (_rss() - first) / (digests * half)
    per_digest = (first - base - marginal * digests * half) / digests
    facts = sum(len(i.evidence.facts) for i in fleet.state.images.values())
    rows: list[dict[str, object]] = [
        {"what": "fill", "containers": containers, "cpu_seconds": seconds, "per_cpu_second": containers / seconds},
        {"what": "memory per container", "bytes": marginal, "goal": 400},
        {"what": "memory per digest (3 facts, evidence set, class, workload)", "bytes": per_digest, "facts": facts},
        {"what": "memory, all, per container", "bytes": (_rss() - base) / containers},
    ]
    for key in ("hundredth", "tenth", "common"):
        row = {"what": f"revoke {key}", **revoke(fleet, key)}
        rows.append(row)
        print(row, flush=True)
    looked = time.perf_counter()
    memo = {n: n for n in range(1000)}
    for n in range(digests * 3):
        memo.get(n % 1000)
    rows.append({"what": "limit: one look-up per (class, policy)", "seconds": time.perf_counter() - looked})
    gc.enable()
    return rows


if __name__ == "__main__":
    import sys

    for line in run(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000):
        print(line)
