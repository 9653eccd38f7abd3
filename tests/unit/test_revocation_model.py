"""Every state of a small world: three time sources, four instants, up to two records, revoked sources.

The world is small enough to visit whole, and large enough that the classic mistakes show: a table in which "late" is
worse than "unknown" fails here, by stripping. All states go through the front door: records folded into a trust state,
facts into standings. The properties are numbered as in the model they come from.
"""

import itertools
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.helpers.rekor import MemoryLog
from tests.helpers.scene import log_root
from verifier.evidence.keys import load_public_key
from verifier.models import DigestClosure, Fact, SignatureState, Standing, TimeClaim
from verifier.trust.changes import By, withdraw
from verifier.trust.records import KeyPut, RevocationPut, RootPut, TrustRecord
from verifier.trust.revocation import RANK, counts
from verifier.trust.standing import standings
from verifier.trust.state import TrustState, fold

INSTANTS = (10, 20, 30, 40)
NOW, EARLIER = 50, 25
"""All records are in force at NOW; some lie ahead at EARLIER."""

MINUS_INFINITY = -(10**18)
DIGEST = "sha256:" + "d" * 64
CLOSURE = DigestClosure(running=DIGEST)
REKOR = MemoryLog("rekor.example")
LOG, TSA = REKOR.id, "cc" * 32

PEM = (
    ec.derive_private_key(7, ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
SIGNER = load_public_key(PEM).key_id
KEY = KeyPut(name="dev", key_id=SIGNER, pem=PEM, author="model", at=0)


ROOT = RootPut(name="sigstore", format="sigstore-trusted-root", content=log_root(REKOR), author="model", at=0)
"""The log stands in a root: times of a log that no root lists are no proof."""


class Claims(NamedTuple):
    """What each source says: two attested ones with keys that can be revoked, and revet's own first sight."""

    log: int | None
    tsa: int | None
    seen: int | None


class Put(NamedTuple):
    """One revocation of the world."""

    reason: str
    since: int | None
    effective: int

    def of(self, subject: str) -> RevocationPut:
        return RevocationPut.model_validate(
            {
                "id": f"{self.reason} {self.since} {self.effective} {subject[:2]}",
                "subject_kind": "key",
                "subject": subject,
                "reason": self.reason,
                "effective": self.effective,
                "compromised_since": self.since,
                "author": "model",
                "at": 0,
            }
        )


CLAIMS = [Claims(*c) for c in itertools.product((None, *INSTANTS), repeat=3)]
HARD = [Put("keyCompromise", since, 35) for since in (None, *INSTANTS)]
SOFT = [Put("superseded", None, effective) for effective in INSTANTS]
HOLD = Put("certificateHold", None, 15)
PUTS = [*HARD, *SOFT, HOLD]
SETS = [frozenset(s) for n in (0, 1, 2) for s in itertools.combinations(PUTS, n)]

COMPROMISED, RETIRED = Put("keyCompromise", 30, 35), Put("superseded", None, 20)
SOURCES = list(itertools.product((None, COMPROMISED, RETIRED), repeat=2))
"""What happened to the keys of (LOG, TSA)."""
SOUND = (None, None)


class Outcome(NamedTuple):
    """A standing without its names."""

    state: SignatureState
    counting: tuple[bool, ...]
    """Under softUnproven allow, warn, deny."""
    time: int | None
    until: int | None


def fact(claims: Claims) -> Fact:
    attested = [("set", claims.log, LOG), ("tsa", claims.tsa, TSA)]
    name = f"{claims.log} {claims.tsa} {claims.seen}"
    return Fact(
        id=f"fact {name}",
        evidence_id=name,
        format="cosign-simplesigning",
        kind="signature",
        repository="registry.example/app",
        subject=DIGEST,
        subjects=(DIGEST,),
        verified_by=(SIGNER,),
        keyset="",
        times=tuple(TimeClaim(source, "attested", t, key) for source, t, key in attested if t is not None),
    )


FACTS = [fact(claims) for claims in CLAIMS]
SEEN = {f.evidence_id: c.seen for f, c in zip(FACTS, CLAIMS, strict=True) if c.seen is not None}


def records(puts, sources) -> list[TrustRecord]:
    revoked = [(put, key) for put, key in zip(sources, (LOG, TSA), strict=True) if put is not None]
    return [KEY, ROOT, *(put.of(SIGNER) for put in puts), *(put.of(key) for put, key in revoked)]


def outcome(standing: Standing) -> Outcome:
    counting = tuple(counts(standing.state, soft) for soft in ("allow", "warn", "deny"))
    return Outcome(standing.state, counting, standing.time, standing.valid_until)


def visit(trust: TrustState, now: int) -> dict[Claims, Outcome]:
    judged = standings(FACTS, CLOSURE, SEEN, trust, now)
    return {claims: outcome(standing) for claims, standing in zip(CLAIMS, judged, strict=True)}


Case = tuple[frozenset[Put], tuple[Put | None, Put | None]]


class World(NamedTuple):
    """Every state, judged at one instant."""

    now: int
    judged: dict[Case, dict[Claims, Outcome]]


def whole(now: int) -> World:
    judged = {(puts, (log, tsa)): visit(fold(records(puts, (log, tsa))), now) for puts in SETS for log, tsa in SOURCES}
    return World(now, judged)


@pytest.fixture(scope="module", params=[NOW, EARLIER], ids=["all in force", "some ahead"])
def world(request) -> World:
    return whole(request.param)


def states(world: World):
    for (puts, sources), judged in world.judged.items():
        for claims, found in judged.items():
            yield puts, sources, claims, found


def no_better(now: Outcome, before: Outcome) -> bool:
    return RANK[now.state] >= RANK[before.state] and counts_no_better(now, before)


def counts_no_better(now: Outcome, before: Outcome) -> bool:
    return all(b or not n for n, b in zip(now.counting, before.counting, strict=True))


def test_the_whole_world_is_visited(world, record_property):
    visited = sum(1 for _ in states(world))
    record_property("states", visited)
    print(f"{visited} states")  # the figure the documentation quotes, per instant
    assert visited == len(CLAIMS) * len(SETS) * len(SOURCES) == 63_000
    met = {found.state for *_, found in states(world)}
    trusted = {"trusted", "trusted-before-retirement", "trusted-before-compromise"}
    not_so = {"retired-unproven", "retired-late", "suspended", "revoked-time-unknown", "revoked"}
    assert met == (trusted | not_so if world.now == NOW else met - {"revoked", "revoked-time-unknown"})


def test_1_adding_a_record_never_improves(world):
    for puts, sources, claims, found in states(world):
        for more in PUTS if len(puts) < 2 else ():
            assert no_better(world.judged[puts | {more}, sources][claims], found), (puts, more, sources, claims)


def test_2_an_earlier_compromise_never_improves(world):
    for puts, sources, claims, found in states(world):
        for hard in puts.intersection(HARD):
            for other in HARD:
                if hard.since is not None and (other.since is None or other.since < hard.since):
                    changed = world.judged.get((puts - {hard} | {other}, sources))
                    assert changed is None or no_better(changed[claims], found), (puts, other, sources, claims)


def test_3_losing_a_time_never_improves_what_counts(world):
    """Strip-resistance: neither deleting a proof nor compromising its source makes a signature count."""
    for puts, sources, claims, found in states(world):
        for source in Claims._fields:
            stripped = world.judged[puts, sources][claims._replace(**{source: None})]
            assert counts_no_better(stripped, found), (puts, sources, claims, source)
        for i in (0, 1):
            worse = (COMPROMISED, sources[1]) if i == 0 else (sources[0], COMPROMISED)
            assert counts_no_better(world.judged[puts, worse][claims], found), (puts, sources, claims, worse)


def test_4_the_order_of_records_and_facts_does_not_matter():
    for puts, sources in itertools.product(SETS, SOURCES):
        forward = fold(records(puts, sources))
        backward = fold([KEY, *reversed(records(puts, sources)[1:])])
        assert forward.by_subject == backward.by_subject
    trust = fold(records(PUTS, SOUND))
    assert standings(FACTS[::-1], CLOSURE, SEEN, trust, NOW) == standings(FACTS, CLOSURE, SEEN, trust, NOW)[::-1]


def test_5_withdrawal_restores_exactly(world):
    for puts, sources in world.judged:
        before = fold(records(puts, sources))
        for more in set(PUTS) - puts:
            put, _ = before.apply(more.of(SIGNER), before.epoch + 1)
            back, applied = put.apply(withdraw(put, By("model", 1), more.of(SIGNER).id), put.epoch + 1)
            assert applied.applied
            assert back.by_subject == before.by_subject
    for puts in SETS:
        put = fold([*records(puts, SOUND), HOLD.of(TSA), HOLD._replace(effective=1).of(SIGNER)])
        for entry in (HOLD.of(TSA), HOLD._replace(effective=1).of(SIGNER)):
            put = fold([withdraw(put, By("model", 1), entry.id)], put)
        assert visit(put, world.now) == world.judged[puts, SOUND]


def test_7_compromise_of_every_source_is_no_source(world):
    for puts, claims in itertools.product(SETS if world.now == NOW else (), CLAIMS):
        bare = Claims(None, None, claims.seen)
        assert world.judged[puts, (COMPROMISED, COMPROMISED)][claims] == world.judged[puts, SOUND][bare]


def test_8_compromised_since_nobody_knows_is_since_ever():
    ever = visit(fold(records([HARD[0]._replace(since=MINUS_INFINITY)], SOUND)), NOW)
    unknown = visit(fold(records([HARD[0]], SOUND)), NOW)
    for claims in CLAIMS:
        assert ever[claims].counting == unknown[claims].counting
        if any(t is not None for t in claims):
            assert ever[claims] == unknown[claims]
    for hard in HARD[1:]:
        known = visit(fold(records([hard], SOUND)), NOW)
        assert all(no_better(unknown[claims], known[claims]) for claims in CLAIMS)


def test_9_only_the_instants_that_were_announced_change_anything():
    for puts, sources in itertools.product(SETS, (SOUND, (COMPROMISED, RETIRED))):
        trust = fold(records(puts, sources))
        earlier = visit(trust, 5)
        for now in (9, 10, 14, 15, 20, 30, 34, 35, 40, 45):
            later = visit(trust, now)
            for claims, found in later.items():
                was = earlier[claims]
                assert found == was or (was.until is not None and was.until <= now), (puts, sources, claims, now)
            earlier = later
