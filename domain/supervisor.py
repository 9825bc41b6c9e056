"""Keeps tasks running, and ends them.

An error is logged, and the task starts again after a pause that grows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, ClassVar, Protocol

import structlog

SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
"""Seconds between two starts: doubled after each failure, until one run has lasted this long."""

CANCEL_AGAIN = 0.5
"""Seconds after which a task that goes on is cancelled once more."""

Tasks = Mapping[str, Callable[[], Awaitable[object]]]

log = structlog.get_logger()


class ProcessPart(Protocol):
    """What runs in a process beside its requests."""

    def start(self) -> object:
        """Begin; needs a running event loop."""

    async def stop(self) -> object:
        """End, in good order."""


class Background:
    """A part that does its work in supervised tasks, from `start` until `stop`."""

    outages: ClassVar[tuple[type[Exception], ...]] = ()
    """What interrupts the work without a fault of its own."""
    _running: tuple[asyncio.Task[None], ...] = ()

    def tasks(self) -> Tasks:
        """What it runs: a name for each task, and what `supervise` runs again and again."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin; needs a running event loop."""
        self._running = tuple(
            asyncio.create_task(supervise(name, run, self.outages), name=name)
            for name, run in self.tasks().items()
        )

    async def stop(self) -> None:
        """End every task. What was sent to the database is committed whole, or not at all."""
        await cancel(*self._running)


@asynccontextmanager
async def run_parts(parts: Sequence[ProcessPart]) -> AsyncIterator[None]:
    """The parts run while the block does: started in order, and stopped in the opposite one."""
    for part in parts:
        part.start()
    try:
        yield
    finally:
        for part in reversed(parts):
            await part.stop()


async def supervise(
    name: str,
    run: Callable[[], Awaitable[object]],
    outages: tuple[type[Exception], ...] = (),
) -> None:
    """Run `run` again and again, until it answers True or this is cancelled.

    One of the `outages` (a connection that is lost, a database that is away) is worth no more than a
    line for debugging, once in a series; any other exception is logged with its traceback each time.
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
        except Exception:  # a task that ended would stop its work unseen
            log.exception("task failed, and starts again", task=name)
        if monotonic() - started > LONGEST_PAUSE:
            pause = SHORTEST_PAUSE
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks until they have ended; how they ended does not matter any more.

    Once is not enough: in Python 3.11 `asyncio.wait_for`, in which a task waits for a connection of
    the pool, loses a cancellation that comes together with what it waits for.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN)
    await asyncio.gather(*tasks, return_exceptions=True)
