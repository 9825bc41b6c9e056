"""Tracks the position of each projection, also of those that other processes follow."""

from __future__ import annotations

from collections import defaultdict
from time import monotonic

from domain.errors import Overloaded
from domain.eventlog.connection.notifications import Listener, Wake
from domain.eventlog.store import Store
from domain.supervisor import Background, Tasks
from projections.engine.channels import hurry_channel, progress_channel
from projections.engine.progress import AppliedPositions, ViewProgress, progress_of

POLL = 0.25
"""Seconds after which a waiting reader reads the bookmarks, and sends another request to hurry."""
SHORTEST_PAUSE = 0.005
"""Seconds between two requests to hurry a view, for any number of waiting readers."""

POSITIONS = "SELECT view, position FROM bookmarks"
# The commit need not wait for the disk: a request that a crash loses is sent again.
HURRY = "SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, %s)"


class PositionTracker(Background):
    """Keeps the known positions up to date from notifications, and by polling the bookmarks. Make it before the
    listener is started.
    """

    outages = (Overloaded,)

    def __init__(self, store: Store, listener: Listener, schema: str) -> None:
        self._store = store
        self._listener = listener
        self._applied = AppliedPositions()
        self._hurry_channel = hurry_channel(schema)
        self._hurried_at: defaultdict[str, float] = defaultdict(float)
        self._connected = Wake()
        listener.add_handler(progress_channel(schema), self._on_notification)

    def tasks(self) -> Tasks:
        return {"view positions": self._run}

    def position(self, view: str) -> int:
        """Return the position of a view as this process knows it."""
        return self._applied[view]

    async def wait(self, view: str, position: int, seconds: float) -> bool:
        """Have a view hurry, and wait until it reaches `position`; return whether it did within `seconds`.

        Raises:
            Overloaded: the database is unavailable.
        """
        end = monotonic() + seconds
        while self._applied[view] < position:
            seconds_left = end - monotonic()
            if seconds_left <= 0:
                return False
            pause = await self._hurry(view)
            reached = await self._applied.wait(view, position, min(pause, seconds_left))
            if not reached and pause == POLL:
                await self._read_bookmarks()
        return True

    async def wait_beyond(self, view: str, beyond: int, seconds: float) -> bool:
        """Wait until a view passes the position `beyond`, without hurrying it; return whether it did within `seconds`."""
        return await self._applied.wait(view, beyond + 1, seconds)

    async def progress(self) -> list[ViewProgress]:
        """Return the bookmark and the number of parked events of every view of the log.

        Raises:
            Overloaded: the database is unavailable.
        """
        return await progress_of(self._store)

    async def _hurry(self, view: str) -> float:
        """Ask the process that follows a view to apply a page at once; return the seconds until the next request."""
        since = monotonic() - self._hurried_at[view]
        if since < SHORTEST_PAUSE:
            return SHORTEST_PAUSE - since
        self._hurried_at[view] = monotonic()
        async with self._store.reader() as connection:
            await connection.execute(HURRY, (self._hurry_channel, view))
        return POLL

    async def _run(self) -> None:
        while True:
            await self._read_bookmarks()
            await self._connected.wait(self._listener.poll)

    async def _read_bookmarks(self) -> None:
        known = self._applied.positions()
        async with self._store.reader() as connection:
            found = await (await connection.execute(POSITIONS)).fetchall()
        self._applied.update(dict(found), known)

    def _on_notification(self, payload: str | None) -> None:
        if payload is None:
            self._connected.set()
            return
        view, _, position = payload.partition(" ")
        self._applied.reach(view, int(position))
