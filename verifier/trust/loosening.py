"""Which trust changes loosen: after them something may count, or go unseen, that did not before. One row per kind.

    loosens(before, after, record)          "" or a sentence: "mode of payments: enforce -> audit"

Where two may be asked to sign (`administrators.loosening: 2`), these are the acts that ask for both. A tightening act
must never wait for a second person: a revocation at night needs one. What cannot be told apart by comparing before and
after counts as loosening, so a policy that was rewritten does, even where a reader would see that it became stricter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from verifier.evidence.crl import HOLD, Revocation
from verifier.evidence.material import Authority, Log
from verifier.models import Micros
from verifier.policy.attestors import Attestor
from verifier.policy.model import Policy, Requirement
from verifier.trust.anchors import Root
from verifier.trust.records import (
    ClusterPut,
    KeyPut,
    PolicyPut,
    PolicyRemoved,
    RootPut,
    StatusListPut,
    TrustRecord,
)
from verifier.trust.state import ClusterEntry, TrustState

_Test = Callable[[TrustState, TrustState, Any], str]  # Any: the record of the row's kind


class Row(NamedTuple):
    """One kind of record."""

    test: _Test
    why: str
    """Why it loosens, always, sometimes or never."""


def loosens(before: TrustState, after: TrustState, record: TrustRecord) -> str:
    """How `record`, which led from `before` to `after`, loosens trust; empty when it does not, or was ignored.

    Raises nothing.
    """
    return LOOSENING[record.kind].test(before, after, record)


# ------------------------------------------------------------------------------------------------- one test per kind

_MODES: Final = ("trial", "audit", "enforce")


def _never(_before: TrustState, _after: TrustState, _record: TrustRecord) -> str:
    return ""


def _policy_put(before: TrustState, after: TrustState, record: PolicyPut) -> str:
    old, new = before.policies.get(record.policy.id), after.policies.get(record.policy.id)
    if old is None or new is None or old == new:
        return ""
    return _rewritten(old.policy, new.policy)


def _rewritten(old: Policy, new: Policy) -> str:
    """Sound only in one direction: what is empty is surely no weaker."""
    if _MODES.index(new.mode) < _MODES.index(old.mode):
        return f"mode of {new.id}: {old.mode} -> {new.mode}"
    if any(rule not in new.match for rule in old.match) or any(rule not in old.exclude for rule in new.exclude):
        return f"policy {new.id} may govern less than before"
    same_words = (old.dialect, old.soft_unproven) == (new.dialect, new.soft_unproven)
    if not (same_words and _keeps(old.require, new.require) and _has(old.attestors, new.attestors)):
        return f"policy {new.id} asks for something else than before"
    return ""


def _keeps(old: Requirement, new: Requirement) -> bool:
    """Does the new requirement ask for all that the old one did? Everything under `all` is asked for."""
    asked = new.all or (new,)
    return all(part in asked for part in old.all or (old,))


def _has(old: Mapping[str, Attestor], new: Mapping[str, Attestor]) -> bool:
    return all(new.get(name) == attestor for name, attestor in old.items())


def _policy_removed(before: TrustState, after: TrustState, record: PolicyRemoved) -> str:
    gone = record.policy_id in before.policies and record.policy_id not in after.policies
    return f"policy {record.policy_id} is no longer asked" if gone else ""


def _key_put(before: TrustState, after: TrustState, record: KeyPut) -> str:
    old, new = before.keys.get(record.key_id), after.keys.get(record.key_id)
    if new is None or new == old:
        return ""
    if old is None or old.removed_at is not None:
        return f"another key may sign: {record.name}"
    wider = _wider((old.valid_from, old.valid_until), (new.valid_from, new.valid_until))
    return f"key {record.name} counts for longer" if wider else ""


def _wider(old: tuple[Micros | None, Micros | None], new: tuple[Micros | None, Micros | None]) -> bool:
    """Does the new closed window hold an instant that the old one does not? None: open to that side."""
    earlier = old[0] is not None and (new[0] is None or new[0] < old[0])
    later = old[1] is not None and (new[1] is None or new[1] > old[1])
    return earlier or later


def _adds_key(before: TrustState, after: TrustState, record: TrustRecord) -> str:
    return "" if before.keys is after.keys else f"another key may sign: {getattr(record, 'name', '')}"


def _root_put(before: TrustState, after: TrustState, record: RootPut) -> str:
    old, new = before.anchors.roots.get(record.name), after.anchors.roots.get(record.name)
    if new is None or new == old:
        return ""
    if old is None:
        return f"another trust root: {record.name}"
    return "" if _narrower(old, new) else f"trust root {record.name} holds more, or something else, than before"


def _narrower(old: Root, new: Root) -> bool:
    """Everything in the new document stood in the old one, with a window at least as wide."""
    if old.format != new.format:
        return False
    authorities = {authority.id: authority for authority in old.document.authorities}
    logs = {f"{log.use}:{log.id}": log for log in old.document.logs}
    return all(_within(authorities.get(a.id), a) for a in new.document.authorities) and all(
        _within(logs.get(f"{log.use}:{log.id}"), log) for log in new.document.logs
    )


def _within(old: Authority | Log | None, new: Authority | Log) -> bool:
    if old is None or _wider((old.valid_from, old.valid_until), (new.valid_from, new.valid_until)):
        return False
    if isinstance(old, Log) or isinstance(new, Log):
        return True
    return old.certificates == new.certificates and old.revoked == new.revoked


def _status_list_put(before: TrustState, after: TrustState, record: StatusListPut) -> str:
    old = _revoked(before, record.issuer)
    taken_back = [
        serial for serial, said in old.items() if not _as_bad(said, _revoked(after, record.issuer).get(serial))
    ]
    return f"a newer list of {record.issuer[:12]} takes back {len(taken_back)} revocations" if taken_back else ""


def _revoked(state: TrustState, issuer: str) -> dict[str, tuple[Revocation, ...]]:
    """Serial -> statements, over every list of an issuer."""
    return {
        serial: said
        for found in state.anchors.lists.values()
        if found.issuer == issuer
        for serial, said in found.entries.items()
    }


def _as_bad(old: tuple[Revocation, ...], new: tuple[Revocation, ...] | None) -> bool:
    """Is a certificate that was revoked still so, no later and no more mildly? One on hold may be revoked for good."""
    return new is not None and all(any(_covers(said, before) for said in new) for before in old)


def _covers(new: Revocation, old: Revocation) -> bool:
    same_reason = new.reason == old.reason or (old.reason == HOLD and new.reason not in _NOT_FOR_GOOD)
    return same_reason and new.date <= old.date and _since(new) <= _since(old)


def _since(said: Revocation) -> Micros:
    return said.date if said.invalid_since is None else said.invalid_since


_NOT_FOR_GOOD: Final = frozenset({HOLD, "removeFromCRL"})


def _withdrawn(before: TrustState, after: TrustState, record: TrustRecord) -> str:
    what = getattr(record, "revocation_id", "")
    return "" if before.revocations is after.revocations else f"revocation {what} no longer holds"


def _exempted(before: TrustState, after: TrustState, _record: TrustRecord) -> str:
    return "" if before.exemptions is after.exemptions else "violations are accepted for a time"


def _cluster_put(before: TrustState, after: TrustState, record: ClusterPut) -> str:
    old, new = before.clusters.get(record.cluster_id), after.clusters.get(record.cluster_id)
    if new is None or new == old:
        return ""
    if old is None:
        return f"cluster {new.name} may be left out by its name or labels" if _left_out_by_name(before) else ""
    return _renamed(old, new)


def _retired(before: TrustState, after: TrustState, record: TrustRecord) -> str:
    what = getattr(record, "cluster_id", "")
    same = before.clusters is after.clusters
    return "" if same else f"what runs in cluster {after.clusters[what].name} counts as ended, and its findings close"


def _left_out_by_name(state: TrustState) -> bool:
    """Is there a rule or exemption that lets clusters off by what an enrolment says of them?"""
    rules = (rule for entry in state.policies.values() for rule in entry.policy.exclude)
    return any(rule.clusters or rule.cluster_labels for rule in rules) or any(
        entry.record.clusters for entry in state.exemptions.values() if entry.ended_epoch is None
    )


def _renamed(old: ClusterEntry, new: ClusterEntry) -> str:
    if (old.name, old.labels) != (new.name, new.labels):
        return f"policies may see cluster {new.name} as another one"
    return f"cluster {new.name} declares fewer feeds" if set(old.feeds) - set(new.feeds) else ""


LOOSENING: Final[dict[str, Row]] = {
    "policy-put": Row(
        _policy_put,
        "A new policy only asks for more. A changed one loosens unless it surely does not: the same requirement or one "
        "that adds to it, the same attestors, at least the same match rules, no new exclusion, no weaker mode.",
    ),
    "policy-removed": Row(_policy_removed, "What it asked for is asked no longer."),
    "key-put": Row(
        _key_put,
        "A new key is another one that may sign; a wider window makes one count for longer; an owner is a name.",
    ),
    "key-rotated": Row(_adds_key, "The new key is another one that may sign, under every policy that names it."),
    "key-removed": Row(_never, "What it signed counts no longer."),
    "root-put": Row(
        _root_put,
        "A new root brings authorities and logs. A replacement loosens unless everything in it stood in the one "
        "before, with no wider window and no revocation left out.",
    ),
    "root-removed": Row(_never, "What rests on it alone counts no longer."),
    "status-list-put": Row(
        _status_list_put, "A newer list replaces the older: what it leaves out, or words more mildly, is taken back."
    ),
    "revocation-put": Row(_never, "Revocations only take away, and are what must not wait for a second person."),
    "revocation-withdrawn": Row(_withdrawn, "What was revoked counts again."),
    "exemption-put": Row(_exempted, "A violation is accepted, and its finding closes."),
    "exemption-ended": Row(_never, "The finding opens again."),
    "cluster-put": Row(
        _cluster_put,
        "A name and labels decide which policies govern a cluster, and feeds which findings there are. A new cluster "
        "loosens only where a policy leaves clusters out, or an exemption covers them, by name or label.",
    ),
    "cluster-retired": Row(_retired, "What runs there counts as ended, and its findings close."),
}
"""Kind of record -> how it is judged. A test fails when a kind has no row."""
