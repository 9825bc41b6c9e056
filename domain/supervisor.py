"""Keeps a task running: an error is logged, and the task starts again after a pause that grows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

import structlog

SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
"""Seconds between two starts: doubled after each failure, until one run has lasted this long."""

log = structlog.get_logger()


async def supervise(
    name: str,
    run: Callable[[], Awaitable[object]],
    outages: tuple[type[Exception], ...] = (),
) -> None:
    """Run `run` again and again, until this is cancelled.

    One of the `outages` (a connection that is lost, a database that is away) is a warning, logged
    once in a series; any other exception is logged with its traceback each time.
    """
    pause = SHORTEST_PAUSE
    while True:
        started = monotonic()
        try:
            await run()
        except outages as error:
            if pause == SHORTEST_PAUSE:
                reason = str(error.__cause__ or error).strip()
                log.warning("task lost the database", task=name, error=reason)
        except Exception:  # a task that ended would stop its work unseen
            log.exception("task failed, and starts again", task=name)
        if monotonic() - started > LONGEST_PAUSE:
            pause = SHORTEST_PAUSE
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
