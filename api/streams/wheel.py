"""One clock for all connections: heartbeats, cursors that must not stand still, and the slow."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from api.streams.connection import Connection

if TYPE_CHECKING:
    from api.streams.hub import Hub

HEARTBEAT = 15
STALLED = 30.0
BREATH = 100

log = structlog.get_logger()


class Wheel:
    """Visits each connection once every `heartbeat` ticks, one tick a `second`."""

    def __init__(self, hub: Hub) -> None:
        self.heartbeat = HEARTBEAT
        self.second = 1.0
        self.stalled = STALLED
        self.tick = 0
        self.now = monotonic()
        self._hub = hub
        self._numbers = count()
        self._slots: list[set[Connection]] = [set() for _ in range(HEARTBEAT)]

    def add(self, connection: Connection) -> None:
        """Visit it from now on."""
        self._slots[next(self._numbers) % len(self._slots)].add(connection)

    def remove(self, connection: Connection) -> None:
        for slot in self._slots:
            slot.discard(connection)

    async def run(self) -> None:
        """Turn, until cancelled."""
        while True:
            await asyncio.sleep(self.second)
            self.tick += 1
            self.now = monotonic()
            for visited, connection in enumerate(list(self._due()), 1):
                self._visit_safely(connection)
                if visited % BREATH == 0:
                    await asyncio.sleep(0)

    def _due(self) -> Iterator[Connection]:
        every = len(self._slots)
        for slot in range(self.tick % self.heartbeat, every, self.heartbeat):
            yield from self._slots[slot]

    def _visit_safely(self, connection: Connection) -> None:
        """One that cannot be visited ends, and its client resumes; the others go on."""
        try:
            self._visit(connection)
        except Exception:
            log.exception("heartbeat failed", cursor=connection.cursor)
            connection.lost()

    def _visit(self, connection: Connection) -> None:
        if connection.done.done():
            return
        if connection.line.paused:
            since = connection.blocked
            if since is not None and self.now - since >= self.stalled:
                self._hub.cut(connection)
            elif since is None:
                connection.blocked = self.now
        elif connection.touched <= self.tick - self.heartbeat:
            self._beat(connection)

    def _beat(self, connection: Connection) -> None:
        if connection.live:
            connection.cursor = max(connection.cursor, self._hub.swept)
        if connection.cursor > connection.sent:
            connection.tell("checkpoint")
        else:
            connection.line.write(connection.group.topic.form.wire.heartbeat)
            connection.touched = self.tick
