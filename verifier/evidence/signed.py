"""What the Sigstore formats have in common once they are read: which bytes are signed, what they say, what comes along.

Readers (`simplesigning`, `dsse`, `bundle`) turn `Evidence` into `SignedContent` and verify nothing; `facts` and
`proofs` verify and read nothing. The bytes that were parsed are the bytes that are verified; there is no second
rendering.
"""

from __future__ import annotations

import msgspec

from verifier.evidence.logentry import LogEntry
from verifier.models import FactKind, Micros


class SignedContent(msgspec.Struct, frozen=True, gc=False):
    """Evidence, read. Nothing in here is verified yet."""

    kind: FactKind
    signatures: tuple[bytes, ...]
    subjects: tuple[str, ...]
    message: bytes | None = None
    """The bytes the signatures are over; None when only their digest is known."""
    message_sha256: bytes = b""
    """Set when `message` is None: SHA-256 of the signed bytes."""
    signed_repository: str = ""
    predicate_type: str = ""
    annotations: tuple[tuple[str, str], ...] = ()
    key_hint: str = ""
    claimed_time: Micros | None = None
    unsupported: str = ""
    """Why this version is unable to verify it (an unknown type). Only said if no key matches."""
    payload: bytes = b""
    """The statement inside a DSSE envelope."""
    predicate: object = None
    """What `payload` has under `predicate`, decoded."""
    envelope: bytes | None = None
    """A classic attestation's envelope as stored: older log entries and its timestamps are over these bytes."""
    certificates: tuple[bytes, ...] = ()
    """DER, the signer's first; never trusted by being here."""
    entries: tuple[LogEntry, ...] = ()
    proof_needed: bool = False
    """The format demands an inclusion proof in every log entry (bundle 0.2 and later)."""
    timestamps: tuple[bytes, ...] = ()
    """RFC 3161 TimeStampResp, DER."""
    stamped: bytes = b""
    """What the timestamps are over."""
