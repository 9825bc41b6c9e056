"""Reads and writes the tree in the database: its tiles, its signed head, and the hashes of events to be added."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from importlib.resources import files
from typing import Any, NamedTuple

from psycopg import AsyncConnection, AsyncCursor, Connection

from domain.eventlog.archive.archived_queries import fetch_of_span
from domain.eventlog.sessions import session
from projections.audit.leaf import HASH
from projections.audit.tiles import Tile

READ_BYTES = 64 * 1024 * 1024
"""Bytes of events that one statement hashes, approximately."""
IS_THERE = "SELECT to_regclass('audit_witnesses') IS NOT NULL"
HEAD = "SELECT size, root, origin, public_key, note, at, fault FROM audit_head"
STORE_HEAD = """UPDATE audit_head
    SET size = %b, root = %b, origin = %b, public_key = %b, note = %b, at = %b, fault = NULL"""
STORE_FAULT = "UPDATE audit_head SET fault = %b WHERE fault IS DISTINCT FROM %b"
STORE_TILES = """INSERT INTO audit_tiles (level, index, hashes)
    SELECT * FROM unnest(%b::integer[], %b::bigint[], %b::bytea[])
    ON CONFLICT (level, index) DO UPDATE SET hashes = excluded.hashes"""
TILES = """SELECT t.level, t.index, t.hashes FROM audit_tiles AS t
    JOIN unnest(%b::integer[], %b::bigint[]) AS wanted (level, index) USING (level, index)"""
HEAD_WITH_TILES = (
    f"""SELECT found.*, head.* FROM ({HEAD}) AS head LEFT JOIN ({TILES}) AS found ON true"""
)
FORGET_TILES = "DELETE FROM audit_tiles"
HASHES = f"""SELECT notification_id, {HASH} FROM (
        SELECT *, sum(octet_length(state)) OVER (ORDER BY notification_id)
            - octet_length(state) AS before
        FROM events WHERE notification_id > %b AND notification_id <= %b
        ORDER BY notification_id LIMIT %b) AS page
    WHERE before < %b ORDER BY notification_id"""


class TreeHead(NamedTuple):
    """A signed tree head; `note` is the checkpoint. The origin is empty if no head was signed yet.

    `fault` is the reason if the tree has stopped growing.
    """

    size: int
    root: bytes
    origin: str
    public_key: str
    note: str
    at: datetime
    fault: str | None = None


def migrate_audit(database: str | Connection[Any], schema: str) -> None:
    """Create the missing tables of the tree. Safe to run at every start, by several processes at once.

    Raises:
        Overloaded: the database cannot be reached.
    """
    with session(database, schema) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"migrate {schema}",))
        if connection.execute(IS_THERE).fetchone() != (True,):
            connection.execute(files("projections.audit").joinpath("schema.sql").read_bytes())


async def head_of(connection: AsyncConnection) -> TreeHead | None:
    """Return the newest signed head; None if its row is lost."""
    row = await (await connection.execute(HEAD, binary=True)).fetchone()
    return None if row is None else TreeHead(*row)


async def tiles_of_tree(connection: AsyncConnection, wanted: Iterable[Tile]) -> dict[Tile, bytes]:
    """Return the stored tiles, without those that do not exist."""
    return await _tiles(await connection.execute(TILES, _columns(wanted), binary=True))


async def head_with_tiles(
    connection: AsyncConnection, wanted: Iterable[Tile]
) -> tuple[TreeHead | None, dict[Tile, bytes]]:
    """Return the newest signed head and the tiles at the same moment, by one statement."""
    cursor = await connection.execute(HEAD_WITH_TILES, _columns(wanted), binary=True)
    rows = await cursor.fetchall()
    tiles = {(level, index): bytes(hashes) for level, index, hashes, *_ in rows if hashes}
    return (TreeHead(*rows[0][3:]) if rows else None), tiles


def _columns(wanted: Iterable[Tile]) -> tuple[list[int], list[int]]:
    in_order = sorted(wanted)
    return [tile[0] for tile in in_order], [tile[1] for tile in in_order]


async def _tiles(cursor: AsyncCursor[Any]) -> dict[Tile, bytes]:
    return {(level, index): bytes(hashes) for level, index, hashes in await cursor.fetchall()}


async def store_tiles(connection: AsyncConnection, tiles: dict[Tile, bytes]) -> None:
    """Store new tiles, and tiles that have grown."""
    levels = [tile[0] for tile in tiles], [tile[1] for tile in tiles]
    await connection.execute(STORE_TILES, (*levels, list(tiles.values())))


async def hashes_after(
    connection: AsyncConnection, after: int, until: int, limit: int
) -> list[tuple[int, bytes]]:
    """Return the positions and leaf hashes of the next events, at most `limit`."""
    values = after, until, limit, READ_BYTES
    rows = await fetch_of_span(connection, HASHES, values, after, min(until, after + limit))
    return [(position, bytes(found)) for position, found in rows]
