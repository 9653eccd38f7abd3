"""Real timestamps of the public Sigstore conformance suite: Sigstore's TSA, a local one, FreeTSA and a mock.

Where a case must fail because of a window of the trust root or of the signing certificate, the token itself is good:
then the time it proves is compared here with that window, as the verdict does.
"""

import base64
import json
from dataclasses import dataclass

import pytest

from verifier.errors import EvidenceError
from verifier.evidence.certificates import load_certificate
from verifier.evidence.keys import public_key_from_spki
from verifier.evidence.material import Authority, Log, Material, authority_id
from verifier.evidence.sct import verify_scts
from verifier.evidence.timestamps import Stamp, _embedded, _read, verify_timestamp
from verifier.evidence.x509 import find_chains, read_leaf
from verifier.times import SECOND, parse_instant

GOOD = {
    "rekor2-timestamp-with-embedded-cert": "2025-08-06T18:51:36Z",
    "rekor2-timestamp-without-embedded-cert": "2025-08-06T19:03:51Z",
    "rekor2-timestamp-with-expired-cert-chain": "2025-08-07T15:32:26Z",
    "rekor2-happy-path": "2025-06-12T12:02:20Z",
    "rekor2-timestamp-with-incorrect-time_fail": "2025-07-15T10:33:31Z",
    "rekor2-timestamp-outside-trust-root-tsa-validity_fail": "2025-06-12T12:02:20Z",
    "trust-root-tsa-validity-end-inclusive": "2025-06-12T12:02:20Z",
    "intoto-tsa-timestamp-outside-cert-validity_fail": "2023-02-02T00:00:00Z",
}
"""Case -> genTime; every one of these tokens has an accuracy of one second."""

UNKNOWN = (
    "rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail",
    "rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail",
)


@dataclass
class Case:
    token: bytes
    signature: bytes
    authorities: list[Authority]
    signers: list[Authority]
    leaf: bytes

    def stamp(self, authorities: list[Authority] | None = None) -> Stamp:
        known = self.authorities if authorities is None else authorities
        return verify_timestamp(self.token, self.signature, known, response=True)


def authorities_of(entries, use) -> list[Authority]:
    found = []
    for entry in entries:
        ders = tuple(base64.b64decode(c["rawBytes"]) for c in entry["certChain"]["certificates"])
        window = entry.get("validFor", {})
        start, end = (parse_instant(window[name]) if window.get(name) else None for name in ("start", "end"))
        found.append(Authority(authority_id(use, ders), use, ders, valid_from=start, valid_until=end))
    return found


@pytest.fixture
def case(require):
    vectors = require("vectors")

    def load(name: str) -> Case:
        folder = vectors / "sigstore-conformance" / "assets" / "bundle-verify" / name
        bundle = json.loads((folder / "bundle.sigstore.json").read_bytes())
        path = folder / "trusted_root.json"
        if not path.exists():
            path = vectors / "sigstore-public-good" / "trusted_root.json"
        root = json.loads(path.read_bytes())
        material = bundle["verificationMaterial"]
        stamps = material.get("timestampVerificationData", {}).get("rfc3161Timestamps", [])
        single = material.get("certificate") or material["x509CertificateChain"]["certificates"][0]
        signature = (bundle.get("messageSignature") or bundle["dsseEnvelope"]["signatures"][0]).get("signature")
        signature = signature or bundle["dsseEnvelope"]["signatures"][0]["sig"]
        return Case(
            base64.b64decode(stamps[0]["signedTimestamp"]) if stamps else b"",
            base64.b64decode(signature),
            authorities_of(root.get("timestampAuthorities", []), "timestamping"),
            authorities_of(root["certificateAuthorities"], "signing"),
            base64.b64decode(single["rawBytes"]),
        )

    return load


@pytest.mark.parametrize("name", GOOD)
def test_a_good_token_proves_its_time(case, name):
    stamp = case(name).stamp()
    (claim,) = stamp.claims
    assert (claim.time, claim.accuracy) == (parse_instant(GOOD[name]) + SECOND, SECOND)
    assert claim.authority in {authority.id for authority in case(name).authorities}
    assert claim.source_key == load_certificate(case(name).authorities[0].certificates[0]).key_id


@pytest.mark.parametrize("name", GOOD)
def test_embedded_certificates_make_no_difference_to_a_pinned_leaf(case, name):
    """An authority that is only the root takes the leaf from the token: it works just where the token has the chain."""
    made = case(name)
    opened = [Authority("open", "timestamping", a.certificates[1:]) for a in made.authorities]
    stamp = made.stamp(opened)
    assert {claim.time for claim in stamp.claims} <= {claim.time for claim in made.stamp().claims}
    embedded = name not in {"rekor2-timestamp-without-embedded-cert", "intoto-tsa-timestamp-outside-cert-validity_fail"}
    assert stamp.known is embedded


def test_a_token_of_another_signature(case):
    with pytest.raises(EvidenceError, match="other bytes") as caught:
        case("rekor2-timestamp-payload-mismatch_fail").stamp()
    assert caught.value.code == "timestamp-invalid"


def test_a_token_made_after_its_chain_expired(case):
    with pytest.raises(EvidenceError, match=r"2025-08-07T15:38:32Z.* to 2025-08-07T15:37:08Z") as caught:
        case("rekor2-timestamp-outside-tsa-cert-validity_fail").stamp()
    assert caught.value.code == "timestamp-invalid"


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_token_of_somebody_unknown(case, name):
    assert case(name).stamp() == Stamp((), known=False)


def test_freetsa_once_its_root_is_trusted(case):
    """RSA, SHA-512, ESSCertID of the first version: the certificates are those that one of the two tokens carries."""
    with_chain, without = (case(name) for name in UNKNOWN)
    embedded = _embedded(_read(with_chain.token, response=True))
    (root,) = (certificate for certificate in embedded if certificate.self_issued)
    (leaf,) = (certificate for certificate in embedded if not certificate.self_issued)
    opened = Authority("free", "timestamping", (root.der,))
    pinned = Authority("pinned", "timestamping", (leaf.der, root.der))
    assert [claim.time for claim in with_chain.stamp([opened]).claims] == [parse_instant("2025-08-06T19:38:49Z")]
    assert [claim.authority for claim in with_chain.stamp([opened, pinned]).claims] == ["pinned", "free"]
    assert without.stamp([opened]) == Stamp((), known=False)
    assert [claim.time for claim in without.stamp([pinned]).claims] == [parse_instant("2025-08-06T19:40:29Z")]


def test_what_the_verdict_compares(case):
    """The cases whose token is good and whose window is not, and the one that ends exactly at genTime."""
    inside = case("trust-root-tsa-validity-end-inclusive")
    outside = case("rekor2-timestamp-outside-trust-root-tsa-validity_fail")
    for made, good in ((inside, True), (outside, False)):
        (claim,) = made.stamp().claims
        (authority,) = made.authorities
        assert authority.valid_until is not None
        assert (claim.time - claim.accuracy <= authority.valid_until) is good
    late = case("rekor2-timestamp-with-incorrect-time_fail")
    (claim,) = late.stamp().claims
    assert claim.time - 2 * claim.accuracy > load_certificate(late.leaf).not_after


# -------------------------------------------------------------------------------------------- certificates of the suite


def test_every_leaf_of_the_suite_leads_to_its_authority(require, case):
    folders = require("vectors") / "sigstore-conformance" / "assets" / "bundle-verify"
    chained = 0
    for folder in sorted(folders.iterdir()):
        if not folder.is_dir() or folder.name.startswith("managed-key") or folder.name.endswith("_fail"):
            continue
        made = case(folder.name)
        leaf = load_certificate(made.leaf)
        claims, why = find_chains(leaf, (), made.signers, "code-signing")
        assert claims, f"{folder.name}: {why}"
        assert all(claim.valid_from >= leaf.not_before for claim in claims)
        identity = read_leaf(leaf)
        assert identity.issuer.startswith("https://"), folder.name
        assert identity.sans, folder.name
        chained += 1
    assert chained == 19


def test_a_leaf_of_another_instance_leads_nowhere(case):
    made = case("bundle-from-wrong-instance_fail")
    claims, why = find_chains(load_certificate(made.leaf), (), made.signers, "code-signing")
    assert claims == ()
    assert why


def ct_material(require, name: str):
    vectors = require("vectors")
    path = vectors / "sigstore-conformance" / "assets" / "bundle-verify" / name / "trusted_root.json"
    if not path.exists():
        path = vectors / "sigstore-public-good" / "trusted_root.json"
    logs = [
        Log(base64.b64decode(entry["logId"]["keyId"]).hex(), "ct", key)
        for entry in json.loads(path.read_bytes())["ctlogs"]
        for key in [public_key_from_spki(base64.b64decode(entry["publicKey"]["rawBytes"]))]
    ]
    return Material.of((), logs)


@pytest.mark.parametrize("name", ["happy-path-v0.3", "bundle-with-sct-with-extensions", "rekor2-happy-path"])
def test_scts_of_real_leaves(require, case, name):
    made = case(name)
    leaf = load_certificate(made.leaf)
    (chain,) = find_chains(leaf, (), made.signers, "code-signing")[0]
    (authority,) = (a for a in made.signers if a.id == chain.authority)
    claims, unknown = verify_scts(leaf, load_certificate(authority.certificates[0]), ct_material(require, name))
    assert (len(claims), unknown) == (1, ())
    assert abs(claims[0].time - leaf.not_before) < 60 * SECOND


def test_a_ct_log_that_the_root_does_not_list_is_unknown(require, case):
    made = case("invalid-ct-key_fail")
    leaf = load_certificate(made.leaf)
    (chain,) = find_chains(leaf, (), made.signers, "code-signing")[0]
    (authority,) = (a for a in made.signers if a.id == chain.authority)
    known = ct_material(require, "invalid-ct-key_fail")
    claims, unknown = verify_scts(leaf, load_certificate(authority.certificates[0]), known)
    assert claims == ()
    assert [log[:8] for log in unknown] == ["dd3d306a"]
    (claim,) = verify_scts(leaf, load_certificate(authority.certificates[0]), ct_material(require, "happy-path-v0.3"))[
        0
    ]
    assert claim.log == unknown[0]
