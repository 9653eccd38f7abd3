"""Time sources and logs: whose word on when a signature existed is accepted, and until when.

    proven_time(fact.times, first_seen, trust, instant)        ProvenTime(t_le, "attested", valid_until)
    sound_times(fact, trust, instant)                          without times that only late log entries gave
    accepted_sources(fact, roots, trust, instant)              the times, log entries and SCTs that count

A source counts while its key is neither compromised, on hold nor removed, and its time lies within the closed window
the trust root gives it; a source in no root in force never counts. A compromised source is discarded whole, its past
too: it can lie about the past. (One could spare entries under a checkpoint that a sound witness cosigned
before the compromise; witnesses are not read, so nothing is.) A log that is good up to some entry is the one
exception: its order holds even where its clock lied, so later entries, and the times they give, count as not there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from verifier.evidence.material import LogUse
from verifier.evidence.rekor import REKOR_V2_KINDS
from verifier.evidence.x509 import ca_keys
from verifier.models import ChainClaim, Fact, LogClaim, Micros, SctClaim, TimeClaim
from verifier.trust.records import RevocationPut
from verifier.trust.revocation import DELISTED, Rule, TimeProof, earliest, rotation_rule, rule_of, source_accepted
from verifier.trust.state import TrustState

Roots = frozenset[str] | None
"""Names of the trust roots whose logs and timestamp authorities count; None: those of every root."""


class ProvenTime(NamedTuple):
    """The earliest accepted proof that a signature existed."""

    time: Micros | None
    kind: TimeProof
    valid_until: Micros | None = None
    """Instant at which a source stops being accepted; None when none is due."""


class Sources(NamedTuple):
    """What of a fact's proofs counts at an instant."""

    times: tuple[TimeClaim, ...] = ()
    logs: tuple[LogClaim, ...] = ()
    scts: tuple[SctClaim, ...] = ()
    valid_until: Micros | None = None


NO_SOURCES: Final = Sources()


def proven_time(
    times: Iterable[TimeClaim],
    first_seen: Micros | None,
    trust: TrustState,
    instant: Micros,
    roots: Roots = None,
) -> ProvenTime:
    """t_le: the minimum over accepted sources; attested when an attested source gives that minimum.

    `first_seen` is revet's own record and has no key that could be revoked.
    """
    best = first_seen
    kind: TimeProof = "none" if best is None else "observed"
    due: Micros | None = None
    for claim in times:
        accepted, until = time_accepted(claim, trust, instant, roots)
        due = earliest(due, until)
        if not accepted or (best is not None and claim.time > best):
            continue
        if claim.time != best or claim.kind == "attested":
            best, kind = claim.time, claim.kind
    return ProvenTime(best, kind, due)


def sound_times(fact: Fact, trust: TrustState, instant: Micros) -> tuple[tuple[TimeClaim, ...], Micros | None]:
    """The fact's times without those that only entries beyond a log's last good one gave, and until when that holds."""
    if not trust.by_subject["log"]:
        return fact.times, None
    due: Micros | None = None
    late: set[TimeClaim] = set()
    good: set[TimeClaim] = set()
    for entry in fact.logs:
        stands, until = in_order(entry, trust.revocations_of("log", entry.log), instant)
        due = earliest(due, until)
        given = (c for c in fact.times if (c.source, c.source_key, c.time) == ("set", entry.log, entry.time))
        (good if stands else late).update(given)
    return tuple(claim for claim in fact.times if claim in good or claim not in late), due


def accepted_sources(
    fact: Fact,
    roots: Roots,
    trust: TrustState,
    instant: Micros,
    scts: Iterable[SctClaim] = (),
    first_seen: Micros | None = None,
) -> Sources:
    """The fact's times and log entries, and the given SCTs, as far as their sources are accepted."""
    sound, due = sound_times(fact, trust, instant)
    times, logs, certified = [], [], []
    for claim in sound:
        accepted, until = time_accepted(claim, trust, instant, roots)
        times += [claim] if accepted else []
        due = earliest(due, until)
    existed = [*(claim.time - claim.accuracy for claim in times), *(() if first_seen is None else (first_seen,))]
    for entry in fact.logs:
        accepted, until = log_accepted(entry, trust, instant, roots, existed)
        logs += [entry] if accepted else []
        due = earliest(due, until)
    for sct in scts:
        accepted, until = _log_time("ct", sct.log, sct.time, trust, instant, roots)
        certified += [sct] if accepted else []
        due = earliest(due, until)
    times.sort(
        key=lambda claim: (claim.time, claim.source, claim.source_key, claim.authority, claim.kind, claim.accuracy)
    )
    logs.sort(key=lambda entry: (entry.log, entry.index))
    return Sources(tuple(times), tuple(logs), tuple(certified), due)


def time_accepted(
    claim: TimeClaim, trust: TrustState, instant: Micros, roots: Roots = None
) -> tuple[bool, Micros | None]:
    """Does this time count, and until when does the answer hold?"""
    if not claim.source_key:
        return True, None
    if claim.authority:
        return _authority_time(claim, trust, instant, roots)
    if claim.source == "set":
        return _log_time("transparency", claim.source_key, claim.time, trust, instant, roots)
    return _key_time(claim, trust, instant)


def log_accepted(
    entry: LogClaim, trust: TrustState, instant: Micros, roots: Roots = None, existed: Iterable[Micros] = ()
) -> tuple[bool, Micros | None]:
    """Does an entry of this log count, and until when does the answer hold?

    The log's window is asked at the entry's own time. Where the log gives none (Rekor v2), one of the times at which
    the signature is known to have `existed` has to lie within it, or else the instant judged at: taking a timestamp
    away must not help, so a log that has ended vouches for nothing that nobody dated.
    """
    stands, due = in_order(entry, trust.revocations_of("log", entry.log), instant)
    if entry.time is not None:
        accepted, until = _log_time("transparency", entry.log, entry.time, trust, instant, roots)
        return stands and accepted, earliest(due, until)
    known = [min(time, instant) for time in existed]
    answers = [_log_time("transparency", entry.log, time, trust, instant, roots) for time in known or (instant,)]
    for _, until in answers:
        due = earliest(due, until)
    if not known:
        due = earliest(due, _next_edge(entry.log, trust, instant, roots))
    return stands and any(accepted for accepted, _ in answers), due


def _next_edge(log_id: str, trust: TrustState, instant: Micros, roots: Roots) -> Micros | None:
    """The next instant at which a window of the log begins or has ended."""
    logs = [listed.log for listed in trust.anchors.log_windows("transparency", log_id, roots)]
    edges = [edge for log in logs for edge in (log.valid_from, log.valid_until and log.valid_until + 1)]
    return min((edge for edge in edges if edge is not None and edge > instant), default=None)


def in_order(entry: LogClaim, records: Iterable[RevocationPut], instant: Micros) -> tuple[bool, Micros | None]:
    """Is the entry none of those behind the last good one of its log, and until when? `records` are of any log.

    Only a SET signs the index a Rekor v1 entry states (in Rekor v2 the proof binds it). An index that nothing vouches
    for could be any, so it counts as late.
    """
    bound = entry.promised or entry.kind in REKOR_V2_KINDS
    stands, due = True, None
    for record in records:
        if record.last_good_index is None or record.subject != entry.log:
            continue
        if bound and entry.index <= record.last_good_index:
            continue
        if instant < record.effective:
            due = earliest(due, record.effective)
        else:
            stands = False
    return stands, due


def _log_time(
    use: LogUse, log_id: str, time: Micros, trust: TrustState, instant: Micros, roots: Roots
) -> tuple[bool, Micros | None]:
    rules = [rule_of(r) for r in trust.revocations_of("log", log_id) if r.last_good_index is None]
    rules += [rule_of(r) for r in trust.revocations_of("key", log_id)]
    accepted, due = source_accepted(rules, time, instant)
    listed = trust.anchors.log_windows(use, log_id, roots)
    return accepted and any(_within(found.log.valid_from, found.log.valid_until, time) for found in listed), due


def _authority_time(claim: TimeClaim, trust: TrustState, instant: Micros, roots: Roots) -> tuple[bool, Micros | None]:
    """A timestamp authority: the time it stated, accuracy apart, lies in a window that a root in force gives it."""
    ids = dating_names(claim, trust)
    rules = [rule_of(r) for name in ids for kind in ("ca", "key") for r in trust.revocations_of(kind, name)]
    accepted, due = source_accepted(rules, claim.time, instant)
    stated = claim.time - claim.accuracy
    listed = trust.anchors.authority_windows(claim.authority, roots)
    windows = ((a.authority.valid_from, a.authority.valid_until) for a in listed)
    return accepted and any(_within(*window, stated) for window in windows), due


def dating_names(claim: TimeClaim, trust: TrustState) -> tuple[str, ...]:
    """Ids of all that vouches for a time: its authority, the CA keys of that, and the key that signed it."""
    authority = trust.anchors.material.authorities.get(claim.authority)
    above = ca_keys(authority) if authority is not None else ()
    return tuple(dict.fromkeys(name for name in (claim.authority, claim.source_key, *above) if name))


def lost_source(fact: Fact, chain: ChainClaim | None, trust: TrustState, instant: Micros) -> str:
    """Id of the first revocation in force of a log or time source of this signature; empty when there is none."""
    by = trust.by_subject
    if not (by["log"] or by["ca"] or by["key"]):
        return ""
    found: list[RevocationPut] = []
    for entry in fact.logs:
        beyond = not in_order(entry, trust.revocations_of("log", entry.log), instant)[0]
        found += [r for r in trust.revocations_of("log", entry.log) if r.last_good_index is None or beyond]
    names = {entry.log for entry in fact.logs} | {sct.log for sct in (chain.scts if chain is not None else ())}
    found += [r for sct in (chain.scts if chain else ()) for r in trust.revocations_of("log", sct.log)]
    names |= {name for claim in fact.times for name in dating_names(claim, trust)}
    found += [r for name in names for kind in ("ca", "key") for r in trust.revocations_of(kind, name)]
    return min((record.id for record in found if record.effective <= instant), default="")


def _key_time(claim: TimeClaim, trust: TrustState, instant: Micros) -> tuple[bool, Micros | None]:
    """A time given by a single key: a key of the ring, or a signing authority's certificate."""
    accepted, due = source_accepted(key_rules(claim.source_key, trust), claim.time, instant)
    key = trust.keys.get(claim.source_key)
    if key is not None and not _within(key.valid_from, key.valid_until, claim.time):
        return False, None
    return accepted, due


def _within(start: Micros | None, end: Micros | None, time: Micros) -> bool:
    """A closed interval."""
    return (start is None or start <= time) and (end is None or time <= end)


def key_rules(key_id: str, trust: TrustState) -> list[Rule]:
    """What makes this key count less: its revocations, its rotation, its removal from the ring."""
    rules = [rule_of(record) for record in trust.revocations_of("key", key_id)]
    key = trust.keys.get(key_id)
    if key is not None and key.superseded_at is not None:
        rules.append(rotation_rule(key.superseded_at))
    if key is not None and key.removed_at is not None:
        rules.append(DELISTED)
    return rules
