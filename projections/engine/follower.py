"""Lets one projection follow the log: its rows and its bookmark change in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import structlog
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg.sql import SQL

from domain.eventlog.codec import EventRow
from domain.eventlog.connection.timeouts import OUTAGES, is_outage
from domain.eventlog.recent_events import LogEvent
from domain.model import Recorded
from projections.engine.pages import LogPart, Pages
from projections.engine.projection import Projection

log = structlog.get_logger()

PAGE = 1_000
LARGEST_PAGE = 5_000
"""Positions that a page covers: at the head of the log, and at most while the projection is behind."""
YIELD_EVERY = 200
"""Events that are decoded before the event loop runs other tasks."""

BOOKMARK = SQL("""; SELECT b.position, b.generation, head.position FROM bookmarks AS b, head
    WHERE b.view = {} FOR UPDATE OF b""")
MOVE = SQL("UPDATE bookmarks SET position = {} WHERE view = {}; ")
NOTIFY = SQL("SELECT pg_notify({}, {}); ")
PARK = """INSERT INTO parked (view, position, stream, type, error) VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT DO NOTHING"""


Apply = Callable[[AsyncConnection, Sequence[LogEvent]], Awaitable[None]]


class Bounds(NamedTuple):
    """The statements with which the transaction of a page begins, ends, and is undone.

    Each is sent in one round trip with the statement next to it: a round trip costs as much as ten events.
    """

    begin: SQL
    end: SQL
    undo: SQL

    @classmethod
    def on(cls, connection: AsyncConnection) -> Bounds:
        """Return the bounds of a transaction, or of a savepoint in the transaction that the caller has begun."""
        idle = connection.info.transaction_status == TransactionStatus.IDLE
        return TRANSACTION if idle else SAVEPOINT


TRANSACTION = Bounds(SQL("BEGIN"), SQL("COMMIT"), SQL("ROLLBACK"))
SAVEPOINT = Bounds(
    SQL("SAVEPOINT page"), SQL("RELEASE SAVEPOINT page"), SQL("ROLLBACK TO SAVEPOINT page")
)


class BookmarkState(NamedTuple):
    """The position of a view, and its generation: a number that each rebuild raises."""

    position: int
    generation: int


class Follower:
    """Brings one view up to the head of the log, or to the end of a part of it, page by page.

    After each page, `behind` is whether the log had more, and `moved` the number of positions that the page passed.
    """

    def __init__(
        self,
        view: Projection,
        pages: Pages,
        page: int = PAGE,
        part: LogPart | None = None,
        cached_at: BookmarkState | None = None,
    ) -> None:
        """`cached_at` is the bookmark at which the states that the view caches were current; None if unknown."""
        self.view = view
        self.parked = 0
        self.behind = False
        self.moved = 0
        self._pages = pages
        self._part = part
        self._bookmark = part.bookmark(view.name) if part else view.name
        self.cached_at = cached_at
        self._page = self._smallest = page

    @property
    def position(self) -> int:
        """The position of the view's bookmark as this follower last saw it; 0 if unknown."""
        return self.cached_at.position if self.cached_at else 0

    async def catch_up(
        self,
        connection: AsyncConnection,
        page: int | None = None,
        progress_channel: str | None = None,
    ) -> BookmarkState | None:
        """Apply the next page, of at most `page` positions, and return the new bookmark; None if there were no events.

        Notifies the channel `progress_channel`, if given, of the new position.
        """
        page = page or self._page
        try:
            return await self._process_page(connection, page, progress_channel, self._apply)
        except Exception as error:
            if is_outage(error):
                raise
            self.view.forget()  # the page is applied again one by one, to find the event that fails
            return await self._process_page(
                connection, page, progress_channel, self._apply_one_by_one
            )

    async def _process_page(
        self, connection: AsyncConnection, page: int, progress_channel: str | None, apply: Apply
    ) -> BookmarkState | None:
        view, bounds = self.view, Bounds.on(connection)
        async with undone_by_errors(connection, bounds):
            bookmark, head = await _lock_bookmark(connection, bounds, self._bookmark)
            head = min(head, self._part.until) if self._part else head
            if bookmark != self.cached_at:
                view.forget()
            until = min(bookmark.position + page, head)
            if until <= bookmark.position:  # less if `head` was read before a wait for the row lock
                self.behind, self.moved = False, 0
                await connection.execute(bounds.end)
                self.cached_at = bookmark
                return None
            until, events = await self._pages.read(connection, bookmark.position, until, head)
            self.behind, self.moved = until < head, until - bookmark.position
            self.cached_at = None
            self._adapt_page_size()
            if events:
                await apply(connection, events)
            move = MOVE.format(until, self._bookmark)
            if progress_channel:
                move += NOTIFY.format(progress_channel, f"{view.name} {until}")
            await connection.execute(move + bounds.end)
        self.cached_at = BookmarkState(until, bookmark.generation)
        return self.cached_at

    def _adapt_page_size(self) -> None:
        """Double the page size while the view is behind: each row is written once a page, so large pages cost less."""
        largest = max(LARGEST_PAGE, self._smallest)
        self._page = min(2 * self._page, largest) if self.behind else self._smallest

    async def _apply(self, connection: AsyncConnection, events: Sequence[LogEvent]) -> None:
        await self.view.apply(connection, await decode(events))

    async def _apply_one_by_one(
        self, connection: AsyncConnection, events: Sequence[LogEvent]
    ) -> None:
        """Apply the events one by one; an event that fails is undone by itself and parked."""
        for event in events:
            try:
                async with connection.transaction():
                    await self._apply(connection, [event])
            except Exception as error:
                if is_outage(error):
                    raise
                self.view.forget()  # no event may stop the view
                await self._park(connection, event.row, error)

    async def _park(self, connection: AsyncConnection, row: EventRow, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"[:2000]
        log.error("event parked", view=self.view.name, position=row.position, error=reason)
        self.parked += 1
        columns = (self.view.name, row.position, row.stream, row.type, reason)
        await connection.execute(PARK, columns)


@asynccontextmanager
async def undone_by_errors(connection: AsyncConnection, bounds: Bounds) -> AsyncIterator[None]:
    """Undo the transaction that the block has begun if the block raises."""
    try:
        yield
    except Exception:
        with suppress(*OUTAGES):
            await connection.execute(bounds.undo)
        raise


async def _lock_bookmark(
    connection: AsyncConnection, bounds: Bounds, view: str
) -> tuple[BookmarkState, int]:
    cursor = await connection.execute(bounds.begin + BOOKMARK.format(view))
    cursor.nextset()
    row = await cursor.fetchone()
    if row is None:
        raise LookupError(f"the view {view} has no bookmark: its tables were never created")
    return BookmarkState(*row[:2]), row[2]


async def decode(events: Sequence[LogEvent]) -> list[Recorded]:
    """Decode events, and let other tasks run after every `YIELD_EVERY` events."""
    decoded: list[Recorded] = []
    for start in range(0, len(events), YIELD_EVERY):
        if start:
            await asyncio.sleep(0)
        decoded += [event.recorded for event in events[start : start + YIELD_EVERY]]
    return decoded
