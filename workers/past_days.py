"""How days that are past leave a table: they are looked at every hour, and dropped unless a legal hold keeps them.

No hold can be placed while a day leaves. Readers and writers do not wait long for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import date
from random import Random
from time import monotonic

from psycopg import AsyncConnection

from projections.log_lines.archive.holds import BUSY, keep_log_as_it_is, placed_since

EVERY, AGAIN = 3600.0, 30.0
"""Seconds between two looks at all days that are past, and at those that wait for something."""
SHORT_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '100ms'"
"""To wait for the table: all that come later, writers too, wait behind."""
SPREAD = Random()  # noqa: S311 - no secret
TRIES, PAUSE = 20, 2.0
"""How often it tries to drop a day while no other connection uses the table or the log, and at most how many seconds lie
between two tries.
"""
Look = Callable[[Collection[date] | None], Awaitable[Collection[date]]]
"""Looks at some days, or at all that are past; the days that wait for something."""


class HeldMeanwhile(Exception):
    """A legal hold was placed since the holds of a day were looked at."""


async def look_often(look: Look) -> None:
    """Look at all days every hour, and meanwhile, twice a minute, at those that wait, until cancelled."""
    while True:
        due = monotonic() + EVERY
        waiting = await look(None)
        while waiting and monotonic() < due:
            await asyncio.sleep(AGAIN)
            waiting = await look(waiting)
        await asyncio.sleep(max(AGAIN, due - monotonic()))


async def drop_unless_held(
    connection: AsyncConnection, position: int, drop: Callable[[], Awaitable[None]]
) -> None:
    """Drop a day at a moment when no other connection writes, unless a hold was placed after a position.

    Writers lock the log before the table or after it, so to wait for both could wait for ever: this
    waits for the table, tries the log, and lets go of both where it is busy.

    Raises:
        HeldMeanwhile: a hold was placed.
        LockNotAvailable: there was no such moment.
    """
    # Most of what was recorded meanwhile is looked through now, while others may write.
    position = await _unless_held(connection, position)
    for tried in range(1, TRIES + 1):
        try:
            async with connection.transaction():
                await connection.execute(SHORT_LOCK_TIMEOUT)
                await drop()
                await keep_log_as_it_is(connection)
                await _unless_held(connection, position)
            return
        except BUSY:
            if tried == TRIES:
                raise
            await asyncio.sleep(SPREAD.uniform(0, PAUSE))


async def _unless_held(connection: AsyncConnection, position: int) -> int:
    """The head of the log, if no hold was placed after a position."""
    placed, head = await placed_since(connection, position)
    if placed:
        raise HeldMeanwhile
    return head
