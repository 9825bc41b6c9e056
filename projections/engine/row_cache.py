"""A cache of the rows of executions that a projection changes; it reads those that it lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from psycopg import AsyncConnection

from domain.lru import LruCache
from domain.model import Recorded, aggregate_id

R = TypeVar("R")

After = Callable[[R | None, Recorded], R | None]
"""The row of an execution after an event; None where there is none any more."""
Read = Callable[[Sequence[tuple[Any, ...]]], Mapping[str, R]]
"""Makes of rows of the database what is kept, by the id of the execution."""


class Folded(NamedTuple, Generic[R]):
    """What a page made of the rows that it touches: all of them, to `put` into the cache once what follows is written;
    those that it changed, and the ids of those that it ended.
    """

    rows: dict[str, R | None]
    changed: list[R]
    ended: list[str]


class RowCache(Generic[R]):
    """Keeps what was used last. `query` selects the rows of some ids, an array."""

    def __init__(self, capacity: int, query: str, read: Read[R]) -> None:
        self._rows: LruCache[str, R] = LruCache(capacity)
        self._query = query
        self._read = read

    def clear(self) -> None:
        """Keep nothing."""
        self._rows.clear()

    async def load(self, connection: AsyncConnection, page: Sequence[Recorded]) -> dict[str, R]:
        """The rows, by id, of those executions in a page that began before it."""
        begun = {event.stream for event in page if event.version == 1}
        ids = {aggregate_id(event.stream) for event in page if event.stream not in begun}
        found = {key: row for key in ids if (row := self._rows.get(key)) is not None}
        if missing := [key for key in ids if key not in found]:
            # Never prepared: a plan made while the table was empty would read all of it for long.
            cursor = await connection.execute(self._query, (missing,), prepare=False, binary=True)
            found |= self._read(await cursor.fetchall())
        return found

    async def fold(
        self, connection: AsyncConnection, page: Sequence[Recorded], after: After[R]
    ) -> Folded[R]:
        """The rows that a page touches, after its events."""
        before = await self.load(connection, page)
        rows: dict[str, R | None] = dict(before)
        for recorded in page:
            execution = aggregate_id(recorded.stream)
            rows[execution] = after(rows.get(execution), recorded)
        changed = [row for key, row in rows.items() if row is not None and row != before.get(key)]
        ended = [key for key, row in rows.items() if row is None and key in before]
        return Folded(rows, changed, ended)

    def put(self, rows: Mapping[str, R | None]) -> None:
        """Keep rows for the next page; those that are None are gone."""
        for key, row in rows.items():
            if row is None:
                self._rows.pop(key)
            else:
                self._rows.put(key, row)
        self._rows.trim()
