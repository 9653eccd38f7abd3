"""Whole situations with real cryptography in few lines: a private Sigstore, signatures by its certificates, verdicts.

    alpha = Instance("alpha")                                    CA and intermediate, CT log, Rekor v1 and v2, TSA
    trust = trust_of(alpha.root(), policy(ci=keyless("alpha")))
    made = alpha.sign(ALICE)                                     a bundle with certificate, SCT, log entry
    ask(trust, made).outcome                                     "valid"
    ask(trust, alpha.sign(ALICE, logs=())).codes                 ("time-unproven",)

Keys follow from names, so two instances of one name are one. Every part of a signature can be left out or spoiled by an
argument. Certificates of one's own CA, Notary Project envelopes, OpenPGP messages and trust data are here too.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from tests.helpers import openpgp
from tests.helpers.notation import DIGEST, MANIFEST, X509, envelope
from tests.helpers.pki import (
    DAY,
    SECOND,
    T0,
    TIMESTAMPING,
    Ca,
    CtLog,
    Leaf,
    Tsa,
    make_key,
    moment,
    pem,
    sequence,
    spki,
)
from tests.helpers.pki import integer as der_integer
from tests.helpers.rekor import MemoryLog, b64, dsse1, hashedrekord2
from tests.helpers.trustdata import TrustData
from verifier.evidence.dsse import IN_TOTO_TYPE, SIGN_PREDICATE, pae
from verifier.evidence.identity import evidence_id
from verifier.evidence.keys import load_public_key
from verifier.evidence.material import RootFormat
from verifier.evidence.trustdata import pack_trust_data
from verifier.facts.candidates import KeySet
from verifier.facts.derive import derive_fact
from verifier.models import DigestClosure, Evidence, EvidenceFormat, EvidenceSet, Fact, PlaceAsked, Scope, Verdict
from verifier.policy.attestors import Attestor
from verifier.policy.model import MatchRule, Policy, Requirement, SoftUnproven, with_version
from verifier.policy.selection import compile_policy
from verifier.reference import parse_reference
from verifier.testing import compact, statement
from verifier.times import format_instant
from verifier.trust.records import (
    KeyPut,
    PolicyPut,
    PolicyRemoved,
    RevocationPut,
    RevocationWithdrawn,
    RootPut,
    RootRemoved,
    StatusListPut,
    TrustRecord,
)
from verifier.trust.state import TrustState
from verifier.verify import ImageEvidence, verify

REPOSITORY = "registry.example.com/app"
ISSUER = "https://idp.example"
ALICE, BOB = "https://git.example/alice/ci.yml@main", "https://git.example/bob/ci.yml@main"
SIGNED = T0 + 60 * SECOND
"""When everything is signed unless said otherwise: a minute into the leaves' ten."""
NOW = T0 + 30 * DAY
"""When verdicts are asked for unless said otherwise."""
FROM, UNTIL = T0 - 365 * DAY, T0 + 365 * DAY
"""Windows of a root, unless said otherwise."""
HEAD: dict[str, Any] = {"author": "alice", "at": T0}
VSA = "https://example.com/checked/v1"
"""A predicate type of nobody's."""


# ---------------------------------------------------------------------------------------------------------- instances


@dataclass(frozen=True)
class _Holder:
    """A leaf in the shape that log entries want their signer."""

    leaf: Leaf
    certified: bool = True

    @property
    def certificate(self) -> bytes:
        return self.leaf.certificate

    @property
    def spki(self) -> bytes:
        return spki(self.leaf.key)

    @property
    def pem(self) -> str:
        return self.leaf.pem if self.certified else key_pem(self.leaf.key)


def key_pem(key: Any) -> str:
    return f"-----BEGIN PUBLIC KEY-----\n{b64(spki(key))}\n-----END PUBLIC KEY-----\n"


class Stamped(NamedTuple):
    """A timestamp to be made."""

    tsa: Tsa
    at: int = SIGNED
    oddities: Mapping[str, Any] = MappingProxyType({"accuracy": b""})
    """As for `Tsa.token`; by default it is exact."""


class Logged(NamedTuple):
    """A log entry to be made."""

    log: MemoryLog
    at: int = SIGNED
    promised: bool = True
    proven: bool = True
    claimed: int | None = None
    """States another index (a SET covers it, a proof of Rekor v1 does not)."""


class Instance:
    """A private Sigstore instance."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.anchor = Ca.root(f"{name} root")
        self.ca = self.anchor.intermediate(f"{name} issuing")
        self.ct = CtLog(f"{name} ct")
        self.rekor = MemoryLog(f"rekor.{name}.example")
        self.tiles = MemoryLog(f"tiles.{name}.example", version=2)
        self.tsa_ca = self.anchor.intermediate(f"{name} tsa-ca", eku=TIMESTAMPING)
        self.tsa = _tsa(name, self.tsa_ca)

    # -- its root

    def document(
        self,
        *,
        ca: tuple[int, int | None] = (FROM, UNTIL),
        log: tuple[int, int | None] = (FROM, UNTIL),
        tiles: tuple[int, int | None] = (FROM, UNTIL),
        ct: tuple[int, int | None] = (FROM, UNTIL),
        tsa: tuple[int, int | None] = (FROM, UNTIL),
        without: Sequence[str] = (),
        chain: Sequence[bytes] | None = None,
        stamping: Tsa | None = None,
        tsa_chain: Sequence[bytes] | None = None,
    ) -> str:
        """trusted_root.json with these windows, `without` some of its lists; `chain` and `stamping` replace parts."""
        ct_key = make_key(f"log {self.ct.name}", self.ct.key_type)
        parts = {
            "tlogs": [
                _log_json(self.rekor.host, self.rekor.spki, self.rekor.id, log),
                _log_json(self.tiles.host, self.tiles.spki, self.tiles.id, tiles, "PKIX_ED25519"),
            ],
            "ctlogs": [_log_json(f"ct.{self.name}.example", spki(ct_key), self.ct.id, ct)],
            "certificateAuthorities": [_authority_json(chain or self.ca.chain, ca)],
            "timestampAuthorities": [_authority_json(tsa_chain or (stamping or self.tsa).chain, tsa)],
        }
        media_type = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
        return json.dumps({"mediaType": media_type} | {k: v for k, v in parts.items() if k not in without})

    def root(self, name: str = "", **document: Any) -> RootPut:
        return root(name or self.name, self.document(**document))

    # -- what it signs

    def leaf(self, who: str = ALICE, *, key: str = "", issuer: str = ISSUER, sct: bool = True, **oddities: Any) -> Leaf:
        return _leaf(self.ca, who, key or who, issuer, (self.ct,) if sct else (), _frozen(oddities))

    def sign(self, who: str = ALICE, *, sct: bool = True, leaf: Leaf | None = None, **bundle_of: Any) -> Evidence:
        """A bundle as `bundle` makes it, with a leaf for `who` and by default one entry in Rekor v1."""
        names = {"key", "issuer", "extensions", "sct_at", "spoil_scts", "not_before", "not_after", "serial", "sans"}
        of_leaf = {name: bundle_of.pop(name) for name in sorted(names & bundle_of.keys())}
        options = {"logs": (Logged(self.rekor),)} | bundle_of
        return bundle(leaf or self.leaf(who, sct=sct, **of_leaf), **options)


@cache
def _tsa(name: str, issuer: Ca) -> Tsa:
    return Tsa.under(issuer, f"{name} tsa", not_before=FROM, not_after=UNTIL + 365 * DAY)


def _frozen(oddities: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((k, tuple(v.items()) if isinstance(v, dict) else v) for k, v in sorted(oddities.items()))


@cache
def _leaf(ca: Ca, who: str, key: str, issuer: str, scts: tuple[CtLog, ...], oddities: tuple) -> Leaf:
    """The same arguments give the same certificate, so that entries and chains of it are equal too."""
    options: dict[str, Any] = {k: dict(v) if k == "extensions" else v for k, v in oddities}
    sans = options.pop("sans", (who,) if who else ())
    return ca.leaf(f"{ca.name} {key}", sans=sans, issuer=issuer, scts_by=scts, **options)


def _range(window: tuple[int, int | None]) -> dict[str, str]:
    start, end = window
    return {"start": format_instant(start)} | ({} if end is None else {"end": format_instant(end)})


def _log_json(
    host: str, key: bytes, name: str, window: tuple[int, int | None], details: str = "PKIX_ECDSA_P256_SHA_256"
) -> dict:
    return {
        "baseUrl": f"https://{host}",
        "hashAlgorithm": "SHA2_256",
        "publicKey": {"rawBytes": b64(key), "keyDetails": details, "validFor": _range(window)},
        "logId": {"keyId": b64(bytes.fromhex(name))},
    }


def _authority_json(chain: Sequence[bytes], window: tuple[int, int | None]) -> dict:
    certificates = [{"rawBytes": b64(der)} for der in chain]
    return {"certChain": {"certificates": certificates}, "validFor": _range(window)}


def log_root(log: MemoryLog) -> str:
    """A Sigstore root with nothing but a transparency log, which is good for ever."""
    media_type = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
    return json.dumps({"mediaType": media_type, "tlogs": [_log_json(log.host, log.spki, log.id, (0, None))]})


# ------------------------------------------------------------------------------------------------------------ evidence


def bundle(
    leaf: Leaf,
    *,
    digest: str = DIGEST,
    at: str = "",
    logs: Sequence[Logged] = (),
    stamps: Sequence[Stamped] = (),
    predicate_type: str = SIGN_PREDICATE,
    predicate: object = None,
    given: Sequence[bytes] = (),
    keyed: bool = False,
    entries: Sequence[dict] | None = None,
    tokens: Sequence[bytes] | None = None,
    signature: bytes | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Evidence:
    """A bundle around an in-toto statement.

    Args:
        leaf: signs.
        digest: what is signed.
        at: digest it is found for; default: the same.
        logs: entries to be made.
        stamps: timestamps to be made.
        predicate_type: default: an image signature.
        predicate: of an attestation.
        given: CA certificates that come along.
        keyed: names the key instead of the certificate.
        entries: transplanted instead of made.
        tokens: transplanted instead of made.
        signature: instead of the leaf's.
        annotations: of the subject.
    """
    subject = {"name": REPOSITORY, "digest": {"sha256": digest.removeprefix("sha256:")}}
    subject |= {"annotations": dict(annotations)} if annotations else {}
    body = statement([subject], predicate_type, {} if predicate is None else predicate)
    message = pae(IN_TOTO_TYPE, body)
    made = leaf.sign(message) if signature is None else signature
    holder = _Holder(leaf, certified=not keyed)
    material: dict[str, Any] = {
        "tlogEntries": entries_of(logs, body, message, made, holder) if entries is None else list(entries),
        "timestampVerificationData": {
            "rfc3161Timestamps": [
                {"signedTimestamp": b64(token)} for token in (tokens if tokens is not None else tokens_of(stamps, made))
            ]
        },
    }
    if keyed:
        material["publicKey"] = {"hint": b64(bytes.fromhex(leaf.key_id))}
    elif given:
        material["x509CertificateChain"] = {"certificates": [{"rawBytes": b64(d)} for d in (leaf.certificate, *given)]}
    else:
        material["certificate"] = {"rawBytes": b64(leaf.certificate)}
    content = {"payload": b64(body), "payloadType": IN_TOTO_TYPE, "signatures": [{"sig": b64(made)}]}
    media_type = "application/vnd.dev.sigstore.bundle.v0.3+json"
    if given:
        media_type = "application/vnd.dev.sigstore.bundle+json;version=0.3"
    written = {"mediaType": media_type, "verificationMaterial": material, "dsseEnvelope": content}
    return evidence("sigstore-bundle", compact(written), at or digest)


def entries_of(
    logs: Sequence[Logged], body: bytes, message: bytes, signature: bytes, holder: Any
) -> list[dict[str, Any]]:
    """Each call sees the logs as they were made, so that the same signature always has the same entries."""
    found = []
    fresh = {one.log.host: replace(one.log, leaves=list(one.log.leaves)) for one in logs}
    for one in logs:
        log = fresh[one.log.host]
        if log.version == 2:
            entry = hashedrekord2(message, signature, holder)
        else:
            entry = dsse1(body, b"", [(signature, holder)])
        written = log.entry(entry, one.at // SECOND, promised=one.promised, proven=one.proven)
        if one.claimed is not None:
            written["logIndex"] = str(one.claimed)
        found.append(written)
    return found


def tokens_of(stamps: Sequence[Stamped], stamped: bytes) -> list[bytes]:
    return [one.tsa.response(stamped, one.at, **one.oddities) for one in stamps]


def envelope_of(
    leaves: Sequence[Leaf],
    *,
    digest: str = DIGEST,
    predicate_type: str = VSA,
    predicate: object = None,
    logged: MemoryLog | None = None,
    by: int = 0,
    at: int = SIGNED,
    stamps: Sequence[Stamped] = (),
) -> Evidence:
    """A classic attestation layer signed by the keys of these leaves; the entry is about that numbered `by`."""
    body = statement([{"digest": {"sha256": digest[7:]}}], predicate_type, predicate or {})
    message = pae(IN_TOTO_TYPE, body)
    signatures = [leaf.sign(message) for leaf in leaves]
    shown = [{"sig": b64(signature)} for signature in signatures]
    written = compact({"payload": b64(body), "payloadType": IN_TOTO_TYPE, "signatures": shown})
    carried = {"dev.cosignproject.cosign/signature": ""}
    if logged is not None:
        holder: Any = _Holder(leaves[by], certified=False)
        entry = dsse1(body, b"", [(signatures[by], holder)])
        del entry["spec"]["envelopeHash"]
        carried["dev.sigstore.cosign/bundle"] = replace(logged, leaves=list(logged.leaves)).annotation(
            entry, at // SECOND
        )
    for token in tokens_of(stamps, written):
        carried["dev.sigstore.cosign/rfc3161timestamp"] = json.dumps({"SignedRFC3161Timestamp": b64(token)})
    return evidence("cosign-dsse", written, digest, carried)


def evidence(
    format: EvidenceFormat,  # noqa: A002 - the word the models use
    payload: bytes,
    subject: str = DIGEST,
    annotations: Mapping[str, str] | None = None,
) -> Evidence:
    carried = dict(annotations or {})
    name = evidence_id(hashlib.sha256(payload).hexdigest(), carried)
    return Evidence(name, format, REPOSITORY, subject, payload, carried)


def notary(leaf: Leaf, form: str = "jws", *, scheme: str = X509, at: int = SIGNED, **options: Any) -> Evidence:
    """A Notary Project signature; `options` as for `tests.helpers.notation.envelope`."""
    data = envelope(leaf, form, scheme=scheme, at=at, **options)
    about = {"revet.subject.mediaType": MANIFEST, "revet.subject.size": "528"}
    return evidence("notation-jws" if form == "jws" else "notation-cose", data, DIGEST, about)


def gpg(key: openpgp.Key, *hashed: bytes, digest: str = DIGEST, at: int = T0 // SECOND + 60) -> Evidence:
    """An OpenPGP simple signature."""
    data = openpgp.message(key, openpgp.document(digest=digest), *hashed, at=at)
    return evidence("openpgp-simplesigning", data, digest)


def trust_data(repository: TrustData, digest: str = DIGEST) -> Evidence:
    """Stored TUF metadata."""
    return evidence("tuf-trust-data", pack_trust_data(repository.gun, repository.files()), digest)


# ---------------------------------------------------------------------------------------------------------- own CAs


def own_leaf(ca: Ca, who: str = "build@example.com", **oddities: Any) -> Leaf:
    """A leaf of a CA of one's own, valid for a year around T0."""
    window = {"not_before": T0 - 180 * DAY, "not_after": T0 + 180 * DAY}
    return _leaf(ca, who, who, "", (), _frozen(window | {"subject": "C=US,ST=WA,O=Example,CN=signer"} | oddities))


def notary_leaf(ca: Ca, name: str = "signer", **oddities: Any) -> Leaf:
    options: dict[str, Any] = {"not_before": T0 - 180 * DAY, "not_after": T0 + 180 * DAY}
    return _leaf(ca, "", name, "", (), _frozen(options | {"subject": f"C=US,ST=WA,O=Example,CN={name}"} | oddities))


def serial_of(certificate: bytes) -> int:
    return x509.load_der_x509_certificate(certificate).serial_number


def crl(
    ca: Ca,
    *revoked: tuple[int, str, int | None],
    at: int = T0,
    until: int = T0 + 60 * DAY,
    only: str = "",
) -> bytes:
    """A CRL of (serial, reason, invalidity date); `only` is `users` or `authorities`."""
    issuer = x509.load_der_x509_certificate(ca.certificate)
    builder = x509.CertificateRevocationListBuilder(issuer.subject, moment(at), moment(until))
    if only:
        builder = builder.add_extension(
            x509.IssuingDistributionPoint(
                None,
                None,
                only_contains_user_certs=only == "users",
                only_contains_ca_certs=only == "authorities",
                only_some_reasons=None,
                indirect_crl=False,
                only_contains_attribute_certs=False,
            ),
            critical=True,
        )
    for serial, reason, since in revoked:
        entry = x509.RevokedCertificateBuilder(serial, moment(at))
        entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags(reason)), critical=False)
        if since is not None:
            entry = entry.add_extension(x509.InvalidityDate(moment(since).replace(tzinfo=None)), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    made = builder.sign(ca.key, hashes.SHA256())
    return made.public_bytes(Encoding.DER)


def accuracy(seconds: int) -> dict[str, bytes]:
    """The oddity of a token that is only so exact."""
    return {"accuracy": sequence(der_integer(seconds))}


# ----------------------------------------------------------------------------------------------------------- records


def root(name: str, content: str, written_in: RootFormat = "sigstore-trusted-root") -> RootPut:
    return RootPut(name=name, format=written_in, content=content, **HEAD)


def own_root(ca: Ca, name: str = "corp") -> RootPut:
    return root(name, pem(*ca.chain), "certificates")


def unroot(name: str) -> RootRemoved:
    return RootRemoved(name=name, **HEAD)


def ring_key(name: str, leaf: Leaf, **window: Any) -> KeyPut:
    text = key_pem(leaf.key)
    return KeyPut(name=name, key_id=load_public_key(text).key_id, pem=text, **window, **HEAD)


def listed(ca: Ca, data: bytes) -> StatusListPut:
    return StatusListPut(issuer=ca.key_id, content=b64(data), **HEAD)


def revoked(kind: str, subject: str, reason: str = "keyCompromise", name: str = "", **times: Any) -> RevocationPut:
    """`times`: effective (default: long ago), compromised_since, last_good_index."""
    name = name or f"r-{kind}-{hashlib.sha256(subject.encode()).hexdigest()[:6]}-{reason}-{sorted(times.items())}"
    fields = {"id": name, "subject_kind": kind, "subject": subject, "reason": reason, "effective": FROM, **times}
    return RevocationPut.model_validate(fields | HEAD)


def withdrawn(record: RevocationPut) -> RevocationWithdrawn:
    return RevocationWithdrawn(revocation_id=record.id, **HEAD)


def keyless(*roots: str, who: Sequence[str] = (ALICE,), **options: Any) -> Attestor:
    identities = [{"issuer": ISSUER, "subject": name} for name in who]
    return Attestor.model_validate({"keyless": {"roots": roots, "identities": identities} | options})


def certificates(*roots: str, who: Sequence[str] = ("build@example.com",), **options: Any) -> Attestor:
    identities = [{"subject": name} for name in who]
    return Attestor.model_validate({"certificates": {"roots": roots, "identities": identities} | options})


def keys(*names: str, **options: Any) -> Attestor:
    return Attestor.model_validate({"keys": names, **options})


def notary_attestor(*stores: str, identities: Sequence[str] = ("*",), **options: Any) -> Attestor:
    return Attestor.model_validate({"notary": {"stores": stores, "identities": identities} | options})


def openpgp_attestor(*rings: str, **options: Any) -> Attestor:
    return Attestor.model_validate({"openpgp": {"keyrings": rings} | options})


def policy(
    require: Mapping[str, Any] | None = None, *, name: str = "p", soft: SoftUnproven = "warn", **attestors: Any
) -> PolicyPut:
    """A policy over every image; by default it requires a signature of its first attestor."""
    tree = Requirement.model_validate(require or {"signedBy": next(iter(attestors))})
    made = Policy(
        id=name,
        match=(MatchRule(images=("**",)),),
        attestors=attestors,
        require=tree,
        soft_unproven=soft,
    )
    return PolicyPut(policy=with_version(made), **HEAD)


def unpolicy(name: str = "p") -> PolicyRemoved:
    return PolicyRemoved(policy_id=name, **HEAD)


def trust_of(*records: TrustRecord, start: TrustState | None = None) -> TrustState:
    """The state after these; every one has to take effect."""
    state = TrustState.empty() if start is None else start
    for record in records:
        state, applied = state.apply(record, state.epoch + 1)
        assert applied.applied, applied
    return state


# ------------------------------------------------------------------------------------------------------------ verdicts


@cache
def _fact(name: str, keyset: str) -> Fact:
    return derive_fact(_KNOWN[name], _SETS[keyset])


_KNOWN: dict[str, Evidence] = {}
_SETS: dict[str, KeySet] = {}


def fact_of(made: Evidence, trust: TrustState) -> Fact:
    """The fact of this evidence under the candidates of this trust; kept, since cryptography is the slow part."""
    _KNOWN[made.id] = made
    if trust.keyset_id not in _SETS:
        _SETS[trust.keyset_id] = trust.candidate_set()
    return _fact(made.id, trust.keyset_id)


class Answer(NamedTuple):
    """A verdict, as tests look at it."""

    outcome: str
    codes: tuple[str, ...]
    valid_until: int | None
    verdict: Verdict

    @property
    def states(self) -> tuple[str, ...]:
        return tuple(s.status for s in self.verdict.signatures)


def image_of(
    facts: Sequence[Fact],
    trust: TrustState,
    *,
    seen: Mapping[str, int] | int | None = None,
    closure: DigestClosure | None = None,
    complete: bool = True,
) -> ImageEvidence:
    closure = closure or DigestClosure(DIGEST)
    ids = tuple(fact.evidence_id for fact in facts)
    places = (
        PlaceAsked(
            "referrers-api",
            closure.running,
            "found" if complete else "error",
            "" if complete else "registry-unavailable",
        ),
    )
    found = EvidenceSet(REPOSITORY, closure.running, ids, closure, places, complete, NOW, trust.keyset_id, "v1")
    dates = dict.fromkeys(ids, seen) if isinstance(seen, int) else dict(seen or {})
    return ImageEvidence(REPOSITORY, closure.running, found, tuple(facts), dates)


def ask(
    trust: TrustState,
    *made: Evidence,
    now: int = NOW,
    facts: Sequence[Fact] | None = None,
    name: str = "p",
    **image: Any,
) -> Answer:
    """The verdict of a policy over an image with this evidence; `facts` instead of those derived under this trust."""
    known = [fact_of(one, trust) for one in made] if facts is None else list(facts)
    about = image_of(known, trust, **image)
    scope = Scope(image=parse_reference(f"{REPOSITORY}@{about.digest}"))
    verdict = verify(compile_policy(trust.policies[name].policy), scope, about, trust, now)
    return Answer(verdict.outcome, tuple(r.code for r in verdict.reasons), verdict.valid_until, verdict)
