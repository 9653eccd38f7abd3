"""Trust roots: what each format makes of a document, and where it says that one is wrong."""

import copy
import hashlib
import json
from importlib.resources import files
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.helpers.pki import T0, TIMESTAMPING, Ca, Tsa, make_key, pem, spki
from tests.helpers.rekor import MemoryLog, b64, key_pem
from verifier.adapters import package_data
from verifier.errors import PlaceRefused, TrustError
from verifier.evidence.limits import CERTIFICATES
from verifier.evidence.material import Material, RootFormat, authority_id
from verifier.times import DAY, parse_instant
from verifier.trust import publicgood
from verifier.trust.pemroots import INTERMEDIATE_LABEL, ROOT_CERTIFICATES, SAME_SUBJECT
from verifier.trust.roots import ROOT_CHARACTERS, RootDocument, read_root, window_note
from verifier.trust.sigstoreroot import ROOT_ENTRIES

ROOT = Ca.root("root")
ISSUING = ROOT.intermediate("issuing")
DEEP = ISSUING.intermediate("deep")
SECOND = Ca.root("second", "p384")
TSA = Tsa.under(ROOT.intermediate("tsa-ca", eku=TIMESTAMPING))
LEAF = ISSUING.leaf(sans=["https://ci.example/w"])

REKOR, TILES = MemoryLog("rekor.example"), MemoryLog("tiles.example", version=2)
CT = MemoryLog("ct.example")


def log_of(log: MemoryLog, details: str = "PKIX_ECDSA_P256_SHA_256", url: str = "") -> dict:
    return {
        "baseUrl": url or f"https://{log.host}",
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": b64(log.spki),
            "keyDetails": details,
            "validFor": {"start": "2025-01-01T00:00:00Z", "end": "2026-12-31T23:59:59.999Z"},
        },
        "logId": {"keyId": b64(bytes.fromhex(log.id))},
    }


def authority_of(*ders: bytes, uri: str = "https://ca.example") -> dict:
    return {
        "uri": uri,
        "certChain": {"certificates": [{"rawBytes": b64(der)} for der in ders]},
        "validFor": {"start": "2025-01-01T00:00:00.000Z"},
    }


DOCUMENT: dict[str, Any] = {
    "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "tlogs": [log_of(REKOR), log_of(TILES, "PKIX_ED25519")],
    "ctlogs": [log_of(CT)],
    "certificateAuthorities": [authority_of(*ISSUING.chain), authority_of(*SECOND.chain, uri="")],
    "timestampAuthorities": [authority_of(*TSA.chain, uri="https://tsa.example")],
}


def read(document: dict) -> RootDocument:
    return read_root("sigstore-trusted-root", json.dumps(document))


def refusal(format_: RootFormat, content: str) -> str:
    with pytest.raises(TrustError) as caught:
        read_root(format_, content)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------- trusted_root.json


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "application/vnd.dev.sigstore.trustedroot.v0.1+json",
        "application/vnd.dev.sigstore.trustedroot.v0.2+json",
    ],
)
def test_a_trusted_root(media_type):
    document = read(DOCUMENT | {"mediaType": media_type})
    start, end = parse_instant("2025-01-01T00:00:00Z"), parse_instant("2026-12-31T23:59:59.999Z")
    assert [(log.id, log.use, log.origin, log.valid_from, log.valid_until) for log in document.logs] == [
        (REKOR.id, "transparency", "rekor.example", start, end),
        (TILES.id, "transparency", "tiles.example", start, end),
        (CT.id, "ct", "ct.example", start, end),
    ]
    assert [(a.use, a.certificates, a.label, a.valid_from, a.valid_until) for a in document.authorities] == [
        ("signing", ISSUING.chain, "https://ca.example", start, None),
        ("signing", SECOND.chain, "CN=second,O=test", start, None),
        ("timestamping", TSA.chain, "https://tsa.example", start, None),
    ]
    assert [a.id for a in document.authorities] == [authority_id(a.use, a.certificates) for a in document.authorities]
    assert document.logs[0].key.verify(REKOR.promise(b"{}", 1, 2), b"") == ""


def test_what_is_read_is_material():
    document = read(DOCUMENT)
    material = Material.of(document.authorities, document.logs)
    assert len(material.used_for("signing")) == 2
    assert material.log("transparency", TILES.id) == document.logs[1]
    assert material.log("ct", TILES.id) is None


def test_null_is_absence():
    document = copy.deepcopy(DOCUMENT) | {"ctlogs": None, "timestampAuthorities": None}
    for log in document["tlogs"]:
        log |= {"checkpointKeyId": None, "operator": "somebody"}
        log["publicKey"]["validFor"]["end"] = None
    found = read(document)
    assert [log.valid_until for log in found.logs] == [None, None]
    assert len(found.authorities) == 2


def test_an_rsa_key_in_the_old_encoding_has_the_id_of_its_spki():
    """As the staging CT log of Sigstore has it: rawBytes are PKCS#1, the id is over SubjectPublicKeyInfo."""
    log = MemoryLog("old.example", key_type="rsa2048")
    written = log_of(log, "PKCS1_RSA_PKCS1V5")
    written["publicKey"]["rawBytes"] = b64(pkcs1(log))
    assert read(DOCUMENT | {"ctlogs": [written]}).logs[-1].id == log.id


def pkcs1(log: MemoryLog) -> bytes:
    return log.key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)


@pytest.mark.parametrize(
    ("url", "origin"), [("https://tiles.example:8443/x/", "tiles.example"), ("http://TILES.example", "tiles.example")]
)
def test_the_origin_is_the_host(url, origin):
    assert read(DOCUMENT | {"tlogs": [log_of(TILES, "PKIX_ED25519", url)]}).logs[0].origin == origin


def test_an_origin_with_its_port_when_the_id_says_so():
    log = MemoryLog("tiles.example:8443", version=2)
    assert read(DOCUMENT | {"tlogs": [log_of(log, "PKIX_ED25519")]}).logs[0].origin == "tiles.example:8443"


@pytest.mark.parametrize("size", [4, 32])
def test_a_checkpoint_key_id_is_the_logs(size):
    written = log_of(REKOR) | {"checkpointKeyId": {"keyId": b64(bytes.fromhex(REKOR.id)[:size])}}
    assert read(DOCUMENT | {"tlogs": [written]}).logs[0].id == REKOR.id


def put(path: str, value: object):
    """Changes one member; None takes it away."""

    def change(document: dict) -> None:
        here: Any = document
        *above, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in above:
            here = here[part]
        if value is None:
            del here[last]
        else:
            here[last] = value

    return change


WRONG_ROOTS = {
    "another media type": (put("mediaType", "application/vnd.dev.sigstore.trustedroot+json;version=9"), "mediaType"),
    "no media type": (put("mediaType", None), "mediaType"),
    "no start of a log": (put("tlogs.1.publicKey.validFor.start", None), "tlogs[1].publicKey.validFor"),
    "no window of a log": (put("ctlogs.0.publicKey.validFor", None), "ctlogs[0].publicKey"),
    "no start of a CA": (put("certificateAuthorities.1.validFor.start", None), "certificateAuthorities[1].validFor"),
    "no window of a TSA": (put("timestampAuthorities.0.validFor", None), "timestampAuthorities[0]"),
    "a start that is no time": (put("tlogs.0.publicKey.validFor.start", "now"), "tlogs[0].publicKey.validFor.start"),
    "a start without a zone": (
        put("tlogs.0.publicKey.validFor.start", "2025-01-01T00:00:00"),
        "tlogs[0].publicKey.validFor.start",
    ),
    "an end before the start": (
        put("certificateAuthorities.0.validFor.end", "2024-12-31T23:59:59Z"),
        "certificateAuthorities[0].validFor: ends before",
    ),
    "an end of nothing": (put("tlogs.0.publicKey.validFor.end", ""), "tlogs[0].publicKey.validFor.end"),
    "another hash": (put("tlogs.0.hashAlgorithm", "SHA2_512"), "tlogs[0].hashAlgorithm"),
    "another kind of key": (put("tlogs.0.publicKey.keyDetails", "PKIX_ED25519"), "but the key is ecdsa-p256"),
    "another curve": (put("tlogs.0.publicKey.keyDetails", "PKIX_ECDSA_P384_SHA_384"), "but the key is ecdsa-p256"),
    "an unknown kind of key": (put("tlogs.0.publicKey.keyDetails", "ML_DSA_65"), "tlogs[0].publicKey.keyDetails"),
    "a key in the other encoding": (
        put("tlogs.0.publicKey.keyDetails", "PKCS1_RSA_PKCS1V5"),
        "tlogs[0].publicKey.rawBytes",
    ),
    "a key that is none": (put("tlogs.0.publicKey.rawBytes", b64(b"key")), "tlogs[0].publicKey.rawBytes"),
    "a key in another base64": (put("tlogs.0.publicKey.rawBytes", "-_"), "tlogs[0].publicKey.rawBytes"),
    "a private key": (
        put("tlogs.0.publicKey.rawBytes", b64(b"-----BEGIN PRIVATE KEY-----")),
        "tlogs[0].publicKey.rawBytes",
    ),
    "the id of another log": (put("tlogs.0.logId.keyId", b64(bytes(32))), "tlogs[0].logId.keyId"),
    "an id cut short": (put("tlogs.0.logId.keyId", b64(bytes.fromhex(REKOR.id)[:4])), "tlogs[0].logId.keyId"),
    "a note id on another host": (put("tlogs.1.baseUrl", "https://evil.example"), "tlogs[1].logId.keyId"),
    "a note id on a CT log": (put("ctlogs.0", log_of(TILES, "PKIX_ED25519")), "ctlogs[0].logId.keyId"),
    "another checkpoint key": (
        put("tlogs.0.checkpointKeyId", {"keyId": b64(bytes(4))}),
        "tlogs[0].checkpointKeyId.keyId",
    ),
    "an empty checkpoint key": (put("tlogs.0.checkpointKeyId", {"keyId": ""}), "tlogs[0].checkpointKeyId.keyId"),
    "a URL without a host": (put("tlogs.0.baseUrl", "https://"), "tlogs[0].baseUrl"),
    "a URL of another scheme": (put("tlogs.0.baseUrl", "file:///etc/passwd"), "tlogs[0].baseUrl"),
    "a URL with a bad port": (put("tlogs.0.baseUrl", "https://h:port"), "tlogs[0].baseUrl"),
    "a URL that is none": (put("tlogs.0.baseUrl", "https://[h"), "tlogs[0].baseUrl"),
    "one log twice": (put("tlogs.1", log_of(REKOR)), "two transparency logs"),
    "a chain of nothing": (
        put("certificateAuthorities.0.certChain.certificates", []),
        "certificateAuthorities[0].certChain",
    ),
    "a chain without end": (
        put("certificateAuthorities.0.certChain.certificates", [{"rawBytes": b64(ROOT.certificate)}] * 11),
        "certificateAuthorities[0].certChain",
    ),
    "a chain in the wrong order": (
        put("certificateAuthorities.0", authority_of(*reversed(ISSUING.chain))),
        "certificateAuthorities[0].certChain.certificates[0]: expected a chain",
    ),
    "a chain of strangers": (
        put("certificateAuthorities.0", authority_of(ISSUING.certificate, SECOND.certificate)),
        "certificateAuthorities[0].certChain.certificates[0]: expected a chain",
    ),
    "a chain to a namesake": (
        put("certificateAuthorities.0", authority_of(ISSUING.certificate, Ca.root("root", "p384").certificate)),
        "certificateAuthorities[0].certChain.certificates[0]: expected a chain",
    ),
    "a certificate that is none": (
        put("timestampAuthorities.0.certChain.certificates.1.rawBytes", b64(b"0\x03")),
        "timestampAuthorities[0].certChain.certificates[1]",
    ),
    "tlogs that are no list": (put("tlogs", {}), "tlogs"),
    "other capitals": (put("Tlogs", []), "other capitals"),
    "too many logs": (put("tlogs", [log_of(REKOR)] * (ROOT_ENTRIES + 1)), "tlogs: 257 entries"),
}


@pytest.mark.parametrize("name", WRONG_ROOTS)
def test_a_trusted_root_is_refused_with_the_place_where_it_is_wrong(name):
    document = copy.deepcopy(DOCUMENT)
    change, place = WRONG_ROOTS[name]
    change(document)
    assert place in refusal("sigstore-trusted-root", json.dumps(document))


@pytest.mark.parametrize(
    "content",
    ["", "{", "null", "[]", '"x"', "\ufeff{}", "\ud800", "{}" * 2, '{"mediaType": "\ud800"}', "[" * 100_000],
    ids=lambda content: ascii(content[:12]),
)
def test_what_is_no_trusted_root(content):
    assert refusal("sigstore-trusted-root", content).startswith("trusted root: ")


def test_members_twice_are_refused():
    text = json.dumps(DOCUMENT)
    assert "twice" in refusal("sigstore-trusted-root", text.replace('"tlogs"', '"tlogs": [], "tlogs"'))
    assert "twice" in refusal(
        "sigstore-trusted-root", text.replace('"start":', '"start": "2000-01-01T00:00:00Z", "start":', 1)
    )


def test_a_root_of_nothing_is_none():
    assert "found none" in refusal("sigstore-trusted-root", json.dumps({"mediaType": DOCUMENT["mediaType"]}))


def test_the_length_of_a_document_is_limited():
    assert "limit" in refusal("sigstore-trusted-root", " " * (ROOT_CHARACTERS + 1))


# --------------------------------------------------------------------------------------------------------- certificates


def test_a_root_with_its_intermediates_is_one_authority():
    found = read_root("certificates", pem(ROOT.certificate, ISSUING.certificate, DEEP.certificate))
    [authority] = found.authorities
    assert authority.use == "signing"
    assert authority.certificates == DEEP.chain
    assert (authority.label, authority.valid_from, authority.valid_until) == ("CN=root,O=test", None, None)
    assert found.logs == ()


def test_order_and_repetition_make_no_difference():
    one = read_root("certificates", pem(*DEEP.chain))
    two = read_root("certificates", "a comment\n" + pem(*reversed(DEEP.chain), ROOT.certificate).replace("\n", "\r\n"))
    assert [a.id for a in one.authorities] == [a.id for a in two.authorities]


def test_several_roots_are_several_authorities():
    other = SECOND.intermediate("below")
    found = read_root("certificates", pem(*ISSUING.chain, *other.chain)).authorities
    assert [a.certificates for a in found] == [ISSUING.chain, other.chain]


def test_two_issuing_cas_below_one_root():
    other = ROOT.intermediate("other")
    [authority] = read_root("certificates", pem(*ISSUING.chain, other.certificate)).authorities
    assert authority.certificates == (ISSUING.certificate, other.certificate, ROOT.certificate)


def test_a_cross_signed_ca_belongs_to_both():
    crossed = SECOND.intermediate("issuing")
    assert crossed.key_id == ISSUING.key_id
    found = read_root(
        "certificates", pem(ISSUING.certificate, crossed.certificate, ROOT.certificate, SECOND.certificate)
    )
    assert [a.certificates for a in found.authorities] == [
        (ISSUING.certificate, ROOT.certificate),
        (crossed.certificate, SECOND.certificate),
    ]


def test_an_intermediate_is_an_anchor_only_when_no_root_is_given_and_says_so():
    [authority] = read_root("certificates", pem(DEEP.certificate, ISSUING.certificate)).authorities
    assert authority.certificates == (DEEP.certificate, ISSUING.certificate)
    assert authority.label == f"{INTERMEDIATE_LABEL}CN=issuing,O=test"
    assert "certificate 2" in refusal("certificates", pem(SECOND.certificate, ISSUING.certificate))


def block(der: bytes) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{b64(der)}\n-----END CERTIFICATE-----\n"


WRONG_CERTIFICATES = {
    "nothing": ("", "0 begin"),
    "no PEM": ("certificate", "0 begin"),
    "DER as text": (ROOT.certificate.decode("latin-1"), "0 begin"),
    "a leaf": (pem(*ISSUING.chain, LEAF.certificate), "certificate 3"),
    "a key": ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "PUBLIC KEY"),
    "a private key": (pem(ROOT.certificate) + "-----BEGIN EC PRIVATE KEY-----\nSECRET\n", "it is a secret"),
    "a request": ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "REQUEST"),
    "a trusted certificate of openssl": (pem(ROOT.certificate).replace("BEGIN CERT", "BEGIN TRUSTED CERT"), "TRUSTED"),
    "a block without end": (pem(ROOT.certificate) + pem(SECOND.certificate)[:-30], "2 begin and 1 are whole"),
    "a block in a block": (pem(ROOT.certificate).replace("\n", "\n-----BEGIN CERTIFICATE-----\n", 1), "2 begin"),
    "other characters": (pem(ROOT.certificate).replace("M", "?", 1), "1 begin and 0 are whole"),
    "not base64": ("-----BEGIN CERTIFICATE-----\nA=A=\n-----END CERTIFICATE-----", "certificate 1"),
    "not DER": ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "certificate 1"),
    "more behind the DER": (pem(ROOT.certificate) + block(ROOT.certificate + b"\0"), "certificate 2"),
    "too many": (pem(ROOT.certificate) * (ROOT_CERTIFICATES + 1), f"limit {ROOT_CERTIFICATES}"),
}


@pytest.mark.parametrize("format_", ["certificates", "notation-ca", "notation-signing-authority", "notation-tsa"])
@pytest.mark.parametrize("name", WRONG_CERTIFICATES)
def test_pem_that_is_refused(format_, name):
    content, place = WRONG_CERTIFICATES[name]
    told = refusal(format_, content)
    assert "SECRET" not in told
    if format_ == "certificates" or name != "a leaf":
        assert place in told


def test_certificates_of_one_subject_are_counted():
    """Each is tried as the issuer of every one that names it."""
    same = [Ca.root("same", "p256", serial=n).certificate for n in range(1, SAME_SUBJECT + 2)]
    assert len(read_root("certificates", pem(*same[:-1])).authorities) == SAME_SUBJECT
    assert "one subject" in refusal("certificates", pem(*same))


def test_one_anchor_has_only_as_many_cas_as_chains_are_searched():
    below = [ROOT.intermediate(f"i{n}").certificate for n in range(CERTIFICATES)]
    assert len(read_root("certificates", pem(ROOT.certificate, *below[:-1])).authorities) == 1
    assert f"limit {CERTIFICATES}" in refusal("certificates", pem(ROOT.certificate, *below))


def test_a_root_that_was_renewed_with_its_key_is_two_authorities():
    """Each signs the other, by name and key; neither is an intermediate."""
    old, new = (Ca.root("root", serial=n) for n in (1, 2))
    found = read_root("certificates", pem(old.certificate, ISSUING.certificate, new.certificate)).authorities
    assert [a.certificates for a in found] == [
        (ISSUING.certificate, old.certificate),
        (ISSUING.certificate, new.certificate),
    ]


def test_cas_that_issued_each_other_have_no_anchor():
    one, two = Ca.root("one"), Ca.root("two")
    content = pem(one.intermediate("two").certificate, two.intermediate("one").certificate)
    assert "expected its issuer" in refusal("certificates", content)


# --------------------------------------------------------------------------------------------------------- trust stores


@pytest.mark.parametrize("format_", ["notation-ca", "notation-signing-authority"])
def test_every_certificate_of_a_store_is_an_anchor(format_):
    found = read_root(format_, pem(ISSUING.certificate, ROOT.certificate, ROOT.certificate)).authorities
    assert [(a.use, a.certificates) for a in found] == [
        ("notation", (ISSUING.certificate,)),
        ("notation", (ROOT.certificate,)),
    ]
    assert found[0].label == "CN=issuing,O=test"


def test_a_store_may_hold_a_self_signed_signer_but_no_other_leaf():
    signer = Ca.root("signer", ca=None, key_usage=("digital_signature",)).certificate
    assert len(read_root("notation-ca", pem(signer)).authorities) == 1
    assert "certificate 1" in refusal("notation-ca", pem(LEAF.certificate))
    assert "expected a CA certificate" in refusal("certificates", pem(signer))


def test_a_store_of_timestamp_authorities_holds_roots_only():
    [authority] = read_root("notation-tsa", pem(ROOT.certificate)).authorities
    assert (authority.use, authority.certificates) == ("timestamping", (ROOT.certificate,))
    for wrong in (ISSUING.certificate, Ca.root("signer", ca=None, key_usage=("digital_signature",)).certificate):
        assert "self-signed CA certificate" in refusal("notation-tsa", pem(wrong))


def test_an_authority_has_another_id_for_another_use():
    [one] = read_root("certificates", pem(ROOT.certificate)).authorities
    [two] = read_root("notation-ca", pem(ROOT.certificate)).authorities
    [three] = read_root("notation-tsa", pem(ROOT.certificate)).authorities
    assert len({one.id, two.id, three.id}) == 3


# ----------------------------------------------------------------------------------------------------- keys without CAs


def test_pinned_tuf_root_keys():
    [authority] = read_root("tuf-root-keys", key_pem(REKOR.spki)).authorities
    assert authority.use == "tuf"
    assert authority.key is not None
    assert authority.key.key_id == hashlib.sha256(REKOR.spki).hexdigest()
    assert window_note(read_root("tuf-root-keys", key_pem(REKOR.spki)), T0) == []


@pytest.mark.parametrize("format_", ["openpgp", "tuf-root-keys"])
@pytest.mark.parametrize("content", ["", "text", pem(ROOT.certificate)[:-40], "-----BEGIN PRIVATE KEY-----\nSECRET\n"])
def test_keys_that_are_refused(format_, content):
    assert "SECRET" not in refusal(format_, content)


# -------------------------------------------------------------------------------------------------------------- windows


def test_a_root_in_its_prime_needs_no_word():
    assert window_note(read(DOCUMENT), T0) == []


def test_an_old_root():
    assert window_note(read(DOCUMENT), parse_instant("2027-01-01T00:00:00Z")) == [
        "no transparency log is current: 2 listed, the last ended 2026-12-31T23:59:59.999Z",
        "no certificate transparency log is current: 1 listed, the last ended 2026-12-31T23:59:59.999Z",
    ]


def test_windows_are_closed():
    end = parse_instant("2026-12-31T23:59:59.999Z")
    assert window_note(read(DOCUMENT), end) == []
    assert len(window_note(read(DOCUMENT), end + 1)) == 2


def test_a_root_of_the_future():
    notes = window_note(read(DOCUMENT), parse_instant("2024-01-01T00:00:00Z"))
    assert notes[0] == "no certificate authority is current: 2 listed, the next begins 2025-01-01T00:00:00Z"
    assert len(notes) == 4


def test_certificates_end_too():
    short = Ca.root("short", not_before=T0 - DAY, not_after=T0 + DAY)
    document = read_root("certificates", pem(short.certificate))
    assert window_note(document, T0) == []
    assert window_note(document, T0 + DAY + 1) == [
        "no certificate authority is current: 1 listed, the last ended 2026-01-02T00:00:00Z"
    ]
    assert "trust anchor" in window_note(read_root("notation-ca", pem(short.certificate)), T0 - 2 * DAY)[0]


# ---------------------------------------------------------------------------------------------------------- public good


def test_the_shipped_root_is_the_one_that_was_reviewed():
    content = package_data.public_good_root()
    document = read_root("sigstore-trusted-root", content)
    assert {log.origin for log in document.logs if log.use == "transparency"} == {
        "rekor.sigstore.dev",
        "log2025-1.rekor.sigstore.dev",
    }
    assert [a.label for a in document.authorities if a.use == "signing"] == ["https://fulcio.sigstore.dev"] * 2
    assert window_note(document, parse_instant(f"{publicgood.PUBLIC_GOOD_DATE}T00:00:00Z")) == []
    assert publicgood.source_note(content) == "Python distribution sigstore 4.5.1, taken 2026-11-21"
    assert publicgood.source_note(content + " ") == ""
    assert publicgood.source_note("\ud800") == ""


def test_the_shipped_tuf_root_is_one():
    root = json.loads(package_data.public_good_tuf_root())
    assert root["signed"]["_type"] == "root"
    assert len(root["signatures"]) >= root["signed"]["roles"]["root"]["threshold"]


def test_the_header_beside_the_files_says_the_same():
    folder = files("verifier.trust")
    header = json.loads(folder.joinpath("public-good.source.json").read_text())
    assert header == {
        "date": publicgood.PUBLIC_GOOD_DATE,
        "source": publicgood.PUBLIC_GOOD_SOURCE,
        "instance": publicgood.PUBLIC_GOOD_MIRROR,
        "sha256": publicgood.SHA256,
    }
    for name, digest in publicgood.SHA256.items():
        assert hashlib.sha256(folder.joinpath(name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_an_installation_that_was_tampered_with_is_refused(monkeypatch, tmp_path, damage):
    if damage == "changed":
        (tmp_path / publicgood.ROOT_FILE).write_bytes(json.dumps(DOCUMENT).encode())
    monkeypatch.setattr(package_data, "files", lambda _: tmp_path)
    with pytest.raises(PlaceRefused, match="install revet again") as caught:
        package_data.public_good_root()
    assert caught.value.code == "root-refused"


def test_keys_of_the_helpers_are_as_their_names_say():
    """The tests above would mean nothing if these were one key."""
    assert len({spki(make_key(name)) for name in ("ca root", "ca issuing", "ca second")}) == 3
