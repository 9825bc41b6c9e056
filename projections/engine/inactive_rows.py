"""When a projection may put rows elsewhere that have not changed for a while.

How long ago an event was applied is known by where the projection was at which time, not by the times of
events: those may be years old where a log is followed from its beginning.
"""

from __future__ import annotations

from collections import deque
from math import inf
from time import monotonic

import psycopg
import structlog
from psycopg import AsyncConnection

from projections.engine.projection import MovesInactiveRows, Projection

log = structlog.get_logger()

EVERY, MORE = 5.0, 0.02
"""Seconds between two looks, and where there was more than was done at once."""
A_WHILE = 60.0
"""Seconds. An execution whose row is put elsewhere and changes again costs PostgreSQL as much as two to four events:
in a minute a busy one has more of them, and the rows that changed within it are still few."""
POSITION = "SELECT position FROM bookmarks WHERE view = %s"
HOLD = "SELECT FROM bookmarks WHERE view = %s FOR UPDATE SKIP LOCKED"


class PositionTimes:
    """Where a projection was at which time."""

    def __init__(self) -> None:
        self._times: deque[tuple[float, int]] = deque()

    def add(self, position: int, now: float) -> None:
        """It is at a position now."""
        if self._times and position < self._times[-1][1]:
            self._times.clear()  # it began again
        if not self._times or position > self._times[-1][1]:
            self._times.append((now, position))

    def before(self, moment: float) -> int:
        """Up to where it was by a moment; 0 where that is not known. Later moments alone are asked for from now on."""
        while len(self._times) > 1 and self._times[1][0] <= moment:
            self._times.popleft()
        return self._times[0][1] if self._times and self._times[0][0] <= moment else 0


class InactiveRowMover:
    """Has a projection move its inactive rows now and then, between two of its pages. Does nothing for one that need not."""

    def __init__(self, view: Projection) -> None:
        self._view = view
        self._passed = PositionTimes()
        self._next_at = 0.0
        self._done = 0
        self.more_at = inf
        """When it goes on with what it has begun, by the monotonic clock."""

    async def move(self, connection: AsyncConnection) -> None:
        """Let it, if it is time, in a transaction of its own. What goes wrong is logged, and
        tried again once the projection has gone on.
        """
        view, now = self._view, monotonic()
        if not isinstance(view, MovesInactiveRows) or now < self._next_at:
            return
        self._next_at, self.more_at = now + EVERY, inf
        row = await (await connection.execute(POSITION, (self._view.name,))).fetchone()
        self._passed.add(row[0] if row else 0, now)
        until = self._passed.before(now - A_WHILE)
        if until != self._done:
            self._done = until
            if await self._move(connection, view, until):
                self._done = 0
                self._next_at = self.more_at = monotonic() + MORE

    async def _move(self, connection: AsyncConnection, view: MovesInactiveRows, until: int) -> bool:
        """Whether there is more. While a rebuild, or another process, holds the bookmark, nothing is done."""
        try:
            async with connection.transaction():
                cursor = await connection.execute(HOLD, (self._view.name,))
                return cursor.rowcount != 1 or await view.move_inactive(connection, until)
        except psycopg.Error as error:
            self._view.forget()
            if connection.closed:
                raise
            log.warning("inactive rows were not moved", view=self._view.name, error=repr(error))
            return False
