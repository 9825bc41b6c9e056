"""Wakes those who follow the log lines of an execution when there are new ones: one query for all."""

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
GATHER = 0.02
REPAIR = 1.0
KIND = "execution/"

log = structlog.get_logger()


class LineSubscription:
    """Somebody who follows one execution. `noted` says that the server may have noted something."""

    def __init__(self, wake: Wake) -> None:
        self.wake = wake
        self.noted = True


class LogLineNotifier:
    """Looks for new lines, and for new notes of the server, while somebody follows any.

    `noted` is how far the view of the notes is. A wake is a hint, and what wakes too seldom is only
    late: a follower reads by its own cursor, and now and then without being woken.
    """

    def __init__(self, store: Store, noted: Callable[[], int]) -> None:
        self._store = store
        self._noted = noted
        self._tail = LogLineTail(store)
        self._position = 0
        self._followers: defaultdict[str, set[LineSubscription]] = defaultdict(set)
        self._wake = Wake()
        self._beginning = asyncio.Lock()
        self._began = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look, while somebody follows."""
        self._task = asyncio.create_task(self._run(), name="log line notifier")

    async def stop(self) -> None:
        """Stop looking."""
        if self._task is not None:
            await cancel(self._task)

    def wake(self) -> None:
        """Lines were appended by this process; those of others are found by looking."""
        if self._began:
            self._wake.set()

    @asynccontextmanager
    async def of(self, execution: str, wake: Wake) -> AsyncIterator[LineSubscription]:
        """Woken by whatever comes to light from here on.

        Raises:
            Overloaded: the database is away.
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
                self._began = False
            await self._wake.wait(POLL if self._began else None)
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
        async with self._beginning:
            if not self._began:
                self._position = self._noted()
                await self._tail.begin()
                self._began = True

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
