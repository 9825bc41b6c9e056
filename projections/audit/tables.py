"""The tree in the database: its tiles, its signed head, and the hashes of events to come."""

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
"""A page of hashes ends with the event before the one that makes it as large as this."""
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
    """A tree head as it was signed: `note` is the checkpoint; without an origin there is none yet.

    `fault` says why the tree has stopped to grow.
    """

    size: int
    root: bytes
    origin: str
    public_key: str
    note: str
    at: datetime
    fault: str | None = None


def migrate_audit(database: str | Connection[Any], schema: str) -> None:
    """Create what is missing of the tree's tables; safe to run at every start, by many at once.

    Raises:
        Overloaded: the database cannot be reached.
    """
    with session(database, schema) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"migrate {schema}",))
        if connection.execute(IS_THERE).fetchone() != (True,):
            connection.execute(files("projections.audit").joinpath("schema.sql").read_bytes())


async def head_of(connection: AsyncConnection) -> TreeHead | None:
    """The head that was signed last; None where its row is lost."""
    row = await (await connection.execute(HEAD, binary=True)).fetchone()
    return None if row is None else TreeHead(*row)


async def tiles_of_tree(connection: AsyncConnection, wanted: Iterable[Tile]) -> dict[Tile, bytes]:
    """Tiles as they are stored, without those that are not there."""
    return await _tiles(await connection.execute(TILES, _columns(wanted), binary=True))


async def head_with_tiles(
    connection: AsyncConnection, wanted: Iterable[Tile]
) -> tuple[TreeHead | None, dict[Tile, bytes]]:
    """The head that was signed last, and tiles as they were then, in one statement."""
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
    """Store tiles that are new or longer."""
    levels = [tile[0] for tile in tiles], [tile[1] for tile in tiles]
    await connection.execute(STORE_TILES, (*levels, list(tiles.values())))


async def hashes_after(
    connection: AsyncConnection, after: int, until: int, limit: int
) -> list[tuple[int, bytes]]:
    """The positions and leaf hashes of the next events, at most `limit`."""
    values = after, until, limit, READ_BYTES
    rows = await fetch_of_span(connection, HASHES, values, after, min(until, after + limit))
    return [(position, bytes(found)) for position, found in rows]
