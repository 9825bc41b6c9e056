"""Follows a long log fast: reads the next page while one is written, and rarely collects garbage."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import NamedTuple

from psycopg import AsyncConnection

from domain.errors import Damaged
from domain.eventlog.store import Store
from domain.supervisor import cancel
from projections.engine.follower import decode
from projections.engine.pages import LogPages, LogPart, Pages, ProjectionPage


class PrefetchedPages(LogPages):
    """Has the next page read and decoded, on a connection of its own, while one is written.

    Followers that go side by side get the same page, so each event is decoded once for all of them.
    """

    def __init__(
        self, store: Store, types: Sequence[str] | None, size: int, part: LogPart | None
    ) -> None:
        super().__init__(store, types, part)
        self._size = size
        self._asked, self._next = (0, 0), (0, 0)
        self._page = ProjectionPage(0, ())
        self._reading: asyncio.Task[ProjectionPage] | None = None

    async def stop(self) -> None:
        """Read no further."""
        if self._reading is not None:
            await cancel(self._reading)
            self._reading = None

    async def read(
        self, connection: AsyncConnection, after: int, until: int, head: int
    ) -> ProjectionPage:
        """As `Pages.read`."""
        if self._asked != (after, until):
            self._asked, self._page = (0, 0), ProjectionPage(0, ())
            self._page = await self._read(connection, after, until, head)
            self._asked = after, until
        return self._page

    async def _read(
        self, connection: AsyncConnection, after: int, until: int, head: int
    ) -> ProjectionPage:
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

    async def _read_ahead(self, after: int, until: int) -> ProjectionPage:
        async with self.store.reader() as connection:
            page = await super().read(connection, after, until, until)
        with suppress(Damaged):  # it is for who needs that event to say so
            await decode(page.events)
        return page


class SharedPages(NamedTuple):
    """The events of some types, or all, of pages that several followers share."""

    pages: Pages
    types: frozenset[str] | None

    async def read(
        self, connection: AsyncConnection, after: int, until: int, head: int
    ) -> ProjectionPage:
        """As `Pages.read`."""
        page = await self.pages.read(connection, after, until, head)
        if self.types is None:
            return page
        return page._replace(events=[e for e in page.events if e.row.type in self.types])


@asynccontextmanager
async def reading_ahead(
    store: Store, types: Sequence[str] | None, page: int, part: LogPart | None = None
) -> AsyncIterator[PrefetchedPages]:
    """The pages of the log, or of a part of it, read ahead until this ends."""
    pages = PrefetchedPages(store, types, page, part)
    try:
        yield pages
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
