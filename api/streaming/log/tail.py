"""The tail of the log: what was committed, page by page, read once per server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import structlog

from api.streaming.log.retrying import retry
from domain.eventlog.codec import EventRow
from domain.eventlog.connection.log_head import LogDiverged, read_events_and_head, read_head
from domain.eventlog.connection.notifications import Listener
from domain.eventlog.recent_events import HoleInLog
from domain.eventlog.store import READ_BYTES, Store
from projections.other_log import OtherLog, other_log

PAGE = 1_000
IDLE_PAUSE = 0.05
"""Seconds between two looks at the head while the events themselves are not needed."""

Idle = Callable[[], bool]

log = structlog.get_logger()


class LogPage(NamedTuple):
    """What follows in the log, up to a position; without rows where nothing does, or while idle. After an
    `other` log nothing follows.
    """

    rows: Sequence[EventRow]
    position: int
    other: OtherLog | None = None


class LogTail(Protocol):
    """What the hub follows: the log, page by page."""

    def skip(self, position: int) -> None:
        """Go on after a position further on."""

    def wake(self) -> None:
        """Something was written: look now."""

    def pages(self, idle: Idle) -> AsyncIterator[LogPage]:
        """The log after the last page, until it is another; while it is `idle`, only how far it goes matters."""
        ...


class Tail:
    """Follows the log, woken by notifications. Make it before the listener is started.

    Positions have no holes: it would rather stop than skip one. It ends where the log is another one than
    that of the id `of_log`, or lacks what was seen of it. Without an id it believes the first that it finds.
    """

    def __init__(self, store: Store, listener: Listener, schema: str, of_log: str = "") -> None:
        self._store = store
        self._of_log = of_log
        self._listener = listener
        self._wake = listener.subscribe(schema)
        self._position = 0

    def skip(self, position: int) -> None:
        """Go on after a position further on."""
        self._position = max(self._position, position)

    def wake(self) -> None:
        """Something was written: look now."""
        self._wake.set()

    async def pages(self, idle: Idle) -> AsyncIterator[LogPage]:
        """The log after the last page, until it is another; while it is `idle`, only the head is looked at."""
        while True:
            page = await retry(partial(self._next, idle), "the tail of the log cannot go on")
            yield page
            if page.other is not None:
                return
            if not page.rows:
                if idle():
                    await asyncio.sleep(IDLE_PAUSE)
                await self._wake.wait(self._listener.poll)

    async def _next(self, idle: Idle) -> LogPage:
        try:
            return await self._read(idle)
        except LogDiverged:
            return await self._begin_again()

    async def _read(self, idle: Idle) -> LogPage:
        if idle():
            async with self._store.reader() as connection:
                head = await read_head(connection, self._store.seen)
            if self._is_other(head.log_id):
                return await self._begin_again()
            if idle():  # else somebody came meanwhile, who wants what was written since
                self.skip(head.position)
                return LogPage((), self._position)
        after, seen = self._position, self._store.seen
        async with self._store.reader() as connection:
            head, rows = await read_events_and_head(connection, seen, after, PAGE, READ_BYTES)
        if self._is_other(head.log_id):
            return await self._begin_again()
        if not rows or self._position != after:  # `skip` was called meanwhile
            return LogPage((), self._position)
        if rows[0].position != after + 1 or rows[-1].position != after + len(rows):
            raise HoleInLog(f"the log has a hole after position {after}")
        self._position = rows[-1].position
        return LogPage(rows, self._position)

    def _is_other(self, log_id: str) -> bool:
        self._of_log = self._of_log or log_id
        return log_id != self._of_log

    async def _begin_again(self) -> LogPage:
        other = await other_log(self._store, self._of_log)
        if other is None:
            log.warning("an old connection led to an earlier state of the log")
            return LogPage((), self._position)
        return LogPage((), other.position, other)
