"""Requests of clients about deliveries wake the process that calls webhooks."""

from __future__ import annotations

import psycopg
import pytest

from domain.eventlog.sessions import session_options
from projections.deliveries import requests
from projections.engine.channels import progress_channel
from tests.support.followed_log import SCHEMA
from tests.support.sample_aggregate import NOON

pytestmark = pytest.mark.anyio


async def test_request_wakes_followers_of_the_view(database_with_views: str) -> None:
    async with await psycopg.AsyncConnection.connect(
        database_with_views, autocommit=True, options=session_options(SCHEMA)
    ) as connection:
        await connection.execute(f'LISTEN "{progress_channel(SCHEMA)}"'.encode())
        for asked in (
            requests.redeliver(connection, "wh-1", 1, NOON),
            requests.redeliver_failed(connection, "wh-1", NOON, NOON),
            requests.rewind(connection, "wh-1", 0, NOON),
        ):
            await asked
            heard = [one.payload async for one in connection.notifies(timeout=5, stop_after=1)]
            assert heard == [f"{requests.VIEW} 0"], asked
