"""The tail reads events that a subscriber may need, and only those."""

from __future__ import annotations

import pytest
from psycopg import AsyncConnection

from api.streaming.log.tail import LogPage, Tail
from domain.eventlog.connection.log_head import Head, LastSeen, read_head
from domain.eventlog.connection.notifications import Listener
from tests.support.event_writer import opened
from tests.support.hub import append

pytestmark = pytest.mark.anyio


async def test_event_before_the_head_is_read_for_a_subscriber_that_connects_while_the_head_is_read(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database) as store:
        await append(store, 1)
        readers = list[str]()

        async def slowly(connection: AsyncConnection, seen: LastSeen) -> Head:
            found = await read_head(connection, seen)
            readers.append("subscriber")
            return found

        monkeypatch.setattr("api.streaming.log.tail.read_head", slowly)
        tail = Tail(store, Listener(database, "executions"), "executions")
        page = await anext(tail.pages(lambda: not readers))
        assert [row.position for row in page.rows] == [1]


async def test_events_are_not_read_without_a_subscriber(database: str) -> None:
    async with opened(database) as store:
        await append(store, 2)
        tail = Tail(store, Listener(database, "executions"), "executions")
        assert await anext(tail.pages(lambda: True)) == LogPage((), 2)
