"""Makes following a long log fast: reads the next page while one is written, and collects garbage rarely."""

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
    """Reads and decodes the next page, on a connection of its own, while the caller writes the current one.

    Followers that ask for the same page get the same objects, so each event is decoded once for all of them.
    """

    def __init__(
        self, store: Store, types: Sequence[str] | None, size: int, part: LogPart | None
    ) -> None:
        super().__init__(store, types, part)
        self._size = size
        self._page_span, self._next_span = (0, 0), (0, 0)
        self._page = ProjectionPage(0, ())
        self._reading: asyncio.Task[ProjectionPage] | None = None

    async def stop(self) -> None:
        """Stop reading ahead."""
        if self._reading is not None:
            await cancel(self._reading)
            self._reading = None

    async def read(
        self, connection: AsyncConnection, after: int, until: int, head: int
    ) -> ProjectionPage:
        """Return the page that `Pages.read` describes."""
        if self._page_span != (after, until):
            self._page_span, self._page = (0, 0), ProjectionPage(0, ())
            self._page = await self._read(connection, after, until, head)
            self._page_span = after, until
        return self._page

    async def _read(
        self, connection: AsyncConnection, after: int, until: int, head: int
    ) -> ProjectionPage:
        if self._reading is not None and self._next_span == (after, until):
            reading, self._reading = self._reading, None
            page = await reading
        else:
            await self.stop()
            page = await super().read(connection, after, until, head)
        if page.until + self._size <= head:
            self._next_span = page.until, page.until + self._size
            read_ahead = self._read_ahead(*self._next_span)
            self._reading = asyncio.create_task(read_ahead, name="read ahead")
        return page

    async def _read_ahead(self, after: int, until: int) -> ProjectionPage:
        async with self.store.reader() as connection:
            page = await super().read(connection, after, until, until)
        with suppress(Damaged):  # raised again for the follower that applies the event
            await decode(page.events)
        return page


class SharedPages(NamedTuple):
    """Pages that several followers share, reduced to the event types of one of them; None for all types."""

    pages: Pages
    types: frozenset[str] | None

    async def read(
        self, connection: AsyncConnection, after: int, until: int, head: int
    ) -> ProjectionPage:
        """Return the page that `Pages.read` describes."""
        page = await self.pages.read(connection, after, until, head)
        if self.types is None:
            return page
        return page._replace(events=[e for e in page.events if e.row.type in self.types])


@asynccontextmanager
async def reading_ahead(
    store: Store, types: Sequence[str] | None, page: int, part: LogPart | None = None
) -> AsyncIterator[PrefetchedPages]:
    """Yield the pages of the log, or of a part of it, which are read ahead until the block ends."""
    pages = PrefetchedPages(store, types, page, part)
    try:
        yield pages
    finally:
        await pages.stop()


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """Collect garbage rarely until the block ends.

    A page is half a million objects without a reference cycle; searching them for cycles took a third of the time.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(1_000_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
