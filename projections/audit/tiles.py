"""Divides the tree into tiles of 256 hashes (C2SP tlog-tiles), and lets it grow. No I/O.

Tile `(level, index)` has the hashes of the complete subtrees of `256^level` leaves with the numbers from `256 · index` on.
A full tile never changes; the last tile of each level grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from projections.audit import merkle
from projections.audit.leaf import HASH_BYTES
from projections.audit.merkle import GetNode, Node

BITS = 8
WIDTH = 1 << BITS
TILE_BYTES = WIDTH * HASH_BYTES
Tile = tuple[int, int]
"""The level of a tile, and its index within the level."""
Tiles = Mapping[Tile, bytes]
T = TypeVar("T")


def hashes_of(tile: bytes) -> list[bytes]:
    """Return the hashes of a tile, in order."""
    return [tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)]


def tiles_of(size: int) -> Iterator[tuple[Tile, int]]:
    """Yield the last tile of each level of a tree, unless it is full, and the number of its hashes."""
    level = 0
    while size:
        if size % WIDTH:
            yield (level, size // WIDTH), size % WIDTH
        size, level = size // WIDTH, level + 1


def locate(node: Node) -> tuple[Tile, int, int]:
    """Return the tile that has a complete subtree, and the range of the tile's hashes that are in the subtree."""
    level, width = node[0] // BITS, 1 << node[0] % BITS
    begin = node[1] * width
    return (level, begin // WIDTH), begin % WIDTH, begin % WIDTH + width


def nodes_in(tiles: Tiles) -> GetNode:
    """Return a function that computes the hash of a node from tiles. It raises LookupError if a tile or hash is missing."""

    def node(wanted: Node) -> bytes:
        tile, begin, end = locate(wanted)
        hashes = hashes_of(tiles[tile][begin * HASH_BYTES : end * HASH_BYTES])
        if len(hashes) != end - begin or len(hashes[-1]) != HASH_BYTES:
            raise LookupError(f"tile {tile} is too short")
        return merkle.join(hashes)

    return node


def tiles_for(walk: Callable[[GetNode], T]) -> dict[Tile, int]:
    """Return the tiles that a computation over nodes needs, such as `lambda node: root(size, node)`, and how many of the
    first hashes of each.
    """
    needed: dict[Tile, int] = {}

    def note(wanted: Node) -> bytes:
        tile, _, end = locate(wanted)
        needed[tile] = max(end, needed.get(tile, 0))
        return bytes(HASH_BYTES)

    walk(note)
    return needed


class Tree:
    """A growing tree. It needs only the last tile of each level: those of `tiles_of(size)`, which are in `edge`."""

    def __init__(self, size: int = 0, edge: Tiles | None = None) -> None:
        self.size = size
        self._edge = {tile[0]: bytes(hashes) for tile, hashes in (edge or {}).items()}

    def root(self) -> bytes:
        """Return the root of the tree."""
        edge = {tile: self._edge[tile[0]] for tile, _ in tiles_of(self.size)}
        return merkle.root(self.size, nodes_in(edge))

    def append(self, hashes: Sequence[bytes]) -> dict[Tile, bytes]:
        """Add the hashes of leaves; return the tiles that are new or have grown, with their present content."""
        changed: dict[Tile, bytes] = {}
        self._extend(0, self.size, hashes, changed)
        self.size += len(hashes)
        return changed

    def _extend(
        self, level: int, count: int, hashes: Sequence[bytes], changed: dict[Tile, bytes]
    ) -> None:
        """Add hashes to a level that has `count` of them. Each tile that becomes full adds a hash to the next level."""
        above: list[bytes] = []
        index, begin = count // WIDTH, 0
        tile = self._edge.get(level, b"") if count % WIDTH else b""
        while begin < len(hashes):
            room = WIDTH - len(tile) // HASH_BYTES
            tile += b"".join(hashes[begin : begin + room])
            begin += room
            changed[level, index] = tile
            if len(tile) == TILE_BYTES:
                above.append(merkle.join(hashes_of(tile)))
                index, tile = index + 1, b""
        self._edge[level] = tile
        if above:
            self._extend(level + 1, count // WIDTH, above, changed)
