"""Checks the events of the log against its rules, page by page, while the tables of the views are filled anew."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from psycopg import AsyncConnection

from domain.eventlog.connection.pg_arrays import columns
from domain.eventlog.store import Store
from domain.integrity.fault import Fault
from domain.integrity.log import PART, content_faults, order_faults
from projections.engine.pages import Pages

SCHEMA = """CREATE UNLOGGED TABLE log_faults (
    position bigint NOT NULL,
    place    text   NOT NULL,
    what     text   NOT NULL
)"""
ARRAYS = ("bigint", "text", "text")
STORE = "INSERT INTO log_faults SELECT * FROM unnest(%b::bigint[], %b::text[], %b::text[])"
FOUND = "SELECT position, place, what FROM log_faults ORDER BY position, what"


class LogCheck:
    """Checks one share of the log up to the position `end`, page by page like a `Follower`, and stores the faults in
    a table.

    `share` is the number of shares and the number of this one, from 0. This check covers the content of the streams
    of its share, and the order of an equal part of the positions of each page. `opening`: sealed fields are opened.
    """

    def __init__(
        self,
        store: Store,
        pages: Pages,
        page: int,
        share: tuple[int, int],
        end: int,
        *,
        opening: bool,
    ) -> None:
        self.position = 0
        self.behind = True
        self._store = store
        self._pages = pages
        self._page = page
        self._shares, self._number = share
        self._end = end
        self._opening = opening

    async def catch_up(self, connection: AsyncConnection) -> int | None:
        """Check the next page and return the position at its end; None if there was no page left."""
        after = self.position
        if after >= self._end:
            self.behind = False
            return None
        wanted = min(after + self._page, self._end)
        until, events = await self._pages.read(connection, after, wanted, self._end)
        first, last = (
            after + (until - after) * number // self._shares
            for number in (self._number, self._number + 1)
        )
        faults = await order_faults(self._store, first, last, self._end)
        faults += await content_faults(self._store, events, opening=self._opening)
        await _store_faults(connection, faults)
        self.position, self.behind = until, until < self._end
        return until


async def _store_faults(connection: AsyncConnection, faults: Sequence[Fault]) -> None:
    rows = [(fault.position, fault.place, fault.what) for fault in faults]
    if rows:
        await connection.execute(STORE, columns(ARRAYS, rows))


async def read_faults(connection: AsyncConnection) -> AsyncIterator[Fault]:
    """Yield the stored faults of all shares, in the order of their positions."""
    async with connection.transaction(), connection.cursor(name="log_faults") as cursor:
        await cursor.execute(FOUND)
        async for position, place, what in cursor:
            yield Fault(PART, place, what, position)
