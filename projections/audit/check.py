"""Checks the whole log against its tree: every event, every tile, the root, and the signed heads.

It may run beside a server: it checks the tree as it was when the check began.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from psycopg import AsyncConnection

from domain.eventlog.archive.archived_queries import fetch_of_span
from domain.eventlog.sessions import session_options
from domain.integrity.fault import Fault
from projections.audit import merkle
from projections.audit.leaf import HASH, HASH_BYTES
from projections.audit.note import BadNote, TreeCheckpoint, checkpoint_of, origin_of
from projections.audit.tables import TreeHead, head_of, tiles_of_tree
from projections.audit.tiles import (
    WIDTH,
    Tile,
    Tiles,
    Tree,
    hashes_of,
    nodes_in,
    tiles_for,
    tiles_of,
)

PART, KEPT_HEAD = "audit", "kept head"
TILES_AT_ONCE = 16
"""Tiles of events that are computed in one statement."""
BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
LOG = "SELECT log_id, position FROM head"
SURPLUS = """SELECT level, index FROM audit_tiles
    WHERE level < 0 OR level > 7 OR index < 0 OR index >= ((%b >> 8 * level) + 255) / 256"""
COMPUTED = f"""SELECT (notification_id - 1) / 256, string_agg({HASH}, ''::bytea ORDER BY notification_id)
    FROM events WHERE notification_id > %b AND notification_id <= %b GROUP BY 1"""
SINGLE = f"""SELECT notification_id, {HASH} FROM events
    WHERE notification_id > %b AND notification_id <= %b ORDER BY 1"""

OnProgress = Callable[[int, int], None]
"""Called with the position reached and the position to reach."""


class NotCovered(Exception):
    """The log has as many events as a kept head, but the tree does not have them yet, so the head was not compared."""

    def __init__(self, kept: int, size: int) -> None:
        super().__init__(f"has {kept} events, but the tree has only {size} so far")


class TreeSnapshot(NamedTuple):
    """The tree at one moment: the log's id and last position, the head, the last tile of each level (`edge`), and the
    stored tiles that do not belong to a tree of this size (`surplus`).
    """

    log_id: str
    position: int
    head: TreeHead | None
    edge: Tiles
    surplus: list[Tile]


@asynccontextmanager
async def connect(conninfo: str, schema: str) -> AsyncIterator[AsyncConnection]:
    """Yield a connection for a check. It has no time limit for statements, because hashing large events may take long."""
    options = session_options(schema)
    async with await AsyncConnection.connect(
        conninfo, autocommit=True, options=options
    ) as connection:
        yield connection


async def log_of(connection: AsyncConnection) -> tuple[str, int]:
    """Return the id of the log and its last position; an empty id and 0 if the row is lost."""
    row = await (await connection.execute(LOG)).fetchone()
    return ("", 0) if row is None else (row[0], row[1])


async def start(connection: AsyncConnection) -> TreeSnapshot:
    """Return the tree as it is now. The connection must be in autocommit."""
    await connection.execute(BEGIN)
    try:
        log_id, position = await log_of(connection)
        head = await head_of(connection)
        size = 0 if head is None else head.size
        edge = await tiles_of_tree(connection, dict(tiles_of(size)))
        surplus = await (await connection.execute(SURPLUS, (size,))).fetchall()
    finally:
        await connection.execute("COMMIT")
    return TreeSnapshot(log_id, position, head, edge, [(level, index) for level, index in surplus])


def head_faults(found: TreeSnapshot, public_key: str | None) -> Iterator[Fault]:
    """Yield the faults of the signed head. Without a `public_key`, the key stored with the head is accepted."""
    head = found.head
    if head is None or not head.origin:
        yield Fault(PART, "head", "there is no signed head")
        return
    yield from _signature_faults(head, public_key or head.public_key)
    if head.origin != origin_of(found.log_id):
        yield Fault(PART, "head", f"is of {head.origin}, another log")
    if head.fault is not None:
        yield Fault(PART, "tree", f"has stopped to grow: {head.fault}")
    if head.size > found.position:
        what = f"the log ends here, but {head.size} events were signed"
        yield Fault(PART, f"position {found.position + 1}", what)
    if not _holds(found, head):
        yield Fault(PART, "root", "the last tiles have another root than was signed")
    for level, index in found.surplus:
        yield Fault(PART, f"tile {level}/{index}", "belongs to no tree of this size")


def former_log(found: TreeSnapshot, public_key: str) -> TreeSnapshot | None:
    """Return the tree as that of the log's former id, if the log got another id after the head was signed; else None.

    It is so after a restore, until the work process begins the tree again. `public_key` is the key for the origin of the
    head. If the head is not properly signed by it, there is no former log.
    """
    head = found.head
    if head is None or not found.log_id or head.origin == origin_of(found.log_id):
        return None
    former = head.origin.removeprefix(origin_of(""))
    if origin_of(former) != head.origin or any(_signature_faults(head, public_key)):
        return None
    return found._replace(log_id=former)


def _signature_faults(head: TreeHead, public_key: str) -> Iterator[Fault]:
    try:
        signed = checkpoint_of(head.note, public_key)
    except BadNote as error:
        yield Fault(PART, "head", f"is not signed by the key of the log: {error}")
    else:
        if signed != TreeCheckpoint(head.origin, head.size, head.root):
            yield Fault(PART, "head", f"says something else than was signed: {signed.size} events")
        if head.public_key != public_key:
            yield Fault(PART, "head", "names another key than that of the log")


def _holds(found: TreeSnapshot, head: TreeHead) -> bool:
    try:
        return Tree(head.size, found.edge).root() == head.root
    except LookupError:
        return False


async def tree_faults(
    connection: AsyncConnection,
    found: TreeSnapshot,
    on_progress: OnProgress,
    checked: list[bytes] | None = None,
) -> AsyncIterator[Fault]:
    """Yield the faults of the events and tiles up to the head, for each tile the first one.

    `checked` collects the hash of each full tile of events that was checked. An interrupted check that is called again
    with the same list continues after them.
    """
    if found.head is None:
        return
    check = _TreeCheck(connection, found, found.head)
    below = [] if checked is None else checked
    del below[found.head.size // WIDTH :]
    async for fault in check.leaves(below, on_progress):
        yield fault
    level = 1
    while below:
        above: list[bytes] = []
        async for fault in check.level(level, below, above):
            yield fault
        below, level = above, level + 1


async def earlier_fault(
    connection: AsyncConnection, found: TreeSnapshot, note: str, public_key: str
) -> Fault | None:
    """Return the fault if the present tree does not extend the tree of a signed head that somebody has kept.

    Raises:
        NotCovered: the log has the events of the kept head, but the tree is still being built up to them.
    """
    try:
        kept = checkpoint_of(note, public_key)
    except BadNote as error:
        return Fault(PART, KEPT_HEAD, f"is not signed by the key of the log: {error}")
    size = 0 if found.head is None else found.head.size
    if kept.size > found.position:
        what = f"has {kept.size} events, but the log goes back to {found.position}"
        return Fault(PART, KEPT_HEAD, what)
    if kept.size > size:
        raise NotCovered(kept.size, size)
    wanted = tiles_for(lambda node: merkle.root(kept.size, node))
    try:
        root = merkle.root(kept.size, nodes_in(await tiles_of_tree(connection, wanted)))
    except LookupError:
        root = b""
    if root != kept.root:
        return Fault(
            PART, KEPT_HEAD, f"the first {kept.size} events are not those it was signed for"
        )
    return None


class _TreeCheck:
    """Computes each tile, from the events or from the tiles below, and compares it with the stored tile."""

    def __init__(self, connection: AsyncConnection, found: TreeSnapshot, head: TreeHead) -> None:
        self._connection = connection
        self._edge = found.edge
        self._size = head.size
        self._edge_holds = _holds(found, head)

    async def leaves(self, above: list[bytes], on_progress: OnProgress) -> AsyncIterator[Fault]:
        step = TILES_AT_ONCE * WIDTH
        for after in range(len(above) * WIDTH, self._size, step):
            until = min(after + step, self._size)
            span = after, until
            rows = await fetch_of_span(self._connection, COMPUTED, span, *span)
            computed = {(0, index): bytes(hashes) for index, hashes in rows}
            tiles = [(0, index) for index in range(after // WIDTH, (until + WIDTH - 1) // WIDTH)]
            stored = await self._read_tiles(tiles)
            for tile in tiles:
                if fault := await self._compare(computed.get(tile, b""), tile, stored, above):
                    yield fault
            on_progress(until, self._size)

    async def level(
        self, level: int, below: list[bytes], above: list[bytes]
    ) -> AsyncIterator[Fault]:
        for begin in range(0, len(below), WIDTH):
            tile = level, begin // WIDTH
            stored = await self._read_tiles([tile])
            computed = b"".join(below[begin : begin + WIDTH])
            if fault := await self._compare(computed, tile, stored, above):
                yield fault

    async def _read_tiles(self, tiles: list[Tile]) -> Tiles:
        """Read stored tiles. Full tiles never change; of the others, those from the beginning of the check are used."""
        return {**await tiles_of_tree(self._connection, tiles), **self._edge}

    async def _compare(
        self, computed: bytes, tile: Tile, stored: Tiles, above: list[bytes]
    ) -> Fault | None:
        """Return the fault of a tile, if any. For a full tile, append its hash to `above`: that of the stored tile if the
        tile above confirms it, else that of the computed one.
        """
        level, index = tile
        full = (self._size >> 8 * level) // WIDTH > index
        kept = stored.get(tile, b"")
        if kept == computed:
            above += [merkle.join(hashes_of(kept))] if full else []
            return None
        tile_holds = await self._is_signed(tile, kept, full=full)
        if full:
            right = kept if tile_holds else computed
            above.append(merkle.join(_pad(right)))
        first = (index * WIDTH << 8 * level) + 1
        if tile_holds and level == 0:
            return await self._event_fault(tile, kept)
        what = "is not there" if tile not in stored else "is not what the events say"
        return Fault(PART, f"tile {level}/{index}", f"{what}, from position {first} on")

    async def _is_signed(self, tile: Tile, kept: bytes, *, full: bool) -> bool:
        """Whether the tile above has the hash of this tile; for a tile that is not full, whether the signed root fits."""
        if not full:
            return self._edge_holds
        above = tile[0] + 1, tile[1] // WIDTH
        entries = hashes_of((await self._read_tiles([above])).get(above, b""))
        index = tile[1] % WIDTH
        complete = len(kept) == WIDTH * HASH_BYTES
        return complete and index < len(entries) and entries[index] == merkle.join(hashes_of(kept))

    async def _event_fault(self, tile: Tile, kept: bytes) -> Fault:
        """Return the fault of the first event of a tile that is not the signed one."""
        after = tile[1] * WIDTH
        signed = hashes_of(kept)
        span = after, after + len(signed)
        rows = await fetch_of_span(self._connection, SINGLE, span, *span)
        events = {position: bytes(hashed) for position, hashed in rows}
        for position, hashed in enumerate(signed, after + 1):
            if position not in events:
                return Fault(PART, f"position {position}", "the event that was signed is not there")
            if events[position] != hashed:
                return Fault(
                    PART, f"position {position}", "the event is not the one that was signed"
                )
        return Fault(PART, f"tile {tile[0]}/{tile[1]}", "changed while it was checked")


def _pad(tile: bytes) -> list[bytes]:
    """Return the hashes of a tile that should be full; missing hashes are zeros, which no content has as its hash."""
    return hashes_of(tile[: WIDTH * HASH_BYTES].ljust(WIDTH * HASH_BYTES, b"\0"))
