"""Tracks how far each projection is, whichever process applies it."""

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
"""Seconds after which a waiting reader looks at the bookmarks, and asks for haste once more."""
SHORTEST_PAUSE = 0.005
"""Seconds between two requests for haste, however many readers wait."""

POSITIONS = "SELECT view, position FROM bookmarks"
# Nothing waits for the disk: a request that a crash loses is made again.
HURRY = "SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, %s)"


class PositionTracker(Background):
    """Learns the positions from notifications, and by looking. Make it before the listener is started."""

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
        """How far a view is, as far as this process knows."""
        return self._applied[view]

    async def wait(self, view: str, position: int, seconds: float) -> bool:
        """Whether a view's rows reach a position within the time. The view hurries meanwhile.

        Raises:
            Overloaded: the database is away.
        """
        end = monotonic() + seconds
        while self._applied[view] < position:
            left = end - monotonic()
            if left <= 0:
                return False
            pause = await self._hurry(view)
            if not await self._applied.wait(view, position, min(pause, left)) and pause == POLL:
                await self._read_bookmarks()
        return True

    async def wait_beyond(self, view: str, beyond: int, seconds: float) -> bool:
        """Whether a view's rows go beyond a position within the time; it does not hurry for that."""
        return await self._applied.wait(view, beyond + 1, seconds)

    async def progress(self) -> list[ViewProgress]:
        """Every view of the log, and what it has parked.

        Raises:
            Overloaded: the database is away.
        """
        return await progress_of(self._store)

    async def _hurry(self, view: str) -> float:
        """Have the view followed at once; the seconds until that may be asked for again."""
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
