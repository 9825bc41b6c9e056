"""One connection of a process that receives notifications for all its parts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import psycopg
from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier

from domain.eventlog.connection.timeouts import with_keepalives
from domain.eventlog.sessions import session_options
from domain.supervisor import Background, Tasks

LISTENING_POLL, DISCONNECTED_POLL = 1.0, 0.25
"""Seconds between two polls while notifications arrive, and while they do not."""


class Wake:
    """Wakes one task. A `set` while the task does not wait ends its next wait at once."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake the task, now or at its next wait."""
        self._event.set()

    def clear(self) -> None:
        """Discard earlier calls of `set`, as the task is about to poll."""
        self._event.clear()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until `set` is called, for so many seconds at most; return whether it was called."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        was_set = self._event.is_set()
        self._event.clear()
        return was_set


class Listener(Background):
    """Listens on the channels that were subscribed to before it was started.

    After each connect it wakes all subscribers, as notifications may have been missed. A notification only saves time:
    a reader that waits for one also polls.
    """

    outages = (psycopg.Error, OSError)

    def __init__(self, conninfo: str, schema: str, poll: float | None = None) -> None:
        """`poll`: seconds between two polls while notifications arrive; `LISTENING_POLL` where it is left out."""
        self.conninfo = conninfo
        self._schema = schema
        self._poll = poll
        self._handlers: dict[str, list[Callable[[str | None], None]]] = {}
        self.is_listening = False
        """Whether notifications arrive."""

    @property
    def poll(self) -> float:
        """Seconds between two polls of a reader that waits for notifications."""
        return (self._poll or LISTENING_POLL) if self.is_listening else DISCONNECTED_POLL

    @property
    def channels(self) -> Mapping[str, Sequence[Callable[[str | None], None]]]:
        """The handlers of each channel."""
        return self._handlers

    def add_handler(self, channel: str, handle: Callable[[str | None], None]) -> None:
        """Add a function that is called with the payload of each notification, and with None after each connect."""
        if self._running:
            raise RuntimeError("the listener has started: its channels are fixed")
        self._handlers.setdefault(channel, []).append(handle)

    def subscribe(self, channel: str) -> Wake:
        """A `Wake` that is set by each notification, and after each connect."""
        wake = Wake()
        self.add_handler(channel, lambda _: wake.set())
        return wake

    def wake(self, channel: str) -> None:
        """Wake the subscribers of a channel, as a poll has found events, and their notification may have been lost."""
        for handle in self._handlers.get(channel, ()):
            handle(None)

    def wake_all(self) -> None:
        """Wake the subscribers of all channels."""
        for channel in self._handlers:
            self.wake(channel)

    async def reconnect(self) -> None:
        """Listen on a new connection, as the present one may lead to a server that was replaced."""
        await self.stop()
        self.start()

    def tasks(self) -> Tasks:
        return {"listener": self._run}

    async def _run(self) -> None:
        try:
            async with await self._connect() as connection:
                await self._listen(connection)
        finally:
            self.is_listening = False

    async def _connect(self) -> AsyncConnection:
        return await AsyncConnection.connect(
            with_keepalives(self.conninfo),
            autocommit=True,
            connect_timeout=3,
            options=session_options(self._schema),
        )

    async def _listen(self, connection: AsyncConnection) -> None:
        for channel in self._handlers:
            await connection.execute(SQL("LISTEN {}").format(Identifier(channel)))
        self.is_listening = True
        self.wake_all()
        async for notification in connection.notifies():
            for handle in self._handlers[notification.channel]:
                handle(notification.payload)
