"""Moving the row of an execution between the tables of active and of resting ones changes no answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import hypothesis.strategies as st
import psycopg
import pytest
from hypothesis import HealthCheck, given
from psycopg import AsyncConnection

from domain.eventlog.codec import to_sealed_json
from domain.execution.events.creation import ExecutionUpdated
from domain.model import Recorded
from projections.engine.follower import Follower
from projections.engine.pages import LogPages
from projections.executions import projection
from projections.executions.projection import Executions
from projections.representations.execution import document
from tests.support.event_writer import (
    NOON,
    Happening,
    Log,
    completed,
    opened,
    some,
    started,
)
from tests.support.examples import at_most
from tests.support.random_logs import CODEC, followed, logs, states
from tests.support.rebuilds import connect, differences

LATER = NOON + timedelta(days=30)
TABLES_OF_ROWS = "SELECT id, substr(tableoid::regclass::text, 12) FROM executions ORDER BY id"
few = at_most(15, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def allow_all_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "MOST_ACTIVE", 0)


async def find_tables(connection: AsyncConnection) -> dict[str, str]:
    """The table that holds each execution."""
    return dict(await (await connection.execute(TABLES_OF_ROWS)).fetchall())


@asynccontextmanager
async def following(
    conninfo: str,
) -> AsyncIterator[tuple[Log, Executions, Follower, AsyncConnection]]:
    async with opened(conninfo) as store, await connect(conninfo) as connection:
        view = Executions(store.codec)
        yield Log(store), view, Follower(view, LogPages(store, view.types)), connection


@few
@given(logs(), st.integers(1, 5), st.data())
def test_executions_that_are_moved_at_any_time_are_listed_as_folded_from_their_events(
    database: str, log: list[Recorded], page: int, data: st.DataObject
) -> None:
    class Resting(Executions):
        async def apply(self, connection: AsyncConnection, page: Sequence[Recorded]) -> None:
            await super().apply(connection, page)
            until = data.draw(st.integers(0, page[-1].position))
            await self.move_inactive(connection, until)
            if data.draw(st.booleans()):
                self.forget()

    async def check() -> None:
        view = Resting(CODEC)
        async with followed(database, view, log, page) as connection:
            await connection.execute("UPDATE bookmarks SET position = 1")
            found = (await view.find(connection, LATER, limit=500)).data
        expected = states(log)
        assert len(found) == len(expected)
        shown = {one.id: one.document for one in found}
        for versioned in expected:
            assert shown[versioned.state.id] == to_sealed_json(document(versioned, LATER))

    asyncio.run(check())


@pytest.mark.parametrize("forgets", [False, True])
async def test_event_of_a_resting_execution_moves_it_to_the_active_ones(
    views: str, forgets: bool
) -> None:
    async with following(views) as (log, view, follower, connection):
        await log.write([*some(3), *started("e-1")])
        await follower.catch_up(connection)
        assert await find_tables(connection) == {"e-0": "active", "e-1": "active", "e-2": "active"}
        async with connection.transaction():
            assert not await view.move_inactive(connection, 2)
        assert await find_tables(connection) == {"e-0": "resting", "e-1": "active", "e-2": "active"}
        async with connection.transaction():
            await view.move_inactive(connection, log.position)
        assert set((await find_tables(connection)).values()) == {"resting"}
        if forgets:
            view.forget()
        await log.write([Happening("e-0", ExecutionUpdated(tags=("later",))), completed("e-1")])
        await follower.catch_up(connection)
        assert await find_tables(connection) == {"e-0": "active", "e-1": "ended", "e-2": "resting"}
        assert follower.parked == 0


async def test_more_executions_are_moved_if_the_table_of_active_ones_is_large(
    views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection, "MOST_ACTIVE", 2)
    async with following(views) as (log, view, follower, connection):
        await log.write(some(4))
        await follower.catch_up(connection)
        for large, resting in ((100_000, 2), (8_192, 3)):
            monkeypatch.setattr(projection, "LARGE", large)
            async with connection.transaction():
                await view.move_inactive(connection, log.position - 1)
            assert list((await find_tables(connection)).values()).count("resting") == resting


async def test_oldest_executions_are_moved_first_and_some_stay_active(
    views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection, "MOST_ACTIVE", 2)
    monkeypatch.setattr(projection, "MOST_MOVED", 2)
    async with following(views) as (log, view, follower, connection):
        await log.write([*some(5), *started("e-0")])
        await follower.catch_up(connection)
        resting = []
        for _ in range(3):
            async with connection.transaction():
                more = await view.move_inactive(connection, log.position)
            found = await find_tables(connection)
            resting.append(([key for key, place in found.items() if place == "resting"], more))
        oldest = ["e-1", "e-2", "e-3"]
        assert resting == [(oldest[:2], True), (oldest, False), (oldest, False)]


async def test_inactive_rows_are_found_once_for_many_moves_and_stay_if_they_change_meanwhile(
    views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection, "MOST_MOVED", 1)
    async with following(views) as (log, view, follower, connection):
        await log.write(some(4))
        await follower.catch_up(connection)
        resting: list[list[str]] = []

        async def move(until: int) -> None:
            async with connection.transaction():
                await view.move_inactive(connection, until)
            found = await find_tables(connection)
            resting.append([key for key, place in found.items() if place == "resting"])

        await move(3)
        await log.write([*started("e-1")])
        await follower.catch_up(connection)
        for until in (3, log.position, log.position):
            await move(until)
        assert resting == [["e-0"], ["e-0"], ["e-0", "e-2"], ["e-0", "e-2", "e-3"]]


async def test_move_is_limited_to_few_rows_so_that_the_next_page_does_not_wait(views: str) -> None:
    async with following(views) as (log, view, follower, connection):
        await log.write(some(120))
        await follower.catch_up(connection)
        for moved, more in ((50, True), (100, True), (120, False)):
            async with connection.transaction():
                assert await view.move_inactive(connection, log.position) == more
            assert list((await find_tables(connection)).values()).count("resting") == moved


class Lost(Exception):
    """Rolls a transaction back."""


async def test_page_that_is_rolled_back_leaves_resting_executions_where_they_were(
    views: str,
) -> None:
    class Failing(Executions):
        fails = True

        async def apply(self, connection: AsyncConnection, page: Sequence[Recorded]) -> None:
            await super().apply(connection, page)
            if self.fails:
                raise psycopg.OperationalError

    async with following(views) as (log, view, follower, connection), opened(views) as store:
        await log.write([*some(2), *started("e-1")])
        await follower.catch_up(connection)
        async with connection.transaction():
            await view.move_inactive(connection, log.position)
        await log.write([Happening("e-0", ExecutionUpdated(tags=("later",))), completed("e-1")])
        failing = Failing(store.codec)
        again = Follower(failing, LogPages(store, failing.types))
        with pytest.raises(psycopg.OperationalError):
            await again.catch_up(connection)
        assert set((await find_tables(connection)).values()) == {"resting"}
        failing.fails = False
        await again.catch_up(connection)
        assert await find_tables(connection) == {"e-0": "active", "e-1": "ended"}


async def test_move_that_is_rolled_back_has_no_effect_after_the_cache_is_cleared(
    views: str,
) -> None:
    async def move_and_roll_back() -> None:
        async with connection.transaction():
            await view.move_inactive(connection, log.position)
            raise Lost

    async with following(views) as (log, view, follower, connection):
        await log.write(some(1))
        await follower.catch_up(connection)
        with pytest.raises(Lost):
            await move_and_roll_back()
        view.forget()
        assert await find_tables(connection) == {"e-0": "active"}
        await log.write([completed("e-0")])
        await follower.catch_up(connection)
        assert await find_tables(connection) == {"e-0": "ended"}


async def test_table_of_a_row_is_no_difference_and_its_content_is(views: str) -> None:
    async with following(views) as (log, view, follower, connection):
        await log.write([*some(4), *started("e-1")])
        await follower.catch_up(connection)
        async with connection.transaction():
            await view.move_inactive(connection, 2)
        async with opened(views) as store:
            assert await differences(views, store) == []
            await connection.execute("UPDATE executions_resting SET service = 'x' WHERE id = 'e-0'")
            await connection.execute("DELETE FROM executions_active WHERE id = 'e-3'")
            assert await differences(views, store) == [
                ("executions_open e-0", "differs in service"),
                ("executions_open e-3", "there is no row"),
            ]
