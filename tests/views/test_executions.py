"""The rows are the executions, however the log was cut into pages, and hold nothing in the clear."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings
from psycopg import AsyncConnection

from domain import house
from domain.codec import open_json, sealed_json
from domain.execution.document import document
from domain.execution.events import CheckpointSaved, ExecutionUpdated, ProgressUpdated
from domain.execution.step_events import StepStarted
from domain.kernel import Held, Recorded
from domain.recorder import session_options
from projections.executions import Executions
from projections.kernel import Follower
from tests.views.following import CODEC, followed, logs, rows, states
from tests.views.sample import sample
from tests.views.writing import NOON, Happening, Log, completed, created, opened, started

few = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def listed(view: Executions, connection: AsyncConnection) -> dict[str, Held[Any]]:
    await connection.execute("UPDATE bookmarks SET position = 1")
    page = await view.find(connection, limit=500)
    return {held.state.id: held for held in page.data}


@few
@given(logs())
def test_the_list_is_what_the_events_lead_to(database: str, log: list[Recorded]) -> None:
    async def check() -> None:
        view = Executions(CODEC)
        async with followed(database, view, log) as connection:
            found = await listed(view, connection)
        for held in states(log):
            assert found[held.state.id] == held

    asyncio.run(check())


@few
@given(logs(), st.integers(1, 9), st.integers(1, 3))
def test_neither_the_size_of_a_page_nor_of_the_cache_changes_a_row(
    database: str, log: list[Recorded], page: int, capacity: int
) -> None:
    async def result(view: Executions, size: int) -> list[Any]:
        async with followed(database, view, log, size) as connection:
            return await rows(connection, "executions")

    async def check() -> None:
        whole = await result(Executions(CODEC), 10_000)
        assert await result(Executions(CODEC, capacity), page) == whole

    asyncio.run(check())


@few
@given(logs(), st.data())
def test_forgetting_between_pages_changes_no_row(
    database: str, log: list[Recorded], data: st.DataObject
) -> None:
    class Forgetful(Executions):
        async def apply(self, connection: AsyncConnection, page: Sequence[Recorded]) -> None:
            await super().apply(connection, page)
            if data.draw(st.booleans()):
                self.forget()

    async def check() -> None:
        async with followed(database, Executions(CODEC), log) as connection:
            whole = await rows(connection, "executions")
        async with followed(database, Forgetful(CODEC), log, 2) as connection:
            assert await rows(connection, "executions") == whole

    asyncio.run(check())


async def test_sealed_content_stays_sealed_and_opens_with_the_key(views: str) -> None:
    options = session_options("executions")
    async with (
        opened(views) as store,
        await AsyncConnection.connect(views, autocommit=True, options=options) as connection,
    ):
        secrets = [
            *started("e"),
            Happening("e", StepStarted(step="one", input={"for": "your eyes only"})),
            Happening(
                "e",
                CheckpointSaved(checkpoint="c", state={"for": "your eyes only"}, step="one"),
            ),
            completed("e", "for your eyes only"),
        ]
        await Log(store).write([created("e"), *secrets])
        view = Executions(store.codec)
        await Follower(view, store).catch_up(connection)
        assert b"your eyes" not in repr(await rows(connection, "executions")).encode()
        [held] = (await view.find(connection)).data
        stored = view.expected(held)
        assert stored == (await view.stored(connection, ["e"]))["e"]
        keys = await store.keys(["execution/e"])
        shown = sealed_json(document(held, NOON))
        assert open_json(shown, keys["execution/e"]).count(b"your eyes only") == 3


async def test_what_is_null_is_not_what_is_default(views: str) -> None:
    options = session_options("executions")
    async with (
        opened(views) as store,
        await AsyncConnection.connect(views, autocommit=True, options=options) as connection,
    ):
        log, view = Log(store), Executions(store.codec, capacity=1)
        follower = Follower(view, store)
        await log.write([created("endless", timeout=None), created("plain"), *sample()])
        await follower.catch_up(connection, 1)
        await follower.catch_up(connection)
        await log.write([Happening("endless", ExecutionUpdated(tags=("later",)))])
        await follower.catch_up(connection)
        found = await view.stored(connection, ["endless", "plain"])
        assert found["endless"][1].state.timeout is None
        assert found["plain"][1].state.timeout == timedelta(hours=1)


async def test_a_long_page_leaves_the_loop_to_others(views: str) -> None:
    options = session_options("executions")
    async with (
        opened(views) as store,
        await AsyncConnection.connect(views, autocommit=True, options=options) as connection,
    ):
        await Log(store).write([created(f"e-{number}") for number in range(1_000)])
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        task = asyncio.create_task(others())
        await Follower(Executions(store.codec), store).catch_up(connection)
        task.cancel()
        assert turns > 10


def test_the_view_is_shown_the_events_of_executions_alone() -> None:
    assert Executions.types is not None
    assert {name.partition(".")[0] for name in Executions.types} == {"execution"}
    assert ProgressUpdated.type in Executions.types
    assert set(Executions.types) <= set(house.codec()._events)
