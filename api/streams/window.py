"""The part of the log that is in memory: what came last, and pages of the past while they are read."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence

import structlog

from api.streams.entries import SIZE, Entry, Segment, slot
from domain.errors import Overloaded

AT_ONCE = 2
PAUSE = 0.25
RECENT = 32 * 1024 * 1024
PAST = 32 * 1024 * 1024

log = structlog.get_logger()

Load = Callable[[int, int], Awaitable[list[Entry]]]
"""The entries in (after, until]."""
Tell = Callable[[Sequence[Entry]], Awaitable[None]]
Call = Callable[[], None]


class Shelf:
    """Segments by slot, the first dropped when they take too much memory: the first that came, or
    `by_use` the one that was not used for longest.
    """

    def __init__(self, limit: int, *, by_use: bool) -> None:
        self._limit = limit
        self._by_use = by_use
        self._segments: OrderedDict[int, Segment] = OrderedDict()
        self._size = 0

    def __getitem__(self, number: int) -> Segment | None:
        segment = self._segments.get(number)
        if segment is not None and self._by_use:
            self._segments.move_to_end(number)
        return segment

    def put(self, number: int, segment: Segment) -> None:
        """Keep a segment, in the place of one that was there."""
        if (before := self._segments.pop(number, None)) is not None:
            self._size -= before.size
        self._segments[number] = segment
        self.grow(segment.size)

    def grow(self, size: int) -> None:
        """Something kept takes so much more; the newest two stay whatever they take."""
        self._size += size
        while self._size > self._limit and len(self._segments) > 2:
            _, dropped = self._segments.popitem(last=False)
            self._size -= dropped.size

    def clear(self) -> None:
        self._segments.clear()
        self._size = 0


class Window:
    """Finds the segment of a position, and fetches it once for all who want it.

    What the tail appends is kept apart from what is fetched: readers of the distant past cannot push
    out what came last.
    """

    def __init__(self, load: Load, tell: Tell, recent: int = RECENT, past: int = PAST) -> None:
        self._load = load
        self._tell = tell
        self._recent = Shelf(recent, by_use=False)
        self._past = Shelf(past, by_use=True)
        self._newest: Segment | None = None
        self._wanted: dict[tuple[int, bool], list[Call]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._gate = asyncio.Semaphore(AT_ONCE)
        self.head = 0

    def begin(self, head: int) -> None:
        """Forget what came last: the next to be appended is the one after `head`."""
        self._recent.clear()
        self._newest = None
        self.head = head

    def forget(self) -> None:
        """Forget everything: what is wanted is read again."""
        self.begin(self.head)
        self._past.clear()

    def append(self, entries: Sequence[Entry], *, told: bool) -> None:
        """Add what came, in order and without holes; `told` if all of it was told."""
        for part in _by_slot(entries):
            segment = self._newest
            if segment is None or segment.full:
                segment = self._newest = Segment(part[0].position)
                self._recent.put(slot(segment.first), segment)
            before = segment.size
            segment.extend(part, told=told)
            self._recent.grow(segment.size - before)
        self.head = entries[-1].position

    def find(self, position: int, *, told: bool) -> Segment | None:
        """The segment that has this position, and if need be was told; None: it has to be fetched."""
        number = slot(position)
        for shelf in (self._recent, self._past):
            segment = shelf[number]
            if segment and segment.first <= position <= segment.last:
                known = segment.told == len(segment.entries) or not told
                return segment if known else None
        return None

    def want(self, position: int, *, told: bool, then: Call) -> None:
        """Call `then` when it is worth looking again: the position can be found, or was not to be had
        for a while. Asking again before that costs nothing.
        """
        key = (slot(position), told)
        waiting = self._wanted.get(key)
        if waiting is not None:
            waiting.append(then)
            return
        self._wanted[key] = [then]
        task = asyncio.create_task(self._fetch(position, key), name="streams' page")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """End what is being fetched."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _fetch(self, position: int, key: tuple[int, bool]) -> None:
        async with self._gate:
            found = await self._fetched(position, key)
        if not found:
            await asyncio.sleep(PAUSE)  # whoever still wants it asks again
        for then in self._wanted.pop(key):
            then()

    async def _fetched(self, position: int, key: tuple[int, bool]) -> bool:
        number, told = key
        try:
            segment = self.find(position, told=False) or await self._read(number)
            if told and segment.told < len(segment.entries):
                upto = len(segment.entries)
                await self._tell(segment.entries[segment.told : upto])
                segment.told = max(segment.told, upto)
        except Overloaded:
            return False
        except Exception:
            log.exception("a page of the log could not be read", slot=number)
            return False
        return True

    async def _read(self, number: int) -> Segment:
        base = number * SIZE
        entries = await self._load(base, min(base + SIZE, self.head))
        segment = Segment(base + 1)
        segment.extend(entries)
        self._past.put(number, segment)
        return segment


def _by_slot(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    start = 0
    while start < len(entries):
        number = slot(entries[start].position)
        end = min(len(entries), start + (number + 1) * SIZE - entries[start].position + 1)
        yield entries[start:end]
        start = end
