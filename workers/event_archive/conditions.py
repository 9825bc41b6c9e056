"""The conditions for archiving a range of positions: its events are old, and every reader has read it. And the executions whose
events may then leave the table: those at rest that no legal hold keeps.
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
# A reader that has not read the whole range yet. Later reads of the range are served from the file.
BEHIND = """SELECT 'the view ' || view FROM bookmarks WHERE position < %(last)s
    UNION ALL SELECT 'what calls webhooks' FROM webhook_head WHERE position < %(last)s
    UNION ALL SELECT 'the webhook ' || webhook FROM webhook_progress WHERE position < %(last)s
    UNION ALL (SELECT 'the webhook ' || webhook FROM webhook_deliveries
        WHERE state = 'waiting' AND position <= %(last)s LIMIT 1)
    UNION ALL SELECT 'the tree' FROM audit_head WHERE size < %(last)s
    UNION ALL SELECT 'a move of the log' FROM log_move WHERE step NOT IN ('finished', 'taken back')
    LIMIT 1"""
# The executions that have an event in the range, or were kept in the table by an earlier one, and have no event after it, with
# all their events in the table.
QUIET = """SELECT e.originator_id, min(e.originator_version), max(e.originator_version),
        array_agg(e.notification_id ORDER BY e.originator_version),
        min(e.meta) FILTER (WHERE e.originator_version = 1)
    FROM (SELECT DISTINCT originator_id FROM events WHERE notification_id >= %(first)s
            AND notification_id <= %(last)s AND originator_id LIKE 'execution/%%'
            UNION SELECT unnest(kept) FROM event_archives) AS s
        JOIN events AS e USING (originator_id)
    GROUP BY e.originator_id HAVING max(e.notification_id) <= %(last)s ORDER BY e.originator_id"""


class Range(NamedTuple):
    """The positions from `first` to `last`."""

    first: int
    last: int

    @property
    def values(self) -> dict[str, int]:
        """The values of the statements about a range."""
        return self._asdict()


class Quiet(NamedTuple):
    """A stream without an event after the range: the first and the last version in the table, the positions of its events there,
    and the `meta` of its first event, if that is among them.
    """

    stream: str
    first: int
    last: int
    positions: Sequence[int]
    meta: str | None

    @property
    def parties(self) -> str | None:
        """The parties in the `meta` of its first event, as JSON."""
        return parties_in(self.meta)


async def next_range(connection: AsyncConnection, events: int, before: datetime) -> Range | None:
    """The next range of so many events, if all its events were recorded before a time; else None."""
    row = await (await connection.execute(NEXT, {"events": events})).fetchone()
    if row is None or row[1] is None or row[1] >= before or row[2] < row[0] + events:
        return None
    return Range(row[0], row[0] + events - 1)


async def require_read(connection: AsyncConnection, range_: Range) -> None:
    """Check that every reader has read all of a range. Raises NotRemoved."""
    row = await (await connection.execute(BEHIND, range_.values)).fetchone()
    if row is not None:
        raise NotRemoved("waiting", f"{row[0]} is not beyond it")


async def quiet_streams(connection: AsyncConnection, range_: Range) -> list[Quiet]:
    """The streams without an event after a range, which may leave the table with it.

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
    """The streams that no hold keeps, as of a position of the log, and the holds that keep other streams."""

    streams: Sequence[Quiet]
    position: int
    holds: Sequence[Holding]


async def leaving(connection: AsyncConnection, range_: Range, streams: Sequence[Quiet]) -> Leaving:
    """Find out which streams no hold keeps.

    Raises:
        NotRemoved: it is not known yet what holds keep.
    """
    ids = [aggregate_id(stream.stream) for stream in streams]
    values: dict[str, Any] = {"executions": ids}
    query = "SELECT unnest(%(executions)s::text[])"
    checked = await holds_among(connection, range_.last, query, values)
    require_known(checked)
    kept = await find_held(connection, query, values) if checked.holds else frozenset()
    free = [stream for stream in streams if aggregate_id(stream.stream) not in kept]
    return Leaving(free, checked.position, checked.holds)
