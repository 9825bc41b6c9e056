"""Limits the log lines of one kind in a minute, and counts the lines that are left out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from time import monotonic

import structlog
from structlog.typing import EventDict, WrappedLogger

MOST = 10
"""Lines of a kind that are logged in a period."""
PERIOD = 60.0
"""Seconds."""
KINDS = 1_000
"""Kinds that are counted. Kinds are constants of the program: beyond this number, all counts are dropped."""


class LeftOut:
    """The number of lines that all limits of this process have left out."""

    count = 0


LEFT_OUT = LeftOut()


class LogLimit(logging.Filter):
    """Logs at most `MOST` lines of a kind in `PERIOD` seconds. Further lines are counted, in the metrics and as
    `left_out` in the next line of the kind.

    It is a processor of structlog, and a filter for handlers of the standard library.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[Hashable, tuple[float, int]] = {}

    def __call__(self, _: WrappedLogger, level: str, event: EventDict) -> EventDict:
        """Pass on a line of structlog. Raises structlog.DropEvent where the line is left out."""
        if level == "debug":
            return event
        left_out = self._count_left_out(event["event"])
        if left_out is None:
            raise structlog.DropEvent
        return {**event, "left_out": left_out} if left_out else event

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record of a library is logged."""
        left_out = self._count_left_out((record.name, str(record.msg)))
        record.left_out = left_out
        return left_out is not None

    def _count_left_out(self, kind: Hashable) -> int | None:
        """The number of lines of a kind that were left out before this one; None where this one is left out, too."""
        now = self._clock()
        begun, lines = self._kinds.get(kind, (now, 0))
        left_out = 0
        if now - begun >= PERIOD:
            left_out, begun, lines = max(0, lines - MOST), now, 0
        if len(self._kinds) > KINDS:
            self._kinds.clear()
        self._kinds[kind] = begun, lines + 1
        if lines < MOST:
            return left_out
        LEFT_OUT.count += 1
        return None


def add_left_out(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add the number of left-out lines in the record of a library to its log line."""
    if left_out := getattr(event.get("_record"), "left_out", 0):
        return {**event, "left_out": left_out}
    return event
