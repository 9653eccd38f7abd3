"""CRLs and OCSP responses as data: what is read, who may have signed it, and the attacks on both."""

import hashlib
import random
import subprocess
import time
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp

from tests.helpers.pki import (
    DAY,
    SECOND,
    T0,
    Ca,
    Leaf,
    integer,
    moment,
    oid,
    pem,
    sequence,
    signature_algorithm,
    spki,
    tlv,
)
from tests.helpers.pki import sign as sign_with
from verifier.errors import EvidenceError
from verifier.evidence import crl as module
from verifier.evidence.crl import (
    Revocation,
    names_revocation_source,
    read_crl,
    read_ocsp,
    status_of,
)
from verifier.evidence.x509 import Certificate, load_certificate
from verifier.times import since_epoch

NOW = T0 + DAY
CA = Ca.root("crl root")
ISSUER = load_certificate(CA.certificate)
RSA_SHA1 = sequence(oid("1.2.840.113549.1.1.5"), tlv(0x05))
OCSP_SIGNING = "1.3.6.1.5.5.7.3.9"


def key_id(ca: Ca) -> str:
    return hashlib.sha256(spki(ca.key)).hexdigest()


def over_sha1(key, message: bytes) -> bytes:
    return key.sign(message, padding.PKCS1v15(), hashes.SHA1())


# ---------------------------------------------------------------------------------------------------------------- CRLs


def entry(serial: int, *, at: int = T0, reason: str = "", invalid: int | None = None, extra=None, critical=False):
    built = x509.RevokedCertificateBuilder(serial, moment(at))
    if reason:
        built = built.add_extension(x509.CRLReason(x509.ReasonFlags(reason)), critical=False)
    if invalid is not None:
        built = built.add_extension(x509.InvalidityDate(moment(invalid)), critical=False)
    if extra is not None:
        built = built.add_extension(extra, critical)
    return built.build()


def crl(
    *entries,
    ca: Ca = CA,
    key=None,
    name: str = "",
    since: int = T0,
    until: int = T0 + 7 * DAY,
    extensions=(),
    algorithm=None,
    **sign,
) -> bytes:
    """A CRL, DER; `extensions` are (extension, critical)."""
    issuer = x509.Name.from_rfc4514_string(name) if name else x509.load_der_x509_certificate(ca.certificate).subject
    built = x509.CertificateRevocationListBuilder(issuer, moment(since), moment(until), [], list(entries))
    built = built.add_extension(x509.CRLNumber(1), critical=False)
    for extension, critical in extensions:
        built = built.add_extension(extension, critical)
    made = built.sign(key or ca.key, algorithm or hashes.SHA256(), **sign)
    return made.public_bytes(Encoding.DER)


def refused(data: bytes, issuer: Certificate = ISSUER) -> tuple[str, str]:
    with pytest.raises(EvidenceError) as caught:
        read_crl(data, issuer)
    return caught.value.code, str(caught.value)


def test_everything_a_crl_says():
    data = crl(
        entry(0x2A, at=T0 - DAY, reason="keyCompromise", invalid=T0 - 5 * DAY),
        entry(0xFF00, at=T0 - 2 * DAY),
        entry(0xFF00, at=T0 - DAY, reason="certificateHold"),
    )
    found = read_crl(data, ISSUER)
    assert (found.issuer, found.this_update, found.next_update) == (key_id(CA), T0, T0 + 7 * DAY)
    assert found.scope == "all"
    assert found.entries == {
        "2a": (Revocation(T0 - DAY, "keyCompromise", T0 - 5 * DAY),),
        "ff00": (Revocation(T0 - 2 * DAY, "unspecified"), Revocation(T0 - DAY, "certificateHold")),
    }


def test_pem_and_der_say_the_same():
    data = crl(entry(1))
    pem = x509.load_der_x509_crl(data).public_bytes(Encoding.PEM)
    assert read_crl(pem, ISSUER) == read_crl(data, ISSUER)
    assert read_crl(b"\n  " + pem, ISSUER).entries.keys() == {"1"}


@pytest.mark.parametrize("key_type", ["rsa2048", "p256", "p384", "p521"])
@pytest.mark.parametrize("algorithm", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
def test_keys_and_hashes(key_type, algorithm):
    ca = Ca.root("crl keys", key_type)
    issuer = load_certificate(ca.certificate)
    assert read_crl(crl(entry(1), ca=ca, algorithm=algorithm), issuer).entries.keys() == {"1"}


def test_rsa_pss_and_ed25519():
    ca = Ca.root("crl keys", "rsa2048")
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    assert read_crl(crl(entry(1), ca=ca, rsa_padding=pss), load_certificate(ca.certificate)).entries


@pytest.mark.parametrize("reason", sorted(r.value for r in x509.ReasonFlags))
def test_reasons_keep_their_names(reason):
    assert read_crl(crl(entry(1, reason=reason)), ISSUER).entries["1"][0].reason == reason


def test_attack_another_key_with_the_issuers_name():
    twin = Ca("crl root", CA.certificate, Ca.root("thief").key)
    code, says = refused(crl(entry(1), ca=twin))
    assert (code, says) == ("revocation-invalid", "the CRL's signature is bad")


def test_attack_the_right_key_with_another_name():
    assert refused(crl(entry(1), name="CN=other"))[0] == "revocation-invalid"


@pytest.mark.parametrize("step", [-1, -40, 60, 200])
def test_attack_a_changed_byte(step):
    data = bytearray(crl(*(entry(n, reason="keyCompromise") for n in range(1, 9))))
    data[step] ^= 1
    assert refused(bytes(data))[0] in {"revocation-invalid", "revocation-malformed", "unsupported-evidence"}


def test_attack_a_leaf_does_not_sign_crls():
    leaf = CA.leaf("signer", subject="CN=signer", not_after=T0 + DAY, key_usage=("digital_signature", "crl_sign"))
    fake = Ca("signer", leaf.certificate, leaf.key)
    assert refused(crl(entry(1), ca=fake), load_certificate(leaf.certificate)) == (
        "revocation-invalid",
        "the CRL's issuer is no CA",
    )


def test_attack_a_ca_that_may_not_sign_crls():
    ca = Ca.root("no crl sign", key_usage=("key_cert_sign",))
    assert "does not allow to sign CRLs" in refused(crl(entry(1), ca=ca), load_certificate(ca.certificate))[1]
    silent = Ca.root("no usage", key_usage=None)
    assert read_crl(crl(entry(1), ca=silent), load_certificate(silent.certificate)).entries


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")


def part(**changes) -> tuple[x509.IssuingDistributionPoint, bool]:
    fields: dict[str, Any] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**fields | changes), True


@pytest.mark.parametrize(
    ("extensions", "says"),
    [
        ([(x509.DeltaCRLIndicator(1), True)], "a delta CRL"),
        ([(x509.DeltaCRLIndicator(1), False)], "a delta CRL"),
        ([part(indirect_crl=True)], "an indirect CRL"),
        ([part(only_some_reasons=frozenset({x509.ReasonFlags.key_compromise}))], "for some reasons"),
        ([part(only_contains_attribute_certs=True)], "attribute certificates"),
        ([(UNKNOWN, True)], "1.2.3.4"),
    ],
)
def test_attack_lists_that_do_not_say_everything(extensions, says):
    code, found = refused(crl(entry(1), extensions=extensions))
    assert (code, says in found) == ("unsupported-evidence", True)


def test_extensions_that_may_be_there():
    ski = x509.AuthorityKeyIdentifier.from_issuer_public_key(CA.key.public_key())
    point = part(full_name=[x509.UniformResourceIdentifier("http://crl.test/ca.crl")])
    assert read_crl(crl(entry(1), extensions=[(ski, False), (UNKNOWN, False), point]), ISSUER).scope == "all"
    assert read_crl(crl(extensions=[part(only_contains_user_certs=True)]), ISSUER).scope == "users"
    assert read_crl(crl(extensions=[part(only_contains_ca_certs=True)]), ISSUER).scope == "authorities"


def test_attack_a_critical_entry_extension_makes_the_whole_list_useless():
    issuer = x509.CertificateIssuer([x509.DirectoryName(x509.Name.from_rfc4514_string("CN=other"))])
    for extra in (UNKNOWN, issuer):
        code, says = refused(crl(entry(1), entry(2, extra=extra, critical=True)))
        assert (code, "critical extension" in says) == ("unsupported-evidence", True)
    assert read_crl(crl(entry(2, extra=UNKNOWN)), ISSUER).entries


def test_attack_sha1():
    ca = Ca.root("crl keys", "rsa2048")
    issuer = x509.load_der_x509_certificate(ca.certificate).subject.public_bytes()
    algorithm = RSA_SHA1
    dates = tlv(0x17, b"260101000000Z") + tlv(0x17, b"260201000000Z")
    tbs = sequence(integer(1), algorithm, issuer, dates)
    data = sequence(tbs, algorithm, tlv(0x03, b"\0" + over_sha1(ca.key, tbs)))
    code, says = refused(data, load_certificate(ca.certificate))
    assert (code, "SHA-1" in says) == ("unsupported-evidence", True)


def test_a_list_without_an_end_is_refused():
    issuer = x509.load_der_x509_certificate(CA.certificate).subject.public_bytes()
    algorithm = signature_algorithm(CA.key, "sha256")
    tbs = sequence(integer(1), algorithm, issuer, tlv(0x17, b"260101000000Z"))
    data = sequence(tbs, algorithm, tlv(0x03, b"\0" + sign_with(CA.key, tbs, "sha256")))
    assert "nextUpdate" in refused(data)[1]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30\x00",
        b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        b"-----BEGIN CERTIFICATE-----",
        b"\x30\x84\xff\xff\xff\xff",
        CA.certificate,
    ],
)
def test_attack_bytes_that_are_no_crl(data):
    assert refused(data)[0] == "revocation-malformed"


def test_attack_trailing_bytes():
    assert refused(crl(entry(1)) + b"\0")[0] == "revocation-malformed"


def test_sizes(monkeypatch):
    assert refused(bytes(module.CRL_BYTES + 1))[0] == "limit-exceeded"
    monkeypatch.setattr(module, "CRL_ENTRIES", 3)
    assert read_crl(crl(*(entry(n) for n in range(1, 4))), ISSUER).entries
    assert refused(crl(*(entry(n) for n in range(1, 5))))[0] == "limit-exceeded"


def test_attack_a_large_list_of_somebody_else_is_refused_before_its_entries_are_read():
    data = crl(*(entry(n, reason="keyCompromise") for n in range(1, 5000)), key=Ca.root("thief").key)
    started = time.thread_time()
    assert refused(data)[0] == "revocation-invalid"
    assert time.thread_time() - started < 0.05


def test_attack_damage_raises_evidence_errors_only():
    chance = random.Random(3)
    whole = crl(entry(1, reason="keyCompromise", invalid=T0), entry(2), extensions=[part(only_contains_ca_certs=True)])
    answer = ocsp_response(extensions=sequence(INVALIDITY), status=REVOKED)
    for data, read in ((whole, lambda d: read_crl(d, ISSUER)), (answer, lambda d: read_ocsp(d, ISSUER, instant=NOW))):
        for _ in range(600):
            damaged = bytearray(data)
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            cut = bytes(damaged[: chance.choice([len(damaged), chance.randrange(len(damaged))])])
            if cut != data:
                with pytest.raises(EvidenceError):
                    read(cut)


# ---------------------------------------------------------------------------------------------------------------- OCSP


GOOD, REVOKED, UNKNOWN_STATUS = "good", "revoked", "unknown"
INVALIDITY = sequence(oid("2.5.29.24"), tlv(0x04, tlv(0x18, b"20251201000000Z")))


def gtime(at: int) -> bytes:
    return tlv(0x18, moment(at).strftime("%Y%m%d%H%M%SZ").encode())


def cert_id(ca: Ca, serial: int, hash_name: str = "sha1") -> bytes:
    oids = {"sha1": "1.3.14.3.2.26", "sha256": "2.16.840.1.101.3.4.2.1"}
    certificate = x509.load_der_x509_certificate(ca.certificate)
    bits = x509.SubjectKeyIdentifier.from_public_key(ca.key.public_key()).digest
    if hash_name != "sha1":
        public = spki(ca.key)
        bits = hashlib.new(hash_name, public[-65:]).digest()  # the point of a P-256 key stands at the end
    name = hashlib.new(hash_name, certificate.subject.public_bytes()).digest()
    return sequence(sequence(oid(oids[hash_name]), tlv(0x05)), tlv(0x04, name), tlv(0x04, bits), integer(serial))


def ocsp_response(
    *,
    ca: Ca = CA,
    key=None,
    serial: int = 7,
    status: str = GOOD,
    since: int = T0,
    until: int | None = T0 + 7 * DAY,
    extensions: bytes = b"",
    about: Ca | None = None,
    responder: bytes | None = None,
    certificates: tuple[bytes, ...] = (),
    hash_name: str = "sha1",
    signed_over: str = "sha256",
    twice: bool = False,
    response_extensions: bytes = b"",
    answer: int = 0,
) -> bytes:
    """An OCSP response, DER; by name of the CA unless `responder` says otherwise."""
    key = key or ca.key
    states = {
        GOOD: tlv(0x80),
        REVOKED: tlv(0xA1, gtime(T0 - DAY), tlv(0xA0, tlv(0x0A, b"\x01"))),
        UNKNOWN_STATUS: tlv(0x82),
    }
    single = sequence(
        cert_id(about or ca, serial, hash_name),
        states[status],
        gtime(since),
        b"" if until is None else tlv(0xA0, gtime(until)),
        tlv(0xA1, extensions) if extensions else b"",
    )
    by = responder or tlv(0xA1, x509.load_der_x509_certificate(ca.certificate).subject.public_bytes())
    more = tlv(0xA1, response_extensions) if response_extensions else b""
    data = sequence(by, gtime(since), sequence(*([single] * (2 if twice else 1))), more)
    basic = sequence(
        data,
        RSA_SHA1 if signed_over == "sha1" else signature_algorithm(key, signed_over),
        tlv(0x03, b"\0" + (over_sha1(key, data) if signed_over == "sha1" else sign_with(key, data, signed_over))),
        tlv(0xA0, sequence(*certificates)) if certificates else b"",
    )
    bytes_ = tlv(0xA0, sequence(oid("1.3.6.1.5.5.7.48.1.1"), tlv(0x04, basic)))
    return sequence(tlv(0x0A, bytes([answer])), bytes_ if answer == 0 else b"")


def ocsp_refused(data: bytes, *, issuer: Certificate = ISSUER, instant: int = NOW) -> tuple[str, str]:
    with pytest.raises(EvidenceError) as caught:
        read_ocsp(data, issuer, instant=instant)
    return caught.value.code, str(caught.value)


@pytest.mark.parametrize("status", [GOOD, REVOKED, UNKNOWN_STATUS])
@pytest.mark.parametrize("hash_name", ["sha1", "sha256"])
def test_what_an_answer_says(status, hash_name):
    found = read_ocsp(ocsp_response(status=status, hash_name=hash_name), ISSUER, instant=NOW)
    assert (found.issuer, found.serial, found.state) == (key_id(CA), "7", status)
    assert (found.this_update, found.next_update, found.responder) == (T0, T0 + 7 * DAY, key_id(CA))
    assert found.revocation == (Revocation(T0 - DAY, "keyCompromise") if status == REVOKED else None)


def test_an_answer_with_an_invalidity_date():
    found = read_ocsp(ocsp_response(status=REVOKED, extensions=sequence(INVALIDITY)), ISSUER, instant=NOW)
    assert found.revocation == Revocation(T0 - DAY, "keyCompromise", T0 - 31 * DAY)


def test_answers_made_by_cryptography_itself():
    leaf = CA.leaf("ocsp leaf", serial=0xBEEF)
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=x509.load_der_x509_certificate(leaf.certificate),
        issuer=x509.load_der_x509_certificate(CA.certificate),
        algorithm=hashes.SHA1(),
        cert_status=ocsp.OCSPCertStatus.REVOKED,
        this_update=moment(T0),
        next_update=moment(T0) + timedelta(days=2),
        revocation_time=moment(T0 - DAY),
        revocation_reason=x509.ReasonFlags.superseded,
    )
    signer = x509.load_der_x509_certificate(CA.certificate)
    for encoding in (ocsp.OCSPResponderEncoding.HASH, ocsp.OCSPResponderEncoding.NAME):
        made = builder.responder_id(encoding, signer).sign(CA.key, hashes.SHA256()).public_bytes(Encoding.DER)
        found = read_ocsp(made, ISSUER, instant=NOW)
        assert (found.serial, found.revocation) == ("beef", Revocation(T0 - DAY, "superseded"))


DELEGATE: dict[str, Any] = {
    "subject": "CN=responder",
    "eku": OCSP_SIGNING,
    "not_before": T0,
    "not_after": T0 + 30 * DAY,
}
BY_DELEGATE = tlv(0xA1, x509.Name.from_rfc4514_string("CN=responder").public_bytes())


def delegated(leaf: Leaf, **changes) -> bytes:
    options: dict[str, Any] = {"key": leaf.key, "certificates": (leaf.certificate,), "responder": BY_DELEGATE}
    return ocsp_response(**options | changes)


def test_a_delegate_of_the_issuer():
    leaf = CA.leaf("responder", **DELEGATE)
    found = read_ocsp(delegated(leaf), ISSUER, instant=NOW)
    assert (found.state, found.responder) == (GOOD, leaf.key_id)
    by_key = tlv(0xA2, tlv(0x04, x509.SubjectKeyIdentifier.from_public_key(leaf.key.public_key()).digest))
    assert read_ocsp(delegated(leaf, responder=by_key), ISSUER, instant=NOW).responder == leaf.key_id


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"eku": "1.3.6.1.5.5.7.3.3"}, "not for OCSP signing"),
        ({"eku": ()}, "not for OCSP signing"),
        ({"eku": "2.5.29.37.0"}, "not for OCSP signing"),
        ({"key_usage": ("crl_sign",)}, "does not allow signatures"),
        ({"not_after": NOW - DAY // 2}, "not valid at this instant"),
        ({"not_before": NOW + DAY // 2}, "not valid at this instant"),
        ({"extra": [("1.2.3.4", True, b"\x05\x00")]}, "critical extension"),
    ],
)
def test_attack_delegates_that_are_none(changes, says):
    assert says in ocsp_refused(delegated(CA.leaf("responder", **DELEGATE | changes)))[1]


def test_attack_a_delegate_of_another_ca():
    for ca in (Ca.root("other"), CA.intermediate("below the issuer")):
        code, says = ocsp_refused(delegated(ca.leaf("responder", **DELEGATE)))
        assert (code, "not of this issuer" in says) == ("revocation-invalid", True)
    twin = Ca("crl root", CA.certificate, Ca.root("thief").key)
    assert ocsp_refused(delegated(twin.leaf("responder", **DELEGATE)))[0] == "revocation-invalid"


CRITICAL = sequence(oid("1.2.3.4"), tlv(0x01, b"\xff"), tlv(0x04, b"\x05\x00"))
FIVE = tuple(CA.leaf(f"c{n}").certificate for n in range(5))


def test_attack_an_answer_over_sha1():
    ca = Ca.root("ocsp keys", "rsa2048")
    code, says = ocsp_refused(ocsp_response(ca=ca, signed_over="sha1"), issuer=load_certificate(ca.certificate))
    assert (code, "SHA-1" in says) == ("unsupported-evidence", True)


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (ocsp_response(key=Ca.root("thief").key), "revocation-invalid", "signature is bad"),
        (ocsp_response(about=Ca.root("other")), "revocation-invalid", "another issuer"),
        (ocsp_response(ca=Ca.root("other")), "revocation-invalid", "another issuer"),
        (ocsp_response(responder=BY_DELEGATE), "revocation-invalid", "nobody who is known"),
        (ocsp_response(until=None), "unsupported-evidence", "without nextUpdate"),
        (ocsp_response(twice=True), "unsupported-evidence", "about 2 certificates"),
        (ocsp_response(answer=6), "revocation-invalid", "UNAUTHORIZED"),
        (ocsp_response(answer=3), "revocation-invalid", "TRY_LATER"),
        (
            ocsp_response(extensions=sequence(CRITICAL), status=REVOKED),
            "unsupported-evidence",
            "1.2.3.4",
        ),
        (
            ocsp_response(response_extensions=sequence(CRITICAL)),
            "unsupported-evidence",
            "1.2.3.4",
        ),
        (ocsp_response(certificates=FIVE), "limit-exceeded", "limit 4"),
        (b"", "revocation-malformed", "read"),
        (b"\x30\x00", "revocation-malformed", "read"),
        (bytes(module.OCSP_BYTES + 1), "limit-exceeded", "limit"),
    ],
)
def test_attack_answers(data, code, says):
    found = ocsp_refused(data)
    assert (found[0], says in found[1]) == (code, True), found


@pytest.mark.parametrize(
    ("instant", "good"), [(T0 - 1, False), (T0, True), (T0 + 7 * DAY, True), (T0 + 7 * DAY + 1, False)]
)
def test_an_answer_has_its_time(instant, good):
    data = ocsp_response()
    if good:
        assert read_ocsp(data, ISSUER, instant=instant).state == GOOD
    else:
        code, says = ocsp_refused(data, instant=instant)
        assert (code, "not valid at" in says) == ("revocation-invalid", True)


@pytest.mark.parametrize("key_type", ["rsa2048", "p384", "p521"])
def test_responders_of_every_key(key_type):
    ca = Ca.root("ocsp keys", key_type)
    if isinstance(ca.key, rsa.RSAPrivateKey):
        assert read_ocsp(ocsp_response(ca=ca), load_certificate(ca.certificate), instant=NOW).state == GOOD
    for algorithm in ("sha256", "sha384", "sha512"):
        data = ocsp_response(ca=ca, signed_over=algorithm)
        assert read_ocsp(data, load_certificate(ca.certificate), instant=NOW).state == GOOD


# ------------------------------------------------------------------------------------------------- sources, real data

CDP = ("2.5.29.31", False, sequence(sequence(b"\xa0\x13\xa0\x11\x86\x0f" + b"http://crl.test")))
AIA = "1.3.6.1.5.5.7.1.1"


def access(method: str) -> tuple[str, bool, bytes]:
    return AIA, False, sequence(sequence(oid(f"1.3.6.1.5.5.7.48.{method}"), tlv(0x86, b"http://ca.test")))


@pytest.mark.parametrize(
    ("extra", "names"),
    [
        ([], False),
        ([CDP], True),
        ([("2.5.29.46", False, CDP[2])], True),
        ([access("1")], True),
        ([access("2")], False),
        ([(AIA, False, b"\x05\x00")], True),
        ([("2.5.29.31", False, b"\x05\x00")], True),
    ],
)
def test_certificates_that_say_where_to_ask(extra, names):
    assert names_revocation_source(CA.leaf("asks", extra=extra).certificate) is names


def test_from_bytes_to_answer():
    leaf = CA.leaf("whole way", serial=0xABC)
    serial = f"{key_id(CA)}:{load_certificate(leaf.certificate).serial}"
    bad = read_crl(crl(entry(0xABC, reason="keyCompromise", invalid=T0 + 10 * SECOND)), ISSUER)
    assert status_of((serial,), [bad], None, instant=NOW).state == "revoked"
    assert status_of((serial,), [bad], T0 + 9 * SECOND, instant=NOW).state == "good"
    assert status_of((serial,), [read_crl(crl(), ISSUER)], None, instant=NOW).state == "good"
    answer = read_ocsp(ocsp_response(serial=0xABC, status=REVOKED), ISSUER, instant=NOW)
    assert status_of((serial,), [answer], None, instant=NOW).state == "revoked"


# ------------------------------------------------------------------------------------------- made by openssl, not by us

INDEX = """\
V\t360101000000Z\t\t10\tunknown\t/CN=valid
R\t360101000000Z\t251231000000Z,keyCompromise\t11\tunknown\t/CN=stolen
R\t360101000000Z\t251231000000Z,keyTime,20251215000000Z\t12\tunknown\t/CN=stolen earlier
R\t360101000000Z\t251231000000Z,CAkeyTime,20251215000000Z\t13\tunknown\t/CN=with its CA
R\t360101000000Z\t251231000000Z,superseded\t14\tunknown\t/CN=superseded
R\t360101000000Z\t251231000000Z,certificateHold\t15\tunknown\t/CN=held
R\t360101000000Z\t251231000000Z\t16\tunknown\t/CN=no reason
"""
"""openssl's database of a CA: state, end, revocation, serial, file, subject."""
CONFIGURATION = """\
[ca]
default_ca = own
[own]
database = index.txt
crlnumber = number
default_md = sha256
default_crl_days = 7
crl_extensions = ext
[ext]
authorityKeyIdentifier = keyid
"""
DATE = T0 - DAY
SINCE = T0 - 17 * DAY
EXPECTED = {
    "11": Revocation(DATE, "keyCompromise"),
    "12": Revocation(DATE, "keyCompromise", SINCE),
    "13": Revocation(DATE, "cACompromise", SINCE),
    "14": Revocation(DATE, "superseded"),
    "15": Revocation(DATE, "certificateHold"),
    "16": Revocation(DATE),
}


@pytest.fixture(scope="module")
def openssl(require, tmp_path_factory):
    """Runs openssl in a folder with a CA; gives what it wrote to `out`."""
    folder = tmp_path_factory.mktemp("openssl")
    (folder / "ca.pem").write_text(pem(CA.certificate))
    (folder / "ca.key").write_bytes(CA.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "index.txt").write_text(INDEX)
    (folder / "number").write_text("01\n")
    (folder / "ca.cnf").write_text(CONFIGURATION)

    def run(*arguments: str) -> bytes:
        done = subprocess.run([require("openssl"), *arguments], cwd=folder, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        return (folder / "out").read_bytes()

    return run


@pytest.mark.needs("openssl")
def test_a_crl_of_openssl(openssl):
    data = openssl("ca", "-config", "ca.cnf", "-gencrl", "-keyfile", "ca.key", "-cert", "ca.pem", "-out", "out")
    found = read_crl(data, ISSUER)
    assert found.entries == {serial: (stated,) for serial, stated in EXPECTED.items()}
    assert found.next_update - found.this_update == 7 * DAY


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("serial", ["10", *EXPECTED, "17"])
def test_an_ocsp_answer_of_openssl(openssl, serial):
    openssl("ocsp", "-issuer", "ca.pem", "-serial", f"0x{serial}", "-no_nonce", "-reqout", "out")
    signer = ("-CA", "ca.pem", "-rsigner", "ca.pem", "-rkey", "ca.key", "-rmd", "sha256", "-ndays", "3")
    data = openssl("ocsp", "-index", "index.txt", *signer, "-reqin", "out", "-respout", "out", "-noverify")
    issued = since_epoch(ocsp.load_der_ocsp_response(data).this_update_utc)
    found = read_ocsp(data, ISSUER, instant=issued)
    state = "good" if serial == "10" else "revoked" if serial in EXPECTED else "unknown"
    assert (found.serial, found.state, found.revocation) == (serial, state, EXPECTED.get(serial))
    assert found.next_update - found.this_update == 3 * DAY
