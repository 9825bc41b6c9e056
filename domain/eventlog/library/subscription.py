"""Following the log through the library: woken by notifications, and polling in case one is lost."""

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
POLL = 1.0
"""Seconds after which a subscription looks by itself."""
TICK = 0.1
"""Seconds after which it notices that it was stopped, and tries to listen again."""
STANDBY_POLL = 60.0
"""Seconds after which it tries to listen again at a standby, which nobody can: it may have been promoted."""
FAULTS = (InterfaceError, OperationalError)


class LogSubscription(Subscription[PostgresApplicationRecorder]):
    """Yields what follows a position, then waits for more, in the thread that iterates.

    A database that is away is waited for; of a standby it is asked again and again. To `stop` it from another thread takes effect within
    `TICK` seconds, or the time a query takes.
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
            # With topics the end of the log is a place to go on from, though nothing matched there.
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
            # Not one of the pool's: those are few, and this one is kept.
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
    """With what each connection of its pool is made."""
    kwargs = datastore.pool.kwargs
    assert isinstance(kwargs, dict)
    return kwargs


def conninfo_of(datastore: PostgresDatastore) -> str:
    """Where its database is, for a connection that is none of its pool's."""
    known = dict(options_of(datastore))
    if (password := datastore.pool.get_password_func) is not None:
        known["password"] = password()
    del known["row_factory"], known["options"]
    return make_conninfo("", **{name: value for name, value in known.items() if value != ""})
