"""Sends notifications of commits: within the statement that writes, or by a statement of its own after the commit.

A transaction that notifies takes one lock of the whole PostgreSQL server, and holds it until its commit is on the disk
and, with synchronous replication, on a standby. The commits of one log come one after the other anyway; those of several
logs on one server would wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from domain.eventlog.connection.notification_sender import NotificationSender
from domain.eventlog.connection.shared import SharedDatabase


class Notifier:
    """Notifies the channel of a log of its commits.

    With `apart` or `shared` it notifies after the commits, over a connection of its own or over the one of the `shared`
    database. This is for logs with a name, of which several may be on one server. Commits while that connection is lost
    are notified of after the next connect; meanwhile listeners poll.
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
        """Whether notifications are sent after the commit, not by the statement that writes."""
        return self._sender is not None

    @contextmanager
    def notifying(self, events: Sequence[Any]) -> Iterator[None]:
        """Notify at the end of the block, which commits `events`, also after an error, as they may have been committed."""
        try:
            yield
        finally:
            if self._sender is not None and events:
                self._sender.notify(self.channel)

    def start(self) -> None:
        """Start the connection of its own, if there is one."""
        if self._own is not None:
            self._own.start()

    async def stop(self) -> None:
        """Close the connection of its own, if there is one."""
        if self._own is not None:
            await self._own.stop()

    def relocate(self, conninfo: str) -> None:
        """Send the next notifications to another database."""
        if self._own is not None:
            self._own.relocate(conninfo)
            self._own.notify(self.channel)
