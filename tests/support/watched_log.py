"""A hub with log lines and executions, without a network."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from api.streaming.encoding import ENCODERS, SSE
from api.streaming.filter import Filter
from api.streaming.frames import WATCH
from api.streaming.hub import Hub
from api.streaming.topic import KnownStream, Topic
from api.system import new_hub
from domain.eventlog.connection.notifications import Listener
from domain.eventlog.store import Store
from domain.execution.commands.log import LogLine
from domain.model import Versioned
from projections.engine.migrations import migrate_projections
from projections.log_lines.projection import LogLineProjection
from tests.support.event_writer import NOON, Log, opened, some
from tests.support.hub import Line, until
from tests.support.log_lines import append_lines

WATCHING = Topic(ENCODERS[WATCH, SSE], "", Filter())
LOGS = WATCHING._replace(filter=Filter(types=("log",)))


class Running(NamedTuple):
    """A hub that follows a log with the executions `e-0` to `e-2`."""

    hub: Hub
    store: Store
    log: Log

    async def tell(self, execution: str, *messages: str) -> None:
        lines = [LogLine(level="info", message=message) for message in messages]
        await append_lines(self.store, execution, lines, NOON, written=self.hub.logs.wake)

    async def connect(self, topic: Topic = LOGS, versioned: Versioned[Any] | None = None) -> Line:
        if topic.filter.logs:
            await self.hub.logs.ready()
        line = Line()
        self.hub.connect(line, topic, await self.hub.head(), KnownStream.of(versioned)).start()
        await until(lambda: b"caught-up" in line.written)
        return line


@asynccontextmanager
async def running(conninfo: str) -> AsyncIterator[Running]:
    migrate_projections(conninfo, "executions", [LogLineProjection()])
    async with opened(conninfo) as store:
        listener = Listener(conninfo, "executions")
        hub = new_hub(store, listener, "executions", 10_000)
        listener.start()
        hub.start()
        try:
            log = Log(store)
            await log.write(some(3))
            yield Running(hub, store, log)
        finally:
            await hub.stop()
            await listener.stop()


def messages_of(line: Line) -> list[str]:
    return re.findall(r'"message":"([^"]*)"', line.written.decode())


def frames(line: Line) -> list[str]:
    return re.findall(r"event: ([a-z-]+)\n", line.written.decode())
