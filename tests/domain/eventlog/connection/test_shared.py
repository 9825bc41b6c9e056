"""Several logs of one database share connections, and each sees only its own tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import cast

import psycopg
import pytest

from domain.eventlog.connection import pools, shared
from domain.eventlog.connection.notification_sender import NotificationSender
from domain.eventlog.connection.notifications import Wake
from domain.eventlog.connection.shared import SharedDatabase, SharedDatabases, WriterSlots
from domain.eventlog.connection.shared_listener import ListenConnection, SharedListener
from domain.eventlog.migrations import migrate_log
from domain.eventlog.store import Store
from domain.supervisor import run_parts
from tests.support.sample_aggregate import Begin, Raise, codec, keyring, message, running_bus

pytestmark = pytest.mark.anyio

SOON = 10
"""Seconds; each wait takes milliseconds."""
ALL = """SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""
END = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""


@pytest.fixture
def other_schema(database: str) -> str:
    migrate_log(database, "other")
    return "other"


@pytest.fixture
async def common(database: str) -> AsyncIterator[SharedDatabase]:
    async with SharedDatabases(2).of(database) as made:
        yield made


def log(conninfo: str, schema: str, common: SharedDatabase) -> Store:
    return Store(conninfo, schema, codec(), keyring(), log_name=schema, shared=common)


def connections(conninfo: str) -> int:
    with psycopg.connect(conninfo) as connection:
        row = connection.execute(ALL).fetchone()
    return int(row[0]) if row else 0


async def test_shared_connections_show_each_log_its_own_tables(
    database: str, other_schema: str, common: SharedDatabase
) -> None:
    one, two = log(database, "executions", common), log(database, other_schema, common)
    async with running_bus(one) as bus, running_bus(two) as other:
        for number in range(5):
            await bus.send(message(f"a{number}", Begin()))
        await other.send(message("a0", Begin()))
        await other.send(message("a0", Raise()))
        for _ in range(10):
            heads = await asyncio.gather(*(log.head() for log in (one, two)))
            states = await asyncio.gather(*(log.load("tally/a0") for log in (one, two)))
            assert [head[0] for head in heads] == [5, 2]
            assert [each and each.version for each in states] == [1, 2]


async def test_connection_that_failed_to_switch_to_a_log_finds_no_table(
    common: SharedDatabase,
) -> None:
    connection = await common.readers.getconn()
    try:
        with pytest.raises(psycopg.errors.UndefinedTable):
            await connection.execute("SELECT FROM head")
        assert isinstance(connection, shared.SharedConnection)
        await connection.turn_to("executions")
        await connection.execute("SELECT FROM head")
    finally:
        await common.readers.putconn(connection)


async def test_idle_connections_are_closed(
    database: str, other_schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in (pools, shared):
        monkeypatch.setattr(room, "IDLE", 0.2)
    monkeypatch.setattr(shared, "POLL_INTERVAL", 0.05)
    databases = SharedDatabases(4)
    async with databases.of(database) as common:
        logs = [log(database, schema, common) for schema in ("executions", other_schema)]
        async with running_bus(logs[0]) as bus, running_bus(logs[1]) as other:
            for each in (bus, other):
                await each.send(message("a", Begin()))
            await asyncio.gather(*(each.head() for each in logs for _ in range(4)))
            assert connections(database) > 4
            async with asyncio.timeout(SOON):
                while connections(database) > 2:  # one listens, one notifies  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            await bus.send(message("a", Raise()))
    assert connections(database) == 0


async def test_log_uses_no_more_than_its_share_of_a_pool(database: str, other_schema: str) -> None:
    async with SharedDatabases(4).of(database) as common:
        one, two = log(database, "executions", common), log(database, other_schema, common)
        await one.open()
        await two.open()
        async with one.reader(), one.reader():
            waiting = asyncio.create_task(one.head())
            await asyncio.sleep(0.1)
            assert not waiting.done()
            assert await two.head()
        await waiting
        await one.close()
        await two.close()


async def test_shared_listener_notifies_current_subscribers_only(database: str) -> None:
    connection = ListenConnection(database)
    first, second = SharedListener(connection, "a"), SharedListener(connection, "b")
    heard, late = first.subscribe("a"), second.subscribe("b")
    async with run_parts([connection, first]):
        assert await heard.wait(SOON)  # as it is connected
        assert first.is_listening
        second.start()
        assert await late.wait(SOON)
        await notify(database, "b")
        assert await late.wait(SOON)
        assert not await heard.wait(0.1)
        await second.stop()
        await notify(database, "b")
        await notify(database, "a")
        assert await heard.wait(SOON)
        assert not await late.wait(0.1)


async def test_listener_that_lost_its_connection_reports_it_and_wakes_all_after_reconnecting(
    database: str,
) -> None:
    connection = ListenConnection(database)
    listeners = [SharedListener(connection, name) for name in ("a", "b")]
    heard = [listener.subscribe(listener._schema) for listener in listeners]
    async with run_parts([connection, *listeners]):
        assert all([await each.wait(SOON) for each in heard])
        await notify(database, "a", END)
        assert all([await each.wait(SOON) for each in heard])
        await notify(database, "b")
        assert await heard[1].wait(SOON)


async def test_notifier_sends_what_was_committed_while_it_was_disconnected(database: str) -> None:
    connection, sender = ListenConnection(database), NotificationSender(database)
    listener = SharedListener(connection, "a")
    heard: Wake = listener.subscribe("a")
    async with run_parts([connection, listener, sender]):
        assert await heard.wait(SOON)
        sender.notify("a")
        assert await heard.wait(SOON)
        sender._conninfo = "host=127.0.0.1 port=9"
        await notify(database, "a", END)
        sender.notify("a")
        await asyncio.sleep(0.3)
        while await heard.wait(0.3):
            pass
        sender._conninfo = database
        assert await heard.wait(SOON)


async def notify(database: str, channel: str, query: str = "SELECT pg_notify(%s, '')") -> None:
    values = (channel,) if "%s" in query else ()
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(query, values)


async def test_slot_of_the_longest_idle_connection_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared, "SLOT_TIMEOUT", 0.05)
    slots, closed = WriterSlots(2), []

    async def connect() -> psycopg.AsyncConnection:
        return None  # type: ignore[return-value]  # nothing uses it

    def close(owner: str):  # type: ignore[no-untyped-def]
        async def closing() -> None:
            closed.append(owner)
            slots.leave(owner)

        return closing

    for owner in ("one", "two"):
        await slots.connect(connect)
        slots.mark_idle(owner, close(owner))
    await slots.connect(connect)
    assert closed == ["one"]
    slots.resume("two")
    with pytest.raises(TimeoutError):
        await slots.connect(connect)
    slots.mark_idle("two", close("two"))
    await slots.connect(connect)
    assert closed == ["one", "two"]


async def test_connection_that_becomes_idle_gives_its_slot_to_a_waiting_log() -> None:
    slots = WriterSlots(1)

    async def connect() -> psycopg.AsyncConnection:
        return None  # type: ignore[return-value]  # nothing uses it

    async def close() -> None:
        slots.leave("one")

    await slots.connect(connect)
    waiting = [asyncio.create_task(slots.connect(connect)) for _ in range(2)]
    await asyncio.sleep(0)
    slots.mark_idle("one", close)
    async with asyncio.timeout(1):
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    slots.leave("two")
    async with asyncio.timeout(1):
        await asyncio.gather(*waiting)


async def test_log_on_shared_connections_is_moved_to_no_other_database(
    database: str, common: SharedDatabase
) -> None:
    with pytest.raises(RuntimeError):
        await log(database, "executions", common).connections.relocate("dbname=elsewhere")
    assert (common.readers.conninfo, common.searchers.conninfo) == (database, database)


async def test_session_keeps_nothing_of_its_previous_log(
    database: str, other_schema: str, common: SharedDatabase
) -> None:
    one, two = log(database, "executions", common), log(database, other_schema, common)
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE executions.head SET position = 1")
        connection.execute("UPDATE other.head SET position = 2")
    sessions = set()
    for number in range(20):  # until a statement is prepared and a connection reused
        for store, position in ((one, 1), (two, 2)):
            async with store.reader() as connection:
                cursor = await connection.execute(
                    "SELECT position, pg_backend_pid(), current_schemas(false)::text FROM head"
                )
                found, session, schemas = await cursor.fetchone() or (0, 0, "")
                sessions.add(session)
                assert (found, schemas) == (position, f"{{{store.schema}}}")
                if number % 4 == 0:
                    await connection.execute("BEGIN")  # left open, with a setting changed in it
                    await connection.execute("SET LOCAL search_path = public")
    assert len(sessions) <= 2


async def test_busy_connection_keeps_its_slot_for_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without turns, two busy logs with one slot would connect for each command."""
    monkeypatch.setattr(shared, "TURN_LASTS", 0.2)
    slots, connects = WriterSlots(1), list[str]()
    connected: set[str] = set()

    async def close(name: str) -> None:
        connected.discard(name)
        slots.leave(name)

    async def connect(name: str) -> psycopg.AsyncConnection:
        connects.append(name)
        return cast(psycopg.AsyncConnection, None)

    async def write(name: str, until: float) -> int:
        written = 0
        while asyncio.get_running_loop().time() < until:
            if name not in connected:
                await slots.connect(partial(connect, name))
                connected.add(name)
            slots.resume(name)
            await asyncio.sleep(0.001)
            slots.mark_idle(name, partial(close, name))
            written += 1
            await asyncio.sleep(0)
        return written

    end = asyncio.get_running_loop().time() + 1
    written = await asyncio.gather(write("north", end), write("south", end))
    assert min(written) > 20
    assert len(connects) <= 7


async def test_unused_connection_gives_its_slot_to_another_log_at_once() -> None:
    slots, closed = WriterSlots(1), asyncio.Event()

    async def connect() -> psycopg.AsyncConnection:
        return cast(psycopg.AsyncConnection, None)

    async def close() -> None:
        closed.set()
        slots.leave("north")

    await slots.connect(connect)
    slots.mark_idle("north", close)
    async with asyncio.timeout(SOON):
        await slots.connect(connect)
    assert closed.is_set()
