"""The trust log folded: what each record does, what is ignored and why, and that old states stay what they were."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from verifier.evidence.keys import load_public_key
from verifier.facts.candidates import keyset_id
from verifier.models import Mode
from verifier.policy.attestors import Attestor
from verifier.policy.model import MatchRule, Policy, Requirement, with_version
from verifier.trust.describe import describe, diff
from verifier.trust.records import (
    TRUST_RECORD,
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
from verifier.trust.standing import key_state
from verifier.trust.state import TrustState, fold

T = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z"""
HEAD: dict[str, Any] = {"author": "alice", "at": T}
DAY = 86_400_000_000
DIGEST = "sha256:" + "1" * 64


def pem(number: int) -> str:
    key = ec.derive_private_key(number, ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


PEMS = [pem(n) for n in range(1, 6)]
A, B, D, E, F = (load_public_key(p).key_id for p in PEMS)
PEM = dict(zip((A, B, D, E, F), PEMS, strict=True))


def put(name: str, key_id: str, **more) -> KeyPut:
    return KeyPut(name=name, key_id=key_id, pem=PEM[key_id], **HEAD, **more)


def rotated(name: str, old: str, new: str, effective: int = T) -> KeyRotated:
    return KeyRotated(name=name, old_key_id=old, new_key_id=new, new_pem=PEM[new], effective=effective, **HEAD)


def policy(*keys: str, name: str = "signed", mode: Mode = "audit") -> Policy:
    return with_version(
        Policy(
            id=name,
            mode=mode,
            match=(MatchRule(images=("**",)),),
            attestors={"dev": Attestor(keys=keys)},
            require=Requirement(signed_by="dev"),
        )
    )


def revocation(subject: str = A, kind: SubjectKind = "key", name: str = "r1", **more) -> RevocationPut:
    fields: dict[str, Any] = {"reason": "keyCompromise", "effective": T, **more}
    return RevocationPut(id=name, subject_kind=kind, subject=subject, **fields, **HEAD)


def exemption(name: str = "x1", **more) -> ExemptionPut:
    fields: dict[str, Any] = {"policy": "signed", "starts": T, "expires": T + DAY, **more}
    return ExemptionPut(id=name, **fields, **HEAD)


def cluster(name: str = "prod", **more) -> ClusterPut:
    return ClusterPut(cluster_id="uid-1", name=name, **HEAD, **more)


# -------------------------------------------------------------------------------------------- applied, ignored, why

START: list[TrustRecord] = [
    put("dev", A),
    PolicyPut(policy=policy("dev"), **HEAD),
    revocation(),
    exemption(),
    cluster(),
    revocation(B, name="gone"),
    RevocationWithdrawn(revocation_id="gone", **HEAD),
    put("old", D),
    KeyRemoved(key_id=D, **HEAD),
    exemption("ended"),
    ExemptionEnded(exemption_id="ended", **HEAD),
]

OUTCOMES: list[tuple[str, TrustRecord, str]] = [
    ("a new key", put("ops", B), ""),
    ("a new window", put("dev", A, valid_until=T), ""),
    ("a new owner", put("dev", A, owner="payments"), ""),
    ("the same key again", put("dev", A), "duplicate"),
    ("another key under a name in use", put("dev", B), "conflict"),
    ("a key that is known under another name", put("ops", A), "conflict"),
    ("a removed key comes back", put("old", D), ""),
    ("a removed key comes back under another name", put("older", D), ""),
    ("a key whose id is another one's", KeyPut(name="ops", key_id=B, pem=PEM[D], **HEAD), "refused"),
    ("a key that is no key", KeyPut(name="ops", key_id=B, pem="-----BEGIN PUBLIC KEY-----", **HEAD), "refused"),
    ("a rotation", rotated("dev", A, B), ""),
    ("a rotation of an unknown name", rotated("ops", A, B), "unknown"),
    ("a rotation away from a key that is not current", rotated("dev", B, D), "conflict"),
    ("a rotation to the same key", rotated("dev", A, A), "duplicate"),
    ("a rotation to an unreadable key", rotated("dev", A, B).model_copy(update={"new_pem": "x"}), "refused"),
    ("a removal", KeyRemoved(key_id=A, **HEAD), ""),
    ("a removal of an unknown key", KeyRemoved(key_id=B, **HEAD), "unknown"),
    ("a second removal", KeyRemoved(key_id=D, **HEAD), "duplicate"),
    ("another policy", PolicyPut(policy=policy("dev", name="other"), **HEAD), ""),
    ("a new version", PolicyPut(policy=policy("dev", mode="enforce"), **HEAD), ""),
    ("the same version", PolicyPut(policy=policy("dev"), **HEAD), "duplicate"),
    ("a policy that is taken away", PolicyRemoved(policy_id="signed", **HEAD), ""),
    ("a policy that is not there", PolicyRemoved(policy_id="other", **HEAD), "unknown"),
    ("a second revocation of a key", revocation(name="r2"), ""),
    ("a revocation of a key nobody knows yet", revocation(E, name="r2"), ""),
    ("the same revocation", revocation(), "duplicate"),
    ("a withdrawn revocation under its old id", revocation(B, name="gone"), "duplicate"),
    ("a withdrawal", RevocationWithdrawn(revocation_id="r1", **HEAD), ""),
    ("a withdrawal of nothing", RevocationWithdrawn(revocation_id="r9", **HEAD), "unknown"),
    ("a second withdrawal", RevocationWithdrawn(revocation_id="gone", **HEAD), "duplicate"),
    ("another exemption", exemption("x2"), ""),
    ("the same exemption", exemption(), "duplicate"),
    ("an exemption for too long", exemption("x2", expires=T + 181 * DAY), "refused"),
    ("an exemption of everything", exemption("x2", policy=""), "refused"),
    ("an exemption ends", ExemptionEnded(exemption_id="x1", **HEAD), ""),
    ("an exemption that is not there ends", ExemptionEnded(exemption_id="x9", **HEAD), "unknown"),
    ("an exemption ends twice", ExemptionEnded(exemption_id="ended", **HEAD), "duplicate"),
    ("a cluster's new labels", cluster(labels={"env": "prod"}), ""),
    ("the same cluster", cluster(), "duplicate"),
    ("a cluster is retired", ClusterRetired(cluster_id="uid-1", **HEAD), ""),
    ("a cluster that is not there is retired", ClusterRetired(cluster_id="uid-9", **HEAD), "unknown"),
]


@pytest.mark.parametrize(("record", "code"), [o[1:] for o in OUTCOMES], ids=[o[0] for o in OUTCOMES])
def test_what_becomes_of_a_record(record, code):
    before = fold(START)
    after, applied = before.apply(record, before.epoch + 1)
    assert (applied.applied, applied.code) == (not code, code)
    assert bool(applied.message) == bool(code)
    assert after.epoch == before.epoch + 1
    assert bool(diff(before, after)) == applied.applied


@pytest.mark.parametrize(("record", "code"), [o[1:] for o in OUTCOMES], ids=[o[0] for o in OUTCOMES])
def test_a_record_made_for_another_epoch_is_ignored(record, code):
    before = fold(START)
    for expects in (0, before.epoch - 1, before.epoch + 1):
        after, applied = before.apply(record.model_copy(update={"expects": expects}), before.epoch + 1)
        assert (applied.applied, applied.code) == (False, "stale")
        assert str(before.epoch) in applied.message
        assert diff(before, after) == ()
    assert before.apply(record.model_copy(update={"expects": before.epoch}), before.epoch + 1)[1].code == code


@pytest.mark.parametrize("epoch", [0, 1, len(START)])
def test_a_redelivered_entry_changes_nothing_at_all(epoch):
    state = fold(START)
    same, applied = state.apply(put("ops", B), epoch)
    assert same is state
    assert applied.code == "duplicate"


def test_two_administrators_cannot_overwrite_each_other_unseen():
    state = fold(START)
    one, other = (put(name, key, expects=state.epoch) for name, key in (("ops", B), ("sec", E)))
    state, first = state.apply(one, state.epoch + 1)
    state, second = state.apply(other, state.epoch + 1)
    assert (first.applied, second.code) == (True, "stale")
    assert "sec" not in state.names


@pytest.mark.parametrize("record", [o[1] for o in OUTCOMES], ids=[o[0] for o in OUTCOMES])
def test_a_record_survives_the_log(record):
    """What a reader of the log gets is what the writer had."""
    assert TRUST_RECORD.validate_json(TRUST_RECORD.dump_json(record)) == record


# ------------------------------------------------------------------------------------------------- it is a value


def test_a_state_is_never_changed_afterwards():
    state, kept = TrustState.empty(), []
    for record in [*START, *(o[1] for o in OUTCOMES)]:
        kept.append((state, repr(state)))
        state, _ = state.apply(record, state.epoch + 1)
    assert all(repr(old) == text for old, text in kept)


def test_what_did_not_change_is_shared():
    before = fold(START)
    after, _ = before.apply(revocation(B, name="r2"), before.epoch + 1)
    assert after.policies is before.policies
    assert after.keys is before.keys
    assert after.exemptions is before.exemptions
    assert after.by_subject["digest"] is before.by_subject["digest"]
    assert after.revocations is not before.revocations


def test_folding_in_pieces_is_folding_whole():
    whole = fold(START)
    for cut in range(len(START)):
        assert fold(START[cut:], fold(START[:cut])) == whole


# ----------------------------------------------------------------------------------------------------------- keys


def test_a_name_covers_its_current_key_and_those_it_superseded():
    state = fold([put("dev", A), rotated("dev", A, B), rotated("dev", B, D)])
    assert state.names == {"dev": D}
    assert state.resolve_keys(policy("dev")) == {"dev": (A, B, D)}
    assert [state.name_of(k) for k in (A, D, E, "")] == ["dev", "dev", f"key:{E[:12]}", "unknown"]


def test_pem_text_covers_itself_whoever_asks():
    state = fold([put("dev", A)])
    assert state.resolve_keys(policy("dev", PEM[B])) == {"dev": (A, B)}
    assert state.resolve_keys(policy(PEM[A], "dev")) == {"dev": (A,)}
    assert state.resolve_keys(policy("nobody")) == {"dev": ()}


def test_a_rotation_raises_nothing():
    """What the old key signed until then stays good; late and unproven count, with a warning, alike."""
    state = fold([put("dev", A, owner="payments"), rotated("dev", A, B, effective=T)])
    assert key_state(A, T, "observed", state, T + 9) == ("trusted-before-retirement", "", None)
    assert key_state(A, T + 1, "attested", state, T + 9).state == "retired-late"
    assert key_state(A, T + 1, "observed", state, T + 9).state == "retired-unproven"
    assert key_state(A, None, "none", state, T + 9).state == "retired-unproven"
    assert key_state(B, None, "none", state, T + 9) == ("trusted", "", None)
    assert state.keys[B].owner == "payments"
    assert state.digest_denials([DIGEST], T + 9) == ()


def test_a_rotation_that_lies_ahead_waits():
    state = fold([put("dev", A), rotated("dev", A, B, effective=T + DAY)])
    assert key_state(A, None, "none", state, T) == ("trusted", "", T + DAY)
    assert key_state(A, None, "none", state, T + DAY).state == "retired-unproven"


def test_rotating_back_makes_a_key_current_again():
    state = fold([put("dev", A), rotated("dev", A, B), rotated("dev", B, A)])
    assert state.names == {"dev": A}
    assert key_state(A, None, "none", state, T + 1).state == "trusted"
    assert key_state(B, None, "none", state, T + 1).state == "retired-unproven"


def test_a_removed_key_is_known_but_not_authorised():
    state = fold([put("dev", A), KeyRemoved(key_id=A, **HEAD)])
    assert key_state(A, 1, "attested", state, T).state == "not-authorised"
    assert key_state(A, None, "none", state, T).state == "not-authorised"
    assert "dev" not in state.names
    assert state.name_of(A) == "dev"
    assert A in state.candidate_keys()


def test_a_removal_beats_a_policy_that_carries_the_key():
    state = fold([put("dev", A), PolicyPut(policy=policy(PEM[A]), **HEAD), KeyRemoved(key_id=A, **HEAD)])
    assert key_state(A, 1, "observed", state, T).state == "not-authorised"


def test_a_key_known_only_from_policies_stands_and_falls_with_them():
    one = PolicyPut(policy=policy(PEM[E]), **HEAD)
    other = PolicyPut(policy=policy(PEM[E], name="other"), **HEAD)
    state = fold([one, other])
    assert key_state(E, None, "none", state, T).state == "trusted"
    state = fold([PolicyRemoved(policy_id="signed", **HEAD)], state)
    assert key_state(E, None, "none", state, T).state == "trusted"
    state = fold([PolicyRemoved(policy_id="other", **HEAD)], state)
    assert key_state(E, None, "none", state, T).state == "not-authorised"


def test_a_removed_and_restored_key_is_as_new():
    state = fold([put("dev", A), KeyRemoved(key_id=A, **HEAD), put("dev", A)])
    assert key_state(A, None, "none", state, T).state == "trusted"


def test_a_policy_with_an_unreadable_key_is_refused_and_says_so():
    broken = policy("dev").model_copy(update={"attestors": {"dev": Attestor.model_construct(keys=("-----BEGIN X",))}})
    after, applied = fold(START).apply(PolicyPut.model_construct(policy=broken, expects=None, **HEAD), 99)
    assert applied.code == "refused"
    assert after.policies["signed"].policy == policy("dev")


# ------------------------------------------------------------------------------------------------------ candidates


def test_candidates_only_grow():
    """Taking something out of trust never makes facts stale; only an added key costs cryptography."""
    log: list[TrustRecord] = [
        put("dev", A),
        PolicyPut(policy=policy("dev", PEM[B]), **HEAD),
        rotated("dev", A, D),
        KeyRemoved(key_id=D, **HEAD),
        PolicyRemoved(policy_id="signed", **HEAD),
        revocation(),
    ]
    ids, states = [], [fold(log[:n]) for n in range(len(log) + 1)]
    for state in states:
        assert state.keyset_id == keyset_id(state.candidates)
        ids.append(len(state.candidates))
    assert ids == [0, 1, 2, 3, 3, 3, 3]
    assert states[-1].candidate_keys() == {A: PEM[A], B: PEM[B], D: PEM[D]}


def test_the_key_set_has_the_same_id_however_it_came_about():
    one = fold([put("dev", A), put("ops", B)])
    other = fold([PolicyPut(policy=policy(PEM[B]), **HEAD), put("x", A)])
    assert one.keyset_id == other.keyset_id != TrustState.empty().keyset_id


# ------------------------------------------------------------------------------------------ policies and denials


def test_a_policy_remembers_when_it_first_took_effect():
    later: dict[str, Any] = {"author": "bob", "at": T + DAY}
    state = fold([PolicyPut(policy=policy("dev"), **HEAD), PolicyPut(policy=policy("dev", mode="trial"), **later)])
    entry = state.policies["signed"]
    assert (entry.first_epoch, entry.first_at, entry.epoch, entry.at) == (1, T, 2, T + DAY)
    again = fold([PolicyRemoved(policy_id="signed", **HEAD), PolicyPut(policy=policy("dev"), **later)], state)
    assert again.policies["signed"].first_epoch == 4


@pytest.mark.parametrize("reason", ["keyCompromise", "superseded", "certificateHold"])
def test_a_denied_digest_is_denied_whole(reason):
    state = fold([revocation(DIGEST, "digest", reason=reason, effective=T)])
    assert state.digest_denials(["sha256:x", DIGEST], T - 1) == ()
    assert state.denials_due(["sha256:x", DIGEST], T - 1) == T
    assert [d.reason for d in state.digest_denials(["sha256:x", DIGEST], T)] == [reason]
    assert state.denials_due([DIGEST], T) is None
    assert state.digest_denials(["sha256:x"], T) == ()
    back = fold([RevocationWithdrawn(revocation_id="r1", **HEAD)], state)
    assert back.digest_denials([DIGEST], T) == ()


# -------------------------------------------------------------------------------------------------------- in words

SENTENCES = [
    (PolicyPut(policy=policy("dev"), **HEAD), "put policy signed in force, mode audit"),
    (PolicyRemoved(policy_id="signed", **HEAD), "removed policy signed"),
    (put("dev", A, valid_until=T), f"put key dev ({A[:12]}) into the ring, valid until 2026-01-01T00:00:00Z"),
    (rotated("dev", A, B), f"rotated key dev from {A[:12]} to {B[:12]}, effective 2026-01-01T00:00:00Z"),
    (KeyRemoved(key_id=A, **HEAD), f"removed key {A[:12]} from the ring"),
    (revocation(), f"revoked key {A[:12]} (keyCompromise), all its signatures"),
    (revocation(compromised_since=T - DAY), "compromised since 2025-12-31T00:00:00Z"),
    (revocation(reason="superseded"), "(superseded), effective 2026-01-01T00:00:00Z"),
    (revocation(DIGEST, "digest"), f"revoked digest {DIGEST} (keyCompromise), effective 2026-01-01T00:00:00Z"),
    (RevocationWithdrawn(revocation_id="r1", **HEAD), "withdrew revocation r1"),
    (exemption(namespaces=("dev-*",)), "exempted policy signed; namespaces dev-* until 2026-01-02T00:00:00Z"),
    (ExemptionEnded(exemption_id="x1", **HEAD), "ended exemption x1"),
    (cluster(), "enrolled cluster prod (uid-1), feeds audit, pods"),
    (ClusterRetired(cluster_id="uid-1", **HEAD), "retired cluster uid-1"),
]


@pytest.mark.parametrize(("record", "words"), SENTENCES, ids=[words[:30] for _, words in SENTENCES])
def test_a_record_in_one_sentence(record, words):
    noted = record.model_copy(update={"note": "because"})
    assert describe(record).startswith("alice ")
    assert words in describe(record)
    assert describe(noted) == describe(record) + ": because"


def test_a_sentence_takes_any_number_for_a_time():
    sentence = describe(revocation(compromised_since=-(10**20)))
    assert f"compromised since {-(10**20)} µs" in sentence


def test_what_changed_between_two_epochs():
    before = fold(START)
    after = fold(
        [
            rotated("dev", A, B),
            put("ops", E),
            PolicyPut(policy=policy("dev", mode="enforce"), **HEAD),
            RevocationWithdrawn(revocation_id="r1", **HEAD),
            ExemptionEnded(exemption_id="x1", **HEAD),
            cluster("production"),
            KeyRemoved(key_id=E, **HEAD),
        ],
        before,
    )
    found = {(c.what, c.id, c.kind) for c in diff(before, after)}
    assert found == {
        ("policy", "signed", "changed"),
        ("key", A, "superseded"),
        ("key", B, "added"),
        ("key", E, "added"),
        ("revocation", "r1", "withdrawn"),
        ("exemption", "x1", "ended"),
        ("cluster", "uid-1", "changed"),
    }
    assert "audit -> enforce" in next(c.text for c in diff(before, after) if c.what == "policy")
    assert ("key", B, "removed") in {(c.what, c.id, c.kind) for c in diff(after, before)}
