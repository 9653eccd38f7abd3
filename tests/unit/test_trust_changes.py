"""What people ask of trust: builders that check it, say what is wrong, and give records that take effect."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from verifier.errors import TrustError
from verifier.evidence.keys import load_public_key
from verifier.models import DigestClosure, Fact, TimeClaim
from verifier.policy.attestors import Attestor
from verifier.policy.model import MatchRule, Policy, Requirement
from verifier.times import DAY
from verifier.trust.changes import (
    By,
    ExemptionScope,
    add_key,
    end_exemption,
    exempt,
    find_key,
    put_cluster,
    put_policy,
    remove_key,
    remove_policy,
    revocation_split,
    revoke,
    rotate_key,
    withdraw,
)
from verifier.trust.records import TRUST_RECORD, RevocationPut
from verifier.trust.revocation import CLASS_OF, NEVER_SOUND
from verifier.trust.standing import standings
from verifier.trust.state import TrustState, fold

T = 1_767_225_600_000_000
BY = By("alice", T, note="because")
DIGEST = "sha256:" + "1" * 64
FEEDS: Any = ("logs",)
STOLEN: Any = "stolen"
"""What no type checker lets through, but a person may type."""


def pem(number: int) -> str:
    key = ec.derive_private_key(number, ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


DEV, OPS, NEW, OLD = (load_public_key(pem(n)).key_id for n in (1, 2, 3, 4))


def policy(*keys: str, name: str = "signed") -> Policy:
    return Policy(
        id=name,
        match=(MatchRule(images=("**",)),),
        attestors={"dev": Attestor(keys=keys)},
        require=Requirement(signed_by="dev"),
    )


def then(state: TrustState, record) -> TrustState:
    """Apply a builder's record; it must take effect as it was made, and only now."""
    assert record.expects == state.epoch
    assert TRUST_RECORD.validate_json(TRUST_RECORD.dump_json(record)) == record
    after, applied = state.apply(record, state.epoch + 1)
    assert applied.applied, applied
    assert after.apply(record, after.epoch + 1)[1].code == "stale"
    return after


@pytest.fixture
def trust() -> TrustState:
    state = TrustState.empty()
    state = then(state, add_key(state, BY, "dev", pem(1), owner="payments"))
    state = then(state, add_key(state, BY, "ops", pem(2)))
    state = then(state, add_key(state, BY, "gone", pem(4)))
    state = then(state, remove_key(state, BY, "gone"))
    return then(state, put_policy(state, BY, policy("dev")))


def refused(message: str):
    return pytest.raises(TrustError, match=message)


# ------------------------------------------------------------------------------------------------------------- keys


def test_every_builder_gives_a_record_that_takes_effect(trust):
    state = then(trust, rotate_key(trust, BY, "dev", pem(3)))
    state = then(state, add_key(state, BY, "ops", pem(2), valid_until=T))
    state = then(state, revoke(state, BY, "key", "dev", reason="keyCompromise", compromised_since=T))
    state = then(state, revoke(state, BY, "digest", DIGEST, reason="unspecified"))
    state = then(state, revoke(state, BY, "evidence", "e1", reason="superseded"))
    for entry in list(state.revocations.values()):
        state = then(state, withdraw(state, BY, entry.id))
    state = then(state, exempt(state, BY, ExemptionScope(policy="signed", namespaces=("dev-*",))))
    state = then(state, end_exemption(state, BY, next(iter(state.exemptions))))
    state = then(state, put_cluster(state, BY, "uid-1", "prod", labels={"env": "prod"}, feeds=("pods",)))
    state = then(state, remove_policy(state, BY, "signed"))
    state = then(state, remove_key(state, BY, OPS[:10]))
    assert set(state.names) == {"dev"}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda t: add_key(t, BY, "dev", pem(3)), "taken by .*rotate it"),
        (lambda t: add_key(t, BY, "other", pem(1)), "already in the ring as dev"),
        (lambda t: add_key(t, BY, "Bad Name", pem(3)), "key name 'Bad Name'"),
        (lambda t: add_key(t, BY, "sec", "no key"), "expected one PEM block"),
        (lambda t: add_key(t, BY, "sec", pem(3), valid_from=T, valid_until=T - 1), "ends before it starts"),
        (lambda t: add_key(t, BY._replace(author=""), "sec", pem(3)), "needs an author"),
        (lambda t: rotate_key(t, BY, "sec", pem(3)), "no key is named sec; known names: dev, ops"),
        (lambda t: rotate_key(t, BY, "dev", pem(1)), "needs another key"),
        (lambda t: rotate_key(t, BY, "dev", pem(2)), "already in the ring as ops"),
        (lambda t: remove_key(t, BY, "sec"), "no key sec is known"),
        (lambda t: remove_key(t, BY, OLD), "is not in the ring"),
        (lambda t: put_policy(t, BY, policy("sec")), "no key is named sec; add it first"),
        (lambda t: remove_policy(t, BY, "other"), "no policy other is in force; known policies: signed"),
        (lambda t: put_cluster(t, BY, "", "prod"), "stable id"),
        (lambda t: put_cluster(t, BY, "uid-1", "Prod EU"), "cluster name"),
        (lambda t: put_cluster(t, BY, "uid-1", "prod", feeds=FEEDS), "feed logs is not known; one of audit, pods"),
    ],
)
def test_what_is_refused_and_why(trust, build, message):
    with refused(message):
        build(trust)


def test_a_private_key_is_refused_and_not_repeated(trust):
    with refused("private key") as caught:
        add_key(trust, BY, "sec", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----")
    assert "AAAA" not in str(caught.value)


def test_a_superseded_key_can_get_a_window_under_its_old_name(trust):
    state = then(trust, rotate_key(trust, BY, "dev", pem(3)))
    state = then(state, add_key(state, BY, "dev", pem(1), valid_until=T))
    assert (state.keys[DEV].valid_until, state.names["dev"]) == (T, NEW)


def test_two_clusters_do_not_share_a_name(trust):
    state = then(trust, put_cluster(trust, BY, "uid-1", "prod"))
    with refused("taken by uid-1"):
        put_cluster(state, BY, "uid-2", "prod")


def test_a_policy_gets_its_version(trust):
    record = put_policy(trust, BY, policy("ops", pem(3)))
    assert record.policy.version
    assert record.policy.version != trust.policies["signed"].policy.version


@pytest.mark.parametrize("text", ["dev", DEV, DEV[:8], "gone"])
def test_a_key_by_name_id_or_beginning(trust, text):
    assert find_key(trust, text) == (OLD if text == "gone" else DEV)


def test_a_name_means_its_current_key(trust):
    state = then(trust, rotate_key(trust, BY, "dev", pem(3)))
    assert find_key(state, "dev") == NEW
    removed = then(state, remove_key(state, BY, "dev"))
    with refused(f"may mean 2 keys: {DEV[:12]}, {NEW[:12]}"):
        find_key(removed, "dev")


@pytest.mark.parametrize("text", [DEV[:7], "", "nobody", DEV + "0"])
def test_a_key_that_is_not_meant(trust, text):
    with refused("give a name or a key id; known names: dev, ops"):
        find_key(trust, text)


# ------------------------------------------------------------------------------------------------------- revocations

HARD = sorted(r for r, c in CLASS_OF.items() if c == "hard" and r not in NEVER_SOUND)
BOTH: list[dict[str, Any]] = [{"compromised_since": T}, {"all_signatures": True}]
OTHERS = sorted(r for r, c in CLASS_OF.items() if c != "hard")


@pytest.mark.parametrize("reason", HARD)
def test_a_compromise_needs_a_time_or_all_said_aloud(trust, reason):
    wrong: list[dict[str, Any]] = [{}, {"compromised_since": T - 1, "all_signatures": True}, {"effective": T}]
    for given in wrong:
        with refused(f"{reason} of a key: got .*, expected compromised-since or all-signatures; give"):
            revoke(trust, BY, "key", "dev", reason=reason, **given)
    since = revoke(trust, BY, "key", "dev", reason=reason, compromised_since=T - 1)
    whole = revoke(trust, BY, "key", "dev", reason=reason, all_signatures=True)
    assert (since.compromised_since, since.effective, since.subject) == (T - 1, T, DEV)
    assert whole.compromised_since is None


def test_a_compromise_lies_in_the_past(trust):
    with refused("lies after now"):
        revoke(trust, BY, "key", "dev", reason="keyCompromise", compromised_since=T + 1)
    assert revoke(trust, BY, "key", "dev", reason="keyCompromise", compromised_since=T).compromised_since == T


@pytest.mark.parametrize("reason", sorted(NEVER_SOUND))
def test_a_key_that_never_protected_anything_needs_no_time(trust, reason):
    with refused("all signatures fall"):
        revoke(trust, BY, "key", "dev", reason=reason, compromised_since=T)
    assert revoke(trust, BY, "key", "dev", reason=reason) == revoke(
        trust, BY, "key", "dev", reason=reason, all_signatures=True
    )


@pytest.mark.parametrize("reason", OTHERS)
def test_no_compromise_no_compromised_since(trust, reason):
    for given in BOTH:
        with refused(f"{reason} of a key: .*expected effective; this reason is no compromise"):
            revoke(trust, BY, "key", "dev", reason=reason, **given)
    assert revoke(trust, BY, "key", "dev", reason=reason).effective == T
    assert revoke(trust, BY, "key", "dev", reason=reason, effective=T + DAY).effective == T + DAY


@pytest.mark.parametrize(("kind", "subject"), [("digest", DIGEST), ("evidence", "e1")])
@pytest.mark.parametrize("reason", sorted(CLASS_OF))
def test_digests_and_evidence_are_revoked_whole(trust, kind, subject, reason):
    for given in BOTH:
        with refused("revoked whole"):
            revoke(trust, BY, kind, subject, reason=reason, **given)
    assert revoke(trust, BY, kind, subject, reason=reason, effective=T + 1).effective == T + 1


@pytest.mark.parametrize(
    ("kind", "subject", "message"),
    [
        ("key", "nobody", "no key nobody is known; .*known names: dev, ops"),
        ("digest", "sha256:1234", "digest 'sha256:1234': expected a digest"),
        ("digest", "dev", "digest 'dev': expected a digest"),
        ("evidence", "", "has no id"),
    ],
)
def test_a_subject_that_is_none_is_named(trust, kind, subject, message):
    with refused(message):
        revoke(trust, BY, kind, subject, reason="superseded")


def test_an_unknown_reason_names_the_known_ones(trust):
    with refused("reason stolen is not known; one of keyCompromise, .*certificateHold"):
        revoke(trust, BY, "key", "dev", reason=STOLEN)


def test_a_removed_key_can_still_be_revoked(trust):
    assert revoke(trust, BY, "key", "gone", reason="keyCompromise", all_signatures=True).subject == OLD


def test_the_id_derives_from_what_was_asked(trust):
    one = revoke(trust, BY, "key", "dev", reason="superseded")
    assert one == revoke(trust, BY, "key", DEV, reason="superseded")
    assert one.id != revoke(trust, BY._replace(at=T + 1), "key", "dev", reason="superseded").id
    with refused(f"already on record as {one.id}"):
        revoke(then(trust, one), BY, "key", "dev", reason="superseded")


def test_a_withdrawal_needs_something_to_withdraw(trust):
    put = revoke(trust, BY, "key", "dev", reason="superseded")
    state = then(trust, put)
    with refused("no revocation that is not withdrawn with id v1:nothing"):
        withdraw(state, BY, "v1:nothing")
    assert withdraw(state, BY, put.id[:12]).revocation_id == put.id
    gone = then(state, withdraw(state, BY, put.id))
    with refused("known ids: none"):
        withdraw(gone, BY, put.id)
    assert gone.by_subject == trust.by_subject


# ------------------------------------------------------------------------------------------------------- the split


def fact(evidence: str, *, key: str = DEV, subjects=(DIGEST,), times=()) -> Fact:
    return Fact(
        id=f"fact {evidence}",
        evidence_id=evidence,
        format="sigstore-bundle",
        kind="signature",
        repository="r.example/a",
        subject=DIGEST,
        subjects=subjects,
        verified_by=(key,),
        keyset="",
        times=times,
    )


FACTS = [fact("at"), fact("before"), fact("after"), fact("undated"), fact("of another", key=OPS)]
SEEN = {"at": T, "before": T - 1, "after": T + 1, "of another": T - 1}


def split(trust, *, facts=FACTS, **asked):
    at = BY._replace(at=T + DAY)
    record = revoke(trust, at, asked.pop("kind", "key"), asked.pop("subject", "dev"), **asked)
    return revocation_split(facts, SEEN, record, trust)


def test_split_of_a_compromise(trust):
    """Equality is compromised."""
    assert split(trust, reason="keyCompromise", compromised_since=T) == (("before",), ("at", "after"), ("undated",))


def test_split_that_keeps_nothing(trust):
    everything = ((), ("before", "at", "after"), ("undated",))
    assert split(trust, reason="keyCompromise", all_signatures=True) == everything
    assert split(trust, reason="weakKey") == everything


def test_split_of_a_retirement(trust):
    """Equality is good."""
    assert split(trust, reason="superseded", effective=T) == (("before", "at"), ("after",), ("undated",))


def test_split_of_a_digest(trust):
    found = split(trust, kind="digest", subject=DIGEST, reason="superseded", effective=T)
    assert found.before == ("before", "of another", "at")
    assert split(trust, kind="digest", subject="sha256:" + "9" * 64, reason="superseded") == ((), (), ())


def test_split_does_not_believe_a_compromised_source(trust):
    dated = fact("dated", times=(TimeClaim("tsa", "attested", T - 5, OPS),))
    asked = {"facts": [dated], "reason": "keyCompromise", "compromised_since": T}
    assert split(trust, **asked) == (("dated",), (), ())
    lying = then(trust, revoke(trust, BY, "key", "ops", reason="keyCompromise", all_signatures=True))
    assert split(lying, **asked) == ((), (), ("dated",))
    record = revoke(trust, BY, "key", "dev", reason="keyCompromise", compromised_since=T)
    assert revocation_split([dated], {}, record) == (("dated",), (), ())


def test_split_agrees_with_what_is_then_judged(trust):
    record = revoke(trust, BY._replace(at=T + DAY), "key", "dev", reason="keyCompromise", compromised_since=T)
    divided = revocation_split(FACTS, SEEN, record, trust)
    judged = standings(FACTS, DigestClosure(DIGEST), SEEN, then(trust, record), T + DAY)
    states = {s.evidence: s.state for s in judged}
    assert {states[e] for e in divided.before} == {"trusted-before-compromise"}
    assert {states[e] for e in divided.after} == {"revoked"}
    assert {states[e] for e in divided.unknown} == {"revoked-time-unknown"}
    assert states["of another"] == "trusted"


# ------------------------------------------------------------------------------------------------------- exemptions


def test_an_exemption_has_an_owner_and_thirty_days(trust):
    record = exempt(trust, BY, ExemptionScope(policy="signed"), approver="bob", ticket="T-1")
    assert (record.starts, record.expires) == (T, T + 30 * DAY)
    assert (record.owner, record.approver, record.ticket, record.note) == ("alice", "bob", "T-1", "because")
    assert exempt(trust, BY, ExemptionScope(policy="signed"), owner="payments").owner == "payments"


@pytest.mark.parametrize(
    ("scope", "more", "message"),
    [
        ({"policy": "other"}, {}, "no policy other is in force; known policies: signed"),
        ({"policy": "signed", "reasons": ("unsignd",)}, {}, "unsignd is no reason code of a violation"),
        ({"policy": "signed", "reasons": ("evidence-pending",)}, {}, "no reason code of a violation"),
        ({"digests": ("sha256:1",)}, {}, "expected a digest"),
        ({}, {}, "matches everything"),
        ({"images": ("**",)}, {}, "matches everything"),
        ({"policy": "signed"}, {"expires": T + 181 * DAY}, "lasts 181 days, at most 180"),
        ({"policy": "signed"}, {"expires": T - 1}, "expires before it starts"),
        ({"policy": "signed"}, {"starts": T + 40 * DAY, "expires": T + DAY}, "expires before it starts"),
        ({"namespaces": ("a b",)}, {}, "cannot be used"),
    ],
)
def test_an_exemption_that_is_refused(trust, scope, more, message):
    with refused(message):
        exempt(trust, BY, ExemptionScope(**scope), **more)


def test_an_exemption_says_why(trust):
    with refused("needs a reason in words"):
        exempt(trust, BY._replace(note=""), ExemptionScope(policy="signed"))


def test_an_exemption_ends_once(trust):
    record = exempt(trust, BY, ExemptionScope(policy="signed"))
    state = then(trust, record)
    ended = then(state, end_exemption(state, BY, record.id))
    with refused("no exemption that has not ended"):
        end_exemption(ended, BY, record.id)


def test_author_origin_and_reason_travel(trust):
    record: RevocationPut = revoke(trust, BY._replace(origin="file:a.yaml"), "key", "dev", reason="superseded")
    assert (record.author, record.origin, record.note, record.at) == ("alice", "file:a.yaml", "because", T)
    assert fold([record.model_copy(update={"expects": None})], trust).revocations[record.id].record.origin
