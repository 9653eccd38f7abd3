"""What mutation starts from: sound inputs of every format, made at run time.

    seeds("certificate")        tuple of bytes; never empty
    recorded("*.json")          conformance vectors, when the optional folder is there

Named after what they are, not after who reads them: several targets share a set.
"""

# ruff: noqa: E501 - documents that others write on one line

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from tests.conftest import SHARED
from tests.fuzz import world
from tests.helpers import pki
from tests.helpers.pki import DAY, T0, Ca
from verifier.testing import Signer, compact

CASES = SHARED / "vectors" / "sigstore-conformance" / "assets" / "bundle-verify"
MOST_RECORDED = 40
"""Recorded inputs of one kind: more would crowd out the made ones, which have richer formats."""


@cache
def recorded(pattern: str) -> tuple[bytes, ...]:
    """Files of the conformance suite; empty when it is not there."""
    if not CASES.is_dir():
        return ()
    return tuple(path.read_bytes() for path in sorted(CASES.glob(f"*/{pattern}"))[:MOST_RECORDED])


@cache
def seeds(name: str) -> tuple[bytes, ...]:
    """The seeds of one kind."""
    found = tuple(MAKERS[name]())
    if not found:
        raise AssertionError(f"no seeds of {name}")
    return found


def _evidence(*formats: str) -> list[bytes]:
    return [piece.payload for piece in world.good().values() if piece.format in formats]


def _certificates() -> list[bytes]:
    rsa = Ca.root("fuzz rsa", "rsa2048")
    other = pki.other_name("user@example.com")
    odd = world.ISSUING.leaf("odd", "p384", sans=["a@example.com", "host.example", other], subject="CN=a\\,b,O=é,C=US")
    made = [rsa.certificate, rsa.leaf("pss", pss=True).certificate, odd.certificate]
    made += [Ca.root("fuzz p521", "p521").certificate, Ca.root("fuzz edwards", "ed25519").certificate]
    return [*made, world.LEAF.certificate, *world.ISSUING.chain, *world.TSA.chain, world.NOTARY_LEAF.certificate]


@cache
def crl() -> bytes:
    """A CRL of `world.NOTARY`, DER."""
    issuer = x509.load_der_x509_certificate(world.NOTARY.certificate).subject
    reason, invalid = x509.CRLReason(x509.ReasonFlags.key_compromise), x509.InvalidityDate(pki.moment(T0 - DAY))
    entries = [
        x509.RevokedCertificateBuilder(n, pki.moment(T0), [x509.Extension(e.oid, False, e) for e in (reason, invalid)])
        for n in range(1, 6)
    ]
    built = x509.CertificateRevocationListBuilder(
        issuer, pki.moment(T0), pki.moment(T0 + 7 * DAY), [], [entry.build() for entry in entries]
    )
    built = built.add_extension(x509.CRLNumber(7), critical=False)
    return built.sign(world.NOTARY.key, hashes.SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.DER)


@cache
def ocsp_response() -> bytes:
    """An OCSP response about the notation leaf, DER."""
    built = ocsp.OCSPResponseBuilder().add_response(
        cert=x509.load_der_x509_certificate(world.NOTARY_LEAF.certificate),
        issuer=x509.load_der_x509_certificate(world.NOTARY.certificate),
        algorithm=hashes.SHA256(),
        cert_status=ocsp.OCSPCertStatus.REVOKED,
        this_update=pki.moment(T0),
        next_update=pki.moment(T0 + 7 * DAY),
        revocation_time=pki.moment(T0),
        revocation_reason=x509.ReasonFlags.key_compromise,
    )
    built = built.responder_id(
        ocsp.OCSPResponderEncoding.HASH, x509.load_der_x509_certificate(world.NOTARY.certificate)
    )
    return built.sign(world.NOTARY.key, hashes.SHA256()).public_bytes(Encoding.DER)


def _sct_list() -> list[bytes]:
    leaf = x509.load_der_x509_certificate(world.LEAF.certificate)
    found = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier(pki.SCT_LIST)).value
    one = found.public_bytes()
    return [one, pki.sct_list([one[-80:], one[-60:]])]


def _tokens() -> list[bytes]:
    return [world.TSA.token(b"signed", world.SIGNED_AT), world.TSA.token(b"signed", world.SIGNED_AT, certificates=())]


def _responses() -> list[bytes]:
    return [
        world.TSA.response(b"signed", world.SIGNED_AT),
        world.TSA.response(b"signed", world.SIGNED_AT, certificates=()),
    ]


def _entries() -> list[bytes]:
    found: list[object] = []
    for payload in (*_evidence("sigstore-bundle"), *recorded("bundle.sigstore.json")):
        with suppress(ValueError):  # one of the suite's bundles is no JSON, on purpose
            found += json.loads(payload)["verificationMaterial"].get("tlogEntries") or ()
    return [compact(entry) for entry in found]


def _checkpoints() -> list[bytes]:
    proofs = (json.loads(entry).get("inclusionProof") or {} for entry in _entries())
    return [proof["checkpoint"]["envelope"].encode() for proof in proofs if proof.get("checkpoint")]


def _bodies() -> list[bytes]:
    return [b64decode(json.loads(entry)["canonicalizedBody"]) for entry in _entries()]


def _annotation(name: str) -> Callable[[], list[bytes]]:
    return lambda: [world.classic_keyless().annotations[name].encode()]


_RULE_DOCUMENTS: tuple[object, ...] = (
    *world.PREDICATES.values(),
    {
        "builder": {"id": "x"},
        "buildType": "y",
        "invocation": {"configSource": {"uri": "git+https://a/b@refs/heads/m"}},
        "materials": [],
    },
    {
        "spdxVersion": "SPDX-2.3",
        "packages": [{"SPDXID": "a", "name": "n", "versionInfo": "1", "licenseDeclared": "(MIT OR GPL-2.0+) AND BSD"}],
    },
    {
        "scanner": {
            "uri": "x",
            "result": {"Results": [{"Vulnerabilities": [{"VulnerabilityID": "CVE-1", "Severity": "HIGH"}]}]},
        },
        "metadata": {"scanFinishedOn": "2026-01-01T00:00:00Z"},
    },
    {
        "matches": [
            {
                "vulnerability": {"id": "CVE-1", "severity": "Low", "fix": {"state": "fixed"}},
                "artifact": {"name": "a", "version": "1"},
            }
        ]
    },
    {
        "verifier": {"id": "https://a"},
        "timeVerified": "2026-01-02T03:04:05Z",
        "resourceUri": "pkg:oci/a@sha256:00",
        "policy": {"uri": "p"},
        "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_3"],
    },
    {"result": "PASSED", "configuration": [{"name": "unit"}], "passedTests": ["a"]},
    {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "author": "a",
        "timestamp": "2026-01-01T00:00:00Z",
        "statements": [{"vulnerability": {"name": "CVE-1"}, "products": [{"@id": "pkg:oci/a"}], "status": "fixed"}],
    },
    {"Data": '{"approved": true}', "Timestamp": "2026-01-01T00:00:00Z"},
    {"approved": True, "count": 3, "names": ["a", "b"], "nested": {"a": [{"b": 1.5}]}},
)


# ------------------------------------------------------------------------------------------------- policies of others

_PEM = Signer("dev").pem
_KEYS = {"keys": {"publicKeys": _PEM, "rekor": {"ignoreTlog": True}}}


def _kyverno() -> list[Any]:
    images = {"imageReferences": ["registry.example.com/*"], "mutateDigest": True, "required": True}
    keyless = {
        "keyless": {
            "issuer": "https://idp.example",
            "subject": "https://ci.example/*",
            "rekor": {"url": "https://rekor.example"},
        }
    }
    rule = {
        "name": "check",
        "match": {
            "any": [{"resources": {"kinds": ["Pod"], "namespaces": ["pay*"], "selector": {"matchLabels": {"a": "b"}}}}]
        },
        "exclude": {"any": [{"resources": {"namespaces": ["kube-system"]}}]},
        "verifyImages": [
            {
                **images,
                "attestors": [{"count": 1, "entries": [_KEYS, keyless, {"attestor": {"entries": [_KEYS]}}]}],
                "attestations": [
                    {
                        "type": "https://slsa.dev/provenance/v1",
                        "attestors": [{"entries": [_KEYS]}],
                        "conditions": [{"all": [{"key": "{{ a }}", "operator": "Equals", "value": "b"}]}],
                    }
                ],
            }
        ],
    }
    spec = {"validationFailureAction": "Enforce", "background": False, "rules": [rule]}
    exception = {
        "exceptions": [{"policyName": "signed", "ruleNames": ["check"]}],
        "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
    }
    ivpol = {
        "matchConstraints": {
            "resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
            ]
        },
        "matchImageReferences": [{"glob": "ghcr.io/org/*"}],
        "attestors": [{"name": "dev", "cosign": {"key": {"data": _PEM}, "ctlog": {"insecureIgnoreTlog": True}}}],
        "validations": [
            {"expression": "images.containers.map(image, verifyImageSignatures(image, [attestors.dev])).all(e, e > 0)"}
        ],
    }
    return [
        {"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "signed"}, "spec": spec},
        {
            "apiVersion": "kyverno.io/v2",
            "kind": "PolicyException",
            "metadata": {"name": "e", "namespace": "n"},
            "spec": exception,
        },
        {
            "apiVersion": "policies.kyverno.io/v1",
            "kind": "ImageValidatingPolicy",
            "metadata": {"name": "i"},
            "spec": ivpol,
        },
    ]


def _cip() -> list[Any]:
    keyless = {
        "keyless": {
            "url": "https://fulcio.example",
            "identities": [{"issuer": "https://i", "subjectRegExp": ".*@example\\.com"}],
        }
    }
    attested = {
        "name": "a",
        "key": {"data": _PEM},
        "attestations": [{"name": "b", "predicateType": "vuln", "policy": {"type": "cue", "data": "x"}}],
    }
    spec = {
        "images": [{"glob": "ghcr.io/org/**"}],
        "mode": "warn",
        "authorities": [{"key": {"data": _PEM}}, keyless, attested, {"static": {"action": "pass"}}],
    }
    return [
        {
            "apiVersion": "policy.sigstore.dev/v1beta1",
            "kind": "ClusterImagePolicy",
            "metadata": {"name": "p"},
            "spec": spec,
        }
    ]


def _notation() -> list[Any]:
    statement = {
        "name": "a",
        "registryScopes": ["r.example/app"],
        "signatureVerification": {"level": "strict", "override": {"revocation": "log"}, "verifyTimestamp": "always"},
        "trustStores": ["ca:corp", "tsa:stamps"],
        "trustedIdentities": ["x509.subject: C=US, ST=WA, O=wabbit-networks.io, CN=a\\,b"],
    }
    skip = {"name": "b", "registryScopes": ["*"], "signatureVerification": {"level": "skip"}}
    return [{"version": "1.0", "trustPolicies": [statement, skip]}]


def _containers() -> list[Any]:
    signed = {
        "type": "sigstoreSigned",
        "keyData": b64encode(_PEM.encode()).decode(),
        "signedIdentity": {"type": "matchRepository"},
    }
    fulcio = {
        "type": "sigstoreSigned",
        "fulcio": {
            "caData": b64encode(pki.pem(world.NOTARY.certificate).encode()).decode(),
            "oidcIssuer": "https://i",
            "subjectEmail": "a@b",
        },
        "rekorPublicKeyData": b64encode(_PEM.encode()).decode(),
    }
    gpg = {
        "type": "signedBy",
        "keyType": "GPGKeys",
        "keyData": b64encode(world.PGP.ring()).decode(),
        "signedIdentity": {"type": "remapIdentity", "prefix": "a.example", "signedPrefix": "b.example"},
    }
    scopes = {"r.example/team": [signed], "*.example": [fulcio], "r.example": [gpg], "": [{"type": "reject"}]}
    return [
        {
            "default": [{"type": "insecureAcceptAnything"}],
            "transports": {"docker": scopes, "docker-daemon": {"": [{"type": "reject"}]}},
        }
    ]


def _openshift() -> list[Any]:
    root = {"policyType": "PublicKey", "publicKey": {"keyData": b64encode(_PEM.encode()).decode()}}
    pki_root = {
        "policyType": "PKI",
        "pki": {
            "caRootsData": b64encode(pki.pem(world.NOTARY.certificate).encode()).decode(),
            "pkiCertificateSubject": {"email": "a@b.example"},
        },
    }
    made = []
    for number, trust in enumerate((root, pki_root)):
        spec = {
            "scopes": ["r.example/team", "*.example"],
            "policy": {"rootOfTrust": trust, "signedIdentity": {"matchPolicy": "MatchRepository"}},
        }
        made.append(
            {
                "apiVersion": "config.openshift.io/v1",
                "kind": "ClusterImagePolicy",
                "metadata": {"name": f"p{number}"},
                "spec": spec,
            }
        )
    return made


def _connaisseur() -> list[Any]:
    validators = [
        {"name": "default", "type": "cosign", "trustRoots": [{"name": "default", "key": _PEM}]},
        {"name": "allow", "type": "static", "approve": True},
        {"name": "dct", "type": "notaryv1", "host": "notary.example", "trustRoots": [{"name": "default", "key": _PEM}]},
    ]
    rules = [
        {"pattern": "*:*"},
        {"pattern": "docker.io/library/*:*", "validator": "dct", "with": {"delegations": ["a"]}},
        {"pattern": "k8s/*", "validator": "allow"},
    ]
    return [{"application": {"validators": validators, "policy": rules, "features": {"detectionMode": True}}}]


def _binary_authorization() -> list[Any]:
    rule = {
        "evaluationMode": "REQUIRE_ATTESTATION",
        "enforcementMode": "ENFORCED_BLOCK_AND_AUDIT_LOG",
        "requireAttestationsBy": ["projects/p/attestors/a"],
    }
    policy = {
        "name": "projects/p/policy",
        "admissionWhitelistPatterns": [{"namePattern": "gcr.io/p/*"}],
        "defaultAdmissionRule": rule,
        "clusterAdmissionRules": {"us-east1.a": rule},
        "kubernetesNamespaceAdmissionRules": {"n": rule},
    }
    key = {"id": "i", "pkixPublicKey": {"publicKeyPem": _PEM, "signatureAlgorithm": "ECDSA_P256_SHA256"}}
    return [
        policy,
        {"name": "projects/p/attestors/a", "userOwnedGrafeasNote": {"noteReference": "n", "publicKeys": [key]}},
    ]


POLICIES: dict[str, Callable[[], list[Any]]] = {
    "kyverno": _kyverno,
    "cip": _cip,
    "notation": _notation,
    "containers-policy": _containers,
    "openshift": _openshift,
    "connaisseur": _connaisseur,
    "binary-authorization": _binary_authorization,
}


def _foreign(name: str) -> Callable[[], list[bytes]]:
    """As JSON, one by one, and as one YAML text."""

    def make() -> list[bytes]:
        documents = POLICIES[name]()
        return [*(json.dumps(document).encode() for document in documents), yaml.safe_dump_all(documents).encode()]

    return make


REVET = b"""\
apiVersion: revet/v1
kind: Policy
metadata: {name: payments-signed, description: Dev and Ops sign off}
spec:
  mode: enforce
  match:
    - images: ["registry.example.com/payments/**"]
      namespaces: [payments, "team-*"]
  exclude: [{labels: {debug: "true"}}]
  attestors:
    dev: {keys: [dev]}
    ci: {keyless: {identities: [{issuer: "https://i.example", subjectRegExp: "^https://ci.*$"}], roots: [corp]}, validFrom: 2026-01-01T00:00:00Z}
    corp: {notary: {stores: ["ca:corp"], identities: ["x509.subject: C=US, ST=WA, O=a"]}}
  require:
    all:
      - {signedBy: dev, annotations: {env: prod}}
      - atLeast: {count: 1, of: [{signedBy: ci}, {attestedBy: ci, predicateType: slsaprovenance1, rule: {slsa: {builders: ["https://x/*"]}}}]}
      - any: [{digestIn: ["sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]}, {registryIn: [registry.example.com]}]
---
apiVersion: revet/v1
kind: Exemption
metadata: {name: e1}
spec: {policy: payments-signed, reasons: [unsigned], scope: {namespaces: [legacy]}, owner: a, approver: b, ticket: T-1, reason: "moving", expires: 2026-12-01T00:00:00Z}
---
apiVersion: revet/v1
kind: Cluster
metadata: {name: prod-eu}
spec: {id: 6d2b3c1e-0000-4000-8000-000000000000, labels: {env: prod}, feeds: [audit]}
---
apiVersion: revet/v1
kind: Key
metadata: {name: dev}
spec: {file: dev.pub, owner: team}
"""

_MANIFEST = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json",
    "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": world.DIGEST, "size": 2},
    "layers": [
        {
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
            "digest": world.DIGEST,
            "size": 200,
            "annotations": {"a": "b"},
        }
    ],
    "subject": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": world.DIGEST, "size": 528},
}
_INDEX = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.index.v1+json",
    "manifests": [
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": world.DIGEST,
            "size": 528,
            "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"},
        }
    ],
}
_DOCKER_CONFIG = {
    "auths": {
        "https://index.docker.io/v1/": {"auth": "dXNlcjpwYXNz"},
        "r.example:5000/team": {"username": "u", "password": "p"},
        "t.example": {"registrytoken": "t"},
    },
    "credHelpers": {"gcr.io": "gcloud"},
    "credsStore": "desktop",
}

MAKERS: dict[str, Callable[[], Any]] = {
    "certificate": _certificates,
    "certificates in PEM": lambda: [
        pki.pem(*world.ISSUING.chain).encode(),
        *(pki.pem(der).encode() for der in _certificates()[:3]),
    ],
    "key in PEM": lambda: [Signer("k", kind).pem.encode() for kind in ("ecdsa-p256", "ecdsa-p384", "rsa", "ed25519")],
    "key in DER": lambda: [
        pki.spki(pki.make_key("k", kind)) for kind in ("p256", "p384", "p521", "ed25519", "rsa2048")
    ],
    "CRL": lambda: [crl(), x509.load_der_x509_crl(crl()).public_bytes(Encoding.PEM)],
    "OCSP": lambda: [ocsp_response()],
    "SCT list": _sct_list,
    "timestamp token": _tokens,
    "timestamp response": _responses,
    "algorithm": lambda: [
        pki.signature_algorithm(pki.make_key("a", "rsa2048"), name, pss=pss)
        for name in ("sha256", "sha512")
        for pss in (True, False)
    ],
    "bundle": lambda: [*_evidence("sigstore-bundle"), *recorded("bundle.sigstore.json")],
    "envelope": lambda: _evidence("cosign-dsse"),
    "simple signing": lambda: _evidence("cosign-simplesigning"),
    "log entry": _entries,
    "log entry body": _bodies,
    "checkpoint": _checkpoints,
    "signature annotation": _annotation("dev.cosignproject.cosign/signature"),
    "certificate annotation": _annotation("dev.sigstore.cosign/certificate"),
    "chain annotation": _annotation("dev.sigstore.cosign/chain"),
    "log annotation": _annotation("dev.sigstore.cosign/bundle"),
    "timestamp annotation": _annotation("dev.sigstore.cosign/rfc3161timestamp"),
    "JWS": lambda: _evidence("notation-jws"),
    "COSE": lambda: _evidence("notation-cose"),
    "OpenPGP message": lambda: _evidence("openpgp-simplesigning"),
    "OpenPGP ring": lambda: [world.armored(world.PGP.ring(), world.PGP_EDWARDS.ring()).encode()],
    "OpenPGP packets": lambda: [world.PGP.ring(), world.PGP.message(world.pgp_document())],
    "trust data": lambda: _evidence("tuf-trust-data"),
    "TUF root keys": lambda: [(world.trust_data().root.keys[0].pem + pki.pem(world.NOTARY.certificate)).encode()],
    "trusted root": lambda: [world.trusted_root().encode(), *recorded("trusted_root.json")[:4]],
    "predicate": lambda: [compact(document) for document in _RULE_DOCUMENTS],
    "manifest": lambda: [compact(_MANIFEST), compact(_INDEX)],
    "Docker configuration": lambda: [compact(_DOCKER_CONFIG)],
    "token answer": lambda: [b'{"token":"abc.def","access_token":"x","expires_in":300}'],
    "challenge": lambda: [
        b'Bearer realm="https://auth.example/token",service="r.example",scope="repository:a:pull", Basic realm="x"'
    ],
    "revet documents": lambda: [REVET, *REVET.split(b"---\n")],
    "quota": lambda: [b"100/6h", b"5000/d", b"10/30m"],
    "reference": lambda: [
        b"nginx",
        b"r.example:5000/a/b:1.2@" + world.DIGEST.encode(),
        b"docker.io/library/alpine",
        b"localhost/x",
        b"[::1]:5000/a:b",
    ],
    "image ID": lambda: [
        b"docker-pullable://r.example/a@" + world.DIGEST.encode(),
        b"docker://" + world.DIGEST.encode(),
        b"a" * 64,
        b"r.example/a@" + world.DIGEST.encode(),
    ],
    "instant": lambda: [
        b"2026-01-31T12:00:00Z",
        b"2026-01-31T12:00:00.123456789+02:00",
        b"7d",
        b"0001-01-01T00:00:00Z",
    ],
    "glob": lambda: [
        b"registry.example.com/**/api:*",
        b"ghcr.io/{a,b}/*",
        b"*.example.com/[a-z]?",
        b"a|b & !c",
        b"r.example/*@sha256:*",
    ],
    "regex": lambda: [rb"^https://ci\.example/.*$", rb"(a|b)*c{2,5}", rb"((a{10}){10}){10}"],
    "subject": lambda: [
        b"C=US, ST=WA, O=wabbit-networks.io, CN=a\\,b",
        b"x509.subject: C=US, ST=WA, O=a",
        b"CN=#0c0161+O=x",
    ],
    "CEL": lambda: [
        b"predicate.approved == true && predicate.names.all(n, n.matches('^a'))",
        b"size(predicate.names) > 2 ? true : predicate.count in [1, 2]",
    ],
    "JSONPath": lambda: [b"$.a[?@.b == 1 && match(@.c, 'x.*')].d", b"$..names[0:2:1]", b"$['a','b'][*]"],
    "licence": lambda: [b"(MIT OR Apache-2.0 WITH LLVM-exception) AND GPL-2.0-or-later", b"LicenseRef-x+"],
    "package URL": lambda: [b"pkg:npm/%40scope/a@1.2.3?arch=x#sub", b"pkg:deb/debian/readline@8.2?arch=amd64"],
    **{f"policy of {name}": _foreign(name) for name in POLICIES},
}
"""Kind of input -> its seeds."""
