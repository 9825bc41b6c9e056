"""Limits the rate of firing timers while others use the log: then commits are small, with pauses between them, so that callers
of the API do not wait longer.

Other users are noticed by their writes, whichever server they call: a command appends events, a log line gets an id, and a read
of an execution is an entry of the access log.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic

from psycopg import AsyncConnection

ALONE, BESIDE_OTHERS = 100, 10
"""Commands in one commit, alone and beside other writers, who may have to wait for the commit."""
REMEMBERED = 0.5
"""Seconds after a write of others for which they count as present."""
PAUSE_FACTOR = 2.0
"""Seconds of pause beside others, for each second that a commit took."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.03, 0.1
"""The limits of a pause beside others in seconds, however long a commit took: the processor is needed for the views, too."""
WRITTEN = """SELECT (SELECT position FROM head) + (SELECT id FROM log_head)
    + (SELECT id FROM access_head)"""


async def all_written(connection: AsyncConnection) -> int:
    """The number of events, log lines and entries of the access log that were ever written, by anybody."""
    cursor = await connection.execute(WRITTEN, prepare=True, binary=True)
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


class Throttle:
    """The number of commands in one commit, and the pause after it, by the writes of others."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._by_others: int | None = None
        self._others_until = -inf

    def note(self, by_others: int) -> None:
        """Note the number of writes of others since the beginning of the log."""
        if self._by_others is not None and by_others > self._by_others:
            self._others_until = self._clock() + REMEMBERED
        self._by_others = by_others

    @property
    def commands(self) -> int:
        """The largest number of commands in the next commit."""
        return BESIDE_OTHERS if self._beside_others else ALONE

    def pause_after(self, seconds: float) -> float:
        """The seconds of pause after a commit that took so many seconds."""
        if not self._beside_others:
            return 0.0
        return min(max(SHORTEST_PAUSE, PAUSE_FACTOR * seconds), LONGEST_PAUSE)

    @property
    def _beside_others(self) -> bool:
        return self._clock() < self._others_until
