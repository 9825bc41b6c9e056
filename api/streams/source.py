"""What streams read from the store, shared by all of them and asked for together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from api.streams.batches import Batches
from api.streams.entries import Entry
from api.streams.readers import PAGE
from api.streams.telling import Teller
from api.streams.window import Window
from domain.eventlog.codec import Stored
from domain.eventlog.store import Store
from domain.model import Held

STATES_AT_ONCE = 100
PAGES_AT_ONCE = 50

Place = tuple[str, int, bool]
"""A stream, a version, and whether what follows is to be told."""


class Source:
    """Reads the log for streams: pages of it, pages of single streams, states, and the head."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._past = Teller(store)
        self.live = Teller(store)
        self.window = Window(self.between, self._past.tell)
        self.states: Batches[str, Held[Any]] = Batches(self._states, STATES_AT_ONCE)
        self.rows: Batches[Place, Sequence[Entry]] = Batches(self._rows, PAGES_AT_ONCE)
        self.versions: Batches[tuple[str, int], int] = Batches(self._versions, STATES_AT_ONCE)
        self.heads: Batches[None, int] = Batches(self._heads, 100_000)

    def forget(self) -> None:
        """Drop everything that was read."""
        self.window.forget()
        self._past.forget()
        self.live.forget()

    async def between(self, after: int, until: int) -> list[Entry]:
        """The events of the log in (after, until]."""
        found: list[Entry] = []
        while after < until and (rows := await self._store.read(after, until - after)):
            found += await self.entries(rows)
            after = rows[-1].position
        return found

    async def entries(self, rows: Iterable[Stored]) -> list[Entry]:
        """Entries of rows, with the keys to what is sealed in them."""
        rows = list(rows)
        keys = await self._store.keys(row.stream for row in rows if b'"$sealed"' in row.data)
        return [Entry(row, keys.get(row.stream)) for row in rows]

    async def _heads(self, asked: Sequence[None]) -> dict[None, int]:
        position, _ = await self._store.head()
        return {None: position}

    async def _states(self, streams: Sequence[str]) -> dict[str, Held[Any]]:
        async with self._store.reader() as connection:
            return await self._store.states.load(connection, dict.fromkeys(streams))

    async def _versions(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        async with self._store.reader() as connection:
            return await self._store.states.versions_at(connection, places)

    async def _rows(self, places: Sequence[Place]) -> dict[Place, Sequence[Entry]]:
        asked = [place[:2] for place in places]
        async with self._store.reader() as connection:
            found = await self._store.states.following(connection, asked, PAGE)
        entries = await self.entries(row for rows in found.values() for row in rows)
        made = iter(entries)
        pages = {place: [next(made) for _ in rows] for place, rows in found.items()}
        told = dict.fromkeys(place[:2] for place in places if place[2])
        await self._past.tell(entry for place in told for entry in pages[place])
        return {place: pages[place[:2]] for place in places}
