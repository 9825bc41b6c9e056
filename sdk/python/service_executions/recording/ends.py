"""How recorded work has ended, as the service is to know it."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from time import monotonic_ns, time_ns

from service_executions.recording.signals import Terminated
from service_executions.values import JSON, time_text

START = time_ns() - monotonic_ns()
MOST_TEXT = 200_000


def now() -> str:
    """The time, which never goes back while this process runs."""
    seconds = (START + monotonic_ns()) // 1_000_000 / 1_000
    return time_text(datetime.fromtimestamp(seconds, UTC))


def failure(error: BaseException) -> JSON:
    """An exception as an error: its class is the code."""
    trace = "".join(traceback.format_exception(error))
    return {
        "code": type(error).__name__,
        "message": _writable(_message(error)[:MOST_TEXT]),
        "stack": _writable(trace[-MOST_TEXT:]),
        "recoverable": False,
    }


def _message(error: BaseException) -> str:
    """What an exception says, or, where it cannot, the words of Python's own traceback."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, the failure is recorded
        return "<exception str() failed>"


def _writable(text: str) -> str:
    """The text with `?` for what no JSON holds: the bytes of a file's name that were no UTF-8."""
    return text.encode(errors="replace").decode()


def reason(error: BaseException) -> str:
    """Why work was ended that has not failed."""
    if isinstance(error, Terminated):
        return "The process was asked to end (SIGTERM)"
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted"
    return "The process has ended" if isinstance(error, SystemExit) else "Cancelled"
