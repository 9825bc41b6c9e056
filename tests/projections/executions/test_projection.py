"""Rows of the view `executions` equal the folded events, whatever the page size, and contain no plaintext."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import hypothesis.strategies as st
import orjson
import pytest
from hypothesis import HealthCheck, given
from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier

from domain import registry
from domain.eventlog.codec import to_sealed_json
from domain.eventlog.sessions import session_options
from domain.execution.events.creation import ExecutionUpdated
from domain.execution.events.lifecycle import ExecutionFailed, RetryScheduled
from domain.execution.events.progress import CheckpointSaved, ProgressUpdated
from domain.execution.events.steps import StepCompleted, StepStarted
from domain.execution.types import ExecutionError
from domain.model import Recorded
from projections.engine.follower import Follower
from projections.engine.pages import LogPages
from projections.executions import stored_states
from projections.executions.projection import Executions
from projections.executions.tables import TABLES
from projections.representations.client_json import open_json, plain_json
from projections.representations.execution import document
from tests.support.event_writer import NOON, Happening, Log, completed, created, opened, started
from tests.support.examples import at_most
from tests.support.random_logs import CODEC, followed, logs, rows, states
from tests.support.sample_executions import sample

LATER = NOON + timedelta(days=30)
few = at_most(15, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def list_documents(view: Executions, connection: AsyncConnection) -> dict[str, bytes]:
    await connection.execute("UPDATE bookmarks SET position = 1")
    found = (await view.find(connection, LATER, limit=500)).data
    return {one.id: one.document for one in found}


@few
@given(logs())
def test_executions_rows_equal_the_folded_events(database: str, log: list[Recorded]) -> None:
    async def check() -> None:
        view = Executions(CODEC)
        async with followed(database, view, log) as connection:
            found = await list_documents(view, connection)
        for versioned in states(log):
            assert found[versioned.state.id] == to_sealed_json(document(versioned, LATER))

    asyncio.run(check())


@few
@given(logs(), st.integers(1, 9), st.integers(1, 3))
def test_page_size_and_cache_size_change_no_row(
    database: str, log: list[Recorded], page: int, capacity: int
) -> None:
    async def result(view: Executions, size: int) -> list[Any]:
        async with followed(database, view, log, size) as connection:
            return [await rows(connection, table) for table in TABLES]

    async def check() -> None:
        whole = await result(Executions(CODEC), 10_000)
        assert await result(Executions(CODEC, capacity), page) == whole

    asyncio.run(check())


@few
@given(logs(), st.data())
def test_clearing_the_cache_between_pages_changes_no_row(
    database: str, log: list[Recorded], data: st.DataObject
) -> None:
    class Forgetful(Executions):
        async def apply(self, connection: AsyncConnection, page: Sequence[Recorded]) -> None:
            await super().apply(connection, page)
            if data.draw(st.booleans()):
                self.forget()

    async def check() -> None:
        async with followed(database, Executions(CODEC), log) as connection:
            whole = [await rows(connection, table) for table in TABLES]
        async with followed(database, Forgetful(CODEC), log, 2) as connection:
            assert [await rows(connection, table) for table in TABLES] == whole

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
        await Follower(view, LogPages(store, view.types)).catch_up(connection)
        assert b"your eyes" not in repr(await rows(connection, "executions")).encode()
        [shown] = (await view.find(connection, NOON)).data
        keys = await store.keys(["execution/e"])
        assert open_json(shown.document, keys["execution/e"]).count(b"your eyes only") == 3


async def test_stream_continued_after_its_end_is_loaded_from_its_events(views: str) -> None:
    options = session_options("executions")
    async with (
        opened(views) as store,
        await AsyncConnection.connect(views, autocommit=True, options=options) as connection,
    ):
        log, view = Log(store), Executions(store.codec)
        follower = Follower(view, LogPages(store, view.types))
        await log.write([created("e"), *started("e"), completed("e", "done")])
        await follower.catch_up(connection)
        view.forget()
        await log.write([Happening("e", ExecutionUpdated(tags=("later",)))])
        await follower.catch_up(connection)
        assert follower.parked == 0
        versioned = await store.load("execution/e")
        assert versioned is not None
        assert versioned.state.tags == ("later",)
        [shown] = (await view.find(connection, NOON)).data
        keys = await store.keys(["execution/e"])
        assert open_json(shown.document, keys["execution/e"]) == plain_json(
            document(versioned, NOON)
        )


OTHERS = {"executions", "executions_open", "execution_totals"}
LEAVES = [table for table in TABLES if table not in OTHERS]


async def tables_of(connection: AsyncConnection, execution: str) -> list[str]:
    found = []
    for table in LEAVES:
        query = SQL("SELECT FROM {} WHERE id = %s").format(Identifier(table))
        if (await connection.execute(query, (execution,))).rowcount:
            found.append(table)
    return found


async def test_execution_moves_between_the_tables_of_open_and_ended_ones(
    views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_states, "MOST_EVENTS", 2)
    error = ExecutionError(code="E", message="broken", recoverable=True)
    failed = Happening("e", ExecutionFailed(error=error, final=True, will_retry=False))
    retried = Happening("e", RetryScheduled(retry=1, delay=timedelta(0), next_retry_at=NOON))
    options = session_options("executions")
    async with (
        opened(views) as store,
        await AsyncConnection.connect(views, autocommit=True, options=options) as connection,
    ):
        log, view = Log(store), Executions(store.codec)
        follower = Follower(view, LogPages(store, view.types))
        for happenings, tables in (
            ([created("e")], ["executions_active"]),
            (started("e"), ["executions_active", "execution_states"]),
            ([failed], ["executions_ended", "execution_documents"]),
            ([retried], ["executions_active", "execution_states"]),
            ([completed("e")], ["executions_ended", "execution_documents"]),
        ):
            await log.write(happenings)
            await follower.catch_up(connection)
            assert await tables_of(connection, "e") == tables
            if tables == ["executions_active", "execution_states"]:
                view.forget()
            [shown] = (await view.find(connection, NOON)).data
            versioned = await store.load("execution/e")
            assert versioned is not None
            assert orjson.loads(shown.document)["status"] == versioned.state.status
        assert follower.parked == 0


async def test_ended_executions_are_not_cached_between_pages(views: str) -> None:
    options = session_options("executions")
    async with (
        opened(views) as store,
        await AsyncConnection.connect(views, autocommit=True, options=options) as connection,
    ):
        log, view = Log(store), Executions(store.codec)
        follower = Follower(view, LogPages(store, view.types))
        await log.write([created("ends"), *started("ends"), created("goes-on")])
        await follower.catch_up(connection)
        await log.write([completed("ends")])
        await follower.catch_up(connection)
        kept = [name for name in ("ends", "goes-on") if f"execution/{name}" in view._cache]
        assert kept == ["goes-on"]


@few
@given(logs(), st.integers(1, 3), st.integers(1, 4))
def test_cached_state_older_than_its_row_is_brought_up_to_date(
    database: str, log: list[Recorded], page: int, events: int
) -> None:
    async def check() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stored_states, "MOST_EVENTS", events)
            view = Executions(CODEC)
            async with followed(database, view, log, page) as connection:
                view.forget()
                found = await list_documents(view, connection)
            for versioned in states(log):
                assert found[versioned.state.id] == to_sealed_json(document(versioned, LATER))

    asyncio.run(check())


async def test_null_is_stored_differently_from_the_default(views: str) -> None:
    options = session_options("executions")
    async with (
        opened(views) as store,
        await AsyncConnection.connect(views, autocommit=True, options=options) as connection,
    ):
        log, view = Log(store), Executions(store.codec, capacity=1)
        follower = Follower(view, LogPages(store, view.types))
        await log.write([created("endless", timeout=None), created("plain"), *sample()])
        await follower.catch_up(connection, 1)
        await follower.catch_up(connection)
        await log.write([Happening("endless", ExecutionUpdated(tags=("later",)))])
        await follower.catch_up(connection)
        listed = (await view.find(connection, NOON)).data
        timeouts = {row.id: orjson.loads(row.document)["timeout"] for row in listed}
        assert timeouts["endless"] is None
        assert timeouts["plain"] == 3_600_000


async def test_long_page_yields_to_the_event_loop(views: str) -> None:
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
        await Follower(Executions(store.codec), LogPages(store, Executions.types)).catch_up(
            connection
        )
        task.cancel()
        assert turns > 10


def test_executions_view_gets_only_events_of_executions() -> None:
    assert Executions.types is not None
    assert {name.partition(".")[0] for name in Executions.types} == {"execution"}
    assert ProgressUpdated.type in Executions.types
    assert set(Executions.types) <= set(registry.codec()._events)


async def test_parked_event_is_left_out_of_what_lists_show(views: str) -> None:
    options = session_options("executions")
    async with (
        opened(views) as store,
        await AsyncConnection.connect(views, autocommit=True, options=options) as connection,
    ):
        log, view = Log(store), Executions(store.codec)
        follower = Follower(view, LogPages(store, view.types))
        unknown = Happening("e", StepCompleted(step="never started"))
        await log.write([created("e"), *started("e"), created("other")])
        await log.write([unknown, Happening("e", ProgressUpdated(progress=40))])
        await follower.catch_up(connection)
        assert follower.parked == 1
        view.forget()
        found = (await view.find(connection, NOON, sort="$id")).data
        assert [orjson.loads(one.document)["progress"] for one in found] == [40, 0]


async def test_damaged_stored_state_is_folded_from_the_events_instead(views: str) -> None:
    options = session_options("executions")
    async with (
        opened(views) as store,
        await AsyncConnection.connect(views, autocommit=True, options=options) as connection,
    ):
        log, view = Log(store), Executions(store.codec)
        follower = Follower(view, LogPages(store, view.types))
        progress = [Happening("e", ProgressUpdated(progress=number)) for number in range(40)]
        await log.write([created("e"), *started("e"), *progress])
        await follower.catch_up(connection)
        damaged = await connection.execute("UPDATE execution_states SET state = '{\"id\": 1'")
        assert damaged.rowcount == 1
        [shown] = (await view.find(connection, NOON)).data
        assert orjson.loads(shown.document)["progress"] == 39
