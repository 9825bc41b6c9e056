"""Ends the streams of auditors when a grant ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from api.access.grants import FRESH, Grants
from api.access.identity import Caller
from api.access.scope import AUDITING
from domain.errors import Overloaded
from domain.supervisor import cancel


@asynccontextmanager
async def end_with_grants(
    grants: Grants, caller: Caller, end: Callable[[], object]
) -> AsyncIterator[None]:
    """Call `end` once a grant to the caller has ended, while the block lasts. New grants apply to the next stream."""
    if AUDITING not in caller.scope.reaches:
        yield
        return
    task = asyncio.create_task(_end_when_narrowed(grants, caller, end), name="grants of a stream")
    try:
        yield
    finally:
        await cancel(task)


async def _end_when_narrowed(grants: Grants, caller: Caller, end: Callable[[], object]) -> None:
    reached = True
    while reached:
        await asyncio.sleep(FRESH)
        with suppress(
            Overloaded
        ):  # no revocation can be recorded while the database is unavailable
            reached = await grants.still_reached(caller)
    end()
