"""The judge's handlers with certificates: identities, CAs, builders, commits, logs and roots as stories."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from streams.handlers import restored
from tests.helpers.certified import (
    BUILDER,
    CI,
    COMMIT,
    CORP,
    CORP_AUTHORITY,
    CORP_ROOT,
    FULCIO,
    ISSUER,
    REKOR,
    RULE,
    SECOND,
    CertifiedWorld,
    corp_policy,
    identity_subject,
    keyless_policy,
    sigstore_root,
)
from tests.helpers.world import MINUTE, START, policy
from verifier.times import DAY, HOUR
from verifier.trust import changes
from verifier.trust.changes import By
from verifier.trust.records import RootRemoved


def by(world: CertifiedWorld) -> By:
    return By(author="tester", at=world.now)


def started(*policies) -> CertifiedWorld:
    """A world with the Sigstore root and these policies in force, an hour after the start."""
    world = CertifiedWorld(keys=())
    world.root("sigstore", sigstore_root())
    world.trust(*policies)
    world.now = START + HOUR
    return world


def revoke(world: CertifiedWorld, kind, subject, reason="identityCompromise", **more):
    """Revoke a thing for good, unless `more` says since when."""
    if not more:
        more = {"all_signatures": True}
    record = changes.revoke(world.state.trust, by(world), kind, subject, reason=reason, **more)
    world.record(record)
    return record


def withdraw(world: CertifiedWorld, record) -> None:
    world.record(changes.withdraw(world.state.trust, by(world), record.id))


# ---------------------------------------------------------------------------------------------------------- revocations


@pytest.mark.scenario("identity-revoked")
def test_an_identity_revoked_since_a_time_costs_only_what_came_later():
    """Proven older stays good; later ones fall, as one incident about the identity; withdrawn closes it."""
    world = started(keyless_policy("pay", CI))
    early = world.keyless("r.example/pay/early:1", CI, at=START + 10 * MINUTE)
    late = world.keyless("r.example/pay/late:1", CI, at=START + 40 * MINUTE)
    later = world.keyless("r.example/pay/later:1", CI, at=START + 50 * MINUTE)
    for name, image in (("early", early), ("late", late), ("later", later)):
        world.send(world.pod("pay", f"{name}-1", {"app": image}))
    assert world.open() == []
    record = revoke(world, "identity", identity_subject(CI), compromised_since=START + 30 * MINUTE)
    assert [(f.owner_name, f.code, f.severity) for f in world.open()] == [
        ("late", "identity-revoked", "critical"),
        ("later", "identity-revoked", "critical"),
    ]
    (cause,) = {f.cause for f in world.open()}
    assert (cause.kind, cause.id) == ("revocation", f"identity:{identity_subject(CI)}")
    assert cause.label == f"subject {CI}, issuer {ISSUER}"
    (part,) = [p for p in world.newest_parts().values() if p.containers]
    assert (part.containers, part.kind) == (2, "identity-revoked")
    withdraw(world, record)
    assert world.open() == []


@pytest.mark.parametrize(
    ("kind", "subject", "reason"),
    [
        ("ca", FULCIO.key_id, "caCompromise"),
        ("builder", BUILDER, "identityCompromise"),
        ("commit", COMMIT, "identityCompromise"),
        ("log", REKOR.id, "keyCompromise"),
    ],
)
def test_what_is_revoked_opens_one_incident_with_that_cause(kind, subject, reason):
    """CA, builder, commit and log alike; an image that does not rest on it stays good."""
    world = started(keyless_policy("pay", CI))
    first = world.keyless("r.example/pay/a:1", CI, builder=BUILDER)
    second = world.keyless("r.example/pay/b:1", CI, builder=BUILDER)
    world.send(world.pod("pay", "a-1", {"app": first}), world.pod("web", "b-1", {"app": second}))
    assert world.open() == []
    record = revoke(world, kind, subject, reason)
    assert [f.code for f in world.open()] == ["identity-revoked"] * 2
    assert {f.cause.id for f in world.open()} == {f"{kind}:{subject}"}
    assert len({f.incident for f in world.open()}) == 1
    world.now += MINUTE
    third = world.keyless("r.example/pay/c:1", CI, builder=BUILDER)
    world.send(world.pod("web", "c-1", {"app": third}))
    assert len({f.incident for f in world.open()}) == 1, "what starts later joins"
    withdraw(world, record)
    assert world.open() == []


def test_a_second_log_keeps_an_image_good():
    """Only what rests on the revoked log alone falls."""
    world = started(keyless_policy("pay", CI))
    only = world.keyless("r.example/pay/a:1", CI)
    both = world.keyless("r.example/pay/b:1", CI)
    world.keyless("r.example/pay/b:1", CI, log=SECOND)
    world.send(world.pod("pay", "a-1", {"app": only}), world.pod("pay", "b-1", {"app": both}))
    revoke(world, "log", REKOR.id, "keyCompromise")
    assert [(f.owner_name, f.code) for f in world.open()] == [("a", "identity-revoked")]


def test_a_hold_beside_a_compromise_is_not_the_cause():
    """The finding is filed under what proves a compromise, not under what a decision is pending on."""
    base = keyless_policy("both", CI)
    signed = policy("keyed", signed_by=("dev",))
    world = started()
    world.add_key("dev")
    assert signed.require.all is not None
    both = base.model_copy(
        update={
            "attestors": {**signed.attestors, **base.attestors},
            "require": signed.require.model_copy(update={"all": (*signed.require.all, base.require)}),
            "version": "v1:both",
        }
    )
    world.trust(both)
    world.now += MINUTE
    image = world.keyless("r.example/pay/a:1", CI)
    keyed = world.made[("r.example/pay/a", image[1])]
    keyed.append(
        replace(
            keyed[0],
            evidence_id="sha256:" + "d" * 64,
            certificate=None,
            chains=(),
            logs=(),
            times=(),
            verified_by=(world.signer("dev").key_id,),
        )
    )
    world.send(world.pod("pay", "a-1", {"app": image}))
    assert world.open() == []
    revoke(world, "key", "dev", "certificateHold", effective=world.now)
    assert world.open_codes() == ["wrong-signer"]
    world.now += MINUTE
    revoke(world, "identity", identity_subject(CI))
    (finding,) = world.open()
    assert (finding.code, finding.cause.id) == ("identity-revoked", f"identity:{identity_subject(CI)}")


# ---------------------------------------------------------------------------------------------------------------- roots


@pytest.mark.scenario("expired")
def test_a_narrowed_root_turns_signatures_into_expired_ones_and_is_the_cause():
    """The CA's window now ends before they were made: one incident about the root, put back it closes."""
    world = started(keyless_policy("pay", CI))
    for name in ("a", "b"):
        image = world.keyless(f"r.example/pay/{name}:1", CI)
        world.send(world.pod("pay", f"{name}-1", {"app": image}))
    world.now += MINUTE
    world.root("sigstore", sigstore_root(until="2026-01-01T00:00:00Z"))
    assert world.open_codes() == ["expired", "expired"]
    epoch = world.state.trust.epoch
    assert {(f.cause.kind, f.cause.id, f.severity) for f in world.open()} == {
        ("policy-change", f"root:sigstore@{epoch}", "medium")
    }
    assert len({f.incident for f in world.open()}) == 1
    (part,) = [p for p in world.newest_parts().values() if p.containers]
    assert part.kind == "policy-changed"
    world.root("sigstore", sigstore_root())
    assert world.open() == []


def test_a_removed_root_is_the_cause_of_wrong_signers():
    """What rests on it alone is nobody's signature now; what starts later speaks for itself."""
    world = started(corp_policy("corp"))
    world.root("corp", CORP_ROOT, "certificates")
    world.send(world.pod("p", "a-1", {"app": world.corporate("r.example/a:1")}))
    assert world.open() == []
    world.now += MINUTE
    world.record(RootRemoved(author="t", at=world.now, name="corp"))
    (finding,) = world.open()
    assert finding.code == "wrong-signer"
    assert finding.cause.id == f"root:corp@{world.state.trust.epoch}"
    world.now += MINUTE
    world.send(world.pod("p", "b-1", {"app": world.corporate("r.example/b:1")}))
    assert [f.cause.kind for f in world.open()] == ["policy-change", "none"]


@pytest.mark.scenario("wrong-signer")
def test_a_root_added_later_asks_only_for_what_was_undecided():
    """`keys-added`, for evidence whose authority was not known; until then nobody is accused."""
    world = started(corp_policy("corp"))
    keyless = world.keyless("r.example/k:1", CI)
    certified = world.corporate("r.example/c:1")
    world.send(world.pod("p", "k-1", {"app": keyless}), world.pod("p", "c-1", {"app": certified}))
    assert world.open_codes() == ["wrong-signer", "wrong-signer"]
    world.auto_fetch = False
    world.root("corp", CORP_ROOT, "certificates")
    assert [(w.why, w.repository) for w in world.wanted] == [("keys-added", "r.example/c")]
    codes = {c.row.repository: c.judged["corp"].codes for c in world.state.classes.values()}
    assert codes["r.example/c"] == ("keys-pending",)
    world.now += 1  # of two sets of one instant either may be the newer
    world.send(world.fetch(world.wanted[0].repository, world.wanted[0].digest))
    assert [f.owner_name for f in world.open()] == ["k"]


def test_a_certificate_without_a_timestamp_expires_by_time_alone():
    """The verdict says in advance when; what ran before the policy is no baseline then, time turned it."""
    world = CertifiedWorld(keys=())
    world.root("corp", CORP_ROOT, "certificates")
    world.now += MINUTE
    image = world.corporate("r.example/a:1")
    world.seen.clear()
    world.send(world.pod("p", "a-1", {"app": image}))
    world.now += MINUTE
    world.trust(corp_policy("corp"))
    assert world.open() == []
    world.wait(399 * DAY)
    assert world.open() == []
    world.wait(2 * DAY)
    assert [(f.code, f.cause.kind, f.severity) for f in world.open()] == [("expired", "none", "medium")]


def test_what_was_never_within_its_window_is_part_of_the_baseline():
    """The counterpart: it failed the policy from the first instant."""
    world = CertifiedWorld(keys=())
    world.root("sigstore", sigstore_root(until="2026-01-01T00:00:00Z"))
    world.now += MINUTE
    world.send(world.pod("p", "a-1", {"app": world.keyless("r.example/a:1", CI)}))
    world.now += MINUTE
    world.trust(keyless_policy("pay", CI))
    assert [(f.code, f.cause.kind) for f in world.open()] == [("expired", "baseline-policy")]


# -------------------------------------------------------------------------------------------------------- attestations


def test_an_added_attestation_rule_is_the_policys_change():
    """The same policy, stricter: `policy-changed`; the statement arrives, and it closes."""
    world = started(keyless_policy("pay", CI))
    image = world.keyless("r.example/pay/a:1", CI)
    world.send(world.pod("pay", "a-1", {"app": image}))
    world.now += MINUTE
    world.trust(keyless_policy("pay", CI, attested=True))
    (finding,) = world.open()
    assert (finding.code, finding.reasons) == ("policy-changed", ("attestation-missing",))
    world.now += MINUTE
    world.keyless("r.example/pay/a:1", CI, kind="attestation")
    world.send(world.fetch("r.example/pay/a", image[1]))
    assert world.open() == []


@pytest.mark.parametrize(
    ("attested", "holds", "code"), [(False, True, "attestation-missing"), (True, False, "attestation-violates")]
)
def test_new_images_without_a_statement_or_with_a_bad_one(attested, holds, code):
    """Absence is per repository, proof of something bad per digest."""
    world = started(keyless_policy("pay", CI, attested=True, rule=RULE))
    for tag in ("1", "2"):
        image = world.keyless(f"r.example/pay/a:{tag}", CI)
        if attested:
            world.keyless(f"r.example/pay/a:{tag}", CI, kind="attestation", holds=holds)
        world.send(world.pod("pay", f"a{tag}-1", {"app": image}))
    assert world.open_codes() == [code, code]
    assert {f.severity for f in world.open()} == {"high"}
    assert len({f.incident for f in world.open()}) == (2 if attested else 1)


def test_an_added_content_rule_asks_only_for_attestations_of_its_type():
    """Signatures keep their facts; the statement is read again, and nobody is accused meanwhile."""
    world = started(keyless_policy("pay", CI, attested=True))
    image = world.keyless("r.example/pay/a:1", CI)
    world.keyless("r.example/pay/a:1", CI, kind="attestation", holds=False)
    plain = world.keyless("r.example/pay/plain:1", CI)
    world.send(world.pod("pay", "a-1", {"app": image}), world.pod("pay", "plain-1", {"app": plain}))
    assert [f.owner_name for f in world.open()] == ["plain"]
    world.auto_fetch = False
    world.now += MINUTE
    world.trust(keyless_policy("pay", CI, attested=True, rule=RULE))
    assert [(w.why, w.repository) for w in world.wanted] == [("keys-added", "r.example/pay/a")]
    assert [f.owner_name for f in world.open()] == ["plain"]
    world.send(world.fetch("r.example/pay/a", image[1]))
    found = {f.owner_name: (f.code, f.reasons) for f in world.open()}
    assert found["a"] == ("policy-changed", ("attestation-violates",))


def test_corporate_facts_know_their_ca():
    """Guard: the helper's chains lead where the roots lead."""
    world = started(corp_policy("corp"))
    world.root("corp", CORP_ROOT, "certificates")
    assert CORP_AUTHORITY in world.state.trust.anchors.authorities
    assert CORP.key_id


# -------------------------------------------------------------------------------------------------------------- restart


def test_a_restart_keeps_causes_and_former_roots():
    """Stored, thrown away and restored: nothing new is said, and a late pod still learns of the root that changed."""
    world = started(keyless_policy("pay", CI))
    image = world.keyless("r.example/pay/a:1", CI)
    second = world.keyless("r.example/pay/b:1", CI)
    world.send(world.pod("pay", "a-1", {"app": image}))
    late = world.pod("pay", "b-1", {"app": second})
    world.now += MINUTE
    world.root("sigstore", sigstore_root(until="2026-01-01T00:00:00Z"))
    rows = [(kind, key, value) for kind, key, value in world.state.take_dirty() if value is not None]
    again = CertifiedWorld(keys=(), made=world.made)
    again.now = world.now
    again.state.restore(rows)
    again.state.trust = world.state.trust
    said = [o for part in restored(again.state) for o in part]
    assert [o for o in said if type(o).__name__ not in ("ShardReached", "EvidenceWanted")] == []
    again.send(late)
    assert {f.cause.id for f in again.open()} == {f"root:sigstore@{world.state.trust.epoch}"}
    assert len({f.incident for f in again.open()}) == 1
