"""Trust records: what people change, one entry of the trust log each. The ordinal in that log is the trust epoch.

Every record carries author, origin, reason and the epoch it expects; a reader ignores a record whose expectation does
not hold (`TrustState.apply`), so two administrators cannot overwrite each other unseen.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from verifier.evidence.material import RootFormat
from verifier.policy.model import Policy

RevocationReason = Literal[
    "keyCompromise",
    "caCompromise",
    "aaCompromise",
    "identityCompromise",
    "unspecified",
    "weakKey",
    "algorithmBroken",
    "superseded",
    "cessationOfOperation",
    "affiliationChanged",
    "privilegeWithdrawn",
    "certificateHold",
]
"""RFC 5280 reason names plus `weakKey`, `algorithmBroken`, `identityCompromise` (class table: `trust.revocation`)."""


SubjectKind = Literal["key", "digest", "evidence", "identity", "ca", "builder", "commit", "log"]
"""What can be revoked."""


class _Record(BaseModel):
    """Common head of every record."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    author: str
    """Who asked for it (on one machine: the local user, said openly)."""
    origin: str = "cli"
    """Where it came from: `cli`, `file:policies/a.yaml`, `demo` …"""
    note: str = ""
    """Why, in words."""
    at: int
    """When it was asked for, microseconds UTC."""
    expects: int | None = None
    """Epoch the author saw; the record is ignored when the log has moved on. None: unconditional."""


class PolicyPut(_Record):
    """A policy was added, or replaced by a new version (`policy.version` is the hash of its canonical content)."""

    kind: Literal["policy-put"] = "policy-put"
    policy: Policy


class PolicyRemoved(_Record):
    """A policy was taken away."""

    kind: Literal["policy-removed"] = "policy-removed"
    policy_id: str


class KeyPut(_Record):
    """A public key was added under a name, or its window, owner or description changed."""

    kind: Literal["key-put"] = "key-put"
    name: str
    key_id: str
    """Hex SHA-256 of the SubjectPublicKeyInfo."""
    pem: str
    owner: str = ""
    valid_from: int | None = None
    valid_until: int | None = None
    """Closed window [valid_from, valid_until], microseconds UTC; judged at the proven signing time."""


class KeyRotated(_Record):
    """`name` now means `new_key_id`; the old key is superseded at `effective`. Rotation is not revocation."""

    kind: Literal["key-rotated"] = "key-rotated"
    name: str
    old_key_id: str
    new_key_id: str
    new_pem: str
    effective: int


class KeyRemoved(_Record):
    """A key left the ring: no longer authorised (DELISTED), not revoked."""

    kind: Literal["key-removed"] = "key-removed"
    key_id: str


class RootPut(_Record):
    """A trust root was added under a name, or replaced: a Sigstore root, a CA, a trust store, a key ring."""

    kind: Literal["root-put"] = "root-put"
    name: str
    """`sigstore-public-good`, `corp-ca`; for Notary Project stores `ca:NAME`, `signingAuthority:NAME`, `tsa:NAME`."""
    format: RootFormat
    content: str
    """The document itself: JSON, PEM or ASCII armor. Public material only."""


class RootRemoved(_Record):
    """A trust root was taken away; what rests on it alone is no longer authorised."""

    kind: Literal["root-removed"] = "root-removed"
    name: str


class StatusListPut(_Record):
    """A certificate revocation list of an authority in trust, delivered as data (RFC 5280). The newest one counts."""

    kind: Literal["status-list-put"] = "status-list-put"
    format: Literal["crl", "ocsp"] = "crl"
    issuer: str
    """Key id (SPKI) of the CA certificate that issued it."""
    content: str
    """Base64 of the DER."""


class RevocationPut(_Record):
    """A revocation (verification: the model of HARD, SOFT and HOLD crossed with trusted time)."""

    kind: Literal["revocation-put"] = "revocation-put"
    id: str
    subject_kind: SubjectKind
    subject: str
    """Key id, image digest, evidence id, identity (JSON of `policy.identity.Identity`), key id or authority id
    of a CA or timestamp authority, builder id, commit (hex), or log id (hex)."""
    reason: RevocationReason
    effective: int
    """R: from when on the owner should no longer sign (SOFT, HOLD), or when it was revoked (HARD)."""
    compromised_since: int | None = None
    """C: HARD only. Signatures proven before C stay good. None with HARD: everything is lost."""
    last_good_index: int | None = None
    """Logs only: entries up to this index stay good, whatever time they claim; later ones fall. The log's order holds
    even where its clock lied."""


class RevocationWithdrawn(_Record):
    """A revocation is taken back; what was before is restored exactly."""

    kind: Literal["revocation-withdrawn"] = "revocation-withdrawn"
    revocation_id: str


class ExemptionPut(_Record):
    """A finding is accepted for a time: scope, what it covers, why, owner, approver, ticket, expiry."""

    kind: Literal["exemption-put"] = "exemption-put"
    id: str
    policy: str = ""
    """Policy id covered; empty: every policy (then a scope is required)."""
    reasons: tuple[str, ...] = ()
    """Reason codes covered; empty: all but proof of compromise."""
    namespaces: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    owner: str = ""
    approver: str = ""
    ticket: str = ""
    starts: int
    expires: int


class ExemptionEnded(_Record):
    """An exemption ends before its expiry."""

    kind: Literal["exemption-ended"] = "exemption-ended"
    exemption_id: str


class ClusterPut(_Record):
    """A cluster by its stable id (UID of namespace kube-system), with name, labels and declared feeds."""

    kind: Literal["cluster-put"] = "cluster-put"
    cluster_id: str
    name: str
    labels: dict[str, str] = {}
    feeds: tuple[Literal["audit", "pods"], ...] = ("audit", "pods")


class ClusterRetired(_Record):
    """A cluster is no more: what ran there has ended. One that still sends is judged; put again, it is back."""

    kind: Literal["cluster-retired"] = "cluster-retired"
    cluster_id: str


TrustRecord = Annotated[
    PolicyPut
    | PolicyRemoved
    | KeyPut
    | KeyRotated
    | KeyRemoved
    | RootPut
    | RootRemoved
    | StatusListPut
    | RevocationPut
    | RevocationWithdrawn
    | ExemptionPut
    | ExemptionEnded
    | ClusterPut
    | ClusterRetired,
    Field(discriminator="kind"),
]

TRUST_RECORD: TypeAdapter[TrustRecord] = TypeAdapter(TrustRecord)
"""`TRUST_RECORD.validate_json(bytes)` reads one log entry; `.dump_json(record, exclude_defaults=False)` writes it."""
