"""Looks for timers that are due, page by page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic

from psycopg import AsyncConnection

from projections.timers.due import DueTimer, Kinds, read_due

EPOCH = datetime.fromtimestamp(0, UTC)
PAUSE_FACTOR = 10
"""The least pause after a look, in times of what its reading took."""
LONGEST_PAUSE = timedelta(minutes=1)


@dataclass(slots=True)
class Look:
    """Looks again and again at the timers of some kinds that became due during a span of time.

    `span`: how long ago a timer may have become due; None for all of them. `every`: the least time from the beginning of a look
    to that of the next one; without it, a look begins whenever one is asked for. `began`: when the last look began. `next_at`:
    when the next one begins.
    """

    kinds: Kinds
    span: timedelta | None
    every: timedelta = timedelta()
    began: datetime = EPOCH
    next_at: datetime = EPOCH
    _reached: tuple[datetime, str] | None = None
    """The due time and the execution of the last timer on the last page; None where no look is under way."""
    _reading: float = 0.0
    """Seconds that reading the pages of this look has taken."""

    @property
    def under_way(self) -> bool:
        """Whether the last page was full, so that there may be another one."""
        return self._reached is not None

    def is_due(self, now: datetime) -> bool:
        """Whether to read a page now: a look is under way, the next one is to begin, or the clock was put back."""
        return self.under_way or now >= self.next_at or now < self.began

    async def read_page(
        self, connection: AsyncConnection, now: datetime, size: int
    ) -> list[DueTimer]:
        """Return the next timers, `size` at most; begin another look where none is under way."""
        if self._reached is None:
            self.began, self._reached = now, (EPOCH if self.span is None else now - self.span, "")
            self._reading = 0.0
        started = monotonic()
        found = await read_due(connection, self.kinds, self._reached, now, size)
        self._reading += monotonic() - started
        if len(found) == size:
            self._reached = found[-1].at, found[-1].execution
        else:
            self.end(now)
        return found

    def end(self, now: datetime) -> None:
        """End the look, if one is under way; the next one begins at its time."""
        if self._reached is None:
            return
        self._reached = None
        if self.every:
            pause = min(timedelta(seconds=PAUSE_FACTOR * self._reading), LONGEST_PAUSE)
            self.next_at = max(self.began + self.every, now + pause)
