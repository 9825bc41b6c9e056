"""Appends a batch of events: under the lock of the log, or optimistically without it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, ClassVar

import structlog
from psycopg import AsyncConnection
from psycopg.errors import DivisionByZero, UniqueViolation

from domain.errors import Overloaded, Unreadable
from domain.eventlog.codec import EventRow, LineRow
from domain.eventlog.connection.commit import Commit, detect_lost_commit
from domain.eventlog.connection.heartbeats import NO_HEARTBEATS, Heartbeats
from domain.eventlog.connection.notifier import Notifier
from domain.eventlog.connection.pg_arrays import columns
from domain.eventlog.idempotency import Reply, store_replies
from domain.eventlog.keys.key_changes import KeyChanges
from domain.eventlog.queries import (
    BEGIN,
    BEGUN_ARRAYS,
    EVENT_ARRAYS,
    HEAD,
    HEARTBEAT_ARRAYS,
    LINE_ARRAYS,
    append_guarded_statement,
    append_statement,
)
from domain.eventlog.states import StateLoader
from domain.model import Versioned

REPLIES = """SELECT key, fingerprint, outcome FROM idempotency_keys
    WHERE key = ANY(%b::text[]) AND at > %b"""
LATEST = """SELECT topic, max(notification_id) FROM events
    WHERE topic = ANY(%s) AND notification_id > %s GROUP BY topic"""
NOT_STORED = "The database has not stored what it was sent, so nothing was recorded. Send it again."

log = structlog.get_logger()


class Transaction:
    """Writes one batch under the lock of the log. `position` and `at` are those of the last event of the log.

    `session` is another number for each connection that writes. What was read in another session is void, as after a
    failover this server may lack the last commits of the former one. `notifier` notifies of committed events.
    """

    locked: ClassVar[bool] = True

    def __init__(
        self,
        connection: AsyncConnection,
        states: StateLoader,
        session: int,
        position: int,
        at: datetime,
        *,
        notifier: Notifier,
    ) -> None:
        self._connection = connection
        self._states = states
        self._notifier = notifier
        self.session = session
        self.position = position
        self.at = at

    async def replies(self, keys: Sequence[str], since: datetime) -> dict[str, Reply]:
        """The replies that were stored under these idempotency keys since a time."""
        # Not prepared: a plan made while the table was empty would read the whole table for a long time.
        cursor = await self._connection.execute(REPLIES, (keys, since), prepare=False, binary=True)
        return {row[0]: Reply(*row) for row in await cursor.fetchall()}

    async def latest(self, asked: Mapping[str, int]) -> dict[str, int]:
        """For each type of event in `asked`, the position of its last event, if that is after the given position."""
        return await latest(self._connection, asked)

    async def load(
        self,
        known: Mapping[str, Versioned[Any] | None],
        damaged: dict[str, Unreadable] | None = None,
    ) -> dict[str, Versioned[Any]]:
        """The present states of streams, as `StateLoader.load` returns them; `known` has cached older states."""
        load = self._states.load
        return await load(self._connection, known, use_absent=True, damaged=damaged)

    async def learn(self, streams: Iterable[str]) -> None:
        """Load the data keys of streams into the keyring, which also caches which streams have none."""
        await self._states.learn(self._connection, streams, use_absent=True)

    async def append(
        self,
        events: Sequence[EventRow],
        replies: Sequence[Reply],
        at: datetime,
        lines: Sequence[LineRow] = (),
        heartbeats: Heartbeats = NO_HEARTBEATS,
    ) -> None:
        """Write rows and commit.

        The caller has numbered the events: positions from `position` + 1 on, versions in each stream. All have the time `at`.

        Raises:
            HeadMoved: another request stored one of the idempotency keys in the meantime.
            Overloaded: the database has not stored the rows.
            OutcomeLost: the connection broke after everything was sent.
        """
        run = self._connection.execute
        if replies and not await store_replies(self._connection, replies, at):
            raise HeadMoved
        keys = KeyChanges.of(events, self._states)
        with _committing(Commit(events, at, replies, lines, heartbeats), self._notifier):
            async with self._connection.pipeline():
                if events or lines or heartbeats:
                    await run(*self._statement(events, at, keys, lines, heartbeats), prepare=True)
                await run("COMMIT")
        keys.note_written(self._states.keyring)

    async def confirm(self) -> None:
        """Do nothing, as the lock guarantees that the head has not moved."""

    def _statement(
        self,
        events: Sequence[EventRow],
        at: datetime,
        keys: KeyChanges,
        lines: Sequence[LineRow],
        heartbeats: Heartbeats,
    ) -> tuple[str, list[Any]]:
        """The one statement that writes a batch, and its values."""
        values: list[Any] = [self.position]
        if events:
            assert self.position + len(events) == events[-1].position
            values = [events[-1].position, at, self.position, self.position, *_arrays(events)]
        values += keys.values(self._states)
        if lines:
            values += [len(lines), len(lines), *columns(LINE_ARRAYS, lines)]
        if heartbeats:
            values += columns(HEARTBEAT_ARRAYS, sorted(heartbeats.items()))
        notify = bool(events) and not self._notifier.apart
        if notify:
            values.append(self._notifier.channel)
        begun = [] if self.locked else [(row.stream, 1) for row in events if row.version == 1]
        if begun:
            values += columns(BEGUN_ARRAYS, begun)
        query = append_statement(
            events=bool(events),
            keys=bool(keys.made),
            erased=bool(keys.erased),
            lines=bool(lines),
            heartbeats=bool(heartbeats),
            locked=self.locked,
            begun=bool(begun),
            notify=notify,
        )
        return query, values


@contextmanager
def _committing(commit: Commit, notifier: Notifier) -> Iterator[None]:
    """Notify of events that the block commits. Raises Overloaded where the statement of the block divides by zero, as a
    trigger or a rule in the database has kept it from moving a head; then nothing is committed.
    """
    try:
        with detect_lost_commit(commit), notifier.notifying(commit.events):
            yield
    except DivisionByZero as error:
        log.error("the database has not stored appended events: a trigger or a rule prevents it")
        raise Overloaded(NOT_STORED) from error


async def latest(connection: AsyncConnection, asked: Mapping[str, int]) -> dict[str, int]:
    """For each type of event in `asked`, the position of its last event, if that is after the given position. The caller
    holds the lock of the log.
    """
    if not asked:
        return {}
    cursor = await connection.execute(LATEST, (list(asked), min(asked.values())))
    found = {str(type_): int(position) for type_, position in await cursor.fetchall()}
    return {type_: position for type_, position in found.items() if position > asked[type_]}


class HeadMoved(Exception):
    """Another process has written, or another request has stored one of the idempotency keys; nothing was written."""


class WrongGuess(HeadMoved):
    """A stream that was assumed to be absent may exist; nothing was written."""


class StreamMoved(HeadMoved):
    """A stream already has an event of the same version; nothing was written."""


async def append_guarded(
    connection: AsyncConnection,
    states: StateLoader,
    events: Sequence[EventRow],
    at: datetime,
    notifier: Notifier,
    *,
    unless: Mapping[str, int] | None = None,
    exact: bool = False,
) -> int:
    """Append events at the present head of the log, if their versions are the next of their streams; return the position before.

    Their time is `at`, or that of the last event if it is later. With `exact` they are appended only at `at`, and at no lower
    positions than they have; with `unless` under the lock, and only if no event of such a type came after its position.

    Raises:
        StreamMoved, HeadMoved: a stream has new events, or one of `unless` came; with `exact`, the head does not fit.
        Overloaded: the database has not stored the events.
        OutcomeLost: the connection broke after everything was sent.
    """
    keys = KeyChanges.of(events, states)
    values: list[Any] = [len(events), at, *([at, events[0].position - 1] if exact else [])]
    values += [len(events), *_arrays(events), *keys.values(states)]
    values += [] if notifier.apart else [notifier.channel]
    values += columns(BEGUN_ARRAYS, list({r.stream: r.version for r in reversed(events)}.items()))
    parts = {"keys": bool(keys.made), "erased": bool(keys.erased), "notify": not notifier.apart}
    query = append_guarded_statement(**parts, exact=exact)
    try:
        with _committing(Commit(events, at), notifier):
            if unless:
                await _begin_unless(connection, unless)
            row = await (await connection.execute(query, values, prepare=True)).fetchone()
            if unless:
                await connection.execute("COMMIT")
    except UniqueViolation:
        raise StreamMoved from None
    if row is None:
        raise HeadMoved
    keys.note_written(states.keyring)
    return int(row[0])


async def _begin_unless(connection: AsyncConnection, unless: Mapping[str, int]) -> None:
    await connection.execute(BEGIN, prepare=False)
    if await latest(connection, unless):
        raise StreamMoved


def _arrays(rows: Sequence[EventRow]) -> list[Any]:
    return columns(EVENT_ARRAYS, [(r.version, r.stream, r.type, r.meta, r.data) for r in rows])


class OptimisticTransaction(Transaction):
    """Writes one batch without the lock, for a caller that has cached the head and assumes that no other process writes.

    The one statement of `append` checks that assumption.
    """

    locked: ClassVar[bool] = False

    async def append(
        self,
        events: Sequence[EventRow],
        replies: Sequence[Reply],
        at: datetime,
        lines: Sequence[LineRow] = (),
        heartbeats: Heartbeats = NO_HEARTBEATS,
    ) -> None:
        """Write rows and commit, as `Transaction.append`; `replies` must be empty, as they need the lock.

        Raises:
            HeadMoved: the head of the log is at another position.
            WrongGuess: a stream that was assumed to be absent exists.
            Overloaded: the database has not stored the rows.
            OutcomeLost: the connection broke after everything was sent.
        """
        assert not replies
        keys = KeyChanges.of(events, self._states)
        statement = self._statement(events, at, keys, lines, heartbeats)
        try:
            with _committing(Commit(events, at, replies, lines, heartbeats), self._notifier):
                cursor = await self._connection.execute(*statement, prepare=True)
        except UniqueViolation:
            raise WrongGuess from None
        if cursor.rowcount != 1:
            raise HeadMoved
        keys.note_written(self._states.keyring)

    async def confirm(self) -> None:
        """Check that the head has not moved.

        Raises:
            HeadMoved: the head has another position or time.
        """
        cursor = await self._connection.execute(HEAD)
        if await cursor.fetchone() != (self.position, self.at):
            raise HeadMoved
