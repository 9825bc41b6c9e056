"""The known position of each projection, and waiting for one."""

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
    """The position of the log, and that of a view."""

    head: int
    position: int

    @property
    def lag(self) -> int:
        """How many events the view is behind."""
        return self.head - self.position


async def read_view_position(connection: AsyncConnection, view: str) -> ViewPosition:
    """Where the log and a view are, in one moment."""
    cursor = await connection.execute(VIEW_POSITION, (view,), binary=True)
    row = await cursor.fetchone()
    assert row is not None
    return ViewPosition(*row)


class ViewProgress(NamedTuple):
    """How far a view is, and how many events it could not apply."""

    view: str
    position: int
    parked: int


async def progress_of(store: Store) -> list[ViewProgress]:
    """Every view of a log.

    Raises:
        Overloaded: the database is away.
    """
    async with store.reader() as connection:
        rows = await (await connection.execute(PROGRESS)).fetchall()
    return [ViewProgress(*row) for row in rows]


class AppliedPositions:
    """Positions grow, unless a table was restored; a waiting reader is woken when it is reached."""

    def __init__(self) -> None:
        self._positions: dict[str, int] = {}
        self._waiting: defaultdict[str, set[tuple[int, asyncio.Future[None]]]] = defaultdict(set)

    def __getitem__(self, view: str) -> int:
        return self._positions.get(view, 0)

    def positions(self) -> dict[str, int]:
        """How far each view is known to be."""
        return dict(self._positions)

    def update(self, found: Mapping[str, int], known: Mapping[str, int]) -> None:
        """The bookmarks as they were read after `known`: one that is lower, or lost, has moved back."""
        for view, position in known.items():
            if found.get(view, 0) < position:
                self._positions[view] = found.get(view, 0)
        for view, position in found.items():
            self.reach(view, position)

    def reach(self, view: str, position: int) -> None:
        """The rows of a view go at least this far."""
        if position <= self[view]:
            return
        self._positions[view] = position
        for wanted, waiter in self._waiting[view]:
            if wanted <= position and not waiter.done():
                waiter.set_result(None)

    async def wait(self, view: str, position: int, seconds: float) -> bool:
        """Whether the position is reached within the time."""
        if self[view] >= position:
            return True
        waiter = asyncio.get_running_loop().create_future()
        entry = (position, waiter)
        self._waiting[view].add(entry)
        try:
            await asyncio.wait([waiter], timeout=seconds)
        finally:
            self._waiting[view].discard(entry)
        return self[view] >= position
