"""Ends streams of auditors when a grant ends by which they were opened."""

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
    """Call `end` once the caller has lost something that it was granted. What it is granted meanwhile shows in its
    next stream.
    """
    if AUDITING not in caller.scope.reaches:
        yield
        return
    task = asyncio.create_task(_watch(grants, caller, end), name="grants of a stream")
    try:
        yield
    finally:
        await cancel(task)


async def _watch(grants: Grants, caller: Caller, end: Callable[[], object]) -> None:
    still = True
    while still:
        await asyncio.sleep(FRESH)
        with suppress(Overloaded):  # nothing is recorded meanwhile, so no revocation either
            still = await grants.still_reached(caller)
    end()
