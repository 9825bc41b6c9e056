"""One connection that sends the notifications of commits of one log, or of all logs of a database."""

from __future__ import annotations

import asyncio

import psycopg
from psycopg import AsyncConnection

from domain.eventlog.connection.notifications import Wake
from domain.eventlog.connection.shared_listener import NO_SCHEMA
from domain.eventlog.connection.timeouts import with_keepalives
from domain.supervisor import Background, Tasks

PAUSE = 0.02
"""The least number of seconds between two statements; one notification covers all commits in between."""
NOTIFY = "SELECT pg_notify(channel, '') FROM unnest(%b::text[]) AS channel"
# A notification is not stored, so its commit need not wait for the disk, and holds the lock for microseconds.
NO_FLUSH = "-c synchronous_commit=off"


class NotificationSender(Background):
    """Sends notifications to channels. Those that fail as the connection is lost are sent over the next one."""

    outages = (psycopg.Error, OSError)

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._channels: set[str] = set()
        self._pending = Wake()

    def tasks(self) -> Tasks:
        return {"notification sender": self._run}

    def notify(self, channel: str) -> None:
        """Notify a channel within milliseconds."""
        self._channels.add(channel)
        self._pending.set()

    def relocate(self, conninfo: str) -> None:
        """Send the next notification to another database."""
        self._conninfo = conninfo

    async def _run(self) -> None:
        conninfo = self._conninfo
        async with await self._connect() as connection:
            while conninfo == self._conninfo:
                if self._channels:
                    await self._send(connection)
                    await asyncio.sleep(PAUSE)
                await self._pending.wait()

    async def _send(self, connection: AsyncConnection) -> None:
        channels, self._channels = self._channels, set()
        try:
            await connection.execute(NOTIFY, (list(channels),), prepare=True)
        except BaseException:
            self._channels |= channels
            raise

    async def _connect(self) -> AsyncConnection:
        return await AsyncConnection.connect(
            with_keepalives(self._conninfo),
            autocommit=True,
            connect_timeout=3,
            options=f"{NO_SCHEMA} {NO_FLUSH}",
        )
