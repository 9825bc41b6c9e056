"""Where recording may not disturb the work, what goes wrong with it is said and passed over."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from service_executions.resumption import LOG


@contextmanager
def tolerate(*, is_tolerant: bool) -> Generator[None]:
    """Let no mistake out of the block, if that is wanted: a cost that is no number, an output that holds itself."""
    try:
        yield
    except Exception as error:
        if not is_tolerant:
            raise
        LOG.warning("this was not recorded: %s: %s", type(error).__name__, error)
