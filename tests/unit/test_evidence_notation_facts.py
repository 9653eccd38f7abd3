"""What a fact about a Notary Project signature is made of: chains, times, windows, revocation sources."""

from functools import cache
from typing import Any

import pytest

from tests.helpers.notation import AUTHORITY, DIGEST, SUBJECT, X509, envelope, notation_evidence
from tests.helpers.pki import DAY, SECOND, T0, Ca, Leaf, Tsa, issue, make_key, sequence
from verifier.evidence.material import Authority, Material, authority_id
from verifier.evidence.notation import notation_fact_parts
from verifier.evidence.x509 import load_certificate
from verifier.models import TimeClaim

LEAF: dict[str, Any] = {"subject": SUBJECT, "not_before": T0, "not_after": T0 + 365 * DAY}
both = pytest.mark.parametrize("form", ["jws", "cose"])


@cache
def root() -> Ca:
    return Ca.root("notary root")


@cache
def leaf() -> Leaf:
    return root().leaf("signer", **LEAF)


def anchor(*ders: bytes, use: str = "notation") -> Authority:
    return Authority(authority_id(use, ders), use, ders)  # type: ignore[arg-type]  # one of two literals


CDP = ("2.5.29.31", False, sequence(sequence(b"\xa0\x13\xa0\x11\x86\x0f" + b"http://crl.test")))


def parts(data: bytes, form: str, *authorities: Authority):
    return notation_fact_parts(notation_evidence(data, form), Material.of(authorities))


@both
def test_a_good_signature_under_its_root(form):
    data = envelope(leaf(), form, expiry=T0 + DAY, at=T0 + SECOND)
    found = parts(data, form, anchor(root().certificate))
    signer = load_certificate(leaf().certificate)
    assert (found.kind, found.signature_good, found.algorithm) == ("signature", True, "ecdsa-p256-sha256")
    assert (found.subjects, found.scheme, found.expires, found.claimed_time) == ((DIGEST,), X509, T0 + DAY, T0 + SECOND)
    assert found.certificate is not None
    assert (found.certificate.key_id, found.certificate.subject) == (signer.key_id, signer.subject)
    assert [chain.key_ids for chain in found.chains] == [(root().key_id,)]
    assert found.chains[0].serials == (f"{root().key_id}:{signer.serial}",)
    assert (found.times, found.undecided, found.timestamp_problem, found.chains_problem) == ((), (), "", "")
    assert found.window == (T0, T0 + 365 * DAY) == (found.chains[0].valid_from, found.chains[0].valid_until)
    assert found.revocable == ()


@both
def test_attack_the_envelopes_own_root_is_no_authority(form):
    found = parts(envelope(leaf(), form), form, anchor(Ca.root("other").certificate))
    assert (found.signature_good, found.chains, found.undecided) == (True, (), ("authority",))
    assert found.chains_problem


@both
def test_attack_authorities_of_another_use_are_not_asked(form):
    found = parts(envelope(leaf(), form), form, anchor(root().certificate, use="signing"))
    assert (found.chains, found.undecided) == ((), ("authority",))


@both
def test_attack_a_leaf_for_servers(form):
    server = root().leaf("server", **LEAF, eku="1.3.6.1.5.5.7.3.1")
    found = parts(envelope(server, form), form, anchor(root().certificate))
    assert (found.signature_good, found.chains) == (True, ())
    assert "ExtendedKeyUsage" in found.chains_problem


@both
def test_a_bad_signature_says_nothing_about_signers(form):
    found = parts(envelope(leaf(), form, key=make_key("thief")), form, anchor(root().certificate))
    assert (found.signature_good, found.algorithm, found.certificate, found.chains) == (False, "", None, ())
    assert found.subjects == (DIGEST,)


@both
def test_a_self_signed_leaf_that_is_the_anchor_itself(form):
    key = make_key("alone")
    usage: dict[str, Any] = {"key_usage": ("digital_signature",), "not_before": T0, "not_after": T0 + DAY}
    der = issue(SUBJECT, key, SUBJECT, key, **usage)
    found = parts(envelope(Leaf(der, key), form), form, anchor(der))
    assert (len(found.chains), found.chains[0].serials, found.revocable) == (1, (), ())


@both
def test_a_signing_authoritys_time_is_a_claim_by_its_leaf(form):
    data = envelope(leaf(), form, scheme=AUTHORITY, at=T0 + SECOND, timestamp=b"not looked at")
    found = parts(data, form, anchor(root().certificate))
    key_id = load_certificate(leaf().certificate).key_id
    assert found.times == (TimeClaim("signing-authority", "attested", T0 + SECOND, source_key=key_id),)
    assert (found.timestamp_problem, found.undecided) == ("", ())


@cache
def tsa() -> tuple[Tsa, Ca]:
    top = Ca.root("tsa root")
    return Tsa.under(top), top


@both
def test_a_timestamp_over_the_primitive_signature(form):
    stamper, top = tsa()
    data = envelope(leaf(), form, stamp=lambda signature: stamper.token(signature, T0 + DAY))
    stamps = anchor(top.certificate, use="timestamping")
    found = parts(data, form, anchor(root().certificate), stamps)
    assert [(t.source, t.authority, t.time - t.accuracy) for t in found.times] == [("tsa", stamps.id, T0 + DAY)]
    assert (found.undecided, found.timestamp_problem) == ((), "")
    assert parts(data, form, anchor(root().certificate)).undecided == ("timestamp",)


@both
def test_attack_a_timestamp_of_another_signature_is_a_problem_and_no_time(form):
    stamper, top = tsa()
    stamps = anchor(top.certificate, use="timestamping")
    data = envelope(leaf(), form, stamp=lambda _: stamper.token(b"another signature", T0))
    found = parts(data, form, anchor(root().certificate), stamps)
    assert (found.signature_good, found.times) == (True, ())
    assert found.timestamp_problem.startswith("timestamp-invalid: ")
    junk = parts(envelope(leaf(), form, timestamp=b"junk"), form, anchor(root().certificate), stamps)
    assert (junk.signature_good, junk.times) == (True, ())
    assert junk.timestamp_problem.startswith("timestamp-malformed: ")


@both
def test_certificates_that_name_a_revocation_source_are_listed(form):
    middle = root().intermediate("middle", extra=[CDP])
    signer = middle.leaf("below", **LEAF, extra=[CDP])
    plain = middle.leaf("plain", **LEAF)
    of_middle = f"{root().key_id}:{load_certificate(middle.certificate).serial}"
    of_signer = f"{middle.key_id}:{load_certificate(signer.certificate).serial}"
    found = parts(envelope(signer, form), form, anchor(root().certificate))
    assert found.chains[0].serials == (of_signer, of_middle)
    assert found.revocable == (of_signer, of_middle)
    assert parts(envelope(plain, form), form, anchor(root().certificate)).revocable == (of_middle,)


@both
def test_attack_a_twin_with_the_same_serial_does_not_hide_a_revocation_source(form):
    signer = root().leaf("twin", **LEAF, extra=[CDP], serial=77)
    twin = Ca.root("evil").leaf("twin", **LEAF, serial=77).certificate
    orders = ([signer.certificate, twin, root().certificate], [signer.certificate, root().certificate, twin])
    for chain in orders:
        found = parts(envelope(signer, form, certificates=chain), form, anchor(root().certificate))
        assert found.revocable == (found.chains[0].serials if found.chains else ())
    helped = anchor(Ca.root("evil").leaf("twin", **LEAF, serial=77).certificate, root().certificate)
    assert parts(envelope(signer, form), form, helped).revocable == (f"{root().key_id}:4d",)
    own = parts(envelope(signer, form), form, anchor(root().certificate))
    assert own.revocable == (f"{root().key_id}:4d",)


def test_windows_of_the_whole_chain():
    short = Ca.root("short root", not_before=T0 + 5 * DAY, not_after=T0 + 9 * DAY)
    found = parts(envelope(short.leaf("x", **LEAF), "jws"), "jws")
    assert found.window == (T0 + 5 * DAY, T0 + 9 * DAY)
