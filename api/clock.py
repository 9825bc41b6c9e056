"""The clock, random numbers and new ids, which all other parts get as arguments."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random

import structlog
from ulid import ULID

from domain.errors import Overloaded

FARTHEST = timedelta(hours=1)
"""How far the time of day may be ahead of the elapsed time, before the clock is doubted."""

log = structlog.get_logger()


class Clock:
    """The time of day, as long as it advances as the elapsed time does.

    Events have its time for ever, and no later event gets an earlier time. So a leap ahead of more than an hour, by
    mistake or on purpose, is not followed until an operator confirms it, or until it is taken back: meanwhile the
    clock advances by the elapsed time, and commands are refused. A leap back is followed, and so is a leap ahead up
    to the latest time that was followed before.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] | None = None,
    ) -> None:
        self._wall = wall
        self._steady = steady or _since_boot
        self._anchor = self._wall(), self._steady()
        self._leap = timedelta()
        self.confirmed: Callable[[], object] = lambda: None
        """Called when an operator has confirmed a leap."""

    def __call__(self) -> datetime:
        """The time now, in UTC, to the millisecond."""
        wall, steady = self._wall(), self._steady()
        expected = self._anchor[0] + steady - self._anchor[1]
        leap = timedelta(seconds=wall - expected)
        if leap > FARTHEST:
            if not self._leap:
                log.error("the clock has leapt ahead", seconds=round(leap.total_seconds()))
            self._leap = leap
            return _to_millisecond(expected)
        if self._leap:
            log.warning("the clock has gone back")
            self._leap = timedelta()
        if leap >= timedelta():
            self._anchor = wall, steady
        return _to_millisecond(wall)

    @property
    def doubt(self) -> Overloaded | None:
        """The refusal of commands while the clock is doubted, as of its last reading; None otherwise."""
        if not self._leap:
            return None
        return Overloaded(
            f"The server's clock has leapt ahead by {_in_whole_seconds(self._leap)}, so nothing is recorded. Set it "
            "right, or, if it is right, run `executions confirm-clock`."
        )

    def confirm(self) -> timedelta:
        """Accept the time of day as it is. Return how far it had leapt ahead."""
        self()
        leap, self._leap = self._leap, timedelta()
        self._anchor = self._wall(), self._steady()
        if leap:
            log.warning("the clock is confirmed", seconds=round(leap.total_seconds()))
            self.confirmed()
        return leap


chance = Random().random  # noqa: S311 - spreads retries, need not be secure
"""A random number from 0 to 1, of a separate generator: a program that embeds the service may have seeded that of
the module.
"""


def new_id(kind: str) -> str:
    """Make an id that sorts by the time at which it was made."""
    return f"{kind}_{ULID()}"


def _since_boot() -> float:
    """Elapsed seconds, which do not depend on the time of day and include the sleep of the machine."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def _to_millisecond(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds * 1000) / 1000, UTC)


def _in_whole_seconds(leap: timedelta) -> str:
    return str(timedelta(seconds=round(leap.total_seconds())))
