"""What trust says of a signature that an authority vouches for: a certificate's chain, a key-ring key, a TUF root.

The state, the worst of (steps of `judge_chain`):

    1  the authority is in no trust root in force                       not-authorised
    2  revocations of the key, identity, CA, builder, commit, evidence,
       and by the CA's own list                                         trusted-before-… to revoked
    3  every accepted attested time lies in the window of each
       certificate and of the root, ends included                       outside-window
    4  no attested time: as for keys, the earliest observed time, else
       the instant judged at, has to lie within them                    outside-window
    5  the signature's own expiry (OpenPGP, TUF) has passed             expired

For Notary Project signatures steps 3 to 5 are the policy's, which may enforce or only log them
(`verifier.policy.notary`). Everything is set logic over facts.

Taking a proof away, by stripping it from the evidence or by revoking its source, never makes a signature count that did
not, with one exception, which is step 3: of two attested times one lies outside a window, and without it the other
would do (Sigstore client specification: with two timestamps both must pass). What is stripped need never have been
asked for, so it gives an attacker nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from verifier.evidence.crl import RevocationMode, revocation_time, status_of
from verifier.models import ChainClaim, Fact, ListStatus, Micros
from verifier.trust.anchors import Anchor
from verifier.trust.hits import OF_SIGNERS, matching
from verifier.trust.records import RevocationPut
from verifier.trust.revocation import (
    DELISTED,
    RANK,
    TRUSTED,
    Judgement,
    Row,
    Rule,
    earliest,
    judge_rules,
    judge_window,
    rule_of,
    source_accepted,
    worst_of,
)
from verifier.trust.sources import (
    ProvenTime,
    Sources,
    accepted_sources,
    key_rules,
    lost_source,
    proven_time,
    sound_times,
)
from verifier.trust.state import TrustState

OUTSIDE: Final = Judgement("outside-window")

SIGNING_AUTHORITY: Final = "signing-authority"
"""`TimeClaim.source` of a time that the signer itself attests (Notary Project, notary.x509.signingAuthority)."""

_HARD: Final[frozenset[Row]] = frozenset({"hard-all", "hard-since"})


class ChainStanding(NamedTuple):
    """The judgement and what it rests on."""

    judged: Judgement
    proven: ProvenTime
    sources: Sources
    lost: str = ""
    """Id of a revocation by which a log or timestamp authority of this signature no longer counts."""
    lists: tuple[ListStatus, ListStatus] | None = None
    """For Notary Project signatures, as `Standing.list_status`."""


class _Case(NamedTuple):
    """One signature through one authority, and all that does not depend on the root."""

    fact: Fact
    chain: ChainClaim
    first_seen: Micros | None
    trust: TrustState
    instant: Micros
    rules: tuple[Rule, ...]
    """Of whoever signed and of every CA above."""


def judge_chain(
    fact: Fact, chain: ChainClaim, first_seen: Micros | None, trust: TrustState, instant: Micros
) -> ChainStanding:
    """What trust says of this signature through this authority, under the root that is best for it. Raises nothing.

    Each root is judged by itself: the window of one never stands beside the time sources of another that is closed.
    """
    anchors = sorted(trust.anchors.authorities.get(chain.authority, ()), key=lambda anchor: anchor.root)
    # 1 and 2
    rules = (*_rules(fact, chain, anchors, trust), *(() if anchors else (DELISTED,)))
    case = _Case(fact, chain, first_seen, trust, instant, rules)
    found = [_under(case, anchor) for anchor in anchors or (None,)]
    best = min(found, key=_badness)
    if len(found) == 1:
        return best
    due = min((one.judged.valid_until for one in found if one.judged.valid_until is not None), default=None)
    return best._replace(judged=best.judged._replace(valid_until=due))


def _badness(stands: ChainStanding) -> tuple[object, ...]:
    """Of equal states the one with more of the proofs that an attestor may ask for, then with the earlier time."""
    proofs = (not stands.sources.times, not stands.sources.logs, not stands.sources.scts)
    return RANK[stands.judged.state], *proofs, stands.proven.time is None, stands.proven.time or 0


def _under(case: _Case, anchor: Anchor | None) -> ChainStanding:
    """Steps 2 to 5 under one root. A Sigstore root is a world of its own: only its services date and log for it."""
    fact, chain, trust, instant = case.fact, case.chain, case.trust, case.instant
    roots = frozenset({anchor.root}) if anchor is not None and anchor.closed else None
    dated, until = _dated(case)
    proven = proven_time(dated.times, case.first_seen, trust, instant, roots)
    sources = accepted_sources(dated, roots, trust, instant, chain.scts, case.first_seen)
    due = earliest(until, earliest(proven.valid_until, sources.valid_until))
    judged = [Judgement("trusted", "", due), judge_rules(case.rules, proven.time, proven.kind, instant)]
    both = None
    if fact.scheme:
        both = (_list_status("specification", case, sources), _list_status("notation", case, sources))
    else:
        judged.append(_listed(case, sources))
        # 3 and 4
        judged += [_window(chain, anchor, sources, proven, instant)] if anchor is not None else []
        # 5
        judged.append(_expiry(fact.expires, instant))
    lost = lost_source(fact, chain, trust, instant)
    return ChainStanding(worst_of(judged), proven, sources, lost, both)


def _dated(case: _Case) -> tuple[Fact, Micros | None]:
    """The fact with the times that may be heard at all, and until when that holds.

    A signing authority dates what it signs itself. So whatever makes anybody else able to sign as it (its key, its
    identity, a CA above it compromised) takes that time away, like the times of every compromised source.
    """
    times, due = sound_times(case.fact, case.trust, case.instant)
    kept = []
    for claim in times:
        hard = [rule for rule in case.rules if rule.row in _HARD] if claim.source == SIGNING_AUTHORITY else []
        accepted, until = source_accepted(hard, claim.time, case.instant)
        due = earliest(due, until)
        kept += [claim] if accepted else []
    if len(kept) == len(case.fact.times):
        return case.fact, due
    return msgspec.structs.replace(case.fact, times=tuple(kept)), due


def chain_key(fact: Fact, chain: ChainClaim, trust: TrustState) -> str:
    """Key id of whoever signed: the certificate's, or the key-ring key's."""
    if fact.certificate is not None:
        return fact.certificate.key_id
    authority = trust.anchors.material.authorities.get(chain.authority)
    return authority.key.key_id if authority is not None and authority.key is not None else ""


def _rules(fact: Fact, chain: ChainClaim, anchors: Iterable[Anchor], trust: TrustState) -> Iterator[Rule]:
    records: dict[str, RevocationPut] = {}
    for kind in OF_SIGNERS:
        if trust.by_subject[kind]:
            records |= {record.id: record for record in matching(trust.by_subject[kind], fact)}
    records |= {record.id: record for record in trust.revocations_of("evidence", fact.evidence_id)}
    for key_id in chain.key_ids:
        records |= {record.id: record for record in trust.revocations_of("key", key_id)}
    yield from (rule_of(record) for record in records.values() if not _only_dates(record, chain))
    yield from key_rules(chain_key(fact, chain, trust), trust)
    for anchor in anchors:
        for row, pivot in anchor.authority.revoked:
            yield Rule(row, pivot, None, "")


def _only_dates(record: RevocationPut, chain: ChainClaim) -> bool:
    """A revoked timestamp authority costs the times it gave, not the signatures it dated."""
    if record.subject_kind != "ca":
        return False
    return record.subject != chain.authority and record.subject not in chain.key_ids


def _list_status(mode: RevocationMode, case: _Case, sources: Sources) -> ListStatus:
    """What the CAs' own revocation lists, delivered as data, say; an invalidity date is C (RFC 5280 section 5.3.2)."""
    lists, chain = case.trust.anchors.lists, case.chain
    if not lists and not chain.revocable:
        return ListStatus("good")
    at = revocation_time(mode, case.fact.scheme, sources.times)
    status = status_of(chain.serials, lists.values(), at, instant=case.instant, revocable=chain.revocable)
    return ListStatus(status.state, status.detail, status.valid_until)


def _listed(case: _Case, sources: Sources) -> Judgement:
    """Of certificates that are not the Notary Project's: whether their status has to be known is for nobody to say,
    but what a list once revoked stays revoked when the list ends and no newer one has come.
    """
    status = _list_status("specification", case, sources)
    ended = [found for found in case.trust.anchors.lists.values() if found.next_update < case.instant]
    at = revocation_time("specification", "", sources.times) if ended else None
    then = (status_of(case.chain.serials, (old,), at, instant=old.next_update, revocable=()) for old in ended)
    revoked = status.state == "revoked" or any(old.state == "revoked" for old in then)
    return Judgement("revoked" if revoked else "trusted", "", status.valid_until)


def _window(chain: ChainClaim, anchor: Anchor, sources: Sources, proven: ProvenTime, instant: Micros) -> Judgement:
    start = max(chain.valid_from, anchor.authority.valid_from or chain.valid_from)
    until = anchor.authority.valid_until
    end = chain.valid_until if until is None else min(chain.valid_until, until)
    if end < start:
        return OUTSIDE
    if sources.times:
        stated = (claim.time - claim.accuracy for claim in sources.times)
        return TRUSTED if all(start <= time <= end for time in stated) else OUTSIDE
    return judge_window(start, end, proven.time, instant)


def _expiry(expires: Micros | None, instant: Micros) -> Judgement:
    if expires is None:
        return TRUSTED
    return Judgement("expired") if instant > expires else Judgement("trusted", "", expires + 1)
