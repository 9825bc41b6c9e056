"""Waiting for conditions."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol


def wait_until(reached: Callable[[], object], seconds: float = 30, *, every: float = 0.02) -> None:
    """Return once the condition is true; fail if it is not within some seconds."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "it has not come about"
        time.sleep(every)


class Reader(Protocol):
    """A thread that reads a stream, and its progress."""

    cursor: int

    def is_alive(self) -> bool: ...
    def join(self, timeout: float | None = None) -> None: ...


def join_while_it_moves(reader: Reader, seconds: float = 60) -> None:
    """Wait for the end of a reader, however slow the machine is; fail if it makes no progress for some seconds."""
    before = -1
    while reader.is_alive():
        assert reader.cursor > before, "it gets no further"
        before = reader.cursor
        reader.join(seconds)
