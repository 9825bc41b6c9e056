"""The head of the log, and whether the log still has the last event that this process has seen.

It lacks that event after a failover that lost commits, or once a backup was restored: its head is lower, or it has other
events at positions that were seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from psycopg import AsyncConnection

from domain.eventlog.archive.archived_queries import next_events
from domain.eventlog.codec import EventRow
from domain.eventlog.queries import READ

# The head with the time of its event, if the event that was seen last is in the log. Times never fall, so two diverged
# pasts of one log never have an event with the same time at the same position.
HEAD = """SELECT position, (SELECT at FROM events WHERE notification_id = position), log_id
    FROM head WHERE %b::bigint = 0 OR EXISTS (
        SELECT FROM events WHERE notification_id = %b AND at = %b)
        OR EXISTS (SELECT FROM event_archives WHERE last >= %b)"""
FOLLOW = f"""SELECT position, -1::bigint, at, log_id, '', '', ''::bytea
    FROM ({HEAD}) AS head (position, at, log_id) UNION ALL ({READ})"""
"""The head, in a row of its own with the version -1, and the next page of events, both of one moment."""
RENEW = """UPDATE head SET log_id = gen_random_uuid() WHERE log_id = %b
    AND NOT EXISTS (SELECT FROM events WHERE notification_id = %b AND at = %b)
    AND NOT EXISTS (SELECT FROM event_archives WHERE last >= %b)"""
NOW = "SELECT position, at, log_id FROM head"


class LogDiverged(Exception):
    """The log no longer has the event that this process has seen last. `Tail` (`api/streaming/log/tail.py`) catches it."""


class Head(NamedTuple):
    """The position and time of the last event, and the id of the log; the time is None where there is no event."""

    position: int
    at: datetime | None
    log_id: str


class LastSeen:
    """The position and time of the last event that this process has written or read."""

    def __init__(self) -> None:
        self.position = 0
        self.at = datetime.fromtimestamp(0, UTC)

    def note(self, position: int, at: datetime) -> None:
        """Store the position and time of an event, if it is later than the last one."""
        if position > self.position:
            self.position, self.at = position, at

    def is_followed_by(self, position: int, at: datetime) -> bool:
        """Whether an append after this event certainly continues the log that was seen.

        Otherwise the log may have diverged. Then the append must not be noted here, so that the next read of the log still
        finds the divergence.
        """
        return self.position == 0 or (position, at) == (self.position, self.at)

    @property
    def values(self) -> tuple[int, int, datetime, int]:
        """The values of the query `HEAD`."""
        return self.position, self.position, self.at, self.position


async def read_head(connection: AsyncConnection, seen: LastSeen) -> Head:
    """The head of the log.

    Raises:
        LogDiverged: the log no longer has the event that was seen last.
    """
    row = await (await connection.execute(HEAD, seen.values, binary=True)).fetchone()
    if row is None:
        raise LogDiverged
    return _note(seen, Head(*row))


async def read_events_and_head(
    connection: AsyncConnection, seen: LastSeen, after: int, limit: int, size: int
) -> tuple[Head, Sequence[EventRow]]:
    """The head of the log, and the events after a position, as `Store.read` returns them.

    Raises:
        LogDiverged: the log no longer has the event that was seen last.
    """
    values = *seen.values, after, after, limit, size
    cursor = await connection.execute(FOLLOW, values, binary=True)
    head, rows = None, list[EventRow]()
    for row in await cursor.fetchall():
        if row[1] < 0:
            head = Head(row[0], row[2], row[3])
        else:
            rows.append(EventRow(*row))
    if head is None:
        raise LogDiverged
    if not rows and head.position > after:  # the events are archived
        rows = await next_events(connection, after, limit, size)
    return _note(seen, head), rows


async def read_head_unchecked(connection: AsyncConnection) -> Head:
    """The head of the log, without a check that it has the event that was seen last."""
    row = await (await connection.execute(NOW, binary=True)).fetchone()
    if row is None:
        raise LookupError("the row `head` is lost")
    return Head(*row)


async def renew_diverged_log_id(connection: AsyncConnection, seen: LastSeen, log_id: str) -> None:
    """Give the log a new id, if it still has the id `log_id`, and lacks the event that was seen last. If several processes
    call this, the first one gives the id.
    """
    await connection.execute(RENEW, (log_id, seen.position, seen.at, seen.position))


def _note(seen: LastSeen, head: Head) -> Head:
    if head.at is not None:
        seen.note(head.position, head.at)
    return head
