"""Queries on events of which some are in files of the archive: they are answered as if all were in the table.

A query names the table `events`, and returns whole rows of its own. It is first asked as it is. Where it concerns events that
have left the table, it is asked again with those as values, which stand in the place of the table beside it. What has
left it never comes back, so it is enough to look after the query whether that was so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from psycopg import AsyncConnection

from domain.eventlog.archive.blocks import positions_of
from domain.eventlog.archive.reader import ArchivedRange, read_events
from domain.eventlog.codec import EventRow
from domain.eventlog.pg_arrays import Array, array, placeholders
from domain.eventlog.queries import COLUMNS, READ

KINDS = ("bigint", "bigint", "timestamptz", "text", "text", "text", "bytea")
NAMES = tuple(f"archived_{column}" for column in COLUMNS.split(", "))
EVENTS = """WITH events AS NOT MATERIALIZED (SELECT {columns} FROM events{beyond}
    UNION ALL SELECT * FROM unnest({arrays}) AS archived ({columns}))"""
BEYOND = " WHERE notification_id > {}"
OF_STREAMS = """SELECT originator_id, first_version, positions FROM event_archive_streams
    WHERE originator_id = ANY(%b::text[]) ORDER BY originator_id, first_version"""
HORIZON = "SELECT coalesce(max(last), 0) FROM event_archives"
RANGES = """SELECT first, last, file, digest, blocks, (SELECT url FROM log_archive_place)
    FROM event_archives WHERE last >= %b AND first <= %b ORDER BY first"""

Values = Sequence[Any] | Mapping[str, Any]
Rows = list[tuple[Any, ...]]


async def fetch_of_streams(
    connection: AsyncConnection,
    query: str,
    values: Values,
    streams: Iterable[str],
    *,
    prepare: bool | None = None,
) -> Rows:
    """The rows of a query that concerns events of these streams alone.

    Raises:
        Damaged: a file is missing or damaged; `file` names it.
        Overloaded: the archive cannot be reached.
    """
    asked = array("text", list(dict.fromkeys(streams)))
    rows, archived = await _with_places(connection, query, values, asked, prepare)
    while archived:
        positions = sorted(p for *_, places in archived for p in positions_of(places))
        events = await events_at(connection, positions)
        wanted = shadowed(query, values, events)
        before = archived
        rows, archived = await _with_places(connection, *wanted, asked, False)
        if archived == before:
            break
    return rows


async def fetch_of_span(
    connection: AsyncConnection, query: str, values: Values, after: int, until: int
) -> Rows:
    """The rows of a query that concerns events with positions in (after, until] alone.

    Raises:
        Damaged: a file is missing or damaged; `file` names it.
        Overloaded: the archive cannot be reached.
    """
    rows = await (await connection.execute(query.encode(), values, binary=True)).fetchall()
    after = known = max(after, 0)
    horizon = await archived_until(connection)
    while known < min(horizon, until):
        known = horizon
        events = await events_at(connection, range(after + 1, min(horizon, until) + 1))
        again, bound = shadowed(query, values, events, beyond=horizon)
        cursor = await connection.execute(again.encode(), bound, prepare=False, binary=True)
        rows = await cursor.fetchall()
        horizon = await archived_until(connection)
    return rows


async def next_events(
    connection: AsyncConnection, after: int, limit: int, size: int
) -> list[EventRow]:
    """The next events of the log, as `READ` has them.

    Raises:
        Damaged: a file is missing or damaged; `file` names it.
        Overloaded: the archive cannot be reached.
    """
    values = after, limit, size
    rows = await (await connection.execute(READ, values, binary=True)).fetchall()
    if has_hole(after, [row[0] for row in rows]):
        rows = await fetch_of_span(connection, READ, values, after, after + limit)
    return [EventRow(*row) for row in rows]


def has_hole(after: int, positions: Sequence[int]) -> bool:
    """Whether events are missing between a position and the last one that was read: they may be in a file. The last event
    of the log is always in the table, so where none was read there is none.
    """
    return bool(positions) and positions[-1] != after + len(positions)


async def archived_until(connection: AsyncConnection) -> int:
    """The position up to which all events are in files; some of them are in the table, too."""
    [(horizon,)] = await (await connection.execute(HORIZON, binary=True)).fetchall()
    return int(horizon)


async def events_at(connection: AsyncConnection, positions: Sequence[int]) -> list[EventRow]:
    """The events at positions that grow, each of which is in a file.

    Raises:
        Damaged: a file is missing or damaged; `file` names it.
        Overloaded: the archive cannot be reached.
    """
    cursor = await connection.execute(RANGES, (positions[0], positions[-1]), binary=True)
    rows = await cursor.fetchall()
    ranges = [ArchivedRange(*row[:-1]) for row in rows]
    place = rows[0][-1] if rows else None
    return await asyncio.to_thread(read_events, place, ranges, positions)


def shadowed(
    query: str, values: Values, events: Sequence[EventRow], *, beyond: int | None = None
) -> tuple[str, Values]:
    """The query and its values with events from files beside those of the table, or instead of those that are not
    `beyond` a position.
    """
    columns = event_arrays(events)
    named = isinstance(values, Mapping)
    arrays = placeholders(KINDS)
    if named:
        arrays = ", ".join(f"%({name})b::{kind}[]" for name, kind in zip(NAMES, KINDS, strict=True))
    shadow = EVENTS.format(
        columns=COLUMNS,
        arrays=arrays,
        beyond="" if beyond is None else BEYOND.format(beyond),
    )
    joined = f"{shadow}, {query[5:]}" if query.startswith("WITH ") else f"{shadow} {query}"
    if isinstance(values, Mapping):
        return joined, {**values, **dict(zip(NAMES, columns, strict=True))}
    return joined, [*columns, *values]


def event_arrays(events: Sequence[EventRow]) -> list[Array]:
    """The columns of events, of which there may be none."""
    columns = list(zip(*events, strict=True)) or [()] * len(KINDS)
    return [array(kind, column) for kind, column in zip(KINDS, columns, strict=True)]


async def _with_places(
    connection: AsyncConnection, query: str, values: Values, streams: Array, prepare: bool | None
) -> tuple[Rows, Rows]:
    """The rows of a query, and which events of these streams had left the table by the end of it."""
    async with connection.pipeline():
        found = await connection.execute(query.encode(), values, prepare=prepare, binary=True)
        archived = await connection.execute(OF_STREAMS, (streams,), binary=True)
    return await found.fetchall(), await archived.fetchall()
