"""Whether a range of positions may be archived: all in it is old, and all have read it; and what of it leaves the table: what
rests, unless a legal hold keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.eventlog.access.parties import parties_in
from domain.model import aggregate_id
from projections.log_lines.archive.holds import Holding, find_held, holds_among
from workers.day_retention import NotRemoved, require_known

NEXT = """SELECT a.last + 1, e.at, head.position FROM head,
        (SELECT coalesce(max(last), 0) AS last FROM event_archives) AS a
    LEFT JOIN events AS e ON e.notification_id = a.last + %(events)s"""
# Who has not read the whole range yet. What is read of it later comes from the file.
BEHIND = """SELECT 'the view ' || view FROM bookmarks WHERE position < %(last)s
    UNION ALL SELECT 'what calls webhooks' FROM webhook_head WHERE position < %(last)s
    UNION ALL SELECT 'the webhook ' || webhook FROM webhook_progress WHERE position < %(last)s
    UNION ALL (SELECT 'the webhook ' || webhook FROM webhook_deliveries
        WHERE state = 'waiting' AND position <= %(last)s LIMIT 1)
    UNION ALL SELECT 'the tree' FROM audit_head WHERE size < %(last)s
    UNION ALL SELECT 'a move of the log' FROM log_move WHERE step NOT IN ('finished', 'taken back')
    LIMIT 1"""
# The executions that have an event in a range, or were kept in a former one, and none after it, with all their events that are
# in the table.
QUIET = """SELECT e.originator_id, min(e.originator_version), max(e.originator_version),
        array_agg(e.notification_id ORDER BY e.originator_version),
        min(e.meta) FILTER (WHERE e.originator_version = 1)
    FROM (SELECT DISTINCT originator_id FROM events WHERE notification_id >= %(first)s
            AND notification_id <= %(last)s AND originator_id LIKE 'execution/%%'
            UNION SELECT unnest(kept) FROM event_archives) AS s
        JOIN events AS e USING (originator_id)
    GROUP BY e.originator_id HAVING max(e.notification_id) <= %(last)s ORDER BY e.originator_id"""


class Range(NamedTuple):
    """Positions from the first to the last one."""

    first: int
    last: int

    @property
    def values(self) -> dict[str, int]:
        """As statements name them."""
        return self._asdict()


class Quiet(NamedTuple):
    """A stream that had its last event in the range: the versions that are in the table, their positions, and what stands
    beside the first event, if that is among them.
    """

    stream: str
    first: int
    last: int
    positions: Sequence[int]
    meta: str | None

    @property
    def parties(self) -> str | None:
        """Whose it is, of what the first event says."""
        return parties_in(self.meta)


async def next_range(connection: AsyncConnection, events: int, before: datetime) -> Range | None:
    """The next range of so many events, if all of them were recorded before a time."""
    row = await (await connection.execute(NEXT, {"events": events})).fetchone()
    if row is None or row[1] is None or row[1] >= before or row[2] < row[0] + events:
        return None
    return Range(row[0], row[0] + events - 1)


async def require_read(connection: AsyncConnection, range_: Range) -> None:
    """Raises NotRemoved where somebody has not read all of a range yet."""
    row = await (await connection.execute(BEHIND, range_.values)).fetchone()
    if row is not None:
        raise NotRemoved("waiting", f"{row[0]} is not beyond it")


async def quiet_streams(connection: AsyncConnection, range_: Range) -> list[Quiet]:
    """The streams that leave the table with a range.

    Raises:
        LookupError: a stream lacks an event.
    """
    rows = await (await connection.execute(QUIET, range_.values)).fetchall()
    streams = [Quiet(*row) for row in rows]
    for stream in streams:
        if len(stream.positions) != stream.last - stream.first + 1:
            raise LookupError(f"{stream.stream} lacks an event up to version {stream.last}")
    return streams


class Leaving(NamedTuple):
    """The streams that no hold keeps, as of a position of the log, and which holds keep others."""

    streams: Sequence[Quiet]
    position: int
    holds: Sequence[Holding]


async def leaving(connection: AsyncConnection, range_: Range, streams: Sequence[Quiet]) -> Leaving:
    """Which of some streams may leave the table with a range.

    Raises:
        NotRemoved: that cannot be said yet.
    """
    ids = [aggregate_id(stream.stream) for stream in streams]
    values: dict[str, Any] = {"executions": ids}
    query = "SELECT unnest(%(executions)s::text[])"
    checked = await holds_among(connection, range_.last, query, values)
    require_known(checked)
    kept = await find_held(connection, query, values) if checked.holds else frozenset()
    free = [stream for stream in streams if aggregate_id(stream.stream) not in kept]
    return Leaving(free, checked.position, checked.holds)
