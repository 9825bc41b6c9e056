"""Reads pages of the log, pages of one stream, states, keys and the head, for the engine of streams."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from api.streaming.log.dataloader import DataLoader
from api.streaming.log.entry import Entry
from api.streaming.log.stored_log import LogSource, StreamPosition, StreamVersion
from domain.eventlog.codec import EventRow
from domain.eventlog.encryption import DataKey
from domain.eventlog.queries import NEWEST
from domain.eventlog.state_parts import PAGE_BYTES
from domain.model import Recorded, Versioned

PAGE = 100
"""Events in a page of one stream, at most."""
STATES_AT_ONCE = 100
"""States, or versions at a position, that one query reads."""
PAGES_AT_ONCE = 50
"""Pages of streams that one query reads."""


class StreamPage(NamedTuple):
    """The next events of one stream; `more` if further events may follow."""

    entries: Sequence[Entry]
    more: bool


class Loader:
    """Reads the log. Reads of single streams share queries.

    Every method raises Overloaded while the database is unavailable.
    """

    def __init__(self, log: LogSource) -> None:
        self._log = log
        self.heads: DataLoader[None, int] = DataLoader(self._heads, 100_000)
        self.states: DataLoader[StreamVersion, Versioned[Any]] = DataLoader(
            self._states, STATES_AT_ONCE
        )
        self.pages: DataLoader[StreamVersion, StreamPage] = DataLoader(self._pages, PAGES_AT_ONCE)
        self.versions: DataLoader[StreamPosition, int] = DataLoader(self._versions, STATES_AT_ONCE)

    async def head(self) -> int:
        """The position of the last event."""
        return await self.heads.load(None) or 0

    async def entries(self, rows: Iterable[EventRow]) -> list[Entry]:
        """The entries of rows, each with the data key where the row has sealed fields."""
        rows = list(rows)
        keys = await self.keys({row.stream for row in rows if b'"$sealed"' in row.data})
        log = self._log.log_name
        return [Entry(row, keys.get(row.stream), log=log) for row in rows]

    async def between(self, after: int, until: int) -> list[Entry]:
        """The events of the log with positions in (after, until]; fewer where the log ends before `until`."""
        found: list[Entry] = []
        while after < until and (rows := await self._log.rows(after, until)):
            found += await self.entries(rows)
            after = rows[-1].position
        return found

    async def stream_page(self, stream: str, version: int) -> StreamPage:
        """The events of one stream after a version."""
        return await self.pages.load((stream, version)) or StreamPage((), more=False)

    async def version_at(self, stream: str, position: int) -> int:
        """The version that a stream had at a position of the log; 0 before its first event."""
        return await self.versions.load((stream, position)) or 0

    async def state(self, stream: str, version: int = NEWEST) -> Versioned[Any] | None:
        """The state of a stream, now or at a version from 1 on, sealed fields as `Ciphertext`; None
        where it has no events.
        """
        return await self.states.load((stream, version))

    async def keys(self, streams: Iterable[str]) -> Mapping[str, DataKey | None]:
        """The data key of each stream; None where the stream has none, or its key was destroyed."""
        return await self._log.keys(streams)

    def destroy_erased(self, entries: Iterable[Entry]) -> bool:
        """Destroy the cached data keys of streams that entries erase, for all holders of the keys. Return whether there
        were any.
        """
        erasing = self._log.codec.erasing
        erased = [entry.stream for entry in entries if entry.type in erasing]
        if erased:
            self._log.keyring.destroy(erased)
        return bool(erased)

    def decode(self, row: EventRow) -> Recorded:
        """The event of a row, sealed fields as `Ciphertext`."""
        return self._log.codec.decode(row)

    async def _heads(self, _: Sequence[None]) -> dict[None, int]:
        return {None: await self._log.head()}

    async def _states(self, wanted: Sequence[StreamVersion]) -> dict[StreamVersion, Versioned[Any]]:
        found: dict[StreamVersion, Versioned[Any]] = {}
        remaining = list(wanted)
        while remaining:
            versions = dict(remaining)  # a query reads one version of each stream
            states = await self._log.states(versions)
            found |= {(s, version): states[s] for s, version in versions.items() if s in states}
            remaining = [(s, version) for s, version in remaining if versions[s] != version]
        return found

    async def _versions(self, wanted: Sequence[StreamPosition]) -> Mapping[StreamPosition, int]:
        return await self._log.versions(wanted)

    async def _pages(self, wanted: Sequence[StreamVersion]) -> dict[StreamVersion, StreamPage]:
        found = await self._log.read_following(wanted, PAGE)
        entries = iter(await self.entries(row for rows in found.values() for row in rows))
        return {
            after: StreamPage([next(entries) for _ in rows], _is_cut(rows))
            for after, rows in found.items()
        }


def _is_cut(rows: Sequence[EventRow]) -> bool:
    return len(rows) >= PAGE or sum(len(row.data) for row in rows) >= PAGE_BYTES
