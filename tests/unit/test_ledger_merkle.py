"""Merkle trees: the known values of RFC 9162's trees, every proof of every small tree, and nothing else proves."""

from __future__ import annotations

import hashlib
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.ledger.merkle import audit_path, leaf_hash, node_hash, root_from_path, tree_root

# Certificate Transparency's reference tests (RFC 6962): leaves and the roots of the first n of them.
LEAVES = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def split_root(leaves: list[bytes]) -> bytes:
    """The definition of RFC 9162 2.1.1, word for word."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256().digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(split_root(leaves[:k]), split_root(leaves[k:]))


def leaves_of(number: int) -> list[bytes]:
    return [leaf_hash(b"%d" % n) for n in range(number)]


@pytest.mark.parametrize("number", range(1, 9))
def test_the_reference_trees(number: int) -> None:
    leaves = [leaf_hash(bytes.fromhex(text)) for text in LEAVES[:number]]
    assert tree_root(leaves).hex() == ROOTS[number - 1]


def test_an_empty_tree_is_the_hash_of_nothing() -> None:
    assert tree_root([]) == hashlib.sha256(b"").digest()


@given(st.integers(0, 300))
def test_level_by_level_is_the_tree_that_is_split(number: int) -> None:
    leaves = leaves_of(number)
    assert tree_root(leaves) == split_root(leaves)


def test_every_proof_of_every_small_tree_and_no_other() -> None:
    for number in range(1, 33):
        leaves = leaves_of(number)
        root = tree_root(leaves)
        paths = [audit_path(leaves, n) for n in range(number)]
        for n, other in product(range(number), repeat=2):
            assert (root_from_path(leaves[n], other, number, paths[n]) == root) is (n == other)


def test_a_proof_cut_or_lengthened_proves_nothing() -> None:
    leaves = leaves_of(11)
    path = audit_path(leaves, 4)
    root = tree_root(leaves)
    assert root_from_path(leaves[4], 4, 11, path[:-1]) != root
    assert root_from_path(leaves[4], 4, 11, [*path, root]) is None
    assert root_from_path(leaves[4], 11, 11, path) is None
    assert root_from_path(leaves[4], -1, 11, path) is None


def test_a_node_is_no_leaf() -> None:
    """Otherwise two leaves could be passed off as one."""
    a, b = leaves_of(2)
    assert tree_root([leaf_hash(a + b)]) != tree_root([a, b])


def test_there_is_no_path_to_a_leaf_that_is_not_there() -> None:
    with pytest.raises(IndexError):
        audit_path(leaves_of(3), 3)
