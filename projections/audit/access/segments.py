"""The entries between two anchors: the hashes of their chain, and the Merkle tree over those hashes."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import AsyncConnection

from projections.audit import merkle
from projections.audit.merkle import Node

MOST = 32_768
"""Entries that a segment has at most."""
HASHES = "SELECT id, hash FROM access_log WHERE id > %b AND id <= %b ORDER BY id"


async def hashes_between(connection: AsyncConnection, after: int, until: int) -> list[bytes]:
    """Return the hashes of the entries in (after, until], in order.

    Raises:
        LookupError: an entry is missing, or there are two with the same id.
    """
    cursor = await connection.execute(HASHES, (after, until), binary=True)
    found: list[bytes] = []
    for expected, (number, hashed) in enumerate(await cursor.fetchall(), after + 1):
        if number != expected:
            raise LookupError(f"the access log has no entry {expected}")
        found.append(bytes(hashed))
    if len(found) < until - after:
        raise LookupError(f"the access log has no entry {after + len(found) + 1}")
    return found


class AccessSegment:
    """The Merkle tree over the hashes of consecutive entries."""

    def __init__(self, hashes: Sequence[bytes]) -> None:
        self._size = len(hashes)
        self._levels = [[merkle.leaf_hash(each) for each in hashes]]
        while len(below := self._levels[-1]) > 1:
            pairs = zip(below[::2], below[1::2], strict=False)
            self._levels.append([merkle.node_hash(*pair) for pair in pairs])

    @property
    def root(self) -> bytes:
        """The root of the tree, as the anchor has it."""
        return merkle.root(self._size, self._node)

    def path(self, index: int) -> list[bytes]:
        """Return the inclusion path of the entry at an index, counted from 0."""
        return merkle.inclusion_path(index, self._size, self._node)

    def _node(self, node: Node) -> bytes:
        level, index = node
        return self._levels[level][index]
