"""What was retired from the access log: the events that say so, and the days that are still in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, NamedTuple

import orjson
from psycopg import AsyncConnection

from domain.access.retirements import LEAST_DAYS, STREAM
from domain.eventlog.access.entry import BEFORE_ALL
from projections.audit.access.anchors import Anchor

SAID = f"""SELECT originator_version, notification_id, at, state FROM events
    WHERE originator_id = '{STREAM}' AND originator_version > %s ORDER BY originator_version"""
HASH = "SELECT hash FROM access_log WHERE id = %s"
PREFIX = "access_log_"
DEFAULT_PARTITION = "access_log_rest"
PARTITIONS = """SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'access_log'::regclass ORDER BY relname"""
DAYS_IN_DEFAULT = (
    f"SELECT DISTINCT CAST(at AT TIME ZONE 'UTC' AS date) FROM {DEFAULT_PARTITION} WHERE at < %s"
)
SPAN = "SELECT min(id), max(id) FROM access_log WHERE at >= %(begin)s AND at < %(end)s"


class Retired(NamedTuple):
    """Entries of a day that were retired: by which event, by its place in its stream and in the log, and when, and
    the hashes before them and of the last.
    """

    version: int
    position: int
    at: datetime
    day: date
    first: int
    last: int
    before: bytes
    hash: bytes

    @property
    def place(self) -> str:
        """The entries, as they are named."""
        return f"entries {self.first} to {self.last}"

    def misfits(self, anchors: Sequence[Anchor], behind: Anchor | None) -> Iterator[str]:
        """What is wrong with it by the anchors of these entries, and by the first one behind this event, as the event
        alone could say any day and any time.
        """
        if not anchors or anchors[-1].last < self.last:
            yield "and had not been anchored"
        elif (days := (self.at.date() - max(self.day, anchors[-1].at.date())).days) < LEAST_DAYS:
            yield f"after {days} days: they had to be kept for {LEAST_DAYS}"
        for anchor in anchors:
            if (anchor.day or self.day) != self.day or anchor.at.date() < self.day:
                day = anchor.day or anchor.at.date()
                yield f"as those of {self.day}, but were anchored on {day}"
                break
        if behind is not None and behind.at < self.at:
            yield f"at {self.at:%Y-%m-%d %H:%M}, which was still to come at position {behind.position}"


async def read_retired(connection: AsyncConnection, version: int = 0) -> list[Retired]:
    """All that was retired, or only what was after a version of the stream, in the order of the entries."""
    cursor = await connection.execute(SAID, (version,))
    return sorted(
        (_from_row(*row) for row in await cursor.fetchall()), key=lambda retired: retired.first
    )


def _from_row(version: int, position: int, at: datetime, state: bytes) -> Retired:
    said: dict[str, Any] = orjson.loads(state)
    hashes = (bytes.fromhex(said[name]) for name in ("before", "hash"))
    day = date.fromisoformat(said["day"])
    return Retired(version, position, at, day, said["first"], said["last"], *hashes)


async def hash_before(connection: AsyncConnection, entry: int) -> bytes:
    """The hash that an entry follows on: of the one before it, be it there or retired.

    Raises:
        LookupError: that one is missing.
    """
    if entry == 1:
        return BEFORE_ALL
    row = await (await connection.execute(HASH, (entry - 1,), binary=True)).fetchone()
    if row is not None:
        return bytes(row[0])
    for retired in await read_retired(connection):
        if retired.last == entry - 1:
            return retired.hash
    raise LookupError(f"the access log has no entry {entry - 1}")


async def days_of_access(connection: AsyncConnection, until: date) -> list[date]:
    """The days before another one that have a partition, or entries in the default partition."""
    names = [row[0] for row in await (await connection.execute(PARTITIONS)).fetchall()]
    days = {
        date.fromisoformat(name.removeprefix(PREFIX)) for name in names if name != DEFAULT_PARTITION
    }
    end = datetime.combine(until, time(), UTC)
    days |= {row[0] for row in await (await connection.execute(DAYS_IN_DEFAULT, (end,))).fetchall()}
    return sorted(day for day in days if day < until)


async def entries_of(
    connection: AsyncConnection, bounds: dict[str, datetime]
) -> tuple[int, int] | None:
    """The first and the last entry of a time, by their ids; None where it has none."""
    row = await (await connection.execute(SPAN, bounds)).fetchone()
    return None if row is None or row[0] is None else (row[0], row[1])
