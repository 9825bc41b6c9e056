"""Follows a long log fast: reads the next page while one is written, and rarely collects garbage."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from psycopg import AsyncConnection

from domain.eventlog.store import Store
from domain.supervisor import cancel
from projections.engine.follower import Follower, decode
from projections.engine.pages import LogPages, Page, Part
from projections.engine.projection import Projection


class PrefetchedPages(LogPages):
    """Has the next page read and decoded, on a connection of its own, while one is written."""

    def __init__(self, view: Projection, store: Store, size: int, part: Part | None) -> None:
        super().__init__(store, view.types, part)
        self._size = size
        self._next = 0, 0
        self._reading: asyncio.Task[Page] | None = None

    async def stop(self) -> None:
        """Read no further."""
        if self._reading is not None:
            await cancel(self._reading)
            self._reading = None

    async def read(self, connection: AsyncConnection, after: int, until: int, head: int) -> Page:
        """As `Pages.read`."""
        if self._reading is not None and self._next == (after, until):
            reading, self._reading = self._reading, None
            page = await reading
        else:
            await self.stop()
            page = await super().read(connection, after, until, head)
        if page.until + self._size <= head:
            self._next = page.until, page.until + self._size
            self._reading = asyncio.create_task(self._read_ahead(*self._next), name="read ahead")
        return page

    async def _read_ahead(self, after: int, until: int) -> Page:
        async with self.store.reader() as connection:
            page = await super().read(connection, after, until, until)
        await decode(page.events)
        return page


@asynccontextmanager
async def reading_ahead(
    view: Projection, store: Store, page: int, part: Part | None = None
) -> AsyncIterator[Follower]:
    """A follower of the log, or of a part of it, that reads ahead until this ends."""
    pages = PrefetchedPages(view, store, page, part)
    try:
        yield Follower(view, pages, page, part)
    finally:
        await pages.stop()


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """A page is half a million objects without a cycle: looking for one takes a third of the time."""
    before = gc.get_threshold()
    gc.set_threshold(1_000_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)
