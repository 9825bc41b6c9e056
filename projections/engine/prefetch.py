"""Following a long log fast: the next page is read while one is written, garbage sought rarely."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple

from psycopg import AsyncConnection

from domain.eventlog.codec import Stored
from domain.eventlog.store import Store
from domain.model import Recorded
from projections.engine.follower import Follower, Part
from projections.engine.projection import View


class _Read(NamedTuple):
    """A page that was read ahead: where it ends, its rows, and what they say."""

    until: int
    rows: Sequence[Stored]
    events: Sequence[Recorded]


class _Ahead(Follower):
    """Has the next page read and decoded while one is written."""

    def __init__(self, view: View, store: Store, page: int, part: Part | None) -> None:
        super().__init__(view, store, page, part)
        self._next = 0, 0
        self._reading: asyncio.Task[_Read] | None = None
        self._read = _Read(0, (), ())

    async def stop(self) -> None:
        """Read no further."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
            self._reading = None

    async def _end(self, connection: AsyncConnection, after: int, until: int) -> int:
        if self._reading is None or self._next != (after, until):
            await self.stop()
            return await super()._end(connection, after, until)
        reading, self._reading = self._reading, None
        self._read = await reading
        return self._read.until

    async def _rows(
        self, connection: AsyncConnection, after: int, until: int, head: int
    ) -> Sequence[Stored]:
        if self._next[0] == after and self._read.until == until:
            rows = self._read.rows
        else:
            rows = await super()._rows(connection, after, until, head)
        if until + self._page <= head:
            self._next = until, until + self._page
            self._reading = asyncio.create_task(self._read_ahead(*self._next), name="read ahead")
        return rows

    async def _decoded(self, rows: Sequence[Stored]) -> Sequence[Recorded]:
        _, known, events = self._read
        return events if rows is known else await super()._decoded(rows)

    async def _read_ahead(self, after: int, until: int) -> _Read:
        async with self._store.reader() as connection:
            until = await super()._end(connection, after, until)
            rows = await super()._rows(connection, after, until, until)
        return _Read(until, rows, await super()._decoded(rows))


@asynccontextmanager
async def reading_ahead(
    view: View, store: Store, page: int, part: Part | None = None
) -> AsyncIterator[Follower]:
    """A follower of the log, or of a part of it, that reads ahead until this ends."""
    follower = _Ahead(view, store, page, part)
    try:
        yield follower
    finally:
        await follower.stop()


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """A page is half a million objects without a cycle: looking for one takes a third of the time."""
    before = gc.get_threshold()
    gc.set_threshold(1_000_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)
