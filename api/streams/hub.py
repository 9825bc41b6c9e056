"""The hub: all connections of a process, and what is published to them.

The tail hands over what came, in order. Connections that have everything before it are written to
right here, waking no task, in portions with a breath between, so that other requests are served
meanwhile. A connection that cannot take it falls behind and fetches for itself from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import structlog

from api.streams.audience import EVERYTHING, Audience
from api.streams.breath import Breath
from api.streams.connection import DONE, RESTART, Connection, Line
from api.streams.entries import Chunk, Entry
from api.streams.groups import Group, Topic
from api.streams.logs import LogFeed
from api.streams.readers import LogReader, Reader, StreamReader
from api.streams.source import Source
from api.streams.tail import Tail
from api.streams.wheel import Wheel
from api.telemetry.metrics import STREAMS
from domain.eventlog.notifications import Listener
from domain.eventlog.store import Store
from domain.model import Held

AT_ONCE = 100
TOGETHER = 100
"""Entries that are told and handed out in one go."""
GOODBYE = 5.0
ERASED = "execution.erased"

log = structlog.get_logger()


class Guest(Protocol):
    """A stream that writes for itself, but is counted, and ends, with all others."""

    kind: str

    def goodbye(self) -> None:
        """Ask it to end."""
        ...

    def cut(self) -> None:
        """End it, though it does not read."""
        ...


class Hub:
    """Make it before the listener is started, as its tail listens."""

    def __init__(self, store: Store, listener: Listener, schema: str, limit: int) -> None:
        self.source = Source(store)
        self.window = self.source.window
        self.wheel = Wheel(self)
        self.audience = Audience()
        self.logs = LogFeed(store, self.source, self.head)
        self.limit = limit
        self.swept = 0
        """All that are live have been handed everything up to here."""
        self.closing = False
        self._tail = Tail(store, self, listener, schema)
        self._connections: set[Connection] = set()
        self._guests: set[Guest] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def open(self) -> int:
        """How many streams there are."""
        return len(self._connections) + len(self._guests)

    @property
    def full(self) -> bool:
        """Whether there is no place for another, or soon for any."""
        return self.closing or self.open >= self.limit

    def start(self) -> None:
        """Follow the log from its end, as it will be found."""
        self._tasks = [
            asyncio.create_task(self._tail.run(), name="streams' tail"),
            asyncio.create_task(self.wheel.run(), name="streams' wheel"),
            asyncio.create_task(self.logs.run(), name="streams' log lines"),
        ]
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Ask every stream to say goodbye. Safe in a signal handler, at any time."""
        if self._loop is None:
            self.closing = True  # it has not started, and nobody is here
        else:
            self._loop.call_soon_threadsafe(self._begin_to_close)

    async def stop(self) -> None:
        """End the tail, and whoever is left."""
        self.closing = True
        for connection in list(self._connections):
            self._part(connection, lambda one: one.end(RESTART))
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self.window.stop()

    async def head(self) -> int:
        """The position of the last event there is, all of it published."""
        head = await self.source.heads.ask(None) or 0
        if head > self.window.head:
            if not self._connections:
                self.begin(head)
            else:
                await self._tail.reached(head)
        return self.window.head

    def begin(self, head: int) -> None:
        """Nobody is here: what comes next is what follows this position."""
        self.window.begin(head)
        self.swept = head

    def connect(self, line: Line, topic: Topic, cursor: int, held: Held[Any] | None) -> Connection:
        """A connection that begins after a cursor. `held` is the state of its stream, if it has one.

        Whoever connects has to `pump` it, wait until it is `done`, and `disconnect` it.
        """
        group = self.audience.join(topic)
        if topic.filter.logs:
            self.logs.add(group)
        connection = Connection(self, line, group, self._reader(group, cursor, held), cursor)
        if held is not None:
            connection.floor, connection.over = held.position, held.state.final
        connection.touched = self.wheel.tick
        line.consumer = connection
        self._connections.add(connection)
        self.wheel.add(connection)
        STREAMS.set(self.open)
        if line.gone:
            connection.lost()
        return connection

    def _reader(self, group: Group, cursor: int, held: Held[Any] | None) -> Reader:
        if held is None:
            return LogReader(self.source, group)
        version = 0 if cursor == 0 else held.version if cursor >= held.position else None
        return StreamReader(self.source, group, version, held.version)

    def disconnect(self, connection: Connection) -> None:
        """Forget it."""
        connection.lost()
        connection.line.consumer = None
        self._connections.discard(connection)
        self.wheel.remove(connection)
        group = connection.group
        self.audience.leave(group)
        if group.members == 0 and group.topic.filter.logs:
            self.logs.remove(group)
        STREAMS.set(self.open)

    def admit(self, guest: Guest) -> None:
        """Count a stream that writes for itself, until it is dismissed."""
        self._guests.add(guest)
        STREAMS.set(self.open)
        if self.closing:
            guest.goodbye()

    def dismiss(self, guest: Guest) -> None:
        """Forget it."""
        self._guests.discard(guest)
        STREAMS.set(self.open)

    def guests(self, kind: str) -> int:
        """How many of one kind there are."""
        return sum(guest.kind == kind for guest in self._guests)

    def cut(self, connection: Connection) -> None:
        """End one that does not read."""
        log.info("slow stream cut", cursor=connection.cursor)
        connection.cut()

    async def publish(self, entries: Sequence[Entry]) -> None:
        """Hand out what came, little by little."""
        for start in range(0, len(entries), TOGETHER):
            await self._publish(entries[start : start + TOGETHER])

    async def _publish(self, entries: Sequence[Entry]) -> None:
        if any(entry.type == ERASED for entry in entries):
            self.source.forget()
        while untold := self.audience.untold(entries):
            await self.source.live.tell(untold)  # meanwhile somebody may come who needs more
        if entries[0].position != self.window.head + 1:
            return  # everybody left meanwhile, and somebody new began further on
        told = not any(entry.untold for entry in entries)
        self.window.append(entries, told=told)
        # From here on nothing may fail: who is live would never hear of these entries.
        concerned = self.audience.concerned(entries)
        for group, its in concerned.items():
            group.latest = its[-1].position
        await self.logs.note(entries)  # before those whose story ends here are told so
        breath = Breath()
        for group, its in concerned.items():
            await self._sweep_safely(group, its, breath)
        self.swept = entries[-1].position

    async def _sweep_safely(self, group: Group, entries: Sequence[Entry], breath: Breath) -> None:
        """What one group cannot be told is told to all others."""
        try:
            await self._sweep(group, entries, breath)
        except Exception:
            log.exception("what happened cannot be told", stream=group.topic.stream)
            group.fall()

    async def _sweep(self, group: Group, entries: Sequence[Entry], breath: Breath) -> None:
        live = list(group.live)
        for chunk in group.chunks(entries) if live else ():
            for start in range(0, len(live) if chunk.data else 0, AT_ONCE):
                _push(live[start : start + AT_ONCE], chunk, self.wheel.tick)
                await breath.take()
        if group.topic.stream:
            for connection in group.live.intersection(live):
                connection.conclude(entries[-1].position, _over(entries))
        await breath.take()

    def _begin_to_close(self) -> None:
        if not self.closing:
            self.closing = True
            self._tasks.append(asyncio.create_task(self._close(), name="streams' goodbye"))

    async def _close(self) -> None:
        for guest in list(self._guests):
            guest.goodbye()
        for count, connection in enumerate(list(self._connections), 1):
            if connection.line.paused or connection.done.done():
                continue
            self._part(connection, lambda one: one.end(RESTART))
            if count % AT_ONCE == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(GOODBYE)
        for connection in list(self._connections):
            self._part(connection, Connection.cut)
        for guest in list(self._guests):
            guest.cut()

    def _part(self, connection: Connection, farewell: Callable[[Connection], None]) -> None:
        """One to which nothing can be said ends without a word; the others hear it."""
        try:
            farewell(connection)
        except Exception:
            log.exception("a stream cannot be told goodbye", cursor=connection.cursor)
            connection.lost()


def _push(connections: Iterable[Connection], chunk: Chunk, tick: int) -> None:
    """Write what was published to those who are live and have not had it.

    All deliveries go through this loop: what would be nicer as calls costs a tenth of each.
    """
    data, cursor = chunk
    for connection in connections:
        # Who arrived meanwhile, or fell behind, fetched or will fetch it for itself.
        if not connection.live or connection.cursor >= cursor:
            continue
        try:
            line = connection.line
            if line.paused:
                connection.block()
                continue
            line.feed(data)
        except Exception:
            log.exception("a stream cannot be written to", cursor=connection.cursor)
            connection.fail()
        else:
            connection.cursor = connection.sent = cursor
            connection.touched = tick


def _over(entries: Iterable[Entry]) -> bool | None:
    over = None
    for entry in entries:
        over = over if entry.ends is None else entry.ends
    return over


__all__ = ["DONE", "EVERYTHING", "Hub"]
