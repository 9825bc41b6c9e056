"""The tail of the log: each event is read once per process, whoever follows.

One task reads what was committed and keeps the last few thousand events in memory. Those who follow
do so at their own pace: each asks for the events after its own position, and gets them from here as
long as it is not too far behind. An event is decoded once, when it is first needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from domain.errors import Overloaded
from domain.eventlog.codec import Codec, EventRow
from domain.eventlog.notifications import Listener, Wake
from domain.eventlog.store import Store
from domain.model import Recorded
from domain.supervisor import cancel, supervise

PAGE = 1_000
MOST_EVENTS = 5_000
MOST_BYTES = 16 * 1024 * 1024
"""How much is kept in memory; who is further behind reads from the database."""
UNUSED = 0.05
"""Seconds between two looks at the head while nobody needs the events."""


class LogEvent:
    """One event of the log: its row, and what the row says once somebody asks."""

    __slots__ = ("_codec", "_recorded", "row")

    def __init__(self, row: EventRow, codec: Codec) -> None:
        self.row = row
        self._codec = codec
        self._recorded: Recorded | None = None

    @property
    def recorded(self) -> Recorded:
        """The event, its sealed fields as `Ciphertext`.

        Raises:
            Exception: whatever makes the row unreadable to this program.
        """
        if self._recorded is None:
            self._recorded = self._codec.decode(self.row)
        return self._recorded


class HoleInLog(Exception):
    """Positions have no holes: a reader that meets one stops, rather than skip an event."""


class RecentEvents:
    """The newest events that were read, without a hole: the last few thousand."""

    def __init__(self, codec: Codec) -> None:
        self.head = 0
        """The position up to which they go."""
        self._codec = codec
        self._events: list[LogEvent] = []
        self._size = 0

    def begin_after(self, position: int) -> None:
        """Forget them all, and go on after a position."""
        self._events.clear()
        self._size = 0
        self.head = position

    def append(self, rows: Sequence[EventRow]) -> None:
        """Keep the events that follow, and drop the oldest where they are too many.

        Raises:
            HoleInLog: they do not follow.
        """
        if rows[0].position != self.head + 1 or rows[-1].position != self.head + len(rows):
            raise HoleInLog(f"the log has a hole after position {self.head}")
        self._events.extend(LogEvent(row, self._codec) for row in rows)
        self._size += sum(len(row.data) for row in rows)
        dropped = max(len(self._events) - max(MOST_EVENTS, len(rows)), 0)
        size = self._size - sum(len(event.row.data) for event in self._events[:dropped])
        while size > MOST_BYTES and dropped < len(self._events) - len(rows):
            size -= len(self._events[dropped].row.data)
            dropped += 1
        del self._events[:dropped]
        self._size = size
        self.head = rows[-1].position

    def covers(self, position: int) -> bool:
        """Whether all events after a position, up to the head, are here."""
        return position >= self.head or (
            bool(self._events) and self._events[0].row.position <= position + 1
        )

    def after(self, position: int, until: int) -> Sequence[LogEvent]:
        """The events in (position, until]; `covers(position)` must hold."""
        if not self._events or until <= position:
            return ()
        first = self._events[0].row.position
        start = max(position + 1 - first, 0)
        return self._events[start : max(until + 1 - first, start)]


class Tail:
    """Follows the log of one process. Make it before the listener is started.

    `needed` answers whether anybody follows; while nobody does, only the head is looked at.
    """

    def __init__(self, store: Store, listener: Listener, schema: str) -> None:
        self._store = store
        self._recent = RecentEvents(store.codec)
        self._listener = listener
        self._news = listener.subscribe(schema)
        self._followers: list[Wake] = []
        self._needed: list[Callable[[], bool]] = []
        self._began = False
        self._advanced = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def subscribe(self, needed: Callable[[], bool]) -> Wake:
        """Something that is woken whenever the head has moved; `needed` while its owner follows."""
        wake = Wake()
        self._followers.append(wake)
        self._needed.append(needed)
        return wake

    def start(self) -> None:
        """Begin to follow the log from its end."""
        self._task = asyncio.create_task(
            supervise("tail of the log", self._run, (Overloaded,)), name="tail of the log"
        )

    async def stop(self) -> None:
        """Read no further."""
        if self._task is not None:
            await cancel(self._task)

    def look(self) -> None:
        """Something was written: look now."""
        self._news.set()

    async def reach(self, position: int) -> None:
        """Wait until the head is at least here; whoever waits makes the tail look at once."""
        while self.head < position:
            self._advanced.clear()
            self._news.set()
            await self._advanced.wait()

    @property
    def head(self) -> int:
        """The position up to which this process has looked."""
        return self._recent.head

    def covers(self, position: int) -> bool:
        """Whether all events after a position, up to the head, are in memory."""
        return self._recent.covers(position)

    def after(self, position: int, until: int) -> Sequence[LogEvent]:
        """The events in (position, until]; `covers(position)` must hold."""
        return self._recent.after(position, until)

    async def _run(self) -> None:
        while True:
            while await self._advance():
                pass
            if not self._is_needed():
                await asyncio.sleep(UNUSED)
            await self._news.wait(self._listener.poll)

    def _is_needed(self) -> bool:
        return any(needed() for needed in self._needed)

    async def _advance(self) -> bool:
        """Read the next page; whether there may be more."""
        if not (self._began and self._is_needed()):
            head, _ = await self._store.head()
            self._began = True
            if head > self.head:
                self._recent.begin_after(head)
                self._wake_followers()
            return False
        rows = await self._store.read(self.head, PAGE)
        if not rows:
            return False
        self._recent.append(rows)
        self._wake_followers()
        return True

    def _wake_followers(self) -> None:
        self._advanced.set()
        for wake in self._followers:
            wake.set()
