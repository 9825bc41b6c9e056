"""Keeps the views of a process up to the log: one task a view, each view in one process at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import NamedTuple

import psycopg
from psycopg import AsyncConnection

from domain.eventlog.notifications import Listener, Wake, watched
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from domain.eventlog.tail import Tail
from domain.supervisor import cancel, supervise
from projections.engine.follower import Follower
from projections.engine.pages import TailPages
from projections.engine.progress import AppliedPositions
from projections.engine.projection import Projection

POLL = 0.25
PER_EVENT = 0.0005
LONGEST_GATHER = 0.1
TAKE_OVER = 1.0
STILL = 0.25
"""Seconds that a bookmark may stand still while events pass that do not concern the view."""
OUTAGES = (psycopg.OperationalError, psycopg.InterfaceError, OSError)
LOST_OWNER = "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"
# Rows and bookmark are lost together in a crash, and made again from the log: nothing waits for disk.
UNHURRIED = "-c synchronous_commit=off"

OWN = "SELECT pg_try_advisory_lock(hashtext(%s), hashtext(%s))"
POSITIONS = "SELECT view, position FROM bookmarks"
PROGRESS = """SELECT b.view, b.position, (SELECT count(*) FROM parked AS p WHERE p.view = b.view)
    FROM bookmarks AS b ORDER BY b.view"""


class ViewProgress(NamedTuple):
    """How far a view is, and how many events it could not apply."""

    view: str
    position: int
    parked: int


async def progress_of(store: Store) -> list[ViewProgress]:
    """Every view of a log."""
    async with store.reader() as connection:
        rows = await (await connection.execute(PROGRESS)).fetchall()
    return [ViewProgress(*row) for row in rows]


class Runner:
    """Owns one task for each view. Make it before the listener is started."""

    def __init__(
        self,
        views: Sequence[Projection],
        store: Store,
        tail: Tail,
        listener: Listener,
        *,
        conninfo: str,
        schema: str,
    ) -> None:
        self._store = store
        self._tail = tail
        self._conninfo = conninfo
        self._schema = schema
        self._applied = AppliedPositions()
        self._views = views
        self._wakes = {view.name: tail.subscribe(partial(self._owns, view.name)) for view in views}
        self._awaited: dict[str, int] = {}
        """The farthest position of each view that somebody waits for."""
        self._hurries = {view.name: Wake() for view in views}
        self._tasks: list[asyncio.Task[None]] = []
        self._owned: set[str] = set()
        listener.add_handler(channel(schema), self._on_notification)

    def start(self) -> None:
        """Begin to follow the log."""
        self._tasks = [
            asyncio.create_task(
                supervise(f"view {view.name}", partial(self._follow, view), OUTAGES),
                name=f"view {view.name}",
            )
            for view in self._views
        ]

    async def stop(self) -> None:
        """End every task; a page under way is undone and comes again at the next start."""
        await cancel(*self._tasks)

    def position(self, view: str) -> int:
        """How far a view is, as far as this process knows."""
        return self._applied[view]

    async def wait(self, view: str, position: int, seconds: float) -> bool:
        """Whether a view's rows reach a position within the time, whichever process writes them."""
        end = monotonic() + seconds
        if self._applied[view] < position:
            self._awaited[view] = max(position, self._awaited.get(view, 0))
            self._hurries[view].set()
            self._wakes[view].set()
        while not await self._applied.wait(view, position, min(POLL, max(end - monotonic(), 0))):
            if monotonic() >= end:
                return False
            if view not in self._owned:
                async with self._store.reader() as connection:
                    await self._look(connection)
        return True

    async def progress(self) -> list[ViewProgress]:
        """Every view of the log, also those that other processes follow."""
        return await progress_of(self._store)

    async def _look(self, connection: AsyncConnection) -> None:
        for view, position in await (await connection.execute(POSITIONS)).fetchall():
            self._applied.reach(view, position)

    def _on_notification(self, payload: str | None) -> None:
        if payload:
            view, _, position = payload.partition(" ")
            self._applied.reach(view, int(position))

    def _owns(self, view: str) -> bool:
        return view in self._owned

    async def _follow(self, view: Projection) -> None:
        async with await self._connect() as connection:
            await self._own(connection, view)
            self._owned.add(view.name)
            try:
                await self._look(connection)
                pages = TailPages(self._store, view.types, self._tail)
                await self._keep_up(connection, Follower(view, pages))
            finally:
                self._owned.discard(view.name)

    async def _own(self, connection: AsyncConnection, view: Projection) -> None:
        while True:
            if await _first(connection, OWN, f"views of {self._schema}", view.name):
                return
            await asyncio.sleep(TAKE_OVER)

    async def _keep_up(self, connection: AsyncConnection, follower: Follower) -> None:
        while True:
            await self._catch_up(connection, follower)
            await self._hurries[follower.view.name].wait(_pause(follower))
            await self._until_due(follower)

    async def _until_due(self, follower: Follower) -> None:
        """Wait until an event concerns the view, or its bookmark is waited for, or has stood still
        for long although the log went on.
        """
        view, wake = follower.view, self._wakes[follower.view.name]
        types = None if view.types is None else frozenset(view.types)
        due_at: float | None = None
        while True:
            woken = await wake.wait(None if due_at is None else max(due_at - monotonic(), 0))
            if not woken or self._tail.concerns(follower.position, types):
                return
            if self._tail.head > follower.position:
                if self._awaited.get(view.name, 0) > follower.position:
                    return
                due_at = due_at or monotonic() + STILL

    async def _catch_up(self, connection: AsyncConnection, follower: Follower) -> None:
        progress_channel = channel(self._schema)
        while True:
            progress = await follower.catch_up(connection, progress_channel=progress_channel)
            self._applied.reach(follower.view.name, follower.position)
            if progress is None or not follower.behind:
                break
            await asyncio.sleep(0)

    async def _connect(self) -> AsyncConnection:
        return await AsyncConnection.connect(
            watched(self._conninfo),
            autocommit=True,
            connect_timeout=3,
            options=f"{session_options(self._schema)} {LOST_OWNER} {UNHURRIED}",
        )


def channel(schema: str) -> str:
    """Where it is told how far the views are."""
    return f"{schema}_views"


def _pause(follower: Follower) -> float:
    """A page of many events costs little more than a page of one: the busier, the longer they gather.

    Who waits for a position cuts the pause short.
    """
    return follower.view.gathers + min(follower.moved * PER_EVENT, LONGEST_GATHER)


async def _first(connection: AsyncConnection, query: str, *values: str) -> bool:
    row = await (await connection.execute(query, values)).fetchone()
    return bool(row and row[0])
