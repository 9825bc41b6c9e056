"""A cache of tiles, with all nodes in them.

Nearly all hashes that a proof among millions of leaves needs are in the upper tiles and in the last tile of the lowest
level, and they are the same for many proofs: an upper tile covers 65 536 leaves or more. A tile only grows, so a cached
tile stays valid for the hashes that it has.
"""

from __future__ import annotations

from collections.abc import Mapping

from domain.lru import LruCache
from projections.audit.leaf import HASH_BYTES
from projections.audit.merkle import Node, pair_hash
from projections.audit.tiles import BITS, Tile, Tiles

CAPACITY = 256
"""Upper tiles that are cached, of 16 KB each: enough for 16 million leaves."""
PAIR = 2 * HASH_BYTES
LOWEST_BYTES = 16 * 1024 * 1024
"""Bytes of tiles of the lowest level that are cached, of 16 KB each."""


class TileCache:
    """Caches the most recently used tiles. With a capacity of 0, no tile is kept from one proof to the next."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._upper: LruCache[Tile, list[bytes]] = LruCache(capacity, spared=0)
        room = LOWEST_BYTES if capacity else 0
        self._lowest: LruCache[Tile, list[bytes]] = LruCache(room, _bytes, spared=0)

    def missing(self, needed: Mapping[Tile, int]) -> list[Tile]:
        """Return the tiles that must be read, from the tiles that are needed and the number of hashes needed of each."""
        return [tile for tile, hashes in needed.items() if not self._has(tile, hashes)]

    def _has(self, tile: Tile, hashes: int) -> bool:
        kept = self._of_level(tile).get(tile)
        return kept is not None and len(kept[0]) >= hashes * HASH_BYTES

    def _of_level(self, tile: Tile) -> LruCache[Tile, list[bytes]]:
        return self._upper if tile[0] else self._lowest

    def put(self, read: Tiles) -> None:
        """Cache tiles that were just read. None is dropped before `trim`."""
        for tile, hashes in read.items():
            self._of_level(tile).put(tile, _levels(hashes))

    def node(self, wanted: Node) -> bytes:
        """Return the hash of a node. Raises LookupError if no cached tile has it."""
        level, number = divmod(wanted[0], BITS)
        index, begin = divmod(wanted[1], 1 << BITS - number)
        tile = level, index
        kept = self._of_level(tile).peek(tile)
        found = kept[number][begin * HASH_BYTES :][:HASH_BYTES] if kept else b""
        if len(found) != HASH_BYTES:
            raise LookupError(f"tile {tile} is too short")
        return found

    def trim(self) -> None:
        """Drop the least recently used tiles beyond the capacity."""
        self._upper.trim()
        self._lowest.trim()

    def clear(self) -> None:
        """Drop all tiles."""
        self._upper.clear()
        self._lowest.clear()


def _bytes(levels: list[bytes]) -> int:
    return sum(map(len, levels))


def _levels(hashes: bytes) -> list[bytes]:
    """Return the concatenated hashes of each level of complete subtrees in a tile, from its own hashes upwards."""
    levels = [hashes]
    for _ in range(BITS - 1):
        below = levels[-1]
        pairs = range(0, len(below) - PAIR + 1, PAIR)
        levels.append(b"".join([pair_hash(below[at : at + PAIR]) for at in pairs]))
    return levels
