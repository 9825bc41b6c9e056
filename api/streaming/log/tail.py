"""The tail of the log: what was committed, page by page, read once per server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import NamedTuple

from api.streaming.log.retrying import retried
from api.telemetry.metrics import LOG_POSITION
from domain.eventlog.codec import EventRow
from domain.eventlog.notifications import Listener
from domain.eventlog.recent_events import HoleInLog
from domain.eventlog.store import Store

PAGE = 1_000
IDLE_PAUSE = 0.05
"""Seconds between two looks at the head while the events themselves are not needed."""

Idle = Callable[[], bool]


class LogPage(NamedTuple):
    """What follows in the log, up to a position; without rows where nothing does, or while idle."""

    rows: Sequence[EventRow]
    position: int


class Tail:
    """Follows the log, woken by notifications. Make it before the listener is started.

    Positions have no holes: it would rather stop than skip one.
    """

    def __init__(self, store: Store, listener: Listener, schema: str) -> None:
        self._store = store
        self._listener = listener
        self._news = listener.subscribe(schema)
        self._position = 0

    def skip(self, position: int) -> None:
        """Go on after a position further on."""
        self._position = max(self._position, position)

    def wake(self) -> None:
        """Something was written: look now."""
        self._news.set()

    async def pages(self, idle: Idle) -> AsyncIterator[LogPage]:
        """The log after the last page, for ever; while it is `idle`, only the head is looked at."""
        while True:
            page = await retried(partial(self._next, idle), "the tail of the log cannot go on")
            LOG_POSITION.set(page.position)
            yield page
            if not page.rows:
                if idle():
                    await asyncio.sleep(IDLE_PAUSE)
                await self._news.wait(self._listener.poll)

    async def _next(self, idle: Idle) -> LogPage:
        if idle():
            head, _ = await self._store.head()
            if idle():  # else somebody came meanwhile, who wants what was written since
                self.skip(head)
                return LogPage((), self._position)
        after = self._position
        rows = await self._store.read(after, PAGE)
        if not rows or self._position != after:  # `skip_to` was called meanwhile
            return LogPage((), self._position)
        if rows[0].position != after + 1 or rows[-1].position != after + len(rows):
            raise HoleInLog(f"the log has a hole after position {after}")
        self._position = rows[-1].position
        return LogPage(rows, self._position)
