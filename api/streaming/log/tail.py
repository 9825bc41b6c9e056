"""The tail of the log: newly committed events, page by page, read once per server."""

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
from domain.eventlog.queries import READ_BYTES
from domain.eventlog.recent_events import HoleInLog
from domain.eventlog.store import Store
from projections.other_log import OtherLog, other_log

PAGE = 1_000
"""Events in a page, at most."""
IDLE_PAUSE = 0.05
"""Seconds between two reads of the head while there are no subscribers."""

Idle = Callable[[], bool]
"""Whether there are no subscribers, so that events need not be read."""

log = structlog.get_logger()


class LogPage(NamedTuple):
    """The next rows of the log, up to a position; no rows where there are none, or while idle.

    `other` is given where the log is another one; that page is the last.
    """

    rows: Sequence[EventRow]
    position: int
    other: OtherLog | None = None


class LogTail(Protocol):
    """A source of the log's newest events, page by page, for the hub."""

    def skip(self, position: int) -> None:
        """Continue after a later position."""

    def wake(self) -> None:
        """Read now, as something was written."""

    def pages(self, idle: Idle) -> AsyncIterator[LogPage]:
        """The log after the last page, until the log is another; while `idle`, pages have a position and no rows."""
        ...


class Tail:
    """Follows the log, woken by notifications. The tail must be made before its listener is started.

    Positions have no holes: the tail reports a hole and reads again rather than skip a position. It ends where the
    log has another id than `of_log`, or lacks events that were seen. Without `of_log`, the first id found is
    accepted.
    """

    def __init__(self, store: Store, listener: Listener, schema: str, of_log: str = "") -> None:
        self._store = store
        self._of_log = of_log
        self._listener = listener
        self._wake = listener.subscribe(schema)
        self._position = 0

    def skip(self, position: int) -> None:
        """Continue after a later position."""
        self._position = max(self._position, position)

    def wake(self) -> None:
        """Something was written: look now."""
        self._wake.set()

    async def pages(self, idle: Idle) -> AsyncIterator[LogPage]:
        """The log after the last page, until the log is another; while `idle`, only the head is read."""
        while True:
            page = await retry(partial(self._next, idle), "the tail of the log cannot be read")
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
            return await self._page_of_other_log()

    async def _read(self, idle: Idle) -> LogPage:
        if idle():
            async with self._store.reader() as connection:
                head = await read_head(connection, self._store.seen)
            if self._is_other(head.log_id):
                return await self._page_of_other_log()
            if idle():  # else a subscriber connected meanwhile, and needs the events written since
                self.skip(head.position)
                return LogPage((), self._position)
        after, seen = self._position, self._store.seen
        async with self._store.reader() as connection:
            head, rows = await read_events_and_head(connection, seen, after, PAGE, READ_BYTES)
        if self._is_other(head.log_id):
            return await self._page_of_other_log()
        if not rows or self._position != after:  # `skip` was called meanwhile
            return LogPage((), self._position)
        if rows[0].position != after + 1 or rows[-1].position != after + len(rows):
            raise HoleInLog(f"the log has a hole after position {after}")
        self._position = rows[-1].position
        return LogPage(rows, self._position)

    def _is_other(self, log_id: str) -> bool:
        self._of_log = self._of_log or log_id
        return log_id != self._of_log

    async def _page_of_other_log(self) -> LogPage:
        other = await other_log(self._store, self._of_log)
        if other is None:
            log.warning("a connection led to an earlier state of the log; all are replaced")
            await self._store.connections.renew()
            await self._listener.reconnect()
            return LogPage((), self._position)
        return LogPage((), other.position, other)
