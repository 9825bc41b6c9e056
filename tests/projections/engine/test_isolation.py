"""Several views in one process: a view that fails or waits delays no other, and all join again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from domain.eventlog.connection.notifications import Listener
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from projections.engine import live_follower, runner
from projections.engine.migrations import migrate_projections
from projections.engine.position_tracker import PositionTracker
from projections.engine.rebuild import rebuild
from projections.engine.runner import Runner
from tests.support.event_writer import Log, created, opened, some
from tests.support.hub import until
from tests.support.rebuilds import ask
from tests.support.sample_view import Seen, SeenToo

VIEWS = ("seen", "seen_too")
INSERT_AGAIN = """INSERT INTO bookmarks (view, position) VALUES ('seen_too', 1)
    ON CONFLICT DO NOTHING"""
"""The view may have started again already."""


class Process:
    """A runner of two views, and readers of their positions."""

    def __init__(self, conninfo: str, store: Store) -> None:
        self.seen, self.too = Seen(), SeenToo()
        self.listener = Listener(conninfo, "executions")
        self.positions = PositionTracker(store, self.listener, "executions")
        self.runner = Runner(
            [self.seen, self.too], store, self.listener, conninfo=conninfo, schema="executions"
        )

    async def reach(self, position: int, *views: str) -> bool:
        return all([await self.positions.wait(view, position, 10) for view in views or VIEWS])

    async def come_together(self) -> None:
        await until(lambda: not self.runner._apart)


@asynccontextmanager
async def process(conninfo: str) -> AsyncIterator[tuple[Log, Process]]:
    migrate_projections(conninfo, "executions", [Seen(), SeenToo()])
    async with opened(conninfo) as store:
        made = Process(conninfo, store)
        made.listener.start()
        made.positions.start()
        made.runner.start()
        try:
            yield Log(store), made
        finally:
            await made.runner.stop()
            await made.positions.stop()
            await made.listener.stop()


async def test_event_that_one_view_cannot_apply_is_parked_and_delays_no_other(
    database: str,
) -> None:
    async with process(database) as (log, one):
        one.too.stumbles[2] = ZeroDivisionError("by two")
        assert await one.reach(await log.write(some(3)))
        assert ask(database, "SELECT view, position FROM parked") == [("seen_too", 2)]
        await one.come_together()
        assert await one.reach(await log.write([created("later")]))
        assert ask(database, "SELECT position FROM seen ORDER BY 1") == [(1,), (2,), (3,), (4,)]
        assert ask(database, "SELECT position FROM seen_too ORDER BY 1") == [(1,), (3,), (4,)]
        assert one.runner._apart == {}


async def test_view_whose_table_is_locked_delays_no_other(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "SHORT_LOCK_TIMEOUT", "-c lock_timeout=50ms")
    async with process(database) as (log, one):
        assert await one.reach(await log.write(some(1)))
        with psycopg.connect(database, options=session_options("executions")) as other:
            other.execute("LOCK TABLE seen_too")
            for name in "abc":
                position = await log.write([created(name)])
                assert await one.reach(position, "seen")
            assert one.positions.position("seen_too") == 1
        assert await one.reach(position)
        await one.come_together()


async def test_view_without_a_bookmark_delays_no_other(database: str) -> None:
    async with process(database) as (log, one):
        assert await one.reach(await log.write(some(1)))
        await asyncio.to_thread(ask, database, "DELETE FROM bookmarks WHERE view = 'seen_too'")
        position = await log.write([created("later")])
        assert await one.reach(position, "seen")
        await asyncio.to_thread(ask, database, INSERT_AGAIN)
        assert await one.reach(position)


async def test_view_that_is_far_behind_catches_up_while_the_others_follow(database: str) -> None:
    async with process(database) as (log, one):
        assert await one.reach(await log.write(some(20)))
        await one.runner.stop()
        await asyncio.to_thread(ask, database, "DELETE FROM seen_too")
        await asyncio.to_thread(
            ask, database, "UPDATE bookmarks SET position = 0 WHERE view = 'seen_too'"
        )
        one.runner.start()
        assert await one.reach(await log.write([created("later")]))
        await one.come_together()
        assert ask(database, "SELECT count(*) FROM seen_too") == [(21,)]


async def test_slow_view_follows_alone_until_it_is_fast(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with process(database) as (log, one):
        assert await one.reach(await log.write(some(1)))
        forgotten = [one.seen.forgotten, one.too.forgotten]
        monkeypatch.setattr(live_follower, "SLOW", -1)
        monkeypatch.setattr(runner, "SLOW", -1)
        for number in range(50):  # until each has been slow on a page of its own
            assert await one.reach(await log.write([created(f"slow-{number}")]))
            if set(one.runner._apart) == set(VIEWS):
                break
        assert set(one.runner._apart) == set(VIEWS)
        monkeypatch.setattr(live_follower, "SLOW", 60)
        monkeypatch.setattr(runner, "SLOW", 60)
        await one.come_together()
        assert await one.reach(await log.write([created("quick")]))
        assert [one.seen.forgotten, one.too.forgotten] == forgotten  # their cached rows stay


async def test_rebuild_of_one_view_delays_no_other(database: str) -> None:
    async with process(database) as (log, one):
        assert await one.reach(await log.write(some(5)))
        rebuilt = await rebuild(database, "executions", SeenToo(), log.store)
        assert rebuilt.position == 5
        assert await one.reach(await log.write([created("later")]))
        assert ask(database, "SELECT count(*) FROM seen_too") == [(6,)]
