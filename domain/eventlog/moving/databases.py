"""The old and the new database of a log that is moved, and what each step does in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any, NamedTuple

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from domain.errors import Overloaded
from domain.eventlog.moving import fence, journal
from domain.eventlog.moving.digests import Compared, Comparison, Different
from domain.eventlog.moving.log_location import channel_of_moves
from domain.eventlog.moving.replication import Broken, Replication
from domain.eventlog.moving.steps import Done
from domain.eventlog.moving.tables import (
    MovedTable,
    align_partitions,
    differences,
    drop,
    empty,
    identify,
    is_empty,
    stored_tables,
    tables,
)
from domain.eventlog.sessions import session_options

SHOWN = "-c datestyle=ISO -c intervalstyle=postgres -c bytea_output=hex -c extra_float_digits=1"
"""Options that make equal values equal texts in both databases, for comparing."""
ON_DISK = "-c synchronous_commit=on"
"""Commits of this session flush the write-ahead log to the disk, whatever the default of the server. `wait_for_all` relies on
that.
"""
OWN = "SELECT pg_try_advisory_lock(hashtext('move ' || current_schema()))"
THERE = "SELECT to_regnamespace(%s) IS NOT NULL"
MAKE_SCHEMA = SQL("CREATE SCHEMA IF NOT EXISTS {}")
DROP_SCHEMA = SQL("DROP SCHEMA IF EXISTS {} CASCADE")

NOTIFY = "SELECT pg_notify(%s, '')"
HANDED_OVER = "UPDATE log_move SET moved = true WHERE id = %s"
BEGIN_AGAIN = "DELETE FROM bookmarks WHERE view = ANY(%s)"
"""Deletes bookmarks: a view without one is built again from the log."""
LOOK_EVERY = 0.2
"""Seconds between two checks of the progress."""
NEAR = 1024 * 1024
"""Bytes of the write-ahead log that the new database may lack when commands begin to wait."""


class Busy(Exception):
    """Another command is moving this log."""


class MoveTimeouts(NamedTuple):
    """Seconds that commands may wait, and seconds within which the lag of the new database must fall below `NEAR`."""

    pause: float = 5.0
    near: float = 600.0


@dataclass
class MoveProgress:
    """Callbacks: `reached` is called with the work under way, how much of it is done, and how much there is; `noted` with
    each step that is done.
    """

    reached: Callable[[str, int, int], object] = lambda *_: None
    noted: Callable[[str], object] = lambda _: None


@dataclass
class MoveDatabases:
    """The operations of a move on both databases, over connections of the owners, in the schema of the log.

    `source` is the connection string by which the new database reaches the old one, `migrate` makes the tables in the new one,
    and `views` has the view of each table of a view.
    """

    old: Connection[Any]
    new: Connection[Any]
    schema: str
    source: str
    migrate: Callable[[], object]
    views: Mapping[str, str]
    move: str
    timeouts: MoveTimeouts
    progress: MoveProgress
    then: Callable[[], object] = lambda: None
    """Is called once the new database accepts commands."""
    compared: Compared | None = None
    pause: float | None = None
    """Seconds for which commands waited; None in a run that did not stop them."""
    _closed_at: float = 0.0

    def __post_init__(self) -> None:
        name = f"executions_move_{self.move[:8]}"
        self.replication = Replication(name, self.old, self.new)
        self.comparison = Comparison(self.old, self.new)

    @property
    def done(self) -> Done:
        return Done(self._journal().step)

    def note(self, done: Done) -> None:
        journal.note(self.old, self.move, done)
        self.progress.noted(done)

    def _journal(self) -> journal.Journal:
        found = journal.read(self.old)
        assert found is not None
        assert found.id == self.move
        return found

    def prepare(self) -> None:
        target = self._journal().target
        self._require_own()
        with self.new.transaction():
            self.new.execute(MAKE_SCHEMA.format(Identifier(self.schema)))
            self.new.execute(journal.schema())
            journal.begin(self.new, self.move, Done.BEGUN, target, follow=True)
        self.migrate()
        old, new = tables(self.old), tables(self.new)
        empty(self.new, new)
        align_partitions(self.new, _parts(old), _parts(new))
        new = tables(self.new)
        if found := differences(old, new):
            raise Different(f"the new database has other tables: {'; '.join(found)}")
        identify(self.new, new.values())
        fence.build(self.new, new)
        fence.close_for_good(self.new, self.move)

    def _require_own(self) -> None:
        found = journal.read(self.new)
        there = self.new.execute(THERE, (self.schema,)).fetchone() == (True,)
        if there and (found is None or found.id != self.move):
            raise Broken(f"the new database has a schema {self.schema} that is not of this move")

    def publish(self) -> None:
        found = tables(self.old)
        identify(self.old, found.values())
        fence.build(self.old, found)
        self.replication.publish(stored_tables(self._in_both()))

    def copy(self) -> None:
        self.replication.subscribe(self.source)
        while (copied := self.replication.copy_progress()).done < copied.tables:
            self.progress.reached("copy", copied.done, copied.tables)
            sleep(LOOK_EVERY)
        self.progress.reached("copy", copied.done, copied.tables)

    def compare_past(self) -> None:
        self._wait_until_near()
        found = {name: table for name, table in self._in_both().items() if not table.parted}
        self.comparison.compare_past(
            found, lambda done, total: self.progress.reached("compare", done, total)
        )
        self._wait_until_near()

    def _wait_until_near(self) -> None:
        deadline = monotonic() + self.timeouts.near
        while (lag := self.replication.lag()) > NEAR:
            self.progress.reached("follow", 0, lag)
            if monotonic() > deadline:
                raise Broken("the new database does not catch up: it applies changes too slowly")
            sleep(LOOK_EVERY)

    def close(self) -> None:
        self._closed_at = monotonic()
        fence.close(self.old, self.move, 2 * self.timeouts.pause, self.timeouts.pause / 2)

    def wait_for_all(self) -> None:
        self.replication.wait_for_all(self.timeouts.pause / 2)

    def compare_remaining(self) -> None:
        """Compare the rest, after tables that were dropped or made since the copy began: days, and views that were rebuilt."""
        old, new = tables(self.old), tables(self.new)
        for name in new.keys() - old.keys():
            drop(self.new, name)
        made = self._tables_made_meanwhile(old)
        if late := [name for name in made - self.views.keys() if not is_empty(self.old, name)]:
            raise Different(
                f"tables were made and filled meanwhile ({', '.join(sorted(late))}): take the move back, and begin again"
            )
        self.comparison.copy_sequences()
        same = {name: table for name, table in stored_tables(old).items() if name not in made}
        self.compared = self.comparison.compare_remaining(same)

    def _tables_made_meanwhile(self, old: Mapping[str, MovedTable]) -> set[str]:
        return stored_tables(old).keys() - self.replication.published_tables()

    def seal(self) -> None:
        fence.seal(self.old, self.move)

    def lift(self) -> None:
        fence.lift(self.old, self.move)

    def open(self) -> None:
        made = self._tables_made_meanwhile(tables(self.old))
        with self.new.transaction():
            if not fence.lift(self.new, self.move):
                raise Broken("the new database is not that of this move any more")
            journal.note(self.new, self.move, Done.OPENED)
            again = sorted({self.views[name] for name in made & self.views.keys()})
            self.new.execute(BEGIN_AGAIN, (again,))

    def is_open(self) -> bool:
        found = journal.read(self.new)
        return found is not None and found.id == self.move and found.step == Done.OPENED

    def hand_over(self) -> None:
        self.old.execute(HANDED_OVER, (self.move,))
        self.old.execute(NOTIFY, (channel_of_moves(self.schema),))
        if self._closed_at:
            self.pause = monotonic() - self._closed_at
        self.then()

    def finish(self) -> None:
        self.replication.unsubscribe()
        self.replication.unpublish()
        fence.remove(self.new, tables(self.new))
        journal.forget(self.new, self.move)

    def remove_new(self) -> None:
        self.replication.unsubscribe()
        found = journal.read(self.new)
        if found is not None and found.id == self.move:
            self.new.execute(DROP_SCHEMA.format(Identifier(self.schema)))

    def remove_old(self) -> None:
        self.lift()
        self.replication.unpublish()
        fence.remove(self.old, tables(self.old))
        journal.forget(self.old, self.move)

    def _in_both(self) -> Mapping[str, MovedTable]:
        """The tables of the old database that the new database has, too."""
        new = tables(self.new)
        return {name: table for name, table in tables(self.old).items() if name in new}


def _parts(found: Mapping[str, MovedTable]) -> dict[str, MovedTable]:
    return {name: table for name, table in found.items() if table.parent is not None}


def connect_for_move(conninfo: str, schema: str) -> Connection[Any]:
    """A connection for a move.

    Raises:
        Overloaded: the database cannot be reached.
    """
    try:
        options = f"{session_options(schema)} {SHOWN} {ON_DISK}"
        return psycopg.connect(conninfo, options=options, connect_timeout=10, autocommit=True)
    except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
        raise Overloaded(f"The database cannot be reached: {error}".strip()) from error


def own(connection: Connection[Any]) -> None:
    """Take the lock of moves of this log, for as long as the connection is open.

    Raises:
        Busy: another command has the lock.
    """
    if connection.execute(OWN).fetchone() != (True,):
        raise Busy
