"""Which trust changes loosen: a row per kind of record, and what each row says of real changes."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from tests.helpers.pki import Ca
from tests.helpers.pki import pem as pem_of
from tests.helpers.trustadmins import T, key_put, pem
from verifier.evidence.keys import load_public_key
from verifier.policy.attestors import Attestor
from verifier.policy.model import MatchRule, Policy, Requirement
from verifier.times import DAY
from verifier.trust.loosening import LOOSENING, loosens
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
    RootPut,
    RootRemoved,
    StatusListPut,
    TrustRecord,
)
from verifier.trust.state import TrustState, fold

KINDS = {model.model_fields["kind"].default for model in get_args(get_args(TrustRecord)[0])}
BY: Any = {"author": "alice", "at": T}
KEY = key_put(1)
CORP, OTHER = Ca.root("corp"), Ca.root("other")
BASE: Any = {
    "id": "signed",
    "mode": "audit",
    "match": (MatchRule(images=("**",)),),
    "attestors": {"dev": Attestor(keys=("key-1",))},
    "require": Requirement(signed_by="dev"),
}


def policy(**members: object) -> PolicyPut:
    return PolicyPut(policy=Policy(**{**BASE, **members}), **BY)


def window(start: int | None, end: int | None, name: str = "key-1") -> KeyPut:
    return KEY.model_copy(update={"valid_from": start, "valid_until": end, "owner": "them", "name": name})


def root(*authorities: Ca, name: str = "corp-ca") -> RootPut:
    return RootPut(
        name=name, format="certificates", content="".join(pem_of(ca.certificate) for ca in authorities), **BY
    )


def cluster(name: str = "prod-1", feeds: Any = ("audit", "pods"), **labels: str) -> ClusterPut:
    return ClusterPut(cluster_id="c1", name=name, labels=labels, feeds=feeds, **BY)


REVOKED = RevocationPut(
    id="r1", subject_kind="key", subject=KEY.key_id, reason="keyCompromise", effective=T, compromised_since=T, **BY
)
WITHDRAWN = RevocationWithdrawn(revocation_id="r1", **BY)
EXEMPT = ExemptionPut(id="x1", policy="signed", starts=T, expires=T + DAY, **BY)
OPS = Attestor(keys=("key-2",))
BOTH = Requirement(all=(Requirement(signed_by="dev"), Requirement(signed_by="ops")))
EITHER = Requirement(any=(Requirement(signed_by="dev"), Requirement(signed_by="ops")))
TWO = {"dev": BASE["attestors"]["dev"], "ops": OPS}

Means = Literal["loosens", "does not"]

CASES: list[tuple[str, list[TrustRecord], TrustRecord, Means]] = [
    ("a new policy asks for more", [], policy(), "does not"),
    ("a stronger mode", [policy()], policy(mode="enforce"), "does not"),
    ("a weaker mode", [policy(mode="enforce")], policy(), "loosens"),
    ("a mode that only tries", [policy()], policy(mode="trial"), "loosens"),
    ("the same policy again", [policy()], policy(), "does not"),
    ("another description", [policy()], policy(description="words"), "does not"),
    ("one more match rule", [policy()], policy(match=(*BASE["match"], MatchRule(namespaces=("a",)))), "does not"),
    ("another match rule", [policy()], policy(match=(MatchRule(namespaces=("a",)),)), "loosens"),
    ("an exclusion", [policy()], policy(exclude=(MatchRule(namespaces=("a",)),)), "loosens"),
    ("an exclusion less", [policy(exclude=(MatchRule(namespaces=("a",)),))], policy(), "does not"),
    ("a second signer as well", [policy()], policy(attestors=TWO, require=BOTH), "does not"),
    ("a second signer instead", [policy()], policy(attestors=TWO, require=EITHER), "loosens"),
    ("one of two signers less", [policy(attestors=TWO, require=BOTH)], policy(), "loosens"),
    ("another key for the signer", [policy()], policy(attestors={"dev": OPS}), "loosens"),
    ("soft revocations no longer denied", [policy(soft_unproven="deny")], policy(soft_unproven="allow"), "loosens"),
    ("a policy taken away", [policy()], PolicyRemoved(policy_id="signed", **BY), "loosens"),
    ("no policy taken away", [], PolicyRemoved(policy_id="signed", **BY), "does not"),
    ("a new key", [], KEY, "loosens"),
    ("the same key again", [KEY], KEY, "does not"),
    ("another owner", [KEY], window(None, None), "does not"),
    ("a narrower window", [KEY], window(T, T + DAY), "does not"),
    ("a later end", [window(T, T + DAY)], window(T, T + 2 * DAY), "loosens"),
    ("an earlier beginning", [window(T, T + DAY)], window(T - 1, T + DAY), "loosens"),
    ("no end any more", [window(T, T + DAY)], window(T, None), "loosens"),
    ("a window that moves", [window(T, T + DAY)], window(T + 1, T + DAY + 1), "loosens"),
    ("a key that had been taken out", [KEY, KeyRemoved(key_id=KEY.key_id, **BY)], KEY, "loosens"),
    ("a key taken out", [KEY], KeyRemoved(key_id=KEY.key_id, **BY), "does not"),
    ("a key under a name that is taken", [KEY], key_put(2).model_copy(update={"name": "key-1"}), "does not"),
    ("a revocation", [KEY], REVOKED, "does not"),
    ("a revocation withdrawn", [KEY, REVOKED], WITHDRAWN, "loosens"),
    ("a revocation withdrawn twice", [KEY, REVOKED, WITHDRAWN], WITHDRAWN, "does not"),
    ("an exemption", [policy()], EXEMPT, "loosens"),
    ("an exemption ended", [policy(), EXEMPT], ExemptionEnded(exemption_id="x1", **BY), "does not"),
    ("a root", [], root(CORP), "loosens"),
    ("a root with one authority more", [root(CORP)], root(CORP, OTHER), "loosens"),
    ("a root with one authority less", [root(CORP, OTHER)], root(OTHER), "does not"),
    ("a root with another authority", [root(CORP)], root(OTHER), "loosens"),
    ("a root taken away", [root(CORP)], RootRemoved(name="corp-ca", **BY), "does not"),
    ("a cluster", [], cluster(env="prod"), "does not"),
    (
        "a cluster where a policy leaves some out by label",
        [policy(exclude=(MatchRule(cluster_labels={"env": "dev"}),))],
        cluster(env="dev"),
        "loosens",
    ),
    (
        "a cluster where an exemption covers some by name",
        [EXEMPT.model_copy(update={"clusters": ("dev-*",)})],
        cluster(),
        "loosens",
    ),
    ("a cluster by another name", [cluster()], cluster("dev-1"), "loosens"),
    ("a cluster with another label", [cluster(env="prod")], cluster(env="dev"), "loosens"),
    ("a cluster with a feed less", [cluster()], cluster(feeds=("pods",)), "loosens"),
    ("a cluster is retired", [cluster()], ClusterRetired(cluster_id="c1", **BY), "loosens"),
    ("a retired cluster is retired", [], ClusterRetired(cluster_id="c9", **BY), "does not"),
    ("a cluster with a feed more", [cluster(feeds=("pods",))], cluster(), "does not"),
]


def test_every_kind_has_a_row_with_a_reason():
    assert set(LOOSENING) == KINDS, "verifier/trust/loosening.py: LOOSENING"
    assert all(row.why.endswith(".") for row in LOOSENING.values())


@pytest.mark.parametrize(("before", "record", "means"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_loosening(before, record, means):
    state = fold(before)
    after, _ = state.apply(record, state.epoch + 1)
    assert bool(loosens(state, after, record)) == (means == "loosens"), loosens(state, after, record)


def test_every_kind_is_tried_but_the_lists_of_authorities():
    assert KINDS - {record.kind for _, _, record, _ in CASES} == {"key-rotated", "status-list-put"}  # below


def test_a_rotated_key_is_another_one_that_may_sign():
    state = fold([KEY])
    new = load_public_key(pem(2)).key_id
    record = KeyRotated(name="key-1", old_key_id=KEY.key_id, new_key_id=new, new_pem=pem(2), effective=T, **BY)
    assert loosens(state, state.apply(record, 2)[0], record)


HELD, STOLEN = (5, "certificateHold", 0), (5, "keyCompromise", 0)


@pytest.mark.parametrize(
    ("first", "then", "means"),
    [
        ([], [STOLEN], "does not"),
        ([STOLEN], [STOLEN, (6, "superseded", 0)], "does not"),
        ([STOLEN, (6, "superseded", 0)], [STOLEN], "loosens"),
        ([STOLEN], [], "loosens"),
        ([STOLEN], [(5, "superseded", 0)], "loosens"),
        ([STOLEN], [(5, "keyCompromise", 1)], "loosens"),
        ([(5, "keyCompromise", 1)], [STOLEN], "does not"),
        ([HELD], [STOLEN], "does not"),
        ([HELD], [], "loosens"),
        ([STOLEN], [HELD], "loosens"),
    ],
)
def test_a_newer_list_loosens_when_it_takes_something_back(first, then, means):
    state = before = fold([root(CORP)])
    for number, revoked in enumerate((first, then)):
        content = base64.b64encode(crl(number, *revoked)).decode()
        record = StatusListPut(issuer=CORP.key_id, content=content, **BY)
        before, (state, applied) = state, state.apply(record, state.epoch + 1)
        assert applied.applied, applied
    assert bool(loosens(before, state, record)) == (means == "loosens"), loosens(before, state, record)


def crl(number: int, *revoked: tuple[int, str, int]) -> bytes:
    """The `number`-th list of (serial, reason, days until it was revoked)."""
    name = x509.load_der_x509_certificate(CORP.certificate).subject
    start = datetime(2026, 2, 1, tzinfo=UTC)
    made = x509.CertificateRevocationListBuilder(name, start + timedelta(number), start + timedelta(60))
    for serial, reason, days in revoked:
        entry = x509.RevokedCertificateBuilder(serial, start + timedelta(days - 10))
        said = x509.CRLReason(x509.ReasonFlags(reason))
        made = made.add_revoked_certificate(entry.add_extension(said, critical=False).build())
    return made.sign(CORP.key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_a_record_for_another_epoch_loosens_nothing():
    stale = KEY.model_copy(update={"expects": 7})
    state = TrustState.empty()
    assert loosens(state, state.apply(stale, 1)[0], stale) == ""
