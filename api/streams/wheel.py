"""One clock for all connections: heartbeats, cursors that must not stand still, and the slow."""

from __future__ import annotations

import asyncio
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from api.streams.connection import Connection

if TYPE_CHECKING:
    from api.streams.hub import Hub

HEARTBEAT = 15
"""Slots, and the seconds of silence after which a heartbeat is due."""
STALLED = 30.0
BREATH = 100

log = structlog.get_logger()


class Wheel:
    """Turns by one slot a `second`, and visits the connections that are in it.

    To write to a connection moves it nowhere: that would cost every event something. Who was
    written to meanwhile is put, when its slot comes, where its heartbeat will be due.
    """

    def __init__(self, hub: Hub) -> None:
        self.second = 1.0
        self.stalled = STALLED
        self.tick = 0
        self.now = monotonic()
        self._hub = hub
        self._numbers = count()
        self._slots: list[set[Connection]] = [set() for _ in range(HEARTBEAT)]

    def add(self, connection: Connection) -> None:
        """Visit it from now on."""
        self._put(connection, next(self._numbers))

    def remove(self, connection: Connection) -> None:
        self._slots[connection.slot].discard(connection)

    def _put(self, connection: Connection, slot: int) -> None:
        connection.slot = slot % HEARTBEAT
        self._slots[connection.slot].add(connection)

    async def run(self) -> None:
        """Turn, until cancelled."""
        while True:
            await asyncio.sleep(self.second)
            self.tick += 1
            self.now = monotonic()
            for visited, connection in enumerate(list(self._slots[self.tick % HEARTBEAT]), 1):
                self._visit_safely(connection)
                if visited % BREATH == 0:
                    await asyncio.sleep(0)

    def _visit_safely(self, connection: Connection) -> None:
        """One that cannot be visited ends, and its client resumes; the others go on."""
        try:
            self._visit(connection)
        except Exception:
            log.exception("heartbeat failed", cursor=connection.cursor)
            connection.fail()

    def _visit(self, connection: Connection) -> None:
        if connection.done.done():
            return
        if connection.line.paused:
            since = connection.blocked
            if since is not None and self.now - since >= self.stalled:
                self._hub.cut(connection)
            elif since is None:
                connection.blocked = self.now
        elif connection.touched <= self.tick - HEARTBEAT:
            self._beat(connection)
        else:
            self.remove(connection)
            self._put(connection, connection.touched)

    def _beat(self, connection: Connection) -> None:
        if connection.live:
            connection.cursor = max(connection.cursor, self._hub.swept)
        if connection.cursor > connection.sent:
            connection.tell("checkpoint")
        else:
            connection.line.write(connection.group.topic.form.wire.heartbeat)
            connection.touched = self.tick
