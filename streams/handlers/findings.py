"""Findings and incident parts, derived: containers -> classes -> findings of a workload -> counts of an incident.

`refresh(state, workload)` computes what should be open from scratch and diffs it with what is open, so the result does
not depend on the order of events; parts are absolute, so redelivery changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from alerting.findings import (
    FINDINGS,
    REASON_FINDINGS,
    IncidentKey,
    finding_code_for,
    incident_of,
    message_of,
    severity_of,
    severity_rank,
)
from alerting.models import Cause, Finding, IncidentPart, Member
from streams.handlers.causes import cause_of, listed_certificate, revocation_cause, root_cause
from streams.handlers.freshness import is_stale, lost, why_not_asked
from streams.handlers.judging import UNVERIFIABLE_AFTER, rules
from streams.handlers.signers import signer_change, why_settled
from streams.state import Class, Judged, PartRow, ShardState, Workload, part_text
from verifier.canonical import stable_id
from verifier.times import MINUTE, show_instant
from verifier.trust.standing import standings
from verifier.verify import decide, reasons_of

REOPEN_WITHIN: Final = 24 * 60 * MINUTE
"""A finding that comes back within a day keeps its cause, so that a rollout cannot move it out of the baseline."""
EXAMPLES: Final = 10


_NO_DETAIL: Final[dict[str, str]] = {}


class Slot(NamedTuple):
    """What makes a finding of a workload distinct."""

    code: str
    container: str
    policy: str
    digest: str


class Raised(msgspec.Struct):
    """What a slot holds now."""

    members: int
    cls: Class | None
    judged: Judged | None
    cause: Cause
    detail: dict[str, str] = {}
    """Code-specific values (`alerting.findings`, column detail); untrusted text."""


def refresh(state: ShardState, workload: Workload) -> Iterator[Finding]:
    """Bring the open findings of a workload to what they should be; yields the ones that changed."""
    wanted, held = _wanted(state, workload)
    for slot, raised in sorted(wanted.items(), key=lambda entry: entry[0]):  # what was read first must not matter
        text = "\0".join(slot)
        finding_id = workload.findings.get(text)
        if finding_id is not None and _is_another(state.findings[finding_id], raised):
            yield _close(state, finding_id, "replaced")
            finding_id = None
        if finding_id is None:
            yield _open(state, workload, slot, raised, text)
        else:
            changed = _update(state, finding_id, raised)
            if changed is not None:
                yield changed
    for text, finding_id in list(workload.findings.items()):
        slot = Slot(*text.split("\0"))
        if slot in wanted or (slot.container, slot.policy) in held or _not_known(state, workload, slot):
            continue
        del workload.findings[text]
        yield _close(state, finding_id, _why_closed(state, workload, slot, state.findings[finding_id]))


def _wanted(state: ShardState, workload: Workload) -> tuple[dict[Slot, Raised], set[tuple[str, str]]]:
    wanted: dict[Slot, Raised] = {}
    held: set[tuple[str, str]] = set()
    for class_id, names in workload.classes.items():
        cls = state.classes[class_id]
        for policy_id, judged in cls.judged.items():
            entry = state.trust.policies.get(policy_id)
            if entry is None or entry.policy.mode == "trial":
                continue
            outcome = judged.decided.outcome
            if outcome == "unverifiable":
                held.update((name, policy_id) for name in names)
            code = _code_of(state, cls, judged)
            if code is None:
                _add_signer_change(state, workload, cls, policy_id, names, wanted)
                _add_stale(state, cls, policy_id, names, wanted)
                continue
            cause = cause_of(state, cls, policy_id, judged, code)
            code = "policy-changed" if cause.kind == "policy-change" else code
            for name, count in names.items():
                slot = Slot(code, name, policy_id, cls.row.digest if FINDINGS[code].digest_in_id else "")
                _add(wanted, slot, count, cls, judged, cause)
        _add_lost(cls, names, wanted)
    _add_suspects(state, workload, wanted)
    return wanted, held


def _add(
    wanted: dict[Slot, Raised],
    slot: Slot,
    count: int,
    cls: Class,
    judged: Judged | None,
    cause: Cause,
    detail: dict[str, str] = _NO_DETAIL,
) -> None:
    raised = wanted.get(slot)
    if raised is None:
        wanted[slot] = Raised(count, cls, judged, cause, detail)
    else:
        raised.members += count
        known = raised.cls  # the oldest contributor names the cause
        if known is not None and (cls.row.since, cls.id) < (known.row.since, known.id):
            raised.cls, raised.judged, raised.cause, raised.detail = cls, judged, cause, detail


def _add_signer_change(
    state: ShardState,
    workload: Workload,
    cls: Class,
    policy_id: str,
    names: dict[str, int],
    wanted: dict[Slot, Raised],
) -> None:
    judged = cls.judged[policy_id]
    if judged.decided.outcome != "valid":
        return
    change = signer_change(state, workload, cls, policy_id)
    if change is not None:
        for name, count in names.items():
            slot = Slot("signer-changed", name, policy_id, "")
            _add(wanted, slot, count, cls, judged, Cause(), change._asdict())


def _add_stale(
    state: ShardState, cls: Class, policy_id: str, names: dict[str, int], wanted: dict[Slot, Raised]
) -> None:
    """It counts by what was seen, and nobody could look again for long."""
    judged = cls.judged[policy_id]
    if judged.decided.outcome == "valid" and is_stale(state, cls):
        asked, why = show_instant(cls.image.complete_at), why_not_asked(cls.image.evidence.set)
        for name, count in names.items():
            _add(
                wanted, Slot("stale", name, policy_id, ""), count, cls, judged, Cause(), {"asked": asked, "reason": why}
            )


def _add_lost(cls: Class, names: dict[str, int], wanted: dict[Slot, Raised]) -> None:
    """What was published is gone; whatever policies say."""
    what = lost(cls.image.evidence.set)
    if what:
        for name, count in names.items():
            slot = Slot("evidence-vanished", name, "", cls.row.digest)
            _add(wanted, slot, count, cls, None, Cause(), {"lost": what})


def _not_known(state: ShardState, workload: Workload, slot: Slot) -> bool:
    """What was gone is so until somebody can tell, and what was old until somebody has asked: a registry that is down
    has published nothing again, and a restart forgets how long it is down.
    """
    running = [state.classes[name] for name, names in workload.classes.items() if slot.container in names]
    if slot.code == "stale":
        judged = ((cls.judged.get(slot.policy), cls.image.evidence.set) for cls in running)
        return any(j and j.decided.outcome == "valid" and known and not known.complete for j, known in judged)
    same = [cls for cls in running if cls.row.digest == slot.digest]
    return slot.code == "evidence-vanished" and any(lost(cls.image.evidence.set) is None for cls in same)


def _add_suspects(state: ShardState, workload: Workload, wanted: dict[Slot, Raised]) -> None:
    for _, suspects in sorted(workload.suspects.items()):
        for suspect in suspects:
            slot = Slot(
                suspect.code, suspect.container, "", suspect.digest if FINDINGS[suspect.code].digest_in_id else ""
            )
            raised = wanted.get(slot)
            if raised is None:
                cls = _class_for(state, workload, suspect.container, suspect.digest)
                wanted[slot] = Raised(1, cls, None, Cause(), dict(suspect.detail))
            else:
                raised.members += 1
    for webhook, (_, image) in workload.row.failed_open.items():
        cls = _class_for(state, workload, "", "")
        detail = {"webhook": webhook, "image": image}
        wanted[Slot("failed-open", webhook, "", "")] = Raised(1, cls, None, Cause(), detail)
    for container, digests in _mixed(state, workload):
        classes = [state.classes[c] for c, names in sorted(workload.classes.items()) if container in names]
        count = sum(workload.classes[c.id][container] for c in classes)
        detail = {"digests": ", ".join(digests), "count": str(len(digests))}
        wanted[Slot("mixed-digests", container, "", "")] = Raised(count, classes[0], None, Cause(), detail)


def _mixed(state: ShardState, workload: Workload) -> Iterator[tuple[str, list[str]]]:
    """Containers whose replicas run different digests under one and the same unpinned reference."""
    seen: dict[tuple[str, str], dict[str, Class]] = {}
    for class_id, names in workload.classes.items():
        cls = state.classes[class_id]
        if cls.row.scope.image.digest or not cls.row.digest:
            continue
        for name in names:
            seen.setdefault((name, str(cls.row.scope.image)), {})[cls.row.digest] = cls
    for (name, _reference), running in sorted(seen.items()):
        if len(running) > 1 and not _one_image(running):
            yield name, sorted(running)


def _one_image(running: dict[str, Class]) -> bool:
    """Index and platform digests of one image are one image (different nodes report different ones)."""
    for cls in running.values():
        closure = cls.image.evidence.closure
        if {closure.running, *closure.indexes, *closure.children} >= running.keys():
            return True
    return False


def _class_for(state: ShardState, workload: Workload, container: str, digest: str) -> Class | None:
    """The class that tells which image a pod-level finding is about; the pod's first container when it names none."""
    found = [state.classes[c] for c, names in workload.classes.items() if not container or container in names]
    same = [cls for cls in found if cls.row.digest == digest]
    return min(same or found, key=lambda cls: cls.id, default=None)


def _code_of(state: ShardState, cls: Class, judged: Judged) -> str | None:
    if judged.exempted_by:
        return None
    if judged.decided.outcome == "violates":
        return finding_code_for(judged.codes)
    if judged.decided.outcome == "unverifiable":
        since = cls.row.uncertain_since
        if since is not None and state.now - since >= UNVERIFIABLE_AFTER:
            return "unverifiable-too-long"
    return None


# ------------------------------------------------------------------------------------------------ open, change, close


def _is_another(open_one: Finding, raised: Raised) -> bool:
    """A third signer after the second: an incident of its own."""
    return open_one.code == "signer-changed" and dict(open_one.detail)["signer"] != raised.detail["signer"]


def _open(state: ShardState, workload: Workload, slot: Slot, raised: Raised, text: str) -> Finding:
    cluster, namespace, kind, name = workload.key
    finding_id = stable_id(
        "finding", slot.code, cluster, namespace, kind, name, slot.container, slot.policy, slot.digest
    )
    before = state.findings.get(finding_id)
    recent = before is not None and before.closed is not None and state.now - before.closed <= REOPEN_WITHIN
    cause = _opening_cause(state, slot, raised)
    if before is not None and recent and before.cause.kind.startswith("baseline"):
        cause = before.cause
    row = raised.cls.row if raised.cls is not None else None
    entry = state.trust.policies.get(slot.policy)
    detail = tuple(sorted(_detail(state, slot, raised, cause).items()))
    bare = Finding(
        id=finding_id,
        code=slot.code,
        state="open",
        severity=severity_of(slot.code, _cluster_labels(state, cluster), cause),
        cluster=cluster,
        namespace=namespace,
        owner_kind=kind,
        owner_name=name,
        container=slot.container,
        policy=slot.policy,
        digest=row.digest if row is not None else slot.digest,
        image=str(row.scope.image) if row is not None else "",
        repository=row.repository if row is not None else "",
        cause=cause,
        incident="",
        opened=state.now,
        changed=state.now,
        members=raised.members,
        reasons=raised.judged.codes if raised.judged is not None else (),
        policy_version=entry.policy.version if entry is not None else "",
        epoch=state.trust.epoch,
        sequence=before.sequence + 1 if before is not None else 1,
        detail=detail,
    )
    finding = msgspec.structs.replace(bare, incident=_incident(bare).id, message=message_of(bare))
    workload.findings[text] = finding_id
    _store(state, finding)
    _count(state, finding)
    return finding


def _opening_cause(state: ShardState, slot: Slot, raised: Raised) -> Cause:
    """As it was found, unless a trust root changed later than that and turned the answer. Asked once, when it opens."""
    asked = slot.code in _OF_ROOTS and raised.cls is not None and slot.policy in state.trust.policies
    if not asked or raised.cls is None or raised.cause.kind not in ("none", "baseline-policy", "baseline-cluster"):
        return raised.cause
    found = root_cause(state, raised.cls, slot.policy)
    return found if found is not None and found.at > raised.cause.at else raised.cause


_OF_ROOTS: Final = frozenset({"expired", "wrong-signer", "attestation-missing", "unsigned"})
"""Findings that a narrowed or removed trust root can turn out."""


def _incident(finding: Finding) -> IncidentKey:
    return incident_of(
        finding.code, cluster=finding.cluster, namespace=finding.namespace, owner_kind=finding.owner_kind,
        owner_name=finding.owner_name, policy=finding.policy, policy_version=finding.policy_version,
        repository=finding.repository, digest=finding.digest, cause=finding.cause, detail=finding.detail,
    )  # fmt: skip


def _update(state: ShardState, finding_id: str, raised: Raised) -> Finding | None:
    before = state.findings[finding_id]
    row = raised.cls.row if raised.cls is not None else None
    digest = row.digest if row is not None else before.digest
    codes = raised.judged.codes if raised.judged is not None else before.reasons
    if before.members == raised.members and before.digest == digest and before.reasons == codes:
        return None
    finding = msgspec.structs.replace(
        before,
        members=raised.members,
        digest=digest,
        image=str(row.scope.image) if row is not None else before.image,
        reasons=codes,
        changed=state.now,
        epoch=state.trust.epoch,
        sequence=before.sequence + 1,
    )
    _store(state, finding)
    _count(state, finding)
    return finding


def _close(state: ShardState, finding_id: str, why: str) -> Finding:
    before = state.findings[finding_id]
    finding = msgspec.structs.replace(
        before,
        state="closed",
        closed=state.now,
        changed=state.now,
        close_reason=why,
        members=0,
        epoch=state.trust.epoch,
        sequence=before.sequence + 1,
    )
    _store(state, finding)
    state.schedule(state.now + REOPEN_WITHIN, "finding", finding_id)
    _uncount(state, finding)
    return finding


def _store(state: ShardState, finding: Finding) -> None:
    state.findings[finding.id] = finding
    state.touch("finding", finding.id)


def _why_closed(state: ShardState, workload: Workload, slot: Slot, finding: Finding) -> str:
    """The reason a finding ends with; only an explicit reason resolves anything (never a time-out)."""
    if slot.code in ("unadmitted", "denied-but-running") and workload.alive:
        return "admission-found"
    retired = state.trust.clusters.get(finding.cluster)
    if retired is not None and not retired.enrolled and not workload.alive:
        return "cluster-retired"
    names = {name for names in workload.classes.values() for name in names}
    if slot.container not in names and (slot.container or not workload.alive):
        return "replaced" if names else "ended"
    if not slot.policy:
        return "converged" if workload.alive else "ended"
    if slot.policy not in state.trust.policies:
        return "policy-removed"
    if slot.code == "signer-changed":
        return why_settled(state, workload, slot.container, dict(finding.detail)["signer"])
    judged = [
        state.classes[c].judged.get(slot.policy) for c, found in workload.classes.items() if slot.container in found
    ]
    if any(j is not None and j.exempted_by for j in judged):
        return "exempted"
    return "valid-again"


def _detail(state: ShardState, slot: Slot, raised: Raised, cause: Cause) -> dict[str, str]:
    """What the finding's sentence needs beyond its own fields."""
    if raised.cls is None or raised.judged is None or slot.code in ("signer-changed", "stale"):
        return raised.detail
    reason, certificate = _reason_text(state, slot, raised.cls)
    detail = {"reason": reason}
    if raised.judged.decided.revocations:
        detail["revoked"] = revocation_cause(state, raised.judged.decided.revocations[0]).id
    elif cause.kind == "revocation":
        detail["revoked"] = cause.id
    elif certificate:
        detail["revoked"] = certificate
    if slot.code == "unverifiable-too-long" and raised.cls.row.uncertain_since is not None:
        detail["since"] = show_instant(raised.cls.row.uncertain_since)
    return detail


def _reason_text(state: ShardState, slot: Slot, cls: Class) -> tuple[str, str]:
    """The memoised decision is shared across images; its texts are made anew for this one. Second: the certificate that
    a CA's own list revoked, when that decided.
    """
    compiled = rules(state).compiled.get(slot.policy)
    if compiled is None:
        return "", ""
    evidence = cls.image.evidence
    timelines = rules(state).timelines
    stands = standings(evidence.facts, evidence.closure, evidence.first_seen, state.trust, state.now, timelines)
    decided = decide(compiled, cls.row.scope, evidence, state.trust, state.now, stands)
    reasons = reasons_of(decided, compiled, cls.row.scope, evidence)
    own = [r for r in reasons if REASON_FINDINGS.get(r.code) == slot.code]  # of an `any`, the part that decided
    text = "; ".join(dict.fromkeys(r.message for r in own or reasons))
    return text, listed_certificate(state.trust, decided)


def _cluster_labels(state: ShardState, cluster: str) -> dict[str, str]:
    entry = state.trust.clusters.get(cluster)
    return dict(entry.labels) if entry is not None else {}


# ------------------------------------------------------------------------------------------------ incident parts


def _count(state: ShardState, finding: Finding) -> None:
    key = (finding.incident, finding.cluster, finding.namespace)
    part = state.parts.get(key)
    if part is None:
        named = _incident(finding)
        part = state.parts[key] = PartRow(
            kind=named.kind,
            subject=named.subject,
            cause=finding.cause,
            policy=finding.policy,
            severity=finding.severity,
            findings={},
            opened=finding.opened,
            message=finding.message,
        )
    if not part.findings:  # (re)opened: the newest telling of it
        part.opened, part.message, part.severity = finding.opened, finding.message, finding.severity
    elif severity_rank(finding.severity) > severity_rank(part.severity):
        part.message, part.severity = finding.message, finding.severity
    part.findings[finding.id] = Member(
        cluster=finding.cluster,
        namespace=finding.namespace,
        owner=f"{finding.owner_kind}/{finding.owner_name}",
        container=finding.container,
        image=finding.image,
        digest=finding.digest,
        count=finding.members,
        since=finding.opened,
    )
    _touch_part(state, key)


def _uncount(state: ShardState, finding: Finding) -> None:
    key = (finding.incident, finding.cluster, finding.namespace)
    part = state.parts[key]
    if part.findings.pop(finding.id, None) is not None:
        part.closed[finding.close_reason] = part.closed.get(finding.close_reason, 0) + 1
    _touch_part(state, key)


def _touch_part(state: ShardState, key: tuple[str, str, str]) -> None:
    state.dirty_parts.add(key)


def flush_parts(state: ShardState) -> Iterator[IncidentPart]:
    """Absolute counts of every part that changed since the last flush."""
    for key in sorted(state.dirty_parts):
        part = state.parts[key]
        part.sequence += 1
        state.touch("part", part_text(key))
        yield _part(state, key, part)
    state.dirty_parts.clear()


def _part(state: ShardState, key: tuple[str, str, str], part: PartRow) -> IncidentPart:
    incident, cluster, namespace = key
    largest: dict[tuple[str, str], Member] = {}
    for member in part.findings.values():  # two policies on one container are one container
        seen = largest.get((member.owner, member.container))
        if seen is None or member.count > seen.count:
            largest[(member.owner, member.container)] = member
    examples = sorted(largest.values(), key=lambda m: (-m.count, m.owner, m.container))[:EXAMPLES]
    return IncidentPart(
        incident=incident,
        kind=part.kind,
        subject=part.subject,
        cause=part.cause,
        policy=part.policy,
        severity=part.severity,
        shard=state.shard,
        cluster=cluster,
        namespace=namespace,
        epoch=state.trust.epoch,
        sequence=part.sequence,
        time=state.now,
        containers=sum(m.count for m in largest.values()),
        workloads=len({m.owner for m in largest.values()}),
        opened=part.opened,
        message=part.message,
        examples=tuple(examples),
        closed=tuple(sorted(part.closed.items())),
    )
