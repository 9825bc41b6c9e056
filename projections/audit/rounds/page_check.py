"""Checks the events of one tile against the tree, and the tile against the tiles above it: one step of the auditor.

Hashes that are in a tile never change, so tiles may be read at any time.
"""

from __future__ import annotations

from psycopg import AsyncConnection

from domain.eventlog.archive.archived_queries import fetch_of_span
from domain.integrity.fault import Fault
from projections.audit import merkle
from projections.audit.check import PART, SINGLE
from projections.audit.tables import tiles_of_tree
from projections.audit.tiles import TILE_BYTES, WIDTH, Tile, hashes_of

BEGUN = """SELECT originator_id FROM events WHERE notification_id > %b AND notification_id <= %b
    AND originator_version = 1 AND originator_id LIKE 'execution/%%' ORDER BY notification_id"""


async def page_faults(connection: AsyncConnection, after: int, until: int) -> list[Fault]:
    """Return the first fault of the events in (after, until], which must be of one tile, or else of the tiles above it."""
    tile = 0, after // WIDTH
    kept = (await tiles_of_tree(connection, [tile])).get(tile, b"")
    found = [*await _event_faults(connection, after, until, hashes_of(kept))]
    return found or await _faults_above(connection, tile, kept, until)


async def _event_faults(
    connection: AsyncConnection, after: int, until: int, signed: list[bytes]
) -> list[Fault]:
    rows = await fetch_of_span(connection, SINGLE, (after, until), after, until)
    events = {position: bytes(hashed) for position, hashed in rows}
    first = after // WIDTH * WIDTH + 1
    for position in range(after + 1, until + 1):
        leaf = signed[position - first] if position - first < len(signed) else None
        place = f"position {position}"
        if position not in events:
            return [Fault(PART, place, "the event that was signed is not there", position)]
        if leaf is None:
            return [Fault(PART, place, "the tree has no leaf of it", position)]
        if events[position] != leaf:
            return [Fault(PART, place, "the event and its leaf in the tree differ", position)]
    return []


async def _faults_above(
    connection: AsyncConnection, tile: Tile, kept: bytes, until: int
) -> list[Fault]:
    """Return the fault of the first tile above that does not have the hash of the tile below it, if any."""
    while len(kept) == TILE_BYTES and until % WIDTH ** (tile[0] + 1) == 0:
        above = tile[0] + 1, tile[1] // WIDTH
        entry = tile[1] % WIDTH
        over = (await tiles_of_tree(connection, [above])).get(above, b"")
        if hashes_of(over)[entry : entry + 1] != [merkle.join(hashes_of(kept))]:
            what = f"does not have the hash of tile {tile[0]}/{tile[1]}"
            return [Fault(PART, f"tile {above[0]}/{above[1]}", what, until, f"entry {entry}")]
        tile, kept = above, over
    return []


async def read_begun(connection: AsyncConnection, after: int, until: int) -> list[str]:
    """Return the ids of the executions whose first events are in (after, until]."""
    rows = await fetch_of_span(connection, BEGUN, (after, until), after, until)
    return [stream.partition("/")[2] for (stream,) in rows]
