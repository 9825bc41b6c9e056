"""Log lines by the time they are of: what workers sent, and what the server notes on its own.

Lines are telemetry, not events. Those of workers are in `log_lines`, which the writer appends to and
no rebuild touches, as they are nowhere else; the server's follow from events and are in `log_notes`,
which is the projection. Those of workers of days that are past are in archive files. Readers get them by
time. Messages and contexts are sealed: to search in them, lines are opened one after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.errors import Invalid
from domain.eventlog.store import Store
from domain.json_forms import MILLISECOND
from projections.log_lines.archive.reader import ArchivedLines, FileOfLines, LineQuery, files_of
from projections.log_lines.model import (
    LineSortKey,
    LogFilter,
    StoredLine,
    filter_sql,
    line_document,
)

LATEST = 100
SEARCHED, SEARCHED_AT_ONCE = 5_000, 500
"""Lines that one request for a text opens at most, and between two moments for other requests."""
EARLIER = timedelta(days=1)
"""No line of an execution was recorded so long before its creation, by whichever clock."""
READ = """SELECT line.*, more.value FROM (SELECT {more} AS value) AS more LEFT JOIN (
        (SELECT occurred_at, 0 AS origin, id, at, level, step, said, sealed FROM log_notes
            WHERE {where} AND (occurred_at, 0, id) {beyond} (%s, %s, %s)
            ORDER BY occurred_at {direction}, id {direction} LIMIT %s)
        UNION ALL
        (SELECT occurred_at, 1 AS origin, id, at, level, step, NULL, sealed FROM log_lines
            WHERE {where} AND (occurred_at, 1, id) {beyond} (%s, %s, %s)
            ORDER BY occurred_at {direction}, id {direction} LIMIT %s)
    ) AS line ON true ORDER BY occurred_at {direction}, origin {direction}, id {direction} LIMIT %s"""
NOTHING_MORE = "NULL"
ARCHIVED = "(SELECT coalesce(sum(lines), 0) FROM log_archive_lines WHERE execution = %s)::bigint"
TOTAL = f"""SELECT (SELECT count(*) FROM log_lines WHERE execution = %s)
    + (SELECT count(*) FROM log_notes WHERE execution = %s) + {ARCHIVED}"""
ONE_MOMENT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
BEFORE_ALL, AFTER_ALL = LineSortKey(FIRST, -1, 0), LineSortKey(LAST, 2, 0)


class LogLinePage(NamedTuple):
    """Lines as clients see them, and the cursor of the next page, if any."""

    data: list[dict[str, Any]]
    next_cursor: str | None


class LogLinePages:
    """Reads the lines of workers together with the server's."""

    def __init__(self, store: Store, archive: ArchivedLines | None = None) -> None:
        self._store = store
        self._archive = archive

    async def read(
        self,
        execution: str,
        only: LogFilter = LogFilter(),  # noqa: B008 - a value, and one that cannot change
        *,
        descending: bool = False,
        limit: int = 50,
        cursor: str | None = None,
        archived: bool = False,
        created: datetime = FIRST,
    ) -> LogLinePage:
        """A page of lines, by the time they are of. Whether the execution exists is not asked; `created`
        is when that was, where it is known. Of a search the page ends where enough was searched, too.

        Raises:
            Invalid: the cursor is not one of these pages.
            Damaged: an archive file is missing or damaged.
            Overloaded: the archive cannot be reached, or the database is away.
        """
        sort_key = _decode_cursor(cursor) if cursor else AFTER_ALL if descending else BEFORE_ALL
        size = limit if only.text is None else max(limit, SEARCHED_AT_ONCE)
        stream = f"execution/{execution}"
        key = (await self._store.keys([stream]))[stream]
        wanted = _search(only.text)
        found: list[dict[str, Any]] = []
        for _ in range(1 if only.text is None else SEARCHED // size):
            reading = LineQuery(execution, only, sort_key, size + 1, descending)
            lines = await self._lines(reading, created, archived=archived)
            for line in lines[:size]:
                sort_key = LineSortKey.of(line)
                if wanted(opened := line_document(line, key)):
                    found.append(opened)
                if len(found) == limit:
                    break
            more = bool(lines) and LineSortKey.of(lines[-1]) != sort_key
            if not more or len(found) == limit:
                break
            await asyncio.sleep(0)
        return LogLinePage(found, _encode_cursor(sort_key) if more else None)

    async def latest(
        self, execution: str, limit: int = LATEST, created: datetime = FIRST
    ) -> tuple[list[dict[str, Any]], int]:
        """The last lines that are not archived, oldest first, and how many there are in all."""
        reading = LineQuery(execution, LogFilter(), AFTER_ALL, limit + 1, descending=True)
        stream = f"execution/{execution}"
        key = (await self._store.keys([stream]))[stream]
        async with self._store.reader() as connection:
            query, values = _page(reading, created, ARCHIVED)
            rows = await (await connection.execute(query, values, prepare=False)).fetchall()
            lines = _lines_of(rows)
            total = len(lines) + rows[0][-1]
            if len(lines) > limit:
                counted = await connection.execute(TOTAL, (execution, execution, execution))
                [(total,)] = await counted.fetchall()
        return [line_document(line, key) for line in reversed(lines[:limit])], total

    async def _lines(
        self, reading: LineQuery, created: datetime, *, archived: bool
    ) -> list[StoredLine]:
        """Lines in order, archived ones among them. A line that is on its way is in one of both."""
        async with self._store.reader() as connection:
            if not archived:
                return await _rows(connection, reading, created)
            async with connection.transaction():
                await connection.execute(ONE_MOMENT)
                rows = await _rows(connection, reading, created)
                files = await files_of(connection, reading.execution)
        return await self._together(rows, files, reading)

    async def _together(
        self, rows: list[StoredLine], files: list[FileOfLines], reading: LineQuery
    ) -> list[StoredLine]:
        if not files or self._archive is None:
            return rows
        lines = rows + await self._archive.lines(files, reading)
        return sorted(lines, key=LineSortKey.of, reverse=reading.descending)[: reading.limit]


async def _rows(
    connection: AsyncConnection, reading: LineQuery, created: datetime
) -> list[StoredLine]:
    query, values = _page(reading, created)
    return _lines_of(await (await connection.execute(query, values, prepare=False)).fetchall())


def _lines_of(rows: Sequence[Sequence[Any]]) -> list[StoredLine]:
    """Where there is no line, there is one row without."""
    return [StoredLine(*row[:-1]) for row in rows if row[0] is not None]


def _page(reading: LineQuery, created: datetime, more: str = NOTHING_MORE) -> tuple[str, list[Any]]:
    """A page of the tables, each row with one thing more. What the sort key says is said again in words
    that an index understands, and from when on lines were recorded, so that few partitions are read.
    """
    execution, only, sort_key, limit, descending = reading
    direction, beyond = ("DESC", "<") if descending else ("ASC", ">")
    parts = ["execution = %s", f"occurred_at {beyond}= %s"]
    values: list[Any] = [execution, sort_key.at]
    if created - FIRST > EARLIER:  # otherwise it is unknown, or there is no time so much earlier
        parts.append("at >= %s")
        values.append(created - EARLIER)
    chosen, filters = filter_sql(only)
    query = READ.format(
        more=more, direction=direction, beyond=beyond, where=" AND ".join([*parts, *chosen])
    )
    half = [*values, *filters, *sort_key, limit]
    counted = [execution] if "%s" in more else []
    return query, [*counted, *half, *half, limit]


def _search(text: str | None) -> Callable[[dict[str, Any]], bool]:
    """Whether a message has a text, in whichever case."""
    if text is None:
        return lambda _: True
    folded = text.casefold()
    return lambda line: folded in (line["message"] or "").casefold()


def _encode_cursor(sort_key: LineSortKey) -> str:
    return f"{(sort_key.at - FIRST) // MILLISECOND}.{sort_key.origin}.{sort_key.id}"


def _decode_cursor(cursor: str) -> LineSortKey:
    try:
        moment, origin, number = (int(part) for part in cursor.split(".") if len(part) < 20)
        if not number < 2**63:
            raise ValueError("it is out of range")
        return LineSortKey(FIRST + moment * MILLISECOND, origin, number)
    except (ValueError, OverflowError):
        raise Invalid.field("cursor", "must be `nextCursor` of a page of these log lines") from None
