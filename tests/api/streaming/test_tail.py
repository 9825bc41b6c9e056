"""The tail reads events that a subscriber may need, and only those."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from api.streaming.log.tail import LogPage, Tail
from domain.eventlog.connection.log_head import Head, LastSeen, read_head
from domain.eventlog.connection.notifications import Listener
from domain.eventlog.store import Store
from tests.support.databases import new_database
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


async def test_tail_continues_although_old_connections_lead_to_a_server_that_was_replaced(
    database: str, admin: psycopg.Connection
) -> None:
    async with opened(database) as store:
        await append(store, 1)
    with new_database(admin, template=str(conninfo_to_dict(database)["dbname"])) as name:
        successor = make_conninfo(database, dbname=name)
        async with opened(database) as store, opened(successor) as other:
            listener = Listener(database, "executions")
            pages = Tail(store, listener, "executions").pages(lambda: False)
            assert [row.position for row in (await anext(pages)).rows] == [1]
            _lead_new_connections_to(successor, store, listener)
            await append(other, 1)
            store.seen.note(*await other.head())  # as if this server had written there
            listener.start()
            async with asyncio.timeout(10):
                while not (rows := (await anext(pages)).rows):
                    pass
            assert [row.position for row in rows] == [2]
            await listener.stop()


def _lead_new_connections_to(conninfo: str, store: Store, listener: Listener) -> None:
    """As a proxy that does not cut connections to a former primary."""
    listener.conninfo = store.connections._conninfo = conninfo
    for pool in (store.connections._readers, store.connections._searchers):
        pool.conninfo = conninfo
