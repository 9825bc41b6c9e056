"""Bounds what is logged: many lines of one kind in a minute say no more than a few and their number."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from time import monotonic

import structlog
from structlog.typing import EventDict, WrappedLogger

MOST = 10
PERIOD = 60.0
KINDS = 1_000
"""Kinds are constants of the program; more than so many are none, and are forgotten."""


class LeftOut:
    """How many lines were left out, by all limits of this process."""

    count = 0


LEFT_OUT = LeftOut()


class LogLimit(logging.Filter):
    """At most `MOST` lines of a kind in `PERIOD` seconds: the rest is counted, in the metrics and as
    `left_out` in the next line of that kind.

    It is a processor for structlog, and a filter for the handlers of the standard library.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[Hashable, tuple[float, int]] = {}

    def __call__(self, _: WrappedLogger, level: str, event: EventDict) -> EventDict:
        """Pass a line of ours on. Raises structlog.DropEvent where it is one too many."""
        if level == "debug":
            return event
        left_out = self._count_left_out(event["event"])
        if left_out is None:
            raise structlog.DropEvent
        return {**event, "left_out": left_out} if left_out else event

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a library's record is logged."""
        left_out = self._count_left_out((record.name, str(record.msg)))
        record.left_out = left_out
        return left_out is not None

    def _count_left_out(self, kind: Hashable) -> int | None:
        """How many lines of the kind were left out before this one; None where it is, too."""
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
    """The number in a library's record as a member of its line."""
    if left_out := getattr(event.get("_record"), "left_out", 0):
        return {**event, "left_out": left_out}
    return event
