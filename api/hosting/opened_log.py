"""One hosted log, from its first request until it is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import monotonic
from typing import NamedTuple

import structlog
from starlette.types import ASGIApp

from api.settings import SetupError
from api.system import System
from api.transport.direct import DirectPath
from domain.errors import DomainError, Overloaded
from domain.supervisor import cancel

OPENS_WITHIN = 5.0
"""Seconds that a request waits for its log to be opened; the log continues to open, for later requests."""
DRAIN_TIMEOUT = 6.0
"""Seconds for the requests and streams of a closed log to end; the hub cuts streams after five."""

log = structlog.get_logger()


class Parts(NamedTuple):
    """The parts that answer the requests of one log: application, fast path, and the headers of all answers."""

    name: str
    system: System
    app: ASGIApp
    direct: DirectPath
    headers: tuple[tuple[bytes, bytes], ...]


class OpenedLog:
    """Runs the parts of a log in a task, until it is closed. `running` starts and ends the parts."""

    def __init__(
        self,
        name: str,
        running: AbstractAsyncContextManager[Parts],
        on_settled: Callable[[OpenedLog], object] = lambda _: None,
    ) -> None:
        """Begin to open the log. `on_settled` is called once it is open, or could not be opened."""
        self.name = name
        self.parts: Parts | None = None
        """None before the log is open, and from its close on."""
        self.failed = False
        """Whether the log could not be opened, or has ended by an error."""
        self.users = 0
        """The number of running requests and streams."""
        self.used_at = monotonic()
        self._running = running
        self._on_settled = on_settled
        self._settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closing, self._unused = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"log {name}")

    @property
    def over(self) -> bool:
        """Whether the log has ended, or could not be opened."""
        return self._task.done()

    @property
    def idle(self) -> bool:
        """Whether the log is open, without running requests and streams."""
        return self.parts is not None and not self.users

    @property
    def closing(self) -> bool:
        """Whether the log accepts no more requests."""
        return self._closing.is_set() or self.over

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[Parts]:
        """The parts of the log, which run at least as long as the block.

        Raises:
            Overloaded: the log is not open in time, or cannot be opened; the member `log` names it.
        """
        parts = await self._wait_until_opened()
        self.users += 1
        try:
            yield parts
        finally:
            self.release()

    def take(self) -> Parts | None:
        """The parts of the log, if it is open, which then run until `release` is called."""
        if self.parts is not None:
            self.users += 1
        return self.parts

    def release(self) -> None:
        """End a use that `take` has begun."""
        self.users -= 1
        self.used_at = monotonic()
        if not self.users:
            self._unused.set()

    def close(self) -> None:
        """Accept no more requests, end the streams, then the log. May be called at any time in the event loop."""
        self._closing.set()

    async def wait_until_ended(self) -> None:
        """Wait until the log has ended."""
        await asyncio.wait([self._task])

    async def stop(self) -> None:
        """Close the log, and cancel its task where it does not end in time."""
        self.close()
        await asyncio.wait([self._task], timeout=2 * DRAIN_TIMEOUT)
        await cancel(self._task)

    async def _wait_until_opened(self) -> Parts:
        # No wait where the log is open: an idle log might be closed meanwhile.
        if self.parts is None:
            await asyncio.wait([self._settled], timeout=OPENS_WITHIN)
        if self.parts is None:
            raise unavailable(self.name)
        return self.parts

    async def _run(self) -> None:
        structlog.contextvars.bind_contextvars(log=self.name)
        try:
            async with self._running as parts:
                parts.system.hub.on_other_log = parts.system.key_monitor.on_changed = self.close
                parts.system.move_monitor.on_moved = lambda _: self.close()
                self.parts = parts
                self._settle()
                await self._closing.wait()
                self.parts = None
                await self._drain(parts.system)
        except (DomainError, SetupError, OSError) as error:
            self._fail(error.detail if isinstance(error, DomainError) else str(error))
        except Exception as error:
            log.exception("the log has failed")
            self._fail(repr(error))
        finally:
            self.parts = None
            self._settle()

    def _settle(self) -> None:
        if not self._settled.done():
            self._settled.set_result(None)
        self._on_settled(self)

    def _fail(self, reason: str) -> None:
        self.failed = True
        log.error("the log cannot be served", reason=reason)

    async def _drain(self, system: System) -> None:
        system.dispatcher.close()
        system.hub.close()
        end = monotonic() + DRAIN_TIMEOUT
        while self.users and (left := end - monotonic()) > 0:
            self._unused.clear()
            try:
                async with asyncio.timeout(left):
                    await self._unused.wait()
            except TimeoutError:
                return


def unavailable(name: str) -> Overloaded:
    """The refusal of a request for a log that is unavailable."""
    return Overloaded(f"The log `{name}` cannot be reached now; the others can.", log=name)
