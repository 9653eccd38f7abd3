"""Chains: to an authority and nothing else, by the rules of Fulcio and by those of the Notary Project."""

import hashlib
from typing import Any

import pytest

from tests.helpers import pki
from tests.helpers.pki import CODE_SIGNING, DAY, MINUTE, T0, TIMESTAMPING, Ca, oid, sequence
from verifier.evidence import certificates as certificates_module
from verifier.evidence.limits import CERTIFICATES
from verifier.evidence.material import Authority
from verifier.evidence.schemes import verify_signed
from verifier.evidence.x509 import CHAIN_SIGNATURES, chain_to, find_chains, load_certificate
from verifier.models import ChainClaim

ROOT = Ca.root("root")
ISSUING = ROOT.intermediate("issuing", eku=CODE_SIGNING, path_length=0)
LEAF = ISSUING.leaf(sans=["https://ci.example/w@main"], issuer="https://idp.example", extensions={11: "hosted"})


def authority(*certificates: bytes, name: str = "a", use="signing") -> Authority:
    return Authority(name, use, certificates)


AUTHORITY = authority(*ISSUING.chain)


def chain(leaf, known=AUTHORITY, given=(), profile="code-signing") -> ChainClaim | str:
    return chain_to(load_certificate(leaf.certificate), [load_certificate(der) for der in given], known, profile)


def counted(monkeypatch) -> list[int]:
    """One item for each signature that is checked from now on."""
    checked: list[int] = []

    def counting(*args) -> bool:
        checked.append(1)
        return verify_signed(*args)

    monkeypatch.setattr(certificates_module, "verify_signed", counting)
    return checked


# -------------------------------------------------------------------------------------------------------------- chains


def test_a_chain_says_what_windows_and_revocation_need():
    claim = chain(LEAF)
    issuing, root = map(load_certificate, ISSUING.chain)
    leaf = load_certificate(LEAF.certificate)
    assert claim == ChainClaim(
        authority="a",
        valid_from=T0,
        valid_until=T0 + 10 * MINUTE,
        key_ids=(ISSUING.key_id, ROOT.key_id),
        serials=(f"{issuing.key_id}:{leaf.serial}", f"{root.key_id}:{issuing.serial}"),
    )


@pytest.mark.parametrize("key_type", ["p256", "p384", "p521", "ed25519", "rsa2048", "rsa3072"])
def test_authorities_of_every_key_type(key_type):
    root = Ca.root("r", key_type)
    leaf = root.leaf(key_type=key_type)
    assert isinstance(chain(leaf, authority(*root.chain)), ChainClaim)
    assert chain(leaf, authority(*Ca.root("r", "p256" if key_type != "p256" else "p384").chain)) != ""


@pytest.mark.parametrize("hash_name", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("pss", [False, True])
def test_rsa_signatures_in_both_schemes(hash_name, pss):
    root = Ca.root("r", "rsa2048")
    leaf = root.leaf(hash_name=hash_name, pss=pss)
    assert load_certificate(leaf.certificate).scheme == (
        "pss" if pss else "rsa",
        hash_name,
        hashlib.new(hash_name).digest_size if pss else 0,
    )
    assert isinstance(chain(leaf, authority(*root.chain)), ChainClaim)


def test_the_intersection_counts_every_certificate_up_to_the_anchor():
    root = Ca.root("r", not_before=T0 + 2 * MINUTE, not_after=T0 + 100 * DAY)
    ca = root.intermediate("i", not_before=T0 + MINUTE, not_after=T0 + 7 * MINUTE)
    claim = chain(ca.leaf(), authority(*ca.chain))
    assert isinstance(claim, ChainClaim)
    assert (claim.valid_from, claim.valid_until) == (T0 + 2 * MINUTE, T0 + 7 * MINUTE)


def test_given_certificates_help_on_the_way():
    only_root = authority(ROOT.certificate)
    assert isinstance(chain(LEAF, only_root), str)
    assert isinstance(chain(LEAF, only_root, ISSUING.chain[:1]), ChainClaim)
    assert isinstance(chain(LEAF, only_root, ISSUING.chain), ChainClaim)  # the root among them is ignored


def test_an_anchor_need_not_be_a_root():
    claim = chain(LEAF, authority(ISSUING.certificate))
    assert isinstance(claim, ChainClaim)
    assert claim.key_ids == (ISSUING.key_id,)
    assert len(claim.serials) == 1


def test_attack_a_root_that_comes_with_the_evidence_is_no_anchor():
    evil = Ca.root("evil").intermediate("issuing", "p384")
    assert (
        chain(evil.leaf(), AUTHORITY, evil.chain)
        == "the signature of 'CN=issuing,O=test' on the certificate is not good"
    )
    assert "no certificate" in str(chain(evil.leaf(), authority(ROOT.certificate), evil.chain))


def test_attack_a_root_of_the_same_name_with_another_key():
    evil = Ca.root("root", "p384")
    assert "is not good" in str(chain(evil.leaf(), authority(ROOT.certificate), evil.chain))


def test_attack_a_leaf_that_issues_a_leaf():
    middle = ISSUING.leaf("middle", subject="CN=middle,O=test", key_usage=("digital_signature", "key_cert_sign"))
    fake = Ca("middle", middle.certificate, middle.key, ISSUING.chain)
    assert "is no CA" in str(chain(fake.leaf("evil"), AUTHORITY, [middle.certificate]))


def test_attack_a_ca_that_signs_an_image():
    key = pki.make_key("ca-leaf")
    made = pki.issue(
        "CN=x",
        key,
        ISSUING.subject,
        ISSUING.key,
        ca=True,
        key_usage=("digital_signature", "key_cert_sign"),
        eku=CODE_SIGNING,
        not_before=T0,
        not_after=T0 + DAY,
    )
    assert "is a CA" in str(chain_to(load_certificate(made), (), AUTHORITY, "code-signing"))


def test_attack_a_path_longer_than_a_ca_allows():
    below = ISSUING.intermediate("below")  # ISSUING has path length 0
    assert "allows 0" in str(chain(below.leaf(), authority(*below.chain)))
    tight = Ca.root("tight", path_length=1)
    deep = tight.intermediate("one").intermediate("two")
    assert "allows 1" in str(chain(deep.leaf(), authority(*deep.chain)))
    assert isinstance(chain(tight.intermediate("one").leaf(), authority(*tight.intermediate("one").chain)), ChainClaim)


@pytest.mark.parametrize(
    ("oddities", "why"),
    [
        ({"eku": ()}, "lacks codeSigning"),
        ({"eku": TIMESTAMPING}, "lacks codeSigning"),
        ({"eku": "2.5.29.37.0"}, "lacks codeSigning"),
        ({"key_usage": None}, "lacks digitalSignature"),
        ({"key_usage": ("content_commitment",)}, "lacks digitalSignature"),
        ({"ca": True}, "is a CA"),
        ({"extra": [("1.2.3.4", True, b"\x05\x00")]}, "1.2.3.4 that is not understood"),
        ({"extra": [("1.3.6.1.4.1.11129.2.4.3", True, b"\x05\x00")]}, "11129.2.4.3 that is not understood"),
    ],
)
def test_leaves_that_may_not_sign_code(oddities, why):
    assert why in str(chain(ISSUING.leaf(**oddities)))


@pytest.mark.parametrize(
    ("oddities", "why"),
    [
        ({"ca": None}, "is no CA"),
        ({"ca": False}, "is no CA"),
        ({"key_usage": ("crl_sign",)}, "lacks keyCertSign"),
        ({"eku": TIMESTAMPING}, "does not allow code-signing"),
        ({"extra": [("2.5.29.30", True, sequence())]}, "2.5.29.30 that is not understood"),
        ({"extra": [("2.5.29.36", True, sequence())]}, "2.5.29.36 that is not understood"),
        ({"key_usage": None}, ""),
        ({"critical": {"bc": False}}, ""),
        ({"eku": [CODE_SIGNING, TIMESTAMPING]}, ""),
        ({"eku": "2.5.29.37.0"}, ""),
        ({"extra": [("2.5.29.32", True, sequence(sequence(oid("1.2.3"))))]}, ""),
        ({"extra": [("1.2.3.4", False, b"\x05\x00")]}, ""),
    ],
)
@pytest.mark.parametrize("place", ["issuing", "root"])
def test_cas_that_may_or_may_not_issue(oddities, why, place):
    root = Ca.root("r", **(oddities if place == "root" else {}))
    ca = root.intermediate("i", **(oddities if place == "issuing" else {}))
    found = chain(ca.leaf(), authority(*ca.chain))
    if why:
        assert why in str(found)
    else:
        assert isinstance(found, ChainClaim)


def test_a_self_signed_leaf_is_no_code_signing_chain_of_its_own():
    key = pki.make_key("self")
    made = pki.issue(
        "CN=self",
        key,
        "CN=self",
        key,
        not_before=T0,
        not_after=T0 + DAY,
        key_usage=("digital_signature",),
        eku=CODE_SIGNING,
    )
    assert isinstance(chain_to(load_certificate(made), (), authority(made), "code-signing"), str)


def test_authority_certificates_that_do_not_lead_to_its_anchor_help_nobody():
    stranger = Ca.root("stranger")
    assert "no certificate" in str(chain(LEAF, authority(ISSUING.certificate, stranger.certificate)))


@pytest.mark.parametrize(
    ("certificates", "why"),
    [
        ((), "no certificates"),
        ((b"x",), "cannot be used"),
        ((ROOT.certificate,) * (CERTIFICATES + 1), "too many"),
    ],
)
def test_authorities_that_are_none(certificates, why):
    assert why in str(chain(LEAF, authority(*certificates)))


def test_more_given_certificates_than_the_limit():
    assert "limit" in str(chain(LEAF, AUTHORITY, [ISSUING.certificate] * (CERTIFICATES + 1)))


def test_attack_cas_that_sign_each_other_in_circles_cost_a_bounded_number_of_signatures(monkeypatch):
    """Ten CAs of two names, all with one key: every edge is good, and simple paths are many."""
    key = pki.make_key("circle")
    names = ["CN=a", "CN=b"]
    ring = [
        pki.issue(names[i % 2], key, names[1 - i % 2], key, not_before=T0, not_after=T0 + DAY, ca=True, serial=i + 1)
        for i in range(CERTIFICATES)
    ]
    leaf = pki.issue(
        "CN=l", key, "CN=a", key, not_before=T0, not_after=T0 + DAY, eku=CODE_SIGNING, key_usage=("digital_signature",)
    )
    checked = counted(monkeypatch)
    given = [load_certificate(der) for der in ring]
    authorities = [authority(Ca.root(f"r{i}").certificate, name=str(i)) for i in range(5)]
    claims, why = find_chains(load_certificate(leaf), given, authorities, "code-signing")
    assert claims == ()
    assert why
    assert len(checked) <= CHAIN_SIGNATURES


def test_the_edge_between_cas_is_checked_once_and_that_of_the_leaf_every_time(monkeypatch):
    ca = Ca.root("edge root").intermediate("edge")
    known = authority(*ca.chain)
    checked = counted(monkeypatch)
    assert isinstance(chain(ca.leaf("one"), known), ChainClaim)
    assert len(checked) == 2
    assert isinstance(chain(ca.leaf("two"), known), ChainClaim)
    assert len(checked) == 3


def test_all_authorities_a_leaf_leads_to():
    stranger = authority(Ca.root("stranger").certificate, name="s")
    by_root, by_ca = authority(*ISSUING.chain, name="root"), authority(ISSUING.certificate, name="ca")
    leaf = load_certificate(LEAF.certificate)
    claims, why = find_chains(leaf, (), [stranger, by_root, by_ca], "code-signing")
    assert [claim.authority for claim in claims] == ["root", "ca"]
    assert why == ""
    claims, why = find_chains(leaf, (), [stranger], "code-signing")
    assert (claims, why) == ((), "no known authority is its issuer 'CN=issuing,O=test'")
    assert find_chains(leaf, (), [], "code-signing") == ((), "no authority is known")


def test_a_hostile_name_is_quoted():
    evil = Ca.root("r").intermediate("x\n\x1b[31m")
    _, why = find_chains(load_certificate(evil.leaf().certificate), (), [AUTHORITY], "code-signing")
    assert "\n" not in why
    assert "\x1b" not in why


# ------------------------------------------------------------------------------------------------------ Notary Project

NOTATION_LEAF: dict[str, Any] = {"eku": (), "subject": "CN=signer,O=test", "not_after": T0 + 365 * DAY}


def notation(leaf, given, anchor: bytes) -> ChainClaim | str:
    return chain(leaf, authority(anchor, use="notation"), given, "notation")


def test_notation_the_anchor_may_stand_anywhere_above_the_leaf():
    leaf = ISSUING.leaf(**NOTATION_LEAF)
    by_root = notation(leaf, ISSUING.chain, ROOT.certificate)
    by_ca = notation(leaf, ISSUING.chain, ISSUING.certificate)
    assert isinstance(by_root, ChainClaim)
    assert by_root.key_ids == (ISSUING.key_id, ROOT.key_id)
    assert isinstance(by_ca, ChainClaim)
    assert by_ca.key_ids == (ISSUING.key_id,)
    assert by_ca.valid_until == T0 + 365 * DAY


def test_notation_windows_cover_the_whole_chain_even_above_the_anchor():
    root = Ca.root("short", not_after=T0 + DAY)
    ca = root.intermediate("i")
    claim = notation(ca.leaf(**NOTATION_LEAF), ca.chain, ca.certificate)
    assert isinstance(claim, ChainClaim)
    assert claim.valid_until == T0 + DAY


def self_signed(**oddities) -> pki.Leaf:
    key = pki.make_key("self")
    options: dict[str, Any] = {"key_usage": ("digital_signature",), "not_before": T0, "not_after": T0 + DAY} | oddities
    return pki.Leaf(pki.issue("CN=self", key, "CN=self", key, **options), key)


def test_notation_a_self_signed_leaf_may_be_the_anchor():
    leaf = self_signed()
    claim = notation(leaf, (), leaf.certificate)
    assert isinstance(claim, ChainClaim)
    assert (claim.key_ids, claim.serials) == ((leaf.key_id,), ())
    assert isinstance(notation(leaf, (), ROOT.certificate), str)


def test_notation_a_self_signed_leaf_with_a_bad_signature_is_none():
    leaf = self_signed()
    spoiled = leaf.certificate[:-1] + bytes([leaf.certificate[-1] ^ 1])
    assert isinstance(notation(pki.Leaf(spoiled, leaf.key), (), spoiled), str)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ((), "no certificate of the authority"),
        (ISSUING.chain[:1], "no certificate of the authority"),
        (tuple(reversed(ISSUING.chain)), "does not end"),
        ((*ISSUING.chain, ROOT.certificate), "does not end"),
        ((ROOT.certificate,), "is not the issuer"),
        ((Ca.root("other").certificate, *ISSUING.chain), "does not end"),
        ((ISSUING.certificate, Ca.root("x").certificate), "no certificate of the authority"),
    ],
)
def test_notation_chains_must_be_complete_and_in_order(given, why):
    assert why in str(notation(ISSUING.leaf(**NOTATION_LEAF), given, ROOT.certificate))


def test_notation_an_incomplete_chain_below_its_anchor_is_refused():
    assert "does not end" in str(notation(ISSUING.leaf(**NOTATION_LEAF), ISSUING.chain[:1], ISSUING.certificate))


def test_attack_notation_a_trusted_root_above_a_chain_it_did_not_sign():
    evil = Ca.root("root", "p384").intermediate("issuing")
    leaf = evil.leaf(**NOTATION_LEAF)
    assert "not good" in str(notation(leaf, (evil.certificate, ROOT.certificate), ROOT.certificate))


@pytest.mark.parametrize(
    ("oddities", "why"),
    [
        ({"critical": {"ku": False}}, "absent or not critical"),
        ({"key_usage": None}, "absent or not critical"),
        ({"key_usage": ("digital_signature", "key_encipherment")}, "not digitalSignature alone"),
        ({"key_usage": ("digital_signature", "key_cert_sign")}, "not digitalSignature alone"),
        ({"key_usage": ("content_commitment",)}, "not digitalSignature alone"),
        ({"eku": TIMESTAMPING, "critical": {"eku": False}}, "forbids"),
        ({"eku": "1.3.6.1.5.5.7.3.1"}, "forbids"),
        ({"eku": [CODE_SIGNING, "1.3.6.1.5.5.7.3.2"]}, "forbids"),
        ({"eku": "2.5.29.37.0"}, "forbids"),
        ({"ca": True}, "is a CA"),
        ({"eku": CODE_SIGNING}, ""),
        ({"eku": "1.2.3.4"}, ""),
        ({"key_usage": ("digital_signature", "content_commitment")}, ""),
        ({"extra": [("1.2.3.4", True, b"\x05\x00")]}, ""),
    ],
)
def test_notation_leaf_requirements(oddities, why):
    found = notation(ISSUING.leaf(**(NOTATION_LEAF | oddities)), ISSUING.chain, ROOT.certificate)
    if why:
        assert why in str(found)
    else:
        assert isinstance(found, ChainClaim)


@pytest.mark.parametrize(
    ("oddities", "why"),
    [
        ({"critical": {"bc": False}}, "not both critical"),
        ({"critical": {"ku": False}}, "not both critical"),
        ({"key_usage": None}, "not both critical"),
        ({"key_usage": ("crl_sign",)}, "lacks keyCertSign"),
        ({"ca": False}, "is no CA"),
        ({"eku": TIMESTAMPING}, ""),
        ({"extra": [("2.5.29.30", True, sequence())]}, ""),
    ],
)
@pytest.mark.parametrize("place", ["issuing", "root"])
def test_notation_ca_requirements(oddities, why, place):
    root = Ca.root("r", **(oddities if place == "root" else {}))
    ca = root.intermediate("i", **(oddities if place == "issuing" else {}))
    found = notation(ca.leaf(**NOTATION_LEAF), ca.chain, root.certificate)
    if why:
        assert why in str(found)
    else:
        assert isinstance(found, ChainClaim)


def test_notation_path_length():
    tight = Ca.root("tight", path_length=0)
    deep = tight.intermediate("one")
    assert "allows 0" in str(notation(deep.leaf(**NOTATION_LEAF), deep.chain, tight.certificate))
