"""A log in memory, for the streaming engine without a database: a loader and a tail over a list of rows."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from api.streaming.log.entry import Entry
from api.streaming.log.loader import Loader, StreamPage
from api.streaming.log.tail import Idle, LogPage, Tail
from domain.errors import Overloaded
from domain.eventlog.codec import EventRow
from domain.eventlog.encryption import DataKey
from domain.eventlog.queries import NEWEST
from domain.execution.events.creation import ExecutionCreated
from domain.model import Event, Recorded, Versioned, replay
from domain.registry import codec

CODEC = codec()
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
PAGE = 3


class MemoryLog(Loader):
    """Committed rows. While it is `away`, every read fails."""

    def __init__(self) -> None:
        self.rows: list[EventRow] = []
        self.away = False
        self._chance = random.Random(1)
        self._written: Counter[str] = Counter()

    def write(self, stream: str, event: Event) -> int:
        """Commit an event; its position."""
        position = len(self.rows) + 1
        self._written[stream] += 1
        recorded = Recorded(
            stream,
            self._written[stream],
            position,
            NOON + timedelta(seconds=position),
            event,
            "tester",
            customer="acme" if stream.endswith("0") else "other",
        )
        self.rows.append(CODEC.encode(recorded, _key(stream)))
        return position

    # --- the loader

    async def head(self) -> int:
        await self._read()
        return len(self.rows)

    def destroy_erased(self, entries: Iterable[Entry]) -> bool:
        return False  # this log never erases

    async def entries(self, rows: Iterable[EventRow]) -> list[Entry]:
        await self._read()
        return [Entry(row, _key(row.stream)) for row in rows]

    async def between(self, after: int, until: int) -> list[Entry]:
        return await self.entries(self.rows[after:until])

    async def stream_page(self, stream: str, version: int) -> StreamPage:
        await self._read()
        rows = [row for row in self.rows if row.stream == stream and row.version > version]
        return StreamPage(await self.entries(rows[:PAGE]), more=len(rows) > PAGE)

    async def version_at(self, stream: str, position: int) -> int:
        await self._read()
        return sum(row.stream == stream for row in self.rows[:position])

    async def state(self, stream: str, version: int = NEWEST) -> Versioned[Any] | None:
        await self._read()
        rows = [row for row in self.rows if row.stream == stream and row.version <= version]
        return replay(None, map(self.decode, rows))

    async def keys(self, streams: Iterable[str]) -> Mapping[str, DataKey | None]:
        await self._read()
        return {stream: _key(stream) for stream in streams}

    def decode(self, row: EventRow) -> Recorded:
        return CODEC.decode(row)

    async def _read(self) -> None:
        """Take a few turns of the event loop, as a database does."""
        for _ in range(self._chance.choice((0, 0, 1, 2, 5, 9))):
            await asyncio.sleep(0)
        if self.away:
            raise Overloaded


class MemoryTail(Tail):
    """Yields committed rows up to a limit that the test sets."""

    def __init__(self, log: MemoryLog) -> None:
        self.seen = 0
        self._log = log
        self._position = 0
        self._woken = asyncio.Event()

    def see(self, position: int) -> None:
        """Continue up to here."""
        self.seen = position
        self._woken.set()

    def skip(self, position: int) -> None:
        self._position = max(self._position, position)

    def wake(self) -> None:
        self.see(len(self._log.rows))

    async def pages(self, idle: Idle) -> AsyncIterator[LogPage]:
        while True:
            rows = self._log.rows[self._position : self.seen]
            if rows:
                self._position = rows[-1].position
                yield LogPage(rows, self._position)
            else:
                self._woken.clear()
                await self._woken.wait()


def _key(stream: str) -> DataKey:
    return DataKey(b"k" * 32, stream)


def created(tag: str) -> Event:
    received = {"order": "o", "service": "s", "customer": "c", "provider": "p", "tags": [tag]}
    return ExecutionCreated.model_validate(received, strict=False)
