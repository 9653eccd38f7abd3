"""Checkpoints: the head of a log, signed as a note (C2SP tlog-checkpoint.md and signed-note.md).

    checkpoint = read_checkpoint(text)
    checkpoint.size, checkpoint.root              what the log commits to
    verify_checkpoint(checkpoint, log)            True when one line is this log's good signature over it

    rekor.sigstore.dev - 2605736670972794746      origin
    75408393                                      size
    Fnnj13Uu1jdksPc4HZLapKX329dVlD5+MGNsiqBq1XM=  root hash
                                                  (empty line; the text above is what is signed)
    — rekor.sigstore.dev wNI9ajBF…                name, base64 of key hint and signature

A note may carry the lines of witnesses, in any place. They are read and never counted: nobody told this verifier whom
to believe. Whether root and size are those of an inclusion proof is for the caller to ask (`verifier.evidence.rekor`).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from verifier.errors import EvidenceError
from verifier.evidence.base64text import decode_base64
from verifier.evidence.content import excerpt
from verifier.evidence.limits import KIB
from verifier.evidence.material import Log
from verifier.evidence.merkle import HASH_BYTES

CHECKPOINT_CHARACTERS: Final = 16 * KIB
"""Characters of a checkpoint. With the four witnesses of today it has less than one KiB."""

CHECKPOINT_LINES: Final = 64
"""Signature lines of one checkpoint: log keys and witnesses."""

OWN_LINES: Final = 3
"""Lines that claim the log's own name and key hint: each costs a verification (a bad Ed25519 line some 5 ms). One is
usual; two occur."""

HINT_BYTES: Final = 4
"""Bytes of a key hint."""

_MALFORMED: Final = "log-entry-malformed"
_NO_TEXT: Final = re.compile(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]")
"""Control characters other than line ends, and halves of surrogate pairs, which UTF-8 cannot write."""
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
"""Decimal without leading zeros; 19 digits hold every 63-bit number, and no more work than that."""
_LINE: Final = re.compile(r"\u2014 ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_REKOR_V1: Final = re.compile(r"(\S+) - [0-9]{1,20}")


class NoteSignature(msgspec.Struct, frozen=True, gc=False):
    """One signature line."""

    name: str
    """Whose line it claims to be; without spaces and plus signs."""
    hint: bytes
    """First four bytes of the key's id."""
    signature: bytes


class Checkpoint(msgspec.Struct, frozen=True, gc=False):
    """A checkpoint, read. Nothing in here is verified yet."""

    origin: str
    """Names the log: its host (Rekor v2), or `<host> - <tree id>` (Rekor v1)."""
    size: int
    """Leaves of the tree."""
    root: bytes
    """The 32 bytes of its root hash."""
    signed: bytes
    """The bytes signatures are over: the text up to and with the line end before the empty line."""
    signatures: tuple[NoteSignature, ...]


def read_checkpoint(text: str) -> Checkpoint:
    """The checkpoint in `text`; one malformed line makes the whole note malformed, as signed-note.md demands.

    Raises:
        EvidenceError: `log-entry-malformed` or `limit-exceeded`.
    """
    _check_text(text)
    body, blank, lines = text.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise EvidenceError(_MALFORMED, "a checkpoint without an empty line, or without a line end at its end")
    head = body.split("\n")
    if len(head) < 3 or not all(line.strip() for line in head):
        raise EvidenceError(_MALFORMED, "a checkpoint has origin, size and root hash, and no empty line among them")
    origin, size, root = head[:3]
    if _SIZE.fullmatch(size) is None:
        raise EvidenceError(_MALFORMED, f"checkpoint: tree size is {excerpt(size)}, expected a decimal number")
    root_hash = decode_base64(root, "checkpoint: root hash", _MALFORMED)
    if len(root_hash) != HASH_BYTES:
        raise EvidenceError(_MALFORMED, f"checkpoint: a root hash of {len(root_hash)} bytes, expected {HASH_BYTES}")
    return Checkpoint(origin, int(size), root_hash, f"{body}\n".encode(), _signatures(lines))


def _check_text(text: str) -> None:
    if len(text) > CHECKPOINT_CHARACTERS:
        raise EvidenceError("limit-exceeded", f"a checkpoint of {len(text)} characters, limit {CHECKPOINT_CHARACTERS}")
    if _NO_TEXT.search(text):
        raise EvidenceError(_MALFORMED, "a checkpoint with control characters, or that is not Unicode text")


def _signatures(text: str) -> tuple[NoteSignature, ...]:
    lines = text.removesuffix("\n").split("\n")
    if len(lines) > CHECKPOINT_LINES:
        raise EvidenceError("limit-exceeded", f"{len(lines)} lines of signatures, limit {CHECKPOINT_LINES}")
    return tuple(_signature(line) for line in lines)


def _signature(line: str) -> NoteSignature:
    found = _LINE.fullmatch(line)
    if found is None:
        raise EvidenceError(_MALFORMED, f"checkpoint: {excerpt(line)} is no signature line")
    raw = decode_base64(found[2], "checkpoint: signature", _MALFORMED)
    if len(raw) <= HINT_BYTES:
        raise EvidenceError(_MALFORMED, f"checkpoint: a signature line of {len(raw)} bytes, hint included")
    return NoteSignature(found[1], raw[:HINT_BYTES], raw[HINT_BYTES:])


def verify_checkpoint(checkpoint: Checkpoint, log: Log) -> bool:
    """Whether one line carries the log's name and key hint, and a good signature of its key.

    The hint is the start of the log's id: SHA-256 of the SubjectPublicKeyInfo (Rekor v1, ECDSA), or SHA-256 of origin
    and key (Ed25519, signed-note.md). A Rekor v1 server signs under the first word of its origin, which operators set
    apart from the URL, so there only origin and line must agree; Rekor v2 must use the host of its URL for both.

    Raises:
        EvidenceError: `limit-exceeded`, more lines claim to be the log's than are tried.
    """
    name = _expected_name(checkpoint.origin, log)
    hint = bytes.fromhex(log.id)[:HINT_BYTES]
    own = [line.signature for line in checkpoint.signatures if line.name == name and line.hint == hint]
    if len(own) > OWN_LINES:
        raise EvidenceError("limit-exceeded", f"{len(own)} signatures by the log itself, limit {OWN_LINES}")
    return any(log.key.verify(signature, checkpoint.signed) for signature in own)


def _expected_name(origin: str, log: Log) -> str | None:
    """The name the log's own line carries; None when the origin is another log's."""
    version1 = _REKOR_V1.fullmatch(origin)
    if version1 is not None:
        return version1[1]
    return log.origin if origin == log.origin else None
