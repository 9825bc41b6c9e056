"""The table of timers is the same for pages of any size, and after a rebuild."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import HealthCheck, given

from projections.timers.projection import Timers
from tests.support.examples import at_most
from tests.support.random_logs import followed, logs

EVERYTHING = "SELECT * FROM timers ORDER BY execution"


@at_most(10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(logs())
def test_timers_are_the_same_for_pages_of_any_size(database: str, events: Any) -> None:
    async def rows(page: int, capacity: int) -> Any:
        async with followed(database, Timers(capacity), events, page) as connection:
            return await (await connection.execute(EVERYTHING)).fetchall()

    async def compare() -> None:
        whole = await rows(10_000, 100)
        assert await rows(1, 2) == whole
        assert await rows(7, 1) == whole

    asyncio.run(compare())
