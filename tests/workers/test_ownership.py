"""Each kind of work on a log has one owner, and it can be seen when it has none."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from domain.eventlog.sessions import session_options
from tests.support.followed_log import SCHEMA
from workers.ownership import WORK, ownership, without_owner

pytestmark = pytest.mark.anyio


async def test_work_without_owner_is_named_until_a_process_owns_it(database: str) -> None:
    options = session_options(SCHEMA)
    async with await psycopg.AsyncConnection.connect(database, options=options) as connection:
        assert await without_owner(connection, SCHEMA) == list(WORK)
        async with ownership(database, SCHEMA, "timers"):
            missing = await without_owner(connection, SCHEMA)
            assert missing == [work for work in WORK if work != "timers"]
            assert await without_owner(connection, "another") == list(WORK)
        while await without_owner(connection, SCHEMA) != list(WORK):  # noqa: ASYNC110 - nothing says it
            await asyncio.sleep(0.01)
