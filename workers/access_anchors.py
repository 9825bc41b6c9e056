"""Anchors new entries of the access log in the event log, once a minute, and makes the partitions of the next days.

An anchor has the hash of the last entry: from then on, a change, gap or reordering of earlier entries is detected. Anchored
entries are never anchored again, so lost entries stop the anchoring. The entries of an anchor are of one day, in UTC, which
the anchor names: so all of them are retired together, with that day.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date, datetime, timedelta
from math import inf
from typing import ClassVar

import structlog
from psycopg import AsyncConnection

from domain.access.anchors import STREAM, AccessAnchors, AnchorAccess
from domain.eventlog.access.days import MAKE_DAYS
from domain.eventlog.store import Store
from domain.writer.guarded_writer import GuardedWriter
from domain.writer.message import Message
from projections.audit.access.segments import MOST, AccessSegment, hashes_between
from workers.ownership import OwnedWork

EVERY = timedelta(minutes=1)
"""The time from one anchor to the next."""
STOPPED = 10.0
"""Seconds between two tries after a fault, which an operator may repair."""
HEAD = "SELECT id FROM access_head"
LAST_OF_DAY = """SELECT max(id), CAST(max(at) AT TIME ZONE 'UTC' AS date) FROM access_log WHERE id > %(after)s AND id <= %(until)s AND at < (
    SELECT date_trunc('day', at, 'UTC') + interval '24 hours' FROM access_log WHERE id = %(after)s + 1)"""
ACTOR = "system"

log = structlog.get_logger()


class AccessAnchorer(OwnedWork):
    """Anchors the access log, one process at a time."""

    work: ClassVar[str] = "access"

    def __init__(
        self,
        writer: GuardedWriter,
        store: Store,
        conninfo: str,
        schema: str,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        super().__init__(conninfo, schema)
        self._writer = writer
        self._store = store
        self._clock = clock
        self._next_at = clock() + EVERY
        self._days_made_on: date | None = None
        self._fault = ""
        self._all_anchored_until = -1
        """The last entry, if all entries up to it are anchored."""
        self._has_waiting = False
        """Whether entries wait for the next anchor."""

    async def run(self, connection: AsyncConnection) -> None:
        """Anchor entries until cancelled."""
        self._all_anchored_until = -1
        while True:
            try:
                more = await self.anchor(connection)
            except LookupError as error:
                if str(error) != self._fault:
                    log.error("the access log is not anchored any more", reason=str(error))
                self._fault = str(error)
                await self.pause(connection, STOPPED)
            else:
                self._fault = ""
                if more:
                    await asyncio.sleep(0)
                else:
                    await self.wait_for_work(connection, due_in=self._due_in)

    async def anchor(self, connection: AsyncConnection) -> bool:
        """Anchor the entries that are due; return whether there are more.

        Raises:
            LookupError: entries are missing, some of which may have been anchored.
        """
        now = self._clock()
        if self._days_made_on != now.date():
            await connection.execute(MAKE_DAYS, (now.date(),))
            self._days_made_on = now.date()
        head = await _head(connection)
        if head == self._all_anchored_until:
            self._has_waiting = False
            return False
        anchored = await self._read_anchored()
        if head < anchored:
            raise LookupError(f"{anchored} entries were anchored, but the last one is {head}")
        if head == anchored:
            self._all_anchored_until = head
        self._has_waiting = head > anchored
        if not self._has_waiting or (now < self._next_at and head - anchored < MOST):
            return False
        self._has_waiting = False
        until, day = await _last_of_day(connection, anchored, min(head, anchored + MOST))
        await self._anchor(connection, anchored, until, day)
        self._next_at = now + EVERY
        return until < head

    def _due_in(self) -> float:
        return (self._next_at - self._clock()).total_seconds() if self._has_waiting else inf

    async def _anchor(self, connection: AsyncConnection, after: int, until: int, day: date) -> None:
        hashes = await hashes_between(connection, after, until)
        root = (await asyncio.to_thread(AccessSegment, hashes)).root
        command = AnchorAccess(
            first=after + 1, last=until, hash=hashes[-1].hex(), root=root.hex(), day=day
        )
        await self._writer.send(Message(STREAM, command, ACTOR, correlation="access-log"))

    async def _read_anchored(self) -> int:
        versioned = await self._store.load(STREAM)
        if versioned is None:
            return 0
        state: AccessAnchors = versioned.state
        return state.last


async def _head(connection: AsyncConnection) -> int:
    row = await (await connection.execute(HEAD)).fetchone()
    if row is None:
        raise LookupError("the row `access_head` is lost")
    return int(row[0])


async def _last_of_day(connection: AsyncConnection, after: int, until: int) -> tuple[int, date]:
    """The last entry in (after, until] of the same day as the first one, and that day.

    Raises:
        LookupError: the first one is missing.
    """
    cursor = await connection.execute(LAST_OF_DAY, {"after": after, "until": until})
    row = await cursor.fetchone()
    if row is None or row[0] is None:
        raise LookupError(f"the access log has no entry {after + 1}")
    return row[0], row[1]
