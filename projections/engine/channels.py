"""The channels on which processes notify each other of the progress of projections."""

from __future__ import annotations

from collections.abc import Callable

WAKE = "SELECT pg_notify(current_schema() || '_views', %b || ' 0')"
"""Wakes those who follow a view, although it has not moved."""


def progress_channel(schema: str) -> str:
    """Says how far a view is, as `executions 1234`, after each page."""
    return f"{schema}_views"


def hurry_channel(schema: str) -> str:
    """Names a view that a reader waits for."""
    return f"{schema}_views_awaited"


def when_moved(view: str, wake: Callable[[], None]) -> Callable[[str | None], None]:
    """A handler of what is said of progress: it wakes where one view has moved, or may have."""
    begin = f"{view} "

    def handle(payload: str | None) -> None:
        if payload is None or payload.startswith(begin):
            wake()

    return handle
