"""A cache of tiles, with all nodes in them.

Nearly all of the hashing of a proof among millions of leaves is in the upper ones, and in the last of the lowest level,
and it is the same for many proofs: an upper tile stands above 65 536 leaves. A tile only grows, so a kept one serves as
far as it goes.
"""

from __future__ import annotations

from collections.abc import Mapping

from domain.lru import LruCache
from projections.audit.leaf import HASH_BYTES
from projections.audit.merkle import Node, pair_hash
from projections.audit.tiles import BITS, Tile, Tiles

CAPACITY = 256
"""Upper tiles of 16 KB; so many have all that is above 16 million leaves."""
PAIR = 2 * HASH_BYTES
LOWEST_BYTES = 16 * 1024 * 1024
"""Of the lowest tiles, which take 16 KB, too."""


class TileCache:
    """The tiles that were used last. With a capacity of 0 none is kept from one proof to the next."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._upper: LruCache[Tile, list[bytes]] = LruCache(capacity, spared=0)
        room = LOWEST_BYTES if capacity else 0
        self._lowest: LruCache[Tile, list[bytes]] = LruCache(room, _bytes, spared=0)

    def missing(self, needed: Mapping[Tile, int]) -> list[Tile]:
        """The tiles that must be read, of those of which so many hashes are needed."""
        return [tile for tile, hashes in needed.items() if not self._has(tile, hashes)]

    def _has(self, tile: Tile, hashes: int) -> bool:
        kept = self._of_level(tile).get(tile)
        return kept is not None and len(kept[0]) >= hashes * HASH_BYTES

    def _of_level(self, tile: Tile) -> LruCache[Tile, list[bytes]]:
        return self._upper if tile[0] else self._lowest

    def put(self, read: Tiles) -> None:
        """Keep tiles that were just read, all of them until `trim`."""
        for tile, hashes in read.items():
            self._of_level(tile).put(tile, _levels(hashes))

    def node(self, wanted: Node) -> bytes:
        """The hash of a node. One that is in no tile that is kept is a LookupError."""
        level, number = divmod(wanted[0], BITS)
        index, begin = divmod(wanted[1], 1 << BITS - number)
        tile = level, index
        kept = self._of_level(tile).peek(tile)
        found = kept[number][begin * HASH_BYTES :][:HASH_BYTES] if kept else b""
        if len(found) != HASH_BYTES:
            raise LookupError(f"tile {tile} is too short")
        return found

    def trim(self) -> None:
        """Drop what was not used for longest."""
        self._upper.trim()
        self._lowest.trim()

    def clear(self) -> None:
        """Drop all of them."""
        self._upper.clear()
        self._lowest.clear()


def _bytes(levels: list[bytes]) -> int:
    return sum(map(len, levels))


def _levels(hashes: bytes) -> list[bytes]:
    """The hashes of a tile, and above them those of each level of complete subtrees in it, in a row."""
    levels = [hashes]
    for _ in range(BITS - 1):
        below = levels[-1]
        pairs = range(0, len(below) - PAIR + 1, PAIR)
        levels.append(b"".join([pair_hash(below[at : at + PAIR]) for at in pairs]))
    return levels
