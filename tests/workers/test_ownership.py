"""Each kind of work on a log has one owner, and it can be seen when it has none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import ClassVar

import psycopg
import pytest

from domain.eventlog.sessions import session_options
from tests.support.followed_log import SCHEMA
from workers.ownership import WORK, OwnedWork, ownership, without_owner

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


class Work(OwnedWork):
    """Rests, and does nothing."""

    work: ClassVar[str] = "nothing"


@pytest.fixture
async def connection(database: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as opened:
        yield opened


@pytest.fixture
def work(database: str, monkeypatch: pytest.MonkeyPatch) -> Work:
    """One that would rest for ten minutes."""
    monkeypatch.setattr("workers.ownership.LOOK", 600)
    monkeypatch.setattr("workers.ownership.WATCH", 0.01)
    return Work(database, SCHEMA)


async def test_rest_ends_with_news(work: Work, connection: psycopg.AsyncConnection) -> None:
    async with asyncio.timeout(60):
        work.news.set()
        await work.rest(connection)


async def test_rest_ends_where_the_clock_leaps_past_what_is_due(
    work: Work, connection: psycopg.AsyncConnection
) -> None:
    left = iter((3_600.0, 3_600.0, -1.0))
    async with asyncio.timeout(60):
        await work.rest(connection, due_in=lambda: next(left))
    assert list(left) == []


async def test_rest_ends_when_the_connection_is_lost(
    work: Work, connection: psycopg.AsyncConnection, database: str
) -> None:
    resting = asyncio.create_task(work.rest(connection))
    await asyncio.sleep(0.1)
    assert not resting.done()
    with psycopg.connect(database, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
    async with asyncio.timeout(60):
        await resting
