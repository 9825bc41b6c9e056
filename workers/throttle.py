"""How fast timers fire that are due at once: as fast as they can while only they write, and in small commits with pauses
between them while others do, so that who waits for an answer does not wait longer.

Callers of the API leave traces in the database, on whatever machine the server is that answers: a command appends
events, a log line gets an id, a read of an execution is an entry of the access log. So these three grow while somebody
is there.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic

from psycopg import AsyncConnection

ALONE, BESIDE_OTHERS = 100, 20
"""Commands in one commit: others who write wait for no more of them."""
REMEMBERED = 0.5
"""Seconds for which others are taken to be there after they have written."""
PAUSE_FACTOR = 3.0
"""Seconds of pause beside others, for each second that a commit took."""
LONGEST_PAUSE = 0.1
"""Seconds; so it never stops, however long a commit takes."""
WRITTEN = """SELECT (SELECT position FROM head) + (SELECT id FROM log_head)
    + (SELECT id FROM access_head)"""


async def all_written(connection: AsyncConnection) -> int:
    """How many events, log lines and entries of the access log there are, of anybody."""
    cursor = await connection.execute(WRITTEN, prepare=True, binary=True)
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


class Throttle:
    """How many commands go into one commit, and how long the pause after it is, by what others write meanwhile."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._by_others: int | None = None
        self._others_until = -inf

    def note(self, by_others: int) -> None:
        """So much was written by others, from the beginning of the log."""
        if self._by_others is not None and by_others > self._by_others:
            self._others_until = self._clock() + REMEMBERED
        self._by_others = by_others

    @property
    def commands(self) -> int:
        """How many may be in one commit."""
        return BESIDE_OTHERS if self._beside_others else ALONE

    def pause_after(self, seconds: float) -> float:
        """The seconds of pause after a commit that took so many."""
        return min(PAUSE_FACTOR * seconds, LONGEST_PAUSE) if self._beside_others else 0.0

    @property
    def _beside_others(self) -> bool:
        return self._clock() < self._others_until
