"""The tail of the log: what it may leave out, and what it never does."""

from __future__ import annotations

import pytest
from psycopg import AsyncConnection

from api.streaming.log.tail import LogPage, Tail
from domain.eventlog.connection.log_head import Head, LastSeen, read_head
from domain.eventlog.connection.notifications import Listener
from tests.support.event_writer import opened
from tests.support.hub import append

pytestmark = pytest.mark.anyio


async def test_event_written_before_a_look_at_the_head_is_read_for_one_who_comes_during_it(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database) as store:
        await append(store, 1)
        readers = list[str]()

        async def slowly(connection: AsyncConnection, seen: LastSeen) -> Head:
            found = await read_head(connection, seen)
            readers.append("one who comes")
            return found

        monkeypatch.setattr("api.streaming.log.tail.read_head", slowly)
        tail = Tail(store, Listener(database, "executions"), "executions")
        page = await anext(tail.pages(lambda: not readers))
        assert [row.position for row in page.rows] == [1]


async def test_events_that_nobody_wants_are_not_read(database: str) -> None:
    async with opened(database) as store:
        await append(store, 2)
        tail = Tail(store, Listener(database, "executions"), "executions")
        assert await anext(tail.pages(lambda: True)) == LogPage((), 2)
