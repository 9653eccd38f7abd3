"""Which evidence a revocation is about; and who may be named as one."""

import json

import pytest

from tests.helpers.pki import DAY, T0, Ca
from tests.helpers.rekor import MemoryLog
from tests.helpers.scene import (
    ALICE,
    BOB,
    ISSUER,
    NOW,
    SIGNED,
    Instance,
    Logged,
    Stamped,
    bundle,
    fact_of,
    own_leaf,
    own_root,
    revoked,
    ring_key,
    root,
    trust_of,
)
from verifier.errors import TrustError
from verifier.policy.identity import Identity
from verifier.trust.changes import By, revocation_split, revoke
from verifier.trust.hits import builders, check_commit, commits, hits, identity_of, identity_subject, matching
from verifier.trust.records import RevocationPut
from verifier.trust.state import TrustState

ALPHA = Instance("alpha")
CORP = Ca.root("corp")
DEV = ALPHA.leaf("dev")
TRUST = trust_of(ALPHA.root(), own_root(CORP), ring_key("dev", DEV))
CERTIFIED = fact_of(
    ALPHA.sign(key="built", extensions={9: "https://ci.example/b", 13: "c" * 40}, stamps=(Stamped(ALPHA.tsa),)), TRUST
)
KEYED = fact_of(bundle(DEV, keyed=True, logs=(Logged(ALPHA.rekor),)), TRUST)
STRANGER = fact_of(Instance("beta").sign(), TRUST)
(CA,) = TRUST.anchors.resolve("alpha", "signing")
(TSA,) = TRUST.anchors.resolve("alpha", "timestamping")

ROWS = [
    ("key", ALPHA.leaf(key="built").key_id, {"certified"}),
    ("key", DEV.key_id, {"keyed"}),
    ("identity", json.dumps({"subject": ALICE}), {"certified"}),
    ("identity", json.dumps({"subject": ALICE, "issuer": "https://else.example"}), set()),
    ("identity", json.dumps({"extensions": {"sourceRepositoryDigest": "c*"}}), {"certified"}),
    ("ca", CA, {"certified"}),
    ("ca", ALPHA.ca.key_id, {"certified"}),
    ("ca", ALPHA.anchor.key_id, {"certified"}),
    ("ca", TSA, {"certified"}),
    ("ca", ALPHA.tsa.leaf.key_id, {"certified"}),
    ("builder", "https://ci.example/b", {"certified"}),
    ("builder", "https://ci.example/", set()),
    ("commit", "c" * 40, {"certified"}),
    ("log", ALPHA.rekor.id, {"certified", "keyed"}),
    ("log", ALPHA.ct.id, {"certified"}),
    ("log", ALPHA.tiles.id, set()),
    ("digest", CERTIFIED.subject, {"certified", "keyed", "stranger"}),
    ("evidence", KEYED.evidence_id, {"keyed"}),
]


@pytest.mark.parametrize(
    ("kind", "subject", "expected"), ROWS, ids=lambda v: str(sorted(v) if isinstance(v, set) else v)[:24]
)
def test_what_a_record_is_about(kind, subject, expected):
    facts = {"certified": CERTIFIED, "keyed": KEYED, "stranger": STRANGER}
    record = revoked(kind, subject)
    assert {name for name, fact in facts.items() if hits(record, fact)} == expected
    index = {subject: (record,), "other": ()}
    assert {name for name, fact in facts.items() if list(matching(index, fact))} == expected


def test_a_certificate_that_leads_nowhere_is_nobodys():
    assert STRANGER.certificate is not None
    assert STRANGER.certificate.sans == (ALICE,)
    assert not hits(revoked("identity", json.dumps({"subject": ALICE})), STRANGER)
    assert not hits(revoked("key", STRANGER.certificate.key_id), STRANGER)


def test_names_in_a_certificate():
    assert builders(CERTIFIED) == ("https://ci.example/b",)
    assert commits(CERTIFIED) == ("c" * 40,)
    assert (builders(KEYED), commits(KEYED)) == ((), ())


def test_an_identity_has_one_spelling():
    one = Identity.model_validate({"subject": ALICE, "issuer": ISSUER})
    assert identity_subject(one) == identity_subject(identity_of(json.dumps({"issuer": ISSUER, "subject": ALICE})))
    assert identity_of(identity_subject(one)) == one


@pytest.mark.parametrize("text", ["c" * 39, "c" * 41, "C" * 40, "g" * 40, "", "c" * 40 + "\n"])
def test_a_commit_is_hexadecimal(text):
    with pytest.raises(ValueError, match="40 or 64"):
        check_commit(text)
    assert check_commit("a" * 64) == "a" * 64


# ------------------------------------------------------------------------------------------------------ naming subjects

BY = By("alice", T0 + DAY)


def subject(kind, text, trust: TrustState = TRUST) -> str:
    return revoke(trust, BY, kind, text, reason="unspecified", all_signatures=True).subject


def test_a_ca_by_id_by_key_by_beginning_and_by_label():
    named = trust_of(root("corp", own_root(CORP).content, "certificates"))
    (authority,) = named.anchors.resolve("corp", "signing")
    for text in (authority, authority[:8], authority.upper()[:12], "CN=corp,O=test", "cn=corp,o=test"):
        assert subject("ca", text, named) == authority
    assert subject("ca", CORP.key_id, named) == CORP.key_id
    assert subject("ca", ALPHA.anchor.key_id) == ALPHA.anchor.key_id


def test_a_label_of_two_authorities_names_neither():
    """Old and new CA of one instance share a URI: to revoke the first that is found would spare the one in use."""
    other = Instance("alpha2")
    document = json.loads(ALPHA.document())
    more = json.loads(other.document())["certificateAuthorities"]
    document["certificateAuthorities"] = [
        {"uri": "https://ca.example"} | part for part in (*document["certificateAuthorities"], *more)
    ]
    trust = trust_of(root("both", json.dumps(document)))
    with pytest.raises(TrustError, match="may mean 2 of them"):
        subject("ca", "https://ca.example", trust)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("ca", "nobody", "no ca nobody in the trust roots"),
        ("log", "0123456789", "no log"),
        ("identity", "alice", "identity to revoke"),
        ("identity", "{}", "is anyone"),
        ("identity", '{"subject": "a", "unknown": 1}', "identity to revoke"),
        ("identity", '{"subjectRegExp": "("}', "identity to revoke"),
        ("commit", "abc", "40 or 64"),
        ("builder", "", "no id|nothing is named"),
        ("key", "a" * 63, "no key"),
    ],
)
def test_a_subject_that_is_none_is_refused(kind, text, message):
    with pytest.raises(TrustError, match=message):
        subject(kind, text)


def test_the_key_of_a_certificate_can_be_revoked_though_no_ring_has_it():
    key_id = own_leaf(CORP).key_id
    assert subject("key", key_id) == key_id


def test_a_log_by_its_host():
    assert subject("log", ALPHA.rekor.host) == ALPHA.rekor.id
    assert subject("log", ALPHA.rekor.id[:10]) == ALPHA.rekor.id


@pytest.mark.parametrize("text", ["{}", "alice", '{"subject": ', '{"subjectRegExp": "("}', "[" * 10_000])
def test_a_record_with_an_unreadable_identity_never_takes_effect(text):
    """It would end every verdict that has to ask whom the record is about."""
    record = revoked("identity", text)
    state, applied = TRUST.apply(record, TRUST.epoch + 1)
    assert (applied.applied, applied.code) == (False, "refused")
    assert state.revocations == TRUST.revocations


# ------------------------------------------------------------------------------------------------------------ the split


def split(record: RevocationPut, *facts, seen=None, trust=TRUST):
    return revocation_split(facts, seen or {}, record, trust)


def test_the_split_of_a_ca_that_dates_others():
    stamped = fact_of(bundle(DEV, keyed=True, stamps=(Stamped(ALPHA.tsa),)), TRUST)
    record = revoked("ca", ALPHA.tsa_ca.key_id, compromised_since=NOW)
    assert split(record, stamped).before == (stamped.evidence_id,)
    assert split(record, KEYED) == ((), (), ())


def test_the_split_of_a_log_is_by_its_order():
    log = MemoryLog(ALPHA.rekor.host, offset=10)
    early = fact_of(bundle(DEV, keyed=True, logs=(Logged(log, SIGNED + DAY),)), TRUST)
    late = fact_of(bundle(DEV, keyed=True, logs=(Logged(log, SIGNED), Logged(log, SIGNED - DAY))), TRUST)
    index = early.logs[0].index
    found = split(revoked("log", log.id, last_good_index=index, effective=NOW + DAY), early, late)
    assert found == ((early.evidence_id,), (late.evidence_id,), ())


def test_the_split_without_trust_takes_every_verified_time():
    record = revoked("key", DEV.key_id, compromised_since=SIGNED + 1)
    assert revocation_split([KEYED], {}, record).before == (KEYED.evidence_id,)
    assert revocation_split([KEYED], {KEYED.evidence_id: 5}, record).before == (KEYED.evidence_id,)
    assert revocation_split([STRANGER, CERTIFIED], {}, record) == ((), (), ())
    assert BOB != ALICE
