"""Reads the anchors of the access log: events with the last entry and the last hash of the access log at their time."""

from __future__ import annotations

from datetime import date, datetime
from typing import NamedTuple

import orjson
from psycopg import AsyncConnection

from domain.access.anchors import STREAM

COLUMNS = "originator_version, notification_id, at, state"
AFTER = f"""SELECT {COLUMNS} FROM events WHERE originator_id = '{STREAM}' AND originator_version > %s
    ORDER BY originator_version LIMIT %s"""
ONE = f"SELECT {COLUMNS} FROM events WHERE originator_id = '{STREAM}' AND originator_version = %s"
LATEST = f"""SELECT {COLUMNS} FROM events WHERE originator_id = '{STREAM}'
    ORDER BY originator_version DESC LIMIT 1"""
BEHIND = f"""SELECT {COLUMNS} FROM events WHERE originator_id = '{STREAM}' AND notification_id > %s
    ORDER BY notification_id LIMIT 1"""


class Anchor(NamedTuple):
    """An anchor: its version, position and time, and its content. It covers the entries from `first` to `last`; `hash` is
    that of the last entry, `root` that of the tree over them. Anchors of early builds have no `day`.
    """

    version: int
    position: int
    at: datetime
    first: int
    last: int
    hash: bytes
    root: bytes
    day: date | None


async def anchors_after(connection: AsyncConnection, version: int, limit: int) -> list[Anchor]:
    """Return the next anchors after a version of their stream."""
    rows = await (await connection.execute(AFTER, (version, limit))).fetchall()
    return [_anchor(*row) for row in rows]


async def latest_anchor(connection: AsyncConnection) -> Anchor | None:
    """Return the newest anchor; None if there is none yet."""
    row = await (await connection.execute(LATEST)).fetchone()
    return None if row is None else _anchor(*row)


async def anchor_at(connection: AsyncConnection, position: int) -> Anchor | None:
    """Return the newest anchor among the first `position` events of the log; None if there is none."""
    found = await latest_anchor(connection)
    while found is not None and found.position > position:
        row = await (await connection.execute(ONE, (found.version - 1,))).fetchone()
        found = None if row is None else _anchor(*row)
    return found


async def anchor_behind(connection: AsyncConnection, position: int) -> Anchor | None:
    """Return the first anchor after a position of the log; None if there is none yet."""
    row = await (await connection.execute(BEHIND, (position,))).fetchone()
    return None if row is None else _anchor(*row)


async def anchor_of(connection: AsyncConnection, entry: int) -> Anchor | None:
    """Return the anchor that covers an entry, by binary search; None if none covers it yet.

    Raises:
        LookupError: an anchor is missing.
    """
    latest = await latest_anchor(connection)
    if latest is None or latest.last < entry:
        return None
    low, found = 1, latest
    while low < found.version:
        row = await (await connection.execute(ONE, ((low + found.version) // 2,))).fetchone()
        if row is None:
            raise LookupError("an anchor of the access log is missing")
        middle = _anchor(*row)
        if middle.last < entry:
            low = middle.version + 1
        else:
            found = middle
    return found


def _anchor(version: int, position: int, at: datetime, state: bytes) -> Anchor:
    said = orjson.loads(state)
    hashed, root = (bytes.fromhex(said[name]) for name in ("hash", "root"))
    day = date.fromisoformat(said["day"]) if "day" in said else None
    return Anchor(version, position, at, said["first"], said["last"], hashed, root, day)
