"""A process that follows no view tracks the positions of the views, and can ask them to hurry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from domain.eventlog.connection.notifications import Listener
from domain.eventlog.store import Store
from projections.engine import position_tracker
from projections.engine.position_tracker import PositionTracker
from tests.support.event_writer import opened
from tests.support.hub import until


@asynccontextmanager
async def tracking(
    conninfo: str, store: Store, *, listening: bool
) -> AsyncIterator[PositionTracker]:
    listener = Listener(conninfo, "executions")
    positions = PositionTracker(store, listener, "executions")
    if listening:
        listener.start()
    positions.start()
    try:
        yield positions
    finally:
        await positions.stop()
        await listener.stop()


def move(conninfo: str, position: int) -> None:
    with psycopg.connect(conninfo, options="-c search_path=executions") as connection:
        connection.execute("UPDATE bookmarks SET position = %s", (position,))


@pytest.mark.parametrize("listening", [True, False])
async def test_position_is_known_without_a_waiting_reader(views: str, *, listening: bool) -> None:
    move(views, 7)
    async with opened(views) as store, tracking(views, store, listening=listening) as positions:
        await until(lambda: positions.position("executions") == 7)
        move(views, 9)
        await until(lambda: positions.position("executions") == 9)


async def test_bookmark_that_moved_back_or_was_lost_is_accepted(views: str) -> None:
    move(views, 9)
    async with opened(views) as store, tracking(views, store, listening=True) as positions:
        await until(lambda: positions.position("executions") == 9)
        move(views, 4)
        await until(lambda: positions.position("executions") == 4)
        assert not await positions.wait("executions", 9, 0)
        with psycopg.connect(views, options="-c search_path=executions") as connection:
            connection.execute("DELETE FROM bookmarks WHERE view = 'executions'")
        await until(lambda: positions.position("executions") == 0)


async def test_waiting_readers_share_their_requests_to_hurry(
    views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(position_tracker, "SHORTEST_PAUSE", 60)
    async with opened(views) as store, tracking(views, store, listening=True) as positions:
        with psycopg.connect(views, autocommit=True) as listening:
            listening.execute("LISTEN executions_views_awaited")
            waiting = [positions.wait("executions", 5, 0.3) for _ in range(20)]
            assert await asyncio.gather(*waiting) == [False] * 20
            heard = [note.payload for note in listening.notifies(timeout=0.5)]
        assert heard == ["executions"]


async def test_reached_position_requests_nothing(views: str) -> None:
    move(views, 5)
    async with opened(views) as store, tracking(views, store, listening=True) as positions:
        await until(lambda: positions.position("executions") == 5)
        with psycopg.connect(views, autocommit=True) as listening:
            listening.execute("LISTEN executions_views_awaited")
            assert await positions.wait("executions", 5, 0.3)
            assert list(listening.notifies(timeout=0.3)) == []
