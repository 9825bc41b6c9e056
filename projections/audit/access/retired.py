"""Reads the retirements of the access log (events), and the days that it still has."""

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
    """The retirement of the entries of a day: the version, position and time of its event, the first and the last entry, the
    hash of the entry `before` the first, and the hash of the last.
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
        """The name of the entries in faults."""
        return f"entries {self.first} to {self.last}"

    def misfits(self, anchors: Sequence[Anchor], behind: Anchor | None) -> Iterator[str]:
        """Yield the contradictions to the anchors of these entries, and to the first anchor after this event. Without these
        checks, the event could claim any day and time.
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
    """Return the retirements after a version of their stream, in the order of the entries."""
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
    """Return the hash of the entry before an entry, even if it was retired.

    Raises:
        LookupError: the entry before is missing.
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
    """Return the days before `until` that have a partition, or entries in the default partition."""
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
    """Return the ids of the first and the last entry between two times; None if there are none."""
    row = await (await connection.execute(SPAN, bounds)).fetchone()
    return None if row is None or row[0] is None else (row[0], row[1])
