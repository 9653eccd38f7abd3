"""What a trust change touches: the table row by row, and that nothing else stands differently afterwards."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.evidence.keys import load_public_key
from verifier.impact import NOTHING, Impact, touched
from verifier.models import DigestClosure, Fact, Mode, TimeClaim
from verifier.policy.attestors import Attestor
from verifier.policy.model import MatchRule, Policy, Requirement, with_version
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
    SubjectKind,
    TrustRecord,
)
from verifier.trust.standing import standings
from verifier.trust.state import TrustState, fold

HEAD: dict[str, Any] = {"author": "alice", "at": 0}


def pem(number: int) -> str:
    key = ec.derive_private_key(number, ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


PEMS = [pem(n) for n in range(1, 6)]
IDS = [load_public_key(p).key_id for p in PEMS]
DEV, OPS, NEW, INLINE, OTHER = IDS
DIGEST, INDEX, CHILD = ("sha256:" + c * 64 for c in "123")


def put(name: str, number: int, **more) -> KeyPut:
    return KeyPut(name=name, key_id=IDS[number], pem=PEMS[number], **HEAD, **more)


def policy(name: str, *keys: str, mode: Mode = "audit") -> PolicyPut:
    made = Policy(
        id=name,
        mode=mode,
        match=(MatchRule(images=("**",)),),
        attestors={"a": Attestor(keys=keys)},
        require=Requirement(signed_by="a"),
    )
    return PolicyPut(policy=with_version(made), **HEAD)


def rotated(name: str, old: int, new: int, effective: int = 5) -> KeyRotated:
    return KeyRotated(
        name=name, old_key_id=IDS[old], new_key_id=IDS[new], new_pem=PEMS[new], effective=effective, **HEAD
    )


def revoked(kind: SubjectKind, subject: str, name: str = "r", **more) -> RevocationPut:
    fields: dict[str, Any] = {"reason": "keyCompromise", "effective": 3, **more}
    return RevocationPut(id=name, subject_kind=kind, subject=subject, **fields, **HEAD)


def exempted(name: str = "x", **more) -> ExemptionPut:
    return ExemptionPut(id=name, starts=0, expires=9, **more, **HEAD)


START: list[TrustRecord] = [
    put("dev", 0),
    put("ops", 1),
    policy("of-dev", "dev"),
    policy("of-both", "dev", "ops"),
    policy("inline", PEMS[3]),
    revoked("key", OPS, "old"),
    ClusterPut(cluster_id="uid-1", name="prod", **HEAD),
    exempted("open", policy="of-dev"),
]


def impact(**more) -> Impact:
    members: dict[str, Any] = {n: frozenset(v) if isinstance(v, list) else v for n, v in more.items()}
    return Impact(**members)


ROWS = [
    ("a key is revoked", revoked("key", DEV), impact(key_ids=[DEV])),
    ("a key nobody knows is revoked", revoked("key", OTHER), impact(key_ids=[OTHER])),
    ("a digest is denied", revoked("digest", DIGEST), impact(digests=[DIGEST])),
    ("a signature is revoked", revoked("evidence", "e1"), impact(evidence=["e1"])),
    ("a revocation is withdrawn", RevocationWithdrawn(revocation_id="old", **HEAD), impact(key_ids=[OPS])),
    ("a key is added", put("sec", 2), impact(key_ids=[NEW], needs_crypto=(NEW,))),
    ("a key gets a window", put("dev", 0, valid_until=9), impact(key_ids=[DEV])),
    ("a policy's own key gets a name", put("sec", 3), impact(key_ids=[INLINE])),
    (
        "a key is rotated",
        rotated("dev", 0, 2),
        impact(key_ids=[DEV, NEW], policies=["of-dev", "of-both"], needs_crypto=(NEW,)),
    ),
    ("a key is removed", KeyRemoved(key_id=OPS, **HEAD), impact(key_ids=[OPS])),
    ("a policy is added", policy("new", "ops"), impact(policies=["new"])),
    ("a policy changes", policy("of-dev", "dev", mode="trial"), impact(policies=["of-dev"])),
    (
        "a policy brings a key",
        policy("new", PEMS[4]),
        impact(policies=["new"], key_ids=[OTHER], needs_crypto=(OTHER,)),
    ),
    ("a policy brings a known key", policy("new", PEMS[3]), impact(policies=["new"])),
    ("a policy goes", PolicyRemoved(policy_id="of-dev", **HEAD), impact(policies=["of-dev"])),
    (
        "a policy goes, and its key with it",
        PolicyRemoved(policy_id="inline", **HEAD),
        impact(policies=["inline"], key_ids=[INLINE]),
    ),
    ("an exemption of a policy", exempted(policy="of-dev"), impact(policies=["of-dev"])),
    ("an exemption of digests", exempted(digests=(DIGEST,)), impact(digests=[DIGEST])),
    ("an exemption of a namespace", exempted(namespaces=("dev",)), impact(everything=True)),
    ("an exemption ends", ExemptionEnded(exemption_id="open", **HEAD), impact(policies=["of-dev"])),
    ("a cluster is enrolled", ClusterPut(cluster_id="uid-2", name="test", **HEAD), impact(clusters=["uid-2"])),
    ("a key is put again", put("dev", 0), NOTHING),
    ("a policy is put again", policy("of-dev", "dev"), NOTHING),
    ("an unknown policy goes", PolicyRemoved(policy_id="nobody", **HEAD), NOTHING),
    ("an unknown withdrawal", RevocationWithdrawn(revocation_id="nobody", **HEAD), NOTHING),
    ("a revocation is put again", revoked("key", OPS, "old"), NOTHING),
    ("an exemption is put again", exempted("open", policy="of-dev"), NOTHING),
    ("a cluster is retired", ClusterRetired(cluster_id="uid-1", **HEAD), impact(clusters=["uid-1"])),
    ("an unknown cluster is retired", ClusterRetired(cluster_id="uid-9", **HEAD), NOTHING),
    ("a cluster is put again", ClusterPut(cluster_id="uid-1", name="prod", **HEAD), NOTHING),
    ("a stale record", revoked("key", DEV).model_copy(update={"expects": 0}), NOTHING),
]


@pytest.mark.parametrize(("record", "expected"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
def test_row(record, expected):
    before = fold(START)
    found = touched(before, fold([record], before), record)
    assert found == expected
    assert bool(found) == (expected != NOTHING)


def test_a_revoked_source_touches_what_it_dated():
    dated = fact("e1", (DEV,), (TimeClaim("tsa", "attested", 1, OTHER),))
    assert impact(key_ids=[OTHER]).hits_fact(dated)
    assert not impact(key_ids=[OPS]).hits_fact(dated)


@pytest.mark.parametrize(
    ("closure", "hit"),
    [
        (DigestClosure(DIGEST), True),
        (DigestClosure(CHILD, (DIGEST,)), True),
        (DigestClosure(INDEX, (), (DIGEST,)), True),
        (DigestClosure(CHILD, (INDEX,)), False),
    ],
)
def test_a_denied_digest_touches_every_closure_that_holds_it(closure, hit):
    assert impact(digests=[DIGEST]).hits_closure(closure) is hit


# ------------------------------------------------------------------------------- what is not touched stays what it was


def fact(evidence: str, keys: tuple[str, ...], times: tuple[TimeClaim, ...] = ()) -> Fact:
    return Fact(
        id=evidence,
        evidence_id=evidence,
        format="sigstore-bundle",
        kind="signature",
        repository="r.example/a",
        subject=DIGEST,
        subjects=(DIGEST,),
        verified_by=keys,
        keyset="",
        times=times,
    )


FACTS = [
    fact("e1", (DEV,)),
    fact("e2", (OPS, NEW)),
    fact("e3", (INLINE,), (TimeClaim("tsa", "attested", 2, OTHER),)),
    fact("e4", (OTHER,), (TimeClaim("tsa", "attested", 8, DEV),)),
]
NAMES = ["dev", "ops", "sec"]
numbers = st.integers(0, 4)
steps = st.one_of(
    st.builds(put, st.sampled_from(NAMES), numbers, valid_until=st.none() | st.integers(0, 12)),
    st.builds(rotated, st.sampled_from(NAMES), numbers, numbers, st.integers(0, 12)),
    st.builds(lambda n: KeyRemoved(key_id=IDS[n], **HEAD), numbers),
    st.builds(
        lambda n, r, e, u: revoked("key", IDS[n], str(u), reason=r, effective=e),
        numbers,
        st.sampled_from(["keyCompromise", "superseded", "certificateHold"]),
        st.integers(0, 12),
        st.uuids(),
    ),
    st.builds(lambda e, u: revoked("evidence", e, str(u)), st.sampled_from(["e1", "e3"]), st.uuids()),
    st.builds(lambda d, u: revoked("digest", d, str(u)), st.sampled_from([DIGEST, INDEX]), st.uuids()),
    st.builds(lambda n: RevocationWithdrawn(revocation_id=n, **HEAD), st.sampled_from(["old"])),
    st.builds(policy, st.sampled_from(["p", "q"]), st.sampled_from([*NAMES, PEMS[3], PEMS[4]])),
    st.builds(lambda p: PolicyRemoved(policy_id=p, **HEAD), st.sampled_from(["p", "q", "inline"])),
)


def denied(trust: TrustState, closure: DigestClosure, now: int) -> tuple[RevocationPut, ...]:
    return trust.digest_denials((closure.running, *closure.indexes, *closure.children), now)


@settings(max_examples=100)
@given(
    log=st.lists(steps, max_size=8),
    now=st.integers(0, 12),
    seen=st.dictionaries(st.sampled_from(["e1", "e2", "e3"]), st.integers(0, 12)),
)
def test_what_is_not_touched_stays_what_it_was(log, now, seen):
    closures = [DigestClosure(DIGEST), DigestClosure(CHILD, (INDEX,)), DigestClosure(CHILD)]
    before = fold(START)
    for record in log:
        after = fold([record], before)
        found = touched(before, after, record)
        for one in FACTS:
            if not found.hits_fact(one) and set(one.verified_by).isdisjoint(found.needs_crypto):
                asked = ([one], DigestClosure(DIGEST), seen)
                assert standings(*asked, after, now) == standings(*asked, before, now)
        for closure in closures:
            assert found.hits_closure(closure) or denied(after, closure, now) == denied(before, closure, now)
        for name in (before.policies.keys() & after.policies.keys()) - found.policies:
            was, is_ = before.policies[name].policy, after.policies[name].policy
            assert was == is_
            assert before.resolve_keys(was) == after.resolve_keys(is_)
        assert (before.keyset_id != after.keyset_id) == bool(found.needs_crypto)
        before = after
