"""A fetcher to test with: a place with faults, what the process has seen, and requests as records.

bench = Bench()
bench.publish("r.example/a", digest, payloads)
effects = await bench.worker().handle(bench.records(bench.wanted("r.example/a", digest)))
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from streams.codec import encode
from streams.engine.port import Effects, Record
from streams.events import EvidenceFound, EvidenceWanted
from streams.fetcher import FetchOptions, FetchWorker
from streams.fetching import EvidenceAnswerer
from streams.topics import REQUESTS
from verifier.adapters.memory import MemoryEvidenceStore
from verifier.errors import ImageReferenceError, PlaceError
from verifier.models import DigestClosure, Evidence, ImageReference, PlaceAsked
from verifier.oci.collect import check_reference
from verifier.oci.manifests import IndexChild
from verifier.oci.media import is_image_digest
from verifier.oci.port import Collected, EvidenceStore
from verifier.testing import Signer
from verifier.trust.records import KeyPut
from verifier.trust.state import TrustState

START = 1_795_000_000_000_000
SECOND = 1_000_000


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


class FakePlace:
    """An `EvidencePlace` over what was published here, which can fail in every way the port allows."""

    def __init__(self) -> None:
        self.published: dict[tuple[str, str], list[Evidence]] = {}
        self.asked: list[tuple[str, str]] = []
        self.lists: dict[tuple[str, str], tuple[str, str]] = {}
        """(repository, tag or digest of an index) -> (the index it names now, the digest that this lists)."""
        self.at_once: dict[str, int] = {}
        self.most_at_once: dict[str, int] = {}
        self.faults: dict[str, Callable[[str], Collected | PlaceError | None]] = {}
        """Registry -> what happens in the place of an answer; None: an answer after all."""
        self.slow: dict[str, float] = {}
        """Registry -> seconds before anything is said."""

    async def collect(
        self,
        reference: ImageReference,
        digest: str,
        platform: str | None = None,
        indexes: tuple[str, ...] = (),
        names: tuple[str, ...] = (),
    ) -> Collected:
        check_reference(reference)
        if not is_image_digest(digest):
            raise ImageReferenceError("no digest")
        name = reference.registry
        self.asked.append((reference.repository, digest))
        self.at_once[name] = self.at_once.get(name, 0) + 1
        self.most_at_once[name] = max(self.most_at_once.get(name, 0), self.at_once[name])
        try:
            await asyncio.sleep(self.slow.get(name, 0))
            fault = self.faults[name](digest) if name in self.faults else None
            if isinstance(fault, PlaceError):
                raise fault
            named = (*names, reference.digest, reference.tag)
            return fault if fault is not None else self._found(reference.repository, digest, indexes, named)
        finally:
            self.at_once[name] -= 1

    def _found(self, repository: str, digest: str, known: tuple[str, ...], names: tuple[str, ...]) -> Collected:
        listing = (self.lists.get((repository, name), ("", "")) for name in names)
        named = tuple(index for index, child in listing if child == digest)
        indexes = tuple(dict.fromkeys((*known, *named)))
        found: list[Evidence] = []
        told: list[PlaceAsked] = []
        for subject in (digest, *indexes):
            pieces = self.published.get((repository, subject), ())
            found += pieces
            told.append(PlaceAsked("sig-tag", subject, "found" if pieces else "absent"))
        children = [IndexChild(index, digest) for index in indexes]
        children += {
            IndexChild(*link) for (held, _), link in self.lists.items() if (held, link[0]) == (repository, digest)
        }
        return Collected(tuple(found), DigestClosure(digest, indexes), tuple(told), children=tuple(children))

    async def resolve(self, reference: ImageReference) -> str:
        return reference.digest


@dataclass
class FakeSeen:
    """What the process has read whole."""

    trust: TrustState = field(default_factory=TrustState.empty)
    facts: dict[tuple[str, str], EvidenceFound] = field(default_factory=dict)

    def evidence(self, repository: str, digest: str) -> EvidenceFound | None:
        return self.facts.get((repository, digest))

    def take(self, effects: Effects) -> list[EvidenceFound]:
        """The answers of a batch, as the topic of facts shows them."""
        found = [out.event for out in effects.outputs if isinstance(out.event, EvidenceFound)]
        self.facts.update(((each.set.repository, each.set.digest), each) for each in found)
        return found


class Bench:
    """One fetcher's surroundings. Time moves by hand."""

    def __init__(self, store: EvidenceStore | None = None) -> None:
        self.place = FakePlace()
        self.seen = FakeSeen()
        self.store: EvidenceStore = store or MemoryEvidenceStore()
        self.now = START
        self.told: list[tuple[str, str]] = []
        """(outcome, registry) of every request."""
        self.workers: list[FetchWorker] = []
        self.slept: list[float] = []
        self._position = 0

    def worker(self, options: FetchOptions | None = None) -> FetchWorker:
        made = FetchWorker(
            EvidenceAnswerer(self.place, self.store, lambda: self.seen.trust, lambda: self.now),
            self.seen,
            options or FetchOptions(threads=1),
            meter=self,
            clock=lambda: self.now,
            monotonic=lambda: self.now / SECOND,
            sleep=self._sleep,
        )
        self.workers.append(made)
        return made

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += int(seconds * SECOND)
        await asyncio.sleep(0)

    def close(self) -> None:
        for worker in self.workers:
            worker.close()

    def fetched(self, outcome: str, seconds: float, registry: str) -> None:
        self.told.append((outcome, registry))

    @property
    def outcomes(self) -> list[str]:
        return [outcome for outcome, _ in self.told]

    def add_key(self, signer: Signer) -> None:
        epoch = self.seen.trust.epoch + 1
        record = KeyPut(author="test", at=self.now, name=signer.name, key_id=signer.key_id, pem=signer.pem)
        self.seen.trust, applied = self.seen.trust.apply(record, epoch)
        assert applied.applied

    def publish(self, evidence: Evidence) -> Evidence:
        self.place.published.setdefault((evidence.repository, evidence.subject), []).append(evidence)
        return evidence

    def wanted(self, repository: str, digest: str, why: str = "new-digest", **more: object) -> EvidenceWanted:
        fields: dict = {"time": self.now, "epoch": self.seen.trust.epoch, "reference": f"{repository}@{digest}"} | more
        name = f"wanted:{repository}:{digest}:{why}:{self.now}"
        return EvidenceWanted(id=name, repository=repository, digest=digest, why=why, **fields)  # type: ignore[arg-type]  # tests write literals

    def records(self, *events: object) -> list[Record]:
        made = []
        for event in events:
            value = event if isinstance(event, bytes) else encode(event)
            made.append(Record(self._position, REQUESTS, 0, "key", f"id-{self._position}", value, self.now))
            self._position += 1
        return made
