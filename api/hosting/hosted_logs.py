"""The hosted logs of a process. A log is opened at the first request, and closed when it was not used for a while. A log
that is not open takes no connection, no task, and a few hundred bytes of memory.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import monotonic

import structlog

from api.cells.registry import HostedState, LogLocation, LogRegistry
from api.hosting.opened_log import OpenedLog, Parts, unavailable
from api.settings import SetupError
from domain.errors import NotFound, Overloaded
from domain.supervisor import Background, Tasks

POLL_INTERVAL = 1.0
"""Seconds between two looks at the file of the logs, and at those that nothing needs."""
IDLE_AFTER = 60.0
"""Seconds without a request or a stream, after which a log is closed."""
MOST_OPEN = 256
"""Logs that are open at the same time; beyond them, the least recently used one is closed."""
AGAIN = 2.0
"""Seconds after which a log that could not be opened is tried again."""
COLLECTS_EVERY = 30.0
"""Seconds between two garbage collections of closed logs, whose parts refer to each other."""

log = structlog.get_logger()
Open = Callable[[str, LogLocation], AbstractAsyncContextManager[Parts]]


class HostedLogs(Background):
    """Opens and closes hosted logs. `open_` runs the parts of a log."""

    def __init__(
        self,
        registry: LogRegistry,
        open_: Open,
        *,
        most_open: int = MOST_OPEN,
        idle_after: float = IDLE_AFTER,
    ) -> None:
        self._registry = registry
        self._open = open_
        self._most_open = most_open
        self._idle_after = idle_after
        self._stamp: tuple[int, ...] = ()
        self._locations: dict[str, LogLocation] = {}
        self._hosts: dict[bytes, str] = {}
        self._opened: dict[str, OpenedLog] = {}
        self._retry_at: dict[str, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        self._collected_at = monotonic()
        self._closed_since_collection = 0

    @property
    def state(self) -> HostedState:
        """The current state of the logs."""
        is_open = sum(opened.parts is not None for opened in self._opened.values())
        return HostedState(len(self._locations), is_open, sorted(self._retry_at))

    def host(self, host: bytes) -> str | None:
        """The name of the log that a host belongs to; None for other hosts."""
        return self._hosts.get(host.lower())

    def open_one(self, name: str) -> OpenedLog | None:
        """A log, if it is open."""
        opened = self._opened.get(name)
        return None if opened is None or opened.parts is None else opened

    @asynccontextmanager
    async def borrow(self, name: str) -> AsyncIterator[Parts]:
        """The parts of a log, which is opened if it is not, and stays open while the block runs.

        Raises:
            NotFound: there is no log with this name.
            Overloaded: the log cannot be opened, or not in time, or too many logs are in use; the member `log` names it.
        """
        async with (await self._open_or_opening(name)).borrow() as parts:
            yield parts

    def read(self) -> None:
        """Read the file, if it has changed. Open logs whose location has changed, or that were removed, are closed.

        Raises:
            SetupError: the file is not valid; then nothing changes.
        """
        stamp = self._registry.stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        before, self._locations = self._locations, self._registry.read()
        self._hosts = {
            host.encode(): name
            for name, location in self._locations.items()
            for host in location.hosts
        }
        for name, opened in self._opened.items():
            if before.get(name) != self._locations.get(name):
                opened.close()
        self._retry_at = {
            name: at for name, at in self._retry_at.items() if name in self._locations
        }

    def start(self) -> None:
        """Begin to follow the file, and to close unused logs; needs a running event loop."""
        self._loop = asyncio.get_running_loop()
        if not self._registry.stamp():
            log.warning("the file of the logs does not exist yet", file=str(self._registry.file))
        super().start()

    def close(self) -> None:
        """Open no further logs, and end the streams of all. May be called from a signal handler, at any time."""
        self._is_closed = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._close_all)

    def _close_all(self) -> None:
        for opened in self._opened.values():
            opened.close()

    def tasks(self) -> Tasks:
        return {"logs": self._run}

    async def stop(self) -> None:
        """End all logs, with their running requests."""
        self._is_closed = True
        self._close_all()
        await super().stop()
        await asyncio.gather(*(opened.stop() for opened in self._opened.values()))

    async def _open_or_opening(self, name: str) -> OpenedLog:
        while True:
            if name not in self._locations:
                raise NotFound(f"There is no log `{name}` here.")
            if self._is_closed or monotonic() < self._retry_at.get(name, 0.0):
                raise unavailable(name)
            opened = self._opened.get(name)
            if opened is None or opened.over:
                return self._begin(name)
            if not opened.closing:
                return opened
            # The log is opened at its new location after its streams have ended.
            await opened.wait_until_ended()

    def _begin(self, name: str) -> OpenedLog:
        self._make_room()
        running = self._open(name, self._locations[name])
        opened = self._opened[name] = OpenedLog(name, running, self._note_opened)
        return opened

    def _note_opened(self, opened: OpenedLog) -> None:
        """Note whether a log was opened. One that failed is not tried again for `AGAIN` seconds."""
        if opened.failed:
            self._retry_at[opened.name] = monotonic() + AGAIN
        else:
            self._retry_at.pop(opened.name, None)

    def _make_room(self) -> None:
        """Close the least recently used idle log, where `most_open` logs are open.

        Raises:
            Overloaded: all logs are in use.
        """
        if sum(not opened.closing for opened in self._opened.values()) < self._most_open:
            return
        unused = [opened for opened in self._opened.values() if opened.idle]
        if not unused:
            raise Overloaded("As many logs as this server can have are in use.")
        min(unused, key=lambda opened: opened.used_at).close()

    async def _run(self) -> None:
        while True:
            try:
                self.read()
            except SetupError as error:
                log.error("the file of the logs cannot be read", reason=str(error))
            self._close_idle()
            await asyncio.sleep(POLL_INTERVAL)

    def _close_idle(self) -> None:
        since = monotonic() - self._idle_after
        for name, opened in list(self._opened.items()):
            if opened.over:
                del self._opened[name]
                self._closed_since_collection += 1
            elif opened.idle and opened.used_at < since:
                opened.close()
        if self._closed_since_collection and monotonic() > self._collected_at + COLLECTS_EVERY:
            self._closed_since_collection, self._collected_at = 0, monotonic()
            gc.collect()  # the automatic collection seldom reaches objects that are a minute old
