"""Reads the signed head and tiles of the tree, and computes proofs from tiles."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple, TypeVar

from domain.errors import Damaged
from domain.eventlog.store import Store
from projections.audit import merkle
from projections.audit.merkle import GetNode
from projections.audit.tables import TreeHead, head_of, head_with_tiles, tiles_of_tree
from projections.audit.tile_cache import CAPACITY, TileCache
from projections.audit.tiles import Tile, tiles_for

T = TypeVar("T")
TRIES = 3
"""Reads of tiles for one proof, in case other proofs drop them from the cache meanwhile."""


class InclusionProof(NamedTuple):
    """A proof that the event at a position is in a tree: the path leads from its hash to the root."""

    position: int
    leaf_hash: bytes
    size: int
    root: bytes
    path: list[bytes]


class ConsistencyProof(NamedTuple):
    """A proof that a tree grew to a larger one by appending only."""

    first: int
    first_root: bytes
    second: int
    second_root: bytes
    path: list[bytes]


class Inclusions(NamedTuple):
    """The computation of inclusion proofs for several positions in the tree of a size; 0 stands for the size of the head."""

    positions: list[int]
    size: int = 0

    def walk(self, node: GetNode) -> tuple[bytes, list[tuple[bytes, list[bytes]]]]:
        """Return the root, and for each position the hash of its leaf and the path from there, from the hashes of nodes."""
        return merkle.root(self.size, node), [
            (node((0, position - 1)), merkle.inclusion_path(position - 1, self.size, node))
            for position in self.positions
        ]


class TreeReader:
    """Reads the tree of a log. Positions and sizes must not exceed those of its head.

    It caches `capacity` upper tiles, and the most recently read lowest tiles. A capacity of 0 disables the cache, to check
    the tiles as they are stored now.
    """

    def __init__(self, store: Store, capacity: int = CAPACITY) -> None:
        self._store = store
        self._cache = TileCache(capacity)
        self._head: tuple[str, int, bytes] = "", 0, b""

    async def head(self, ahead: Inclusions | None = None) -> TreeHead:
        """Return the newest signed head; its origin is empty if none was signed. The tiles for the proofs `ahead`, which
        the caller needs next, are read by the same statement.

        Raises:
            Damaged: the row of the head is lost.
        """
        wanted = [] if ahead is None else self._missing(ahead)
        async with self._store.reader() as connection:
            if wanted:
                head, tiles = await head_with_tiles(connection, wanted)
            else:
                head, tiles = await head_of(connection), {}
        if head is None:
            raise Damaged("The signed tree head cannot be read.", reason="its row is lost")
        if head.origin != self._head[0]:
            self._cache.clear()
        self._head = head.origin, head.size, head.root
        self._cache.put(tiles)
        return head

    def _missing(self, ahead: Inclusions) -> list[Tile]:
        size = ahead.size or self._head[1]
        if not all(0 < position <= size for position in ahead.positions):
            return []
        return self._cache.missing(tiles_for(ahead._replace(size=size).walk))

    async def tile(self, tile: Tile) -> bytes | None:
        """Return the hashes of a tile; None if there is no such tile."""
        async with self._store.reader() as connection:
            return (await tiles_of_tree(connection, [tile])).get(tile)

    async def inclusion(self, position: int, size: int) -> InclusionProof:
        """Return the proof for one event in the tree of the first `size` events.

        Raises:
            Damaged: tiles are missing or too short.
        """
        return (await self.inclusions([position], size))[0]

    async def inclusions(self, positions: list[int], size: int) -> list[InclusionProof]:
        """Return the proofs for several events in the tree of the first `size` events.

        Raises:
            Damaged: tiles are missing or too short.
        """
        walk = Inclusions(positions, size).walk
        root, found = await self._walk(walk)
        if (size, root) != self._head[1:] and size == self._head[1]:
            self._cache.clear()  # another tree has been made of the log meanwhile
            root, found = await self._walk(walk)
        return [
            InclusionProof(position, leaf, size, root, path)
            for position, (leaf, path) in zip(positions, found, strict=True)
        ]

    async def consistency(self, first: int, second: int) -> ConsistencyProof:
        """Return the proof that the tree of the first `second` events extends that of the first `first` events.

        Raises:
            Damaged: tiles are missing or too short.
        """

        def walk(node: GetNode) -> tuple[bytes, bytes, list[bytes]]:
            roots = merkle.root(first, node), merkle.root(second, node)
            return *roots, merkle.consistency_path(first, second, node)

        first_root, second_root, path = await self._walk(walk)
        return ConsistencyProof(first, first_root, second, second_root, path)

    async def _walk(self, walk: Callable[[GetNode], T]) -> T:
        """Return the result of a computation over nodes; tiles that are not cached are read by one query."""
        try:
            return walk(cache(self._cache.node))
        except LookupError:
            return await self._read_and_walk(walk)
        finally:
            self._cache.trim()

    async def _read_and_walk(self, walk: Callable[[GetNode], T]) -> T:
        needed = tiles_for(walk)
        async with self._store.reader() as connection:
            for _ in range(TRIES):  # another proof may have dropped tiles meanwhile
                if not (missing := self._cache.missing(needed)):
                    break
                self._cache.put(await tiles_of_tree(connection, missing))
        try:
            return walk(cache(self._cache.node))
        except LookupError as error:
            raise Damaged("The tree of the log cannot be read.", reason=str(error)) from None
