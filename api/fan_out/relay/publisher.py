"""Publishes the log to its stream in NATS, each event once, at the sequence that is its position."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import orjson
import structlog
from nats.js.errors import APIError

from api.fan_out import stream
from api.fan_out.connection import AWAY, Lost, NatsConnection, NatsServers, Outage, connection_to
from api.fan_out.keys import as_json, wrap_for_edges
from api.fan_out.stream import NatsRetention, NatsStream, OtherLogInStream, SourceLog
from api.fan_out.wire import EXPECTED, Beat, Subjects, encode_row
from api.settings import SetupError
from api.streaming.log.tail import LogPage, Tail
from api.telemetry.metrics import RELAY_HEAD, RELAY_POSITION, RELAY_PUBLISHES, RELAYED
from domain.errors import Overloaded
from domain.eventlog.codec import EventRow
from domain.eventlog.connection.notifications import Listener
from domain.eventlog.connection.timeouts import OUTAGES, is_closed_by_server
from domain.eventlog.encryption import Vault
from domain.eventlog.store import Store
from domain.lru import LruCache
from domain.supervisor import Background, Tasks, cancel, run_parts
from workers.ownership import ownership

WORK = "relay"
ACK_TIMEOUT = 10.0
"""Seconds for NATS to acknowledge a page."""
BEAT = 1.0
"""Seconds between two beats."""
KEYS_SENT = 100_000
"""Cached streams whose keys were sent to edges; an edge that lacks a key asks for it."""

log = structlog.get_logger()


class PublishRefused(ConnectionError):
    """NATS has refused an event, as its stream does not end with the event before."""


class Publisher(Background):
    """Publishes the log while this process owns that work; other relays stand by.

    Each page is acknowledged before the next one is read. After any error the end of the stream is read again, and
    publishing continues from there.
    """

    outages = (*AWAY, *OUTAGES, APIError, Overloaded)

    def __init__(
        self,
        servers: NatsServers,
        subjects: Subjects,
        retention: NatsRetention,
        store: Store,
        vault: Vault,
        *,
        conninfo: str,
        of_log: str,
        begin_again: bool = False,
        on_refused: Callable[[SetupError], object] = lambda _: None,
    ) -> None:
        self._servers, self._subjects, self._retention = servers, subjects, retention
        self._store, self._vault = store, vault
        self._conninfo, self._of_log = conninfo, of_log
        self._begin_again = begin_again
        self._on_refused = on_refused
        self._away = Outage()
        self._sent_keys: LruCache[str, bool] = LruCache(KEYS_SENT)
        self.publishes = False
        """Whether this process is the one that publishes."""
        self.head = self.position = 0
        """The last positions of the log and of the stream."""

    def tasks(self) -> Tasks:
        return {"relay": self._run}

    async def _run(self) -> bool:
        try:
            async with (
                ownership(self._conninfo, self._store.schema, WORK) as owner,
                connection_to(self._servers, "executions relay") as connection,
            ):
                await self._publish(connection, partial(is_closed_by_server, owner))
        except SetupError as error:
            self._on_refused(error)
            return True
        except (*AWAY, APIError) as error:
            self._away.begin(error)
            raise
        finally:
            self._set_publishes(False)
        return False

    async def _publish(self, connection: NatsConnection, is_lost: Callable[[], bool]) -> None:
        listener = Listener(self._conninfo, self._store.schema)
        tail = Tail(self._store, listener, self._store.schema, self._of_log)
        try:
            nats_stream = await self._open_stream(connection)
        except OtherLogInStream:
            await self._announce_other_log(connection, self._of_log)
            raise
        tail.skip(nats_stream.last)
        self._set_publishes(True)
        self._away.end()
        beats = asyncio.create_task(self._beat(connection), name="relay: beats")
        log.info("relay publishes", stream=self._subjects.stream, position=nats_stream.last)
        try:
            async with run_parts([listener]):
                async for page in tail.pages(lambda: False):
                    connection.require()
                    if is_lost():
                        raise Lost
                    await self._publish_page(connection, page)
        finally:
            await cancel(beats)

    async def _open_stream(self, connection: NatsConnection) -> NatsStream:
        head, _ = await self._store.head()
        of = SourceLog(self._of_log, self._store.log_name, self._vault.id, head)
        again, self._begin_again = self._begin_again, False
        nats_stream = await stream.open_stream(
            connection.client, self._subjects, of, self._retention, begin_again=again
        )
        if nats_stream.last > head:  # or another relay has just published
            head, _ = await self._store.head()
        if nats_stream.last > head:
            raise OtherLogInStream(
                self._subjects.stream,
                f"goes to position {nats_stream.last}, and this log to {head}: it went back",
            )
        if nats_stream.last_at is not None:  # the tail sees whether the log still has that event
            self._store.seen.note(nats_stream.last, nats_stream.last_at)
        self._set_position(nats_stream.last)
        return nats_stream

    async def _publish_page(self, connection: NatsConnection, page: LogPage) -> None:
        if page.other is not None:
            await self._announce_other_log(connection, page.other.log_id)
            raise OtherLogInStream(
                self._subjects.stream, f"holds events of the log {self._of_log}, which went back"
            )
        if page.rows:
            await self._send_keys(connection, page.rows)
            await self._send(connection, page.rows)
            self._set_position(page.position)
            RELAYED.inc(len(page.rows))

    async def _announce_other_log(self, connection: NatsConnection, log_id: str) -> None:
        """Send a beat with the id of another log, so that edges end their streams."""
        await connection.client.publish(self._subjects.beat, self._beat_of(log_id))
        await connection.client.flush()

    async def _send(self, connection: NatsConnection, rows: Sequence[EventRow]) -> None:
        """Publish rows. NATS refuses each row unless the stream ends with the row before: the acknowledgement of the first
        row shows that the stream has nothing else, that of the last row that none between is missing.
        """
        first, *others = rows
        await self._send_one(connection, first)
        for row in others[:-1]:
            payload = encode_row(row)
            await connection.client.publish(
                self._subjects.events, payload, headers=_expects_previous(row)
            )
        if others:
            await self._send_one(connection, others[-1])

    async def _send_one(self, connection: NatsConnection, row: EventRow) -> None:
        """Raises PublishRefused where NATS does not acknowledge a row at its position."""
        asking = connection.client.request(
            self._subjects.events, encode_row(row), ACK_TIMEOUT, headers=_expects_previous(row)
        )
        answer = orjson.loads((await connection.unless_lost(asking)).data)
        if "error" in answer or answer.get("seq") != row.position:
            raise PublishRefused(str(answer.get("error", answer)))

    async def _send_keys(self, connection: NatsConnection, rows: Sequence[EventRow]) -> None:
        """Send edges the keys for these rows. An edge that does not receive them asks for them."""
        erasing = self._store.codec.erasing
        self._store.keyring.destroy(row.stream for row in rows if row.type in erasing)
        wanted = {row.stream for row in rows if b'"$sealed"' in row.data}
        unsent = [each for each in wanted if each not in self._sent_keys]
        if unsent:
            keys = await wrap_for_edges(self._store, self._vault, unsent)
            await connection.client.publish(self._subjects.keys, as_json(keys))
            for stream_, _ in keys:
                self._sent_keys.put(stream_, True)
            self._sent_keys.trim()

    async def _beat(self, connection: NatsConnection) -> None:
        """Send a beat every second, until the connection is lost."""
        while True:
            try:
                self.head, _ = await self._store.head()
                RELAY_HEAD.set(self.head)
            except Overloaded:
                pass  # the database is unavailable: `head` is unchanged
            try:
                await connection.client.publish(self._subjects.beat, self._beat_of(self._of_log))
            except AWAY:
                return  # the connection is lost, which ends the publishing, too
            await asyncio.sleep(BEAT)

    def _beat_of(self, log_id: str) -> bytes:
        name = self._store.log_name
        return Beat(log_id, self._vault.id, self.head, self.position, name).as_json()

    def _set_position(self, position: int) -> None:
        self.position = position
        RELAY_POSITION.set(position)

    def _set_publishes(self, value: bool) -> None:
        self.publishes = value
        RELAY_PUBLISHES.set(value)


def _expects_previous(row: EventRow) -> dict[str, str]:
    return {EXPECTED: str(row.position - 1)}
