"""The channels on which processes notify each other of the progress of projections."""

from __future__ import annotations

from collections.abc import Callable

WAKE = "SELECT pg_notify(current_schema() || '_views', %b || ' 0')"
"""Notifies the handlers of `when_moved` of a view, with position 0, although its position has not changed."""


def progress_channel(schema: str) -> str:
    """Return the channel that is notified after each page of a view, with a text such as `executions 1234`."""
    return f"{schema}_views"


def hurry_channel(schema: str) -> str:
    """Return the channel that is notified of the name of a view for which a reader waits."""
    return f"{schema}_views_awaited"


def when_moved(view: str, wake: Callable[[], None]) -> Callable[[str | None], None]:
    """Return a handler of the progress channel that calls `wake` if a view has moved, or may have: after a
    reconnection, where the payload is None.
    """
    prefix = f"{view} "

    def handle(payload: str | None) -> None:
        if payload is None or payload.startswith(prefix):
            wake()

    return handle
