"""Reads pages of the log for a projection that follows by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from psycopg import AsyncConnection

from domain.eventlog.archive.archived_queries import fetch_of_span
from domain.eventlog.queries import TOO_MANY
from domain.eventlog.recent_events import LogEvent
from domain.eventlog.store import Store

PAGE_BYTES = 8 * 1024 * 1024
LARGE = 2_000
"""Bytes from which on an event counts: any page of smaller ones fits into memory."""
ALWAYS_READ = 16
"""So few events fit, however large they are."""


class ProjectionPage(NamedTuple):
    """The events that concern a projection, up to a position of the log."""

    until: int
    events: Sequence[LogEvent]


class LogPart(NamedTuple):
    """A part of the log: the streams of one share of several, from 0, up to a position."""

    shares: int
    number: int
    until: int

    def bookmark(self, view: str) -> str:
        """The name of the bookmark of a follower of this part alone."""
        return f"{view}/{self.number}"


class Pages(Protocol):
    """Reads the log page by page."""

    async def read(
        self, connection: AsyncConnection, after: int, until: int, head: int
    ) -> ProjectionPage:
        """The events in (after, until], or in less where those are too many bytes.

        At least one position is passed. `head` is the end of the log, as far as the caller knows.
        """


class LogPages:
    """Reads from the database, on the connection of the caller."""

    def __init__(
        self, store: Store, types: Sequence[str] | None, part: LogPart | None = None
    ) -> None:
        self.store = store
        self._types = types
        self._share = part[:2] if part else None

    async def read(
        self, connection: AsyncConnection, after: int, until: int, head: int
    ) -> ProjectionPage:
        """As `Pages.read`."""
        until = await self._end(connection, after, until)
        rows = await self.store.span(connection, after, until, self._types, self._share)
        return ProjectionPage(until, [LogEvent(row, self.store.codec) for row in rows])

    async def _end(self, connection: AsyncConnection, after: int, until: int) -> int:
        if until - after <= ALWAYS_READ:
            return until
        values = after, until, LARGE, PAGE_BYTES
        [(first,)] = await fetch_of_span(connection, TOO_MANY, values, after, until)
        return until if first is None else max(after + 1, int(first) - 1)
