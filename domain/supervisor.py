"""Supervises tasks: after an error a task is started again, after a pause that grows, and it is cancelled at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic
from typing import Any, ClassVar, Protocol

import structlog

SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
"""Seconds of the first and the longest pause before a restart. The pause doubles after each failure, and is reset after a run
longer than `LONGEST_PAUSE`.
"""

CANCEL_AGAIN = 0.5
"""Seconds after which a task that is still running is cancelled again."""

Tasks = Mapping[str, Callable[[], Awaitable[object]]]

log = structlog.get_logger()


class ProcessPart(Protocol):
    """A part of a process that runs in the background."""

    def start(self) -> object:
        """Start; needs a running event loop."""

    async def stop(self) -> object:
        """End in an orderly way."""


class Background:
    """A part that works in supervised tasks, from `start` until `stop`."""

    outages: ClassVar[tuple[type[Exception], ...]] = ()
    """Exceptions that are no fault of the work, such as a lost connection: they are logged for debugging only."""
    _running: tuple[asyncio.Task[None], ...] = ()

    def tasks(self) -> Tasks:
        """The functions that `supervise` runs again and again, by the names of their tasks."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the tasks; needs a running event loop."""
        self._running = tuple(
            asyncio.create_task(supervise(name, run, self.outages), name=name)
            for name, run in self.tasks().items()
        )

    async def stop(self) -> None:
        """Cancel every task, and wait for its end. A transaction that was interrupted is either committed or not."""
        await cancel(*self._running)


@asynccontextmanager
async def run_parts(parts: Sequence[ProcessPart]) -> AsyncIterator[None]:
    """Run parts for the block: they are started in order, and stopped in reverse order, all of them even if this is cancelled
    meanwhile.
    """
    async with AsyncExitStack() as started:
        for part in parts:
            part.start()
            started.push_async_callback(part.stop)
        yield


async def supervise(
    name: str,
    run: Callable[[], Awaitable[object]],
    outages: tuple[type[Exception], ...] = (),
) -> None:
    """Run `run` again and again, until it returns True or this task is cancelled.

    The first of a series of `outages` (a lost connection, an unavailable database) is logged for debugging. Any other
    exception is logged with its traceback each time.
    """
    pause = SHORTEST_PAUSE
    while True:
        started = monotonic()
        try:
            if await run() is True:
                return
        except outages as error:
            if pause == SHORTEST_PAUSE:
                reason = str(error.__cause__ or error).strip()
                log.debug("task lost the database", task=name, error=reason)
        except Exception:  # a task that ended here would stop its work unnoticed
            log.exception("task failed, and starts again", task=name)
        if monotonic() - started > LONGEST_PAUSE:
            pause = SHORTEST_PAUSE
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks until they have ended; their results and exceptions are ignored.

    One cancellation is not enough: in Python 3.11 `asyncio.wait_for`, in which a task waits for a connection of the pool,
    loses a cancellation that arrives together with its result.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN)
    await asyncio.gather(*tasks, return_exceptions=True)
