"""The fence of a moving log waits for open transactions, refuses new writes, and opens again after a timeout."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import Any

import psycopg
import pytest
from psycopg import Connection, IsolationLevel
from psycopg.errors import ObjectInUse, SerializationFailure
from psycopg.sql import SQL, Identifier

from domain.errors import Overloaded
from domain.eventlog.encryption import Vault
from domain.eventlog.keyring import Keyring
from domain.eventlog.migrations import migrate_log
from domain.eventlog.moving import fence, journal
from domain.eventlog.moving.databases import connect_for_move
from domain.eventlog.moving.fence import Expired, StillWriting
from domain.eventlog.moving.tables import tables
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from domain.outages import MOVING
from tests.support.sample_aggregate import codec

SCHEMA, MOVE = "executions", "a-move"
WRITE = "INSERT INTO heartbeats VALUES ('run-1', now()) ON CONFLICT (execution) DO UPDATE SET at = now()"
NOTHING = SQL("INSERT INTO {} SELECT * FROM {} WHERE false")
LONG = 60.0

pytestmark = pytest.mark.anyio


@pytest.fixture
def mover(database: str) -> Iterator[Connection[Any]]:
    """A connection of a move that has installed its fence, but not closed it."""
    with connect_for_move(database, SCHEMA) as connection:
        journal.begin(connection, MOVE, "published", "dbname=elsewhere", follow=True)
        fence.build(connection, tables(connection))
        yield connection


@pytest.fixture
def writer(database: str) -> Iterator[Connection[Any]]:
    with psycopg.connect(database, options=session_options(SCHEMA)) as connection:
        yield connection


def test_closed_fence_refuses_every_table(mover: Connection[Any], writer: Connection[Any]) -> None:
    writer.autocommit = True
    writer.execute(WRITE)
    fence.close(mover, MOVE, LONG, LONG)
    for name in tables(mover):
        with pytest.raises(ObjectInUse, match="is being moved"):
            writer.execute(NOTHING.format(Identifier(name), Identifier(name)))
    fence.lift(mover, MOVE)
    writer.execute(WRITE)


def test_fence_waits_for_a_transaction_that_has_written(
    mover: Connection[Any], writer: Connection[Any]
) -> None:
    writer.execute(WRITE)
    with ThreadPoolExecutor() as threads:
        closing = threads.submit(fence.close, mover, MOVE, LONG, LONG)
        sleep(0.1)
        assert not closing.done()
        writer.commit()
        closing.result()


def test_transaction_that_only_holds_a_lock_is_refused(
    mover: Connection[Any], writer: Connection[Any]
) -> None:
    writer.execute("SELECT FROM head FOR UPDATE")
    fence.close(mover, MOVE, LONG, LONG)
    with pytest.raises(ObjectInUse):
        writer.execute("UPDATE head SET position = 1")


def test_transaction_that_began_before_the_fence_closed_is_refused(
    mover: Connection[Any], writer: Connection[Any]
) -> None:
    writer.isolation_level = IsolationLevel.REPEATABLE_READ
    writer.execute("SELECT FROM head")
    fence.close(mover, MOVE, LONG, LONG)
    with pytest.raises(SerializationFailure):
        writer.execute(WRITE)


def test_fence_opens_again_if_a_transaction_does_not_end(
    mover: Connection[Any], writer: Connection[Any]
) -> None:
    writer.execute(WRITE)
    with pytest.raises(StillWriting):
        fence.close(mover, MOVE, LONG, 0.1)
    writer.execute(WRITE)


def test_fence_that_has_opened_after_its_timeout_is_not_sealed(
    mover: Connection[Any], writer: Connection[Any]
) -> None:
    fence.close(mover, MOVE, 0.05, LONG)
    sleep(0.1)
    writer.execute(WRITE)
    writer.commit()
    with pytest.raises(Expired):
        fence.seal(mover, MOVE)


def test_sealed_fence_stays_closed(mover: Connection[Any], writer: Connection[Any]) -> None:
    fence.close(mover, MOVE, 5, LONG)
    fence.seal(mover, MOVE)
    with pytest.raises(ObjectInUse):
        writer.execute(WRITE)


def test_fenced_log_is_not_migrated(database: str, mover: Connection[Any]) -> None:
    fence.close(mover, MOVE, LONG, LONG)
    with pytest.raises(Overloaded, match="being moved"):
        migrate_log(database, SCHEMA)


async def test_store_reports_that_the_log_is_being_moved(
    database: str, mover: Connection[Any]
) -> None:
    fence.close(mover, MOVE, LONG, LONG)
    store = Store(database, SCHEMA, codec(), Keyring(Vault(bytes(32))))
    await store.open()
    try:
        with pytest.raises(Overloaded) as refused:
            async with store.reader() as connection:
                await connection.execute(WRITE.encode())
        assert refused.value.detail == MOVING
        assert store.outages.current is None
    finally:
        await store.close()
