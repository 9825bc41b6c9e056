"""How the views that are up to the log follow it together: a page of events is read and decoded once,
and applied to all of them in one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import NamedTuple

import structlog
from psycopg import AsyncConnection
from psycopg.sql import SQL

from domain.eventlog.archive.archived_queries import next_events
from domain.eventlog.recent_events import RecentEvents
from domain.eventlog.store import Store
from projections.engine.follower import (
    LARGEST_PAGE,
    PAGE,
    TRANSACTION,
    BookmarkState,
    decode,
    undone_by_errors,
)
from projections.engine.pages import PAGE_BYTES
from projections.engine.projection import Projection

log = structlog.get_logger()

SLOW = 1.0
"""Seconds that a view may take for its part of a page: the others wait for it."""

# A bookmark that is locked belongs to a rebuild, which others need not wait for.
BOOKMARKS = SQL("""; SELECT b.view, b.position, b.generation, head.position FROM bookmarks AS b, head
    WHERE b.view = ANY({}) FOR UPDATE OF b SKIP LOCKED""")
MOVE = SQL("""WITH moved AS (UPDATE bookmarks SET position = {until} WHERE view = ANY({views})
        RETURNING view)
    SELECT pg_notify({channel}, view || ' ' || {until}) FROM moved; """)


class LivePage(NamedTuple):
    """How many events a page had, whether there are more, and which views must follow by themselves."""

    moved: int
    behind: bool
    apart: frozenset[str]


class _ViewFailed(Exception):
    """A view could not apply its part of a page; the page was undone."""


class LiveFollower:
    """Brings several views up to the log, page by page.

    A view must follow by itself that is too far behind the others, that fails, that is slow, or whose
    bookmark is locked: so none holds up another. The channel `channel` hears how far each view is.
    """

    def __init__(self, store: Store, channel: str, page: int = PAGE) -> None:
        self._channel = channel
        self._recent = RecentEvents(store.codec)
        self._began = False
        self._left: dict[str, BookmarkState] = {}
        self._page = self._smallest = page
        self._concerned: dict[str, frozenset[str] | None] = {}

    def covers(self, position: int) -> bool:
        """Whether a view at this position can follow together with the others."""
        return self._recent.covers(position)

    def bookmark_of(self, view: str) -> BookmarkState | None:
        """Where it left a view, and what that keeps between pages; None where it did not come so far."""
        return self._left.get(view)

    def take_back(self, view: str, left: BookmarkState | None) -> None:
        """Go on with a view where another follower left it."""
        if left is not None:
            self._left[view] = left

    async def catch_up(self, connection: AsyncConnection, views: Sequence[Projection]) -> LivePage:
        """Apply to each view what follows on its bookmark, all up to one position."""
        left = {view.name: self._left.pop(view.name, None) for view in views}
        try:
            async with undone_by_errors(connection, TRANSACTION):
                return await self._process_page(connection, views, left)
        except _ViewFailed as failed:
            [name] = failed.args
            log.warning("view follows by itself", view=name, error=repr(failed.__cause__))
            return LivePage(0, behind=True, apart=frozenset([name]))

    async def _process_page(
        self,
        connection: AsyncConnection,
        views: Sequence[Projection],
        left: Mapping[str, BookmarkState | None],
    ) -> LivePage:
        bookmarks, head = await self._bookmarks(connection, views)
        self._begin(bookmarks, head)
        until = await self._read(
            connection, head
        )  # which drops the oldest: then it shows who is near
        near = [v for v in views if v.name in bookmarks and self.covers(bookmarks[v.name].position)]
        apart = {view.name for view in views} - {view.name for view in near}
        behind = [view for view in near if bookmarks[view.name].position < until]
        for view in near:
            if bookmarks[view.name] != left[view.name]:
                view.forget()
        for view in behind:
            apart |= await self._apply(connection, view, bookmarks[view.name].position, until)
        names = [view.name for view in behind]
        moved = until - min((bookmarks[name].position for name in names), default=until)
        move = MOVE.format(until=until, views=names, channel=self._channel) if names else SQL("")
        await connection.execute(move + TRANSACTION.end)
        for name in names:
            bookmarks[name] = bookmarks[name]._replace(position=until)
        self._left |= {view.name: bookmarks[view.name] for view in near}
        if self._left:
            self._recent.drop_passed(min(bookmark.position for bookmark in self._left.values()))
        return LivePage(moved, until < head, frozenset(apart))

    async def _bookmarks(
        self, connection: AsyncConnection, views: Sequence[Projection]
    ) -> tuple[dict[str, BookmarkState], int]:
        names = [view.name for view in views]
        cursor = await connection.execute(TRANSACTION.begin + BOOKMARKS.format(names))
        cursor.nextset()
        rows = await cursor.fetchall()
        bookmarks = {view: BookmarkState(position, number) for view, position, number, _ in rows}
        return bookmarks, rows[0][3] if rows else 0

    def _begin(self, bookmarks: Mapping[str, BookmarkState], head: int) -> None:
        """Those follow together that are near the one that is farthest, unless it is ahead of the log."""
        positions = (min(bookmark.position, head) for bookmark in bookmarks.values())
        farthest = max(positions, default=0)
        if not self._began or farthest > self._recent.head + self._page:
            self._recent.begin_after(farthest)
        self._began = self._began or bool(bookmarks)

    async def _read(self, connection: AsyncConnection, head: int) -> int:
        """Read what follows; the position that all go to. The further behind, the larger the pages."""
        after = self._recent.head
        if after >= head:
            return after
        self._recent.append(await next_events(connection, after, self._page, PAGE_BYTES))
        largest = max(LARGEST_PAGE, self._smallest)
        behind = self._recent.head < head
        self._page = min(2 * self._page, largest) if behind else self._smallest
        return self._recent.head

    async def _apply(
        self, connection: AsyncConnection, view: Projection, after: int, until: int
    ) -> set[str]:
        """The view's name, if that took it too long."""
        types = self._types(view)
        events = [
            e for e in self._recent.after(after, until) if types is None or e.row.type in types
        ]
        if not events:
            return set()
        began = monotonic()
        try:
            await view.apply(connection, await decode(events))
        except Exception as error:
            if connection.closed:
                raise
            raise _ViewFailed(view.name) from error
        return {view.name} if monotonic() - began > SLOW else set()

    def _types(self, view: Projection) -> frozenset[str] | None:
        if view.name not in self._concerned:
            self._concerned[view.name] = None if view.types is None else frozenset(view.types)
        return self._concerned[view.name]
