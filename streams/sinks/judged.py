"""Documents of what was judged and told: evidence, verdicts, findings, incidents and their transitions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, cast

import msgspec

from alerting.findings import severity_rank
from alerting.lifecycle import Lifecycle
from alerting.models import Cause, Finding, Incident, Silence
from alerting.silences import scope_text
from alerting.text import count
from streams.events import EvidenceFound, Owner, VerdictReached
from streams.sinks.certified import certified, for_reading, identities
from streams.sinks.document import (
    Body,
    Document,
    document,
    hashes,
    image_fields,
    instant,
    instant_or_none,
    prepared,
    shown_image,
)
from streams.sinks.known import Known
from streams.sinks.observed import labelled, place, workload
from verifier.canonical import stable_id
from verifier.models import EvidenceSet, Fact, SignatureView, Verdict
from verifier.oci.port import BASE

_OUTCOMES: Final = {"valid": "success", "violates": "failure", "unverifiable": "unknown", "ungoverned": "success"}
_VERIFIED: Final = {
    "valid": "image-verified",
    "violates": "image-rejected",
    "unverifiable": "image-unverifiable",
    "ungoverned": "image-ungoverned",
}

_SAME_INSTANT: Final = 10
"""Bits of a finding's version for transitions within one microsecond."""


def keys(ids: Iterable[str], names: Iterable[str] = ()) -> dict[str, object]:
    """Keys, so that a name and an id both find them."""
    id_list, name_list = list(dict.fromkeys(filter(None, ids))), list(dict.fromkeys(filter(None, names)))
    related = [*id_list, *name_list]
    return {"provenance.key.id": id_list, "provenance.key.name": name_list, "provenance.key.related": related}


# ------------------------------------------------------------------------------------------------ evidence


def of_evidence(event: EvidenceFound, known: Known) -> Iterator[Document]:
    """What is known of an image now, and that it was asked."""
    body = prepared(_evidence(event, known))
    told: Body = {
        "event.kind": "event",
        "event.action": "evidence-fetched",
        "event.original": msgspec.json.encode(event).decode(),  # not cut: replays of verdicts need every fact
    }
    yield document("evidence", event.id, event.time, body, told)
    named = f"{event.set.repository}@{event.set.digest}"
    yield document("images", named, event.time, body, {"event.kind": "state"}, version=event.set.fetched_at)


def _evidence(event: EvidenceFound, known: Known) -> dict[str, object]:
    found, facts = event.set, event.facts
    seen = dict(event.first_seen)
    signers = sorted({key for fact in facts if fact.kind == "signature" for key in fact.verified_by})
    leaves = {fact.certificate.key_id for fact in facts if fact.certificate is not None and fact.chains}
    ids = sorted({key for fact in facts for key in fact.verified_by} | leaves)
    problems = [p.code for p in found.places if p.outcome == "error"] + [f.problem for f in facts]
    closure = found.closure
    return {
        "message": _evidence_sentence(event, signers, known),
        "event.category": "package",
        "event.type": "info",
        "event.outcome": "success" if found.complete else "unknown",
        "provenance.image.reference": f"{found.repository}@{found.digest}",
        "provenance.image.registry": found.repository.partition("/")[0],
        "provenance.image.repository": found.repository,
        "provenance.image.digest": found.digest,
        "provenance.image.index_digest": closure.indexes,
        "related.hash": hashes(found.digest, *closure.indexes, *closure.children),
        **keys(ids, [known.key_name(key) for key in ids]),
        **_built_on(found, certified(facts, known)),
        "provenance.signature.exists": any(f.kind == "signature" for f in facts),
        "provenance.signature.kind": sorted({f.format for f in facts}),
        "provenance.signatures": [_fact(fact, seen.get(fact.evidence_id), known) for fact in facts],
        "provenance.evidence.id": found.evidence,
        "provenance.evidence.set": found.version,
        "provenance.evidence.count": len(found.evidence),
        "provenance.evidence.complete": found.complete,
        "provenance.evidence.problem": problems,
        "provenance.evidence.first_seen": instant_or_none(min(seen.values(), default=None)),
        "provenance.evidence.fetched_at": instant(found.fetched_at),
        "provenance.evidence.places": [msgspec.to_builtins(p) for p in found.places],
    }


def _built_on(found: EvidenceSet, body: dict[str, object]) -> dict[str, object]:
    """With the bases that the manifests' own annotations name, beside those of provenance."""
    named = [place.digest for place in found.places if place.place == BASE]
    return body | {"provenance.image.base": [*named, *cast("list[str]", body["provenance.image.base"])]}


def _fact(fact: Fact, first_seen: int | None, known: Known) -> dict[str, object]:
    """One piece of evidence, for reading. Times of the evidence itself come before revet's own first sight of it."""
    claims = [(c.time, c.kind) for c in fact.times] + ([(first_seen, "observed")] if first_seen is not None else [])
    time, kind = min(claims, default=(None, "none"))
    return {
        "evidence": fact.evidence_id,
        "format": fact.format,
        "kind": fact.kind,
        "subjects": list(fact.subjects),
        "keys": list(fact.verified_by),
        "names": [known.key_name(key) for key in fact.verified_by],
        "predicate_type": fact.predicate_type,
        "time": time,
        "time_kind": kind,
        "claimed_time": fact.claimed_time,
        "first_seen": first_seen,
        "problem": fact.problem,
        **for_reading(fact, known),
    }


def _evidence_sentence(event: EvidenceFound, signers: list[str], known: Known) -> str:
    image = shown_image(event.set.repository, event.set.digest)
    people = [
        name for f in event.facts if f.kind == "signature" and f.chains and not f.problem for name in identities(f)
    ]
    named = ", ".join((*(known.key_name(key) or f"key:{key[:12]}" for key in signers), *dict.fromkeys(people)))
    found = f"{count(len(event.set.evidence), 'piece')} of evidence"
    signed = f"signed by {named}" if named else "no signature of a known signer"
    return f"{image}: {found}, {signed}" + ("" if event.set.complete else "; not every place answered")


# ------------------------------------------------------------------------------------------------ verdicts


def of_verdict(event: VerdictReached, known: Known) -> Iterator[Document]:
    """A verdict that differs from the one before, with the whole of it for replays."""
    verdict, scope = event.verdict, event.verdict.scope
    body: dict[str, object] = {
        "message": _verdict_sentence(event),
        "event.kind": "event",
        "event.category": "package",
        "event.type": "info",
        "event.action": _VERIFIED[verdict.outcome],
        "event.outcome": _OUTCOMES[verdict.outcome],
        "event.reason": "; ".join(r.message for r in verdict.reasons),
        **place(scope.cluster, scope.namespace, known),
        "orchestrator.cluster.name": scope.cluster_name,
        **labelled(scope.cluster_labels),
        "provenance.image.index_digest": verdict.closure.indexes,
        "related.hash": hashes(verdict.closure.running, *verdict.closure.indexes, *verdict.closure.children),
        "provenance.workload.service_account": scope.service_account,
        "provenance.class.id": event.class_id,
        "provenance.class.members": event.members,
        "provenance.verdict": verdict.outcome,
        "provenance.previous_verdict": event.previous,
        "provenance.reason.code": [r.code for r in verdict.reasons],
        "provenance.policy.id": verdict.policy,
        "provenance.policy.version": verdict.policy_version,
        "provenance.policy.mode": verdict.mode,
        "rule.id": verdict.policy,
        "rule.version": verdict.policy_version,
        "provenance.exemption.id": verdict.exempted_by,
        "provenance.evaluation.trigger": event.trigger,
        "provenance.evaluation.valid_until": instant_or_none(verdict.valid_until),
        "provenance.evaluation.engine_version": verdict.verifier,
        "provenance.cause.label": event.cause,
        "provenance.trust.epoch": verdict.epoch,
        "provenance.evidence.set": verdict.evidence_set,
        **_signatures(verdict),
    }
    image = image_fields(str(scope.image), scope.image.repository, verdict.closure.running)
    original: Body = {"event.original": msgspec.json.encode(verdict).decode()}  # not cut: replays need every byte
    yield document("verification", event.id, event.time, prepared(body), image, original)


def _signatures(verdict: Verdict) -> dict[str, object]:
    views = verdict.signatures
    return {
        **keys((v.key_id for v in views), (v.signer for v in views if v.key_id and not v.issuer)),
        "provenance.signature.exists": any(v.kind == "signature" for v in views),
        "provenance.signature.trusted": any(v.counts for v in views),
        "provenance.signature.status": [v.status for v in views],
        "provenance.signature.kind": [v.format for v in views],
        "provenance.signature.identity": [v.signer for v in views if v.issuer],
        "provenance.signature.issuer": [v.issuer for v in views],
        "provenance.signature.predicate_type": [v.predicate_type for v in views],
        "provenance.signatures": [_view(v) for v in views],
    }


def _view(view: SignatureView) -> dict[str, object]:
    return {
        "signer": view.signer,
        "key": view.key_id,
        "evidence": view.evidence,
        "format": view.format,
        "kind": view.kind,
        "status": view.status,
        "counts": view.counts,
        "time": view.time,
        "time_kind": view.time_kind,
        **({"issuer": view.issuer} if view.issuer else {}),
        **({"predicate_type": view.predicate_type} if view.predicate_type else {}),
    }


def _verdict_sentence(event: VerdictReached) -> str:
    verdict = event.verdict
    image = shown_image(verdict.scope.image.repository, verdict.closure.running, str(verdict.scope.image))
    was = f"{event.previous} -> " if event.previous else ""
    policy = f" under {verdict.policy}" if verdict.policy else ""
    why = "; ".join(r.message for r in verdict.reasons) or "nothing to say"
    cause = f" (because: {event.cause})" if event.cause else ""
    exempt = f", exempted by {verdict.exempted_by}" if verdict.exempted_by else ""
    return f"{image} in {verdict.scope.namespace}{policy}: {was}{verdict.outcome}{exempt}: {why}{cause}"


def stored_verdict(original: str) -> Verdict:
    """The verdict in `event.original`; encoding it again gives the same bytes.

    Raises:
        msgspec.DecodeError: not one of ours.
    """
    return msgspec.json.decode(original, type=Verdict)


def stored_evidence(original: str) -> EvidenceFound:
    """The answer in `event.original` of a document of evidence.

    Raises:
        msgspec.MsgspecError: not one of ours.
    """
    return msgspec.json.decode(original, type=EvidenceFound)


# ------------------------------------------------------------------------------------------------ findings


def cause_fields(cause: Cause) -> dict[str, object]:
    """What changed; nothing when the finding speaks for itself."""
    if cause.kind == "none":
        return {}
    return {
        "provenance.cause.kind": cause.kind,
        "provenance.cause.id": cause.id,
        "provenance.cause.label": cause.label,
        **(keys([cause.id.removeprefix("key:")], [cause.label]) if cause.id.startswith("key:") else {}),
    }


def of_finding(event: Finding, known: Known) -> Iterator[Document]:
    """The transition, and the finding as it is now."""
    body = prepared(_finding(event, known))
    transition = stable_id("finding-transition", event.id, event.state, event.sequence)
    yield document("finding", transition, event.changed, body)
    # The sequence starts again when a shard has forgotten a finding that was closed for long; time does not.
    version = (max(event.changed, 0) << _SAME_INSTANT) | min(event.sequence, (1 << _SAME_INSTANT) - 1)
    yield document("findings", event.id, event.changed, body, version=version)


def _finding(event: Finding, known: Known) -> dict[str, object]:
    closed = event.state == "closed"
    action = "finding-closed" if closed else "finding-opened" if event.changed == event.opened else "finding-updated"
    owner = Owner(event.owner_kind, event.owner_name)
    return {
        "message": (f"{event.code} closed ({event.close_reason}): " if closed else "") + event.message,
        "event.kind": "alert",
        "event.category": "intrusion_detection",
        "event.type": "info" if closed else "allowed",
        "event.action": action,
        "event.outcome": "unknown" if event.code == "unverifiable-too-long" else "failure",
        "event.code": event.code,
        "event.severity": severity_rank(event.severity),
        "event.sequence": event.sequence,
        **place(event.cluster, event.namespace, known),
        **(workload(event.cluster, event.namespace, owner) if event.owner_name else {}),
        **(image_fields(event.image, event.repository, event.digest) if event.image or event.digest else {}),
        "related.hash": hashes(event.digest),
        "container.name": event.container,
        "provenance.state": event.state,
        "provenance.severity": event.severity,
        "provenance.reason.code": event.reasons,
        "provenance.policy.id": event.policy,
        "provenance.policy.version": event.policy_version,
        "rule.id": event.policy,
        "rule.version": event.policy_version,
        "provenance.exemption.id": event.exempted_by,
        "provenance.trust.epoch": event.epoch,
        **cause_fields(event.cause),
        "provenance.finding.id": event.id,
        "provenance.finding.type": event.code,
        "provenance.finding.status": _status(event),
        "provenance.finding.opened_at": instant(event.opened),
        "provenance.finding.closed_at": instant_or_none(event.closed),
        "provenance.finding.close_reason": event.close_reason,
        "provenance.finding.affected_count": event.members,
        "provenance.finding.detail": {k: v for k, v in event.detail if v},
        "provenance.incident.id": event.incident,
    }


def _status(event: Finding) -> str:
    """ECS words for the state of a finding (`vulnerability.status`), with ours for an exemption."""
    if event.state == "open":
        return "open"
    return "suppressed" if event.close_reason == "exempted" else "fixed"


# ------------------------------------------------------------------------------------------------ incidents

_SELF_TOLD: Final = frozenset({"opened", "changed", "acknowledged", "resolved", "reopened"})
"""Transitions that the incident's own row tells; the lifecycle's record of them would be the second of one thing."""


def of_incident(event: Incident, known: Known) -> Iterator[Document]:
    """The incident as it is now, and each state it entered (once, however often its counts change in it)."""
    del known
    body = prepared(_incident(event))
    transition = "reopened" if event.state == "open" and event.reopened else _ENTERED[event.state]
    entered = f"{event.id}:{event.state}:{event.reopened}"
    told: Body = {"provenance.incident.transition": transition, "event.action": f"incident-{transition}"}
    yield document("incident", entered, event.changed, {k: v for k, v in body.items() if k not in _NOW_ONLY}, told)
    yield document("incidents", event.id, event.changed, body, version=event.revision)


_ENTERED: Final = {"open": "opened", "acknowledged": "acknowledged", "resolved": "resolved"}
_NOW_ONLY: Final = frozenset(
    f"provenance.incident.{name}" for name in ("namespaces", "clusters", "peak", "final", "paging", "breakdown")
)


def _incident(event: Incident) -> dict[str, object]:
    by = f", acknowledged by {event.acknowledged_by}" if event.state == "acknowledged" else ""
    by += ", UNKNOWN (nothing of it is in sight)" if event.unknown else ""
    digest = event.subject if event.subject.startswith("sha256:") else event.cause.id.partition("digest:")[2]
    return {
        "message": f"{event.short_id} {event.kind} {event.subject}: {event.state}{by}, "
        f"{count(event.containers, 'container')} of {count(event.workloads, 'workload')}: {event.message}",
        "event.kind": "alert",
        "event.category": "intrusion_detection",
        "event.type": "info",
        "event.code": event.kind,
        "event.severity": severity_rank(event.severity),
        "event.sequence": event.revision,
        "related.hash": hashes(digest),
        "related.user": [event.acknowledged_by],
        "user.name": event.acknowledged_by,
        "provenance.state": event.state,
        "provenance.severity": event.severity,
        "provenance.policy.id": event.policy,
        "provenance.trust.epoch": event.epoch,
        "provenance.owner.team": [team for team, _, _ in event.teams],
        **cause_fields(event.cause),
        "provenance.incident.id": event.id,
        "provenance.incident.short_id": event.short_id,
        "provenance.incident.kind": event.kind,
        "provenance.incident.subject": event.subject,
        "provenance.incident.cause": event.cause.id,
        "provenance.incident.state": event.state,
        "provenance.incident.opened_at": instant(event.opened),
        "provenance.incident.resolved_at": instant_or_none(event.resolved),
        "provenance.incident.containers": event.containers,
        "provenance.incident.workloads": event.workloads,
        "provenance.incident.namespaces": event.namespaces,
        "provenance.incident.clusters": event.clusters,
        "provenance.incident.peak": event.peak_containers,
        "provenance.incident.final": event.final,
        "provenance.incident.paging": event.paging,
        "provenance.incident.revision": event.revision,
        "provenance.incident.breakdown": [_breakdown(event)],
    }


def _breakdown(event: Incident) -> dict[str, object]:
    return {
        "teams": [list(row) for row in event.teams],
        "examples": [list(msgspec.structs.astuple(m)) for m in event.examples],
        "closed": [list(row) for row in event.closed],
        "notes": [list(note) for note in event.notes],
        "silences": [list(row) for row in event.silences],
        "unseen": [list(row) for row in event.unseen],
        "proposals": [list(msgspec.structs.astuple(proposal)) for proposal in event.proposals],
        "deployed_by": event.deployed_by,
        "good_image": event.good_image,
    }


def of_lifecycle(event: Lifecycle, known: Known) -> Iterator[Document]:
    """What a person or a severity did to an incident, beyond the states it enters."""
    del known
    if event.transition in _SELF_TOLD:
        return
    by = f" by {event.by}" if event.by else ""
    body = prepared(
        {
            "message": f"{event.short_id} {event.transition}{by}" + (f": {event.text}" if event.text else ""),
            "event.kind": "event",
            "event.type": "info",
            "event.action": f"incident-{event.transition}",
            "event.reason": event.text,
            "event.severity": severity_rank(event.severity),
            "event.sequence": event.revision,
            "user.name": event.by,
            "related.user": [event.by],
            "provenance.state": event.state,
            "provenance.severity": event.severity,
            "provenance.incident.id": event.incident,
            "provenance.incident.short_id": event.short_id,
            "provenance.incident.state": event.state,
            "provenance.incident.transition": event.transition,
            "provenance.incident.containers": event.containers,
            "provenance.incident.workloads": event.workloads,
            "provenance.incident.revision": event.revision,
        }
    )
    yield document("incident", event.id, event.time, body)


def of_silence(event: Silence, known: Known) -> Iterator[Document]:
    """That a silence began, ended or was refused; what it did to an incident is told with the incident."""
    del known
    by = event.ended_by or event.by
    body = prepared(
        {
            "message": _silence_sentence(event),
            "event.kind": "event",
            "event.type": "info",
            "event.action": f"silence-{event.state}",
            "event.outcome": "failure" if event.state == "refused" else "success",
            "event.reason": event.note or event.why,
            "event.sequence": event.sequence,
            "user.name": by,
            "related.user": [event.by, event.ended_by],
        }
    )
    yield document("incident", f"{event.id}:{event.sequence}:{event.state}", event.time, body)


def _silence_sentence(event: Silence) -> str:
    what = f"silence {event.id} of {scope_text(event.scope) or 'everything'}"
    until = f"until {instant(event.ends)}, by {event.by}: {event.why}"
    withheld = count(event.withheld, "message")
    note = f": {event.note}" if event.note else ""
    return {
        "in-force": f"{what} began, {until}",
        "ended": f"{what} was ended by {event.ended_by}{note}; {withheld} withheld",
        "expired": f"{what}, by {event.by}, has ended; {withheld} withheld",
        "refused": f"{what}, {until}, was refused{note}",
    }[event.state]
