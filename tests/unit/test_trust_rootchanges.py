"""Roots and revocation lists on their way in, by the builder and by the log that every reader folds."""

from typing import Any

import pytest

from tests.helpers.pki import DAY, T0, Ca, issue, make_key, pem
from tests.helpers.rekor import b64
from tests.helpers.scene import HEAD, Instance, crl, listed, own_leaf, own_root, root, serial_of, trust_of
from verifier.errors import TrustError
from verifier.policy.attestors import MAX_ROOT_CHARACTERS
from verifier.trust.changes import By
from verifier.trust.records import StatusListPut
from verifier.trust.rootchanges import put_root, put_status_list, remove_root
from verifier.trust.state import TrustState

ALPHA, CORP = Instance("alpha"), Ca.root("corp")
BY = By("alice", T0, "cli", "why")
EMPTY = TrustState.empty()
WITH = trust_of(own_root(CORP))
PEM = pem(CORP.certificate)


def test_a_root_in_and_out():
    record = put_root(EMPTY, BY, "corp", "certificates", PEM)
    assert (record.name, record.expects, record.author, record.note) == ("corp", 0, "alice", "why")
    state = trust_of(record)
    assert remove_root(state, BY, "corp").name == "corp"
    with pytest.raises(TrustError, match="already is so"):
        put_root(state, BY, "corp", "certificates", PEM)
    assert put_root(state, BY, "corp", "certificates", PEM + pem(Ca.root("b").certificate)).expects == 1
    with pytest.raises(TrustError, match="no trust root is named other; known names: corp"):
        remove_root(state, BY, "other")


@pytest.mark.parametrize(
    ("name", "format_", "content", "message"),
    [
        ("corp", "certificates", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "private key"),
        ("corp", "certificates", "x" * (MAX_ROOT_CHARACTERS + 1), "characters, limit"),
        ("corp", "certificates", "nothing", "trust root corp"),
        ("corp", "sigstore-trusted-root", "{}", "trust root corp"),
        ("ca:corp", "certificates", PEM, "name stores of those types"),
        ("corp", "notation-ca", PEM, "is named ca:NAME"),
        (":corp", "certificates", PEM, "name stores"),
        ("corp", "certificates", pem(own_leaf(CORP).certificate), "expected a CA certificate"),
    ],
)
def test_what_is_no_root(name, format_, content, message):
    with pytest.raises(TrustError, match=message):
        put_root(EMPTY, BY, name, format_, content)


@pytest.mark.parametrize(
    ("name", "format_"),
    [("ca:corp", "certificates"), ("ca:x", "notation-signing-authority"), ("inline:x", "certificates")],
)
def test_the_log_refuses_a_name_that_the_builder_would(name, format_):
    _, applied = EMPTY.apply(root(name, PEM, format_), 1)
    assert (applied.applied, applied.code) == (False, "refused")


# ----------------------------------------------------------------------------------------------------- revocation lists


def test_a_list_finds_its_issuer_by_its_signature():
    data = crl(CORP, (serial_of(own_leaf(CORP).certificate), "keyCompromise", None))
    trust = trust_of(ALPHA.root(), own_root(CORP))
    record = put_status_list(trust, BY, data)
    assert record.issuer == CORP.key_id
    after = trust_of(record, start=trust)
    with pytest.raises(TrustError, match="at least as new"):
        put_status_list(after, BY, data)
    assert put_status_list(after, BY, crl(CORP, at=T0 + DAY)).issuer == CORP.key_id


def test_a_list_of_nobody_in_trust():
    for trust, data in ((WITH, crl(Ca.root("other"))), (EMPTY, crl(CORP)), (WITH, b""), (WITH, b"\x30\x80")):
        with pytest.raises(TrustError, match="no CA in the trust roots issued this"):
            put_status_list(trust, BY, data)


def test_of_two_certificates_with_one_key_the_one_that_the_list_names():
    """A CA that was renamed keeps its key; the list bears the newer name."""
    key = make_key("ca corp")
    common: dict[str, Any] = {
        "ca": True,
        "key_usage": ("key_cert_sign", "crl_sign"),
        "not_before": T0,
        "not_after": T0 + 900 * DAY,
    }
    renamed = Ca("renamed", issue("CN=renamed,O=test", key, "CN=renamed,O=test", key, **common), key)
    assert renamed.key_id == CORP.key_id
    for order in ((CORP, renamed), (renamed, CORP)):
        trust = trust_of(*(own_root(ca, ca.name) for ca in order))
        for ca in order:
            _, applied = trust.apply(listed(ca, crl(ca)), trust.epoch + 1)
            assert applied.applied, applied


BAD = {
    "no base64": {"content": "%%%"},
    "half a quantum": {"content": "A"},
    "not ASCII": {"content": "é"},
    "empty": {"content": ""},
    "no list": {"content": b64(b"\x30\x03\x02\x01\x01")},
    "of another CA": {"content": b64(crl(Ca.root("other")))},
    "an issuer nobody knows": {"issuer": "00" * 32},
    "another format": {"format": "ocsp"},
    "cut": {"content": b64(crl(CORP)[:-1])},
    "more": {"content": b64(crl(CORP) + b"\0")},
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_a_record_that_holds_no_list_is_ignored_and_ends_nothing(change):
    fields = {"issuer": CORP.key_id, "content": b64(crl(CORP)), **HEAD, **change}
    state, applied = WITH.apply(StatusListPut.model_validate(fields), WITH.epoch + 1)
    assert (applied.applied, applied.code) == (False, "refused"), applied
    assert state.anchors is WITH.anchors


def test_the_log_keeps_the_newest_list():
    old, new = listed(CORP, crl(CORP, at=T0)), listed(CORP, crl(CORP, at=T0 + DAY))
    forward, backward = trust_of(old, new, start=WITH), trust_of(new, start=WITH)
    again, applied = backward.apply(old, backward.epoch + 1)
    assert (applied.applied, applied.code) == (False, "duplicate")
    assert forward.anchors.lists == again.anchors.lists
    assert forward.anchors.lists[CORP.key_id].this_update == T0 + DAY
