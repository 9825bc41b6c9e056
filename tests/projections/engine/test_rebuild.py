"""A rebuilt view equals the live one, and the rebuild blocks no reader or writer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from domain import registry
from domain.eventlog.codec import EventRow
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from domain.execution.events.creation import ExecutionUpdated
from domain.execution.events.progress import ProgressUpdated
from projections.analytics import queries
from projections.analytics.analytics_query import AnalyticsQuery
from projections.analytics.projection import Analytics
from projections.analytics.queries import AnalyticsQueries
from projections.engine import follower as follower_module
from projections.engine import pages
from projections.engine import rebuild as rebuilding
from projections.engine.follower import Follower
from projections.engine.migrations import migrate_projections
from projections.engine.pages import LogPages
from projections.engine.rebuild import OWN, RebuildUnderWay, Rebuilt, rebuild
from projections.executions.projection import Executions
from projections.executions.tables import TABLES
from tests.support.event_writer import Happening, Log, created, opened, some, started
from tests.support.rebuilds import (
    ask,
    bookmark,
    connect,
    differences,
    follow,
    generation,
    rows,
    write_history,
)

pytestmark = pytest.mark.anyio

SCRATCH = "executions_rebuild_executions"
LEFT_OVER = "SELECT count(*) FROM executions_rebuild_executions.executions"


async def rebuilt(conninfo: str, store: Store) -> Rebuilt:
    return await rebuild(conninfo, "executions", Executions(store.codec), store)


async def test_rebuilt_view_equals_the_live_one_in_a_new_generation(views: str) -> None:
    async with opened(views) as store:
        await write_history(Log(store))
        await follow(views, store)
        live = rows(views)
        assert await rebuilt(views, store) == Rebuilt(75, 0)
        assert rows(views) == live
        assert bookmark(views) == (75, 2)
        assert await differences(views, store) == []


async def test_rebuilt_executions_are_at_rest_until_their_next_event(views: str) -> None:
    async with opened(views) as store:
        log = Log(store)
        await log.write(some(3))
        await rebuilt(views, store)
        assert ask(views, "SELECT count(*) FROM executions_resting") == [(3,)]
        await log.write(started("e-1"))
        await follow(views, store)
        assert ask(views, "SELECT id FROM executions_active") == [("e-1",)]
        assert ask(views, "SELECT id FROM executions_resting ORDER BY 1") == [("e-0",), ("e-2",)]
        assert await differences(views, store) == []


async def test_rebuild_keeps_every_index_and_constraint(views: str) -> None:
    catalogue = (
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename ~ '^execution' ORDER BY 1"
    )
    before = ask(views, catalogue)
    async with opened(views) as store:
        await write_history(Log(store))
        await rebuilt(views, store)
    assert ask(views, catalogue) == before
    assert ask(views, f"SELECT FROM pg_namespace WHERE nspname = '{SCRATCH}'") == []


async def test_new_tables_have_statistics(views: str) -> None:
    async with opened(views) as store:
        await write_history(Log(store))
        await rebuilt(views, store)
    without = """SELECT relname FROM pg_class
        WHERE relnamespace = 'executions'::regnamespace AND reltuples < 0"""
    assert {name for (name,) in ask(views, without)}.isdisjoint(TABLES)
    columns = "SELECT DISTINCT tablename, inherited FROM pg_stats WHERE attname = 'service'"
    found = ask(views, columns)
    assert {("executions", True), ("executions_ended", False)} <= set(found)


async def test_rebuild_repairs_damaged_rows(views: str) -> None:
    async with opened(views) as store:
        await write_history(Log(store))
        await follow(views, store)
        ask(views, "UPDATE executions SET service = 'wrong' WHERE id = 'e-1'")
        ask(views, "DELETE FROM executions WHERE id = 'e-2'")
        ask(views, "UPDATE executions SET id = 'nobody' WHERE id = 'e-3'")
        assert await differences(views, store) == [
            ("executions_open e-1", "differs in service"),
            ("executions_open e-3", "there is no row"),
            ("executions_open nobody", "there is a row, but no events lead to it"),
            ("executions_ended e-2", "there is no row"),
        ]
        await rebuilt(views, store)
        assert await differences(views, store) == []


async def test_rebuild_under_writes_with_a_live_follower_loses_nothing(
    views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "PAGE", 20)
    async with opened(views) as store, asyncio.TaskGroup() as tasks:
        log, done = Log(store), asyncio.Event()
        await write_history(log)

        async def write() -> None:
            number = 0
            while not done.is_set():
                await log.write([created(f"new-{number}"), *started(f"new-{number}")])
                number += 1
                await asyncio.sleep(0)

        async def read() -> None:
            async with await connect(views) as connection:
                follower = Follower(Executions(store.codec), LogPages(store, Executions.types))
                while not done.is_set():
                    await follower.catch_up(connection, 7)

        tasks.create_task(write())
        tasks.create_task(read())
        for _ in range(2):
            await rebuilt(views, store)
        done.set()
    async with opened(views) as store:
        await follow(views, store)
        assert await differences(views, store) == []
    assert bookmark(views) == (log.position, 3)


async def test_interrupted_rebuild_changes_nothing_and_the_next_one_cleans_up(
    views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "PAGE", 10)

    class Interrupted(Exception):
        pass

    def interrupt(position: int, _: int) -> None:
        if position >= 40:
            raise Interrupted

    async with opened(views) as store:
        await write_history(Log(store))
        await follow(views, store)
        live = rows(views)
        with pytest.raises(Interrupted):
            await rebuild(views, "executions", Executions(store.codec), store, interrupt)
        assert rows(views) == live
        assert bookmark(views) == (75, 1)
        assert ask(views, LEFT_OVER) != [(0,)]
        await rebuilt(views, store)
        assert rows(views) == live
        assert ask(views, f"SELECT FROM pg_namespace WHERE nspname = '{SCRATCH}'") == []


async def test_two_rebuilds_of_one_view_at_once_are_refused(views: str) -> None:
    async with opened(views) as store, await connect(views) as other:
        await other.execute(OWN, ("rebuilds of executions", "executions"))
        with pytest.raises(RebuildUnderWay):
            await rebuilt(views, store)
    async with opened(views) as store:
        assert await rebuilt(views, store) == Rebuilt(0, 0)


async def test_parked_events_are_those_of_the_new_build(views: str) -> None:
    async with opened(views) as store:
        log = Log(store)
        await log.write([created("e"), Happening("nobody", ProgressUpdated(progress=5))])
        ask(views, "INSERT INTO parked VALUES ('executions', 1, 'gone', 'gone', 'gone')")
        assert await rebuilt(views, store) == Rebuilt(2, 1)
        assert ask(views, "SELECT view, position, stream FROM parked") == [
            ("executions", 2, "execution/nobody")
        ]
        [found] = await differences(views, store)
        assert found[0] == "event at 2 of execution/nobody"
        assert found[1].startswith("cannot be applied: ")


async def test_events_written_during_index_builds_are_applied_before_the_switch(
    views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    async with opened(views) as store:
        log = Log(store)
        await write_history(log)
        await follow(views, store)
        execute, switch = rebuilding._execute_all, rebuilding._switch

        async def write_meanwhile(statements: Sequence[str], *connections: AsyncConnection) -> None:
            await execute(statements, *connections)
            await log.write([created(f"meanwhile-{log.position}")])

        async def note_switch(
            connection: AsyncConnection, follower: Follower, names: rebuilding.Names
        ) -> Rebuilt:
            seen.append(await rebuilding._position(connection, names, follower.view))
            return await switch(connection, follower, names)

        monkeypatch.setattr(rebuilding, "_execute_all", write_meanwhile)
        monkeypatch.setattr(rebuilding, "_switch", note_switch)
        await rebuilt(views, store)
        assert seen == [log.position] == [77]


async def test_waiting_switch_blocks_no_reader(views: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding, "PAUSE", 0.3)
    async with opened(views) as store:
        await write_history(Log(store))
        await follow(views, store)
        options = session_options("executions")
        with psycopg.connect(views, options=options) as backup:
            backup.execute("LOCK TABLE executions IN ACCESS SHARE MODE")
            replacing = asyncio.create_task(rebuilt(views, store))
            release = monotonic() + 2
            async with asyncio.timeout(60), await connect(views) as reader:
                while (await generation(reader)) == 1 and not replacing.done():
                    begun = monotonic()
                    await reader.execute("SELECT count(*) FROM executions")
                    assert monotonic() - begun < 3
                    if begun > release:
                        backup.rollback()
                    await asyncio.sleep(0.05)
            assert await replacing == Rebuilt(75, 0)
        assert await differences(views, store) == []


async def test_database_shutdown_during_a_rebuild_is_a_single_error(
    views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def shut_down(_: Iterator[str], __: AsyncConnection) -> None:
        raise psycopg.errors.AdminShutdown("terminating connection")

    monkeypatch.setattr(rebuilding, "_execute", shut_down)
    async with opened(views) as store:
        await write_history(Log(store))
        with pytest.raises(psycopg.errors.AdminShutdown):
            await rebuilt(views, store)


async def test_prefetched_events_are_used_if_pages_are_cut_short(
    views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE_BYTES", 20_000)
    monkeypatch.setattr(rebuilding, "PAGE", 20)
    monkeypatch.setattr(follower_module, "LARGEST_PAGE", 20)
    taken = []
    span = Store.span

    async def note_call(store: Store, connection: AsyncConnection, *place: Any) -> list[EventRow]:
        taken.append(place[:2])
        return await span(store, connection, *place)

    monkeypatch.setattr(Store, "span", note_call)
    async with opened(views) as store:
        log = Log(store)
        await log.write(some(100))
        received = {"text": "x" * 3_000}
        for _ in range(50):
            await log.write([Happening("e-0", ExecutionUpdated(metadata=received))])
        await rebuilt(views, store)
    assert len(taken) == len(set(taken))
    assert [after for after, _ in taken[1:]] == [until for _, until in taken[:-1]]


async def test_answer_is_from_a_single_build_although_a_rebuild_ends_meanwhile(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate_projections(database, "executions", [Analytics()])
    async with opened(database) as store, await connect(database) as connection:
        await Log(store).write(some(5))
        await rebuild(database, "executions", Analytics(), store)
        cells, rebuilding = queries._cells, list[asyncio.Task[Rebuilt]]()

        async def slowly(connection: AsyncConnection, question: AnalyticsQuery) -> Any:
            rebuilding.append(
                asyncio.create_task(rebuild(database, "executions", Analytics(), store))
            )
            await asyncio.sleep(1)
            return await cells(connection, question)

        monkeypatch.setattr(queries, "_cells", slowly)
        answer = await AnalyticsQueries().answer(connection, AnalyticsQuery())
        assert (answer.document["total"], answer.position) == (5, 5)
        assert await rebuilding[0] == (5, 0)


async def test_rebuild_reports_progress_to_the_end(views: str) -> None:
    received: list[tuple[int, int]] = []
    async with opened(views) as store:
        await write_history(Log(store))
        view = Executions(store.codec)
        await rebuild(views, "executions", view, store, lambda *at: received.append(at))
    assert received[-1] == (75, 75)


def test_codec_has_every_event_type_of_every_view() -> None:
    codec = registry.codec()
    assert set(Executions.types or ()) <= set(codec._events)
