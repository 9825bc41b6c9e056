"""The tree in tiles equals that of all its leaves, however it grew, and gives every proof of every size."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from projections.audit.merkle import (
    GetNode,
    Node,
    consistency_path,
    inclusion_path,
    join,
    leaf_hash,
    node_hash,
    root,
)
from projections.audit.tiles import (
    TILE_BYTES,
    WIDTH,
    Tile,
    Tree,
    hashes_of,
    nodes_in,
    tiles_for,
    tiles_of,
)

SIZES = (1, 255, 256, 257, 511, 512, 700, 65_535, 65_536, 65_537, 66_000)
LEAVES = [leaf_hash(n.to_bytes(4)) for n in range(max(SIZES))]
LEVELS = [LEAVES]
while len(LEVELS[-1]) > 1:
    pairs = zip(LEVELS[-1][::2], LEVELS[-1][1::2], strict=False)
    LEVELS.append([node_hash(*pair) for pair in pairs])


def subtree(node: Node) -> bytes:
    level, index = node
    return LEVELS[level][index]


def grown(sizes: list[int]) -> tuple[Tree, dict[Tile, bytes]]:
    """A tree that was loaded from its tiles before each step, and those tiles."""
    tiles: dict[Tile, bytes] = {}
    tree = Tree()
    for size in sizes:
        tree = Tree(tree.size, {tile: tiles[tile] for tile, _ in tiles_of(tree.size)})
        tiles |= tree.append(LEAVES[tree.size : size])
    return tree, tiles


@pytest.mark.parametrize("size", SIZES)
def test_root_is_computed_from_the_last_tiles_alone(size: int) -> None:
    tree, tiles = grown([size])
    assert tree.root() == root(size, subtree)
    edge = {tile: tiles[tile] for tile, _ in tiles_of(size)}
    assert Tree(size, edge).root() == root(size, subtree)


@pytest.mark.parametrize("size", SIZES)
def test_tiles_have_the_roots_of_complete_subtrees(size: int) -> None:
    _, tiles = grown([size])
    counts: dict[int, int] = {}
    for (level, index), tile in tiles.items():
        for number, found in enumerate(hashes_of(tile)):
            assert found == subtree((level * 8, index * WIDTH + number))
        counts[level] = counts.get(level, 0) + len(hashes_of(tile))
    assert counts == {level: size >> 8 * level for level in range(3) if size >> 8 * level}
    last = dict(tiles_of(size))
    for address, held in tiles.items():
        assert len(held) == (last[address] * 32 if address in last else TILE_BYTES)


@hypothesis.given(st.lists(st.integers(1, 1_500), min_size=1, max_size=12).map(sorted))
def test_tree_is_the_same_however_it_grew(sizes: list[int]) -> None:
    tree, tiles = grown(sizes)
    at_once, all_tiles = grown(sizes[-1:])
    assert tiles == all_tiles
    assert tree.root() == at_once.root() == root(sizes[-1], subtree)


_, TILES = grown([SIZES[-1]])


@hypothesis.given(st.integers(1, SIZES[-1]), st.floats(0, 1, exclude_max=True))
def test_proofs_of_every_size_read_few_tiles(size: int, share: float) -> None:
    index = int(size * share)

    def walk(node: GetNode) -> tuple[bytes, list[bytes]]:
        return root(size, node), inclusion_path(index, size, node)

    needed = tiles_for(walk)
    assert len(needed) <= 6
    assert walk(nodes_in({tile: TILES[tile] for tile in needed})) == walk(subtree)
    first = max(1, index)
    needed = tiles_for(lambda node: consistency_path(first, size, node))
    path = consistency_path(first, size, nodes_in({tile: TILES[tile] for tile in needed}))
    assert path == consistency_path(first, size, subtree)


def test_node_that_is_in_no_tile_raises_lookup_error() -> None:
    node = nodes_in({(0, 0): b"".join(LEAVES[:5])})
    assert node((2, 0)) == join(LEAVES[:4])
    for missing in ((0, 5), (2, 1), (0, 256), (8, 0)):
        with pytest.raises(LookupError):
            node(missing)
