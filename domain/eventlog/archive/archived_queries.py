"""Queries on events of which some are in files of the archive: they are answered as if all were in the table.

A query names the table `events`, and returns whole rows of its own. It is first asked as it is. Where it concerns events that
have left the table, it is asked again with those as values, which stand in the place of the table beside it. What has
left it never comes back, so it is enough to look after the query whether that was so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, NamedTuple

import orjson
from psycopg import AsyncConnection

from domain.errors import Damaged, Unreadable
from domain.eventlog.archive.archived_values import Values, with_archived_events
from domain.eventlog.archive.blocks import positions_of
from domain.eventlog.archive.limited_archive import run_in_archive_thread
from domain.eventlog.archive.reader import RANGES, read_events
from domain.eventlog.codec import EventRow
from domain.eventlog.connection.pg_arrays import Array, array
from domain.eventlog.queries import HISTORY, IN_ORDER, OF_SHARE, OF_TYPES, READ, SPAN

OF_STREAMS = """SELECT originator_id, first_version, last_version, positions FROM event_archive_streams
    WHERE originator_id = ANY(%b::text[]) ORDER BY originator_id, first_version"""
PARTIES = "SELECT parties FROM event_archive_streams WHERE originator_id = %b AND first_version = 1"
STREAMS_OF_SHARE = (
    """SELECT originator_id FROM unnest(%b::text[]) AS s (originator_id)
    WHERE true"""
    + OF_SHARE
)
HORIZON = "SELECT coalesce(max(last), 0) FROM event_archives"

Rows = list[tuple[Any, ...]]


class Versions(NamedTuple):
    """The versions in (after, until], or the `last` so many of those, that a query needs of a stream."""

    after: int
    until: int
    last: int = 2**62

    def among(self, first: int, positions: Sequence[int]) -> Sequence[int]:
        """Of the positions of versions from the first one on those that are needed."""
        found = positions[max(self.after + 1 - first, 0) : max(self.until + 1 - first, 0)]
        return found[-self.last :]


NO_BOUNDS: Mapping[str, Versions] = {}


def bounds_after(stream_versions: Sequence[tuple[str, int]], limit: int) -> Mapping[str, Versions]:
    """Of each stream the next versions, unless one is asked for twice."""
    bounds = {stream: Versions(after, after + limit) for stream, after in stream_versions}
    return bounds if len(bounds) == len(stream_versions) else NO_BOUNDS


async def fetch_of_streams(
    connection: AsyncConnection,
    query: str,
    values: Values,
    streams: Iterable[str],
    *,
    versions: Mapping[str, Versions] = NO_BOUNDS,
    prepare: bool | None = None,
    are_whole: Callable[[Rows], bool] | None = None,
    unreadable: dict[str, Unreadable] | None = None,
) -> Rows:
    """The rows of a query that concerns events of these streams alone, and of some of them certain `versions` alone.

    Where `are_whole` says that rows of the table are all there is, nothing else is asked; it sees a stream's first
    event, which is the first to leave. What is wrong with a stream that cannot be read is put into `unreadable`, and its
    rows are no more than those of the table.

    Raises:
        Damaged: a file is missing or damaged; `file` names it. `unreadable` was left out.
        ArchiveAway: the archive cannot be reached; as before.
    """
    asked = array("text", list(dict.fromkeys(streams)))
    if are_whole is None:
        rows, archived = await _fetch_with_archived(connection, query, values, asked, prepare)
    else:
        found = await connection.execute(query.encode(), values, prepare=prepare, binary=True)
        if are_whole(rows := await found.fetchall()):
            return rows
        found = await connection.execute(OF_STREAMS, (asked,), binary=True)
        archived = await found.fetchall()
    while archived:
        events = await _events_of(connection, archived, versions, unreadable)
        wanted = with_archived_events(query, values, events)
        before = archived
        rows, archived = await _fetch_with_archived(connection, *wanted, asked, False)
        if archived == before:
            break
    return rows


async def fetch_of_span(
    connection: AsyncConnection, query: str, values: Values, after: int, until: int
) -> Rows:
    """The rows of a query that concerns events with positions in (after, until] alone.

    Raises:
        Damaged: a file is missing or damaged; `file` names it.
        ArchiveAway: the archive cannot be reached.
    """
    rows = await (await connection.execute(query.encode(), values, binary=True)).fetchall()
    after = known = max(after, 0)
    horizon = await read_horizon(connection)
    while known < min(horizon, until):
        known = horizon
        events = await events_at(connection, range(after + 1, min(horizon, until) + 1))
        again, bound = with_archived_events(query, values, events, beyond=horizon)
        cursor = await connection.execute(again.encode(), bound, prepare=False, binary=True)
        rows = await cursor.fetchall()
        horizon = await read_horizon(connection)
    return rows


async def next_events(
    connection: AsyncConnection, after: int, limit: int, size: int
) -> list[EventRow]:
    """The next events of the log, as `READ` has them.

    Raises:
        Damaged: a file is missing or damaged; `file` names it.
        ArchiveAway: the archive cannot be reached.
    """
    cursor = await connection.execute(READ, (after, after, limit, size), binary=True)
    found = [EventRow(*row) for row in await cursor.fetchall()]
    if found or after >= (horizon := await read_horizon(connection)):
        return found
    for row in await events_at(connection, range(after + 1, min(after + limit, horizon) + 1)):
        found.append(row)
        size -= len(row.data)
        if size <= 0:
            return found
    if len(found) < limit:
        found += await next_events(connection, horizon, limit - len(found), size)
    return found


async def history_of(
    connection: AsyncConnection, stream: str, after: int, until: int, limit: int
) -> list[EventRow]:
    """The events of one stream with versions in (after, until], in order, at most `limit`.

    Raises:
        Damaged: a file is missing or damaged; `file` names it.
        ArchiveAway: the archive cannot be reached.
    """
    values, bounds = (stream, after, until, limit), Versions(after, min(until, after + limit))
    rows = await fetch_of_streams(connection, HISTORY, values, [stream], versions={stream: bounds})
    return [EventRow(*row) for row in rows]


async def events_between(
    connection: AsyncConnection,
    after: int,
    until: int,
    types: Sequence[str] | None,
    share: tuple[int, int] | None,
) -> list[EventRow]:
    """The events in (after, until], of some types or of all, of all streams or of one of n shares of them.

    Raises:
        Damaged: a file is missing or damaged; `file` names it.
        ArchiveAway: the archive cannot be reached.
    """
    query, values = SPAN, [after, until, *(share or ())]
    if share is not None:
        query += OF_SHARE
    if types is not None:
        query += OF_TYPES
        values.append(list(types))
    cursor = await connection.execute(query + IN_ORDER, values, binary=True)
    rows = [EventRow(*row) for row in await cursor.fetchall()]
    horizon = await read_horizon(connection)
    if after >= horizon:
        return rows
    events = await events_at(connection, range(after + 1, min(until, horizon) + 1))
    if types is not None:
        wanted = frozenset(types)
        events = [row for row in events if row.type in wanted]
    if share is not None:
        streams = list({row.stream for row in events})
        cursor = await connection.execute(STREAMS_OF_SHARE, (streams, *share))
        of_share = {row[0] for row in await cursor.fetchall()}
        events = [row for row in events if row.stream in of_share]
    return events + [row for row in rows if row.position > horizon]


async def read_horizon(connection: AsyncConnection) -> int:
    """The position up to which all events are in files; some of them are in the table, too."""
    [(horizon,)] = await (await connection.execute(HORIZON, binary=True)).fetchall()
    return int(horizon)


async def events_at(connection: AsyncConnection, positions: Sequence[int]) -> list[EventRow]:
    """The events at positions that grow, each of which is in a file.

    Raises:
        Damaged: a file is missing or damaged; `file` names it.
        ArchiveAway: the archive cannot be reached.
    """
    if not positions:
        return []
    cursor = await connection.execute(RANGES, (positions[0], positions[-1]), binary=True)
    rows = await cursor.fetchall()
    return await run_in_archive_thread(read_events, rows, positions)


def positions_among(archived: Rows, versions: Mapping[str, Versions] = NO_BOUNDS) -> Iterator[int]:
    """Which positions are needed of what `OF_STREAMS` has found.

    Raises:
        Damaged: it is not what was written.
    """
    for stream, first, last, encoded in archived:
        positions = _positions(stream, last - first + 1, encoded)
        yield from versions[stream].among(first, positions) if stream in versions else positions


async def _events_of(
    connection: AsyncConnection,
    archived: Rows,
    versions: Mapping[str, Versions],
    unreadable: dict[str, Unreadable] | None,
) -> list[EventRow]:
    """The events of what `OF_STREAMS` has found, of one stream after the other where not all can be read."""
    try:
        return await events_at(connection, sorted(positions_among(archived, versions)))
    except Unreadable as error:
        if unreadable is None:
            raise
        streams = [list(rows) for _, rows in groupby(archived, key=itemgetter(0))]
        if len(streams) == 1:
            error.parties = await _parties(connection, streams[0][0][0])
            unreadable[streams[0][0][0]] = error
            return []
    found = [await _events_of(connection, rows, versions, unreadable) for rows in streams]
    return sorted(chain(*found))


async def _parties(connection: AsyncConnection, stream: str) -> tuple[str | None, str | None]:
    row = await (await connection.execute(PARTIES, (stream,), binary=True)).fetchone()
    with suppress(TypeError, ValueError, AttributeError):  # not what it should be
        known = orjson.loads(row[0]) if row else {}
        return known.get("customer"), known.get("provider")
    return None, None


def _positions(stream: str, number: int, encoded: bytes) -> list[int]:
    with suppress(ValueError):
        if len(positions := positions_of(encoded)) == number:
            return positions
    raise Damaged(
        f"Where the archived events of {stream} are cannot be read.",
        reason="the table has other versions of them than positions",
        stream=stream,
    )


async def _fetch_with_archived(
    connection: AsyncConnection, query: str, values: Values, streams: Array, prepare: bool | None
) -> tuple[Rows, Rows]:
    """The rows of a query, and which events of these streams had left the table by the end of it."""
    async with connection.pipeline():
        found = await connection.execute(query.encode(), values, prepare=prepare, binary=True)
        archived = await connection.execute(OF_STREAMS, (streams,), binary=True)
    return await found.fetchall(), await archived.fetchall()
