"""Reads pages of the log for a projection that follows the log apart from the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from psycopg import AsyncConnection

from domain.eventlog.archive.archived_queries import AT_ONCE, fetch_of_span
from domain.eventlog.queries import TOO_MANY
from domain.eventlog.recent_events import LogEvent
from domain.eventlog.store import Store

PAGE_BYTES = 8 * 1024 * 1024
"""Bytes of stored events that one page has at most, except that it has at least one event."""
LARGE = 2_000
"""Bytes of an event from which on its size is added up: a page of smaller events always fits into memory."""
ALWAYS_READ = 16
"""Events that fit into memory at any size: a page of so few is read without adding up their sizes."""


class ProjectionPage(NamedTuple):
    """The events up to the position `until` that a projection applies."""

    until: int
    events: Sequence[LogEvent]


class LogPart(NamedTuple):
    """A part of the log: the streams of share `number` of `shares`, counted from 0, up to the position `until`."""

    shares: int
    number: int
    until: int

    def bookmark(self, view: str) -> str:
        """Return the name of the bookmark of a follower that applies only this part to a view."""
        return f"{view}/{self.number}"


class Pages(Protocol):
    """Reads the log page by page."""

    async def read(
        self, connection: AsyncConnection, after: int, until: int, head: int
    ) -> ProjectionPage:
        """Return the events in (after, until], or fewer if those have more than `PAGE_BYTES`.

        The page ends after at least one position. `head` is the end of the log as the caller knows it.
        """


class LogPages:
    """Reads pages from the database on the connection of the caller."""

    def __init__(
        self, store: Store, types: Sequence[str] | None, part: LogPart | None = None
    ) -> None:
        self.store = store
        self._types = types
        self._share = part[:2] if part else None

    async def read(
        self, connection: AsyncConnection, after: int, until: int, head: int
    ) -> ProjectionPage:
        """Return the page that `Pages.read` describes."""
        until = await self._end_of_page(connection, after, until)
        rows = await self.store.span(connection, after, until, self._types, self._share)
        return ProjectionPage(until, [LogEvent(row, self.store.codec) for row in rows])

    async def _end_of_page(self, connection: AsyncConnection, after: int, until: int) -> int:
        if until - after <= ALWAYS_READ:
            return until
        values = after, until, LARGE, PAGE_BYTES
        found = await fetch_of_span(connection, TOO_MANY, values, after, until, at_once=AT_ONCE)
        [(first_beyond,)] = found
        return until if first_beyond is None else max(after + 1, int(first_beyond) - 1)
