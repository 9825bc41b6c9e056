"""Reads how far each view has followed the log, and lets readers wait until a view reaches a position."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from psycopg import AsyncConnection

from domain.eventlog.store import Store

PROGRESS = """SELECT b.view, b.position, (SELECT count(*) FROM parked AS p WHERE p.view = b.view)
    FROM bookmarks AS b ORDER BY b.view"""
VIEW_POSITION = """SELECT head.position, coalesce((SELECT position FROM bookmarks WHERE view = %b), 0)
    FROM head"""


class ViewPosition(NamedTuple):
    """The last position of the log, and the bookmark of a view."""

    head: int
    position: int

    @property
    def lag(self) -> int:
        """The number of positions that the view is behind the log."""
        return self.head - self.position


async def read_view_position(connection: AsyncConnection, view: str) -> ViewPosition:
    """Return the last position of the log and the bookmark of a view, read in one statement."""
    cursor = await connection.execute(VIEW_POSITION, (view,), binary=True)
    row = await cursor.fetchone()
    assert row is not None
    return ViewPosition(*row)


class ViewProgress(NamedTuple):
    """The bookmark of a view, and the number of its parked events."""

    view: str
    position: int
    parked: int


async def progress_of(store: Store) -> list[ViewProgress]:
    """Return the progress of every view of a log.

    Raises:
        Overloaded: the database is unavailable.
    """
    async with store.reader() as connection:
        rows = await (await connection.execute(PROGRESS)).fetchall()
    return [ViewProgress(*row) for row in rows]


class AppliedPositions:
    """The position up to which each view is known to be applied. Wakes a reader when the position it waits for is
    reached.

    A position only grows, unless the bookmark was restored to a lower one.
    """

    def __init__(self) -> None:
        self._positions: dict[str, int] = {}
        self._waiters: defaultdict[str, set[tuple[int, asyncio.Future[None]]]] = defaultdict(set)

    def __getitem__(self, view: str) -> int:
        return self._positions.get(view, 0)

    def positions(self) -> dict[str, int]:
        """Return a copy of the known positions by view."""
        return dict(self._positions)

    def update(self, found: Mapping[str, int], known: Mapping[str, int]) -> None:
        """Take over bookmarks that were read after the copy `known`: a lower or missing one has moved back."""
        for view, position in known.items():
            if found.get(view, 0) < position:
                self._positions[view] = found.get(view, 0)
        for view, position in found.items():
            self.reach(view, position)

    def reach(self, view: str, position: int) -> None:
        """Raise the known position of a view to at least `position`, and wake the readers that wait for it."""
        if position <= self[view]:
            return
        self._positions[view] = position
        for wanted, waiter in self._waiters[view]:
            if wanted <= position and not waiter.done():
                waiter.set_result(None)

    async def wait(self, view: str, position: int, seconds: float) -> bool:
        """Wait until a view reaches `position`; return whether it did within `seconds`."""
        if self[view] >= position:
            return True
        waiter = asyncio.get_running_loop().create_future()
        entry = (position, waiter)
        self._waiters[view].add(entry)
        try:
            await asyncio.wait([waiter], timeout=seconds)
        finally:
            self._waiters[view].discard(entry)
        return self[view] >= position
