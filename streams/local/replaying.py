"""Replaying recorded verdicts: the recorded inputs through today's code, and the bytes compared.

    replayer = Replayer(connection)
    replayed = replayer.replay(verdict_document(reader, "v1:…"))
    replayed.result                  same, differs, or inputs-missing
    replayed.differences             where, what is recorded, what came out

A verdict names its inputs: evidence set, facts, trust epoch, policy version, scope, closure, instant. All of them are
in the log of the state file: trust is folded up to the epoch, evidence out of every answer of the fetcher by then, and
why an image cannot be asked about at all out of the pods that were observed. Nothing is fetched, no clock is read.

The record does not say which of two first sights of one evidence set was known at the instant; the verdict is replayed
when one of them gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple

import msgspec

from streams.codec import readable
from streams.engine.sqlite import Connection, trust_log
from streams.events import EvidenceFound, PodObserved
from streams.handlers.classes import class_of
from streams.handlers.evidence import on_evidence
from streams.queries.conditions import EVERYTHING
from streams.queries.port import Hit, RecordReader, every
from streams.sinks.fields import HOMES
from streams.sinks.judged import stored_verdict
from streams.state import PodRow, ShardState
from streams.topics import FACTS, OBSERVATIONS, TOPICS
from verifier.models import VERIFIER_VERSION, Micros, Reason, Verdict
from verifier.policy.selection import CompiledPolicy, compile_policy
from verifier.trust.records import TRUST_RECORD
from verifier.trust.state import TrustState
from verifier.verify import ImageEvidence, ungoverned, verify

Result = Literal["same", "differs", "inputs-missing"]


class Difference(msgspec.Struct, frozen=True):
    """One place where the record and the replay are not the same."""

    where: str
    """Path inside the verdict (`signatures[0].status`), or `document: ` and the name of a field of the document."""
    recorded: str
    recomputed: str


class Replayed(msgspec.Struct, frozen=True):
    """What became of one recorded verdict."""

    id: str
    policy: str
    verdict: str
    """The recorded outcome."""
    image: str
    result: Result
    differences: tuple[Difference, ...] = ()
    missing: tuple[str, ...] = ()
    """Inputs that are not on record, in words."""
    made_by: str = ""
    """Version of the judging code that made it."""
    code: str = VERIFIER_VERSION
    """Version of the code that replayed it."""
    recomputed: Verdict | None = None


class _Seen(NamedTuple):
    """What was known of an image once an answer of the fetcher was taken in."""

    time: Micros
    evidence: ImageEvidence


class Replayer:
    """Reads the inputs of a state file once, and replays any number of its verdicts."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._trust_log = trust_log(connection)
        self._trust = TrustState.empty()
        self._compiled: dict[tuple[str, str], CompiledPolicy] = {}
        self._evidence: dict[tuple[str, str], list[_Seen]] | None = None
        self._problems: dict[str, dict[Reason, Micros]] | None = None

    def replay(self, document: Hit) -> Replayed:
        """Judge again what a stored verdict says it judged.

        Raises:
            InputError: the log of the state file cannot be read.
        """
        original = document.body.get("event.original")
        try:
            recorded = stored_verdict(original if isinstance(original, str) else "")
        except msgspec.MsgspecError as error:
            broken = Difference("event.original", "not a verdict", str(error))
            return Replayed(document.id, "", "", "", "differs", (broken,))
        differences = tuple(_document_differences(document, recorded))
        if recorded.epoch > len(self._trust_log):
            told = f"trust epoch {recorded.epoch}: the trust log ends at {len(self._trust_log)}"
            return _replayed(document, recorded, differences, (told,))
        trust = self._trust_at(recorded.epoch)
        candidates = self._inputs(recorded)
        if not candidates:
            return _replayed(document, recorded, differences, (_missing(recorded),))
        tried: list[Replayed] = []
        for image in candidates:
            recomputed = self._judge(recorded, image, trust)
            found = (*differences, *compare(str(original), recorded, recomputed))
            tried.append(_replayed(document, recorded, found, (), recomputed))
            if not found:
                break
        return min(tried, key=lambda made: len(made.differences))

    def replay_all(self, reader: RecordReader) -> Iterator[Replayed]:
        """Every recorded verdict, in the order of trust epochs. Raises as `replay` and `RecordReader.find`."""
        hits = every(reader, HOMES["verification"], EVERYTHING)
        yield from map(self.replay, sorted(hits, key=lambda hit: (_epoch(hit), hit.time, hit.id)))

    # ------------------------------------------------------------------ judging

    def _judge(self, recorded: Verdict, image: ImageEvidence, trust: TrustState) -> Verdict:
        """The verdict of the same policy, or of none when none of that name governs it."""
        scope, instant, digest = recorded.scope, recorded.instant, recorded.closure.running
        compiled = self._policy(trust, recorded.policy) if recorded.policy else None
        if compiled is not None and compiled.governs(scope, digest):
            return verify(compiled, scope, image, trust, instant)
        if not recorded.policy:
            for policy in trust.policies:  # an ungoverned verdict stands only as long as no policy matches
                found = self._policy(trust, policy)
                if found is not None and found.governs(scope, digest):
                    return verify(found, scope, image, trust, instant)
        return ungoverned(scope, image, trust, instant)

    def _policy(self, trust: TrustState, policy: str) -> CompiledPolicy | None:
        entry = trust.policies.get(policy)
        if entry is None:
            return None
        key = (policy, entry.policy.version)
        if key not in self._compiled:
            self._compiled[key] = compile_policy(entry.policy)
        return self._compiled[key]

    def _trust_at(self, epoch: int) -> TrustState:
        """Trust after entry `epoch`; quick when epochs are asked for in order."""
        if epoch < self._trust.epoch:
            self._trust = TrustState.empty()
        for at, value in self._trust_log[self._trust.epoch : epoch]:
            self._trust, _ = self._trust.apply(TRUST_RECORD.validate_json(value), at)
        return self._trust

    # ------------------------------------------------------------------ inputs

    def _inputs(self, recorded: Verdict) -> list[ImageEvidence]:
        """What may have been known of the image at the instant, newest first; empty when nothing is on record."""
        repository, digest = recorded.scope.image.repository, recorded.closure.running
        if recorded.evidence_set:
            known = [seen for seen in self._evidence_of(repository, digest) if seen.time <= recorded.instant]
            found = [seen.evidence for seen in reversed(known) if _version(seen.evidence) == recorded.evidence_set]
            # Facts that no such set has are a difference, not an input that is missing.
            return [e for e in found if tuple(f.id for f in e.facts) == recorded.facts] or found
        bare = ImageEvidence(repository=repository, digest=digest)
        if digest:
            return [bare]
        problems = [p for p, time in self._problems_of(repository).items() if time <= recorded.instant]
        return [ImageEvidence(repository=repository, digest=digest, problem=p) for p in problems]

    def _evidence_of(self, repository: str, digest: str) -> list[_Seen]:
        """What was known of an image after each answer about it, in the order the judge took them in."""
        if self._evidence is None:
            self._evidence = {}
            state = ShardState()  # no class, no workload: it only keeps what is newest, as the judge does
            for event in self._events(FACTS):
                if isinstance(event, EvidenceFound):
                    key = (event.set.repository, event.set.digest)
                    for _ in on_evidence(state, event):
                        pass
                    self._evidence.setdefault(key, []).append(_Seen(event.time, state.images[key].evidence))
        return self._evidence.get((repository, digest), [])

    def _problems_of(self, repository: str) -> dict[Reason, Micros]:
        """Why images of a repository could not be asked about: reason -> when it was first observed."""
        if self._problems is None:
            self._problems = {}
            for event in self._events(OBSERVATIONS):
                if isinstance(event, PodObserved):
                    for found, problem in _without_digest(event):
                        times = self._problems.setdefault(found, {})
                        times[problem] = min(event.time, times.get(problem, event.time))
        return self._problems.get(repository, {})

    def _events(self, topic: str) -> Iterator[object]:
        rows = self._connection.execute("SELECT value FROM log WHERE topic = ? ORDER BY position", (topic,))
        return readable(value for (value,) in rows)


def _version(evidence: ImageEvidence) -> str:
    return evidence.set.version if evidence.set is not None else ""


def _without_digest(event: PodObserved) -> Iterator[tuple[str, Reason]]:
    """(repository, why it cannot be asked about) of containers that have no digest and never will."""
    pod = event.pod
    row = PodRow(
        cluster=pod.cluster,
        namespace=pod.namespace,
        name=pod.name,
        uid=pod.uid,
        owner=pod.owner,
        node=pod.node,
        service_account=pod.service_account,
        labels=pod.labels,
        created=pod.created,
        mirror=pod.mirror,
        containers=[],
        seen=[],
    )
    for container in pod.containers:
        if container.digest:
            continue
        cls = class_of(ShardState(), row, container, [])
        if cls is not None and cls.image.evidence.problem is not None:
            yield cls.row.repository, cls.image.evidence.problem


def _missing(recorded: Verdict) -> str:
    image = f"{recorded.scope.image.repository}@{recorded.closure.running or '(no digest)'}"
    if recorded.evidence_set:
        facts = f"evidence set {recorded.evidence_set} with {len(recorded.facts)} facts"
        return f"{facts} of {image}, by then: no such answer is in {FACTS}"
    return f"why nothing can be asked about {image}: no pod in {TOPICS[OBSERVATIONS].name} shows it"


def _epoch(hit: Hit) -> int:
    epoch = hit.body.get("provenance.trust.epoch", 0)
    return epoch if isinstance(epoch, int) else 0


def _replayed(
    document: Hit,
    recorded: Verdict,
    differences: tuple[Difference, ...],
    missing: tuple[str, ...],
    recomputed: Verdict | None = None,
) -> Replayed:
    return Replayed(
        id=document.id,
        policy=recorded.policy,
        verdict=recorded.outcome,
        image=f"{recorded.scope.image.repository}@{recorded.closure.running}".removesuffix("@"),
        # What is on record contradicts itself, whatever else is missing.
        result="differs" if differences else "inputs-missing" if missing else "same",
        differences=differences,
        missing=missing,
        made_by=recorded.verifier,
        recomputed=recomputed,
    )


# ------------------------------------------------------------------------------------------------ comparing


def compare(original: str, recorded: Verdict, recomputed: Verdict) -> tuple[Difference, ...]:
    """Where two verdicts differ; none when the recomputed one has the recorded bytes.

    That other code made it is no difference by itself: the code that replays says so beside the answer.
    """
    again = msgspec.structs.replace(recomputed, verifier=recorded.verifier)
    text = msgspec.json.encode(again).decode()
    if text == original:
        return ()
    found = tuple(_walk("", msgspec.to_builtins(recorded), msgspec.to_builtins(again)))
    return found or (Difference("event.original", "other bytes of the same verdict", "canonical bytes"),)


def _walk(path: str, recorded: object, recomputed: object) -> Iterator[Difference]:
    if isinstance(recorded, dict) and isinstance(recomputed, dict):
        for name in dict.fromkeys((*recorded, *recomputed)):
            yield from _walk(f"{path}.{name}".lstrip("."), recorded.get(name), recomputed.get(name))
    elif isinstance(recorded, (list, tuple)) and isinstance(recomputed, (list, tuple)):
        if len(recorded) != len(recomputed):
            yield Difference(path, f"{len(recorded)} entries", f"{len(recomputed)} entries")
        for number, (one, other) in enumerate(zip(recorded, recomputed, strict=False)):
            yield from _walk(f"{path}[{number}]", one, other)
    elif recorded != recomputed:
        yield Difference(path, _shown(recorded), _shown(recomputed))


def _shown(value: object) -> str:
    return msgspec.json.encode(value).decode()


_SAID_TWICE: Final[dict[str, Callable[[Verdict], object]]] = {
    "event.id": lambda v: v.id,
    "provenance.verdict": lambda v: v.outcome,
    "provenance.reason.code": lambda v: list(dict.fromkeys(r.code for r in v.reasons)),
    "provenance.policy.id": lambda v: v.policy,
    "provenance.policy.version": lambda v: v.policy_version,
    "provenance.policy.mode": lambda v: v.mode,
    "provenance.exemption.id": lambda v: v.exempted_by,
    "provenance.trust.epoch": lambda v: v.epoch,
    "provenance.evidence.set": lambda v: v.evidence_set,
    "provenance.image.digest": lambda v: v.closure.running,
    "provenance.evaluation.engine_version": lambda v: v.verifier,
}
"""Fields of the document that searches answer from -> what the verdict inside says of them."""


def _document_differences(document: Hit, recorded: Verdict) -> Iterator[Difference]:
    for name, told in _SAID_TWICE.items():
        inside: object = told(recorded)
        outside: object = document.body.get(name)
        if isinstance(inside, list):
            outside = list(dict.fromkeys(outside if isinstance(outside, list) else [outside]))
        if (inside or None) != (outside or None):
            yield Difference(f"document: {name}", _shown(outside), _shown(inside))
