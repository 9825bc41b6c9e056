"""Wakes the followers of an execution's log lines when there are new lines, by one query for all followers."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import structlog

from domain.errors import Overloaded
from domain.eventlog.connection.notifications import Wake
from domain.eventlog.queries import WITH_TYPES
from domain.eventlog.store import Store
from domain.supervisor import cancel
from projections.log_lines.model import NOTED_EVENTS
from projections.log_lines.tail import LogLineTail

POLL = 0.25
"""Seconds between two looks for new lines, and before the next look after an outage."""
GATHER = 0.02
"""Seconds after a look in which further lines gather."""
REPAIR = 1.0
"""Seconds before the next look after an unexpected error."""
KIND = "execution/"

log = structlog.get_logger()


class LineSubscription:
    """A follower of one execution. `noted` is set when the server may have added lines of its own (notes)."""

    def __init__(self, wake: Wake) -> None:
        self.wake = wake
        self.noted = True


class LogLineNotifier:
    """Looks for new lines of workers and new notes of the server while there are followers.

    `noted` returns the position of the view of notes. A wake is only a hint: a follower reads by its own cursor, and now
    and then without a wake, so a missed wake only delays lines.
    """

    def __init__(self, store: Store, noted: Callable[[], int]) -> None:
        self._store = store
        self._noted = noted
        self._tail = LogLineTail(store)
        self._position = 0
        self._followers: defaultdict[str, set[LineSubscription]] = defaultdict(set)
        self._wake = Wake()
        self._begin_lock = asyncio.Lock()
        self._is_looking = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the task that looks for new lines while there are followers."""
        self._task = asyncio.create_task(self._run(), name="log line notifier")

    async def stop(self) -> None:
        """Stop the task."""
        if self._task is not None:
            await cancel(self._task)

    def wake(self) -> None:
        """Look at once, because this process has appended lines. Lines of other processes are found by polling."""
        if self._is_looking:
            self._wake.set()

    @asynccontextmanager
    async def of(self, execution: str, wake: Wake) -> AsyncIterator[LineSubscription]:
        """Follow an execution until the block ends: `wake` is set whenever new lines are found from now on.

        Raises:
            Overloaded: the database is unavailable.
        """
        follower = LineSubscription(wake)
        self._followers[execution].add(follower)
        try:
            await self._begin()
            self._wake.set()
            yield follower
        finally:
            self._followers[execution].discard(follower)
            if not self._followers[execution]:
                del self._followers[execution]

    async def _run(self) -> None:
        while True:
            if not self._followers:
                self._is_looking = False
            await self._wake.wait(POLL if self._is_looking else None)
            try:
                if self._followers:
                    await self._begin()
                    await self._find_new_lines()
                await asyncio.sleep(GATHER)
            except Overloaded:
                await asyncio.sleep(POLL)
            except Exception:
                log.exception("new log lines cannot be looked for")
                await asyncio.sleep(REPAIR)

    async def _begin(self) -> None:
        async with self._begin_lock:
            if not self._is_looking:
                self._position = self._noted()
                await self._tail.begin()
                self._is_looking = True

    async def _find_new_lines(self) -> None:
        self._wake_subscribers(await self._tail.executions(), noted=False)
        if (position := self._noted()) > self._position:
            async with self._store.reader() as connection:
                values = (self._position, position, list(NOTED_EVENTS))
                rows = await (await connection.execute(WITH_TYPES, values)).fetchall()
            self._position = position
            self._wake_subscribers((row[0].removeprefix(KIND) for row in rows), noted=True)

    def _wake_subscribers(self, executions: Iterable[str], *, noted: bool) -> None:
        for execution in executions:
            for follower in self._followers.get(execution, ()):
                follower.noted = follower.noted or noted
                follower.wake.set()
