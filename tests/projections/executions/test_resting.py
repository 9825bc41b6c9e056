"""Where the row of an execution is kept changes nothing of what it says."""

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
def any_may_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "MOST_ACTIVE", 0)


async def places(connection: AsyncConnection) -> dict[str, str]:
    """In which table each execution is."""
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
def test_executions_that_rest_and_go_on_at_any_time_are_listed_as_their_events_say(
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
async def test_event_of_an_execution_that_rests_makes_it_active(views: str, forgets: bool) -> None:
    async with following(views) as (log, view, follower, connection):
        await log.write([*some(3), *started("e-1")])
        await follower.catch_up(connection)
        assert await places(connection) == {"e-0": "active", "e-1": "active", "e-2": "active"}
        async with connection.transaction():
            assert not await view.move_inactive(connection, 2)
        assert await places(connection) == {"e-0": "resting", "e-1": "active", "e-2": "active"}
        async with connection.transaction():
            await view.move_inactive(connection, log.position)
        assert set((await places(connection)).values()) == {"resting"}
        if forgets:
            view.forget()
        await log.write([Happening("e-0", ExecutionUpdated(tags=("later",))), completed("e-1")])
        await follower.catch_up(connection)
        assert await places(connection) == {"e-0": "active", "e-1": "ended", "e-2": "resting"}
        assert follower.parked == 0


async def test_all_rest_that_may_where_the_table_of_the_active_has_become_large(
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
            assert list((await places(connection)).values()).count("resting") == resting


async def test_oldest_events_rest_first_and_only_beyond_so_many(
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
            found = await places(connection)
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
            found = await places(connection)
            resting.append([key for key, place in found.items() if place == "resting"])

        await move(3)
        await log.write([*started("e-1")])
        await follower.catch_up(connection)
        for until in (3, log.position, log.position):
            await move(until)
        assert resting == [["e-0"], ["e-0"], ["e-0", "e-2"], ["e-0", "e-2", "e-3"]]


async def test_so_few_rest_at_once_that_the_next_page_does_not_wait_for_many(views: str) -> None:
    async with following(views) as (log, view, follower, connection):
        await log.write(some(120))
        await follower.catch_up(connection)
        for moved, more in ((50, True), (100, True), (120, False)):
            async with connection.transaction():
                assert await view.move_inactive(connection, log.position) == more
            assert list((await places(connection)).values()).count("resting") == moved


class Lost(Exception):
    """What undoes a transaction."""


async def test_page_that_is_undone_leaves_those_that_rest_where_they_were(views: str) -> None:
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
        assert set((await places(connection)).values()) == {"resting"}
        failing.fails = False
        await again.catch_up(connection)
        assert await places(connection) == {"e-0": "active", "e-1": "ended"}


async def test_rest_that_is_undone_is_no_rest_once_the_view_has_forgotten(views: str) -> None:
    async def tidy_in_vain() -> None:
        async with connection.transaction():
            await view.move_inactive(connection, log.position)
            raise Lost

    async with following(views) as (log, view, follower, connection):
        await log.write(some(1))
        await follower.catch_up(connection)
        with pytest.raises(Lost):
            await tidy_in_vain()
        view.forget()
        assert await places(connection) == {"e-0": "active"}
        await log.write([completed("e-0")])
        await follower.catch_up(connection)
        assert await places(connection) == {"e-0": "ended"}


async def test_where_a_row_is_kept_is_no_difference_and_what_it_says_is(views: str) -> None:
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
