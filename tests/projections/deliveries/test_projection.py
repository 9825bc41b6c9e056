"""The table of webhooks is the same for pages of any size, and after a rebuild."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import HealthCheck, given

from projections.deliveries.projection import Deliveries
from tests.support.examples import at_most
from tests.support.random_logs import followed, logs

EVERYTHING = (
    "SELECT * FROM webhooks ORDER BY webhook",
    "SELECT * FROM webhook_states ORDER BY webhook",
)


@at_most(10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(logs())
def test_webhooks_are_the_same_for_pages_of_any_size(database: str, events: Any) -> None:
    async def rows(page: int) -> Any:
        async with followed(database, Deliveries(), events, page) as connection:
            return [await (await connection.execute(query)).fetchall() for query in EVERYTHING]

    async def compare() -> None:
        whole = await rows(10_000)
        assert await rows(1) == whole
        assert await rows(7) == whole

    asyncio.run(compare())
