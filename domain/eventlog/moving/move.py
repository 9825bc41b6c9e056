"""A move of a log to another database: it is begun, or resumed where it was interrupted, or taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import uuid4

import psycopg
from psycopg import Connection

from domain.eventlog.moving import journal, requirements
from domain.eventlog.moving.databases import (
    MoveDatabases,
    MoveProgress,
    MoveTimeouts,
    connect_for_move,
    own,
)
from domain.eventlog.moving.journal import Journal, location_of
from domain.eventlog.moving.replication import Broken
from domain.eventlog.moving.steps import Done, NoWayBack, TakenBack, abort, run
from domain.eventlog.moving.tables import stored_tables, tables


class MoveRefused(Exception):
    """The move cannot be done; nothing was changed. Each of `reasons` says what to do."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class WantedMove(NamedTuple):
    """The parameters of a move: the connection strings of the owners of both databases, the schema, the connection string
    (`source`) by which the new database reaches the old one, the role of the servers if it is not the owner, and whether
    servers follow the log by themselves.
    """

    old: str
    new: str
    schema: str
    source: str
    role: str | None = None
    follow: bool = True


class Hooks(NamedTuple):
    """What the caller does for a move.

    - `migrate_old`, `migrate_new`: make the tables in each database; those of the old one may be of an earlier program.
    - `views`: the view of each table of a view.
    - `progress`: has functions that are called with the progress.
    - `then`: is called once the new database accepts commands.
    """

    migrate_old: Callable[[], object]
    migrate_new: Callable[[], object]
    views: Mapping[str, str]
    progress: MoveProgress
    then: Callable[[], object] = lambda: None


class Move:
    """A move. Its connection to the old database holds a lock, so that no other command moves the log."""

    def __init__(self, wanted: WantedMove, hooks: Hooks, timeouts: MoveTimeouts) -> None:
        self._wanted = wanted
        self._hooks = hooks
        self._timeouts = timeouts
        self._old = connect_for_move(wanted.old, wanted.schema)
        own(self._old)
        self.begun = journal.read(self._old)
        """The journal of a move that was begun before, or None."""

    def close(self) -> None:
        """Close the connection to the old database."""
        self._old.close()

    def objections(self) -> list[str]:
        """The reasons why the move cannot be done; empty where it can be. Nothing is changed."""
        if self.begun is not None:
            return self._other_move(self.begun)
        schema, role = self._wanted.schema, self._wanted.role
        found = stored_tables(tables(self._old)).values()
        with connect_for_move(self._wanted.new, schema) as new:
            return [
                *requirements.of_old(self._old, schema, found),
                *requirements.of_new(new, schema, role),
                *requirements.of_both(self._old, new, role),
            ]

    def _other_move(self, begun: Journal) -> list[str]:
        if (wanted := location_of(self._wanted.new)) != begun.target:
            verb = "has moved" if begun.moved else "is being moved"
            return [f"the log {verb} to {begun.target}, not to {wanted}"]
        return []

    def run(self) -> MoveDatabases:
        """Move the log, or resume a move that was interrupted.

        Raises:
            MoveRefused: the move cannot be done.
            Broken, ReplicationLate, StillWriting, Expired, Different: the move stopped; the old database accepts commands.
        """
        if reasons := self.objections():
            raise MoveRefused(*reasons)
        if self.begun is None:
            self._hooks.migrate_old()
            target, follow = location_of(self._wanted.new), self._wanted.follow
            journal.begin(self._old, uuid4().hex, Done.BEGUN, target, follow=follow)
            self.begun = journal.read(self._old)
        with self._both() as databases:
            try:
                run(databases)
            except TakenBack:
                raise MoveRefused(
                    "the move is being taken back: run the command with --abort"
                ) from None
        return databases

    def abort(self, *, new_is_lost: bool = False) -> None:
        """Take the move back. `new_is_lost`: the new database is lost for good, so nothing is removed there.

        Raises:
            MoveRefused: the log is not being moved, or the new database accepts commands already.
        """
        if self.begun is None:
            raise MoveRefused("the log is not being moved")
        if new_is_lost:
            if self.begun.moved:
                raise MoveRefused(
                    "the log has moved: what it has recorded since is in the new database"
                )
            self._databases(self._old).remove_old()
            return
        if reasons := self._other_move(self.begun):
            raise MoveRefused(*reasons)
        with self._both() as databases:
            try:
                abort(databases)
            except NoWayBack:
                raise MoveRefused(
                    "the log is in the new database already: run the command without --abort to finish the move"
                ) from None

    @contextmanager
    def _both(self) -> Iterator[MoveDatabases]:
        try:
            with connect_for_move(self._wanted.new, self._wanted.schema) as new:
                yield self._databases(new)
        except psycopg.Error as error:
            said = " ".join(str(error).split())
            raise Broken(f"a database does not do what it should: {said}") from error

    def _databases(self, new: Connection[Any]) -> MoveDatabases:
        assert self.begun is not None
        wanted, hooks = self._wanted, self._hooks
        return MoveDatabases(
            self._old,
            new,
            wanted.schema,
            wanted.source,
            hooks.migrate_new,
            hooks.views,
            self.begun.id,
            self._timeouts,
            hooks.progress,
            hooks.then,
        )
