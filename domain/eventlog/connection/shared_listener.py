"""One LISTEN connection for all logs of a database that a process serves."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable

import psycopg
from psycopg import AsyncConnection
from psycopg.sql import SQL, Composed, Identifier

from domain.eventlog.connection.notifications import Listener
from domain.eventlog.connection.timeouts import with_keepalives
from domain.supervisor import Background, Tasks

NO_SCHEMA = "-c search_path= -c timezone=UTC"
"""Options of sessions that belong to no log: they find no table."""
POLL = 5.0
"""Seconds between two polls of a listener that shares its connection."""
Handle = Callable[[str | None], None]


class ListenConnection(Background):
    """Passes each notification to the listeners on its channel. Listeners may join and leave while it runs."""

    outages = (psycopg.Error, OSError)

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._listeners: list[Listener] = []
        self._by_channel: dict[str, list[Handle]] = {}
        self._changed, self._wake = True, asyncio.Event()

    def tasks(self) -> Tasks:
        return {"listen connection": self._run}

    def join(self, listener: Listener) -> None:
        """Listen on the channels of a listener, too, and wake it once that has begun."""
        self._listeners.append(listener)
        self._changed = True
        self._wake.set()

    def leave(self, listener: Listener) -> None:
        """Stop listening on the channels of a listener."""
        self._listeners.remove(listener)
        listener.is_listening = False
        self._changed = True
        self._wake.set()

    async def _run(self) -> None:
        try:
            async with await self._connect() as connection:
                connection.add_notify_handler(
                    lambda received: self._hand_out(received.channel, received.payload)
                )
                await self._listen(connection)
        finally:
            for listener in self._listeners:
                listener.is_listening = False

    async def _connect(self) -> AsyncConnection:
        return await AsyncConnection.connect(
            with_keepalives(self._conninfo), autocommit=True, connect_timeout=3, options=NO_SCHEMA
        )

    async def _listen(self, connection: AsyncConnection) -> None:
        loop, wake, line = asyncio.get_running_loop(), self._wake, connection.fileno()
        channels: set[str] = set()
        self._changed = True
        while True:
            wake.clear()
            if self._changed:
                self._changed = False
                channels = await self._update_channels(connection, channels)
            # Not `connection.notifies()`: it holds the connection, so no listener could join or leave meanwhile.
            loop.add_reader(line, wake.set)
            try:
                await wake.wait()
            finally:
                loop.remove_reader(line)
            connection.pgconn.consume_input()
            while (received := connection.pgconn.notifies()) is not None:
                self._hand_out(received.relname.decode(), received.extra.decode())

    async def _update_channels(self, connection: AsyncConnection, before: set[str]) -> set[str]:
        """Listen on all channels of the present listeners, and on no other; returns these channels."""
        listeners, by_channel = list(self._listeners), defaultdict[str, list[Handle]](list)
        for listener in listeners:
            for channel, handles in listener.channels.items():
                by_channel[channel] += handles
        self._by_channel = dict(by_channel)
        wanted = set(by_channel)
        if changes := [*_each("LISTEN", wanted - before), *_each("UNLISTEN", before - wanted)]:
            await connection.execute(SQL("; ").join(changes), prepare=False)
        for listener in listeners:
            if not listener.is_listening and listener in self._listeners:
                listener.is_listening = True
                listener.wake_all()
        return wanted

    def _hand_out(self, channel: str, payload: str) -> None:
        for handle in self._by_channel.get(channel, ()):
            handle(payload)


class SharedListener(Listener):
    """Listens over the connection that the logs of a database share."""

    def __init__(self, connection: ListenConnection, schema: str, poll: float = POLL) -> None:
        super().__init__("", schema, poll)
        self._connection = connection
        self._started = False

    def start(self) -> None:
        self._connection.join(self)
        self._started = True

    async def stop(self) -> None:
        self._connection.leave(self)

    def add_handler(self, channel: str, handle: Handle) -> None:
        if self._started:
            raise RuntimeError("the listener has started: its channels are fixed")
        super().add_handler(channel, handle)


def _each(word: str, channels: set[str]) -> list[Composed]:
    return [SQL(f"{word} {{}}").format(Identifier(channel)) for channel in channels]
