"""The logical replication of PostgreSQL of the tables of a log, from the old database to the new one.

The slot is made apart from the subscription, so that both databases may be of one server. The publication names
every table, so that a table that is made later, as by a rebuild, does not end the replication.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import monotonic, sleep
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Composable, Identifier, Literal

from domain.eventlog.moving.locking import LONG, lock_timeout
from domain.eventlog.moving.tables import MovedTable

PUBLISHED = "SELECT FROM pg_publication WHERE pubname = %s"
PUBLISHED_TABLES = "SELECT tablename FROM pg_publication_tables WHERE pubname = ANY(%s)"
HAS_SLOT = """SELECT active, wal_status = 'lost', confirmed_flush_lsn >= %s::pg_lsn,
    pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint
    FROM pg_replication_slots WHERE slot_name = %s"""
MAKE_SLOT = "SELECT pg_create_logical_replication_slot(%s, 'pgoutput')"
DROP_SLOT = (
    "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s"
)
DETACH = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s"
SUBSCRIBED = """SELECT subenabled FROM pg_subscription WHERE subname = %s
    AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())"""
SUBSCRIBE = SQL(
    """CREATE SUBSCRIPTION {name} CONNECTION {conninfo} PUBLICATION {publications}
    WITH (create_slot = false, slot_name = {slot}, disable_on_error = true)"""
)
COPIED = """SELECT count(*), count(*) FILTER (WHERE srsubstate = 'r'), coalesce(sum(pg_relation_size(srrelid)), 0)::bigint
    FROM pg_subscription_rel WHERE srsubid = (SELECT oid FROM pg_subscription WHERE subname = %s)"""
FLUSH = "SELECT pg_logical_emit_message(true, 'executions', '')"
"""A commit that flushes earlier asynchronous commits to the disk, too."""
END = "SELECT pg_current_wal_flush_lsn()::text"
NOWHERE = "0/0"
LOOK_EVERY = 0.01
"""Seconds between two checks."""
DETACHED_WITHIN = 10.0
"""Seconds within which the new database must have released the slot."""


class Broken(Exception):
    """The move cannot continue by itself, as when the replication has ended; the message says why and what to do."""


class ReplicationLate(Exception):
    """The new database did not receive all commits in time."""


class Copied(NamedTuple):
    """The number of tables, how many of them are copied, and their bytes in the new database."""

    tables: int
    done: int
    size: int


class Replication:
    """The replication from one database to another. Everything that it makes in them has the same name."""

    def __init__(self, name: str, old: Connection[Any], new: Connection[Any]) -> None:
        self._name = name
        self._old = old
        self._new = new

    @property
    def _publications(self) -> tuple[str, str]:
        return self._name, f"{self._name}_appended"

    def publish(self, found: Mapping[str, MovedTable]) -> None:
        """Make the publications and the slot, if they are missing."""
        whole, appended = self._publications
        self._publication(whole, [name for name, each in found.items() if not each.appended], "")
        rows = " WITH (publish = 'insert')"
        self._publication(appended, [name for name, each in found.items() if each.appended], rows)
        if self._slot() is None:  # made last: it must not be older than the publications
            with lock_timeout(self._old, LONG):  # making it waits for all open transactions
                self._old.execute(MAKE_SLOT, (self._name,))

    def _publication(self, name: str, names: Iterable[str], rows: LiteralString) -> None:
        if self._old.execute(PUBLISHED, (name,)).fetchone() is not None:
            return
        words = Identifier(name), SQL(", ").join(map(Identifier, names)), SQL(rows)
        self._old.execute(SQL("CREATE PUBLICATION {} FOR TABLE {}{}").format(*words))

    def published_tables(self) -> set[str]:
        """The names of the replicated tables; those made after `publish` are not among them."""
        found = self._old.execute(PUBLISHED_TABLES, (list(self._publications),)).fetchall()
        return {name for (name,) in found}

    def subscribe(self, conninfo: str) -> None:
        """Begin to copy and to follow. `conninfo` is the connection string by which the new database reaches the old one.

        Raises:
            Broken: the new database cannot reach the old one.
        """
        if self._new.execute(SUBSCRIBED, (self._name,)).fetchone() is not None:
            return
        words: dict[str, Composable] = {
            "name": Identifier(self._name),
            "slot": Literal(self._name),
            "conninfo": Literal(conninfo),
            "publications": SQL(", ").join(map(Identifier, self._publications)),
        }
        try:
            self._new.execute(SUBSCRIBE.format(**words))
        except psycopg.Error as error:
            raise Broken(f"the new database cannot follow the old one: {_line(error)}") from None

    def copy_progress(self) -> Copied:
        """The progress of the first copy.

        Raises:
            Broken: the replication has ended.
        """
        self._require_whole()
        row = self._new.execute(COPIED, (self._name,)).fetchone()
        assert row is not None
        return Copied(*row)

    def lag(self) -> int:
        """The bytes of the write-ahead log that the new database has not received.

        Raises:
            Broken: the replication has ended.
        """
        self._require_whole()
        slot = self._slot()
        return 0 if slot is None else int(slot[3])

    def wait_for_all(self, seconds: float) -> None:
        """Return once the new database has all present commits on its disk.

        Raises:
            ReplicationLate: that takes longer than so many seconds.
            Broken: the replication has ended.
        """
        self._old.execute(FLUSH)
        [end] = self._old.execute(END).fetchone() or [NOWHERE]
        deadline = monotonic() + seconds
        while True:
            self._new.execute(FLUSH)
            slot = self._slot(end)
            if slot is not None and slot[2]:
                return
            self._require_whole()
            if monotonic() > deadline:
                raise ReplicationLate
            sleep(LOOK_EVERY)

    def unsubscribe(self) -> None:
        """End the replication, and remove the subscription from the new database."""
        if self._new.execute(SUBSCRIBED, (self._name,)).fetchone() is None:
            return
        name = Identifier(self._name)
        self._new.execute(SQL("ALTER SUBSCRIPTION {} DISABLE").format(name))
        try:
            self._new.execute(SQL("DROP SUBSCRIPTION {}").format(name))
        except psycopg.Error:  # the old database is unavailable, or lacks the slot
            self._new.execute(SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)").format(name))
            self._new.execute(SQL("DROP SUBSCRIPTION {}").format(name))

    def unpublish(self) -> None:
        """Remove the slot and the publications from the old database.

        Raises:
            Broken: the new database is still connected.
        """
        deadline = monotonic() + DETACHED_WITHIN
        while (slot := self._slot()) is not None and slot[0]:
            if monotonic() > deadline:
                raise Broken(f"the slot {self._name} is in use: run the command again")
            self._old.execute(DETACH, (self._name,))
            sleep(LOOK_EVERY)
        self._old.execute(DROP_SLOT, (self._name,))
        for name in self._publications:
            self._old.execute(SQL("DROP PUBLICATION IF EXISTS {}").format(Identifier(name)))

    def _slot(self, end: str = NOWHERE) -> tuple[bool, bool, bool, int] | None:
        row = self._old.execute(HAS_SLOT, (end, self._name)).fetchone()
        return None if row is None else (row[0], row[1], row[2], row[3] or 0)

    def _require_whole(self) -> None:
        slot, enabled = self._slot(), self._new.execute(SUBSCRIBED, (self._name,)).fetchone()
        if slot is None or slot[1]:
            raise Broken(
                "the old database keeps no more what has not arrived (a failover, or max_slot_wal_keep_size): "
                "take the move back with --abort, and begin again"
            )
        if enabled is None or not enabled[0]:
            raise Broken(
                "the new database follows no more: its server's log says why; take the move back with --abort"
            )


def _line(error: psycopg.Error) -> str:
    return " ".join(str(error).split())
