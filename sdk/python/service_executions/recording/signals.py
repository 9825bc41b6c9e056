"""A SIGTERM while something is recorded ends it like an exception, so that its end is recorded, too."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Terminated(SystemExit):
    """The process was asked to end (SIGTERM)."""


class Active:
    """How many recordings of this process are to end with a SIGTERM. It has one handler for all."""

    count = 0


def begin() -> bool:
    """Take over SIGTERM, where nobody else has, and this is the main thread; whether it was counted."""
    if threading.current_thread() is not threading.main_thread():
        return False
    if Active.count == 0:
        if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            return False
        signal.signal(signal.SIGTERM, _terminate)
    Active.count += 1
    return True


def end() -> None:
    """Give it back with the last one that was counted."""
    Active.count -= 1
    if Active.count == 0 and signal.getsignal(signal.SIGTERM) is _terminate:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, _: FrameType | None) -> None:
    raise Terminated(128 + number)
