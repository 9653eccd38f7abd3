"""What admission let in since a time, judged again as if other trust had been in force: who would be turned away.

    found = rejudge_recorded(path, records, since=t, at=now, policies=("signed",))
    found.denied, found.teams               12, (("payments", 40, 9, 0), …)

Each admitted pod is judged at the instant it was admitted, by the images its record names, under trust as it would be
after the records. Evidence is what is known by now: a signature made later is not told apart from one that was there,
unless something proves its time. Nothing here is stored, and what admission denied is not judged again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from streams.engine.sqlite import CONTROL, Connection, trust_log
from streams.local.preview import catch_up, preview, shard_copy, stored_answers
from streams.local.sqlite import open_reading, stored_shard, team_names
from streams.queries.conditions import at_time, both, is_
from streams.queries.port import Hit, RecordReader, every
from streams.queries.reading import objects_of, text_of, with_values
from streams.queries.sqlite import SqliteReader
from streams.sinks.fields import HOMES
from streams.state import ShardState
from verifier.adapters.sqlite import SqliteEvidenceStore
from verifier.errors import ImageReferenceError
from verifier.models import ImageReference, Micros, Outcome, Scope
from verifier.policy.selection import CompiledPolicy, compile_policy
from verifier.reasons import reason
from verifier.reference import parse_reference
from verifier.times import parse_instant
from verifier.trust.records import TRUST_RECORD, TrustRecord
from verifier.trust.state import TrustState
from verifier.verify import ImageEvidence, verify

_PODS: Final = frozenset({"pods", "pods/ephemeralcontainers"})
"""Resources whose admission lets a container run. Of a Deployment only a promise is admitted."""


class AskedImage(NamedTuple):
    """One image of an admitted request."""

    container: str
    image: str
    digest: str
    """Pinned, or what ran afterwards; empty: never known."""


class Admission(NamedTuple):
    """One admitted pod."""

    id: str
    time: Micros
    cluster: str
    namespace: str
    team: str
    workload: str
    service_account: str
    labels: tuple[tuple[str, str], ...]
    """Of its containers; empty when none was ever seen."""
    images: tuple[AskedImage, ...]


class TurnedAway(msgspec.Struct, frozen=True):
    """An admission that would have been denied, or that could not be told."""

    admission: str
    time: Micros
    cluster: str
    namespace: str
    team: str
    workload: str
    image: str
    policy: str
    outcome: Outcome
    codes: tuple[str, ...]


class Rejudged(msgspec.Struct, frozen=True):
    """What became of the recorded admissions."""

    since: Micros
    until: Micros
    admissions: int
    denied: int
    """Would have been denied, were the policies in enforce."""
    unknown: int
    """Of which it could not be told."""
    teams: tuple[tuple[str, int, int, int], ...]
    """(team, admissions, denied, unknown), most denied first; `namespace NAME` where no team is known."""
    turned_away: tuple[TurnedAway, ...]
    """One entry per admission, of the first image that decides it; in the order of time."""


def rejudge_recorded(
    path: Path, records: Sequence[TrustRecord], since: Micros, at: Micros, policies: Collection[str]
) -> Rejudged:
    """Judge the admissions a state file has recorded since `since`, as if the records had been in force.

    Args:
        path: a state file.
        records: would be applied at `at`.
        since: microseconds UTC; admissions from then on.
        at: the instant of the state.
        policies: ids that count, whatever their mode; empty: every policy in force.

    Raises:
        InputError: there is no state file, or it is something else.
        PlaceUnavailable: it cannot be read now.
    """
    with open_reading(path) as connection:
        state = _state_after(connection, records, at)
        admissions = recorded_admissions(SqliteReader(connection), since, at, team_names(connection))
        return rejudge(list(admissions), state, policies, since, at)


def _state_after(connection: Connection, records: Sequence[TrustRecord], at: Micros) -> ShardState:
    """A copy of the shard after the records, with the facts that added keys make of stored evidence."""
    judged = TrustState.empty()
    for epoch, value in trust_log(connection, seen_by=CONTROL):
        judged, _ = judged.apply(TRUST_RECORD.validate_json(value), epoch)
    state = shard_copy(stored_shard(connection), judged)
    answer = stored_answers(SqliteEvidenceStore(connection))
    waiting = [TRUST_RECORD.validate_json(v) for epoch, v in trust_log(connection) if epoch > judged.epoch]
    catch_up(state, waiting, answer)
    preview(state, records, at, answer)
    return state


# ------------------------------------------------------------------------------------------------------------- reading


def recorded_admissions(
    reader: RecordReader, since: Micros, until: Micros, teams: Mapping[tuple[str, str], str]
) -> Iterator[Admission]:
    """Admitted pods of a record within [since, until], oldest first. Raises as `RecordReader.find`."""
    where = both(is_("provenance.admission.decision", "admitted"), at_time("@timestamp", ">=", since))
    hits = [hit for hit in every(reader, HOMES["admission"], where) if hit.time <= until and _lets_in(hit)]
    ran: dict[str, list[Hit]] = {}
    for hit in with_values(reader, "containers", "provenance.admission.id", [hit.id for hit in hits]):
        ran.setdefault(text_of(hit.body, "provenance.admission.id"), []).append(hit)
    for hit in _each_once(hits, ran):
        yield _admission(hit, ran.get(hit.id, []), teams)


def _each_once(hits: Sequence[Hit], ran: Mapping[str, object]) -> Collection[Hit]:
    """A creation that audit log and webhook both tell of, once: as its containers name it, else as first told."""
    kept: dict[tuple[str, ...], Hit] = {}
    for hit in hits:
        uid = text_of(hit.body, "orchestrator.resource.id")
        created = uid and text_of(hit.body, "provenance.admission.operation") == "create"
        key = (text_of(hit.body, "orchestrator.cluster.id"), uid) if created else (hit.id,)
        if key not in kept or (hit.id in ran and kept[key].id not in ran):
            kept[key] = hit
    return kept.values()


def _lets_in(hit: Hit) -> bool:
    body = hit.body
    resource, operation = text_of(body, "orchestrator.resource.type"), text_of(body, "provenance.admission.operation")
    return resource in _PODS and operation != "delete" and body.get("provenance.admission.dry_run") is not True


def _admission(hit: Hit, ran: Sequence[Hit], teams: Mapping[tuple[str, str], str]) -> Admission:
    body = hit.body
    place = (text_of(body, "orchestrator.cluster.id"), text_of(body, "orchestrator.namespace"))
    first = ran[0].body if ran else {}
    labels = first.get("kubernetes.labels")
    # What waited for its image has no digest; the same container has another document once it runs.
    digests = {text_of(r.body, "container.name"): digest for r in ran if (digest := text_of(r.body, "digest"))}
    workload = f"{text_of(body, 'provenance.workload.kind')}/{text_of(body, 'provenance.workload.name')}"
    return Admission(
        id=hit.id,
        time=hit.time or parse_instant(text_of(body, "@timestamp")),
        cluster=place[0],
        namespace=place[1],
        team=text_of(body, "provenance.owner.team") or teams.get(place, ""),
        workload=workload,
        service_account=text_of(first, "provenance.workload.service_account"),
        labels=tuple(sorted((str(k), str(v)) for k, v in labels.items())) if isinstance(labels, dict) else (),
        images=tuple(_asked(entry, digests) for entry in objects_of(body, "provenance.images")),
    )


def _asked(entry: Mapping[str, object], digests: Mapping[str, str]) -> AskedImage:
    container = str(entry.get("container") or "")
    image = str(entry.get("stored") or entry.get("submitted") or "")
    try:
        pinned = parse_reference(image).digest
    except ImageReferenceError:
        pinned = ""
    return AskedImage(container, image, pinned or digests.get(container, ""))


# ------------------------------------------------------------------------------------------------------------- judging


def rejudge(
    admissions: Sequence[Admission], state: ShardState, policies: Collection[str], since: Micros, until: Micros
) -> Rejudged:
    """Judge admissions under the trust of a shard, over the evidence it holds. Raises nothing.

    A violation without an exemption would have denied, whatever the mode of the policy; a dry run of `enforce`.
    """
    compiled = {
        name: compile_policy(entry.policy)
        for name, entry in state.trust.policies.items()
        if not policies or name in policies
    }
    told: list[TurnedAway] = []
    all_of, denied, unknown = Counter[str](), Counter[str](), Counter[str]()
    for admission in admissions:
        team = admission.team or f"namespace {admission.namespace}"
        all_of[team] += 1
        found = _worst(admission, state, compiled)
        if found is not None:
            told.append(found)
            (denied if found.outcome == "violates" else unknown)[team] += 1
    rows = sorted(all_of, key=lambda t: (-denied[t], -unknown[t], t))
    return Rejudged(
        since=since,
        until=until,
        admissions=len(admissions),
        denied=sum(denied.values()),
        unknown=sum(unknown.values()),
        teams=tuple((team, all_of[team], denied[team], unknown[team]) for team in rows),
        turned_away=tuple(told),
    )


def _worst(admission: Admission, state: ShardState, policies: Mapping[str, CompiledPolicy]) -> TurnedAway | None:
    """The first violation, else the first thing that could not be told, else None."""
    unknown: TurnedAway | None = None
    for asked in admission.images:
        scope, evidence = _subject(admission, asked, state)
        for name, compiled in policies.items():
            if not compiled.governs(scope, evidence.digest):
                continue
            verdict = verify(compiled, scope, evidence, state.trust, admission.time)
            if verdict.outcome == "valid" or verdict.exempted_by:
                continue
            found = TurnedAway(
                admission=admission.id,
                time=admission.time,
                cluster=admission.cluster,
                namespace=admission.namespace,
                team=admission.team,
                workload=admission.workload,
                image=asked.image,
                policy=name,
                outcome=verdict.outcome,
                codes=tuple(dict.fromkeys(r.code for r in verdict.reasons)),
            )
            if verdict.outcome == "violates":
                return found
            unknown = unknown or found
    return unknown


def _subject(admission: Admission, asked: AskedImage, state: ShardState) -> tuple[Scope, ImageEvidence]:
    """The scope of an image, and what is known of it: nothing when no digest was ever seen."""
    try:
        reference, problem = parse_reference(asked.image), None
    except ImageReferenceError:
        reference = ImageReference(registry="", path=asked.image[:255])
        problem = reason("reference-unparsable", found=asked.image[:255])
    if problem is None and not asked.digest:
        problem = reason("digest-unknown")
    image = state.images.get((reference.repository, asked.digest))
    evidence = (
        image.evidence if image is not None else ImageEvidence(reference.repository, asked.digest, problem=problem)
    )
    entry = state.trust.clusters.get(admission.cluster)
    scope = Scope(
        image=reference,
        cluster=admission.cluster,
        cluster_name=entry.name if entry is not None else admission.cluster,
        cluster_labels=entry.labels if entry is not None else (),
        namespace=admission.namespace,
        service_account=admission.service_account,
        labels=admission.labels,
    )
    return scope, evidence
