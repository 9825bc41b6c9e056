"""Lets the views that are near the head of the log follow it together: a page of events is read and decoded once,
and applied to all of these views in one transaction.
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
"""Seconds that one view may take to apply a page. The other views wait meanwhile, so a slower one follows apart."""

# A rebuild locks the bookmark of its view. SKIP LOCKED lets the other views go on without waiting for the rebuild.
BOOKMARKS = SQL("""; SELECT b.view, b.position, b.generation, head.position FROM bookmarks AS b, head
    WHERE b.view = ANY({}) FOR UPDATE OF b SKIP LOCKED""")
MOVE = SQL("""WITH moved AS (UPDATE bookmarks SET position = {until} WHERE view = ANY({views})
        RETURNING view)
    SELECT pg_notify({channel}, view || ' ' || {until}) FROM moved; """)


class LivePage(NamedTuple):
    """The number of positions that a page passed, whether the log has more, and the views that must follow apart."""

    moved: int
    behind: bool
    apart: frozenset[str]


class _ViewFailed(Exception):
    """A view could not apply a page; the page was undone for all views."""


class LiveFollower:
    """Brings several views up to the head of the log, page by page, and notifies `channel` of each view's position.

    A view must follow apart, with a `Follower`, if it is too far behind the others, fails, is slow, or has a locked
    bookmark. So no view delays another.
    """

    def __init__(self, store: Store, channel: str, page: int = PAGE) -> None:
        self._channel = channel
        self._recent = RecentEvents(store.codec)
        self._has_begun = False
        self._cached_at: dict[str, BookmarkState] = {}
        """The bookmarks at which the states that the views cache were current."""
        self._page = self._smallest = page
        self._types_by_view: dict[str, frozenset[str] | None] = {}

    def covers(self, position: int) -> bool:
        """Whether a view at this position can follow together with the others."""
        return self._recent.covers(position)

    def bookmark_of(self, view: str) -> BookmarkState | None:
        """Return the bookmark at which the cached states of a view were current; None if it is unknown."""
        return self._cached_at.get(view)

    def take_back(self, view: str, cached_at: BookmarkState | None) -> None:
        """Continue with a view whose cached states another follower has brought to the bookmark `cached_at`."""
        if cached_at is not None:
            self._cached_at[view] = cached_at

    async def catch_up(self, connection: AsyncConnection, views: Sequence[Projection]) -> LivePage:
        """Apply to each view the events after its bookmark, to all views up to the same position."""
        cached_at = {view.name: self._cached_at.pop(view.name, None) for view in views}
        try:
            async with undone_by_errors(connection, TRANSACTION):
                return await self._process_page(connection, views, cached_at)
        except _ViewFailed as failed:
            [name] = failed.args
            log.warning("view follows the log apart", view=name, error=repr(failed.__cause__))
            return LivePage(0, behind=True, apart=frozenset([name]))

    async def _process_page(
        self,
        connection: AsyncConnection,
        views: Sequence[Projection],
        cached_at: Mapping[str, BookmarkState | None],
    ) -> LivePage:
        bookmarks, head = await self._lock_bookmarks(connection, views)
        self._begin(bookmarks, head)
        # Reading drops the oldest events, so which views are near is known only afterwards.
        until = await self._read_page(connection, head)
        near = [v for v in views if v.name in bookmarks and self.covers(bookmarks[v.name].position)]
        apart = {view.name for view in views} - {view.name for view in near}
        behind = [view for view in near if bookmarks[view.name].position < until]
        for view in near:
            if bookmarks[view.name] != cached_at[view.name]:
                view.forget()
        for view in behind:
            apart |= await self._apply(connection, view, bookmarks[view.name].position, until)
        names = [view.name for view in behind]
        moved = until - min((bookmarks[name].position for name in names), default=until)
        move = MOVE.format(until=until, views=names, channel=self._channel) if names else SQL("")
        await connection.execute(move + TRANSACTION.end)
        for name in names:
            bookmarks[name] = bookmarks[name]._replace(position=until)
        self._cached_at |= {view.name: bookmarks[view.name] for view in near}
        if self._cached_at:
            self._recent.drop_passed(min(state.position for state in self._cached_at.values()))
        return LivePage(moved, until < head, frozenset(apart))

    async def _lock_bookmarks(
        self, connection: AsyncConnection, views: Sequence[Projection]
    ) -> tuple[dict[str, BookmarkState], int]:
        names = [view.name for view in views]
        cursor = await connection.execute(TRANSACTION.begin + BOOKMARKS.format(names))
        cursor.nextset()
        rows = await cursor.fetchall()
        bookmarks = {view: BookmarkState(position, number) for view, position, number, _ in rows}
        return bookmarks, rows[0][3] if rows else 0

    def _begin(self, bookmarks: Mapping[str, BookmarkState], head: int) -> None:
        """Begin to read after the foremost bookmark: the views near it follow together. A bookmark ahead of the log
        counts as the head.
        """
        positions = (min(bookmark.position, head) for bookmark in bookmarks.values())
        foremost = max(positions, default=0)
        if not self._has_begun or foremost > self._recent.head + self._page:
            self._recent.begin_after(foremost)
        self._has_begun = self._has_begun or bool(bookmarks)

    async def _read_page(self, connection: AsyncConnection, head: int) -> int:
        """Read the next page and return the position at its end. Pages double in size while the log has more."""
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
        """Apply the events in (after, until] to a view; return its name in a set if that took longer than `SLOW`."""
        types = self._types_of(view)
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

    def _types_of(self, view: Projection) -> frozenset[str] | None:
        if view.name not in self._types_by_view:
            self._types_by_view[view.name] = None if view.types is None else frozenset(view.types)
        return self._types_by_view[view.name]
