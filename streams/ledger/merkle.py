"""Merkle trees as in RFC 9162, section 2.1: SHA-256, leaves and nodes apart by their first byte. Pure.

root = tree_root([leaf_hash(data) for data in batch])
path = audit_path(leaves, 7)
root_from_path(leaves[7], 7, len(leaves), path) == root
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

LEAF: Final = b"\x00"
NODE: Final = b"\x01"
HASH_BYTES: Final = 32


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 || data), RFC 9162 2.1.1."""
    return sha256(LEAF + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right), RFC 9162 2.1.1."""
    return sha256(NODE + left + right).digest()


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes, RFC 9162 2.1.1; of none SHA-256 of nothing.

    Level by level with an odd last node carried up: the same tree as the one that is split at the largest power of two.
    """
    if not leaves:
        return sha256(b"").digest()
    level = list(leaves)
    while len(level) > 1:
        level = _above(level)
    return level[0]


def audit_path(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The inclusion proof of a leaf, RFC 9162 2.1.3.1: siblings from the bottom up.

    Raises:
        IndexError: there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise IndexError(f"leaf {index} of {len(leaves)}")
    path: list[bytes] = []
    level = list(leaves)
    while len(level) > 1:
        if index ^ 1 < len(level):
            path.append(level[index ^ 1])
        level, index = _above(level), index // 2
    return tuple(path)


def root_from_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that a proof leads to, RFC 9162 2.1.3.2; None when it is no proof for this place in such a tree."""
    if not 0 <= index < size:
        return None
    last, found, rest = size - 1, leaf, list(path)
    while last:
        if index != last or index & 1:  # otherwise an odd last node, which is carried up
            if not rest:
                return None
            sibling = rest.pop(0)
            found = node_hash(sibling, found) if index & 1 else node_hash(found, sibling)
        index, last = index // 2, last // 2
    return None if rest else found


def _above(level: list[bytes]) -> list[bytes]:
    made = [sha256(NODE + level[n] + level[n + 1]).digest() for n in range(0, len(level) - 1, 2)]
    return [*made, level[-1]] if len(level) % 2 else made
