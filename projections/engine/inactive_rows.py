"""Decides when a projection may move rows to another table that have not changed for a while.

How long ago an event was applied follows from the positions of the projection over time. The times of the events
themselves may be years old, when a log is followed from its beginning.
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
"""Seconds between two rounds of moving: normally, and while the last round left rows to move."""
A_WHILE = 60.0
"""Seconds for which a row must not have changed to be moved. A row that is moved and changes again costs PostgreSQL as
much as two to four events. A busy execution has more events than that in a minute, and the rows that changed within a
minute are still few."""
POSITION = "SELECT position FROM bookmarks WHERE view = %s"
HOLD = "SELECT FROM bookmarks WHERE view = %s FOR UPDATE SKIP LOCKED"


class PositionTimes:
    """The positions of a projection over time, by the monotonic clock."""

    def __init__(self) -> None:
        self._times: deque[tuple[float, int]] = deque()

    def add(self, position: int, now: float) -> None:
        """Add the position of the projection at the time `now`."""
        if self._times and position < self._times[-1][1]:
            self._times.clear()  # the projection began again
        if not self._times or position > self._times[-1][1]:
            self._times.append((now, position))

    def before(self, moment: float) -> int:
        """Return the position reached by a moment; 0 if it is unknown. Drops earlier positions, so later calls must
        not ask for an earlier moment.
        """
        while len(self._times) > 1 and self._times[1][0] <= moment:
            self._times.popleft()
        return self._times[0][1] if self._times and self._times[0][0] <= moment else 0


class InactiveRowMover:
    """Lets a projection move its inactive rows now and then, between two pages, if it is a `MovesInactiveRows`."""

    def __init__(self, view: Projection) -> None:
        self._view = view
        self._passed = PositionTimes()
        self._next_at = 0.0
        self._moved_until = 0
        self.more_at = inf
        """The time of the next round, by the monotonic clock, if the last round left rows to move; else infinite."""

    async def move(self, connection: AsyncConnection) -> None:
        """Move inactive rows of the projection if a round is due, in a transaction of its own.

        A failure is logged; the next attempt follows once the projection has applied more events.
        """
        view, now = self._view, monotonic()
        if now < self._next_at:
            return
        self._next_at, self.more_at = now + EVERY, inf
        if not isinstance(view, MovesInactiveRows):  # after the time, as this check is slow
            return
        row = await (await connection.execute(POSITION, (self._view.name,))).fetchone()
        self._passed.add(row[0] if row else 0, now)
        until = self._passed.before(now - A_WHILE)
        if until != self._moved_until:
            self._moved_until = until
            if await self._move(connection, view, until):
                self._moved_until = 0
                self._next_at = self.more_at = monotonic() + MORE

    async def _move(self, connection: AsyncConnection, view: MovesInactiveRows, until: int) -> bool:
        """Move some rows; return whether there may be more. Does nothing while another process locks the bookmark."""
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
