"""Trust changes in words: one sentence per record, and what differs between two epochs.

The sentences hold names and notes as people wrote them: a caller that prints to a terminal escapes the whole sentence.

    describe(record)  ->  "alice revoked key 3f2a91c04b7e (keyCompromise), compromised since 2026-03-05T12:00:00Z"
    diff(before, after)  ->  (Change("key", "3f2a…", "added", "dev"),)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple, TypeVar, assert_never

from verifier.evidence.x509 import ca_keys
from verifier.policy.identity import show_identity
from verifier.times import show_instant
from verifier.trust.anchors import Root
from verifier.trust.exemptions import ExemptionEntry
from verifier.trust.hits import identity_of
from verifier.trust.records import (
    ClusterPut,
    ClusterRetired,
    ExemptionEnded,
    ExemptionPut,
    KeyPut,
    KeyRemoved,
    KeyRotated,
    PolicyPut,
    PolicyRemoved,
    RevocationPut,
    RevocationWithdrawn,
    RootPut,
    RootRemoved,
    StatusListPut,
    TrustRecord,
)
from verifier.trust.revocation import CLASS_OF, NEVER_SOUND, WHOLE
from verifier.trust.state import ClusterEntry, ManagedKey, PolicyEntry, RevocationEntry, TrustState

_Entry = TypeVar("_Entry")

SHORT_KEY: Final = 12
"""Hex digits of a key id that people are shown."""


"""An instant in a sentence: a record may hold any number."""


def describe(record: TrustRecord) -> str:
    """One sentence for people: who did what. Raises nothing."""
    because = f": {record.note}" if record.note else ""
    return f"{record.author} {_deed(record)}{because}"


def _deed(record: TrustRecord) -> str:
    match record:
        case PolicyPut(policy=policy):
            return f"put policy {policy.id} in force, mode {policy.mode}, version {policy.version}"
        case PolicyRemoved():
            return f"removed policy {record.policy_id}"
        case KeyPut():
            return f"put key {record.name} ({short(record.key_id)}) into the ring{_window(record)}"
        case KeyRotated():
            change = f"from {short(record.old_key_id)} to {short(record.new_key_id)}"
            return f"rotated key {record.name} {change}, effective {show_instant(record.effective)}"
        case KeyRemoved():
            return f"removed key {short(record.key_id)} from the ring"
        case RootPut():
            return f"put trust root {record.name} ({record.format}) in force"
        case RootRemoved():
            return f"removed trust root {record.name}"
        case StatusListPut():
            return f"delivered a revocation list of {short(record.issuer)}"
        case RevocationPut():
            return f"revoked {subject_of(record)} ({record.reason}), {_timing(record)}"
        case RevocationWithdrawn():
            return f"withdrew revocation {record.revocation_id}"
        case ExemptionPut():
            return f"exempted {_scope(record)} until {show_instant(record.expires)}"
        case ExemptionEnded():
            return f"ended exemption {record.exemption_id}"
        case ClusterPut():
            return f"enrolled cluster {record.name} ({record.cluster_id}), feeds {', '.join(record.feeds) or 'none'}"
        case ClusterRetired():
            return f"retired cluster {record.cluster_id}"
    assert_never(record)


def subject_of(record: RevocationPut) -> str:
    """What a revocation hits, for people: `key 3f2a91c04b7e`, `digest sha256:…`, `identity subject ci@example.com`."""
    match record.subject_kind:
        case "identity":
            subject = show_identity(identity_of(record.subject))
        case "key" | "ca" | "log" | "commit":
            subject = short(record.subject)
        case _:
            subject = record.subject
    after = f" after entry {record.last_good_index}" if record.last_good_index is not None else ""
    return f"{_KIND_NAMES.get(record.subject_kind, record.subject_kind)} {subject}{after}"


_KIND_NAMES: Final = {"ca": "CA"}


def revoked_text(record: RevocationPut, trust: TrustState) -> str:
    """As `subject_of`, with the name of the key or of the authority where trust knows one."""
    if record.subject_kind == "key" and record.subject in trust.keys:
        return f"key {trust.keys[record.subject].name}"
    if record.subject_kind == "ca":
        for authority in trust.anchors.material.authorities.values():
            if authority.label and record.subject in (authority.id, *ca_keys(authority)):
                return f"CA {authority.label}"
    return subject_of(record)


def short(key_id: str) -> str:
    """The part of a key id that people are shown."""
    return key_id[:SHORT_KEY]


def _window(record: KeyPut) -> str:
    start = f", valid from {show_instant(record.valid_from)}" if record.valid_from is not None else ""
    end = f", valid until {show_instant(record.valid_until)}" if record.valid_until is not None else ""
    return start + end


def _timing(record: RevocationPut) -> str:
    hard = CLASS_OF[record.reason] == "hard" or record.compromised_since is not None
    if record.subject_kind in WHOLE or not hard:
        return f"effective {show_instant(record.effective)}"
    if record.compromised_since is None or record.reason in NEVER_SOUND:
        return "all its signatures" if record.last_good_index is None else "everything later"
    return f"compromised since {show_instant(record.compromised_since)}"


def _scope(record: ExemptionPut) -> str:
    members = {
        "policy": (record.policy,) if record.policy else (),
        "reasons": record.reasons,
        "clusters": record.clusters,
        "namespaces": record.namespaces,
        "images": record.images,
        "digests": record.digests,
    }
    return "; ".join(f"{name} {', '.join(values)}" for name, values in members.items() if values)


# -------------------------------------------------------------------------------------------------- between two epochs


ChangedThing = Literal["policy", "key", "root", "revocation", "exemption", "cluster"]
ChangeKind = Literal["added", "changed", "removed", "superseded", "withdrawn", "ended", "retired"]


class Change(NamedTuple):
    """One thing that differs between two trust states."""

    what: ChangedThing
    id: str
    kind: ChangeKind
    text: str
    """Name, and what it is now (after a removal: what it was)."""


def diff(before: TrustState, after: TrustState) -> tuple[Change, ...]:
    """What a person would say changed from one state to the other, by kind of thing, then by id. Raises nothing."""
    return (
        *_changes("policy", before.policies, after.policies, _policy),
        *_changes("key", before.keys, after.keys, _key),
        *_changes("root", before.anchors.roots, after.anchors.roots, _root),
        *_changes("revocation", before.revocations, after.revocations, _revocation),
        *_changes("exemption", before.exemptions, after.exemptions, _exemption),
        *_changes("cluster", before.clusters, after.clusters, _cluster),
    )


def _changes(
    what: ChangedThing,
    before: Mapping[str, _Entry],
    after: Mapping[str, _Entry],
    tell: Callable[[_Entry, _Entry], tuple[ChangeKind, str]],
) -> list[Change]:
    if before is after:
        return []
    changes = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old is None and new is not None:
            changes.append(Change(what, name, "added", tell(new, new)[1]))
        elif new is None and old is not None:
            changes.append(Change(what, name, "removed", tell(old, old)[1]))
        elif old is not None and new is not None and old != new:
            changes.append(Change(what, name, *tell(old, new)))
    return changes


def _policy(old: PolicyEntry, new: PolicyEntry) -> tuple[ChangeKind, str]:
    modes = new.policy.mode if old.policy.mode == new.policy.mode else f"{old.policy.mode} -> {new.policy.mode}"
    return "changed", f"mode {modes}, version {new.policy.version}"


def _key(old: ManagedKey, new: ManagedKey) -> tuple[ChangeKind, str]:
    text = f"{new.name} ({short(new.key_id)})"
    if old.removed_at is None and new.removed_at is not None:
        return "removed", text
    if old.superseded_at is None and new.superseded_at is not None:
        return "superseded", f"{text}, effective {show_instant(new.superseded_at)}"
    return "changed", text


def _root(old: Root, new: Root) -> tuple[ChangeKind, str]:
    held = f"{len(new.document.authorities)} authorities, {len(new.document.logs)} logs"
    return "changed", f"{new.format}, {held}" if old.format == new.format else f"{old.format} -> {new.format}, {held}"


def _revocation(_old: RevocationEntry, new: RevocationEntry) -> tuple[ChangeKind, str]:
    return "withdrawn", f"{subject_of(new.record)} ({new.record.reason}), {_timing(new.record)}"


def _exemption(_old: ExemptionEntry, new: ExemptionEntry) -> tuple[ChangeKind, str]:
    return "ended", f"{_scope(new.record)} until {show_instant(new.record.expires)}"


def _cluster(old: ClusterEntry, new: ClusterEntry) -> tuple[ChangeKind, str]:
    if old.enrolled and not new.enrolled:
        return "retired", new.name
    labels = ", ".join(f"{key}={value}" for key, value in new.labels) or "no labels"
    return "changed", f"{new.name}, {labels}, feeds {', '.join(new.feeds) or 'none'}"
