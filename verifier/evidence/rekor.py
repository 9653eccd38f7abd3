"""Entries of Sigstore's transparency log: is this entry about this very signature, and does a known log vouch for it?

    entry = bundle_entry(tlog_entry)                      from a bundle, or
    entry = annotation_entry(annotations["dev.sigstore.cosign/bundle"])
    claim = check_entry(entry, signed, material, need_proof=True)
    claim.included, claim.promised, claim.time            or, of a log nobody told us about, just its id

Both questions count. An entry with the best of proofs that is about some other signature proves nothing about this one;
verifiers that asked only the second question accepted transplanted entries (CVE-2026-22703). What an entry says is
compared in `verifier.evidence.rekorbody`. Windows of log keys are not judged here, and a log is never asked: what the
evidence does not carry is missing.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterable
from typing import Final

import msgspec

from verifier.errors import EvidenceError
from verifier.evidence.base64text import decode_base64
from verifier.evidence.checkpoint import read_checkpoint, verify_checkpoint
from verifier.evidence.content import excerpt
from verifier.evidence.limits import ANNOTATION_BYTES, KIB, SIGNATURE_BYTES
from verifier.evidence.logentry import InclusionProof, LogEntry
from verifier.evidence.material import Log, Material
from verifier.evidence.merkle import HASH_BYTES, PATH_HASHES, leaf_hash, root_of
from verifier.evidence.rekorbody import Signed, check_body, kind_of
from verifier.evidence.strictjson import StrictDecoder
from verifier.models import LogClaim, Micros
from verifier.times import LAST, SECOND

__all__ = [
    "BODY_BYTES",
    "InclusionProof",
    "LogEntry",
    "Signed",
    "TlogEntry",
    "annotation_entry",
    "bundle_entry",
    "check_distinct",
    "check_entry",
    "set_message",
]

BODY_BYTES: Final = 64 * KIB
"""Bytes of a canonicalized body. One signature and its certificate make 4 to 8 KiB; a chain of ten some 40."""

REKOR_V2_KINDS: Final = frozenset({"hashedrekord/0.0.2"})
"""Kinds that only Rekor v2 writes: no signed entry timestamp, no integrated time, always an inclusion proof."""

Int64 = int | str
"""protobuf writes 64-bit integers as text and reads both."""

_MALFORMED: Final = "log-entry-malformed"
_INVALID: Final = "log-proof-invalid"
_INT64: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})", re.ASCII)
_INT64_MAX: Final = 2**63 - 1
_LOG_ID: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


# --------------------------------------------------------------------------------------------------------- as written


class LogId(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """`logId` (sigstore_common.proto)."""

    key_id: str


class KindVersion(msgspec.Struct, frozen=True, gc=False):
    """`kindVersion`: what the entry claims its body to be."""

    kind: str
    version: str


class InclusionPromise(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """`inclusionPromise`: the SET."""

    signed_entry_timestamp: str = ""


class CheckpointText(msgspec.Struct, frozen=True, gc=False):
    """`checkpoint`."""

    envelope: str = ""


class ProofText(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """`inclusionProof`. What has its default value is left out by protobuf: index 0, an empty path."""

    log_index: Int64 = 0
    root_hash: str = ""
    tree_size: Int64 = 0
    hashes: tuple[str, ...] = ()
    checkpoint: CheckpointText | None = None


class TlogEntry(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One of a bundle's `tlogEntries` (sigstore_rekor.proto), in protobuf's JSON form; null is absence."""

    log_id: LogId
    kind_version: KindVersion
    canonicalized_body: str
    log_index: Int64 = 0
    integrated_time: Int64 | None = None
    inclusion_promise: InclusionPromise | None = None
    inclusion_proof: ProofText | None = None


class _Payload(msgspec.Struct, frozen=True, gc=False):
    body: str
    integrated_time: int = msgspec.field(name="integratedTime")
    log_index: int = msgspec.field(name="logIndex")
    log_id: str = msgspec.field(name="logID")


class _Annotation(msgspec.Struct, frozen=True, gc=False):
    set: str = msgspec.field(name="SignedEntryTimestamp")
    payload: _Payload = msgspec.field(name="Payload")


_ANNOTATION: Final = StrictDecoder(_Annotation, _MALFORMED)


# --------------------------------------------------------------------------------------------------------------- read


def bundle_entry(written: TlogEntry) -> LogEntry:
    """An entry of a bundle.

    Raises:
        EvidenceError: `log-entry-malformed`, `log-entry-mismatch` (the body is of another kind than declared: sigstore
            rekor-v2-spec.md 6.1.4), `log-proof-invalid` (a negative index) or `limit-exceeded`.
    """
    entry = _entry(
        log_id=_bytes(written.log_id.key_id, "logId.keyId", HASH_BYTES).hex(),
        index=_count(written.log_index, "logIndex"),
        body=written.canonicalized_body,
        integrated_time=_count(written.integrated_time or 0, "integratedTime"),
        promise=written.inclusion_promise.signed_entry_timestamp if written.inclusion_promise else "",
        proof=_proof(written.inclusion_proof) if written.inclusion_proof else None,
    )
    declared = f"{written.kind_version.kind}/{written.kind_version.version}"
    if declared != entry.kind:
        found = excerpt(entry.kind)
        raise EvidenceError("log-entry-mismatch", f"an entry declared {excerpt(declared)} with a body of {found}")
    return entry


def annotation_entry(text: str) -> LogEntry:
    """The entry in the classic annotation `dev.sigstore.cosign/bundle`: a SET, no proof (cosign SIGNATURE_SPEC.md).

    Raises:
        EvidenceError: `log-entry-malformed`, `log-proof-invalid` (a negative index) or `limit-exceeded`.
    """
    written = _ANNOTATION.decode(text.encode("utf-8", "surrogatepass"), limit=ANNOTATION_BYTES)
    if _LOG_ID.fullmatch(written.payload.log_id) is None:
        raise EvidenceError(
            _MALFORMED, f"logID is {excerpt(written.payload.log_id)}, expected 64 lower-case hex digits"
        )
    return _entry(
        log_id=written.payload.log_id,
        index=_count(written.payload.log_index, "logIndex"),
        body=written.payload.body,
        integrated_time=_count(written.payload.integrated_time, "integratedTime"),
        promise=written.set,
        proof=None,
    )


def _entry(
    *, log_id: str, index: int, body: str, integrated_time: int, promise: str, proof: InclusionProof | None
) -> LogEntry:
    """What both spellings have in common."""
    if len(body) > BODY_BYTES * 4 // 3 + 4:
        raise EvidenceError("limit-exceeded", f"a body of {len(body)} characters of base64, limit {BODY_BYTES} bytes")
    raw = decode_base64(body, "log entry: body", _MALFORMED)
    if integrated_time * SECOND > LAST:
        raise EvidenceError(_MALFORMED, f"integratedTime {integrated_time} is beyond the year 9999")
    if len(promise) > 2 * SIGNATURE_BYTES:
        raise EvidenceError("limit-exceeded", f"a SET of {len(promise)} characters, limit {2 * SIGNATURE_BYTES}")
    promised = decode_base64(promise, "signedEntryTimestamp", _MALFORMED)
    return LogEntry(log_id, index, kind_of(raw), raw, integrated_time, promised, proof)


def _proof(written: ProofText) -> InclusionProof:
    if len(written.hashes) > PATH_HASHES:
        raise EvidenceError(
            "limit-exceeded", f"an inclusion proof of {len(written.hashes)} hashes, limit {PATH_HASHES}"
        )
    return InclusionProof(
        index=_count(written.log_index, "inclusionProof.logIndex"),
        size=_count(written.tree_size, "inclusionProof.treeSize"),
        root=_bytes(written.root_hash, "inclusionProof.rootHash", HASH_BYTES),
        path=tuple(_bytes(text, "inclusionProof.hashes", HASH_BYTES) for text in written.hashes),
        checkpoint=written.checkpoint.envelope if written.checkpoint else "",
    )


def _bytes(text: str, what: str, size: int) -> bytes:
    raw = decode_base64(text, what, _MALFORMED)
    if len(raw) != size:
        raise EvidenceError(_MALFORMED, f"{what} has {len(raw)} bytes, expected {size}")
    return raw


def _count(written: Int64, what: str) -> int:
    """A 64-bit integer that counts something."""
    if isinstance(written, str) and _INT64.fullmatch(written) is None:
        raise EvidenceError(_MALFORMED, f"{what} is {excerpt(written)}, expected a 64-bit integer")
    number = int(written)
    if number > _INT64_MAX:
        raise EvidenceError(_MALFORMED, f"{what} is beyond 64 bits")
    if number < 0:
        raise EvidenceError(_INVALID, f"{what} is negative")
    return number


# ------------------------------------------------------------------------------------------------------------- verify


def check_entry(entry: LogEntry, signed: Signed, material: Material, *, need_proof: bool) -> LogClaim | str:
    """What the entry proves of this signature; the log's id when the log is not in `material`.

    Args:
        entry: as read.
        signed: the signature it should be about.
        material: the known logs.
        need_proof: an inclusion proof is required (bundles since v0.2). Rekor v2 entries always need one.

    Raises:
        EvidenceError: `log-entry-mismatch`: about another signature, content, key or certificate, or of a kind that
            cannot show it; `log-proof-invalid`: a SET, proof or checkpoint that does not hold, or none at all;
            `log-entry-malformed` or `limit-exceeded`.
    """
    log = material.log("transparency", entry.log_id)
    if log is None:
        return entry.log_id
    check_body(entry.kind, entry.body, signed)
    included = _is_included(entry, log, need_proof=need_proof or entry.kind in REKOR_V2_KINDS)
    promised = _is_promised(entry, log)
    if not included and not promised:
        raise EvidenceError(_INVALID, "a log entry with neither a signed timestamp nor a proof with a checkpoint")
    return LogClaim(
        log=entry.log_id,
        kind=entry.kind,
        index=entry.index,
        included=included,
        promised=promised,
        time=_time(entry) if promised else None,
    )


def check_distinct(entries: Iterable[LogEntry]) -> None:
    """No two entries of one evidence at the same place of the same log: repetition must not look like a second witness.

    Raises:
        EvidenceError: `log-entry-malformed`.
    """
    seen: set[tuple[str, int]] = set()
    for entry in entries:
        place = (entry.log_id, entry.index)
        if place in seen:
            raise EvidenceError(_MALFORMED, f"two entries at index {entry.index} of log {entry.log_id[:12]}")
        seen.add(place)


def _is_promised(entry: LogEntry, log: Log) -> bool:
    """Whether there is a SET, which is then good; Rekor v1 signs body, time, log and global index."""
    if not entry.set:
        return False
    if entry.kind in REKOR_V2_KINDS:
        raise EvidenceError(_INVALID, f"a signed entry timestamp on {entry.kind}, which Rekor v2 never makes")
    if not log.key.verify(entry.set, set_message(entry)):
        raise EvidenceError(_INVALID, "the signed entry timestamp is not the log's over this entry")
    return True


def set_message(entry: LogEntry) -> bytes:
    """The bytes a SET is over: RFC 8785 canonical JSON of four members, here compact with the names in order."""
    body = b2a_base64(entry.body, newline=False)
    return b'{"body":"%b","integratedTime":%d,"logID":"%b","logIndex":%d}' % (
        body,
        entry.integrated_time,
        entry.log_id.encode(),
        entry.index,
    )


def _is_included(entry: LogEntry, log: Log, *, need_proof: bool) -> bool:
    """Whether there is a proof with a checkpoint, which then holds. A proof without one leads to nothing signed."""
    proof = entry.proof
    if proof is None or not proof.checkpoint:
        if need_proof:
            what = "an inclusion proof" if proof is None else "a checkpoint in its inclusion proof"
            raise EvidenceError(_INVALID, f"a log entry of {entry.kind} without {what}")
        return False
    checkpoint = read_checkpoint(proof.checkpoint)
    if (checkpoint.size, checkpoint.root) != (proof.size, proof.root):
        raise EvidenceError(_INVALID, "the checkpoint is not of the inclusion proof's tree: size or root hash differs")
    if root_of(leaf_hash(entry.body), proof.index, proof.size, proof.path) != proof.root:
        raise EvidenceError(_INVALID, "the inclusion proof leads to another root hash than the checkpoint's")
    if not verify_checkpoint(checkpoint, log):
        raise EvidenceError(_INVALID, f"no line of the checkpoint is a good signature of log {log.id[:12]}")
    if entry.kind in REKOR_V2_KINDS and entry.index != proof.index:
        raise EvidenceError(_INVALID, f"logIndex {entry.index} is not the inclusion proof's, {proof.index}")
    return True


def _time(entry: LogEntry) -> Micros:
    if entry.integrated_time == 0:
        raise EvidenceError(_INVALID, "a signed entry timestamp without a time")
    return entry.integrated_time * SECOND
