"""The Merkle tree has the published roots, and its proofs verify only what they prove."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from projections.audit.merkle import (
    EMPTY_ROOT,
    GetNode,
    Node,
    consistency_path,
    inclusion_path,
    join,
    leaf_hash,
    node_hash,
    root,
)
from projections.audit.proofs import root_of_inclusion, roots_of_consistency

# The test vectors of Certificate Transparency (RFC 6962; RFC 9162 has the same tree).
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
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
MOST = 600
HASHES = [leaf_hash(str(n).encode()) for n in range(MOST)]


def nodes(hashes: list[bytes]) -> GetNode:
    def node(wanted: Node) -> bytes:
        level, index = wanted
        return join(hashes[index << level : index + 1 << level])

    return node


def defined_root(hashes: list[bytes]) -> bytes:
    """The root by the definition of the RFC."""
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while 2 * k < len(hashes):
        k *= 2
    return node_hash(defined_root(hashes[:k]), defined_root(hashes[k:]))


@pytest.mark.parametrize("size", range(1, 9))
def test_root_equals_the_published_vector(size: int) -> None:
    hashes = [leaf_hash(leaf) for leaf in LEAVES[:size]]
    assert root(size, nodes(hashes)).hex() == ROOTS[size - 1]


def test_root_of_no_leaves_is_the_hash_of_nothing() -> None:
    assert root(0, nodes([])) == EMPTY_ROOT


sizes = st.integers(1, MOST)


@hypothesis.given(size=sizes, share=st.floats(0, 1, exclude_max=True))
def test_inclusion_path_leads_to_the_root_only_from_its_leaf(size: int, share: float) -> None:
    index = int(size * share)
    expected = defined_root(HASHES[:size])
    path = inclusion_path(index, size, nodes(HASHES))
    assert root(size, nodes(HASHES)) == expected
    assert root_of_inclusion(index, size, HASHES[index], path) == expected
    assert root_of_inclusion(index, size, leaf_hash(b"another"), path) != expected
    for cut in (path[1:], [*path, b"\0" * 32]):
        if cut != path:
            with pytest.raises(ValueError, match="too"):
                root_of_inclusion(index, size, HASHES[index], cut)


@hypothesis.given(second=sizes, share=st.floats(0, 1, exclude_min=True))
def test_consistency_path_leads_to_both_roots(second: int, share: float) -> None:
    first = max(1, int(second * share))
    roots = defined_root(HASHES[:first]), defined_root(HASHES[:second])
    path = consistency_path(first, second, nodes(HASHES))
    assert roots_of_consistency(first, second, path, roots[0]) == roots
    for changed in range(len(path)):
        forged = [*path[:changed], leaf_hash(b"forged"), *path[changed + 1 :]]
        assert roots_of_consistency(first, second, forged, roots[0]) != roots


@pytest.mark.parametrize("index", [-1, 5, 6])
def test_missing_leaf_has_no_path(index: int) -> None:
    with pytest.raises(IndexError):
        inclusion_path(index, 5, nodes(HASHES))
    with pytest.raises(ValueError, match="no leaf"):
        root_of_inclusion(index, 5, HASHES[0], [])


@pytest.mark.parametrize("first", [0, 6])
def test_size_that_is_not_smaller_has_no_path(first: int) -> None:
    with pytest.raises(IndexError):
        consistency_path(first, 5, nodes(HASHES))
    with pytest.raises(ValueError, match="before"):
        roots_of_consistency(first, 5, [], HASHES[0])
