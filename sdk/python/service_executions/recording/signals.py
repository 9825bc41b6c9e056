"""Turns a SIGTERM during a recording into an exception, so that the end of the work is recorded."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Terminated(SystemExit):
    """The process received a SIGTERM."""


class Active:
    """The number of recordings that a SIGTERM ends. They share one handler."""

    count = 0


def begin() -> bool:
    """Handle SIGTERM for one more recording, if this is the main thread and nobody else handles SIGTERM; return whether it
    was counted.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    if Active.count == 0:
        if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            return False
        signal.signal(signal.SIGTERM, _terminate)
    Active.count += 1
    return True


def end() -> None:
    """End the handling for one recording that was counted; after the last one, restore the default handler."""
    Active.count -= 1
    if Active.count == 0 and signal.getsignal(signal.SIGTERM) is _terminate:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, _: FrameType | None) -> None:
    raise Terminated(128 + number)
