"""Caches the rows of executions that a projection changes, and reads the rows that are not cached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from psycopg import AsyncConnection

from domain.lru import LruCache
from domain.model import Recorded, aggregate_id

R = TypeVar("R")

After = Callable[[R | None, Recorded], R | None]
"""Returns the row of an execution after an event; None if the execution has no row any more."""
Read = Callable[[Sequence[tuple[Any, ...]]], Mapping[str, R]]
"""Converts database rows to cached rows, by the id of the execution."""


class Folded(NamedTuple, Generic[R]):
    """The rows of the executions in a page, after the page: all of them, to `put` into the cache once they are written; those that
    changed; and the ids of the executions whose row was removed.
    """

    rows: dict[str, R | None]
    changed: list[R]
    ended: list[str]


class RowCache(Generic[R]):
    """Caches the most recently used rows. `query` selects the rows of an array of ids."""

    def __init__(self, capacity: int, query: str, read: Read[R]) -> None:
        self._rows: LruCache[str, R] = LruCache(capacity)
        self._query = query
        self._read = read

    def clear(self) -> None:
        """Drop all cached rows."""
        self._rows.clear()

    async def load(self, connection: AsyncConnection, page: Sequence[Recorded]) -> dict[str, R]:
        """Return the rows, by id, of the executions in a page that were created before the page."""
        begun = {event.stream for event in page if event.version == 1}
        ids = {aggregate_id(event.stream) for event in page if event.stream not in begun}
        found = {key: row for key in ids if (row := self._rows.get(key)) is not None}
        if missing := [key for key in ids if key not in found]:
            # Not prepared: a plan made while the table was empty would scan the whole table later.
            cursor = await connection.execute(self._query, (missing,), prepare=False, binary=True)
            found |= self._read(await cursor.fetchall())
        return found

    async def fold(
        self, connection: AsyncConnection, page: Sequence[Recorded], after: After[R]
    ) -> Folded[R]:
        """Apply the events of a page to the rows of their executions, and return the result."""
        before = await self.load(connection, page)
        rows: dict[str, R | None] = dict(before)
        for recorded in page:
            execution = aggregate_id(recorded.stream)
            rows[execution] = after(rows.get(execution), recorded)
        changed = [row for key, row in rows.items() if row is not None and row != before.get(key)]
        ended = [key for key, row in rows.items() if row is None and key in before]
        return Folded(rows, changed, ended)

    def put(self, rows: Mapping[str, R | None]) -> None:
        """Cache rows for the next page. A row that is None is removed from the cache."""
        for key, row in rows.items():
            if row is None:
                self._rows.pop(key)
            else:
                self._rows.put(key, row)
        self._rows.trim()
