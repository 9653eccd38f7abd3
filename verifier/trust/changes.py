"""Trust changes on their way in: every builder checks what a person asks for against trust, and returns the record.

A builder changes nothing: it answers with a record that `TrustState.apply` will accept at the epoch it was made for, or
raises `TrustError` with what was given, what was expected and what to do. `by` says who asks, when and why.

    by = By(author="alice", at=now, note="laptop stolen")
    record = revoke(trust, by, "key", "dev", reason="keyCompromise", compromised_since=tuesday)
    revocation_split(facts, first_seen, record, trust)      Split(before=(…), after=(…), unknown=(…))

What it refuses to do: guess since when a key is compromised, or let "everything it ever signed" be implied.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypedDict, get_args

from verifier.canonical import stable_id
from verifier.errors import InputError, TrustError
from verifier.evidence.keys import load_public_key
from verifier.evidence.x509 import ca_keys
from verifier.models import Fact, Micros
from verifier.policy.attestors import Attestor
from verifier.policy.fields import check_digest, check_name, check_window
from verifier.policy.model import Policy, policy_version
from verifier.policy.pem import is_pem
from verifier.reasons import REASONS
from verifier.times import show_instant
from verifier.trust.describe import short
from verifier.trust.exemptions import DEFAULT_DURATION, exemption_problem
from verifier.trust.hits import check_commit, hits, identity_of, identity_subject
from verifier.trust.records import (
    ClusterPut,
    ExemptionEnded,
    ExemptionPut,
    KeyPut,
    KeyRemoved,
    KeyRotated,
    PolicyPut,
    PolicyRemoved,
    RevocationPut,
    RevocationReason,
    RevocationWithdrawn,
    SubjectKind,
)
from verifier.trust.revocation import CLASS_OF, NEVER_SOUND, WHOLE, rule_of
from verifier.trust.sources import dating_names, in_order, proven_time, sound_times
from verifier.trust.state import TrustState

_KEY_ID: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)

SHORTEST_PREFIX: Final = 8
"""Fewest characters of a key id or record id that stand for the whole, when they are unique."""

Feed = Literal["audit", "pods"]
"""What a cluster can be declared to send."""


class By(NamedTuple):
    """Who asks for a change, when (microseconds UTC), from where, and why."""

    author: str
    at: Micros
    origin: str = "cli"
    note: str = ""


class Head(TypedDict):
    """What every record begins with."""

    author: str
    origin: str
    note: str
    at: Micros
    expects: int | None


def record_head(trust: TrustState, by: By) -> Head:
    """The common head: the change holds for the epoch it was checked against, and for no other."""
    if not by.author:
        raise TrustError("a trust change needs an author; say who asks for it")
    return Head(author=by.author, origin=by.origin, note=by.note, at=by.at, expects=trust.epoch)


# ------------------------------------------------------------------------------------------------------------- keys


def add_key(
    trust: TrustState,
    by: By,
    name: str,
    pem: str,
    *,
    owner: str = "",
    valid_from: Micros | None = None,
    valid_until: Micros | None = None,
) -> KeyPut:
    """A key under a name, or new owner or window of a key that already has it.

    Raises:
        TrustError: the name breaks the grammar or is taken, the key is unreadable or known under another name, the
            window ends before it starts.
    """
    _checked(check_name, name, "key name")
    key_id = _key_id(pem)
    try:
        check_window(valid_from, valid_until)
    except ValueError as error:
        raise TrustError(f"key {name}: {error}; give an end after {show_instant(valid_from or 0)}") from error
    _refuse_other_name(trust, key_id, name)
    if trust.names.get(name, key_id) != key_id and not _in_ring(trust, key_id):
        current = short(trust.names[name])
        raise TrustError(
            f"key name {name} is taken by {current}, got {short(key_id)}; "
            "to replace the key under its name rotate it, or choose another name"
        )
    return KeyPut(
        name=name,
        key_id=key_id,
        pem=pem,
        owner=owner,
        valid_from=valid_from,
        valid_until=valid_until,
        **record_head(trust, by),
    )


def rotate_key(trust: TrustState, by: By, name: str, new_pem: str, *, effective: Micros | None = None) -> KeyRotated:
    """`name` means a new key from `effective` (default: now) on; what the old one signed until then stays good.

    Raises:
        TrustError: no such name, an unreadable key, the same key, or one known under another name.
    """
    current = trust.names.get(name)
    if current is None:
        raise TrustError(f"no key is named {name}; {_known('names', trust.names)}")
    new_id = _key_id(new_pem)
    if new_id == current:
        raise TrustError(f"{name} already is key {short(current)}; rotation needs another key")
    _refuse_other_name(trust, new_id, name)
    return KeyRotated(
        name=name,
        old_key_id=current,
        new_key_id=new_id,
        new_pem=new_pem,
        effective=by.at if effective is None else effective,
        **record_head(trust, by),
    )


def remove_key(trust: TrustState, by: By, key: str) -> KeyRemoved:
    """A key leaves the ring: not authorised from now on, not revoked. `key`: name, id, or unique beginning of an id.

    Raises:
        TrustError: no such key in the ring.
    """
    key_id = find_key(trust, key)
    if not _in_ring(trust, key_id):
        raise TrustError(f"key {short(key_id)} is not in the ring; {_known('names', trust.names)}")
    return KeyRemoved(key_id=key_id, **record_head(trust, by))


def find_key(trust: TrustState, text: str) -> str:
    """The key id that a person means: a name's current key, its only one, a whole key id, or a unique beginning.

    Raises:
        TrustError: nothing, or several keys, are meant.
    """
    if text in trust.names:
        return trust.names[text]
    found = trust.named.get(text) or tuple(key_id for key_id in trust.candidates if _means(text, key_id))
    if len(found) == 1:
        return found[0]
    if found:
        raise TrustError(f"{text} may mean {len(found)} keys: {', '.join(map(short, found))}; write more of the key id")
    raise TrustError(f"no key {text} is known; give a name or a key id; {_known('names', trust.names)}")


# ------------------------------------------------------------------------------------------------------ revocations


def revoke(
    trust: TrustState,
    by: By,
    subject_kind: SubjectKind,
    subject: str,
    *,
    reason: RevocationReason,
    effective: Micros | None = None,
    compromised_since: Micros | None = None,
    all_signatures: bool = False,
    last_good_index: int | None = None,
) -> RevocationPut:
    """A revocation of a key (name, id, or beginning of an id), digest, piece of evidence, identity (JSON), CA (key id,
    authority id, or beginning of one), builder, commit or log.

    A compromise needs `compromised_since`, or `all_signatures` said aloud; `weakKey` and `algorithmBroken` mean
    all by themselves. The other reasons take `effective` (default: now). Digests and evidence have no before and
    after: they take `effective` only. A log may have a `last_good_index` instead.

    Raises:
        TrustError: unknown reason or key, a malformed subject, times that the reason does not take.
    """
    if reason not in CLASS_OF:
        raise TrustError(f"reason {reason} is not known; one of {', '.join(CLASS_OF)}")
    given = {
        "effective": effective,
        "compromised-since": compromised_since,
        "all-signatures": all_signatures or last_good_index is not None,
    }
    if last_good_index is not None and (subject_kind != "log" or last_good_index < 0):
        raise TrustError("last-good-index is the number of a log's entry; it stands beside a log")
    _check_times(subject_kind, reason, given, by.at)
    what = _subject(trust, subject_kind, subject)
    record_id = stable_id("revocation", subject_kind, what, reason, by.at, by.author)
    if record_id in trust.revocations:
        raise TrustError(f"this revocation is already on record as {record_id}; nothing to do")
    return RevocationPut(
        id=record_id,
        subject_kind=subject_kind,
        subject=what,
        reason=reason,
        effective=by.at if effective is None else effective,
        compromised_since=compromised_since,
        last_good_index=last_good_index,
        **record_head(trust, by),
    )


_WITH_ARTICLE: Final[Mapping[SubjectKind, str]] = {
    "key": "a key",
    "digest": "a digest",
    "evidence": "one piece of evidence",
    "identity": "an identity",
    "ca": "a CA",
    "builder": "a builder",
    "commit": "a commit",
    "log": "a log",
}


class _Times(NamedTuple):
    """Which times a kind of revocation takes, and what to say to who gives others."""

    allowed: frozenset[str]
    one_required: bool
    advice: str


_TIMES: Final = {
    "whole": _Times(
        frozenset({"effective"}), False, "a digest or one piece of evidence is revoked whole, without before and after"
    ),
    "no-compromise": _Times(
        frozenset({"effective"}),
        False,
        "this reason is no compromise, so nobody else signed; for a compromise give a reason such as keyCompromise",
    ),
    "never-sound": _Times(
        frozenset({"all-signatures"}), False, "this reason means that all signatures fall, whenever they were made"
    ),
    "compromise": _Times(
        frozenset({"compromised-since", "all-signatures"}),
        True,
        "give compromised-since (when the key was last surely good), or say all-signatures to keep none",
    ),
}


def _check_times(
    subject_kind: SubjectKind,
    reason: RevocationReason,
    given: Mapping[str, Micros | bool | None],
    at: Micros,
) -> None:
    times = _TIMES[_times_of(subject_kind, reason)]
    named = {name for name, value in given.items() if value is not None and value is not False}
    expected = " or ".join(sorted(times.allowed, reverse=True))
    if named - times.allowed or (times.one_required and len(named) != 1):
        got = " and ".join(sorted(named)) or "no time"
        raise TrustError(f"{reason} of {_WITH_ARTICLE[subject_kind]}: got {got}, expected {expected}; {times.advice}")
    since = given["compromised-since"]
    if since is not None and since > at:
        raise TrustError(
            f"{reason} of {_WITH_ARTICLE[subject_kind]}: compromised-since {show_instant(since)} lies after now"
            f" ({show_instant(at)}); give a time that has passed"
        )


def _times_of(subject_kind: SubjectKind, reason: RevocationReason) -> str:
    if subject_kind in WHOLE:
        return "whole"
    if CLASS_OF[reason] != "hard":
        return "no-compromise"
    return "never-sound" if reason in NEVER_SOUND else "compromise"


def _subject(trust: TrustState, kind: SubjectKind, subject: str) -> str:
    if kind == "key":
        # the key of a certificate is in no ring, and has to be revocable all the same
        return subject if _KEY_ID.fullmatch(subject) else find_key(trust, subject)
    if kind == "digest":
        return _checked(check_digest, subject, "digest")
    if kind == "commit":
        return _checked(check_commit, subject.lower(), "commit")
    if kind == "identity":
        return _identity_subject(subject)
    if kind in {"ca", "log"}:
        return _anchor_subject(trust, kind, subject.lower())
    if not subject:
        hint = "; `revet evidence show IMAGE` lists ids" if kind == "evidence" else ""
        raise TrustError(f"{kind} to revoke has no id{hint}")
    return subject


def _identity_subject(text: str) -> str:
    try:
        return identity_subject(identity_of(text))
    except ValueError as error:
        problem = str(error).replace("\n", " ")[:300]
        raise TrustError(f"identity to revoke: {problem}") from error


def _anchor_subject(trust: TrustState, kind: SubjectKind, text: str) -> str:
    """A CA's key id or authority id, or a log's id; a unique beginning will do, a name or label too."""
    material = trust.anchors.material
    if kind == "log":
        known = {log.id: log.origin for log in material.logs.values()}
    else:
        known = {a.id: a.label for a in material.authorities.values()}
        known |= {key: a.label for a in material.authorities.values() for key in ca_keys(a)}
    found = [name for name, label in known.items() if _means(text, name) or text == label.lower()]
    if kind == "ca" and len(found) > 1:  # a label names an authority and every certificate of it: the authority
        found = [name for name in found if name in material.authorities] or found
    if len(found) == 1:
        return found[0]
    if found:
        raise TrustError(f"{text[:80]} may mean {len(found)} of them: {', '.join(map(short, found))}; write more of it")
    shown = sorted({label for label in known.values() if label})
    raise TrustError(f"no {kind} {text[:80]} in the trust roots; {_known('ones', shown)}; see `revet trust show`")


def withdraw(trust: TrustState, by: By, revocation_id: str) -> RevocationWithdrawn:
    """Take a revocation back; what was before is restored exactly. A unique beginning of the id will do.

    Raises:
        TrustError: no such revocation, or already withdrawn.
    """
    active = [entry.id for entry in trust.revocations.values() if entry.active]
    found = _one_of(active, revocation_id, "revocation that is not withdrawn")
    return RevocationWithdrawn(revocation_id=found, **record_head(trust, by))


class Split(NamedTuple):
    """Evidence ids a revocation hits, by what is proven of their age; each part sorted by time, then id."""

    before: tuple[str, ...]
    """Proven older than C (or not later than R): they stay good, unless the record keeps nothing."""
    after: tuple[str, ...]
    unknown: tuple[str, ...]
    """Nothing proves when they were made."""


def revocation_split(
    facts: Iterable[Fact],
    first_seen: Mapping[str, Micros],
    record: RevocationPut,
    trust: TrustState | None = None,
) -> Split:
    """What a revocation would separate, printed before it is applied. Raises nothing.

    `trust` decides which time sources are accepted (default: every verified time is), and which authority dates below
    a revoked CA. With a record that keeps nothing (`all-signatures`) `before` is empty: every dated signature counts as
    after. Of a log that is good up to some entry, the entries decide instead.
    """
    about = [fact for fact in facts if hits(record, fact) or _is_dated_below(record, fact, trust)]
    if record.last_good_index is not None:
        late = {f.evidence_id for f in about if not all(in_order(e, (record,), record.effective)[0] for e in f.logs)}
        known = {fact.evidence_id for fact in about}
        return Split(before=tuple(sorted(known - late)), after=tuple(sorted(late)), unknown=())
    rule = rule_of(record)
    keeps = rule.pivot if rule.row == "soft" else rule.pivot - 1 if rule.row == "hard-since" else None
    dated = {f.evidence_id: _proven(f, first_seen.get(f.evidence_id), trust, record.at) for f in about}
    order = sorted((time, evidence) for evidence, time in dated.items() if time is not None)
    return Split(
        before=tuple(evidence for time, evidence in order if keeps is not None and time <= keeps),
        after=tuple(evidence for time, evidence in order if keeps is None or time > keeps),
        unknown=tuple(sorted(evidence for evidence, time in dated.items() if time is None)),
    )


def _is_dated_below(record: RevocationPut, fact: Fact, trust: TrustState | None) -> bool:
    if record.subject_kind != "ca" or trust is None:
        return False
    return any(record.subject in dating_names(claim, trust) for claim in fact.times)


def _proven(fact: Fact, seen: Micros | None, trust: TrustState | None, at: Micros) -> Micros | None:
    if trust is None:
        return min((t for t in (seen, *(claim.time for claim in fact.times)) if t is not None), default=None)
    return proven_time(sound_times(fact, trust, at)[0], seen, trust, at).time


# ------------------------------------------------------------------------------------------------------- exemptions


class ExemptionScope(NamedTuple):
    """What an exemption is about; a member that is empty leaves nothing out. Patterns are of the native dialect."""

    policy: str = ""
    reasons: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()


def exempt(
    trust: TrustState,
    by: By,
    scope: ExemptionScope,
    *,
    owner: str = "",
    approver: str = "",
    ticket: str = "",
    starts: Micros | None = None,
    expires: Micros | None = None,
) -> ExemptionPut:
    """Accept what a scope violates, from `starts` (default: now) to `expires` (default: 30 days after, at most 180).

    `by.note` says why and is required; the owner is the author unless named.

    Raises:
        TrustError: no why, an unknown policy or reason code, a malformed digest or pattern, too long, or everything.
    """
    if not by.note:
        raise TrustError("an exemption needs a reason in words; give a note that says why")
    if scope.policy and scope.policy not in trust.policies:
        raise TrustError(f"no policy {scope.policy} is in force; {_known('policies', trust.policies)}")
    for code in scope.reasons:
        if code not in REASONS or REASONS[code].effect != "violates":
            raise TrustError(f"{code} is no reason code of a violation; see `revet explain`")
    for digest in scope.digests:
        _checked(check_digest, digest, "digest")
    start = by.at if starts is None else starts
    record = ExemptionPut(
        id=stable_id("exemption", [*scope, start, expires], by.at, by.author),
        owner=owner or by.author,
        approver=approver,
        ticket=ticket,
        starts=start,
        expires=start + DEFAULT_DURATION if expires is None else expires,
        **scope._asdict(),
        **record_head(trust, by),
    )
    problem = exemption_problem(record)
    if problem:
        raise TrustError(problem)
    return record


def end_exemption(trust: TrustState, by: By, exemption_id: str) -> ExemptionEnded:
    """End an exemption now. A unique beginning of the id will do.

    Raises:
        TrustError: no such exemption, or already ended.
    """
    open_ = [entry.id for entry in trust.exemptions.values() if entry.ended_epoch is None]
    found = _one_of(open_, exemption_id, "exemption that has not ended")
    return ExemptionEnded(exemption_id=found, **record_head(trust, by))


# --------------------------------------------------------------------------------------------- policies and clusters


def put_policy(trust: TrustState, by: By, policy: Policy) -> PolicyPut:
    """A policy in force, new or replacing the version of the same id; its version is filled in.

    Raises:
        TrustError: an attestor names a key or a root that is not in trust, or carries a key that cannot be read.
    """
    for name, attestor in policy.attestors.items():
        _check_attestor(trust, f"policy {policy.id}, attestor {name}", attestor)
    versioned = policy.model_copy(update={"version": policy_version(policy)})
    return PolicyPut(policy=versioned, **record_head(trust, by))


def _check_attestor(trust: TrustState, where: str, attestor: Attestor) -> None:
    for text in attestor.keys:
        try:
            known = trust.key_ids(text)
        except InputError as error:
            raise TrustError(f"{where}: {error}") from error
        if not known:
            raise TrustError(f"{where}: no key is named {text}; add it first; {_known('names', trust.names)}")
    for text in attestor.root_texts:
        if not is_pem(text) and text not in trust.anchors.roots:
            known_roots = _known("names", trust.anchors.roots)
            raise TrustError(
                f"{where}: no trust root is named {text}; add it first (`revet trust root`); {known_roots}"
            )


def remove_policy(trust: TrustState, by: By, policy_id: str) -> PolicyRemoved:
    """Take a policy out of force.

    Raises:
        TrustError: no such policy.
    """
    if policy_id not in trust.policies:
        raise TrustError(f"no policy {policy_id} is in force; {_known('policies', trust.policies)}")
    return PolicyRemoved(policy_id=policy_id, **record_head(trust, by))


def put_cluster(
    trust: TrustState,
    by: By,
    cluster_id: str,
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    feeds: tuple[Feed, ...] = ("audit", "pods"),
) -> ClusterPut:
    """Enrol a cluster, or change its name, labels or declared feeds.

    Raises:
        TrustError: no id, a malformed name, a name that another cluster has, an unknown feed.
    """
    if not cluster_id:
        raise TrustError("a cluster needs its stable id, the UID of namespace kube-system; see docs")
    _checked(check_name, name, "cluster name")
    for entry in trust.clusters.values():
        if entry.name == name and entry.cluster_id != cluster_id and entry.enrolled:
            raise TrustError(f"cluster name {name} is taken by {entry.cluster_id}; choose another name")
    unknown = sorted(set(feeds) - set(get_args(Feed)))
    if unknown:
        raise TrustError(f"feed {unknown[0]} is not known; one of {', '.join(get_args(Feed))}")
    return ClusterPut(
        cluster_id=cluster_id, name=name, labels=dict(labels or {}), feeds=feeds, **record_head(trust, by)
    )


# ---------------------------------------------------------------------------------------------------------- the parts


def _key_id(pem: str) -> str:
    try:
        return load_public_key(pem).key_id
    except InputError as error:
        raise TrustError(str(error)) from error


def _in_ring(trust: TrustState, key_id: str) -> bool:
    key = trust.keys.get(key_id)
    return key is not None and key.removed_at is None


def _refuse_other_name(trust: TrustState, key_id: str, name: str) -> None:
    if _in_ring(trust, key_id) and trust.keys[key_id].name != name:
        other = trust.keys[key_id].name
        raise TrustError(f"key {short(key_id)} is already in the ring as {other}, got name {name}; use {other}")


def _means(text: str, full: str) -> bool:
    return full == text or (len(text) >= SHORTEST_PREFIX and full.startswith(text))


def _one_of(ids: Sequence[str], text: str, what: str) -> str:
    found = [full for full in ids if _means(text, full)]
    if len(found) == 1:
        return found[0]
    if found:
        raise TrustError(f"{text} is the beginning of {len(found)} ids; write more of it")
    raise TrustError(f"there is no {what} with id {text}; {_known('ids', ids)}")


def _known(what: str, values: Iterable[str]) -> str:
    return f"known {what}: {', '.join(sorted(values)) or 'none'}"


def _checked(check: Callable[[str], str], text: str, what: str) -> str:
    try:
        return check(text)
    except ValueError as error:
        raise TrustError(f"{what} {text[:80]!r}: {error}") from error
