"""Reads that are repeated until they succeed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from domain.errors import Overloaded

OUTAGE_PAUSE = 0.25
"""Seconds before the next attempt while the database is unavailable."""
ERROR_PAUSE = 1.0
"""Seconds before the next attempt after any other error."""

T = TypeVar("T")

log = structlog.get_logger()


async def retry(read: Callable[[], Awaitable[T]], failure: str) -> T:
    """Call `read` until it succeeds, and return its result. `failure` is the message that is logged for an error."""
    while True:
        try:
            return await read()
        except Overloaded:
            await asyncio.sleep(OUTAGE_PAUSE)
        except Exception:
            log.exception(failure)
            await asyncio.sleep(ERROR_PAUSE)
