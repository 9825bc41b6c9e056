"""The sweeper removes stored copies of erased content, and vacuums the table of keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from psycopg import AsyncConnection

from domain.eventlog.sessions import session_options
from domain.supervisor import run_parts
from projections.deliveries.projection import Deliveries
from projections.deliveries.queue import DeliveryQueue, Settled
from projections.engine.migrations import migrate_projections
from tests.support.sample_aggregate import NOON
from workers.sweeper import Sweeper

pytestmark = pytest.mark.anyio
SCHEMA = "executions"
ROWS = """
INSERT INTO data_keys VALUES ('execution/a', '', 7, false), ('execution/b', 'wrapped', NULL, NULL);
INSERT INTO webhook_deliveries (webhook, position, stream, version, state, at, answer) VALUES
    ('wh_1', 1, 'execution/a', 1, 'delivered', now(), 'Sesame'),
    ('wh_1', 2, 'execution/b', 1, 'delivered', now() - interval '1 hour', 'kept'),
    ('wh_1', 3, 'execution/a', 2, 'waiting', NULL, NULL);
INSERT INTO webhook_progress (webhook, last_at, answer)
    SELECT webhook, at, answer FROM webhook_deliveries WHERE position = 1;
INSERT INTO snapshots VALUES ('execution/a', 500, 1, now(), 'x', 'shape', NULL),
    ('execution/b', 500, 2, now(), 'x', 'shape', NULL);
"""


@pytest.fixture
async def connection(database: str) -> AsyncIterator[AsyncConnection]:
    options = session_options(SCHEMA)
    async with await AsyncConnection.connect(
        database, autocommit=True, options=options
    ) as connection:
        await connection.execute(ROWS.encode())
        yield connection


async def ask(connection: AsyncConnection, query: str) -> list[Any]:
    return await (await connection.execute(query.encode())).fetchall()


async def test_replies_and_snapshots_of_erased_streams_are_removed_and_others_stay(
    database: str, connection: AsyncConnection
) -> None:
    sweeper = Sweeper(database, SCHEMA)
    assert [await sweeper.sweep(connection) for _ in range(2)] == [True, False]
    answers = await ask(connection, "SELECT answer FROM webhook_deliveries ORDER BY position")
    assert answers == [(None,), ("kept",), (None,)]
    assert await ask(connection, "SELECT answer FROM webhook_progress") == [(None,)]
    assert await ask(connection, "SELECT originator_id FROM snapshots") == [("execution/b",)]
    assert await ask(connection, "SELECT swept FROM data_keys ORDER BY 1") == [(True,), (None,)]


async def test_reply_stored_after_the_sweep_has_no_erased_content(
    database: str, connection: AsyncConnection
) -> None:
    migrate_projections(database, SCHEMA, [Deliveries()])
    await Sweeper(database, SCHEMA).sweep(connection)
    settled = Settled(
        "wh_1", "execution/a", 3, "delivered", NOON, 200, 5, "Sesame", None, None, 0, "s", 1, 0
    )
    await DeliveryQueue(connection).settle([settled])
    for query in ("SELECT * FROM webhook_deliveries", "SELECT * FROM webhook_progress"):
        assert "Sesame" not in str(await ask(connection, query))
    assert await ask(
        connection, "SELECT state, status FROM webhook_deliveries WHERE position = 3"
    ) == [("delivered", 200)]


async def test_former_row_of_a_destroyed_key_leaves_its_page(
    database: str, connection: AsyncConnection
) -> None:
    await connection.execute(
        "UPDATE data_keys SET wrapped = '', swept = false WHERE originator_id = 'execution/b'"
    )
    await connection.execute("CREATE EXTENSION pageinspect SCHEMA public")
    page = """SELECT count(*) FROM public.heap_page_items(public.get_raw_page('data_keys', 0))
        WHERE encode(t_data, 'escape') LIKE '%wrapped%'"""
    assert await ask(connection, page) == [(1,)]
    await Sweeper(database, SCHEMA).sweep(connection)
    assert await ask(connection, page) == [(0,)]


async def test_streams_are_swept_in_batches_and_vacuumed_once(
    database: str, connection: AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    erased = """INSERT INTO data_keys
        SELECT 'order/' || n, '', 8, false FROM generate_series(1, 25) AS n"""
    await connection.execute(erased.encode())
    monkeypatch.setattr("workers.sweeper.AT_ONCE", 10)
    sweeper = Sweeper(database, SCHEMA)
    vacuums = count_vacuums(sweeper, monkeypatch)
    assert await sweeper.sweep(connection)
    assert len(vacuums) == 1
    assert await ask(connection, "SELECT FROM data_keys WHERE NOT swept") == []


def count_vacuums(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    vacuums: list[None] = []

    async def vacuum(_: AsyncConnection) -> None:
        vacuums.append(None)

    monkeypatch.setattr(sweeper, "vacuum", vacuum)
    return vacuums


async def test_next_owner_vacuums_if_the_former_one_ended_before_it_did(
    database: str, connection: AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Sweeper(database, SCHEMA), Sweeper(database, SCHEMA)

    async def cancel(_: AsyncConnection) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(first, "vacuum", cancel)
    with pytest.raises(asyncio.CancelledError):
        await first.sweep(connection)
    assert await count_vacuums_at_start(second, monkeypatch) == 1


async def test_owner_of_a_log_without_destroyed_keys_does_not_vacuum(
    database: str, connection: AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await Sweeper(database, SCHEMA).sweep(connection)
    assert await count_vacuums_at_start(Sweeper(database, SCHEMA), monkeypatch) == 0


async def count_vacuums_at_start(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> int:
    """The number of vacuums before it waits for work."""
    vacuums, waited = count_vacuums(sweeper, monkeypatch), asyncio.Event()

    async def wait(_: AsyncConnection) -> None:
        waited.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(sweeper, "wait_for_work", wait)
    async with asyncio.timeout(60), run_parts([sweeper]):
        await waited.wait()
    return len(vacuums)
