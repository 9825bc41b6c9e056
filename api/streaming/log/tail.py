"""What follows in the log, page by page, from the tail that the whole process shares."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple, Protocol

from api.streaming.log.retrying import retried
from api.telemetry.metrics import LOG_POSITION
from domain.eventlog import tail as domain_tail
from domain.eventlog.codec import EventRow
from domain.eventlog.store import Store
from domain.eventlog.tail import HoleInLog

PAGE = 1_000
LOOK = 1.0
"""Seconds after which to look without being woken."""

Idle = Callable[[], bool]


class LogPage(NamedTuple):
    """What follows in the log, up to a position; without rows where nobody reads along.

    `more` if others may follow already.
    """

    rows: Sequence[EventRow]
    position: int
    more: bool = False


class PageSource(Protocol):
    """Where a hub gets its pages from. One tail may have other readers, too."""

    def pages(self, idle: Idle) -> AsyncIterator[LogPage]:
        """The log from where the tail is, for ever; while it is `idle` its rows may be left out."""
        ...

    def skip(self, position: int) -> None:
        """Go on after a position further on."""
        ...

    def wake(self) -> None:
        """Something was written: look now."""
        ...


class SharedTail:
    """The tail that all followers in this process share; what it no longer has is read again.

    Positions have no holes: it would rather stop than skip one.
    """

    def __init__(self, tail: domain_tail.Tail, store: Store) -> None:
        self._tail = tail
        self._store = store
        self._idle: Idle = lambda: True
        self._woken = tail.subscribe(lambda: not self._idle())
        self._position = 0

    def skip(self, position: int) -> None:
        self._position = max(self._position, position)

    def wake(self) -> None:
        self._tail.look()

    async def pages(self, idle: Idle) -> AsyncIterator[LogPage]:
        self._idle = idle
        while True:
            page = await retried(self._next, "the tail of the log cannot go on")
            LOG_POSITION.set(page.position)
            yield page
            if not page.more:
                await self._woken.wait(LOOK)

    async def _next(self) -> LogPage:
        after, head = self._position, self._tail.head
        if self._idle():
            self.skip(head)
            return LogPage((), self._position)
        if after >= head:
            return LogPage((), after)
        rows = await self._rows(after, min(head, after + PAGE))
        if self._position != after:
            return LogPage((), self._position, more=True)
        if not rows or rows[0].position != after + 1 or rows[-1].position != after + len(rows):
            raise HoleInLog(f"the log has a hole after position {after}")
        self._position = rows[-1].position
        return LogPage(rows, self._position, more=self._position < head)

    async def _rows(self, after: int, until: int) -> Sequence[EventRow]:
        if self._tail.covers(after):
            return [event.row for event in self._tail.after(after, until)]
        return await self._store.read(after, until - after)
