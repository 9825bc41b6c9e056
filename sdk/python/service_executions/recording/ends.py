"""Describes how recorded work has ended: the error of an exception, or the reason of a cancellation."""

from __future__ import annotations

import time
import traceback
from datetime import UTC, datetime
from time import clock_gettime_ns, time_ns

from service_executions.recording.signals import Terminated
from service_executions.values import JSON, time_text

CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""A clock that no one sets, and which on Linux does not stop while the machine sleeps."""
START = time_ns() - clock_gettime_ns(CLOCK)
MOST_TEXT = 200_000
"""Characters of a message or a stack trace that are recorded."""


def now() -> str:
    """Return the present time, which never goes backwards while this process runs."""
    seconds = (START + clock_gettime_ns(CLOCK)) // 1_000_000 / 1_000
    return time_text(datetime.fromtimestamp(seconds, UTC))


def failure(error: BaseException) -> JSON:
    """Return an exception as an error, with the name of its class as the code."""
    trace = "".join(traceback.format_exception(error))
    return {
        "code": type(error).__name__,
        "message": _writable(_message(error)[:MOST_TEXT]),
        "stack": _writable(trace[-MOST_TEXT:]),
        "recoverable": False,
    }


def _message(error: BaseException) -> str:
    """Return the text of an exception; if its `__str__` fails, the text that Python's traceback shows then."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - the failure must be recorded in any case
        return "<exception str() failed>"


def _writable(text: str) -> str:
    """Return a text with `?` in place of lone surrogates, which JSON cannot have: Python uses them in file names that are
    not valid UTF-8.
    """
    return text.encode(errors="replace").decode()


def reason(error: BaseException) -> str:
    """Return the reason why work was cancelled."""
    if isinstance(error, Terminated):
        return "The process was asked to end (SIGTERM)"
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted"
    return "The process has ended" if isinstance(error, SystemExit) else "Cancelled"
