"""The algebra of chains: exhaustive over a small world of times and records, and over real evidence and candidates.

The one exception to "taking a proof away never helps" is written in `verifier.trust.chains`: every attested time has to
lie within the windows, so a signature that has one outside may gain by losing it. It is named `excepted` here.
"""

import itertools
import json
from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import openpgp
from tests.helpers.pki import DAY, SECOND, Ca, Tsa, pem
from tests.helpers.scene import (
    ALICE,
    FROM,
    NOW,
    SIGNED,
    UNTIL,
    VSA,
    Instance,
    Logged,
    Stamped,
    ask,
    bundle,
    certificates,
    envelope_of,
    fact_of,
    gpg,
    keyless,
    keys,
    notary,
    notary_attestor,
    notary_leaf,
    openpgp_attestor,
    own_leaf,
    own_root,
    policy,
    revoked,
    ring_key,
    root,
    trust_of,
    unpolicy,
    unroot,
    withdrawn,
)
from verifier.facts.derive import is_open
from verifier.impact import Impact, touched
from verifier.models import DigestClosure, Evidence, Fact, TimeClaim
from verifier.policy.model import SoftUnproven
from verifier.trust.chains import ChainStanding, judge_chain
from verifier.trust.records import TrustRecord
from verifier.trust.revocation import RANK, counts
from verifier.trust.state import TrustState

ALPHA, BETA = Instance("alpha"), Instance("beta")
CORP = Ca.root("corp")
TRUST = trust_of(ALPHA.root())
BASE = fact_of(ALPHA.sign(stamps=(Stamped(ALPHA.tsa),), extensions={9: "https://ci.example/b"}, key="world"), TRUST)
(LOGGED,) = BASE.logs
SET = next(claim for claim in BASE.times if claim.source == "set")
TSA = next(claim for claim in BASE.times if claim.source == "tsa")
EARLY, LATE, OUTSIDE = SIGNED, SIGNED + 100 * SECOND, SIGNED + 3600 * SECOND
WORLD_KEY = ALPHA.leaf(key="world").key_id
SOFT: tuple[SoftUnproven, ...] = ("allow", "warn", "deny")


class Claims(NamedTuple):
    """What dates a signature."""

    set: int | None
    tsa: int | None
    seen: int | None

    @property
    def fact(self) -> Fact:
        times = [msgspec.structs.replace(c, time=t) for c, t in ((SET, self.set), (TSA, self.tsa)) if t is not None]
        logs = (msgspec.structs.replace(LOGGED, time=self.set),) if self.set is not None else ()
        return msgspec.structs.replace(BASE, times=tuple(times), logs=logs)

    def without(self):
        """Every world in which an attacker has stripped something. What revet saw nobody strips."""
        for name in ("set", "tsa"):
            if getattr(self, name) is not None:
                yield self._replace(**{name: None})


WORLD = [Claims(*c) for c in itertools.product((None, EARLY, LATE), (None, EARLY, LATE, OUTSIDE), (None, LATE))]


def records():
    identity = json.dumps({"subject": ALICE})
    for since in (EARLY, EARLY + 1, LATE + 1, None):
        yield revoked("identity", identity, compromised_since=since)
        yield revoked("ca", ALPHA.ca.key_id, "caCompromise", compromised_since=since)
    yield revoked("key", WORLD_KEY, "superseded", effective=EARLY)
    yield revoked("builder", "https://ci.example/b", "cessationOfOperation", effective=EARLY - 1)
    yield revoked("evidence", BASE.evidence_id, "certificateHold")
    yield revoked("identity", identity, effective=NOW + 1)


def source_records():
    yield revoked("ca", ALPHA.tsa.leaf.key_id, "unspecified")
    yield revoked("ca", ALPHA.tsa_ca.key_id, "caCompromise", compromised_since=UNTIL)
    yield revoked("ca", TSA.authority, "superseded", effective=EARLY)
    yield revoked("log", ALPHA.rekor.id, "unspecified")
    yield revoked("log", ALPHA.rekor.id, "superseded", effective=EARLY)
    yield revoked("log", ALPHA.rekor.id, last_good_index=LOGGED.index - 1)
    yield revoked("log", ALPHA.rekor.id, last_good_index=LOGGED.index)
    yield revoked("log", ALPHA.rekor.id, "certificateHold")


RECORDS, OF_SOURCES = list(records()), list(source_records())
ONE = [(), *((r,) for r in (*RECORDS, *OF_SOURCES))]
SETS = [*ONE, *itertools.product(RECORDS, OF_SOURCES)]
_STATES: dict[tuple[str, ...], TrustState] = {}


def trusting(*given_records) -> TrustState:
    name = tuple(sorted(r.id for r in given_records))
    if name not in _STATES:
        _STATES[name] = trust_of(*given_records, start=TRUST)
    return _STATES[name]


def stand(claims: Claims, *given_records, trust=None, now=NOW) -> ChainStanding:
    return judge_chain(claims.fact, BASE.chains[0], claims.seen, trust or trusting(*given_records), now)


def counting(found: ChainStanding) -> tuple[bool, ...]:
    return tuple(counts(found.judged.state, soft) for soft in SOFT)


def no_better(after: ChainStanding, before: ChainStanding) -> bool:
    return all(was or not is_ for was, is_ in zip(counting(before), counting(after), strict=True))


def excepted(before: ChainStanding) -> bool:
    """Some accepted attested time lies outside the windows: the rule that makes losing it a gain."""
    chain = BASE.chains[0]
    return any(not chain.valid_from <= claim.time <= chain.valid_until for claim in before.sources.times)


# ----------------------------------------------------------------------------------------------------------- exhaustive


def test_1_adding_a_record_never_improves():
    for claims, some in itertools.product(WORLD, ONE):
        before = stand(claims, *some)
        for more in RECORDS:
            if more not in some:
                after = stand(claims, *some, more)
                assert RANK[after.judged.state] >= RANK[before.judged.state], (claims, some, more)
                assert no_better(after, before)


def test_1_revoking_a_source_never_makes_a_signature_count():
    gains = 0
    for claims, some in itertools.product(WORLD, [(), *((r,) for r in RECORDS)]):
        before = stand(claims, *some)
        for more in OF_SOURCES:
            better = not no_better(stand(claims, *some, more), before)
            assert not better or excepted(before), (claims, some, more)
            gains += better
    assert gains, "the exception is real, and only that"


@pytest.mark.parametrize("kind", ["identity", "ca"])
def test_2_an_earlier_compromise_never_improves(kind):
    subject = json.dumps({"subject": ALICE}) if kind == "identity" else ALPHA.ca.key_id
    since = (None, FROM, EARLY, EARLY + 1, LATE, LATE + 1, NOW)
    for claims in WORLD:
        states = [stand(claims, revoked(kind, subject, compromised_since=c)) for c in since]
        for earlier, later in itertools.pairwise(states):
            assert no_better(earlier, later)


def test_3_stripping_never_makes_a_signature_count():
    gains = 0
    for claims, some in itertools.product(WORLD, SETS):
        before = stand(claims, *some)
        for stripped in claims.without():
            better = not no_better(stand(stripped, *some), before)
            assert not better or excepted(before), (claims, stripped, some)
            gains += better
    assert gains, "the exception is real, and only that"


def test_4_order_leaves_no_trace():
    for some in itertools.islice(itertools.product(RECORDS, OF_SOURCES), 0, None, 7):
        forward, backward = trust_of(*some, start=TRUST), trust_of(*some[::-1], start=TRUST)
        for claims in WORLD:
            assert stand(claims, trust=forward) == stand(claims, trust=backward)
            turned = msgspec.structs.replace(claims.fact, times=claims.fact.times[::-1])
            assert judge_chain(turned, BASE.chains[0], claims.seen, forward, NOW) == stand(claims, trust=forward)


def test_5_withdrawal_restores_exactly():
    for record in (*RECORDS, *OF_SOURCES):
        back = trust_of(withdrawn(record), start=trusting(record))
        for claims in WORLD:
            assert stand(claims, trust=back) == stand(claims)


def test_7_compromise_of_every_source_is_no_source():
    lost = (OF_SOURCES[0], OF_SOURCES[3])
    for claims, some in itertools.product(WORLD, [(), *((r,) for r in RECORDS)]):
        gone = stand(claims, *some, *lost)
        bare = stand(Claims(None, None, claims.seen), *some)
        assert (gone.judged, gone.proven) == (bare.judged, bare.proven)
        assert gone.sources[:2] == ((), ())


def test_9_time_alone_changes_nothing_before_the_instant_that_was_told():
    for claims, some in itertools.product(WORLD, ONE):
        for now in (SIGNED, NOW - 1, NOW):
            told = stand(claims, *some, now=now)
            due = told.judged.valid_until
            assert due is None or due > now
            for later in (now + 1, LATE + 1, NOW, NOW + 1, UNTIL):
                if later > now and (due is None or later < due):
                    assert stand(claims, *some, now=later).judged.state == told.judged.state, (claims, some, now, later)


def test_10_a_root_that_goes_and_comes_back_leaves_no_trace():
    for some in SETS[::5]:
        trust = trusting(*some)
        back = trust_of(unroot("alpha"), ALPHA.root(), start=trust)
        for claims in WORLD:
            assert stand(claims, trust=back) == stand(claims, trust=trust)
            assert stand(claims, trust=trust_of(unroot("alpha"), start=trust)).judged.state != "trusted"


# ---------------------------------------------------------------------------------------------------- real cryptography

DEV, OPS, HOLDER = ALPHA.leaf("dev"), ALPHA.leaf("ops"), ALPHA.leaf(ALICE)
INNER = CORP.intermediate("corp inner")
CROSS = Ca.root("cross")
CROSSED = CROSS.intermediate("corp inner")
GPG = openpgp.Key()
STAMPER = Tsa.under(Ca.root("stamps"), "stamper", not_before=FROM, not_after=UNTIL)
BUILD = own_leaf(INNER)
SIGNER = notary_leaf(INNER)

CANDIDATES: list[TrustRecord] = [
    ALPHA.root(),
    ALPHA.root(tsa_chain=ALPHA.tsa.chain[:2]),
    ALPHA.root("alpha2", chain=ALPHA.ca.chain[:1], tsa=(FROM, SIGNED - 1)),
    ALPHA.root(without=["tlogs", "ctlogs"]),
    BETA.root(),
    own_root(CORP),
    root("corp", pem(*INNER.chain), "certificates"),
    root("cross", pem(CROSS.certificate), "certificates"),
    root("ca:corp", pem(CORP.certificate), "notation-ca"),
    root("ca:inner", pem(INNER.certificate), "notation-ca"),
    root("tsa:stamps", pem(STAMPER.leaf.chain[-1]), "notation-tsa"),
    root("ring", openpgp.armored(openpgp.primary(GPG)), "openpgp"),
    ring_key("dev", DEV),
    ring_key("ops", OPS),
    ring_key("holder", HOLDER),
]
EVIDENCE = [
    ALPHA.sign(),
    ALPHA.sign(logs=(Logged(ALPHA.tiles),), stamps=(Stamped(ALPHA.tsa),)),
    ALPHA.sign(logs=(Logged(ALPHA.rekor), Logged(BETA.rekor)), stamps=(Stamped(BETA.tsa),)),
    bundle(DEV, keyed=True, logs=(Logged(ALPHA.rekor),)),
    bundle(BUILD),
    bundle(BUILD, given=(INNER.certificate, CROSSED.certificate), stamps=(Stamped(ALPHA.tsa),)),
    envelope_of([DEV, OPS], logged=ALPHA.rekor),
    envelope_of([OPS, DEV], stamps=(Stamped(ALPHA.tsa),)),
    notary(SIGNER, stamp=lambda signature: STAMPER.token(signature, SIGNED)),
    gpg(GPG),
    BETA.sign(predicate_type=VSA),
]
POLICIES = [
    policy(name="keyless", a=keyless("alpha", "alpha2")),
    policy(name="keys", a=keys("dev", log="required")),
    policy(name="holder", a=keys("holder")),
    policy(name="corp", a=certificates("corp", "cross", who=("build@example.com",))),
    policy(name="notary", a=notary_attestor("ca:corp", "ca:inner", "tsa:stamps")),
    policy(name="ring", a=openpgp_attestor("ring")),
    policy({"attestedBy": "a", "predicateType": VSA}, name="ops", a=keys("ops")),
    policy({"attestedBy": "a", "predicateType": VSA}, name="beta", a=keyless("beta")),
    policy(
        {"atLeast": {"count": 2, "of": [{"signedBy": "a"}, {"signedBy": "b"}]}},
        name="two",
        a=keyless("alpha", "alpha2"),
        b=keys("holder", "dev"),
    ),
]
CHANGES: list[TrustRecord] = [
    *CANDIDATES,
    *(unroot(name) for name in ("alpha", "alpha2", "beta", "corp", "cross", "ca:corp", "tsa:stamps", "ring")),
    revoked("ca", CORP.key_id, "caCompromise", compromised_since=SIGNED),
    revoked("ca", ALPHA.anchor.key_id, "caCompromise", compromised_since=SIGNED),
    revoked("ca", ALPHA.tsa_ca.key_id),
    revoked("ca", Ca.root("stamps").key_id),
    revoked("identity", json.dumps({"subject": ALICE})),
    revoked("key", DEV.key_id, compromised_since=SIGNED),
    revoked("key", INNER.key_id),
    revoked("log", ALPHA.rekor.id, last_good_index=3),
    revoked("log", ALPHA.tiles.id),
    policy(name="inline", a=certificates(pem(CORP.certificate))),
]


def applied(log: Iterable[TrustRecord], start: TrustState | None = None) -> TrustState:
    """The state after these; what does not take effect is left aside."""
    state = start or trust_of(*POLICIES)
    for record in log:
        state, _ = state.apply(record, state.epoch + 1)
    return state


def seen_by(trust: TrustState, facts) -> dict[str, tuple]:
    """What every policy says, without the ids that tell which candidates a fact was made under."""
    found: dict[str, tuple] = {}
    for name in trust.policies:
        answer = ask(trust, facts=facts, name=name)
        views = sorted((v.evidence, v.key_id, v.status, v.counts, v.time or 0) for v in answer.verdict.signatures)
        found[name] = (answer.outcome, answer.codes, answer.valid_until, views)
    return found


logs = st.lists(st.sampled_from(CHANGES), max_size=6)
some = st.lists(st.sampled_from(EVIDENCE), min_size=1, max_size=4, unique_by=lambda e: e.id)
DIGEST = DigestClosure("sha256:" + "a1" * 32)


@settings(max_examples=120)
@given(before=logs, after=logs, made=some)
def test_facts_made_before_or_after_candidates_came_lead_to_the_same_verdicts(before, after, made):
    """`is_open` is complete: a fact that it calls closed would be the same if it were made again."""
    early = applied(before)
    late = applied(after, early)
    keyset = late.candidate_set()
    old = [fact_of(one, early) for one in made]
    new = [fact_of(one, late) for one in made]
    rekeyed = [fresh if is_open(fact, keyset) else fact for fact, fresh in zip(old, new, strict=True)]
    for kept, fresh in zip(rekeyed, new, strict=True):
        same = msgspec.structs.replace(kept, id=fresh.id, keyset=fresh.keyset)
        assert same == fresh
    assert seen_by(late, rekeyed) == seen_by(late, new)


USUAL = [c for n, c in enumerate(CANDIDATES) if n not in (1, 2, 3, 5, 6)]
INLINE = policy(name="inline", a=certificates(pem(CORP.certificate)))
BASES = {
    "usual": USUAL,
    "times decide": [
        *USUAL,
        *(
            revoked("key", key, name=key, compromised_since=SIGNED + DAY)
            for key in (DEV.key_id, OPS.key_id, BUILD.key_id)
        ),
        revoked("identity", json.dumps({"subject": ALICE}), name="alice", compromised_since=SIGNED + DAY),
        INLINE,
    ],
    "nothing but policies": [],
}


@pytest.mark.parametrize("base", BASES)
def test_every_image_whose_verdict_changes_is_hit(base):
    """Each change over each piece of evidence, alone: nothing else can be the reason why it is hit."""
    was = applied(BASES[base])
    changes: list[TrustRecord] = [
        *CHANGES,
        *(withdrawn(e.record) for e in was.revocations.values()),
        unpolicy("inline"),
        unpolicy("keys"),
    ]
    hit = 0
    for record in changes:
        is_ = applied([record], was)
        impact = touched(was, is_, record)
        for one in EVIDENCE:
            hit += _is_complete(impact, was, is_, one)
    assert hit, "some verdicts did change"


def _is_complete(impact: Impact, was: TrustState, is_: TrustState, one: Evidence) -> bool:
    fact = fact_of(one, was)
    old, new = seen_by(was, [fact]), seen_by(is_, [fact])
    changed = {name for name in old.keys() & new.keys() if old[name] != new[name]}
    if not impact.hits_image(DIGEST, [fact]):
        assert changed <= impact.policies, (changed, impact, one.format)
    return bool(changed)


@settings(max_examples=80)
@given(before=logs, record=st.sampled_from(CHANGES), made=some)
def test_an_image_whose_verdict_changes_is_hit(before, record, made):
    """`touched` is complete; and cryptography is asked for wherever making a fact again would change it."""
    was = applied(before)
    is_ = applied([record], was)
    impact = touched(was, is_, record)
    facts = [fact_of(one, was) for one in made]
    old, new = seen_by(was, facts), seen_by(is_, facts)
    if not impact.hits_image(DIGEST, facts):
        changed = {name for name in old.keys() & new.keys() if old[name] != new[name]}
        assert changed <= impact.policies, (changed, record)
    for one, fact in zip(made, facts, strict=True):
        fresh = fact_of(one, is_)
        if msgspec.structs.replace(fact, id="", keyset="") != msgspec.structs.replace(fresh, id="", keyset=""):
            assert impact.wants_crypto([fact]), (record, fact, fresh)


@settings(max_examples=60)
@given(before=logs, name=st.sampled_from(["alpha", "beta", "corp", "ca:corp", "tsa:stamps", "ring"]), made=some)
def test_a_root_taken_away_and_put_back_restores_every_verdict(before, name, made):
    trust = applied(before)
    if name not in trust.anchors.roots:
        return
    old = trust.anchors.roots[name]
    facts = [fact_of(one, trust) for one in made]
    back = applied([unroot(name), root(name, old.content, old.format)], trust)
    assert seen_by(back, facts) == seen_by(trust, facts)


def test_the_world_has_what_it_takes():
    assert isinstance(TSA, TimeClaim)
    assert (len(WORLD), len(RECORDS), len(OF_SOURCES)) == (24, 12, 8)
    trust = applied([c for n, c in enumerate(CANDIDATES) if n not in (1, 2, 3, 5)])
    facts = [fact_of(one, trust) for one in EVIDENCE]
    outcomes = {name: found[0] for name, found in seen_by(trust, facts).items()}
    assert set(outcomes.values()) == {"valid"}, outcomes
    assert DAY > SECOND
