"""The days of log lines in the table: which are past, what lines they have, and how they are dropped.

The day of a line is that of its recording, in UTC. All lines of a day are in one partition: its own, or one that it
shares with other days.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, LiteralString, NamedTuple

from psycopg import AsyncConnection, Connection
from psycopg.sql import SQL, Composed, Identifier

from domain.retention.archived_day import ArchiveFile
from projections.log_lines.archive.parquet import Content

PREFIX = "log_lines_"
FORMER = "log_lines_before"
"""The partition with the lines that a log had before lines were partitioned by day."""
SHARED = (FORMER, "log_lines_rest")
"""The partitions that several days share."""

PARTITIONS = """SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'log_lines'::regclass ORDER BY relname"""
DAYS_IN = SQL(
    """SELECT DISTINCT CAST(at AT TIME ZONE 'UTC' AS date) FROM {partition} WHERE at < %s"""
)
OF_DAY = "at >= %(begin)s AND at < %(end)s"
COUNTED = f"SELECT count(*) FROM log_lines WHERE {OF_DAY}"
NEXT = f"SELECT min(id) FROM log_lines WHERE {OF_DAY} AND id > %(after)s"
MICROSECONDS = "CAST(date_part('epoch', {}) * 1000000 AS bigint)"
"""SQL for a time in microseconds since 1970: exact for about two hundred years, and three times as fast as `extract`."""
OCCURRED, RECORDED = MICROSECONDS.format("occurred_at"), MICROSECONDS.format("at")
EXPORTED = f"""COPY (SELECT id, execution, {OCCURRED}, {RECORDED}, level, step, sealed FROM log_lines
    WHERE {OF_DAY} AND id > %(after)s ORDER BY id) TO STDOUT (FORMAT csv)"""
CONTENT = f"""SELECT count(*), coalesce(sum(CAST(CAST('x' || left(md5(concat_ws('|', id, {OCCURRED},
        {RECORDED}, execution, level, sealed, step)), 15) AS bit(60)) AS bigint)), 0)
    FROM log_lines WHERE {OF_DAY} AND id >= %(first)s AND id <= %(last)s"""
"""The number of lines and the sum of their digests in the table, comparable with the `Content` of a file."""
LIVE = "SELECT file FROM log_archives WHERE day = %s"
STORE_COUNTS = f"""INSERT INTO log_archive_lines
    SELECT execution, %(file)s, count(*), min(occurred_at), max(occurred_at) FROM log_lines
    WHERE {OF_DAY} AND id >= %(first)s AND id <= %(last)s GROUP BY execution"""
STORE_FILE = """INSERT INTO log_archives
    VALUES (%(file)s, %(day)s, %(first)s, %(last)s, %(lines)s, %(bytes)s, %(digest)s, %(at)s)"""
DELETE = f"DELETE FROM log_lines WHERE {OF_DAY} AND id >= %(first)s AND id <= %(last)s"
EXISTS = "SELECT to_regclass(%s) IS NOT NULL"
LOCKED = SQL("LOCK TABLE ONLY {} IN SHARE ROW EXCLUSIVE MODE")
IS_EMPTY = SQL("SELECT NOT EXISTS (SELECT FROM ONLY {})")
DROP = "SELECT drop_log_partition(%s)"


class Changed(Exception):
    """The table does not have the same lines of a day as its files, because a line was recorded late."""


class Day(NamedTuple):
    """A day, and the partition that has its lines."""

    day: date
    partition: str

    @property
    def alone(self) -> bool:
        """Whether the partition has no lines of other days."""
        return self.partition not in SHARED

    @property
    def bounds(self) -> dict[str, datetime]:
        """The `begin` of the day (inclusive) and its `end` (exclusive)."""
        begin = datetime.combine(self.day, time(), UTC)
        return {"begin": begin, "end": begin + timedelta(days=1)}


async def days_before(connection: AsyncConnection, until: date) -> list[Day]:
    """Return the days before `until` that have a partition of their own, or lines in a shared one."""
    partitions = [row[0] for row in await (await connection.execute(PARTITIONS)).fetchall()]
    days = [
        Day(datetime.strptime(name, f"{PREFIX}%Y%m%d").date(), name)  # noqa: DTZ007 - it is a day
        for name in partitions
        if name not in SHARED
    ]
    end = datetime.combine(until, time(), UTC)
    for name in (name for name in partitions if name in SHARED):
        query = DAYS_IN.format(partition=Identifier(name))
        days += [
            Day(row[0], name) for row in await (await connection.execute(query, (end,))).fetchall()
        ]
    return sorted(day for day in days if day.day < until)


async def count_lines(connection: AsyncConnection, day: Day) -> int:
    """Return the number of lines that a day has in the table."""
    [(lines,)] = await (await connection.execute(COUNTED, day.bounds)).fetchall()
    return int(lines)


async def next_line(connection: AsyncConnection, day: Day, after: int) -> int | None:
    """Return the id of the first line of a day after another id; None if there is none."""
    cursor = await connection.execute(NEXT, {**day.bounds, "after": after})
    [(first,)] = await cursor.fetchall()
    return None if first is None else int(first)


async def live_files(connection: AsyncConnection, day: Day) -> set[str]:
    """Return the files of a day whose lines have been removed from the table."""
    return {row[0] for row in await (await connection.execute(LIVE, (day.day,))).fetchall()}


def content_of(connection: Connection[Any], day: Day, first: int, last: int) -> Content:
    """Return the content of the table for a day, of the lines with ids in [first, last]."""
    values = {**day.bounds, "first": first, "last": last}
    [(lines, total)] = connection.execute(CONTENT, values).fetchall()
    return Content(lines, int(total))


async def store_files(
    connection: AsyncConnection, day: Day, files: Sequence[ArchiveFile], at: datetime
) -> None:
    """Record files as those with the lines of a day, in the transaction in which the lines are removed from the table.

    Raises:
        Changed: the table has other lines of the day than the files.
    """
    for file in files:
        values = {**vars(file), **day.bounds, "day": day.day, "at": at}
        await connection.execute(STORE_COUNTS, values)
        await connection.execute(STORE_FILE, values)
        if not day.alone and (await connection.execute(DELETE, values)).rowcount != file.lines:
            raise Changed
    if day.alone:
        # The lock keeps new lines out of the partition, but does not block readers.
        await connection.execute(LOCKED.format(Identifier(day.partition)))
        if await count_lines(connection, day) != sum(file.lines for file in files):
            raise Changed


async def drop(connection: AsyncConnection, day: Day) -> None:
    """Drop the partition of a day, in the caller's transaction; a shared partition is kept."""
    if day.alone:
        await connection.execute(DROP, (day.partition,))


async def drop_former(connection: AsyncConnection) -> None:
    """Drop the partition `FORMER` if it is empty, in the caller's transaction."""
    name = Identifier(FORMER)
    if await _is(connection, EXISTS, FORMER) and await _is(connection, IS_EMPTY.format(name)):
        await connection.execute(LOCKED.format(name))
        if await _is(connection, IS_EMPTY.format(name)):
            await connection.execute(DROP, (FORMER,))


async def _is(connection: AsyncConnection, query: LiteralString | Composed, *values: str) -> bool:
    [(found,)] = await (await connection.execute(query, values)).fetchall()
    return bool(found)
