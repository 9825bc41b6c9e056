"""Runs the projections of a log. Each projection is followed by one process at a time; projections that are near
the head of the log share their pages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from time import monotonic

import structlog
from psycopg import AsyncConnection

from domain.eventlog.connection.notifications import Listener, Wake
from domain.eventlog.connection.timeouts import OUTAGES, with_keepalives
from domain.eventlog.sessions import KEEPALIVE, SERIAL, session_options
from domain.eventlog.store import Store
from domain.supervisor import Background, Tasks, cancel, supervise
from projections.engine.channels import hurry_channel, progress_channel
from projections.engine.follower import BookmarkState, Follower
from projections.engine.gathering import Gathering
from projections.engine.inactive_rows import InactiveRowMover
from projections.engine.live_follower import SLOW, LiveFollower
from projections.engine.migrations import begin_again_without_bookmark
from projections.engine.pages import LogPages
from projections.engine.projection import Projection

TAKE_OVER = 1.0
"""Seconds between two attempts to take over views that another process follows."""
IDLE_AFTER = 0.5
"""Seconds without new events after which the connection is closed, if it must be shared with other logs."""
BREAK = 0.02
"""Seconds between two pages of a view that follows apart and has reached the head of the log."""
# A crash loses rows and bookmark together, and both are made again from the log: a commit need not wait for the disk.
ASYNC_COMMIT = "-c synchronous_commit=off"
# A view whose table is locked follows apart: the other views wait for the lock no longer than this.
SHORT_LOCK_TIMEOUT = "-c lock_timeout=500ms"

OWN = """SELECT name FROM unnest(%s::text[]) AS name
    WHERE pg_try_advisory_lock(hashtext(%s), hashtext(name))"""

log = structlog.get_logger()


class Runner(Background):
    """Applies the log to the views that no other process follows. Make a runner before the listener is started."""

    outages = (*OUTAGES, OSError)

    def __init__(
        self,
        views: Sequence[Projection],
        store: Store,
        listener: Listener,
        *,
        conninfo: str,
        schema: str,
        slot: asyncio.Semaphore | None = None,
    ) -> None:
        """With a `slot`, the runner waits for the semaphore and holds it, with its connection, only while the log has
        new events: runners of other logs share the semaphore.
        """
        self._slot = slot
        self._views = {view.name: view for view in views}
        self._store = store
        self._listener = listener
        self._conninfo = conninfo
        self._schema = schema
        self._gathering = Gathering({view.name: view.gathers for view in views})
        self._row_movers = {view.name: InactiveRowMover(view) for view in views}
        self._wake = Wake()
        self._owned: set[str] = set()
        self._apart: dict[str, asyncio.Task[None]] = {}
        self._apart_cached_at: dict[str, BookmarkState | None] = {}
        """The bookmarks at which the cached states of views that are about to follow apart were current."""
        listener.add_handler(schema, self._on_events)
        listener.add_handler(hurry_channel(schema), self._on_hurry)

    def tasks(self) -> Tasks:
        return {"views": self._run}

    def _on_events(self, _: str | None) -> None:
        self._gathering.expect_events()
        self._wake.set()

    def _on_hurry(self, view: str | None) -> None:
        if view is not None:
            self._gathering.hurry(view)
            self._wake.set()

    async def _run(self) -> None:
        while True:
            async with self._slot or nullcontext():
                await self._follow()
            await self._wake.wait(self._listener.poll)

    async def _follow(self) -> None:
        """Follow the log: without a slot for ever, with a slot until there were no new events for `IDLE_AFTER`."""
        async with await self._connect(SHORT_LOCK_TIMEOUT) as connection:
            self._gathering.expect_events()
            try:
                live = LiveFollower(self._store, progress_channel(self._schema))
                await self._keep_up(connection, live)
            finally:
                self._owned.clear()
                await cancel(*self._apart.values())
                self._apart.clear()

    async def _keep_up(self, connection: AsyncConnection, live: LiveFollower) -> None:
        ownership_tried_at = -TAKE_OVER
        while True:
            if (
                len(self._owned) < len(self._views)
                and monotonic() >= ownership_tried_at + TAKE_OVER
            ):
                ownership_tried_at = monotonic()
                await self._own(connection)
            await self._apply(connection, live)
            for name in self._names_together():
                await self._row_movers[name].move(connection)
            pause = self._pause()
            yields_connection = self._slot is not None and pause > IDLE_AFTER and not self._apart
            if not await self._wake.wait(IDLE_AFTER if yields_connection else pause):
                if yields_connection:
                    return
                self._gathering.expect_events()

    async def _own(self, connection: AsyncConnection) -> None:
        wanted = [name for name in self._views if name not in self._owned]
        cursor = await connection.execute(OWN, (wanted, f"views of {self._schema}"))
        if owned := [row[0] for row in await cursor.fetchall()]:
            write = log.info if self._slot is None else log.debug
            write("views are followed by this process", views=owned)
            self._owned.update(owned)

    async def _apply(self, connection: AsyncConnection, live: LiveFollower) -> None:
        """Apply a page to the views that are due, and let those follow apart that cannot keep up."""
        now = monotonic()
        due = [self._views[name] for name in self._gathering.take_due(self._names_together(), now)]
        if not due:
            return
        page = await live.catch_up(connection, due)
        took, now = monotonic() - now, monotonic()
        for view in due:
            self._gathering.note_applied(view.name, page.moved, now, took=took, behind=page.behind)
        for name in page.apart:
            self._apart_cached_at[name] = live.bookmark_of(name)
            follow = partial(self._follow_apart, self._views[name], live)
            self._apart[name] = asyncio.create_task(
                supervise(f"view {name}", follow, self.outages), name=f"view {name}"
            )

    def _names_together(self) -> list[str]:
        return [name for name in self._views if name in self._owned and name not in self._apart]

    def _pause(self) -> float:
        """Return the seconds until a view is due or has more rows to move, or until the next poll of the log."""
        together = self._names_together()
        at = min(
            [self._gathering.next_at(together), *(self._row_movers[n].more_at for n in together)]
        )
        return max(min(at - monotonic(), self._listener.poll), 0)

    async def _follow_apart(self, view: Projection, live: LiveFollower) -> bool:
        """Bring a view up to the others on a connection of its own; events that it cannot apply are parked."""
        async with await self._connect() as connection:
            await begin_again_without_bookmark(connection, view)
            cached_at = self._apart_cached_at.pop(view.name, None)
            follower = Follower(view, LogPages(self._store, view.types), cached_at=cached_at)
            keeps_up = False
            while not (keeps_up and live.covers(follower.position)):
                parked, began = follower.parked, monotonic()
                await follower.catch_up(connection, progress_channel=progress_channel(self._schema))
                keeps_up = follower.parked == parked and monotonic() - began < SLOW
                await self._row_movers[view.name].move(connection)
                await asyncio.sleep(0 if follower.behind else BREAK)
        del self._apart[view.name]
        live.take_back(view.name, follower.cached_at)
        self._gathering.expect_events()
        self._wake.set()
        return True

    async def _connect(self, options: str = "") -> AsyncConnection:
        return await AsyncConnection.connect(
            with_keepalives(self._conninfo),
            autocommit=True,
            connect_timeout=3,
            options=f"{session_options(self._schema)} {KEEPALIVE} {SERIAL} {ASYNC_COMMIT} {options}",
        )
