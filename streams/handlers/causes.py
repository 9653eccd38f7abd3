"""What changed: the cause a finding is filed under. Trust changes first, then a baseline, else the finding itself.

    cause_of(state, cls, policy_id, judged, code)     Cause("revocation", "identity:{…}", "subject ci@…", at, epoch)
    root_cause(state, cls, policy_id)                 Cause("policy-change", "root:corp-ca@12", "corp-ca", at, epoch)

A cause is a function of times in the input and of the history of policies and roots, never of the order in which events
were handled. So that "passed before" can be asked of a trust root too, `note_root` keeps what a root was before its
newest change. What it refuses to do: name a cause it cannot show; then the finding speaks for itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import msgspec

from alerting.findings import FINDINGS, ROOT_CAUSE
from alerting.models import Cause
from streams.state import Class, Judged, ShardState
from verifier.evidence.material import RootFormat
from verifier.models import Micros
from verifier.policy.model import Policy
from verifier.policy.selection import CompiledPolicy, compile_policy
from verifier.trust.describe import revoked_text
from verifier.trust.records import RootPut, RootRemoved, TrustRecord
from verifier.trust.standing import standings
from verifier.trust.state import TrustState
from verifier.verify import Decided, decide

_NOTE: Final = "root\0"
"""Begins the name of the row in which the former version of a trust root is stored."""


_COMPILED_KEPT: Final = 256
"""Compiled policies kept: those in force and the versions before them."""


class FormerRoot(msgspec.Struct, array_like=True, frozen=True):
    """A trust root as it was before its newest change."""

    name: str
    format: RootFormat
    content: str
    epoch: int
    """Of the change."""
    at: Micros


def note_root(state: ShardState, before: TrustState, record: TrustRecord, epoch: int) -> None:
    """Remember what a root was, when this record (already applied) changed it or took it away."""
    if not isinstance(record, RootPut | RootRemoved) or state.trust.anchors is before.anchors:
        return
    former = before.anchors.roots.get(record.name)
    if former is None:  # what is new takes nothing away
        return
    row = FormerRoot(former.name, former.format, former.content, epoch, record.at)
    state.notes[_NOTE + former.name] = msgspec.msgpack.encode(row)
    state.touch("note", _NOTE + former.name)


def cause_of(state: ShardState, cls: Class, policy_id: str, judged: Judged, code: str) -> Cause:
    """What turned the answer of a policy on a class into this finding; trust roots apart (`root_cause`)."""
    if FINDINGS[code].proof_of_compromise:
        revocations = judged.decided.revocations
        return revocation_cause(state, revocations[0]) if revocations else Cause()
    entry = state.trust.policies[policy_id]
    since = cls.row.since
    if since <= entry.first_at and not (code == "expired" and _held(state, cls, entry.policy, entry.first_at)):
        return Cause("baseline-policy", policy_id, policy_id, entry.first_at, entry.first_epoch)
    if since <= entry.at and entry.previous is not None and _passed_before(state, cls, entry.previous):
        return Cause("policy-change", f"{policy_id}@{entry.policy.version}", policy_id, entry.at, entry.epoch)
    feed = state.feeds.get((cls.row.scope.cluster, "pods"))
    if feed is not None and since < feed.first:
        name = cls.row.scope.cluster_name or cls.row.scope.cluster
        return Cause("baseline-cluster", cls.row.scope.cluster, name, feed.first, 0)
    return Cause()


def revocation_cause(state: ShardState, revocation_id: str) -> Cause:
    """The revoked thing, under the name the record of the revocation has for it."""
    entry = state.trust.revocations[revocation_id]
    record = entry.record
    if record.subject_kind == "key":
        label = state.trust.name_of(record.subject)
    else:
        label = revoked_text(record, state.trust).partition(" ")[2]
    return Cause("revocation", f"{record.subject_kind}:{record.subject}", label, record.at, entry.epoch)


def listed_certificate(trust: TrustState, decided: Decided) -> str:
    """What a CA's own list revoked, as a cause would name it; empty when nothing of the kind decided."""
    for failure in decided.failures:
        standing = failure.standing
        if failure.code != "certificate-revoked" or standing is None or standing.chain is None:
            continue
        for text in standing.chain.serials:
            issuer, _, serial = text.partition(":")
            if any(found.issuer == issuer and serial in found.entries for found in trust.anchors.lists.values()):
                return f"certificate:{text}"
        return f"key:{standing.key_id}"  # revoked in the root document itself, as an OpenPGP key is
    return ""


def root_cause(state: ShardState, cls: Class, policy_id: str) -> Cause | None:
    """The newest change of a trust root without which the policy in force would accept this class; None: there is none.

    As with policies, today's trust is asked with one thing put back, so only that root differs.
    """
    for former in _former_roots(state):
        if cls.row.since > former.at:
            continue
        compiled = _compiled(state, state.trust.policies[policy_id].policy)
        if _outcome(compiled, cls, _with_former(state, former), state.now) == "valid":
            cause_id = f"{ROOT_CAUSE}{former.name}@{former.epoch}"
            return Cause("policy-change", cause_id, former.name, former.at, former.epoch)
    return None


def _former_roots(state: ShardState) -> Iterator[FormerRoot]:
    """Newest change first."""
    rows = (msgspec.msgpack.decode(v, type=FormerRoot) for k, v in state.notes.items() if k.startswith(_NOTE))
    return iter(sorted(rows, key=lambda row: (-row.epoch, row.name)))


def _with_former(state: ShardState, former: FormerRoot) -> TrustState:
    """Trust of now, had that root not changed; kept while trust is the same."""
    trust, kept = state.memory.get("former-roots", (None, {}))
    if trust is not state.trust:
        kept = {}
        state.memory["former-roots"] = (state.trust, kept)
    found: TrustState | None = kept.get(former.name)
    if found is None:
        put = state.trust.anchors.put(former.name, former.format, former.content, former.epoch, former.at)
        found = kept[former.name] = replace(state.trust, anchors=put)
    return found


def _passed_before(state: ShardState, cls: Class, previous: Policy) -> bool:
    """Would the version before have passed this class? Judged under today's trust, so only the policy differs."""
    compiled = _compiled(state, previous)
    if not compiled.governs(cls.row.scope, cls.row.digest):
        return True
    return _outcome(compiled, cls, state.trust, state.now) == "valid"


def _held(state: ShardState, cls: Class, policy: Policy, instant: Micros) -> bool:
    """Did the evidence of today satisfy the policy at an earlier instant? Then only time has turned it since."""
    return _outcome(_compiled(state, policy), cls, state.trust, instant) == "valid"


def _outcome(compiled: CompiledPolicy, cls: Class, trust: TrustState, instant: Micros) -> str:
    evidence = cls.image.evidence
    stands = standings(evidence.facts, evidence.closure, evidence.first_seen, trust, instant)
    return decide(compiled, cls.row.scope, evidence, trust, instant, stands).outcome


def _compiled(state: ShardState, policy: Policy) -> CompiledPolicy:
    kept: dict[tuple[str, str], CompiledPolicy] = state.memory.setdefault("compiled", {})
    found = kept.get((policy.id, policy.version))
    if found is None:
        if len(kept) >= _COMPILED_KEPT:
            kept.clear()
        found = kept[(policy.id, policy.version)] = compile_policy(policy)
    return found
