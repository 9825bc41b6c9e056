"""Appends the events of the log to its Merkle tree, and signs the head of the tree.

Tiles and head are committed together, over the connection that holds the lock, so a former owner cannot write after the next one.
A signed part of the tree is never changed: if the log, the tiles or the head do not fit the last signed head, the tree stops
growing. A log with a new id, as after a restore, gets a new tree.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import ClassVar

import structlog
from psycopg import AsyncConnection

from domain.errors import Damaged
from projections.audit.leaf import HASH_BYTES
from projections.audit.note import BadNote, Signer, TreeCheckpoint, checkpoint_of, origin_of
from projections.audit.tables import (
    FORGET_TILES,
    STORE_FAULT,
    STORE_HEAD,
    TreeHead,
    hashes_after,
    head_of,
    store_tiles,
    tiles_of_tree,
)
from projections.audit.tiles import Tree, tiles_of
from workers.ownership import OwnedWork

PAGE = 5_000
"""Events in one commit."""
GATHERS = 0.25
"""Seconds to wait for more events before the next page, unless more than a page is there."""
STOPPED = 10.0
"""Seconds between two tries after a fault, which an operator may repair."""
LOG = "SELECT log_id, position FROM head"
NEWS = """SELECT head.log_id, head.position, tree.origin, tree.size, tree.fault
    FROM head CROSS JOIN audit_head AS tree"""
SOME_TILE = "SELECT EXISTS (SELECT FROM audit_tiles)"

log = structlog.get_logger()


class TreeFault(Exception):
    """The log, the tiles or the head do not fit the last signed head."""


class TreeBuilder(OwnedWork):
    """Appends events to the tree of a log, each page in one commit."""

    work: ClassVar[str] = "audit"

    def __init__(
        self, conninfo: str, schema: str, secret: bytes, clock: Callable[[], datetime]
    ) -> None:
        super().__init__(conninfo, schema)
        self._secret = secret
        self._clock = clock
        self._signer = Signer(secret, "")
        self._tree: Tree | None = None  # the tree of the head that this process signed last
        self._fault: str | None = None

    async def run(self, connection: AsyncConnection) -> None:
        """Append and sign new events until cancelled."""
        self._tree = self._fault = None
        while True:
            try:
                more = await _has_new_events(connection) and await self.grow(connection)
            except (TreeFault, Damaged) as fault:  # or a file of archived events is damaged
                reason = fault.detail if isinstance(fault, Damaged) else str(fault)
                await self._store_fault(connection, reason)
                await self.pause(connection, STOPPED)
            else:
                self._fault = None
                await asyncio.sleep(0 if more else GATHERS)
                if not more:
                    await self.wait_for_work(connection)

    async def _store_fault(self, connection: AsyncConnection, fault: str) -> None:
        if fault != self._fault:
            log.error("the tree of the log has stopped to grow", reason=fault)
        self._fault = fault
        await connection.execute(STORE_FAULT, (fault, fault))

    async def grow(self, connection: AsyncConnection) -> bool:
        """Append the next page of events, and sign the head; return whether there are more events.

        Raises:
            TreeFault: the log, the tiles or the head do not fit the last signed head. Nothing was written.
        """
        tree, self._tree = self._tree, None  # cached again after the commit
        async with connection.transaction():
            log_id, position = await _log(connection)
            if self._signer.origin != (origin := origin_of(log_id)):
                self._signer, tree = Signer(self._secret, origin), None
            head = await head_of(connection)
            if head is None:
                raise TreeFault("the row of the signed head is lost")
            tree = await self._continue(connection, head, position, tree)
            hashes = await _next_hashes(connection, tree.size, position)
            if hashes or head.origin != origin:
                await store_tiles(connection, tree.append(hashes))
                await connection.execute(STORE_HEAD, self._sign(tree)[:-1])
            elif head.fault is not None:
                await connection.execute(STORE_FAULT, (None, None))
        self._tree = tree
        return tree.size < position

    def _sign(self, tree: Tree) -> TreeHead:
        root, signer = tree.root(), self._signer
        note = signer.sign(TreeCheckpoint(signer.origin, tree.size, root).text)
        return TreeHead(tree.size, root, signer.origin, signer.public_key, note, self._clock())

    async def _continue(
        self, connection: AsyncConnection, head: TreeHead, position: int, tree: Tree | None
    ) -> Tree:
        """The tree of the signed head, after a check that it fits a log that ends at a position. Raises TreeFault."""
        if not head.origin:
            if await _has_tiles(connection):
                raise TreeFault("there are tiles, but the head that was signed for them is lost")
            return Tree()
        if head.origin != self._signer.origin:
            log.info("the log has another id, so its tree begins anew", origin=self._signer.origin)
            await connection.execute(FORGET_TILES)
            return Tree()
        if head.size > position:
            raise TreeFault(f"the log ends at {position}, but {head.size} events were signed")
        if tree is None or tree.size != head.size:
            tree = await _read_tree(connection, head)
            self._require_signed(head)
        if tree.root() != head.root:
            raise TreeFault(f"the tiles have another root than was signed for {head.size} events")
        return tree

    def _require_signed(self, head: TreeHead) -> None:
        expected = TreeCheckpoint(self._signer.origin, head.size, head.root)
        try:
            signed = checkpoint_of(head.note, self._signer.public_key)
        except BadNote as error:
            raise TreeFault(f"the head is not signed by this log: {error}") from None
        if signed != expected:
            raise TreeFault("the head is another than was signed")


async def _has_new_events(connection: AsyncConnection) -> bool:
    """Whether the signed head differs from the head of the log, by one query, the only one while there are no new events."""
    row = await (await connection.execute(NEWS)).fetchone()
    if row is None:
        return True
    log_id, position, origin, size, fault = row
    return (origin, size, fault) != (origin_of(log_id), position, None)


async def _log(connection: AsyncConnection) -> tuple[str, int]:
    row = await (await connection.execute(LOG)).fetchone()
    if row is None:
        raise TreeFault("the row `head` of the log is lost")
    return str(row[0]), int(row[1])


async def _has_tiles(connection: AsyncConnection) -> bool:
    return await (await connection.execute(SOME_TILE)).fetchone() == (True,)


async def _read_tree(connection: AsyncConnection, head: TreeHead) -> Tree:
    wanted = dict(tiles_of(head.size))
    tiles = await tiles_of_tree(connection, wanted)
    lengths = {tile: len(hashes) // HASH_BYTES for tile, hashes in tiles.items()}
    if lengths != wanted:
        raise TreeFault(f"the last tiles are not those of {head.size} events")
    return Tree(head.size, tiles)


async def _next_hashes(connection: AsyncConnection, size: int, position: int) -> list[bytes]:
    found = await hashes_after(connection, size, position, PAGE)
    for expected, (actual, _) in enumerate(found, size + 1):
        if actual != expected:
            raise TreeFault(f"the log has no event at position {expected}")
    if not found and size < position:
        raise TreeFault(f"the log has no event at position {size + 1}")
    return [hashed for _, hashed in found]
