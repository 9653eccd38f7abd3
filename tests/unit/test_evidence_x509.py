"""Certificates: read strictly, identities as Fulcio writes them, chains to an authority and nothing else."""

import hashlib
import random
import time
from itertools import count

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.helpers import pki
from tests.helpers.pki import (
    CODE_SIGNING,
    FULCIO,
    MINUTE,
    T0,
    Ca,
    CtLog,
    integer,
    oid,
    sequence,
    tlv,
)
from verifier.errors import EvidenceError, PolicyError
from verifier.evidence.certificates import CERTIFICATE_BYTES, EXTENSIONS
from verifier.evidence.der import INTEGER, OCTET_STRING, SEQUENCE, Der, dotted, oid_content
from verifier.evidence.keys import load_public_key, public_key_from_spki
from verifier.evidence.limits import CERTIFICATES, NAME_CHARACTERS
from verifier.evidence.material import Authority
from verifier.evidence.x509 import (
    ALTERNATIVE_NAMES,
    FULCIO_EXTENSIONS,
    chain_to,
    load_certificate,
    load_pem_chain,
    read_leaf,
)

ROOT = Ca.root("root")
ISSUING = ROOT.intermediate("issuing", eku=CODE_SIGNING, path_length=0)
LEAF = ISSUING.leaf(sans=["https://ci.example/w@main"], issuer="https://idp.example", extensions={11: "hosted"})


def authority(*certificates: bytes, name: str = "a", use="signing") -> Authority:
    return Authority(name, use, certificates)


AUTHORITY = authority(*ISSUING.chain)


def code_of(call, *args) -> str:
    with pytest.raises(EvidenceError) as caught:
        call(*args)
    return caught.value.code


def leaf_der(**oddities) -> bytes:
    return ISSUING.leaf(**oddities).certificate


# ----------------------------------------------------------------------------------------------------------------- DER


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "one DER element"),
        (b"\x30", "inside its header"),
        (b"\x30\x80\x02\x01\x01\x00\x00", "indefinite length"),
        (b"\x30\x81\x03\x02\x01\x01", "more bytes than it needs"),
        (b"\x30\x82\x00\x80" + b"\0" * 128, "more bytes than it needs"),
        (b"\x30\x85\x01\x00\x00\x00\x00", "beyond the document"),
        (b"\x30\x84\xff\xff\xff\xff", "reaches over"),
        (b"\x30\x03\x02\x02\x01", "reaches over"),
        (b"\x30\x00\x00", "header"),
        (b"\x30\x00\x30\x00", "one DER element"),
        (b"\x1f\x81\x01\x00", "more than one byte"),
        (b"\x31\x00", "one DER element"),
    ],
    ids=count(),
)
def test_ber_and_other_second_spellings_are_refused(data, why):
    with pytest.raises(EvidenceError, match=why) as caught:
        walk(Der(data, "certificate-malformed"))
    assert caught.value.code == "certificate-malformed"


def walk(doc: Der) -> None:
    doc.children(doc.root(SEQUENCE))


@pytest.mark.parametrize("length", [0, 1, 127, 128, 255, 256, 65535, 65536])
def test_lengths_of_every_size_are_read(length):
    doc = Der(tlv(OCTET_STRING, b"x" * length), "c")
    assert len(doc.content(doc.root(OCTET_STRING))) == length


@pytest.mark.parametrize("body", [b"", b"\x80", b"\xff\x01", b"\x00\x01", b"\x01" * 65], ids=count())
def test_integers_that_are_negative_padded_or_huge_are_refused(body):
    doc = Der(tlv(INTEGER, body), "c")
    assert code_of(doc.unsigned, doc.root(INTEGER), "n") == "c"


@pytest.mark.parametrize("text", ["1.2.840.113549.1.1.11", "2.5.29.37.0", "0.9.2342.19200300.100.1.1", "2.999.3"])
def test_object_identifiers_there_and_back(text):
    assert dotted(oid_content(text)) == text
    assert tlv(6, oid_content(text)) == oid(text)


@pytest.mark.parametrize("content", [b"", b"\x2a\x80", b"\x2a\x80\x01", b"\x2a" + b"\x81" * 80], ids=count())
def test_object_identifiers_with_a_second_spelling_are_none(content):
    assert dotted(content) == ""


@pytest.mark.parametrize(
    ("tag", "text", "expected"),
    [
        (0x17, b"260101000000Z", T0),
        (0x17, b"500101000000Z", -631_152_000_000_000),
        (0x18, b"20260101000000Z", T0),
        (0x18, b"20260101000000.5Z", T0 + 500_000),
        (0x18, b"20260101000000.1234567Z", T0 + 123_456),
        (0x18, b"20260101000000.50Z", None),
        (0x18, b"20260101000000.Z", None),
        (0x18, b"20260101000000", None),
        (0x18, b"20260101000000+0100", None),
        (0x18, b"20260230000000Z", None),
        (0x18, b"00000101000000Z", None),
        (0x18, b"202601010000Z", None),
        (0x17, b"2601010000Z", None),
        (0x17, b"260101000000.5Z", None),
        (0x18, "2026010100000\N{ARABIC-INDIC DIGIT ONE}Z".encode(), None),
        (0x16, b"20260101000000Z", None),
    ],
)
def test_times_have_one_spelling(tag, text, expected):
    doc = Der(tlv(tag, text), "c")
    if expected is None:
        assert code_of(doc.time, doc.root(tag), "t") == "c"
    else:
        assert doc.time(doc.root(tag), "t") == expected


# ---------------------------------------------------------------------------------------------------------------- keys


@pytest.mark.parametrize("key_type", ["p256", "p384", "p521", "ed25519", "rsa2048"])
def test_a_key_in_der_is_the_key_in_pem(key_type):
    key = pki.make_key("k", key_type)
    public = x509.load_der_x509_certificate(Ca.root("k", key_type).certificate).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    spki = pki.spki(pki.make_key("ca k", key_type))
    assert public_key_from_spki(spki) == load_public_key(pem)
    assert public_key_from_spki(pki.spki(key)).verify(pki.sign(key, b"m"), b"m")


def test_one_key_object_for_the_same_bytes():
    spki = pki.spki(pki.make_key("k"))
    assert public_key_from_spki(spki) is public_key_from_spki(bytes(bytearray(spki)))


def compressed(key) -> bytes:
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    algorithm = sequence(oid("1.2.840.10045.2.1"), oid("1.2.840.10045.3.1.7"))
    return sequence(algorithm, tlv(3, b"\0" + point))


@pytest.mark.parametrize(
    ("der", "why"),
    [
        (b"", "got bytes that are none"),
        (b"x" * 20_000, "limit"),
        (pki.spki(pki.make_key("k")) + b"\0", "none"),
        (pki.spki(pki.make_key("k", "p224")), "P-256"),
        (pki.spki(pki.make_key("k", "rsa1024")), "2048"),
    ],
    ids=count(),
)
def test_keys_that_are_weak_or_none_are_refused(der, why):
    with pytest.raises(PolicyError, match=why):
        public_key_from_spki(der)


def test_a_key_has_one_id_in_every_spelling():
    long, short = pki.make_key("k", "rsa2048"), pki.make_key("k")
    pkcs1 = long.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    assert public_key_from_spki(pkcs1) == public_key_from_spki(pki.spki(long))
    assert public_key_from_spki(compressed(short)) == public_key_from_spki(pki.spki(short))


def test_a_certificate_with_another_spelling_of_its_key_is_refused():
    changed = reassembled(LEAF.certificate, put(SPKI, compressed(LEAF.key)))
    assert code_of(load_certificate, changed) == "unsupported-evidence"


def test_an_rsa_exponent_made_to_cost_time_is_refused():
    honest = pki.make_key("k", "rsa2048").public_key()
    assert isinstance(honest, rsa.RSAPublicKey)
    numbers = rsa.RSAPublicNumbers((1 << 64) + 1, honest.public_numbers().n)
    der = numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(PolicyError, match="exponent"):
        public_key_from_spki(der)


# ------------------------------------------------------------------------------------------------------------- reading


def test_a_certificate_is_what_the_other_parser_reads():
    der = leaf_der(subject="CN=build,O=example", sans=["a@b.example"])
    ours, theirs = load_certificate(der), x509.load_der_x509_certificate(der)
    assert ours.sha256 == theirs.fingerprint(hashes.SHA256()).hex()
    assert ours.subject == theirs.subject.rfc4514_string() == "CN=build,O=example"
    assert ours.issuer == theirs.issuer.rfc4514_string()
    assert int(ours.serial, 16) == theirs.serial_number
    assert (ours.not_before, ours.not_after) == (T0, T0 + 10 * MINUTE)
    assert set(ours.extensions) == {extension.oid.dotted_string for extension in theirs.extensions}
    assert ours.key_id == hashlib.sha256(pki.spki(pki.make_key("leaf leaf"))).hexdigest()


def test_the_same_bytes_are_the_same_object():
    assert load_certificate(LEAF.certificate) is load_certificate(bytes(bytearray(LEAF.certificate)))


@pytest.mark.parametrize(
    "subject",
    [
        "CN=a",
        "",
        'CN=Jane\\, Doe,OU=x\\+y,O=q\\"q,L=\\<\\>\\;,ST=back\\\\slash',
        "CN=\\ leading,O=trailing\\ ",
        "CN=\\#hash",
        "CN=Größe 漢字,C=DE",
        "OU=a+CN=b,O=c",
        "UID=u,DC=example,DC=org,STREET=s",
    ],
)
def test_names_are_written_as_rfc_4514_says(subject):
    der = leaf_der(subject=subject)
    assert load_certificate(der).subject == x509.load_der_x509_certificate(der).subject.rfc4514_string()


def test_a_name_without_a_short_form_is_written_in_hex():
    der = leaf_der(subject="1.2.840.113549.1.9.1=#0c03612e62,CN=x")
    assert load_certificate(der).subject.endswith("CN=x")
    assert load_certificate(der).subject.startswith("1.2.840.113549.1.9.1=#")


@pytest.mark.parametrize(
    ("der", "code"),
    [
        (b"", "certificate-malformed"),
        (b"\x30\x00", "certificate-malformed"),
        (b"\x30\x80\x00\x00", "certificate-malformed"),
        (LEAF.certificate + b"\0", "certificate-malformed"),
        (LEAF.certificate[:-1], "certificate-malformed"),
        (LEAF.pem.encode(), "certificate-malformed"),
        (b"\x30" * (CERTIFICATE_BYTES + 1), "limit-exceeded"),
        (Ca.root("weak", "rsa1024").certificate, "unsupported-evidence"),
        (Ca.root("weak", "p224").certificate, "unsupported-evidence"),
    ],
    ids=count(),
)
def test_certificates_nobody_should_read(der, code):
    assert code_of(load_certificate, der) == code


def reassembled(der: bytes, change) -> bytes:
    """The certificate with the fields of its signed part changed; the signature no longer fits."""
    doc = Der(der, "c")
    tbs, algorithm, signature = doc.children(doc.root(SEQUENCE))
    fields = [doc.raw(node) for node in doc.children(tbs)]
    return sequence(sequence(*change(fields)), doc.raw(algorithm), doc.raw(signature))


VERSION, SERIAL, ALGORITHM, ISSUER, VALIDITY, SUBJECT, SPKI, EXTENSIONS_FIELD = range(8)


def put(place: int, value: bytes):
    return lambda fields: [*fields[:place], value, *fields[place + 1 :]]


@pytest.mark.parametrize(
    "change",
    [
        put(VERSION, b""),
        put(VERSION, tlv(0xA0, integer(1))),
        put(SERIAL, integer(0)),
        put(SERIAL, integer(-5)),
        put(SERIAL, tlv(2, b"\x01" * 21)),
        put(ALGORITHM, pki.signature_algorithm(pki.make_key("x"), "sha512")),
        put(ISSUER, sequence(tlv(0x30))),
        put(ISSUER, sequence(tlv(0x31))),
        put(VALIDITY, sequence(tlv(0x17, b"260101000000Z"))),
        put(VALIDITY, sequence(tlv(0x17, b"260101000000Z"), tlv(0x17, b"999999999999Z"))),
        put(SUBJECT, sequence(tlv(0x31, sequence(oid("2.5.4.3"), tlv(0x0C, b"\xff"))))),
        put(EXTENSIONS_FIELD, b""),
        put(EXTENSIONS_FIELD, tlv(0xA3, sequence(sequence(oid("2.5.29.19"), tlv(1, b"\x01"), tlv(4, sequence()))))),
        put(EXTENSIONS_FIELD, tlv(0xA3, sequence(*[sequence(oid("2.5.29.19"), tlv(4, sequence()))] * 2))),
        put(EXTENSIONS_FIELD, tlv(0xA3, sequence(sequence(oid("2.5.29.15"), tlv(4, tlv(3, b"\x00\x00")))))),
        put(EXTENSIONS_FIELD, tlv(0xA3, sequence(sequence(oid("2.5.29.37"), tlv(4, sequence()))))),
        put(EXTENSIONS_FIELD, tlv(0xA3, sequence(sequence(oid("2.5.29.19"), tlv(4, sequence(integer(-1))))))),
        lambda fields: [*fields, tlv(0xA4)],
    ],
)
def test_structures_with_two_readings_are_refused(change):
    changed = reassembled(LEAF.certificate, change)
    if change(["" for _ in range(8)])[-1] == b"":  # without extensions it is readable, and good for nothing
        assert isinstance(chain_to(load_certificate(changed), (), AUTHORITY, "code-signing"), str)
    else:
        assert code_of(load_certificate, changed) == "certificate-malformed"


RSA_SHA256_PSS = pki.signature_algorithm(pki.make_key("x", "rsa2048"), "sha256", pss=True)


@pytest.mark.parametrize(
    ("algorithm", "why"),
    [
        (sequence(oid("1.2.840.113549.1.1.5"), tlv(5)), "SHA-1 with RSA is too weak"),
        (sequence(oid("1.2.840.113549.1.1.4"), tlv(5)), "MD5 with RSA is too weak"),
        (sequence(oid("1.2.840.10045.4.1")), "SHA-1 with ECDSA is too weak"),
        (sequence(oid("1.2.840.10045.4.3.2"), tlv(5)), "not accepted with these parameters"),
        (sequence(oid("1.2.840.113549.1.1.11")), "not accepted with these parameters"),
        (sequence(oid("1.2.840.113549.1.1.1"), tlv(5)), "bare RSA"),
        (sequence(oid("1.2.3.4")), "1.2.3.4 is not accepted"),
        (sequence(oid("1.2.840.113549.1.1.10"), sequence()), "RSA-PSS is accepted with"),
        (pki.signature_algorithm(pki.make_key("x", "rsa2048"), "sha1", pss=True), "RSA-PSS is accepted with"),
        (RSA_SHA256_PSS.replace(integer(32), integer(65)), "salt longer"),
        (sequence(integer(1)), "algorithm"),
    ],
    ids=count(),
)
def test_signature_algorithms_that_are_weak_or_not_known(algorithm, why):
    doc = Der(LEAF.certificate, "c")
    tbs, _, signature = doc.children(doc.root(SEQUENCE))
    fields = [doc.raw(node) for node in doc.children(tbs)]
    changed = sequence(sequence(*put(ALGORITHM, algorithm)(fields)), algorithm, doc.raw(signature))
    with pytest.raises(EvidenceError, match=why) as caught:
        load_certificate(changed)
    assert caught.value.code in {"unsupported-evidence", "certificate-malformed"}


def test_attack_a_good_signature_under_another_scheme_than_the_declared_one():
    """PKCS#1 declared, PSS made: a key that is tried with everything would accept it."""
    root = Ca.root("r", "rsa2048")
    pss, pkcs1 = root.leaf(pss=True), root.leaf()
    declared = x509.load_der_x509_certificate(pkcs1.certificate)
    changed = put(ALGORITHM, pki.signature_algorithm(root.key, "sha256"))
    doc = Der(pss.certificate, "c")
    tbs, _, _ = doc.children(doc.root(SEQUENCE))
    signed = sequence(*changed([doc.raw(node) for node in doc.children(tbs)]))
    forged = sequence(
        signed,
        pki.signature_algorithm(root.key, "sha256"),
        tlv(3, b"\0" + pki.sign(root.key, signed, "sha256", pss=True)),
    )
    assert declared.signature_hash_algorithm is not None
    assert "not good" in str(chain_to(load_certificate(forged), (), authority(*root.chain), "code-signing"))


def test_a_path_length_beyond_all_numbers_is_refused():
    extra = [("2.5.29.19", True, sequence(tlv(1, b"\xff"), tlv(2, b"\x01" * 2000)))]
    assert code_of(load_certificate, leaf_der(extra=extra)) == "certificate-malformed"


def test_too_many_extensions():
    extra = [(f"1.2.3.{n}", False, b"\x05\x00") for n in range(EXTENSIONS)]
    assert code_of(load_certificate, leaf_der(extra=extra)) == "limit-exceeded"


@pytest.mark.parametrize("seed", range(6))
def test_no_mutation_makes_any_other_error(seed):
    """Flipped, cut, doubled: an answer or an EvidenceError, never anything else, and quickly."""
    dice = random.Random(seed)
    log = CtLog("fuzz")
    source = leaf_der(sans=["a@b.example", pki.other_name("x")], issuer="https://i", scts_by=[log], subject="CN=a,C=DE")
    slowest, codes = 0.0, set[str]()
    for _ in range(250):
        data = bytearray(source)
        for _ in range(dice.choice((1, 1, 2, 5))):
            place = dice.randrange(len(data))
            kind = dice.randrange(3)
            if kind == 0:
                data[place] = dice.randrange(256)
            elif kind == 1:
                del data[place : place + dice.randrange(1, 4)]
            else:
                data[place:place] = data[place : place + dice.randrange(1, 9)]
        began = time.perf_counter()
        try:
            certificate = load_certificate(bytes(data))
            chain_to(certificate, (), AUTHORITY, "code-signing")
            read_leaf(certificate)
        except EvidenceError as error:
            codes.add(error.code)
        slowest = max(slowest, time.perf_counter() - began)
    assert codes <= {"certificate-malformed", "unsupported-evidence", "limit-exceeded"}
    assert "certificate-malformed" in codes
    assert slowest < 0.5


# ----------------------------------------------------------------------------------------------------------------- PEM


def test_a_chain_in_pem_keeps_its_order():
    text = pki.pem(LEAF.certificate, *ISSUING.chain)
    expected = tuple(map(load_certificate, (LEAF.certificate, *ISSUING.chain)))
    assert load_pem_chain(text) == load_pem_chain(text.encode()) == load_pem_chain("subject=x\n" + text) == expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "certificate-malformed"),
        ("nothing", "certificate-malformed"),
        (b"\xff", "certificate-malformed"),
        ("-----BEGIN PRIVATE" + " KEY-----\nAAAA\n-----END PRIVATE" + " KEY-----\n", "certificate-malformed"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", "certificate-malformed"),
        ("-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", "certificate-malformed"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate-malformed"),
        (LEAF.pem * (CERTIFICATES + 1), "limit-exceeded"),
        ("x" * (2 * CERTIFICATES * CERTIFICATE_BYTES + 1), "limit-exceeded"),
    ],
    ids=count(),
)
def test_pem_that_is_no_chain(text, code):
    assert code_of(load_pem_chain, text) == code


# ------------------------------------------------------------------------------------------------------------ identity


def test_the_identity_of_a_fulcio_leaf():
    leaf = read_leaf(load_certificate(LEAF.certificate))
    assert (leaf.issuer, leaf.sans, leaf.subject) == ("https://idp.example", ("https://ci.example/w@main",), "")
    assert leaf.extensions == (("issuerV2", "https://idp.example"), ("runnerEnvironment", "hosted"))
    assert (leaf.not_before, leaf.not_after, leaf.key_id) == (T0, T0 + 10 * MINUTE, LEAF.key_id)


def test_every_extension_of_the_directory_has_its_own_name():
    fields = {arc: f"value {arc}" for arc in (*range(2, 7), *range(9, 25))} | {1: "i", 8: "i"}
    found = dict(read_leaf(load_certificate(leaf_der(extensions=fields))).extensions)
    assert found == {FULCIO_EXTENSIONS[f"{FULCIO}.{arc}"]: value for arc, value in fields.items()}
    assert len(found) == len(FULCIO_EXTENSIONS) == 23
    assert found["sourceRepositoryDigest"] == "value 13"
    assert found["tokenSubject"] == "value 24"


@pytest.mark.parametrize(
    ("fields", "issuer"),
    [
        ({}, ""),
        ({1: "https://old"}, "https://old"),
        ({8: "https://new"}, "https://new"),
        ({1: "https://same", 8: "https://same"}, "https://same"),
    ],
)
def test_which_issuer_counts(fields, issuer):
    assert read_leaf(load_certificate(leaf_der(extensions=fields))).issuer == issuer


def test_san_kinds_in_the_order_of_the_certificate():
    names = [
        x509.DirectoryName(x509.Name([])),
        "a@b.example",
        pki.other_name("jürgen!ci"),
        "host.example",
        x509.OtherName(x509.ObjectIdentifier("1.2.3"), pki.utf8("not ours")),
        "https://ci.example/w",
    ]
    leaf = read_leaf(load_certificate(leaf_der(sans=names)))
    assert leaf.sans == ("a@b.example", "jürgen!ci", "host.example", "https://ci.example/w")


@pytest.mark.parametrize(
    ("oddities", "code"),
    [
        ({"extensions": {1: "https://good", 8: "https://evil"}}, "certificate-malformed"),
        ({"extensions": {1: "https://good", 8: ""}}, "certificate-malformed"),
        ({"extra": [(f"{FULCIO}.8", False, b"https://raw.example")]}, "certificate-malformed"),
        ({"extra": [(f"{FULCIO}.8", False, tlv(0x16, b"https://ia5"))]}, "certificate-malformed"),
        ({"extra": [(f"{FULCIO}.8", False, pki.utf8("a") + pki.utf8("b"))]}, "certificate-malformed"),
        ({"extra": [(f"{FULCIO}.8", False, tlv(0x0C, b"\xff"))]}, "certificate-malformed"),
        ({"extra": [(f"{FULCIO}.1", False, b"\xc3")]}, "certificate-malformed"),
        ({"extensions": {11: "x" * (NAME_CHARACTERS + 1)}}, "limit-exceeded"),
        ({"sans": [f"https://e/{n}" for n in range(ALTERNATIVE_NAMES + 1)]}, "limit-exceeded"),
        ({"sans": ["https://" + "x" * NAME_CHARACTERS]}, "limit-exceeded"),
        ({"extra": [("2.5.29.17", True, sequence(tlv(0x86, b"https://good\0evil")))]}, "certificate-malformed"),
        ({"extra": [("2.5.29.17", True, sequence(tlv(0x86, b"https://good\r\nx")))]}, "certificate-malformed"),
        ({"extra": [("2.5.29.17", True, sequence(tlv(0x86)))]}, "certificate-malformed"),
        ({"extra": [("2.5.29.17", True, sequence(tlv(0x82, "gооd.example".encode())))]}, "certificate-malformed"),
        ({"extra": [("2.5.29.17", True, sequence(tlv(0xA0, oid(f"{FULCIO}.7"))))]}, "certificate-malformed"),
        (
            {"extra": [("2.5.29.17", True, sequence(tlv(0xA0, oid(f"{FULCIO}.7"), tlv(0xA0, tlv(0x16, b"x")))))]},
            "certificate-malformed",
        ),
    ],
)
def test_identities_with_two_readings_are_refused(oddities, code):
    assert code_of(read_leaf, load_certificate(leaf_der(**oddities))) == code


def test_an_extension_nobody_knows_is_left_out():
    assert read_leaf(load_certificate(leaf_der(extensions={25: "later"}))).extensions == ()
