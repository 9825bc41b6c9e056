"""Replay of the past with its real gaps, some number of times faster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic

from api.streaming.log.entry import Entry

LONGEST_SLEEP = 60.0


class ReplayClock:
    """Maps the time that passes here to the time that passed in the log."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._began: tuple[float, datetime] | None = None
        self._stopped: float | None = None

    def stop(self) -> None:
        """Let no time of the log pass until `go_on`."""
        if self._stopped is None:
            self._stopped = monotonic()

    def go_on(self) -> None:
        """Go on at the time where it was stopped, if it was."""
        if self._stopped is not None and self._began is not None:
            here, there = self._began
            self._began = here + monotonic() - self._stopped, there
        self._stopped = None

    def now(self) -> datetime:
        """The time in the log; before the first entry, the beginning of all time."""
        if self._began is None:
            return datetime.min.replace(tzinfo=UTC)
        here, there = self._began
        return there + timedelta(seconds=(monotonic() - here) * self._speed)

    def wait(self, at: datetime) -> float:
        """Seconds until what was recorded at a time is due. The first is due at once."""
        if self._began is None:
            self._began = (monotonic(), at)
        return max(0.0, (at - self.now()).total_seconds() / self._speed)

    async def due(self, entries: Sequence[Entry], wanted: Callable[[Entry], bool]) -> int:
        """Wait until the first entries are due; how many are. Entries that are not wanted take no time."""
        while True:
            now = self.now()
            late = (n for n, entry in enumerate(entries) if entry.row.at > now and wanted(entry))
            if count := next(late, len(entries)):
                return count
            await asyncio.sleep(min(self.wait(entries[0].row.at), LONGEST_SLEEP))
