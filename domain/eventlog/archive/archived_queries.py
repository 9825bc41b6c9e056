"""Runs queries about events of which some are in files of the archive, as if all were in the table.

A query names the table `events`. It is run as it is first. If it concerns events that have left the table, it is run again
with the rows of the archive as values beside those of the table. Archived events never return to the table, so it is enough
to find out after the query which ones have left.
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
AT_ONCE, ANY_NUMBER = 2_000, 2**62
"""Events of one read of an archive, which has little time, where the page of a rebuild has more of them; otherwise."""
HORIZON = "SELECT coalesce(max(last), 0) FROM event_archives"

Rows = list[tuple[Any, ...]]


class Versions(NamedTuple):
    """The versions in (after, until] of a stream that a query needs, or only the `last` so many of them."""

    after: int
    until: int
    last: int = 2**62

    def among(self, first: int, positions: Sequence[int]) -> Sequence[int]:
        """The needed ones of `positions`, which are those of the versions from `first` on."""
        needed = positions[max(self.after + 1 - first, 0) : max(self.until + 1 - first, 0)]
        return needed[-self.last :]


NO_BOUNDS: Mapping[str, Versions] = {}


def bounds_after(stream_versions: Sequence[tuple[str, int]], limit: int) -> Mapping[str, Versions]:
    """The bounds of a query for `limit` events after a version of each stream; none where a stream is named twice."""
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
    """Run a query that concerns only events of these streams, and, for streams in `versions`, only those versions.

    If `are_whole` returns True for the rows from the table, nothing of these streams is archived, and the archive is not
    queried: events leave the table in order, so the first event of a stream shows that. The errors of streams that cannot
    be read are added to `unreadable`, and only their rows from the table are returned.

    Raises:
        Damaged: a file is missing or damaged, and `unreadable` was left out; `file` names the file.
        ArchiveAway: the archive cannot be reached, and `unreadable` was left out.
    """
    stream_array = array("text", list(dict.fromkeys(streams)))
    if are_whole is None:
        rows, archived = await _fetch_with_archived(
            connection, query, values, stream_array, prepare
        )
    else:
        found = await connection.execute(query.encode(), values, prepare=prepare, binary=True)
        if are_whole(rows := await found.fetchall()):
            return rows
        found = await connection.execute(OF_STREAMS, (stream_array,), binary=True)
        archived = await found.fetchall()
    while archived:
        events = await _read_archived(connection, archived, versions, unreadable)
        extended = with_archived_events(query, values, events)
        before = archived
        rows, archived = await _fetch_with_archived(connection, *extended, stream_array, False)
        if archived == before:
            break
    return rows


async def fetch_of_span(
    connection: AsyncConnection,
    query: str,
    values: Values,
    after: int,
    until: int,
    *,
    prepare: bool | None = None,
    at_once: int = ANY_NUMBER,
) -> Rows:
    """Run a query that concerns only events with positions in (after, until]; `at_once` as for `events_at`.

    Raises:
        Damaged: a file is missing or damaged; `file` names it.
        ArchiveAway: the archive cannot be reached.
    """
    found = await connection.execute(query.encode(), values, prepare=prepare, binary=True)
    rows = await found.fetchall()
    after = known = max(after, 0)
    horizon = await read_horizon(connection)
    while known < min(horizon, until):
        known = horizon
        positions = range(after + 1, min(horizon, until) + 1)
        events = await events_at(connection, positions, at_once)
        again, bound = with_archived_events(query, values, events, beyond=horizon)
        cursor = await connection.execute(again.encode(), bound, prepare=False, binary=True)
        rows = await cursor.fetchall()
        horizon = await read_horizon(connection)
    return rows


async def next_events(
    connection: AsyncConnection, after: int, limit: int, size: int
) -> list[EventRow]:
    """The next events of the log, as the query `READ` returns them.

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
    """The events with positions in (after, until], of all types or of some, of all streams or of one of n shares of them.

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
    events = await events_at(connection, range(after + 1, min(until, horizon) + 1), AT_ONCE)
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
    """The horizon: the position up to which files have all events. Some of these events are in the table, too."""
    [(horizon,)] = await (await connection.execute(HORIZON, binary=True)).fetchall()
    return int(horizon)


async def events_at(
    connection: AsyncConnection, positions: Sequence[int], at_once: int = ANY_NUMBER
) -> list[EventRow]:
    """The archived events at ascending positions; each read of the archive asks for `at_once` at most.

    Several reads take longer than the time for which a connection of a request is lent.

    Raises:
        Damaged: a file is missing or damaged; `file` names it.
        ArchiveAway: the archive cannot be reached.
    """
    found: list[EventRow] = []
    for start in range(0, len(positions), at_once):
        part = positions[start : start + at_once]
        cursor = await connection.execute(RANGES, (part[0], part[-1]), binary=True)
        found += await run_in_archive_thread(read_events, await cursor.fetchall(), part)
    return found


def positions_among(archived: Rows, versions: Mapping[str, Versions] = NO_BOUNDS) -> Iterator[int]:
    """The positions that are needed of rows of `OF_STREAMS`.

    Raises:
        Damaged: the positions in a row cannot be decoded.
    """
    for stream, first, last, encoded in archived:
        positions = _positions(stream, last - first + 1, encoded)
        yield from versions[stream].among(first, positions) if stream in versions else positions


async def _read_archived(
    connection: AsyncConnection,
    archived: Rows,
    versions: Mapping[str, Versions],
    unreadable: dict[str, Unreadable] | None,
) -> list[EventRow]:
    """The events that rows of `OF_STREAMS` name; after an error each stream is read by itself, to find those at fault."""
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
    found = [await _read_archived(connection, rows, versions, unreadable) for rows in streams]
    return sorted(chain(*found))


async def _parties(connection: AsyncConnection, stream: str) -> tuple[str | None, str | None]:
    row = await (await connection.execute(PARTIES, (stream,), binary=True)).fetchone()
    with suppress(TypeError, ValueError, AttributeError):  # damaged
        known = orjson.loads(row[0]) if row else {}
        return known.get("customer"), known.get("provider")
    return None, None


def _positions(stream: str, number: int, encoded: bytes) -> list[int]:
    with suppress(ValueError):
        if len(positions := positions_of(encoded)) == number:
            return positions
    raise Damaged(
        f"The positions of the archived events of {stream} cannot be read.",
        reason="the table has other versions of them than positions",
        stream=stream,
    )


async def _fetch_with_archived(
    connection: AsyncConnection, query: str, values: Values, streams: Array, prepare: bool | None
) -> tuple[Rows, Rows]:
    """The rows of a query, and the rows of `OF_STREAMS` after it: which events of the streams have left the table."""
    async with connection.pipeline():
        found = await connection.execute(query.encode(), values, prepare=prepare, binary=True)
        archived = await connection.execute(OF_STREAMS, (streams,), binary=True)
    return await found.fetchall(), await archived.fetchall()
