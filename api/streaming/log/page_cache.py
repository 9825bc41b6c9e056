"""Caches the newest pages of the log, and pages of the past while they are read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from operator import attrgetter

import structlog

from api.streaming.log.entry import Entry
from domain.errors import Overloaded
from domain.lru import LruCache
from domain.supervisor import cancel

SIZE = 256
"""Positions in a page."""
OVERHEAD = 1_200
"""Bytes of memory that an entry takes in addition to its data, roughly, its frames included."""
READS_AT_ONCE = 2
"""Pages that are read from the database at the same time."""
RETRY_PAUSE = 0.25
"""Seconds before a page that could not be read is requested again."""
RECENT_BYTES = 32 * 1024 * 1024
"""Bytes of the newest pages that are cached."""
PAST_BYTES = 32 * 1024 * 1024
"""Bytes of pages of the past that are cached."""

log = structlog.get_logger()

Load = Callable[[int, int], Awaitable[list[Entry]]]
"""A function that reads the entries with positions in (after, until]."""


class CachedPage:
    """Entries at successive positions, all in one slot of `SIZE` positions."""

    __slots__ = ("entries", "first", "size")

    def __init__(self, first: int, entries: Sequence[Entry] = ()) -> None:
        self.first = first
        self.entries: list[Entry] = []
        self.size = 0
        self.extend(entries)

    @property
    def last(self) -> int:
        """The position of the last entry; one before `first` while the page is empty."""
        return self.first + len(self.entries) - 1

    def extend(self, entries: Sequence[Entry]) -> None:
        """Append the entries that follow."""
        self.entries.extend(entries)
        self.size += sum(len(entry.row.data) for entry in entries) + OVERHEAD * len(entries)

    def between(self, after: int, until: int) -> list[Entry]:
        """The entries of the page with positions in (after, until]."""
        return self.entries[after + 1 - self.first : until + 1 - self.first]


class PageCache:
    """Finds the page of a position, and reads a page once for all callers that wait for it.

    Pages that the tail appends are cached apart from pages that are read, so that readers of the distant past
    cannot evict the newest pages.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._recent = _empty_cache(RECENT_BYTES)
        self._past = _empty_cache(PAST_BYTES)
        self._reading: dict[int, asyncio.Task[None]] = {}
        self._read_slots = asyncio.Semaphore(READS_AT_ONCE)
        self.head = 0
        """The position of the last entry that was appended."""

    def begin(self, head: int) -> None:
        """Drop the newest pages; the next entry to be appended is the one after `head`."""
        self._recent.clear()
        self.head = head

    def forget(self) -> None:
        """Drop all pages; they are read again when they are needed."""
        self.begin(self.head)
        self._past = _empty_cache(PAST_BYTES)

    def append(self, entries: Sequence[Entry]) -> None:
        """Add the next entries of the log, in order and without holes."""
        for part in _by_slot(entries):
            number = slot(part[0].position)
            page = self._recent.peek(number) or CachedPage(part[0].position)
            page.extend(part)
            self._recent.put(number, page)
        self._recent.trim()
        self.head = entries[-1].position

    def get(self, position: int) -> CachedPage | None:
        """The page that has a position, if it is in memory."""
        number = slot(position)
        # `peek` of the newest pages, as a reader that goes through them in order must not evict the next ones.
        for page in (self._recent.peek(number), self._past.get(number)):
            if page is not None and page.first <= position <= page.last:
                return page
        return None

    async def read(self, after: int, until: int) -> list[Entry]:
        """The entries with positions in (after, until], which are in one slot: from memory, else from the log."""
        page = self.get(after + 1)
        if page is not None and page.last >= until:
            return page.between(after, until)
        return await self._load(after, until)

    async def request(self, position: int) -> None:
        """Read the page of a position, and wait until that has succeeded or failed; then call `get` again.

        Cancelling one caller does not cancel the read for the others.
        """
        await asyncio.shield(self._task(slot(position)))

    def prefetch(self, position: int) -> None:
        """Begin to read the page of a position, unless the page is in memory."""
        if self.get(position) is None:
            self._task(slot(position))

    def _task(self, number: int) -> asyncio.Task[None]:
        task = self._reading.get(number)
        if task is None:
            task = asyncio.create_task(self._fetch(number), name="streaming: page")
            self._reading[number] = task
        return task

    async def stop(self) -> None:
        """Cancel the reads that are running."""
        await cancel(*self._reading.values())

    async def _fetch(self, number: int) -> None:
        try:
            async with self._read_slots:
                await self._read(number)
        except Overloaded:
            # after the semaphore is released, so that other pages are read meanwhile
            await asyncio.sleep(RETRY_PAUSE)
        except Exception:
            log.exception("a page of the log could not be read", slot=number)
            await asyncio.sleep(RETRY_PAUSE)
        finally:
            # Not in a callback of the task: a request before the callback would wait for a task that has ended.
            self._reading.pop(number, None)

    async def _read(self, number: int) -> None:
        after, past = number * SIZE, self._past
        until = min(after + SIZE, self.head)
        page = CachedPage(after + 1, await self._load(after, until))
        if page.last < until:
            raise RuntimeError(f"the log ends at {page.last}, before {until}")
        past.put(number, page)  # `forget` replaces `_past` meanwhile; the old one is then dropped
        past.trim()


def _empty_cache(size: int) -> LruCache[int, CachedPage]:
    return LruCache(size, attrgetter("size"), spared=2)


def slot(position: int) -> int:
    """The number, from 0, of the slot that a position is in."""
    return (position - 1) // SIZE


def _by_slot(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    start = 0
    while start < len(entries):
        number = slot(entries[start].position)
        end = min(len(entries), start + (number + 1) * SIZE - entries[start].position + 1)
        yield entries[start:end]
        start = end
