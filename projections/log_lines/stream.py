"""Reads the log lines of one execution in the order of their recording, after a cursor."""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from heapq import merge
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.eventlog.store import Store
from projections.log_lines.model import OF_SERVER, LogFilter, StoredLine, filter_sql, line_document
from projections.log_lines.tail import LARGEST, LAST

PAGE = 500
"""Lines that are read at a time."""
IDS = 20_000
"""Ids of lines that are read at a time."""
NEAR = 20_000
"""The number of newest lines, of all executions, up to which scanning them is faster than using the index of the
execution."""
CURSOR = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")

NOTES = """SELECT occurred_at, 0, id, at, level, step, said, sealed FROM log_notes
    WHERE execution = %s AND id > %s {only} ORDER BY id LIMIT %s"""
# OFFSET 0 keeps PostgreSQL from reading the lines of all executions along the index of ids.
AMONG_ALL = """SELECT id FROM (SELECT * FROM log_lines WHERE id > %s AND id <= %s OFFSET 0) AS near
    WHERE execution = %s {only} ORDER BY id LIMIT %s"""
OF_ITS_OWN = """SELECT id FROM (SELECT id FROM log_lines
        WHERE id > %s AND id <= %s AND execution = %s {only} OFFSET 0) AS its
    ORDER BY id LIMIT %s"""
LINES = """SELECT occurred_at, 1, id, at, level, step, NULL, sealed FROM (
        SELECT *, sum(octet_length(sealed)) OVER (ORDER BY id) - octet_length(sealed) AS before
        FROM log_lines WHERE id = ANY(%s)) AS page
    WHERE before < %s ORDER BY id"""
FIRST_SINCE = """SELECT (SELECT min(id) FROM log_notes WHERE execution = %(id)s AND at >= %(at)s),
    (SELECT min(id) FROM log_lines WHERE execution = %(id)s AND at >= %(at)s)"""
NEWEST = """SELECT (SELECT max(id) FROM log_notes WHERE execution = %(id)s),
    (SELECT max(id) FROM log_lines WHERE execution = %(id)s)"""

HEADS = f"SELECT (SELECT position FROM head), ({LAST})"


class LogCursor(NamedTuple):
    """A cursor: after the note of the server with this position, and after the line of a worker with this id.

    Notes and lines each become visible in the order of their numbers, so none is ever added before a cursor.
    """

    note: int = 0
    line: int = 0

    def __str__(self) -> str:
        return f"{self.note}-{self.line}"

    @classmethod
    def read(cls, text: str) -> LogCursor:
        """Return the cursor from its text. Raises ValueError if the text is no cursor."""
        found = CURSOR.fullmatch(text)
        if found is None:
            raise ValueError("a cursor of log lines is like 17-3041")
        return cls(int(found[1]), int(found[2]))

    def after(self, line: StoredLine) -> LogCursor:
        """Return the cursor after `line`, which is the next line after this cursor."""
        if line.origin == OF_SERVER:
            return self._replace(note=line.id)
        return self._replace(line=line.id)


class RecordedLine(NamedTuple):
    """A line as clients see it, and the cursor after the line."""

    cursor: LogCursor
    line: dict[str, Any]


class LogLineReader:
    """Reads the lines of workers and the notes of the server by cursors."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def since(self, execution: str, at: datetime) -> LogCursor:
        """Return the cursor before the first line that was recorded at a time or later."""
        notes, lines = await self._one(FIRST_SINCE, {"id": execution, "at": at})
        newest = await self.newest(execution)
        return LogCursor(
            newest.note if notes is None else notes - 1,
            newest.line if lines is None else lines - 1,
        )

    async def exists(self, cursor: LogCursor) -> bool:
        """Whether a cursor may be genuine: it is not ahead of the newest event and line of the whole log."""
        note, line = await self._one(HEADS, {})
        return cursor.note <= int(note) and cursor.line <= int(line)

    async def newest(self, execution: str) -> LogCursor:
        """Return the cursor after all present lines of an execution."""
        notes, lines = await self._one(NEWEST, {"id": execution})
        return LogCursor(notes or 0, lines or 0)

    async def pages(
        self, execution: str, only: LogFilter, after: LogCursor
    ) -> AsyncGenerator[list[RecordedLine]]:
        """Yield the lines after a cursor that pass the filter, in pages that are never empty."""
        stream = f"execution/{execution}"
        ids: list[int] = []
        more = True
        while more or ids:
            async with self._store.reader() as connection:
                if not ids:
                    ids = await _ids(connection, execution, only, after)
                    more = len(ids) == IDS
                lines = await _lines(connection, ids[:PAGE])
                notes = await _notes(connection, execution, only, after)
            ids = ids[bisect(ids, lines[-1].id) if lines else PAGE :]
            if ids:
                notes = [note for note in notes if note.at <= lines[-1].at]
            more = more or len(notes) == PAGE
            key = (await self._store.keys([stream]))[stream]
            page: list[RecordedLine] = []
            for line in merge(notes, lines, key=lambda each: each.at):
                after = after.after(line)
                page.append(RecordedLine(after, line_document(line, key)))
            if page:
                yield page

    async def _one(self, query: str, values: dict[str, Any]) -> tuple[Any, ...]:
        async with self._store.reader() as connection:
            [row] = await (await connection.execute(query, values)).fetchall()
        return tuple(row)


async def _ids(
    connection: AsyncConnection, execution: str, only: LogFilter, after: LogCursor
) -> list[int]:
    [(last,)] = await (await connection.execute(LAST)).fetchall()
    conditions, values = _conditions(only)
    query = AMONG_ALL if last - after.line <= NEAR else OF_ITS_OWN
    bounds = (after.line, last, execution)
    cursor = await connection.execute(
        query.format(only=conditions), [*bounds, *values, IDS], prepare=False
    )
    return [row[0] for row in await cursor.fetchall()]


async def _lines(connection: AsyncConnection, ids: Sequence[int]) -> list[StoredLine]:
    if not ids:
        return []
    cursor = await connection.execute(LINES, (list(ids), LARGEST))
    return [StoredLine(*row) for row in await cursor.fetchall()]


async def _notes(
    connection: AsyncConnection, execution: str, only: LogFilter, after: LogCursor
) -> list[StoredLine]:
    conditions, values = _conditions(only)
    query = NOTES.format(only=conditions)
    cursor = await connection.execute(query, [execution, after.note, *values, PAGE], prepare=False)
    return [StoredLine(*row) for row in await cursor.fetchall()]


def _conditions(only: LogFilter) -> tuple[str, list[Any]]:
    conditions, values = filter_sql(only)
    return "".join(f" AND {condition}" for condition in conditions), values
