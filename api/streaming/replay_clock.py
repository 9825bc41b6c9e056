"""A clock that replays past events with their real gaps, divided by a speed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic

from api.streaming.log.entry import Entry

LONGEST_SLEEP = 60.0
"""Seconds that a replay sleeps at most before it looks at the clock again."""


class ReplayClock:
    """Maps the time that passes now to the time that passed in the log."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._began: tuple[float, datetime] | None = None
        self._stopped: float | None = None

    def stop(self) -> None:
        """Stop the time of the log, until `continue_`."""
        if self._stopped is None:
            self._stopped = monotonic()

    def continue_(self) -> None:
        """Continue at the time of the log at which `stop` was called, if it was."""
        if self._stopped is not None and self._began is not None:
            here, in_log = self._began
            self._began = here + monotonic() - self._stopped, in_log
        self._stopped = None

    def now(self) -> datetime:
        """The time of the log; before the first entry, the earliest time there is."""
        if self._began is None:
            return datetime.min.replace(tzinfo=UTC)
        here, in_log = self._began
        return in_log + timedelta(seconds=(monotonic() - here) * self._speed)

    def wait(self, at: datetime) -> float:
        """Seconds until an event recorded `at` a time is due. The first event is due at once."""
        if self._began is None:
            self._began = (monotonic(), at)
        return max(0.0, (at - self.now()).total_seconds() / self._speed)

    async def due(self, entries: Sequence[Entry], wanted: Callable[[Entry], bool]) -> int:
        """Wait until the first entries are due, and return how many are. Entries that are not `wanted` take no time."""
        while True:
            now = self.now()
            late = (n for n, entry in enumerate(entries) if entry.row.at > now and wanted(entry))
            if count := next(late, len(entries)):
                return count
            await asyncio.sleep(min(self.wait(entries[0].row.at), LONGEST_SLEEP))
