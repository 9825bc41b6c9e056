"""The connection of an edge to NATS: receives the beats of relays, and sends them requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from time import monotonic
from typing import Any

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from api.fan_out.connection import AWAY, NatsConnection, NatsServers, Outage, connection_to
from api.fan_out.keys import from_json
from api.fan_out.wire import ANSWER_TIMEOUT, MORE, Beat, Subjects, question
from domain.errors import Damaged, Overloaded
from domain.eventlog.connection.notifications import Wake
from domain.eventlog.keyring import Keyring
from domain.supervisor import Background, Tasks

BELIEVED = 5.0
"""Seconds without a beat, after which a relay counts as gone."""
NATS_AWAY = "NATS is away, from which this edge streams. Come back a little later."
NO_RELAY = "No relay of the log answers. Come back a little later."
NO_RESPONDERS = "503"


class Link(Background):
    """Keeps a connection open, and adds each key that a relay sends to the keyring. `wake` is set when something was
    heard that may matter to the tail.
    """

    outages = AWAY

    def __init__(self, servers: NatsServers, subjects: Subjects, keyring: Keyring) -> None:
        self._servers = servers
        self.subjects = subjects
        self._keyring = keyring
        self._away = Outage()
        self._connection: NatsConnection | None = None
        self._open = asyncio.Event()
        self.wake = Wake()
        self.beat: Beat | None = None
        """The last beat of the relay that publishes."""
        self._beat_at = float("-inf")

    def tasks(self) -> Tasks:
        return {"link to nats": self._run}

    @property
    def connected(self) -> bool:
        """Whether the connection is open."""
        return self._connection is not None

    @property
    def hears_relay(self) -> bool:
        """Whether a beat of a relay was received within the last `BELIEVED` seconds."""
        return self.connected and monotonic() - self._beat_at < BELIEVED

    async def connection(self) -> NatsConnection:
        """Wait for an open connection, and return it."""
        while self._connection is None:
            await self._open.wait()
        return self._connection

    async def ask(self, kind: str, **members: Any) -> bytes:
        """Send a request to a relay, and return its answer.

        Raises:
            Overloaded: there is no relay, it does not answer in time, or its database is unavailable.
            Damaged: the requested data cannot be read.
        """
        if self._connection is None:
            raise Overloaded(NATS_AWAY)
        try:
            body = await self._request(self._connection.client, kind, question(**members))
        except AWAY as error:
            raise Overloaded(NO_RELAY) from error
        header, _, found = body.partition(b"\n")
        about: dict[str, Any] = orjson.loads(header)
        match about.pop("error", None):
            case None:
                return found
            case "damaged":
                raise Damaged(about.pop("detail"), **about)
        raise Overloaded(NO_RELAY)

    async def keys(self, streams: Iterable[str]) -> None:
        """Get the keys of streams from a relay, and add them to the keyring."""
        self._keyring.learn(from_json(await self.ask("keys", streams=list(streams))))

    async def _request(self, client: Client, kind: str, body: bytes) -> bytes:
        inbox = client.new_inbox()
        answers = await client.subscribe(inbox, pending_bytes_limit=0)
        try:
            await client.publish(self.subjects.ask(kind), body, reply=inbox)
            whole = bytearray()
            while True:
                part = await answers.next_msg(ANSWER_TIMEOUT)
                headers = part.headers or {}
                if headers.get("Status") == NO_RESPONDERS:
                    raise Overloaded(NO_RELAY)
                whole += part.data
                if MORE not in headers:
                    return bytes(whole)
        finally:
            with suppress(*AWAY):
                await answers.unsubscribe()

    async def _run(self) -> None:
        try:
            await self._listen()
        except AWAY as error:
            self._away.begin(error)
            raise

    async def _listen(self) -> None:
        async with connection_to(self._servers, "executions edge") as connection:
            client, subjects = connection.client, self.subjects
            await client.subscribe(subjects.keys, cb=_handler(self._add_keys))
            await client.subscribe(subjects.beat, cb=_handler(self._note_beat))
            try:
                self._connection = connection
                self._open.set()
                self._away.end()
                await connection.until_lost()
            finally:
                self._connection = None
                self._open.clear()

    def _add_keys(self, data: bytes) -> None:
        self._keyring.learn(from_json(data))

    def _note_beat(self, data: bytes) -> None:
        self.beat = Beat.read(data)
        self._beat_at = monotonic()
        self.wake.set()


def _handler(take: Callable[[bytes], None]) -> Callable[[Msg], Awaitable[None]]:
    """Make a callback that passes on the content of each message; malformed messages of other versions are ignored."""

    async def handle(message: Msg) -> None:
        with suppress(ValueError, TypeError):
            take(message.data)

    return handle
