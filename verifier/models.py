"""The nouns of verification: frozen, typed, without behaviour that needs IO.

Times are integer microseconds since the Unix epoch, UTC. Digests are `sha256:<64 lower-case hex>`. Key ids are the
lower-case hex SHA-256 of the DER SubjectPublicKeyInfo.

    reference  = parse_reference("registry.example.com/payments/api:1.4.2")
    closure    = DigestClosure(running="sha256:…", indexes=("sha256:…",))
    verdict    = verify(policy, scope, closure, evidence_set, facts, trust, instant)
"""

from __future__ import annotations

from typing import Literal

import msgspec

VERIFIER_VERSION = "1"
"""Version of the code that turns evidence into facts; part of each fact id, so that a mended parser makes new facts."""

Micros = int
"""Microseconds since the Unix epoch, UTC."""


class ImageReference(msgspec.Struct, frozen=True, gc=False):
    """A normalised image reference (OCI distribution spec, Docker normalisation rules).

    `registry` is lower case (`docker.io`, `registry.example.com:5000`), `path` has `library/` added where Docker
    does. `tag` is `latest` when neither tag nor digest was written.
    """

    registry: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """`registry/path`, the name evidence is stored under."""
        return f"{self.registry}/{self.path}"

    def __str__(self) -> str:
        text = self.repository
        if self.tag:
            text += f":{self.tag}"
        if self.digest:
            text += f"@{self.digest}"
        return text


ImageIdKind = Literal["repo-digest", "config-digest", "storage-id", "empty", "unknown"]


class RunningImage(msgspec.Struct, frozen=True, gc=False):
    """What a runtime reported as `imageID`, read by `verifier.reference.parse_image_id`.

    `digest` is a manifest or index digest only for kind `repo-digest`; for `config-digest` it is the digest of the
    image configuration, which no registry can be asked for; `storage-id` is a bare 64-hex runtime id.
    """

    kind: ImageIdKind
    repository: str = ""
    digest: str = ""


Via = Literal["exact", "index_of", "child_of"]
"""How evidence on one digest supports a running one: the same digest, an index that lists it, or (when the runtime
reported an index) the platform manifest that the node runs."""


class DigestClosure(msgspec.Struct, frozen=True, gc=False):
    """The running digest and the digests tied to it. Evidence on an index covers its children, never the reverse."""

    running: str
    indexes: tuple[str, ...] = ()
    """Index digests known to list `running` as a child."""
    children: tuple[str, ...] = ()
    """When `running` is an index: the manifest(s) of the node's platform."""

    def via(self, digest: str) -> Via | None:
        """How evidence on `digest` reaches the running container, or None when it does not."""
        if digest == self.running:
            return "exact"
        if digest in self.indexes:
            return "index_of"
        if digest in self.children:
            return "child_of"
        return None


EvidenceFormat = Literal[
    "cosign-simplesigning",
    "cosign-dsse",
    "sigstore-bundle",
    "notation-jws",
    "notation-cose",
    "openpgp-simplesigning",
    "tuf-trust-data",
]


class Evidence(msgspec.Struct, frozen=True):
    """Bytes of one signature or attestation, as found. Kept from first sight in the evidence store.

    `id` = `verifier.evidence.identity.evidence_id(payload digest, carrying annotations)`: two layers of one `.sig`
    manifest may have the same bytes and differ only in the annotation that carries the signature.
    """

    id: str
    format: EvidenceFormat
    repository: str
    subject: str
    """Digest of the manifest or index this evidence was found for (by tag name or by `subject` descriptor)."""
    payload: bytes
    annotations: dict[str, str] = {}
    artifact: str = ""
    """Digest of the manifest that carries the layer."""
    place: str = ""
    """`sig-tag`, `att-tag`, `referrers-api` or `referrers-tag`."""


PlaceOutcome = Literal["found", "absent", "error"]


class PlaceAsked(msgspec.Struct, frozen=True, gc=False):
    """The outcome of one place that was asked for evidence about one digest."""

    place: str
    digest: str
    outcome: PlaceOutcome
    code: str = ""
    """A reason code when `outcome` is `error` (`registry-unauthorized`, `registry-rate-limited` …)."""
    detail: str = ""


class EvidenceSet(msgspec.Struct, frozen=True):
    """What is known to exist for (repository, digest) after asking every place once. Newest wins.

    Absence is only known from a complete set: `complete` is False as soon as one place answered with an error.
    """

    repository: str
    digest: str
    evidence: tuple[str, ...]
    closure: DigestClosure
    places: tuple[PlaceAsked, ...]
    complete: bool
    fetched_at: Micros
    keyset: str
    """Id of the candidate key set the facts of this set were computed under (`TrustState.keyset_id`)."""
    version: str
    """Hash over evidence ids, closure, outcomes and key set: the same content has the same version."""
    names: tuple[str, ...] = ()
    """Tags, and digests of indexes, by which the image was seen to run, the newest last: those that were asked which
    index lists it. What is not among them may name a signed index that `closure` lacks."""


TimeKind = Literal["attested", "observed"]


class TimeClaim(msgspec.Struct, frozen=True, gc=False):
    """One accepted or acceptable proof that a signature existed at or before `time`."""

    source: str
    """`first-seen` (revet's own record), `set` (Rekor v1), `tsa` (RFC 3161), `signing-authority` (Notary Project)."""
    kind: TimeKind
    time: Micros
    """Upper bound: for a timestamp token genTime plus its accuracy."""
    source_key: str = ""
    """Log id, or key id (SPKI) of the certificate that signed the timestamp."""
    authority: str = ""
    """Id of the timestamp authority (`material.Authority`) the token's chain leads to; its window counts."""
    accuracy: Micros = 0
    """The token's accuracy: the signature existed at some instant of [time - 2 * accuracy, time]."""


class LeafCertificate(msgspec.Struct, frozen=True):
    """Who a signing certificate says it was made for. Believed only through a `ChainClaim`."""

    sha256: str
    """Hex SHA-256 of the DER."""
    key_id: str
    """Hex SHA-256 of the SubjectPublicKeyInfo."""
    serial: str
    """Lower-case hex, no leading zeros."""
    subject: str
    """Distinguished name, RFC 4514; empty for Fulcio."""
    not_before: Micros
    not_after: Micros
    """Closed interval [not_before, not_after]."""
    issuer: str = ""
    """OIDC issuer (Fulcio extension .8, or .1); empty when there is none."""
    sans: tuple[str, ...] = ()
    """Subject alternative names: URI, e-mail, DNS and Fulcio's OtherName, as text, in the order of the certificate."""
    extensions: tuple[tuple[str, str], ...] = ()
    """Fulcio extensions by name (`sourceRepositoryURI` …: `evidence.x509.FULCIO_EXTENSIONS`), sorted."""


class SctClaim(msgspec.Struct, frozen=True, gc=False):
    """A signed certificate timestamp whose signature is good (RFC 6962 section 3.2)."""

    log: str
    """Hex id of the CT log."""
    time: Micros


class ChainClaim(msgspec.Struct, frozen=True):
    """The signer's certificate leads to an authority: every signature on the way is good, usages and constraints hold.

    Windows are not judged here: `valid_from` and `valid_until` bound the instants at which every certificate of the
    chain, the leaf included, is valid; the verdict compares them with the proven signing time.
    """

    authority: str
    """`material.Authority.id`."""
    valid_from: Micros
    valid_until: Micros
    key_ids: tuple[str, ...] = ()
    """SPKI ids of the CA certificates used, issuing CA first, anchor last."""
    serials: tuple[str, ...] = ()
    """`<issuer's key id>:<serial>` of every certificate but the anchor, leaf first: what a CRL names."""
    scts: tuple[SctClaim, ...] = ()
    revocable: tuple[str, ...] = ()
    """Those of `serials` whose certificate names a CRL or OCSP responder: without a list their status is unknown."""


class ListStatus(msgspec.Struct, frozen=True, gc=False):
    """What revocation lists (CRL, OCSP) say of a chain at an instant."""

    state: Literal["good", "revoked", "unknown"]
    detail: str = ""
    valid_until: Micros | None = None
    """The answer may change by itself at this instant."""


class LogClaim(msgspec.Struct, frozen=True, gc=False):
    """A transparency-log entry that is about this very signature, and how a known log vouches for it."""

    log: str
    """Hex log id."""
    kind: str
    """`hashedrekord/0.0.1` …"""
    index: int
    """Global index as the entry states it."""
    included: bool = False
    """The inclusion proof leads to a checkpoint signed by the log."""
    promised: bool = False
    """The signed entry timestamp (SET) is good."""
    time: Micros | None = None
    """`integratedTime` when the SET covers it."""


class BuildClaim(msgspec.Struct, frozen=True, gc=False):
    """What a provenance says of how it was built, beside builder and commits. The word of whoever signed it."""

    build_type: str = ""
    run: str = ""
    """The run that built it, as the builder numbers them."""
    sources: tuple[str, ...] = ()
    """`uri` or `uri@ref`."""
    images: tuple[str, ...] = ()
    """Digests of the images among its materials: bases, and images that only helped to build."""


class RuleClaim(msgspec.Struct, frozen=True):
    """What a content rule says of one attestation. Evaluated once per evidence and rule; no clock is involved."""

    rule: str
    """Id of the rule: hash of its content."""
    holds: bool
    detail: str = ""
    """When it does not hold: what was found, what was expected (one sentence, quoted values escaped and cut)."""
    time: Micros | None = None
    """The predicate's own date when the rule bounds its age: the bound is judged with the verdict."""
    max_age: Micros | None = None
    """Longest age of `time`."""
    until: Micros | None = None
    """Last instant at which the rule holds: an exception it needs ends then."""


FactKind = Literal["signature", "attestation", "unknown"]


class Fact(msgspec.Struct, frozen=True):
    """What cryptography says about one piece of evidence under one candidate key set. Immutable, contains no policy.

    id = hash(evidence id, candidate key set id, verifier version).
    """

    id: str
    evidence_id: str
    format: EvidenceFormat
    kind: FactKind
    repository: str
    subject: str
    """Digest the evidence was found for (by location)."""
    subjects: tuple[str, ...]
    """Digests the *signed bytes* name. Evidence counts only for a digest in here."""
    verified_by: tuple[str, ...]
    """Key ids whose signature over exactly these bytes is good; empty when no candidate key matched."""
    keyset: str
    signed_repository: str = ""
    """`critical.identity.docker-reference` of a simple-signing payload, a claim that is itself signed."""
    predicate_type: str = ""
    annotations: tuple[tuple[str, str], ...] = ()
    """Signed annotations (`optional` of simple signing, `subject[].annotations` of a statement), sorted."""
    algorithm: str = ""
    """Key type and hash that matched, e.g. `ecdsa-p256-sha256`, `ed25519`, `ed25519ph`, `rsa-pkcs1-sha256`."""
    key_hint: str = ""
    """Key id the evidence itself names (bundle `publicKey.hint`); unauthenticated, decides between 'signed by an
    unknown key' and 'claims a known key and fails'."""
    claimed_time: Micros | None = None
    """Time asserted by the signer. Never trusted."""
    times: tuple[TimeClaim, ...] = ()
    """Times proven by the evidence itself (none for a keyed signature without log or timestamp)."""
    problem: str = ""
    """Reason code when the evidence itself is broken (`payload-malformed`, `signature-malformed` …)."""
    verifier: str = VERIFIER_VERSION
    problem_detail: str = ""
    """Sentence behind `problem`: what was found, what was expected."""
    certificate: LeafCertificate | None = None
    """The signing certificate, when the evidence carries one and its key verifies the signature."""
    chains: tuple[ChainClaim, ...] = ()
    """Authorities the certificate (or an OpenPGP key, or a TUF root) leads to; empty when none is known."""
    logs: tuple[LogClaim, ...] = ()
    rules: tuple[RuleClaim, ...] = ()
    builder: str = ""
    """`builder.id` of an SLSA provenance; for a Fulcio certificate see `certificate.extensions`."""
    commits: tuple[str, ...] = ()
    """Source commits a provenance names (hex), sorted."""
    scheme: str = ""
    """Notary Project signing scheme: `notary.x509` or `notary.x509.signingAuthority`."""
    expires: Micros | None = None
    """Expiry the signature itself states (notation `expiry`, OpenPGP subpacket 3, TUF `expires`); judged now."""
    undecided: tuple[str, ...] = ()
    """What could not be decided for want of candidates: `key`, `authority`, `log:<id>`, `ct:<id>`, `timestamp`. A key
    or root added later re-verifies exactly the facts that have something here, or that nothing vouches for."""
    build: BuildClaim | None = None
    """What an SLSA provenance says of its build; None for everything else."""


def is_undecided(fact: Fact) -> bool:
    """Does nothing vouch for it so far though it was read well, or could a source that is not known say more?"""
    return bool(fact.undecided) or not (fact.problem or fact.verified_by or fact.chains)


class Scope(msgspec.Struct, frozen=True):
    """Everything a policy can see of a workload. From the *spec*, never from the runtime's names."""

    image: ImageReference
    cluster: str = ""
    cluster_name: str = ""
    cluster_labels: tuple[tuple[str, str], ...] = ()
    namespace: str = ""
    service_account: str = ""
    labels: tuple[tuple[str, str], ...] = ()


Outcome = Literal["valid", "violates", "unverifiable", "ungoverned"]
Mode = Literal["trial", "audit", "enforce"]


class Reason(msgspec.Struct, frozen=True):
    """Why. `code` is of the closed list in `verifier.reasons`; `message` says expected, found and what to do."""

    code: str
    message: str
    policy: str = ""


SignatureState = Literal[
    "trusted",
    "trusted-before-compromise",
    "trusted-before-retirement",
    "retired-late",
    "retired-unproven",
    "not-authorised",
    "outside-window",
    "expired",
    "suspended",
    "revoked-time-unknown",
    "revoked",
    "subject-mismatch",
    "invalid",
    "unknown-key",
]


class Standing(msgspec.Struct, frozen=True):
    """One (evidence, key) as it stands under the trust of an epoch, before any policy looks at it.

    Made by `verifier.trust.standing`, consumed by `verifier.policy.requirement`.
    """

    evidence: str
    fact: str
    format: EvidenceFormat
    kind: FactKind
    key_id: str
    """Hex key id, empty for `unknown-key`, `invalid` without a known key."""
    state: SignatureState
    via: Via | None
    annotations: tuple[tuple[str, str], ...] = ()
    predicate_type: str = ""
    repository_claim: bool | None = None
    """True: the signed payload names the repository it was found in; False: it names another; None: no claim."""
    time: Micros | None = None
    """t_le, the earliest accepted proof that the signature existed at or before; None when there is none."""
    time_kind: Literal["attested", "observed", "none"] = "none"
    problem: str = ""
    """Reason code behind `invalid`."""
    revocation: str = ""
    """Id of the revocation record that decided `state`."""
    valid_until: Micros | None = None
    """Instant at which `state` changes by itself (future revocation); None when it does not."""
    authority: str = ""
    """Id of the authority the signer's certificate, key-ring key or TUF root leads to; empty for a key of the ring."""
    chain: ChainClaim | None = None
    certificate: LeafCertificate | None = None
    logs: tuple[LogClaim, ...] = ()
    """Entries of logs that count for this authority now."""
    scts: tuple[SctClaim, ...] = ()
    """Of CT logs that count for this authority now."""
    attested: tuple[TimeClaim, ...] = ()
    """Times of sources that are accepted now."""
    rules: tuple[RuleClaim, ...] = ()
    scheme: str = ""
    expires: Micros | None = None
    undecided: tuple[str, ...] = ()
    list_status: tuple[ListStatus, ListStatus] | None = None
    """What the CAs' own revocation lists say of the chain, with the timestamp in mind (specification) and as notation
    does it; None when there are no lists."""
    source_revocation: str = ""
    """Id of a revocation by which a log or timestamp authority of this signature no longer counts."""

    @property
    def who(self) -> str:
        """The signer as a person or workload: of two signatures with the same `who` only one counts in an atLeast."""
        leaf = self.certificate
        if leaf is None or not (leaf.sans or leaf.subject):
            return self.key_id
        return f"{leaf.issuer}|{'|'.join(leaf.sans) or leaf.subject}"


class SignatureView(msgspec.Struct, frozen=True):
    """One signature as the verdict saw it; what `revet verify` prints per signature."""

    evidence: str
    fact: str
    format: EvidenceFormat
    kind: FactKind
    signer: str
    """Name of the key in trust, else `key:<12 hex>`, else `unknown`."""
    key_id: str
    status: SignatureState
    counts: bool
    via: Via | None
    time: Micros | None
    """t_le: earliest accepted proof that the signature existed at or before."""
    time_kind: Literal["attested", "observed", "none"]
    issuer: str = ""
    """OIDC issuer, or root the certificate leads to, when it was made with a certificate."""
    predicate_type: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """(class, policy) judged at an epoch and an instant. A pure function of what it lists; replayable byte for byte."""

    id: str
    policy: str
    policy_version: str
    mode: Mode
    outcome: Outcome
    reasons: tuple[Reason, ...]
    signatures: tuple[SignatureView, ...]
    exempted_by: str
    epoch: int
    evidence_set: str
    facts: tuple[str, ...]
    scope: Scope
    closure: DigestClosure
    instant: Micros
    valid_until: Micros | None
    """The verdict must be judged again at this instant (expiry, hold, future revocation); None when nothing is due."""
    verifier: str = VERIFIER_VERSION
