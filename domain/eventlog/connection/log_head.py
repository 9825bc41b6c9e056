"""The head of the log, and whether the log still has the last event that this process has seen. It lacks that event after a
failover that lost commits, or once a backup was restored in its place: its head is lower, or it has other events at
positions that were seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from psycopg import AsyncConnection

from domain.eventlog.archive.archived_queries import next_events
from domain.eventlog.codec import EventRow
from domain.eventlog.queries import READ

# The head with the time of its event, if the event that was seen last is where it was. Times never fall, so two
# pasts of one log have no event of one time at one position.
HEAD = """SELECT position, (SELECT at FROM events WHERE notification_id = position), log_id
    FROM head WHERE %b::bigint = 0 OR EXISTS (
        SELECT FROM events WHERE notification_id = %b AND at = %b)
        OR EXISTS (SELECT FROM event_archives WHERE last >= %b)"""
FOLLOW = f"""SELECT position, -1::bigint, at, log_id, '', '', ''::bytea
    FROM ({HEAD}) AS head (position, at, log_id) UNION ALL ({READ})"""
"""The head in a row of its own, with the version -1, and the next page: both of one moment."""
RENEW = """UPDATE head SET log_id = gen_random_uuid() WHERE log_id = %b
    AND NOT EXISTS (SELECT FROM events WHERE notification_id = %b AND at = %b)
    AND NOT EXISTS (SELECT FROM event_archives WHERE last >= %b)"""
NOW = "SELECT position, at, log_id FROM head"


class LogDiverged(Exception):
    """The event that this process has seen last is not in the log any more."""


class Head(NamedTuple):
    """The end of the log, and which log it is; without a time where there is no event."""

    position: int
    at: datetime | None
    log_id: str


class LastSeen:
    """The last event that this process has written, or read: its position, and its time."""

    def __init__(self) -> None:
        self.position = 0
        self.at = datetime.fromtimestamp(0, UTC)

    def note(self, position: int, at: datetime) -> None:
        """Remember an event, if it is later than the last one."""
        if position > self.position:
            self.position, self.at = position, at

    def is_followed_by(self, position: int, at: datetime) -> bool:
        """Whether what is written after this event goes on with what was seen. Else what was seen may be lost, or stand
        elsewhere: who reads the log finds that out, as long as it is not forgotten here.
        """
        return self.position == 0 or (position, at) == (self.position, self.at)

    @property
    def values(self) -> tuple[int, int, datetime, int]:
        """As `HEAD` wants them."""
        return self.position, self.position, self.at, self.position


async def read_head(connection: AsyncConnection, seen: LastSeen) -> Head:
    """The end of the log.

    Raises:
        LogDiverged: what was seen is not in it.
    """
    row = await (await connection.execute(HEAD, seen.values, binary=True)).fetchone()
    if row is None:
        raise LogDiverged
    return _note(seen, Head(*row))


async def read_events_and_head(
    connection: AsyncConnection, seen: LastSeen, after: int, limit: int, size: int
) -> tuple[Head, Sequence[EventRow]]:
    """The end of the log, and the next events, as `Store.read` has them.

    Raises:
        LogDiverged: what was seen is not in it.
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
    if not rows and head.position > after:  # they are in a file
        rows = await next_events(connection, after, limit, size)
    return _note(seen, head), rows


async def read_head_unchecked(connection: AsyncConnection) -> Head:
    """The end of the log, whatever was seen."""
    row = await (await connection.execute(NOW, binary=True)).fetchone()
    if row is None:
        raise LookupError("the row `head` is lost")
    return Head(*row)


async def renew_diverged_log_id(connection: AsyncConnection, seen: LastSeen, log_id: str) -> None:
    """Give the log another id, if it still has this one, and what was seen is not in it: of several processes
    one does that.
    """
    await connection.execute(RENEW, (log_id, seen.position, seen.at, seen.position))


def _note(seen: LastSeen, head: Head) -> Head:
    if head.at is not None:
        seen.note(head.position, head.at)
    return head
