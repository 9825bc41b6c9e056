"""Tiles above the lowest level, kept for the next proof together with all nodes in them.

Nearly all of the hashing of a proof among millions of leaves is in there, and it is the same for many proofs:
one such tile stands above 65 536 leaves. A tile only grows, so a kept one serves as far as it goes.
"""

from __future__ import annotations

from collections.abc import Mapping

from domain.lru import LruCache
from projections.audit.leaf import HASH_BYTES
from projections.audit.merkle import GetNode, Node, node_hash
from projections.audit.tiles import BITS, Tile, Tiles, nodes_in

CAPACITY = 256
"""Tiles of 16 KB; so many have all that is above 16 million leaves."""


class KeptTiles:
    """The tiles that were used last. With a capacity of 0 none is kept from one proof to the next."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._kept: LruCache[Tile, list[bytes]] = LruCache(capacity, spared=0)

    def missing(self, needed: Mapping[Tile, int]) -> list[Tile]:
        """The tiles that must be read, of those of which so many hashes are needed."""
        return [tile for tile, hashes in needed.items() if not self._has(tile, hashes)]

    def _has(self, tile: Tile, hashes: int) -> bool:
        kept = self._kept.get(tile)
        return kept is not None and len(kept[0]) >= hashes * HASH_BYTES

    def nodes(self, read: Tiles) -> GetNode:
        """Gives nodes out of tiles that were just read, and of those that are kept."""
        for tile, hashes in read.items():
            if tile[0] > 0:
                self._kept.put(tile, _levels(hashes))
        lowest = nodes_in(read)

        def node(wanted: Node) -> bytes:
            level, number = divmod(wanted[0], BITS)
            if level == 0:
                return lowest(wanted)
            index, begin = divmod(wanted[1], 1 << BITS - number)
            kept = self._kept.peek((level, index))
            found = kept[number][begin * HASH_BYTES :][:HASH_BYTES] if kept else b""
            if len(found) != HASH_BYTES:
                raise LookupError(f"tile {(level, index)} is too short")
            return found

        return node

    def trim(self) -> None:
        """Drop what was not used for longest."""
        self._kept.trim()

    def clear(self) -> None:
        """Drop all of them."""
        self._kept.clear()


def _levels(hashes: bytes) -> list[bytes]:
    """The hashes of a tile, and above them those of each level of complete subtrees in it, in a row."""
    levels = [hashes]
    for _ in range(BITS - 1):
        below = levels[-1]
        pairs = range(0, len(below) - 2 * HASH_BYTES + 1, 2 * HASH_BYTES)
        joined = [
            node_hash(below[at : at + HASH_BYTES], below[at + HASH_BYTES :][:HASH_BYTES])
            for at in pairs
        ]
        levels.append(b"".join(joined))
    return levels
