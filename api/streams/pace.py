"""Replay of the past with its real gaps, some number of times faster."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import monotonic


class Pace:
    """Maps the time that passes here to the time that passed in the log."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._began: tuple[float, datetime] | None = None
        self._held: float | None = None

    def hold(self) -> None:
        """Let no time of the log pass until it is released."""
        if self._held is None:
            self._held = monotonic()

    def release(self) -> None:
        """Go on where it was held, if it was."""
        if self._held is not None and self._began is not None:
            here, there = self._began
            self._began = here + monotonic() - self._held, there
        self._held = None

    def until(self) -> datetime:
        """What was recorded by then is due; before the first entry nothing is."""
        if self._began is None:
            return datetime.min.replace(tzinfo=UTC)
        here, there = self._began
        return there + timedelta(seconds=(monotonic() - here) * self._speed)

    def wait(self, at: datetime) -> float:
        """Seconds until what was recorded at a time is due. The first is due at once."""
        if self._began is None:
            self._began = (monotonic(), at)
        return max(0.0, (at - self.until()).total_seconds() / self._speed)
