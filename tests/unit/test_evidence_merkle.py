"""Audit paths: the definition of RFC 6962 on one side, the walk along a path on the other."""

import hashlib

import pytest

from tests.helpers.rekor import audit_path, tree_root
from verifier.errors import EvidenceError
from verifier.evidence.merkle import PATH_HASHES, inner_hash, leaf_hash, root_of

LEAVES = [bytes([n]) * (n % 5) for n in range(40)]

RFC_LEAVES = [
    bytes.fromhex(text)
    for text in ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
]
"""The leaves every implementation of Certificate Transparency is tested with."""
RFC_ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


@pytest.mark.parametrize("size", range(1, len(LEAVES) + 1))
def test_every_leaf_of_every_small_tree(size):
    leaves = LEAVES[:size]
    for index in range(size):
        assert root_of(leaf_hash(leaves[index]), index, size, audit_path(index, leaves)) == tree_root(leaves)


@pytest.mark.parametrize("size", RFC_ROOTS)
def test_known_roots(size):
    leaves = RFC_LEAVES[:size]
    for index in range(size):
        found = root_of(leaf_hash(leaves[index]), index, size, audit_path(index, leaves))
        assert found.hex() == RFC_ROOTS[size]


def test_hashes_of_leaves_and_nodes_have_prefixes_of_their_own():
    assert leaf_hash(b"x") == hashlib.sha256(b"\0x").digest()
    assert inner_hash(b"l" * 32, b"r" * 32) == hashlib.sha256(b"\1" + b"l" * 32 + b"r" * 32).digest()


def test_an_inner_node_passed_off_as_a_leaf_is_another_tree():
    """Second preimage: the two hashes below a node, given as an entry."""
    node = leaf_hash(LEAVES[0]) + leaf_hash(LEAVES[1])
    path = audit_path(0, LEAVES[:4])[1:]
    assert root_of(leaf_hash(node), 0, 2, path) != tree_root(LEAVES[:4])


def test_a_leaf_at_another_place_leads_elsewhere():
    leaves = LEAVES[:13]
    path = audit_path(6, leaves)
    for index in range(13):
        try:
            same = root_of(leaf_hash(leaves[6]), index, 13, path) == tree_root(leaves)
        except EvidenceError:
            same = False
        assert same == (index == 6)


@pytest.mark.parametrize(
    ("index", "size", "change"),
    [
        pytest.param(-1, 8, None, id="negative index"),
        pytest.param(8, 8, None, id="index is the size"),
        pytest.param(9, 8, None, id="index past the size"),
        pytest.param(0, 0, None, id="empty tree"),
        pytest.param(0, -1, None, id="negative size"),
        pytest.param(3, 8, lambda path: path[:-1], id="path too short"),
        pytest.param(3, 8, lambda path: [*path, bytes(32)], id="path too long"),
        pytest.param(3, 8, lambda path: [], id="no path"),
        pytest.param(3, 8, lambda path: [path[0][:31], *path[1:]], id="hash of 31 bytes"),
        pytest.param(3, 8, lambda path: [path[0] + b"x", *path[1:]], id="hash of 33 bytes"),
        pytest.param(3, 1 << 62, None, id="size that the path cannot reach"),
        pytest.param((1 << 62) - 1, 1 << 62, lambda path: [], id="far right without a path"),
    ],
)
def test_refused(index, size, change):
    path = audit_path(3, LEAVES[:8])
    with pytest.raises(EvidenceError) as caught:
        root_of(leaf_hash(LEAVES[3]), index, size, change(path) if change else path)
    assert caught.value.code == "log-proof-invalid"


def test_a_leaf_hash_of_another_length_is_refused():
    with pytest.raises(EvidenceError, match="32 bytes"):
        root_of(b"short", 0, 1, [])


def test_a_path_beyond_any_tree_is_refused_before_it_is_walked():
    with pytest.raises(EvidenceError) as caught:
        root_of(leaf_hash(b""), 0, 2, [bytes(32)] * (PATH_HASHES + 1))
    assert caught.value.code == "limit-exceeded"


def test_the_longest_path():
    size = (1 << 63) - 1
    assert len(root_of(leaf_hash(b""), 0, size, [bytes(32)] * 63)) == 32
