"""The tail of an edge: the events of the stream in NATS, in order and without holes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Protocol

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError

from api.fan_out import stream
from api.fan_out.connection import AWAY, NatsConnection
from api.fan_out.edge.link import Link
from api.fan_out.wire import LAST_SEQUENCE, decode_row
from api.streaming.log.tail import Idle, LogPage
from api.telemetry.metrics import EDGE_POSITION
from domain.errors import Overloaded
from domain.eventlog.codec import EventRow
from domain.eventlog.connection.notifications import Wake
from projections.other_log import OtherLog

IDLE_HEARTBEAT = 1.0
"""Seconds between two heartbeats of a consumer without events."""
SILENCE = 4.0
"""Seconds without an event or heartbeat, after which the consumer counts as lost."""
INACTIVE = 30.0
"""Seconds after which NATS deletes a consumer without a client."""
MOST_WAITING = 5_000
"""Events that may wait to be published; NATS sends no more meanwhile."""
PAUSE = 0.25
"""Seconds before a lost consumer is made again."""
API_TIMEOUT = 5.0
PARTS_OF_ACK = 9
STATUS = "Status"
STALLED = "Nats-Consumer-Stalled"

log = structlog.get_logger()


class PastReader(Protocol):
    """Reads events that NATS does not have any more."""

    async def rows(self, after: int, until: int) -> Sequence[EventRow]:
        """The next events with positions in (after, until]."""
        ...


class ConsumerSilent(TimeoutError):
    """The consumer has sent nothing for `SILENCE` seconds, or not the expected events."""


class RelayedTail:
    """Follows the stream in NATS, from its end at the start on, until the stream is of another log.

    Events that NATS has not are read from a relay; events that are received again, as NATS had lost them, are ignored.
    """

    def __init__(self, link: Link, of_log: str) -> None:
        self._link = link
        self._of_log = of_log
        self.past: PastReader | None = None
        self.began = False
        """Whether the end of the stream was found, and following has begun."""
        self.position = 0
        self.on_rows: Callable[[Sequence[EventRow]], object] = lambda _: None
        """Called with all rows that were read, before they are published."""

    def skip(self, position: int) -> None:
        """Do nothing, as all events in NATS are read."""

    def wake(self) -> None:
        """Do nothing, as NATS sends events without a request."""

    async def pages(self, idle: Idle) -> AsyncIterator[LogPage]:
        """The log after the last page, until the log is another; rows are read even while `idle`."""
        while True:
            connection = await self._link.connection()
            try:
                async with aclosing(self._pages(connection)) as pages:
                    async for page in pages:
                        EDGE_POSITION.set(page.position)
                        yield page
                        if page.other is not None:
                            return
            except (*AWAY, APIError, Overloaded) as error:
                log.debug("the stream in nats is interrupted", error=repr(error))
            await asyncio.sleep(PAUSE)

    async def _pages(self, connection: NatsConnection) -> AsyncGenerator[LogPage, None]:
        kept = await stream.find_stream(connection.client, self._link.subjects.stream)
        if kept is None:
            return
        if kept.log != self._of_log:
            yield LogPage((), kept.last, OtherLog(kept.last, kept.log))
            return
        if not self.began:
            self.position, self.began = kept.last, True
            yield LogPage((), self.position)
        name, behind = self._link.subjects.stream, self.position + 1
        async with consume(connection, name, behind) as waiting:
            while True:
                if (other := self._other()) is not None:
                    yield LogPage((), self.position, other)
                    return
                async for rows in self._next(waiting, connection):
                    self.position = rows[-1].position
                    self.on_rows(rows)
                    yield LogPage(rows, self.position)

    def _other(self) -> OtherLog | None:
        beat = self._link.beat
        if beat is None or beat.log == self._of_log:
            return None
        return OtherLog(beat.head, beat.log)

    async def _next(
        self, waiting: WaitingEvents, connection: NatsConnection
    ) -> AsyncIterator[Sequence[EventRow]]:
        """What came, and what is missing before it."""
        if not await waiting.wake.wait(SILENCE):
            raise ConsumerSilent
        connection.require()
        rows = [row for row in waiting.take_all() if row.position > self.position]
        last = rows[0].position - 1 if rows else waiting.last
        async for missing in self._missing(last):
            yield missing
        run: list[EventRow] = []
        for row in rows:
            if row.position != (run[-1].position if run else self.position) + 1:
                break  # a row is missing in NATS: begin again after the run
            run.append(row)
        if run:
            yield run
        if len(run) < len(rows):
            raise ConsumerSilent

    async def _missing(self, until: int) -> AsyncIterator[Sequence[EventRow]]:
        """The events up to a position that NATS does not have."""
        while self.position < until:
            assert self.past is not None
            rows = await self.past.rows(self.position, until)
            if not rows or rows[0].position != self.position + 1:
                raise ConsumerSilent
            yield rows


class WaitingEvents:
    """Received events that are not published yet; `last` is the position up to which NATS has sent everything."""

    def __init__(self, client: Client) -> None:
        self.wake = Wake()
        self.last = 0
        self._client = client
        self._rows: deque[EventRow] = deque()
        self._room = asyncio.Event()
        self._room.set()

    def take_all(self) -> Sequence[EventRow]:
        """Remove and return all events."""
        rows, self._rows = list(self._rows), deque()
        self._room.set()
        return rows

    async def take(self, message: Msg) -> None:
        """Add a message. While there are too many events, wait, so that NATS gets no answer and sends no more."""
        headers: Mapping[str, str] = message.headers or {}
        if STATUS in headers:
            await self._answer(message, headers)
            return
        position = _sequence(message.reply)
        self._rows.append(decode_row(position, message.data))
        self.wake.set()
        if len(self._rows) >= MOST_WAITING:
            self._room.clear()
            await self._room.wait()

    async def _answer(self, message: Msg, headers: Mapping[str, str]) -> None:
        """Answer a heartbeat, or a message of flow control."""
        if not self._rows and LAST_SEQUENCE in headers:
            self.last = int(headers[LAST_SEQUENCE])
        if reply := headers.get(STALLED) or message.reply:
            await self._client.publish(reply)
        self.wake.set()


@asynccontextmanager
async def consume(
    connection: NatsConnection, name: str, start: int
) -> AsyncIterator[WaitingEvents]:
    """The events of a stream from a sequence on, while the block runs.

    Raises:
        AWAY, APIError: NATS has not made a consumer.
    """
    client = connection.client
    waiting, manager = WaitingEvents(client), client.jsm(timeout=API_TIMEOUT)
    connection.wakes.add(waiting.wake)
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox, cb=waiting.take, pending_bytes_limit=0)
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=start,
        deliver_subject=inbox,
        ack_policy=AckPolicy.NONE,
        max_deliver=1,
        flow_control=True,
        idle_heartbeat=IDLE_HEARTBEAT,
        inactive_threshold=INACTIVE,
        mem_storage=True,
        num_replicas=1,
    )
    try:
        made = await manager.add_consumer(name, config)
        yield waiting
        with suppress(*AWAY, APIError):
            await manager.delete_consumer(name, made.name)
    finally:
        connection.wakes.discard(waiting.wake)
        with suppress(*AWAY):
            await subscription.unsubscribe()


def _sequence(reply: str) -> int:
    """The sequence of a message, from the subject for its acknowledgement, which has two more parts at a server with a
    domain.
    """
    parts = reply.split(".")
    return int(parts[5 if len(parts) == PARTS_OF_ACK else 7])
