"""Lets one projection follow the log: its rows and its bookmark move in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import structlog
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg.sql import SQL

from domain.errors import Overloaded
from domain.eventlog.codec import EventRow
from domain.eventlog.connection.timeouts import OUTAGES
from domain.eventlog.recent_events import LogEvent
from domain.model import Recorded
from projections.engine.pages import LogPart, Pages
from projections.engine.projection import Projection

log = structlog.get_logger()

PAGE = 1_000
LARGEST_PAGE = 5_000
YIELD_EVERY = 200

BOOKMARK = SQL("""; SELECT b.position, b.generation, head.position FROM bookmarks AS b, head
    WHERE b.view = {} FOR UPDATE OF b""")
MOVE = SQL("UPDATE bookmarks SET position = {} WHERE view = {}; ")
NOTIFY = SQL("SELECT pg_notify({}, {}); ")
PARK = """INSERT INTO parked (view, position, stream, type, error) VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT DO NOTHING"""


Apply = Callable[[AsyncConnection, Sequence[LogEvent]], Awaitable[None]]


class Bounds(NamedTuple):
    """How a page begins and ends. They are sent together with the statements beside them: a round
    trip costs as much as ten events.
    """

    begin: SQL
    end: SQL
    undo: SQL

    @classmethod
    def on(cls, connection: AsyncConnection) -> Bounds:
        """A transaction of its own, or a part of the one that the caller has begun."""
        alone = connection.info.transaction_status == TransactionStatus.IDLE
        return TRANSACTION if alone else SAVEPOINT


TRANSACTION = Bounds(SQL("BEGIN"), SQL("COMMIT"), SQL("ROLLBACK"))
SAVEPOINT = Bounds(
    SQL("SAVEPOINT page"), SQL("RELEASE SAVEPOINT page"), SQL("ROLLBACK TO SAVEPOINT page")
)


class BookmarkState(NamedTuple):
    """How far a view is, and in which of its builds."""

    position: int
    generation: int


class Follower:
    """Brings one view up to the log, or a part of it, page by page, on a connection of its own.

    `behind` says whether there was more in the log than the last page, `moved` how long that was.
    """

    def __init__(
        self,
        view: Projection,
        pages: Pages,
        page: int = PAGE,
        part: LogPart | None = None,
        left: BookmarkState | None = None,
    ) -> None:
        """`left` is where what the view keeps between pages is from, if that is known."""
        self.view = view
        self.parked = 0
        self.behind = False
        self.moved = 0
        self._pages = pages
        self._part = part
        self._bookmark = part.bookmark(view.name) if part else view.name
        self.left = left
        self._page = self._smallest = page

    @property
    def position(self) -> int:
        """How far the bookmark is known to be, whichever process moved it."""
        return self.left.position if self.left else 0

    async def catch_up(
        self,
        connection: AsyncConnection,
        page: int | None = None,
        progress_channel: str | None = None,
    ) -> BookmarkState | None:
        """Apply the next page, of so many events at most; None when there was none.

        The channel `progress_channel` hears how far the view is.
        """
        page = page or self._page
        try:
            return await self._process_page(connection, page, progress_channel, self._apply)
        except (*OUTAGES, Overloaded):
            raise
        except Exception:  # noqa: BLE001 - once more, with care: then it shows which event it was
            self.view.forget()
            return await self._process_page(
                connection, page, progress_channel, self._apply_one_by_one
            )

    async def _process_page(
        self, connection: AsyncConnection, page: int, progress_channel: str | None, apply: Apply
    ) -> BookmarkState | None:
        view, bounds = self.view, Bounds.on(connection)
        async with undone_by_errors(connection, bounds):
            bookmark, head = await _bookmark(connection, bounds, self._bookmark)
            head = min(head, self._part.until) if self._part else head
            if bookmark != self.left:
                view.forget()
            until = min(bookmark.position + page, head)
            if until <= bookmark.position:  # less where `head` was read before a wait for the row
                self.behind, self.moved = False, 0
                await connection.execute(bounds.end)
                self.left = bookmark
                return None
            until, events = await self._pages.read(connection, bookmark.position, until, head)
            self.behind, self.moved = until < head, until - bookmark.position
            self.left = None
            self._fit()
            if events:
                await apply(connection, events)
            moved = MOVE.format(until, self._bookmark)
            if progress_channel:
                moved += NOTIFY.format(progress_channel, f"{view.name} {until}")
            await connection.execute(moved + bounds.end)
        self.left = BookmarkState(until, bookmark.generation)
        return self.left

    def _fit(self) -> None:
        """The further behind, the larger the pages: rows are written once a page."""
        largest = max(LARGEST_PAGE, self._smallest)
        self._page = min(2 * self._page, largest) if self.behind else self._smallest

    async def _apply(self, connection: AsyncConnection, events: Sequence[LogEvent]) -> None:
        await self.view.apply(connection, await decode(events))

    async def _apply_one_by_one(
        self, connection: AsyncConnection, events: Sequence[LogEvent]
    ) -> None:
        """One by one; the event that fails is undone alone, and parked."""
        for event in events:
            try:
                async with connection.transaction():
                    await self._apply(connection, [event])
            except OUTAGES:
                raise
            except Exception as error:  # noqa: BLE001 - whatever an event does, the view goes on
                self.view.forget()
                await self._park(connection, event.row, error)

    async def _park(self, connection: AsyncConnection, row: EventRow, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"[:2000]
        log.error("event parked", view=self.view.name, position=row.position, error=reason)
        self.parked += 1
        columns = (self.view.name, row.position, row.stream, row.type, reason)
        await connection.execute(PARK, columns)


@asynccontextmanager
async def undone_by_errors(connection: AsyncConnection, bounds: Bounds) -> AsyncIterator[None]:
    """Undo what was begun where an exception ends it."""
    try:
        yield
    except Exception:
        with suppress(*OUTAGES):
            await connection.execute(bounds.undo)
        raise


async def _bookmark(
    connection: AsyncConnection, bounds: Bounds, view: str
) -> tuple[BookmarkState, int]:
    cursor = await connection.execute(bounds.begin + BOOKMARK.format(view))
    cursor.nextset()
    row = await cursor.fetchone()
    if row is None:
        raise LookupError(f"the view {view} has no bookmark: its tables were never created")
    return BookmarkState(*row[:2]), row[2]


async def decode(events: Sequence[LogEvent]) -> list[Recorded]:
    """What the events say; a long page yields to the loop now and then."""
    decoded: list[Recorded] = []
    for start in range(0, len(events), YIELD_EVERY):
        if start:
            await asyncio.sleep(0)
        decoded += [event.recorded for event in events[start : start + YIELD_EVERY]]
    return decoded
