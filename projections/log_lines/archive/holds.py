"""Finds the days of log lines and of the access log that a legal hold keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString, NamedTuple

from psycopg import AsyncConnection
from psycopg.errors import LockNotAvailable, QueryCanceled

from domain.eventlog.store import Store
from domain.retention.hold import HoldPlaced
from projections.log_lines.archive.days import Day

BEHIND = 10_000
"""Events that the view of the catalog may be behind the log. `is_placed_since` finds holds in those events."""
BUSY = LockNotAvailable
"""The error of `lock_log` while another process is writing."""
NOT_APPLIED = (
    "an event that says what is held could not be applied to `catalog` or `executions`: "
    "`executions projections` shows where, `executions rebuild VIEW` applies it"
)
TOO_LONG = "it takes too long to look through what there is of this day"
COLUMNS = {"order": "order_id", "service": "service", "customer": "customer"}
"""The members by which a hold selects executions, and their columns in the view of executions."""

VIEWS_AND_HEAD = """SELECT coalesce((SELECT position FROM bookmarks WHERE view = 'catalog'), 0),
    coalesce((SELECT position FROM bookmarks WHERE view = 'executions'), 0),
    (SELECT position FROM head),
    (SELECT count(*) FROM parked
        WHERE view = 'catalog' AND type LIKE 'hold.%' OR view = 'executions' AND type LIKE '%.created'),
    EXISTS (SELECT FROM catalog WHERE kind = 'hold' AND document @> '{"status": "active"}')"""
OF_SCOPE = """SELECT h.id AS hold, e.id AS execution FROM active AS h
    JOIN executions AS e ON e.{column} = h.document ->> '{scope}'"""
OF_SCOPES = " UNION ALL ".join(
    OF_SCOPE.format(scope=scope, column=column) for scope, column in COLUMNS.items()
)
OF_LINES = "SELECT execution FROM log_lines WHERE at >= %(begin)s AND at < %(end)s"
OF_READS = "SELECT unnest(executions) FROM access_log WHERE at >= %(begin)s AND at < %(end)s"
"""SQL for the executions of a day: those with log lines recorded on it, and those that were read on it."""
WITH_HELD = """WITH active AS (SELECT id, document FROM catalog
        WHERE kind = 'hold' AND document @> '{{"status": "active"}}'),
    kept AS (SELECT h.id AS hold, e.execution FROM active AS h,
            jsonb_array_elements_text(h.document -> 'executions') AS e (execution)
        UNION ALL {of_scopes})
    """
HOLDING = (
    WITH_HELD
    + """SELECT hold, count(DISTINCT execution) FROM kept
    WHERE execution IN ({of_day})
    GROUP BY hold ORDER BY hold"""
)
HELD = WITH_HELD + "SELECT DISTINCT execution FROM kept WHERE execution IN ({of_day})"
LOCK = "SELECT FROM head FOR UPDATE NOWAIT"
TIMEOUT = "SELECT set_config('statement_timeout', %s, true)"
PLACED_SINCE = """SELECT EXISTS (SELECT FROM events WHERE topic = %s AND notification_id > %s), position
    FROM head"""


class Holding(NamedTuple):
    """A hold, and the number of executions of a day that it keeps."""

    hold: str
    executions: int


class Checked(NamedTuple):
    """The holds that keep a day, as of a position of the log. `unknown` is the reason if they cannot be determined yet."""

    holds: Sequence[Holding]
    position: int
    unknown: str = ""


async def holds_of(
    connection: AsyncConnection, store: Store, day: Day, of_day: LiteralString = OF_LINES
) -> Checked:
    """Return the holds that keep any of the executions that the query `of_day` finds for a day."""
    needed = await store.position_before(day.bounds["end"])
    return await holds_among(connection, needed, of_day, day.bounds)


async def holds_among(
    connection: AsyncConnection,
    needed: int,
    executions_of: LiteralString,
    values: Mapping[str, Any],
) -> Checked:
    """Return the holds that keep any of the executions that a query finds with its values. The executions were created up
    to the position `needed`, which the view of executions must have reached.
    """
    cursor = await connection.execute(VIEWS_AND_HEAD)
    [(catalog, executions, head, parked, any_active)] = await cursor.fetchall()
    if parked:
        return Checked((), catalog, NOT_APPLIED)
    if catalog < head - BEHIND or executions < needed:
        return Checked((), catalog, "the views that say what is held are behind the log")
    if not any_active:
        return Checked((), catalog)
    query = HOLDING.format(of_scopes=OF_SCOPES, of_day=executions_of)
    rows = await (await connection.execute(query, values)).fetchall()
    return Checked([Holding(*row) for row in rows], catalog)


async def find_held(
    connection: AsyncConnection, executions_of: LiteralString, values: Mapping[str, Any]
) -> frozenset[str]:
    """Return those of the executions that a query finds which are kept by holds. Call it only if `holds_among` has not
    returned `unknown`.
    """
    query = HELD.format(of_scopes=OF_SCOPES, of_day=executions_of)
    rows = await (await connection.execute(query, values)).fetchall()
    return frozenset(row[0] for row in rows)


async def holds_within(
    connection: AsyncConnection, store: Store, day: Day, of_day: LiteralString, seconds: float
) -> Checked:
    """Return the holds that keep a day, as `holds_of` does; unknown if a statement takes longer than `seconds`."""
    try:
        async with connection.transaction():
            await connection.execute(TIMEOUT, (f"{seconds * 1000:.0f}",))
            return await holds_of(connection, store, day, of_day)
    except QueryCanceled:
        return Checked((), 0, TOO_LONG)


async def is_placed_since(connection: AsyncConnection, position: int) -> tuple[bool, int]:
    """Return whether a hold was placed after a position, and the head of the log up to which that was checked."""
    cursor = await connection.execute(PLACED_SINCE, (HoldPlaced.type, position))
    [(placed, head)] = await cursor.fetchall()
    return bool(placed), int(head)


async def lock_log(connection: AsyncConnection) -> None:
    """Lock the log until the end of the caller's transaction: no event is recorded, and so no hold is placed.

    Raises:
        LockNotAvailable: another process is writing.
    """
    await connection.execute(LOCK)
