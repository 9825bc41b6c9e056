"""Reads the log lines of an execution in the order of their times: those of workers, and the notes of the server.

Lines are telemetry, not events. Lines of workers are in the table `log_lines`, to which the writer appends; they exist
nowhere else, so no rebuild touches them. Notes of the server follow from events, and are in the projection `log_notes`.
Lines of workers of past days may be in archive files. Messages and contexts are sealed, so a search opens one line after
the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.errors import Invalid
from domain.eventlog.sessions import ONE_MOMENT
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
"""Lines that an execution's document shows."""
SEARCHED, SEARCHED_AT_ONCE = 5_000, 500
"""Lines that a search for a text opens: at most, and before it lets other requests run."""
EARLIER = timedelta(days=1)
"""No line is recorded so long before the creation of its execution, even if clocks differ."""
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
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
BEFORE_ALL, AFTER_ALL = LineSortKey(FIRST, -1, 0), LineSortKey(LAST, 2, 0)


class LogLinePage(NamedTuple):
    """A page of lines as clients see them, and the cursor of the next page, if any."""

    data: list[dict[str, Any]]
    next_cursor: str | None


class LogLinePages:
    """Reads pages of lines of workers and notes of the server."""

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
        """Return a page of lines in the order of their times. `created` is the time at which the execution was created,
        if known; it need not exist. A page of a search for a text also ends after `SEARCHED` lines.

        Raises:
            Invalid: the cursor is not that of such a page.
            Damaged: an archive file is missing or damaged.
            Overloaded: the archive or the database is unavailable.
        """
        sort_key = _decode_cursor(cursor) if cursor else AFTER_ALL if descending else BEFORE_ALL
        size = limit if only.text is None else max(limit, SEARCHED_AT_ONCE)
        stream = f"execution/{execution}"
        key = (await self._store.keys([stream]))[stream]
        has_text = _search(only.text)
        found: list[dict[str, Any]] = []
        for _ in range(1 if only.text is None else SEARCHED // size):
            reading = LineQuery(execution, only, sort_key, size + 1, descending)
            lines = await self._lines(reading, created, archived=archived)
            for line in lines[:size]:
                sort_key = LineSortKey.of(line)
                if has_text(opened := line_document(line, key)):
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
        """Return the last lines that are not archived, oldest first, and the number of all lines, archived ones included."""
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
        """Return lines in order, with archived ones if wanted. One snapshot is read, so a line that is being archived is
        found either in the table or in a file.
        """
        async with self._store.reader() as connection:
            if not archived:
                return await _rows(connection, reading, created)
            async with connection.transaction():
                await connection.execute(ONE_MOMENT)
                rows = await _rows(connection, reading, created)
                files = await files_of(connection, reading.execution)
        return await self._add_archived(rows, files, reading)

    async def _add_archived(
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
    """Return the lines in rows. Without lines, there is a single row that has none."""
    return [StoredLine(*row[:-1]) for row in rows if row[0] is not None]


def _page(reading: LineQuery, created: datetime, more: str = NOTHING_MORE) -> tuple[str, list[Any]]:
    """Return SQL for a page of lines, each row with the value of `more` at its end, and the values to bind.

    The condition on the sort key is repeated as a condition on `occurred_at` alone, which an index can use, and a lower
    limit on `at` is added, so that few partitions are read.
    """
    execution, only, sort_key, limit, descending = reading
    direction, beyond = ("DESC", "<") if descending else ("ASC", ">")
    parts = ["execution = %s", f"occurred_at {beyond}= %s"]
    values: list[Any] = [execution, sort_key.at]
    if created - FIRST > EARLIER:  # else it is unknown, or the difference is out of range
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
    """Return a function that tests whether the message of a line has a text, ignoring case."""
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
