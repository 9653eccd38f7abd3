"""Merkle trees of transparency logs: which root a leaf and an audit path lead to (RFC 6962 section 2.1).

    leaf = leaf_hash(canonicalized_body)
    root_of(leaf, index=5, size=9, path=hashes)      the 32 bytes of the root, to be compared with a signed one

A root that comes out of here proves nothing by itself: anybody can compute a tree. It counts once it equals the root of
a checkpoint that the log signed (`verifier.evidence.checkpoint`). Consistency proofs between two trees are not read:
evidence carries none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from verifier.errors import EvidenceError

HASH_BYTES: Final = 32
"""Bytes of a node: SHA-256, the only hash the logs use."""

PATH_HASHES: Final = 64
"""Hashes of one audit path. A tree whose size fits into 63 bits is 63 levels high; the public log is at 31."""

_INVALID: Final = "log-proof-invalid"


def leaf_hash(entry: bytes) -> bytes:
    """Hash of a leaf: SHA-256(0x00 || entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def inner_hash(left: bytes, right: bytes) -> bytes:
    """Hash of a node over two others: SHA-256(0x01 || left || right). The prefix keeps nodes and leaves apart."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that `path` leads to from the leaf (RFC 9162 section 2.1.3.2, same trees as RFC 6962).

    Args:
        leaf: `leaf_hash` of the entry.
        index: position of the leaf in the tree, from 0.
        size: leaves of the tree.
        path: the sibling hashes, lowest first.

    Raises:
        EvidenceError: `log-proof-invalid`: a negative index, an index at or past the size, a path that is longer or
            shorter than this position has siblings, a hash that is not 32 bytes; `limit-exceeded`.
    """
    _check(leaf, index, size, path)
    node, last, result = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise EvidenceError(_INVALID, f"an inclusion proof of {len(path)} hashes is too long for size {size}")
        if node & 1 or node == last:
            result = inner_hash(sibling, result)
            while node and not node & 1:  # at the right edge levels without a sibling are passed over
                node, last = node >> 1, last >> 1
        else:
            result = inner_hash(result, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise EvidenceError(_INVALID, f"an inclusion proof of {len(path)} hashes is too short for size {size}")
    return result


def _check(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> None:
    if len(path) > PATH_HASHES:
        raise EvidenceError("limit-exceeded", f"an inclusion proof of {len(path)} hashes, limit {PATH_HASHES}")
    if not 0 <= index < size:
        raise EvidenceError(_INVALID, f"leaf {index} is not in a tree of size {size}")
    if any(len(part) != HASH_BYTES for part in (leaf, *path)):
        raise EvidenceError(_INVALID, f"an inclusion proof with a hash that is not {HASH_BYTES} bytes")
