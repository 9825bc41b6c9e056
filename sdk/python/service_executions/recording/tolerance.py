"""Logs errors of the recording instead of raising them, where recording must not disturb the work."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from service_executions.resumption import LOG


@contextmanager
def tolerate(*, is_tolerant: bool) -> Generator[None]:
    """If `is_tolerant`, log an exception of the block instead of raising it: an invalid cost, or an output that contains
    itself, for example.
    """
    try:
        yield
    except Exception as error:
        if not is_tolerant:
            raise
        LOG.warning("this was not recorded: %s: %s", type(error).__name__, error)
