"""What the engine reads from the log: pages of it, pages of one stream, states, keys, and the head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import structlog

from api.streaming.log.dataloader import DataLoader
from api.streaming.log.entry import Entry
from domain.eventlog.codec import EventRow
from domain.eventlog.encryption import DataKey
from domain.eventlog.queries import NEWEST
from domain.eventlog.states import PAGE_BYTES, following
from domain.eventlog.store import Store
from domain.model import Recorded, Versioned

PAGE = 100
STATES_AT_ONCE = 100
PAGES_AT_ONCE = 50

Place = tuple[str, int]
"""A stream and a version of it, or a position of the log."""

log = structlog.get_logger()


class StreamPage(NamedTuple):
    """The next events of one stream; `more` if others may follow."""

    entries: Sequence[Entry]
    more: bool


class Loader(Protocol):
    """Reads the log. Every method raises Overloaded while the database is away."""

    async def head(self) -> int:
        """The position of the last event."""
        ...

    async def entries(self, rows: Iterable[EventRow]) -> list[Entry]:
        """Entries of rows, with the keys to what is sealed in them."""
        ...

    async def between(self, after: int, until: int) -> list[Entry]:
        """The events of the log with positions in (after, until]."""
        ...

    async def stream_page(self, stream: str, version: int) -> StreamPage:
        """The events of one stream after a version."""
        ...

    async def version_at(self, stream: str, position: int) -> int:
        """The version that a stream had at a position of the log; 0 before its first event."""
        ...

    async def state(self, stream: str) -> Versioned[Any] | None:
        """The state of a stream now, sealed fields as `Ciphertext`; None where it has no events."""
        ...

    async def state_at(self, stream: str, version: int) -> Versioned[Any] | None:
        """The state of a stream at a version from 1 on, sealed fields as `Ciphertext`."""
        ...

    async def keys(self, streams: Iterable[str]) -> Mapping[str, DataKey | None]:
        """The data keys of streams; None where there is none (any more)."""
        ...

    def decode(self, row: EventRow) -> Recorded:
        """The event of a row, sealed fields as `Ciphertext`."""
        ...


class StoreLoader:
    """The loader over the event store. Questions about single streams are asked together."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._damaged: set[str] = set()
        self.decode = store.codec.decode
        self.heads: DataLoader[None, int] = DataLoader(self._heads, 100_000)
        self.states: DataLoader[str, Versioned[Any]] = DataLoader(self._states, STATES_AT_ONCE)
        self.past_states: DataLoader[Place, Versioned[Any]] = DataLoader(
            self._past_states, STATES_AT_ONCE
        )
        self.pages: DataLoader[Place, StreamPage] = DataLoader(self._pages, PAGES_AT_ONCE)
        self.versions: DataLoader[Place, int] = DataLoader(self._versions, STATES_AT_ONCE)

    async def head(self) -> int:
        return await self.heads.load(None) or 0

    async def entries(self, rows: Iterable[EventRow]) -> list[Entry]:
        rows = list(rows)
        keys = await self.keys({row.stream for row in rows if b'"$sealed"' in row.data})
        return [Entry(row, keys.get(row.stream)) for row in rows]

    async def between(self, after: int, until: int) -> list[Entry]:
        found: list[Entry] = []
        while after < until and (rows := await self._store.read(after, until - after)):
            found += await self.entries(rows)
            after = rows[-1].position
        return found

    async def stream_page(self, stream: str, version: int) -> StreamPage:
        return await self.pages.load((stream, version)) or StreamPage((), more=False)

    async def version_at(self, stream: str, position: int) -> int:
        return await self.versions.load((stream, position)) or 0

    async def state(self, stream: str) -> Versioned[Any] | None:
        return await self.states.load(stream)

    async def state_at(self, stream: str, version: int) -> Versioned[Any] | None:
        return await self.past_states.load((stream, version))

    async def keys(self, streams: Iterable[str]) -> Mapping[str, DataKey | None]:
        return await self._store.keys(streams)

    async def _heads(self, _: Sequence[None]) -> dict[None, int]:
        position, _at = await self._store.head()
        return {None: position}

    async def _states(self, streams: Sequence[str]) -> dict[str, Versioned[Any]]:
        async with self._store.reader() as connection:
            return await self._store.states.states_at(connection, dict.fromkeys(streams, NEWEST))

    async def _past_states(self, places: Sequence[Place]) -> dict[Place, Versioned[Any]]:
        found: dict[Place, Versioned[Any]] = {}
        rest = list(places)
        while rest:
            versions = dict(rest)  # one version of each stream in one query
            async with self._store.reader() as connection:
                states = await self._store.states.states_at(connection, versions)
            found |= {(s, version): states[s] for s, version in versions.items() if s in states}
            rest = [place for place in rest if versions[place[0]] != place[1]]
        return found

    async def _versions(self, places: Sequence[Place]) -> dict[Place, int]:
        async with self._store.reader() as connection:
            return await self._store.states.versions_at(connection, places)

    async def _pages(self, places: Sequence[Place]) -> dict[Place, StreamPage]:
        async with self._store.reader() as connection:
            found = await following(connection, places, PAGE)
        entries = iter(await self.entries(row for rows in found.values() for row in rows))
        return {
            place: StreamPage([next(entries) for _ in rows], _is_cut(rows))
            for place, rows in found.items()
        }


def _is_cut(rows: Sequence[EventRow]) -> bool:
    return len(rows) >= PAGE or sum(len(row.data) for row in rows) >= PAGE_BYTES
