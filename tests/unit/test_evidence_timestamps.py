"""RFC 3161 tokens: what they prove, about which bytes, by whose word; and every way to lie with one."""

import hashlib
import random
import time
from itertools import count

import pytest
from cryptography import x509

from tests.helpers import pki
from tests.helpers.pki import (
    CODE_SIGNING,
    CONTENT_TYPE,
    DAY,
    ESS_V1,
    ESS_V2,
    MESSAGE_DIGEST,
    SECOND,
    T0,
    TIMESTAMPING,
    TST_INFO,
    Ca,
    Tsa,
    attribute,
    ess_v1,
    ess_v2,
    integer,
    oid,
    sequence,
    tlv,
)
from verifier.errors import EvidenceError
from verifier.evidence.limits import CERTIFICATES
from verifier.evidence.material import Authority
from verifier.evidence.timestamps import ACCURACY, ATTRIBUTES, TIMESTAMP_BYTES, Stamp, verify_timestamp
from verifier.models import TimeClaim

ROOT = Ca.root("tsa root")
CA = ROOT.intermediate("tsa ca", eku=TIMESTAMPING)
TSA = Tsa.under(CA)
MESSAGE = b"the bytes of a signature"
AT = T0 + 90 * SECOND


def authority(*certificates: bytes, name: str = "tsa", use="timestamping") -> Authority:
    return Authority(name, use, certificates)


PINNED = authority(*TSA.chain)
BY_CA = authority(ROOT.certificate, name="by-ca")


def stamp(token: bytes, *known: Authority, message: bytes = MESSAGE, response: bool = False) -> Stamp:
    return verify_timestamp(token, message, known or (PINNED,), response=response)


def refusal(token: bytes, *known: Authority, message: bytes = MESSAGE, response: bool = False) -> tuple[str, str]:
    with pytest.raises(EvidenceError) as caught:
        stamp(token, *known, message=message, response=response)
    return caught.value.code, str(caught.value)


def invalid(token: bytes, *known: Authority, **options) -> str:
    code, why = refusal(token, *known, **options)
    assert code == "timestamp-invalid"
    return why


def malformed(token: bytes, *known: Authority, **options) -> str:
    code, why = refusal(token, *known, **options)
    assert code == "timestamp-malformed"
    return why


GOOD = TimeClaim("tsa", "attested", AT + SECOND, TSA.leaf.key_id, "tsa", SECOND)

# ---------------------------------------------------------------------------------------------------------- good tokens


def test_a_bare_token():
    assert stamp(TSA.token(MESSAGE, AT)) == Stamp((GOOD,), known=True)


@pytest.mark.parametrize("status", [0, 1])
def test_a_response_that_was_granted(status):
    assert stamp(TSA.response(MESSAGE, AT, status=status), response=True) == Stamp((GOOD,), known=True)


def test_the_two_forms_are_not_taken_for_each_other():
    malformed(TSA.token(MESSAGE, AT), response=True)
    malformed(TSA.response(MESSAGE, AT))


@pytest.mark.parametrize("key_type", ["p256", "p384", "p521", "rsa2048"])
@pytest.mark.parametrize("signer_hash", ["sha256", "sha384", "sha512"])
def test_every_signature_algorithm(key_type, signer_hash):
    tsa = Tsa.under(CA, f"tsa {key_type}", key_type)
    claims = stamp(tsa.token(MESSAGE, AT, signer_hash=signer_hash), authority(*tsa.chain)).claims
    assert [claim.source_key for claim in claims] == [tsa.leaf.key_id]


@pytest.mark.parametrize("signer_hash", ["sha256", "sha384", "sha512"])
def test_rsa_pss(signer_hash):
    tsa = Tsa.under(CA, "tsa pss", "rsa2048")
    assert stamp(tsa.token(MESSAGE, AT, signer_hash=signer_hash, pss=True), authority(*tsa.chain)).claims


def test_rsa_named_without_its_hash():
    tsa = Tsa.under(CA, "tsa pss", "rsa2048")
    bare = sequence(oid("1.2.840.113549.1.1.1"), tlv(5))
    assert stamp(tsa.token(MESSAGE, AT, signer_hash="sha384", algorithm=bare), authority(*tsa.chain)).claims


def test_ed25519():
    tsa = Tsa.under(CA, "tsa ed", "ed25519")
    assert stamp(tsa.token(MESSAGE, AT), authority(*tsa.chain)).claims


@pytest.mark.parametrize("name", ["sha256", "sha384", "sha512"])
def test_every_hash_of_the_imprint(name):
    assert stamp(TSA.token(MESSAGE, AT, hash=name)).claims == (GOOD,)


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [
        (b"", 0),
        (sequence(), 0),
        (sequence(integer(2)), 2 * SECOND),
        (sequence(tlv(0x80, b"\x05")), 5000),
        (sequence(tlv(0x81, b"\x07")), 7),
        (sequence(integer(1), tlv(0x80, b"\x03\xe7"), tlv(0x81, b"\x03\xe7")), SECOND + 999_999),
        (sequence(integer(ACCURACY // SECOND)), ACCURACY),
    ],
    ids=count(),
)
def test_the_time_is_the_upper_bound(accuracy, expected):
    (claim,) = stamp(TSA.token(MESSAGE, AT, accuracy=accuracy)).claims
    assert (claim.time, claim.accuracy) == (AT + expected, expected)


def test_a_time_with_a_fraction():
    assert stamp(TSA.token(MESSAGE, AT + 250_000)).claims[0].time == AT + 250_000 + SECOND


@pytest.mark.parametrize(
    "after", [tlv(0xA0, tlv(0xA4, sequence())), tlv(0xA1, sequence(oid("1.2.3"), tlv(4)))], ids=count()
)
def test_what_may_stand_behind_the_nonce(after):
    assert stamp(TSA.token(MESSAGE, AT, after=after)).claims == (GOOD,)


@pytest.mark.parametrize(
    "bindings",
    [
        [attribute(ESS_V1, ess_v1(TSA.certificate))],
        [attribute(ESS_V2, ess_v2(TSA.certificate, "sha512"))],
        [attribute(ESS_V1, ess_v1(TSA.certificate)), attribute(ESS_V2, ess_v2(TSA.certificate))],
    ],
)
def test_every_form_of_binding_the_certificate(bindings):
    assert stamp(token_with(bindings)).claims == (GOOD,)


def token_with(bindings, **oddities) -> bytes:
    """A token whose attributes are contentType, messageDigest and these."""
    content = TSA.tst_info(MESSAGE, AT)
    attributes = [*TSA.attributes(content, "sha256")[:2], *bindings]
    return TSA.token(MESSAGE, AT, content=content, attributes=attributes, **oddities)


def test_the_signer_named_by_its_key_identifier():
    identifier = x509.SubjectKeyIdentifier.from_public_key(TSA.key.public_key()).digest
    assert stamp(TSA.token(MESSAGE, AT, ski=identifier)).claims == (GOOD,)
    assert stamp(TSA.token(MESSAGE, AT, ski=b"another")) == Stamp((), known=False)


# ------------------------------------------------------------------------------------------------------- authorities


@pytest.mark.parametrize("certificates", [(), TSA.chain, tuple(reversed(TSA.chain)), TSA.chain[1:]])
def test_a_pinned_leaf_needs_no_embedded_certificates(certificates):
    assert stamp(TSA.token(MESSAGE, AT, certificates=certificates)) == Stamp((GOOD,), known=True)


@pytest.mark.parametrize("certificates", [TSA.chain, tuple(reversed(TSA.chain)), TSA.chain[:2]])
def test_an_open_authority_takes_the_leaf_from_the_token_in_any_order(certificates):
    (claim,) = stamp(TSA.token(MESSAGE, AT, certificates=certificates), BY_CA).claims
    assert (claim.authority, claim.source_key) == ("by-ca", TSA.leaf.key_id)


@pytest.mark.parametrize("certificates", [(), TSA.chain[:1], TSA.chain[1:]])
def test_an_open_authority_without_the_way_is_unknown(certificates):
    assert stamp(TSA.token(MESSAGE, AT, certificates=certificates), BY_CA) == Stamp((), known=False)


def test_an_open_authority_may_know_the_intermediate_itself():
    token = TSA.token(MESSAGE, AT, certificates=TSA.chain[:1])
    assert stamp(token, authority(CA.certificate, ROOT.certificate)).known
    assert stamp(token, authority(CA.certificate)).known


def test_certificates_nobody_can_use_beside_the_leaf_are_ignored():
    junk = Ca.root("weak", "rsa1024").certificate
    token = TSA.token(MESSAGE, AT, certificates=[junk, sequence(), *TSA.chain, tlv(0xA1, b"attribute certificate")])
    assert stamp(token, BY_CA).claims


def test_one_claim_for_each_authority_that_vouches():
    known = (PINNED, BY_CA, authority(*TSA.chain[:1], name="alone"), authority(Ca.root("x").certificate, name="x"))
    found = stamp(TSA.token(MESSAGE, AT), *known)
    assert [claim.authority for claim in found.claims] == ["tsa", "alone", "by-ca"]


def test_authorities_for_other_uses_are_not_asked():
    known = authority(*TSA.chain, use="signing"), authority(ROOT.certificate, use="notation")
    assert stamp(TSA.token(MESSAGE, AT), *known) == Stamp((), known=False)
    assert verify_timestamp(TSA.token(MESSAGE, AT), MESSAGE, (), response=False) == Stamp((), known=False)


def test_windows_of_the_trust_root_are_left_to_the_verdict():
    windowed = Authority("tsa", "timestamping", TSA.chain, valid_from=AT + DAY, valid_until=AT + 2 * DAY)
    assert stamp(TSA.token(MESSAGE, AT), windowed).claims == (GOOD,)


@pytest.mark.parametrize("certificates", [True, False])
def test_a_token_of_an_unknown_authority(certificates):
    other = Tsa.under(Ca.root("other").intermediate("other ca"), "other")
    token = other.token(MESSAGE, AT, certificates=None if certificates else ())
    assert stamp(token, PINNED, BY_CA) == Stamp((), known=False)


def test_even_of_an_unknown_authority_the_imprint_is_compared():
    other = Tsa.under(Ca.root("other"), "other")
    assert "other bytes" in invalid(other.token(b"another signature", AT), PINNED)


def test_a_pinned_chain_that_does_not_hold_makes_its_authority_unknown():
    broken = authority(TSA.certificate, Ca.root("stranger").certificate)
    assert stamp(TSA.token(MESSAGE, AT), broken) == Stamp((), known=False)


# ---------------------------------------------------------------------------------------------------- valid at genTime


def tsa_valid(not_before: int, not_after: int, ca_until: int = pki.CA_UNTIL, root_until: int = pki.CA_UNTIL) -> Tsa:
    root = Ca.root("timed root", not_after=root_until)
    ca = root.intermediate("timed ca", not_after=ca_until)
    return Tsa.under(ca, "timed", not_before=not_before, not_after=not_after)


@pytest.mark.parametrize(
    ("oddities", "good"),
    [
        ({"not_before": AT, "not_after": AT}, True),
        ({"not_before": AT - DAY, "not_after": AT}, True),
        ({"not_before": AT - DAY, "not_after": AT - SECOND}, False),
        ({"not_before": AT + SECOND, "not_after": AT + DAY}, False),
        ({"not_before": AT - DAY, "not_after": AT + DAY, "ca_until": AT}, True),
        ({"not_before": AT - DAY, "not_after": AT + DAY, "ca_until": AT - SECOND}, False),
        ({"not_before": AT - DAY, "not_after": AT + DAY, "root_until": AT}, True),
        ({"not_before": AT - DAY, "not_after": AT + DAY, "root_until": AT - SECOND}, False),
    ],
)
@pytest.mark.parametrize("pinned", [True, False])
def test_every_certificate_must_be_valid_at_gen_time(oddities, good, pinned):
    tsa = tsa_valid(**oddities)
    known = authority(*(tsa.chain if pinned else tsa.chain[-1:]))
    token = tsa.token(MESSAGE, AT)
    if good:
        assert stamp(token, known).claims
    else:
        assert "is valid from" in invalid(token, known)


def test_a_fraction_after_the_last_second_is_outside():
    tsa = tsa_valid(AT - DAY, AT)
    assert "is valid from" in invalid(tsa.token(MESSAGE, AT + 1), authority(*tsa.chain))


def test_an_expired_chain_does_not_hide_one_that_is_valid():
    short = Ca.root("short", not_after=AT - SECOND)
    shadow = pki.issue(CA.subject, CA.key, short.subject, short.key, **(pki._CA_DEFAULTS | {"eku": TIMESTAMPING}))
    known = authority(TSA.certificate, shadow, short.certificate, name="expired"), PINNED
    assert stamp(TSA.token(MESSAGE, AT), *known).claims == (GOOD,)
    assert "is valid from" in invalid(TSA.token(MESSAGE, AT), known[0])


# ------------------------------------------------------------------------------------------------------------- attacks


def test_attack_a_token_of_another_signature():
    assert "other bytes" in invalid(TSA.token(b"another signature", AT))


@pytest.mark.parametrize("name", ["sha1", "md5"])
def test_attack_an_imprint_in_a_weak_hash(name):
    assert name in invalid(TSA.token(MESSAGE, AT, hash=name))


def test_attack_an_imprint_that_is_cut():
    whole = hashlib.sha256(MESSAGE).digest()
    invalid(TSA.token(MESSAGE, AT, imprint=whole[:-1]))
    invalid(TSA.token(MESSAGE, AT, imprint=b""))


def test_attack_a_forged_signature():
    assert "not signed by" in invalid(TSA.token(MESSAGE, AT, spoil=True))


def test_attack_a_forger_who_takes_the_name_and_number_of_the_pinned_leaf():
    token = TSA.token(MESSAGE, AT, key=pki.make_key("forger"))
    assert "not signed by" in invalid(token)
    assert "not signed by" in invalid(token, BY_CA)


def test_attack_a_pinned_authority_is_not_opened_by_its_ca():
    """Another leaf of the same CA, embedded with its chain, is not the pinned one."""
    sibling = Tsa.under(CA, "sibling")
    assert stamp(sibling.token(MESSAGE, AT), PINNED) == Stamp((), known=False)
    assert stamp(sibling.token(MESSAGE, AT), BY_CA).known


@pytest.mark.parametrize("oddities", [{"critical": {"eku": False}}, {"eku": CODE_SIGNING}, {"eku": ()}])
def test_attack_a_first_certificate_that_is_no_good_leaf_does_not_open_the_authority_either(oddities):
    bad = Tsa.under(CA, "bad", **oddities)
    sibling = Tsa.under(CA, "sibling")
    known = authority(*bad.chain)
    assert stamp(sibling.token(MESSAGE, AT), known) == Stamp((), known=False)
    assert stamp(bad.token(MESSAGE, AT), known) == Stamp((), known=False)


def test_attack_a_root_that_comes_with_the_token():
    evil = Tsa.under(Ca.root("tsa root", "p384"), "evil")
    assert stamp(evil.token(MESSAGE, AT), BY_CA, PINNED) == Stamp((), known=False)


@pytest.mark.parametrize(
    "oddities",
    [
        {"eku": CODE_SIGNING},
        {"eku": [TIMESTAMPING, CODE_SIGNING]},
        {"eku": [TIMESTAMPING, "2.5.29.37.0"]},
        {"critical": {"eku": False}},
        {"eku": ()},
        {"key_usage": ("key_encipherment",)},
        {"extra": [("1.2.3.4", True, b"\x05\x00")]},
        {"ca": True},
    ],
)
def test_attack_a_certificate_of_the_same_ca_that_is_not_for_timestamps(oddities):
    wide = Ca.root("wide")
    impostor = Tsa.under(wide, "impostor", **oddities)
    assert stamp(impostor.token(MESSAGE, AT), authority(wide.certificate)) == Stamp((), known=False)
    assert stamp(impostor.token(MESSAGE, AT), authority(*impostor.chain)) == Stamp((), known=False)


def test_attack_content_swapped_under_good_attributes():
    """The attributes and their signature are honest, the TSTInfo beside them is another one."""
    honest = TSA.tst_info(b"honest", AT)
    token = TSA.token(MESSAGE, AT, attributes=TSA.attributes(honest, "sha256"))
    assert "bind other content" in invalid(token)


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        (lambda a: a[1:], "do not say that a timestamp"),
        (lambda a: [attribute(CONTENT_TYPE, oid("1.2.840.113549.1.7.1")), *a[1:]], "do not say that a timestamp"),
        (lambda a: [attribute(CONTENT_TYPE, tlv(4, oid(TST_INFO)[2:])), *a[1:]], "do not say that a timestamp"),
        (lambda a: [a[0], a[2]], "bind other content"),
        (lambda a: [a[0], attribute(MESSAGE_DIGEST, tlv(0x0C, b"x" * 32)), a[2]], "bind other content"),
        (lambda a: a[:2], "ESSCertID"),
        (lambda a: [*a[:2], attribute(ESS_V2, ess_v2(CA.certificate))], "binds another certificate"),
        (lambda a: [*a[:2], attribute(ESS_V1, ess_v1(CA.certificate))], "binds another certificate"),
        (lambda a: [*a, attribute(ESS_V1, ess_v1(CA.certificate))], "binds another certificate"),
        (lambda a: [*a[:2], attribute(ESS_V2, ess_v2(TSA.certificate, "sha1"))], "sha1"),
    ],
)
def test_attack_signed_attributes_that_bind_something_else(attributes, why):
    content = TSA.tst_info(MESSAGE, AT)
    token = TSA.token(MESSAGE, AT, content=content, attributes=attributes(TSA.attributes(content, "sha256")))
    assert why in invalid(token)
    assert why in invalid(token, BY_CA)


@pytest.mark.parametrize(
    "attributes",
    [
        lambda a: [*a, a[0]],
        lambda a: [*a, attribute("1.2.3")],
        lambda a: [*a, attribute("1.2.3", integer(1), integer(2))],
        lambda a: [*a, sequence(oid("1.2.3"))],
        lambda a: [*a, sequence()],
        lambda a: [*a[:2], attribute(ESS_V2, integer(1))],
        lambda a: [*a[:2], attribute(ESS_V2, sequence(sequence()))],
        lambda a: [*a[:2], attribute(ESS_V2, sequence(sequence(sequence())))],
    ],
)
def test_attributes_that_cannot_be_read(attributes):
    content = TSA.tst_info(MESSAGE, AT)
    malformed(TSA.token(MESSAGE, AT, content=content, attributes=attributes(TSA.attributes(content, "sha256"))))


@pytest.mark.parametrize(
    ("algorithm", "why"),
    [
        (sequence(oid("1.2.840.10045.4.1")), "SHA-1 with ECDSA"),
        (sequence(oid("1.2.840.10045.4.3.3")), "hashes with sha256 and signs with sha384"),
        (sequence(oid("1.2.840.113549.1.1.11"), tlv(5)), "not signed by"),
        (sequence(oid("1.2.840.113549.1.1.1"), tlv(5)), "not signed by"),
        (sequence(oid("1.3.101.112")), "not signed by"),
        (sequence(oid("1.2.3")), "not accepted"),
    ],
    ids=count(),
)
def test_attack_another_algorithm_than_the_one_that_signed(algorithm, why):
    assert why in invalid(TSA.token(MESSAGE, AT, algorithm=algorithm))


def test_attack_two_signers():
    assert "exactly one signer" in malformed(TSA.token(MESSAGE, AT, more_signers=1))


def test_attack_a_signature_over_something_that_is_no_timestamp():
    other = "1.2.840.113549.1.7.1"
    content = TSA.tst_info(MESSAGE, AT)
    assert "eContentType" in malformed(TSA.token(MESSAGE, AT, content=content, content_type=other))


@pytest.mark.parametrize("status", [2, 3, 4, 5])
def test_attack_a_refusal_that_carries_a_token(status):
    assert "did not grant" in invalid(TSA.response(MESSAGE, AT, status=status), response=True)


def test_a_refusal_without_a_token():
    assert "did not grant" in invalid(sequence(sequence(integer(2))), response=True)
    malformed(sequence(sequence(integer(0))), response=True)
    malformed(sequence(sequence(tlv(2, b"\x01" * 4000))), response=True)


@pytest.mark.parametrize(
    "oddities",
    [
        {"version": 2},
        {"gen_time": "20260101000130"},
        {"gen_time": "20260101000130.0Z"},
        {"gen_time": "20260101000130+0000"},
        {"gen_time": "20261301000130Z"},
        {"gen_time": "2601010001Z"},
        {"accuracy": sequence(integer(-1))},
        {"accuracy": sequence(tlv(0x81, b"\x01"), tlv(0x80, b"\x01"))},
        {"accuracy": sequence(tlv(0x82, b"\x01"))},
        {"after": tlv(0xA1, sequence(oid("1.2.3"), tlv(1, b"\xff"), tlv(4)))},
        {"after": tlv(0x04)},
        {"content": b""},
        {"content": sequence()},
    ],
)
def test_content_that_is_no_timestamp(oddities):
    malformed(TSA.token(MESSAGE, AT, **oddities))


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"\x30\x00",
        b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x80\x00\x00\x00\x00",
        TSA.token(MESSAGE, AT) + b"\0",
        TSA.token(MESSAGE, AT)[:-1],
        sequence(oid("1.2.840.113549.1.7.1"), tlv(0xA0, tlv(4))),
        sequence(oid(pki.SIGNED_DATA), tlv(0xA0, sequence(), sequence())),
        TSA.token(MESSAGE, AT, ski=b"x").replace(tlv(0x80, b"x"), tlv(0x81, b"x")),
    ],
    ids=count(),
)
def test_bytes_that_are_no_token(token):
    malformed(token)


@pytest.mark.parametrize(
    "token",
    [
        b"\x30" * (TIMESTAMP_BYTES + 1),
        TSA.token(MESSAGE, AT, certificates=[CA.certificate] * (CERTIFICATES + 1)),
        token_with([attribute(f"1.2.{n}.1", integer(1)) for n in range(ATTRIBUTES)]),
        TSA.token(MESSAGE, AT, accuracy=sequence(integer(ACCURACY // SECOND + 1))),
        TSA.token(MESSAGE, AT, accuracy=sequence(tlv(0x80, b"\x03\xe8"))),
    ],
    ids=count(),
)
def test_limits(token):
    assert refusal(token)[0] == "limit-exceeded"


def test_attack_nested_elements_without_end_cost_nothing():
    bomb = b"\x30\x84\x00\x00\xff\x00" * 8000
    deep = b""
    for _ in range(3000):
        deep = tlv(0x30, deep)
    for data in (bomb, deep, b"\x05\x00" * 32000, tlv(0x30, b"\x05\x00" * 32000)):
        began = time.process_time()
        refusal(data)
        assert time.process_time() - began < 0.5


def test_attack_many_certificates_of_one_name_cost_a_bounded_number_of_signatures():
    """The signer's name, number and key identifier in every embedded certificate, and a hundred authorities."""
    key = pki.make_key("decoy")
    decoys = [
        pki.issue(
            "CN=x",
            key,
            "CN=x",
            key,
            not_before=T0 + i * SECOND,
            not_after=T0 + DAY,
            serial=7,
            eku=TIMESTAMPING,
            key_usage=("digital_signature",),
        )
        for i in range(CERTIFICATES)
    ]
    evil = Tsa(pki.Leaf(decoys[0], key, tuple(decoys[1:])), "CN=x", serial=7)
    known = [authority(Ca.root("r").certificate, name=str(n)) for n in range(100)]
    began = time.process_time()
    assert stamp(evil.token(MESSAGE, AT), *known) == Stamp((), known=False)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("seed", range(4))
def test_no_mutation_verifies_or_makes_any_other_error(seed):
    dice = random.Random(seed)
    source = TSA.response(MESSAGE, AT, certificates=TSA.chain[:2])
    known = (PINNED, BY_CA)
    codes, accepted = set(), 0
    for _ in range(250):
        data = bytearray(source)
        for _ in range(dice.choice((1, 1, 2, 4))):
            place = dice.randrange(len(data))
            kind = dice.randrange(3)
            if kind == 0:
                data[place] = dice.randrange(256)
            elif kind == 1:
                del data[place : place + dice.randrange(1, 4)]
            else:
                data[place:place] = data[place : place + dice.randrange(1, 9)]
        try:
            found = stamp(bytes(data), *known, response=True)
        except EvidenceError as error:
            codes.add(error.code)
        else:
            accepted += bool(found.claims)
            assert all(claim.time == AT + SECOND for claim in found.claims), data.hex()
    assert codes <= {"timestamp-malformed", "timestamp-invalid", "limit-exceeded"}
    assert {"timestamp-malformed", "timestamp-invalid"} <= codes
    assert accepted < 200  # what is left: bytes of certificates that nobody needs
