"""Proofs from cached tiles equal those from tiles that are read each time."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import pytest

from projections.audit.leaf import HASH_BYTES
from projections.audit.merkle import GetNode, consistency_path, inclusion_path, root
from projections.audit.tile_cache import LOWEST_BYTES, TileCache
from projections.audit.tiles import TILE_BYTES, WIDTH, Tile, nodes_in, tiles_for
from tests.projections.audit.test_tiles import SIZES, grown

SIZE = SIZES[-1]
_, TILES = grown([SIZE])


def as_of(size: int) -> dict[Tile, bytes]:
    """The tiles of the tree when it had this many leaves."""
    return {
        (level, index): tile[: max(0, (size >> 8 * level) - index * WIDTH) * HASH_BYTES]
        for (level, index), tile in TILES.items()
    }


@hypothesis.given(st.lists(st.integers(1, SIZE), min_size=1, max_size=6), st.integers(0, 3))
def test_proofs_equal_those_without_a_cache(sizes: list[int], capacity: int) -> None:
    """Even while the tree grows, and after tiles are evicted."""
    kept = TileCache(capacity)
    for size in sizes:
        stored = as_of(max(sizes[: sizes.index(size) + 1]))

        def walk(node: GetNode, size: int = size) -> list[bytes]:
            first = size // 3 + 1
            paths = inclusion_path(size // 2, size, node) + consistency_path(first, size, node)
            return [root(size, node), *paths]

        missing = kept.missing(tiles_for(walk))
        kept.put({tile: stored[tile] for tile in missing})
        found = walk(kept.node)
        kept.trim()
        assert found == walk(nodes_in(TILES))


def test_second_proof_reads_only_its_lowest_tile_and_a_repeated_one_reads_none() -> None:
    kept = TileCache()

    def fail_to_read(index: int, size: int) -> list[Tile]:
        needed = kept.missing(tiles_for(lambda node: inclusion_path(index, size, node)))
        kept.put({tile: TILES[tile] for tile in needed})
        kept.trim()
        return needed

    assert len(fail_to_read(5, SIZE)) > 2
    assert fail_to_read(700, SIZE) == [(0, 2)]
    assert fail_to_read(5, SIZE) == fail_to_read(700, SIZE) == []
    kept.clear()
    assert len(fail_to_read(5, SIZE)) > 2


def test_cached_tile_that_is_too_short_by_now_is_read_again() -> None:
    kept = TileCache()
    kept.put({(1, 0): TILES[1, 0][: 3 * HASH_BYTES]})
    assert kept.missing({(1, 0): 3}) == []
    assert kept.missing({(1, 0): 4}) == [(1, 0)]
    assert kept.node((8, 2)) == TILES[1, 0][2 * HASH_BYTES : 3 * HASH_BYTES]
    for beyond in ((8, 3), (9, 1), (16, 0)):
        with pytest.raises(LookupError):
            kept.node(beyond)


def test_cached_lowest_tiles_are_bounded_by_their_bytes() -> None:
    kept = TileCache()
    full = bytes(TILE_BYTES)
    most = LOWEST_BYTES // (2 * TILE_BYTES - 2 * HASH_BYTES)
    for index in range(most + 10):
        kept.put({(0, index): full})
        kept.trim()
    lost = kept.missing({(0, index): WIDTH for index in range(most + 10)})
    assert lost == [(0, index) for index in range(10)]
