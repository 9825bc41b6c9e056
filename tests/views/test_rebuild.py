"""A rebuilt view is the live one, and nobody who reads or writes notices the work."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from psycopg import AsyncConnection

from domain import house
from domain.execution.events import ProgressUpdated
from domain.recorder import session_options
from domain.store import Store
from projections import rebuild as rebuilding
from projections.executions import Executions
from projections.kernel import Follower
from projections.rebuild import OWN, RebuildUnderWay, Rebuilt, rebuild
from projections.verify import Difference, verify
from tests.views.writing import Happening, Log, completed, created, opened, some, started

pytestmark = pytest.mark.anyio

SCRATCH = "executions_rebuild_executions"
LEFT_OVER = "SELECT count(*) FROM executions_rebuild_executions.executions"


async def connect(conninfo: str) -> AsyncConnection:
    options = session_options("executions")
    return await AsyncConnection.connect(conninfo, autocommit=True, options=options)


def ask(conninfo: str, question: str) -> list[tuple[object, ...]]:
    options = session_options("executions")
    with psycopg.connect(conninfo, autocommit=True, options=options) as connection:
        cursor = connection.execute(question.encode())
        return cursor.fetchall() if cursor.description else []


def rows(conninfo: str) -> list[tuple[object, ...]]:
    return ask(conninfo, "SELECT * FROM executions ORDER BY id")


def bookmark(conninfo: str) -> tuple[object, ...]:
    return ask(conninfo, "SELECT position, generation FROM bookmarks")[0]


async def follow(conninfo: str, store: Store) -> None:
    async with await connect(conninfo) as connection:
        follower = Follower(Executions(store.codec), store)
        while await follower.catch_up(connection):
            pass


async def differences(conninfo: str, store: Store) -> list[Difference]:
    view = Executions(store.codec)
    return [found async for found in verify(conninfo, "executions", view, store)]


async def rebuilt(conninfo: str, store: Store) -> Rebuilt:
    return await rebuild(conninfo, "executions", Executions(store.codec), store)


async def a_history(log: Log) -> None:
    await log.write(some(30, tags=["eu"], metadata={"region": "north"}))
    for number in range(0, 30, 2):
        await log.write([*started(f"e-{number}"), completed(f"e-{number}")])


async def test_a_rebuilt_view_is_the_live_one_in_a_new_generation(views: str) -> None:
    async with opened(views) as store:
        await a_history(Log(store))
        await follow(views, store)
        live = rows(views)
        assert await rebuilt(views, store) == Rebuilt(75, 0)
        assert rows(views) == live
        assert bookmark(views) == (75, 2)
        assert await differences(views, store) == []


async def test_a_rebuild_keeps_every_index_and_constraint(views: str) -> None:
    catalogue = (
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'executions' ORDER BY 1"
    )
    before = ask(views, catalogue)
    async with opened(views) as store:
        await a_history(Log(store))
        await rebuilt(views, store)
    assert ask(views, catalogue) == before
    assert ask(views, f"SELECT FROM pg_namespace WHERE nspname = '{SCRATCH}'") == []


async def test_a_rebuild_repairs_what_was_damaged(views: str) -> None:
    async with opened(views) as store:
        await a_history(Log(store))
        await follow(views, store)
        ask(views, "UPDATE executions SET service = 'wrong' WHERE id = 'e-1'")
        ask(views, "DELETE FROM executions WHERE id = 'e-2'")
        ask(views, "UPDATE executions SET id = 'nobody' WHERE id = 'e-3'")
        assert await differences(views, store) == [
            ("e-1", "differs in service"),
            ("e-2", "there is no row"),
            ("e-3", "there is no row"),
            ("nobody", "there is a row, but there are no events"),
        ]
        await rebuilt(views, store)
        assert await differences(views, store) == []


async def test_a_rebuild_under_writes_with_a_live_follower_loses_nothing(
    views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "PAGE", 20)
    async with opened(views) as store, asyncio.TaskGroup() as tasks:
        log, done = Log(store), asyncio.Event()
        await a_history(log)

        async def write() -> None:
            number = 0
            while not done.is_set():
                await log.write([created(f"new-{number}"), *started(f"new-{number}")])
                number += 1
                await asyncio.sleep(0)

        async def read() -> None:
            async with await connect(views) as connection:
                follower = Follower(Executions(store.codec), store)
                while not done.is_set():
                    await follower.catch_up(connection, 7)

        tasks.create_task(write())
        tasks.create_task(read())
        for _ in range(3):
            await rebuilt(views, store)
        done.set()
    async with opened(views) as store:
        await follow(views, store)
        assert await differences(views, store) == []
    assert bookmark(views) == (log.position, 4)


async def test_an_interrupted_rebuild_changes_nothing_and_the_next_one_clears_up(
    views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "PAGE", 10)

    class Interrupted(Exception):
        pass

    def interrupt(position: int, _: int) -> None:
        if position >= 40:
            raise Interrupted

    async with opened(views) as store:
        await a_history(Log(store))
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
        assert found.what.startswith("event 2 does not apply")


async def test_progress_is_told_up_to_the_end(views: str) -> None:
    told: list[tuple[int, int]] = []
    async with opened(views) as store:
        await a_history(Log(store))
        view = Executions(store.codec)
        await rebuild(views, "executions", view, store, lambda *at: told.append(at))
        compared: list[tuple[int, int]] = []
        async for _ in verify(views, "executions", view, store, lambda *at: compared.append(at)):
            pass
    assert told[-1] == (75, 75)
    assert compared == [(30, 30)]


def test_the_codec_of_the_house_knows_every_event_the_view_is_shown() -> None:
    codec = house.codec()
    assert set(Executions.types or ()) <= set(codec._events)
