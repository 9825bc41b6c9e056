"""Notifies of commits: within the statement that writes, or by a statement of its own after it.

PostgreSQL lets those who notify commit one after the other, in all its databases: each holds one lock until its commit
is on the disk and, where it has to be, on a standby. One log commits so anyway; several on one server would wait for
each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from domain.eventlog.connection.notification_sender import NotificationSender
from domain.eventlog.connection.shared import SharedDatabase


class Notifier:
    """Notifies the channel of a log of what is committed; `apart` from the commits, on a connection of its own, once
    it is started, or on the one of a database that is `shared`: so of a log with a name, as several of those may be on one server.

    What is committed while that connection is lost is notified of when it is there again, and those who
    listen look by themselves now and then.
    """

    def __init__(
        self,
        conninfo: str,
        channel: str,
        *,
        apart: bool = False,
        shared: SharedDatabase | None = None,
    ) -> None:
        self.channel = channel
        self._own = NotificationSender(conninfo) if apart and shared is None else None
        self._sender = self._own if shared is None else shared.sender

    @property
    def apart(self) -> bool:
        """Whether a commit notifies of nothing by itself."""
        return self._sender is not None

    @contextmanager
    def notifying(self, events: Sequence[Any]) -> Iterator[None]:
        """Notify once the block is over, where events were committed in it, or may have been."""
        try:
            yield
        finally:
            if self._sender is not None and events:
                self._sender.notify(self.channel)

    def start(self) -> None:
        """Begin to notify, and to connect again whenever that is needed."""
        if self._own is not None:
            self._own.start()

    async def stop(self) -> None:
        """Stop notifying."""
        if self._own is not None:
            await self._own.stop()

    def relocate(self, conninfo: str) -> None:
        """Notify in another database from now on."""
        if self._own is not None:
            self._own.relocate(conninfo)
            self._own.notify(self.channel)
