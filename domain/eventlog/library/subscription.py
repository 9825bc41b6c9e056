"""Follows the log through the library: notifications wake it, and it polls in case one is lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Lock
from time import monotonic, sleep
from typing import Any

import psycopg
from eventsourcing.persistence import InterfaceError, Notification, OperationalError, Subscription
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg import Connection
from psycopg.conninfo import make_conninfo
from psycopg.errors import ReadOnlySqlTransaction
from psycopg.sql import SQL, Identifier

PAGE = 500
"""Events in one page."""
POLL = 1.0
"""Seconds between two polls of a subscription."""
TICK = 0.1
"""Seconds within which a subscription notices that it was stopped, and between two tries to listen."""
STANDBY_POLL = 60.0
"""Seconds between two tries to listen at a standby: they fail until it is promoted."""
FAULTS = (InterfaceError, OperationalError)


class LogSubscription(Subscription[PostgresApplicationRecorder]):
    """Yields the events after a position, and then waits for further ones, in the thread that iterates.

    It waits while the database is unavailable, and polls a standby, which cannot be listened to. A `stop` from another
    thread takes effect within `TICK` seconds, or after the present query.
    """

    def __init__(
        self,
        recorder: PostgresApplicationRecorder,
        gt: int | None = None,
        topics: Sequence[str] = (),
    ) -> None:
        super().__init__(recorder=recorder, gt=gt, topics=topics)
        self._after = gt or 0
        self._page: Iterator[Notification] = iter(())
        self._listen_connection: Connection | None = None
        self._listens_again_at = 0.0
        self._iterating = Lock()

    def __exit__(self, *args: object, **kwargs: Any) -> None:
        super().__exit__(*args, **kwargs)
        with self._iterating:
            self._stop_listening()

    def __next__(self) -> Notification:
        with self._iterating:
            while not self._has_been_stopped:
                if (event := next(self._page, None)) is not None:
                    return event
                self._listen()  # before it reads: later events notify
                if not self._read():
                    self._wait()
            self._stop_listening()
            raise StopIteration

    def _read(self) -> bool:
        try:
            # With topics, the next page begins after the end of the log, even where no event there has such a topic.
            head = (self._recorder.max_notification_id() or 0) if self._topics else None
            page = self._recorder.select_notifications(
                self._after, PAGE, head, self._topics, inclusive_of_start=False
            )
        except FAULTS:
            return False
        if page:
            self._after = page[-1].id
        if len(page) < PAGE and head is not None:
            self._after = max(self._after, head)
        self._page = iter(page)
        return bool(page)

    def _wait(self) -> None:
        until = monotonic() + POLL
        while not self._has_been_stopped and monotonic() < until:
            if self._listen_connection is None:
                sleep(TICK)
                if monotonic() >= self._listens_again_at:
                    return
                continue
            try:
                if next(self._listen_connection.notifies(timeout=TICK, stop_after=1), None):
                    return
            except psycopg.Error:
                self._stop_listening()

    def _listen(self) -> None:
        if self._listen_connection is not None or monotonic() < self._listens_again_at:
            return
        channel = Identifier(self._recorder.channel_name)
        try:
            # Not a connection of the pool, which has few: this one stays open.
            self._listen_connection = psycopg.connect(
                conninfo_of(self._recorder.datastore), autocommit=True, connect_timeout=3
            )
            self._listen_connection.execute(SQL("LISTEN {}").format(channel))
        except psycopg.Error as error:
            self._stop_listening()
            if isinstance(error, ReadOnlySqlTransaction):
                self._listens_again_at = monotonic() + STANDBY_POLL

    def _stop_listening(self) -> None:
        connection, self._listen_connection = self._listen_connection, None
        if connection is not None:
            connection.close()


def options_of(datastore: PostgresDatastore) -> dict[str, Any]:
    """The keyword arguments with which the pool of a datastore makes connections."""
    kwargs = datastore.pool.kwargs
    assert isinstance(kwargs, dict)
    return kwargs


def conninfo_of(datastore: PostgresDatastore) -> str:
    """The connection string of the database of a datastore, for a connection outside its pool."""
    known = dict(options_of(datastore))
    if (password := datastore.pool.get_password_func) is not None:
        known["password"] = password()
    del known["row_factory"], known["options"]
    return make_conninfo("", **{name: value for name, value in known.items() if value != ""})
