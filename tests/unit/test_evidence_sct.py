"""Certificate timestamps: the signed structure bit by bit, and whose signature counts."""

import random
from itertools import count

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.helpers import pki
from tests.helpers.pki import CODE_SIGNING, SCT_LIST, SECOND, T0, Ca, CtLog, sct_list, tlv
from verifier.errors import EvidenceError
from verifier.evidence.keys import public_key_from_spki
from verifier.evidence.material import Log, Material
from verifier.evidence.sct import SCTS, verify_scts
from verifier.evidence.x509 import load_certificate
from verifier.models import SctClaim

CA = Ca.root("root").intermediate("issuing", "p384", eku=CODE_SIGNING)
ISSUER = load_certificate(CA.certificate)
LOG, OTHER = CtLog("one"), CtLog("two")


def known(*logs: CtLog) -> Material:
    return Material.of((), [Log(log.id, "ct", public_key_from_spki(log.spki)) for log in logs])


def scts(leaf: pki.Leaf, material: Material, issuer=ISSUER):
    return verify_scts(load_certificate(leaf.certificate), issuer, material)


def with_list(value: bytes) -> pki.Leaf:
    return CA.leaf(extra=[(SCT_LIST, False, value)])


def precertificate() -> bytes:
    return x509.load_der_x509_certificate(CA.leaf(serial=7).certificate).tbs_certificate_bytes


def with_scts(*made: bytes) -> pki.Leaf:
    """The leaf whose precertificate is `precertificate()`, with these timestamps."""
    return CA.leaf(serial=7, extra=[(SCT_LIST, False, sct_list(made))])


def code_of(call, *args) -> str:
    with pytest.raises(EvidenceError) as caught:
        call(*args)
    return caught.value.code


def test_a_good_timestamp():
    leaf = CA.leaf(scts_by=[LOG], sct_at=T0 + 123_000)
    assert scts(leaf, known(LOG)) == ((SctClaim(LOG.id, T0 + 123_000),), ())


@pytest.mark.parametrize("key_type", ["p256", "p384", "rsa2048"])
def test_logs_of_every_key_type(key_type):
    log = CtLog("typed", key_type)
    assert scts(CA.leaf(scts_by=[log]), known(log))[0] == (SctClaim(log.id, T0),)


def test_the_other_parser_reads_the_same_list():
    leaf = CA.leaf(scts_by=[LOG, OTHER], sct_at=T0 + SECOND)
    extension = x509.load_der_x509_certificate(leaf.certificate).extensions.get_extension_for_class(
        x509.PrecertificateSignedCertificateTimestamps
    )
    claims, _ = scts(leaf, known(LOG, OTHER))
    assert [claim.log for claim in claims] == [sct.log_id.hex() for sct in extension.value]
    assert [claim.time for claim in claims] == [T0 + SECOND, T0 + SECOND]


def test_extensions_of_a_timestamp_are_signed_too():
    log = CtLog("static", extensions=b"\x00\x00\x05\x00\x00\x00\x00\x2a")
    leaf = CA.leaf(scts_by=[log])
    assert scts(leaf, known(log))[0] == (SctClaim(log.id, T0),)
    spoiled = leaf.certificate.replace(log.extensions, log.extensions[:-1] + b"\x2b")
    assert spoiled != leaf.certificate
    assert code_of(verify_scts, load_certificate(spoiled), ISSUER, known(log)) == "sct-invalid"


def test_unknown_logs_are_named_and_no_error():
    leaf = CA.leaf(scts_by=[LOG, OTHER])
    assert scts(leaf, known(OTHER)) == ((SctClaim(OTHER.id, T0),), (LOG.id,))
    assert scts(leaf, known()) == ((), (LOG.id, OTHER.id))


def test_a_transparency_log_is_no_ct_log():
    rekor = Material.of((), [Log(LOG.id, "transparency", public_key_from_spki(LOG.spki))])
    assert scts(CA.leaf(scts_by=[LOG]), rekor) == ((), (LOG.id,))


def test_no_list_no_claims():
    assert scts(CA.leaf(), known(LOG)) == ((), ())


def test_timestamps_of_one_log_count_once():
    tbs = precertificate()
    early, late = (LOG.sct(tbs, ISSUER.spki, T0 + n * SECOND) for n in (1, 2))
    assert scts(with_scts(late, early, late, early), known(LOG))[0] == (SctClaim(LOG.id, T0 + SECOND),)
    assert scts(with_scts(early, early), known()) == ((), (LOG.id,))


# ------------------------------------------------------------------------------------------------------------- attacks


def test_attack_a_forged_timestamp_of_a_known_log():
    assert code_of(scts, CA.leaf(scts_by=[LOG], spoil_scts=True), known(LOG)) == "sct-invalid"


def test_attack_a_timestamp_copied_from_another_certificate():
    stolen = x509.load_der_x509_certificate(CA.leaf("other", serial=7, scts_by=[LOG]).certificate)
    value = stolen.extensions.get_extension_for_oid(x509.ObjectIdentifier(SCT_LIST)).value.public_bytes()
    assert code_of(scts, with_list(value), known(LOG)) == "sct-invalid"


def test_attack_a_good_timestamp_does_not_cover_a_bad_one():
    tbs = precertificate()
    good, bad = LOG.sct(tbs, ISSUER.spki, T0), OTHER.sct(tbs, ISSUER.spki, T0, spoil=True)
    assert code_of(scts, with_scts(good, bad), known(LOG, OTHER)) == "sct-invalid"
    assert scts(with_scts(good, bad), known(LOG)) == ((SctClaim(LOG.id, T0),), (OTHER.id,))


def test_attack_a_timestamp_made_for_another_issuer():
    impostor = load_certificate(Ca.root("other").certificate)
    assert (
        code_of(verify_scts, load_certificate(CA.leaf(scts_by=[LOG]).certificate), impostor, known(LOG))
        == "sct-invalid"
    )


def test_attack_another_time_than_the_signed_one():
    leaf = CA.leaf(scts_by=[LOG])
    moved = leaf.certificate.replace((T0 // 1000).to_bytes(8), (T0 // 1000 - 1).to_bytes(8))
    assert moved != leaf.certificate
    assert code_of(verify_scts, load_certificate(moved), ISSUER, known(LOG)) == "sct-invalid"


@pytest.mark.parametrize("algorithm", [b"\x02\x03", b"\x05\x03", b"\x04\x01", b"\x08\x07", b"\x00\x00"], ids=count())
def test_attack_another_algorithm_than_the_declared_one(algorithm):
    made = LOG.sct(precertificate(), ISSUER.spki, T0)
    assert code_of(scts, with_scts(made.replace(b"\0\0\x04\x03", b"\0\0" + algorithm)), known(LOG)) == "sct-invalid"


def test_attack_a_raw_signature_where_der_is_due():
    made = LOG.sct(precertificate(), ISSUER.spki, T0)
    r, s = decode_dss_signature(made[47:])
    raw = r.to_bytes(32) + s.to_bytes(32)
    assert code_of(scts, with_scts(made[:45] + b"\0\x40" + raw), known(LOG)) == "sct-invalid"


GOOD = LOG.sct(precertificate(), ISSUER.spki, T0)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"", "certificate-malformed"),
        (b"\x00\x00", "certificate-malformed"),
        (tlv(4), "certificate-malformed"),
        (tlv(4, b"\x00"), "certificate-malformed"),
        (tlv(4, b"\x00\x00"), "certificate-malformed"),
        (tlv(4, b"\xff\xff"), "certificate-malformed"),
        (sct_list([GOOD]) + b"\0", "certificate-malformed"),
        (tlv(4, (2 + len(GOOD)).to_bytes(2) + len(GOOD).to_bytes(2) + GOOD + b"\0"), "certificate-malformed"),
        (tlv(4, (3 + len(GOOD)).to_bytes(2) + len(GOOD).to_bytes(2) + GOOD + b"\0"), "certificate-malformed"),
        (sct_list([b""]), "unsupported-evidence"),
        (sct_list([b"\1" + GOOD[1:]]), "unsupported-evidence"),
        (sct_list([GOOD + b"\0"]), "certificate-malformed"),
        (sct_list([GOOD[:-1]]), "certificate-malformed"),
        (sct_list([GOOD[:43]]), "certificate-malformed"),
        (sct_list([GOOD[:20]]), "certificate-malformed"),
        (sct_list([GOOD[:45] + b"\0\0"]), "certificate-malformed"),
        (sct_list([GOOD] * (SCTS + 1)), "limit-exceeded"),
    ],
    ids=count(),
)
def test_lists_that_cannot_be_read(value, code):
    assert code_of(scts, with_list(value), known(LOG)) == code


def test_no_mutation_makes_any_other_error():
    dice = random.Random(5)
    codes = set()
    for _ in range(400):
        data = bytearray(sct_list([GOOD, GOOD]))
        for _ in range(dice.choice((1, 2, 4))):
            data[dice.randrange(len(data))] = dice.randrange(256)
        del data[dice.choice((len(data), dice.randrange(len(data)))) :]
        try:
            claims, _ = scts(with_list(bytes(data)), known(LOG))
        except EvidenceError as error:
            codes.add(error.code)
        else:
            assert claims == ()  # the serial number differs: nothing in here may ever verify
    assert codes == {"certificate-malformed", "sct-invalid", "unsupported-evidence"}
