"""Replaying recorded verdicts: the recorded inputs through today's code, and the bytes compared. Pure.

    replayer = Replayer(RecordInputs(reader))           or `streams.local.inputs.LogInputs(connection)`
    replayed = replayer.replay(verdict_document(reader, "v1:…"))
    replayed.result                  same, differs, or inputs-missing
    replayed.differences             where, what is recorded, what came out

A verdict names its inputs: evidence set, facts, trust epoch, policy version, scope, closure, instant. A state file has
all of them in its log. A record beside a cluster has them in its documents: trust in the entries of the trust log,
evidence in the fetcher's answers, and why an image cannot be asked about in the container it was observed in. Trust is
folded up to the epoch, evidence out of every answer by then. Nothing is fetched, no clock is read.

The record does not say which of two first sights of one evidence set was known at the instant, nor, in documents, which
kind of image id a runtime told that told no digest; the verdict is replayed when one of them gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final, Literal, NamedTuple, Protocol, get_args

import msgspec

from streams.events import EvidenceFound, ObservedContainer
from streams.handlers.classes import shown_image
from streams.handlers.evidence import on_evidence
from streams.queries.conditions import EVERYTHING, Not, both, exists, is_
from streams.queries.port import Hit, RecordReader, every
from streams.queries.reading import text_of
from streams.sinks.fields import HOMES
from streams.sinks.judged import stored_evidence, stored_verdict
from streams.state import ShardState
from verifier.errors import InputError
from verifier.models import VERIFIER_VERSION, ImageIdKind, Micros, Reason, Verdict
from verifier.policy.selection import CompiledPolicy, compile_policy
from verifier.times import parse_instant
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


class Inputs(Protocol):
    """Where the inputs of verdicts are on record. May raise InputError (unreadable) and PlaceUnavailable."""

    facts: str
    """What holds the fetcher's answers, in words."""
    observations: str
    """What holds the pods, in words."""

    def trust(self) -> Sequence[tuple[int, bytes]]:
        """The trust log: (epoch, canonical JSON) of every entry, in order."""

    def evidence(self, repository: str, digest: str) -> Iterable[EvidenceFound]:
        """Every answer about an image, in the order it was taken in."""

    def without_digest(self, repository: str) -> Iterable[tuple[Micros, Reason]]:
        """Why images of a repository that have no digest could not be asked about, and when that was observed."""


class Replayer:
    """Reads inputs once, and replays any number of verdicts."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._trust_log = inputs.trust()
        self._trust = TrustState.empty()
        self._compiled: dict[tuple[str, str], CompiledPolicy] = {}
        self._evidence: dict[tuple[str, str], list[_Seen]] = {}

    def replay(self, document: Hit) -> Replayed:
        """Judge again what a stored verdict says it judged.

        Raises:
            InputError: what holds the inputs cannot be read; PlaceUnavailable: it does not answer.
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
        candidates = self._candidates(recorded)
        if not candidates:
            return _replayed(document, recorded, differences, (self._missing(recorded),))
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

    def _candidates(self, recorded: Verdict) -> list[ImageEvidence]:
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
        told = self._inputs.without_digest(repository)
        problems = dict.fromkeys(problem for time, problem in told if time <= recorded.instant)
        return [ImageEvidence(repository=repository, digest=digest, problem=p) for p in problems]

    def _evidence_of(self, repository: str, digest: str) -> list[_Seen]:
        """What was known of an image after each answer about it, in the order the judge took them in."""
        key = (repository, digest)
        if key not in self._evidence:
            found = self._evidence[key] = []
            state = ShardState()  # no class, no workload: it only keeps what is newest, as the judge does
            for event in self._inputs.evidence(repository, digest):
                for _ in on_evidence(state, event):
                    pass
                found.append(_Seen(event.time, state.images[key].evidence))
        return self._evidence[key]

    def _missing(self, recorded: Verdict) -> str:
        image = f"{recorded.scope.image.repository}@{recorded.closure.running or '(no digest)'}"
        if recorded.evidence_set:
            facts = f"evidence set {recorded.evidence_set} with {len(recorded.facts)} facts"
            return f"{facts} of {image}, by then: no such answer is in {self._inputs.facts}"
        return f"why nothing can be asked about {image}: no pod in {self._inputs.observations} shows it"


def _version(evidence: ImageEvidence) -> str:
    return evidence.set.version if evidence.set is not None else ""


def without_digest(containers: Iterable[ObservedContainer]) -> Iterator[tuple[str, Reason]]:
    """(repository, why it cannot be asked about) of containers that have no digest and never will."""
    for container in containers:
        shown = shown_image(container) if not container.digest else None
        if shown is not None and shown.problem is not None:
            yield shown.reference.repository, shown.problem


class RecordInputs:
    """The inputs of verdicts in the documents of a record, for as long as its history is kept. Implements `Inputs`."""

    facts = HOMES["evidence"]
    observations = HOMES["containers"]

    def __init__(self, reader: RecordReader) -> None:
        self._reader = reader

    def trust(self) -> Sequence[tuple[int, bytes]]:
        """See `Inputs.trust`. Raises as `RecordReader.find`; InputError: an entry is missing."""
        hits = sorted(every(self._reader, HOMES["trust"], EVERYTHING), key=_epoch)
        if [_epoch(hit) for hit in hits] != list(range(1, len(hits) + 1)):
            raise InputError("the record lacks entries of the trust log: not indexed yet, deleted, or not to be read")
        return [(_epoch(hit), text_of(hit.body, "event.original").encode()) for hit in hits]

    def evidence(self, repository: str, digest: str) -> Iterator[EvidenceFound]:
        """See `Inputs.evidence`. What was written before answers were kept whole, or is broken, is left out."""
        for hit in every(self._reader, self.facts, both(is_("digest", digest), is_("repository", repository))):
            with suppress(msgspec.MsgspecError):
                yield stored_evidence(text_of(hit.body, "event.original"))

    def without_digest(self, repository: str) -> Iterator[tuple[Micros, Reason]]:
        """See `Inputs.without_digest`. A container's document has the image; the kind of id it came with is tried."""
        where = both(is_("repository", repository), exists("class"), Not(exists("digest")))
        for hit in every(self._reader, self.observations, where):
            started = text_of(hit.body, "provenance.run.started")
            for kind in _ID_KINDS:
                container = ObservedContainer(
                    kind=text_of(hit.body, "provenance.container.kind"),  # type: ignore[arg-type]  # written by us
                    name=text_of(hit.body, "container"),
                    image=text_of(hit.body, "container.image.name"),
                    image_id_kind=kind,
                )
                for _, problem in without_digest([container]):
                    yield parse_instant(started) if started else 0, problem


_ID_KINDS: Final[tuple[ImageIdKind, ...]] = get_args(ImageIdKind)


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
