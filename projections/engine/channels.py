"""The channels on which the processes of a log tell each other of its views."""

from __future__ import annotations


def progress_channel(schema: str) -> str:
    """Says how far a view is, as `executions 1234`, after each page."""
    return f"{schema}_views"


def hurry_channel(schema: str) -> str:
    """Names a view that a reader waits for."""
    return f"{schema}_views_awaited"
