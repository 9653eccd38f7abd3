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


EvidenceFormat = Literal["cosign-simplesigning", "cosign-dsse", "sigstore-bundle"]


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


TimeKind = Literal["attested", "observed"]


class TimeClaim(msgspec.Struct, frozen=True, gc=False):
    """One accepted or acceptable proof that a signature existed at or before `time`."""

    source: str
    """`first-seen` (revet's own record), later: `set`, `tsa`, `signing-authority`, `witness`."""
    kind: TimeKind
    time: Micros
    source_key: str = ""


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
    """Time asserted by the signer. Never trusted (DESIGN 6)."""
    times: tuple[TimeClaim, ...] = ()
    """Times proven by the evidence itself (none for a keyed signature without log or timestamp)."""
    problem: str = ""
    """Reason code when the evidence itself is broken (`payload-malformed`, `signature-malformed` …)."""
    verifier: str = VERIFIER_VERSION
    problem_detail: str = ""
    """Sentence behind `problem`: what was found, what was expected."""


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
