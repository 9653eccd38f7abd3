"""Attestors: whose a signature is, what each kind demands, and that two kinds never stand in for each other."""

import json
from typing import get_args

import msgspec
import pytest

from tests.helpers import openpgp
from tests.helpers.notation import AUTHORITY
from tests.helpers.pki import DAY, SECOND, T0, Ca, Tsa, pem
from tests.helpers.scene import (
    ALICE,
    BOB,
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
    crl,
    envelope_of,
    fact_of,
    gpg,
    keyless,
    keys,
    listed,
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
    serial_of,
    trust_data,
    trust_of,
)
from tests.helpers.trustdata import TrustData as Repository
from verifier.models import DigestClosure, SignatureState, Standing
from verifier.policy.attestors import Attestor
from verifier.policy.failures import CLOSENESS, code_of
from verifier.policy.signers import NOTARY_CODES, demands_due, is_signer, unmet_demand
from verifier.reasons import REASONS
from verifier.trust.revocation import WORSENING
from verifier.trust.standing import standings

ALPHA, BETA = Instance("alpha"), Instance("beta")
CORP = Ca.root("corp")
DEV = ALPHA.leaf("dev")
GPG = openpgp.Key()
STAMPS = Ca.root("stamps")
STAMPER = Tsa.under(STAMPS, "stamper", not_before=FROM, not_after=UNTIL + 900 * DAY)
REPOSITORY = Repository("registry.example.com/app")
REPOSITORY.tag("1.0", "sha256:" + "a1" * 32)

ROOTS = (
    ALPHA.root(),
    own_root(CORP),
    root("ca:corp", pem(CORP.certificate), "notation-ca"),
    root("signingAuthority:corp", pem(CORP.certificate), "notation-signing-authority"),
    root("tsa:stamps", pem(STAMPS.certificate), "notation-tsa"),
    root("distro", openpgp.armored(openpgp.primary(GPG)), "openpgp"),
    root("hub", REPOSITORY.root.keys[0].pem, "tuf-root-keys"),
    ring_key("dev", DEV),
)
IDENTITY_OF_ALICE = json.dumps({"subject": ALICE})
KINDS = {
    "keys": keys("dev"),
    "keyless": keyless("alpha"),
    "certificates": certificates("corp"),
    "notary": notary_attestor("ca:corp"),
    "authority": notary_attestor("signingAuthority:corp"),
    "openpgp": openpgp_attestor("distro"),
    "trustData": Attestor.model_validate({"trustData": {"roots": ["hub"]}}),
}
MADE = {
    "keys": bundle(DEV, keyed=True),
    "keyless": ALPHA.sign(),
    "certificates": bundle(own_leaf(CORP)),
    "notary": notary(notary_leaf(CORP)),
    "authority": notary(notary_leaf(CORP), scheme=AUTHORITY),
    "openpgp": gpg(GPG),
    "trustData": trust_data(REPOSITORY),
}
TRUST = trust_of(*ROOTS, *(policy(name=name.lower(), a=attestor) for name, attestor in KINDS.items()))


def stands(made, trust=TRUST, now=NOW, **seen) -> list[Standing]:
    return list(standings([fact_of(made, trust)], DigestClosure("sha256:" + "a1" * 32), seen, trust, now))


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_met_by_its_own_evidence_alone(kind, made):
    """One CA is in an own root and two stores, and still none of the kinds stands in for another."""
    answer = ask(TRUST, MADE[made], name=kind.lower())
    assert (answer.outcome == "valid") == (kind == made), answer.verdict.reasons
    found = [
        s
        for s in stands(MADE[made])
        if is_signer(s, KINDS[kind], TRUST.resolve_keys(TRUST.policies[kind.lower()].policy)["a"])
    ]
    assert bool(found) == (kind == made)


def test_a_key_is_never_met_by_a_certificate_nor_the_reverse():
    ids = {DEV.key_id}
    (by_key,) = stands(MADE["keys"])
    assert is_signer(by_key, keys("dev"), ids)
    assert not is_signer(msgspec.structs.replace(by_key, authority="a"), keys("dev"), {DEV.key_id, "a"})
    assert not is_signer(msgspec.structs.replace(by_key, key_id=""), keys("dev"), {""})
    (by_chain,) = stands(MADE["keyless"])
    assert is_signer(by_chain, keyless("alpha"), {by_chain.authority})
    assert not is_signer(msgspec.structs.replace(by_chain, authority=""), keyless("alpha"), {"", by_chain.key_id})
    assert not is_signer(msgspec.structs.replace(by_chain, certificate=None), keyless("alpha"), {by_chain.authority})
    assert not is_signer(
        msgspec.structs.replace(by_chain, scheme="notary.x509"), keyless("alpha"), {by_chain.authority}
    )


# ---------------------------------------------------------------------------------------------------------- demands


def outcome(made, attestor, *more, now=NOW, seen=None, roots=ROOTS):
    answer = ask(trust_of(*roots, *more, policy(a=attestor)), made, now=now, seen=seen)
    return answer.outcome, answer.codes


VALID = ("valid", ("satisfied",))
NO_LOG, LOG = (), (Logged(ALPHA.rekor),)
STAMP = (Stamped(ALPHA.tsa),)

DEMANDS = [
    ({}, {"logs": LOG}, ""),
    ({}, {"logs": LOG, "sct": False}, "sct-missing"),
    ({"sct": "optional"}, {"logs": LOG, "sct": False}, ""),
    ({}, {"logs": NO_LOG, "stamps": STAMP}, "log-entry-missing"),
    ({"log": "optional"}, {"logs": NO_LOG, "stamps": STAMP}, ""),
    ({"log": "optional"}, {"logs": NO_LOG}, "outside-certificate-window"),
    ({}, {"logs": (Logged(BETA.rekor),), "stamps": STAMP}, "log-entry-missing"),
    ({}, {"logs": LOG, "stamps": (Stamped(BETA.tsa),)}, ""),
    ({}, {"logs": (Logged(ALPHA.tiles),), "stamps": STAMP}, ""),
    ({}, {"logs": (Logged(ALPHA.tiles),)}, "outside-certificate-window"),
    ({}, {"logs": (Logged(ALPHA.rekor, promised=False),), "stamps": STAMP}, ""),
]


@pytest.mark.parametrize(("options", "made", "code"), DEMANDS)
def test_what_keyless_demands(options, made, code):
    demanding = Attestor.model_validate({"keyless": {"roots": ["alpha"], "identities": _IDENTITY} | options})
    assert outcome(ALPHA.sign(**made), demanding) == (("violates", (code,)) if code else VALID)


_IDENTITY = [{"issuer": "https://idp.example", "subject": ALICE}]


@pytest.mark.parametrize(
    ("options", "made", "code"),
    [
        ({"timestamp": "required"}, {}, "time-unproven"),
        ({"timestamp": "required"}, {"stamps": STAMP}, ""),
        ({"log": "required"}, {}, "log-entry-missing"),
        ({"log": "required"}, {"logs": LOG}, ""),
        ({"sct": "required"}, {}, "sct-missing"),
    ],
)
def test_what_certificates_may_demand(options, made, code):
    demanding = Attestor.model_validate(
        {"certificates": {"roots": ["corp"], "identities": [{"subject": "build@example.com"}]} | options}
    )
    assert outcome(bundle(own_leaf(CORP), **made), demanding) == (("violates", (code,)) if code else VALID)


def test_fingerprints_and_anyone():
    leaf, other = own_leaf(CORP), own_leaf(CORP, "other@example.com")
    (stand,) = stands(bundle(leaf))
    assert stand.certificate is not None
    only = Attestor.model_validate({"certificates": {"roots": ["corp"], "fingerprints": [stand.certificate.sha256]}})
    anyone = Attestor.model_validate({"certificates": {"roots": ["corp"], "anyone": True}})
    assert outcome(bundle(leaf), only) == VALID
    assert outcome(bundle(other), only) == ("violates", ("wrong-signer",))
    assert outcome(bundle(other), anyone) == VALID
    assert outcome(ALPHA.sign(), anyone) == ("violates", ("wrong-signer",))


def test_a_key_that_has_to_be_logged():
    assert outcome(bundle(DEV, keyed=True), keys("dev", log="required")) == ("violates", ("log-entry-missing",))
    assert outcome(bundle(DEV, keyed=True, logs=LOG), keys("dev", log="required")) == VALID
    lost = revoked("log", ALPHA.rekor.id)
    assert outcome(bundle(DEV, keyed=True, logs=LOG), keys("dev", log="required"), lost) == (
        "violates",
        ("source-revoked",),
    )
    assert outcome(bundle(DEV, keyed=True, logs=LOG), keys("dev"), lost) == VALID


def test_delegations():
    wanted = Attestor.model_validate({"trustData": {"roots": ["hub"], "delegations": ["targets/releases"]}})
    assert outcome(MADE["trustData"], wanted) == ("violates", ("delegation-missing",))
    named = Attestor.model_validate({"trustData": {"roots": ["hub"], "delegations": ["targets"]}})
    assert outcome(MADE["trustData"], named) == VALID


@pytest.mark.parametrize(
    ("spelling", "good"), [("lower", True), ("upper", True), ("spaced", True), ("other", False), ("key id", True)]
)
def test_openpgp_fingerprints(spelling, good):
    text = GPG.fingerprint.hex()
    (authority,) = TRUST.anchors.resolve("distro", "openpgp")
    key = TRUST.anchors.material.authorities[authority].key
    assert key is not None
    wanted = {
        "lower": text,
        "upper": text.upper(),
        "spaced": " ".join(text[i : i + 4] for i in range(0, 40, 4)),
        "other": "0" * 40,
        "key id": key.key_id,
    }[spelling]
    found = outcome(MADE["openpgp"], openpgp_attestor("distro", fingerprints=[wanted]))
    assert found == (VALID if good else ("violates", ("wrong-signer",)))


# ----------------------------------------------------------------------------------------------------------- notary

LEAF = notary_leaf(CORP)
END = T0 + 180 * DAY


def stamped(at=SIGNED, leaf=LEAF, **more):
    return notary(leaf, stamp=lambda signature: STAMPER.token(signature, at, accuracy=b""), **more)


NOTARY = [
    ("no token, valid now", notary(LEAF), {}, NOW, ""),
    ("no token, at its last microsecond", notary(LEAF), {}, END, ""),
    ("no token, over", notary(LEAF), {}, END + 1, "outside-certificate-window"),
    ("token, over", stamped(), {"tsa": True}, END + DAY, ""),
    ("token, but the policy names no tsa store", stamped(), {}, END + DAY, "outside-certificate-window"),
    ("always demands a token", notary(LEAF), {"tsa": True}, NOW, "outside-certificate-window"),
    ("afterCertExpiry demands none before", notary(LEAF), {"tsa": True, "verifyTimestamp": "afterCertExpiry"}, NOW, ""),
    (
        "afterCertExpiry demands one after",
        notary(LEAF),
        {"tsa": True, "verifyTimestamp": "afterCertExpiry"},
        END + 1,
        "outside-certificate-window",
    ),
    ("token at the end", stamped(END), {"tsa": True}, END + DAY, ""),
    ("token after the end", stamped(END + SECOND), {"tsa": True}, END + DAY, "outside-certificate-window"),
    ("only logged", notary(LEAF), {"override": {"authenticTimestamp": "log"}}, END + 1, ""),
    ("expiry", notary(LEAF, expiry=NOW), {}, NOW - 1, ""),
    ("expiry is exclusive", notary(LEAF, expiry=NOW), {}, NOW, "signature-expired"),
    ("expiry only logged", notary(LEAF, expiry=NOW), {"level": "permissive"}, NOW, ""),
    ("subject", notary(LEAF), {"identities": ["x509.subject: C=US, ST=WA, O=Example"]}, NOW, ""),
    ("another subject", notary(LEAF), {"identities": ["x509.subject: C=US, ST=WA, O=Other"]}, NOW, "wrong-signer"),
    ("cose", notary(LEAF, "cose"), {}, NOW, ""),
]


def noting(tsa: bool = False, identities=("*",), **options) -> Attestor:
    return notary_attestor("ca:corp", *(("tsa:stamps",) if tsa else ()), identities=identities, **options)


@pytest.mark.parametrize(
    ("made", "options", "now", "code"), [row[1:] for row in NOTARY], ids=[row[0] for row in NOTARY]
)
def test_notary(made, options, now, code):
    assert outcome(made, noting(**options), now=now) == (("violates", (code,)) if code else VALID)


@pytest.mark.parametrize(
    ("made", "options", "due"),
    [
        (notary(LEAF), {}, END + 1),
        (notary(LEAF, expiry=NOW + DAY), {}, NOW + DAY),
        (stamped(), {"tsa": True}, None),
        (stamped(expiry=NOW + DAY), {"tsa": True}, NOW + DAY),
    ],
)
def test_a_valid_notary_verdict_says_until_when(made, options, due):
    """A signature that is good today and expires tomorrow must not stay good because nobody asks again."""
    trust = trust_of(*ROOTS, policy(a=noting(**options)))
    answer = ask(trust, made)
    assert (answer.outcome, answer.valid_until) == ("valid", due)
    if due is not None:
        assert ask(trust, made, now=due - 1).outcome == "valid"
        assert ask(trust, made, now=due).outcome == "violates"


GONE = serial_of(LEAF.certificate)
STATUS = [
    ("nothing said", (), "specification", stamped(), ""),
    ("revoked", ((GONE, "keyCompromise", None),), "specification", stamped(), "certificate-revoked"),
    ("stamped before", ((GONE, "keyCompromise", SIGNED + SECOND),), "specification", stamped(), ""),
    ("stamped at", ((GONE, "keyCompromise", SIGNED),), "specification", stamped(), "certificate-revoked"),
    (
        "notation ignores the stamp",
        ((GONE, "keyCompromise", SIGNED + SECOND),),
        "notation",
        stamped(),
        "certificate-revoked",
    ),
]


@pytest.mark.parametrize(
    ("entries", "mode", "made", "code"), [row[1:] for row in STATUS], ids=[row[0] for row in STATUS]
)
def test_lists_under_both_modes(entries, mode, made, code):
    found = outcome(made, noting(tsa=True, revocationMode=mode), listed(CORP, crl(CORP, *entries)))
    assert found == (("violates", (code,)) if code else VALID)


@pytest.mark.parametrize("mode", ["specification", "notation"])
@pytest.mark.parametrize(("since", "good"), [(SIGNED, False), (SIGNED + SECOND, True)])
def test_a_signing_authority_has_its_time_in_both_modes(mode, since, good):
    attestor = notary_attestor("signingAuthority:corp", revocationMode=mode)
    data = listed(CORP, crl(CORP, (GONE, "keyCompromise", since)))
    found = outcome(notary(LEAF, scheme=AUTHORITY), attestor, data)
    assert found == (VALID if good else ("violates", ("certificate-revoked",)))


def test_due_of_what_is_judged_elsewhere():
    (chain,) = stands(MADE["keyless"])
    assert demands_due(chain, keyless("alpha"), {chain.authority}, NOW) is None
    assert unmet_demand(chain, keyless("alpha"), {chain.authority}, NOW) is None


# ----------------------------------------------------------------------------------------------------- counting people


def two_of(**attestors):
    tree = {"atLeast": {"count": 2, "of": [{"signedBy": name} for name in attestors]}}
    return trust_of(*ROOTS, policy(tree, **attestors))


def test_at_least_counts_identities_and_not_keys():
    wild = Attestor.model_validate(
        {"keyless": {"roots": ["alpha"], "identities": [{"issuer": "https://idp.example", "subjectPattern": "*"}]}}
    )
    trust = two_of(one=wild, two=wild)
    assert ask(trust, ALPHA.sign(key="k1"), ALPHA.sign(key="k2"), ALPHA.sign(key="k3")).outcome == "violates"
    assert ask(trust, ALPHA.sign(key="k1"), ALPHA.sign(BOB, key="k4")).outcome == "valid"
    assert ask(trust, ALPHA.sign(key="same"), ALPHA.sign(BOB, key="same")).outcome == "violates", "one key, two names"
    assert ask(two_of(dev=keys("dev"), a=keyless("alpha")), MADE["keys"], MADE["keyless"]).outcome == "valid"


def test_at_least_ties_names_together_through_keys_in_between():
    """Alice and Bob hold one key, Bob and Carol another: one signer."""
    wild = Attestor.model_validate(
        {"keyless": {"roots": ["alpha"], "identities": [{"issuer": "https://idp.example", "subjectPattern": "*"}]}}
    )
    made = [
        ALPHA.sign(ALICE, key="x"),
        ALPHA.sign(BOB, key="x"),
        ALPHA.sign(BOB, key="y"),
        ALPHA.sign("https://c.example/c", key="y"),
    ]
    assert ask(two_of(one=wild, two=wild), *made).outcome == "violates"
    assert ask(two_of(one=wild, two=wild), made[0], made[3]).outcome == "valid"


# ---------------------------------------------------------------------------------------------------- every kind fails


def attested(*more, attestor=None, made=None, now=NOW, rule=None):
    leaf = {"attestedBy": "a", "predicateType": VSA} | ({"rule": rule} if rule else {})
    evidence = ALPHA.sign(predicate_type=VSA) if made is None else made
    return ask(
        trust_of(*ROOTS, *more, policy(leaf, a=attestor or keyless("alpha"))),
        *evidence if isinstance(evidence, tuple) else (evidence,),
        now=now,
    )


FAILURES = [
    ({}, "satisfied"),
    ({"made": ()}, "attestation-missing"),
    ({"made": ALPHA.sign()}, "attestation-missing"),
    ({"made": ALPHA.sign(predicate_type=VSA + "x")}, "attestation-missing"),
    ({"made": ALPHA.sign(BOB, predicate_type=VSA)}, "attestation-missing"),
    (
        {"made": ALPHA.sign(predicate_type=VSA, digest="sha256:" + "0b" * 32, at="sha256:" + "a1" * 32)},
        "subject-mismatch",
    ),
    ({"made": ALPHA.sign(predicate_type=VSA, sct=False)}, "sct-missing"),
    ({"made": ALPHA.sign(predicate_type=VSA, logs=(), stamps=STAMP)}, "log-entry-missing"),
    ({"made": ALPHA.sign(predicate_type=VSA, logs=())}, "outside-certificate-window"),
    ({"made": ALPHA.sign(predicate_type=VSA, entries=[])}, "outside-certificate-window"),
    (
        {"made": envelope_of([DEV], predicate_type=VSA), "attestor": keys("dev", validUntil="2025-06-01T00:00:00Z")},
        "outside-key-window",
    ),
    (
        {
            "attestor": Attestor.model_validate(
                {"keyless": {"roots": ["alpha"], "identities": _IDENTITY}, "repositoryClaim": True}
            )
        },
        "repository-mismatch",
    ),
]


@pytest.mark.parametrize(("case", "code"), FAILURES, ids=[code for _, code in FAILURES])
def test_why_an_attestation_does_not_count(case, code):
    answer = attested(**case)
    assert answer.codes == (code,)
    assert "{" not in answer.verdict.reasons[0].message


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (revoked("key", ALPHA.leaf().key_id), "key-revoked"),
        (revoked("identity", IDENTITY_OF_ALICE), "identity-revoked"),
        (revoked("ca", ALPHA.ca.key_id), "identity-revoked"),
        (revoked("log", ALPHA.rekor.id), "source-revoked"),
        (revoked("log", ALPHA.ct.id), "source-revoked"),
        (revoked("evidence", ALPHA.sign(predicate_type=VSA).id), "evidence-revoked"),
        (revoked("digest", "sha256:" + "a1" * 32), "digest-denied"),
        (revoked("key", ALPHA.leaf().key_id, "certificateHold"), "key-suspended"),
        (revoked("identity", IDENTITY_OF_ALICE, "certificateHold"), "key-suspended"),
    ],
)
def test_revoked_attestations(record, code):
    answer = attested(record)
    assert (answer.outcome, answer.codes) == ("violates", (code,))
    assert "{" not in answer.verdict.reasons[0].message


def test_every_state_and_every_validation_has_a_reason_and_a_place():
    base = stands(MADE["keyless"])[0]
    for state in get_args(SignatureState):
        if state in {"trusted", "trusted-before-compromise", "trusted-before-retirement", "invalid"}:
            continue
        for authority in ("", "a"):
            code = code_of(msgspec.structs.replace(base, state=state, authority=authority))
            assert code in CLOSENESS
            assert code in REASONS
    assert set(NOTARY_CODES.values()) <= set(CLOSENESS)
    assert set(WORSENING) <= set(get_args(SignatureState))
