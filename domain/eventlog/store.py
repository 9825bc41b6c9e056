"""The event store: it appends events, loads states and reads the log.

The row `head` is both the lock and the counter of the log: who holds the lock appends, positions are `1, 2, 3, …` without
holes, and commit order is position order. So a reader that has seen position n has seen every event before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from time import monotonic
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncCursor

from domain.errors import Damaged, OutcomeUnknown, Overloaded, Unreadable
from domain.eventlog.append import HeadMoved, OptimisticTransaction, Transaction, append_guarded
from domain.eventlog.archive import archived_queries
from domain.eventlog.codec import Codec, EventRow, Snapshot
from domain.eventlog.connection.commit import CommitCheck, find_written
from domain.eventlog.connection.connections import Connections
from domain.eventlog.connection.log_head import LastSeen
from domain.eventlog.connection.notifier import Notifier
from domain.eventlog.connection.pg_arrays import columns
from domain.eventlog.connection.shared import SharedDatabase
from domain.eventlog.encryption import DataKey
from domain.eventlog.idempotency import IdempotencyKey, Reply, claim, forget_some, read_reply
from domain.eventlog.keyring import Keyring
from domain.eventlog.queries import (
    BEGIN,
    HEAD,
    NEWEST,
    READ_BYTES,
    SNAPSHOT_COLUMNS,
    STORE_SNAPSHOTS,
    TIME_OF,
)
from domain.eventlog.states import LoadedState, PositionOrTime, StateLoader
from domain.model import Versioned

OUTCOME_TIMEOUT, OUTCOME_PAUSE = 3.0, 0.1
"""Seconds to find out whether a lost commit was done, and between two tries."""


class Store:
    """The log of one schema in PostgreSQL."""

    connections_of: type[Connections] = Connections

    def __init__(
        self,
        conninfo: str,
        schema: str,
        codec: Codec,
        keyring: Keyring,
        connections: int = 8,
        *,
        log_name: str | None = None,
        shared: SharedDatabase | None = None,
    ) -> None:
        self.states, self.seen, self.schema = StateLoader(codec, keyring), LastSeen(), schema
        self.log_name, apart = log_name, log_name is not None
        made = self.connections = self.connections_of(conninfo, schema, connections, shared)
        self.outages, self.fresh = made.outages, made.fresh
        self._notifier = made.notifier = Notifier(conninfo, schema, apart=apart, shared=shared)

    @property
    def codec(self) -> Codec:
        """The codec of events and states."""
        return self.states.codec

    @property
    def keyring(self) -> Keyring:
        """The cache of data keys."""
        return self.states.keyring

    async def open(self) -> None:
        """Start to connect; an unavailable database is connected to once it is available again."""
        await self.connections.open()
        self._notifier.start()

    async def close(self) -> None:
        """Close every connection."""
        await self._notifier.stop()
        await self.connections.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Take the lock of the log. `append`, or the end of the block, releases it.

        Raises:
            Overloaded: the database is unavailable, or another process holds the lock for too long.
        """
        async with self._writing() as connection:
            cursor = await connection.execute(BEGIN, prepare=False)
            cursor.nextset()
            session, head = self.connections.session, await _fetch_row(cursor)
            yield Transaction(connection, self.states, session, *head, notifier=self._notifier)

    @asynccontextmanager
    async def attempt(
        self, session: int, position: int, at: datetime
    ) -> AsyncIterator[OptimisticTransaction]:
        """Write without the lock, on the assumption that the head of the log is as a session left it.

        Raises:
            HeadMoved: another process has written, or the session has ended; nothing was written.
            Overloaded: the database is unavailable.
        """
        async with self._writing() as connection:
            if session != self.connections.session:
                raise HeadMoved
            yield OptimisticTransaction(
                connection, self.states, session, position, at, notifier=self._notifier
            )

    async def append(
        self,
        events: Sequence[EventRow],
        at: datetime,
        unless: Mapping[str, int] | None = None,
        *,
        session: int | None = None,
    ) -> int:
        """Append events at the present head of the log (see `append_guarded`); return the position before them.

        With a `session`, they are appended only in it, exactly at the time `at`, and at no lower positions than they have.

        Raises:
            StreamMoved: a stream has an event of the same version, or an event of `unless` came; nothing was written.
            HeadMoved: the session has ended, the last event is later, or the head is lower; nothing was written.
            OutcomeLost: the connection broke after everything was sent.
            Overloaded: the database is unavailable.
        """
        async with self._writing() as connection:
            if (exact := session is not None) and session != self.connections.session:
                raise HeadMoved
            return await append_guarded(
                connection, self.states, events, at, self._notifier, unless=unless, exact=exact
            )

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self.connections.writer() as connection:
                yield connection
        except BaseException as error:
            if not isinstance(error, HeadMoved):
                await self.connections.drop_writer()
            raise
        finally:
            self.keyring.discard_unsaved()

    async def find_written(self, check: CommitCheck) -> int | None:
        """Find out whether a lost commit was done: the result of its check, or None where it was not, and never will be.

        Raises:
            OutcomeUnknown: the database did not answer within `OUTCOME_TIMEOUT`.
        """
        deadline = monotonic() + OUTCOME_TIMEOUT
        while monotonic() < deadline:
            try:
                async with self.connections.after_former_writer() as connection:
                    return await find_written(connection, check)
            except Overloaded:
                await asyncio.sleep(OUTCOME_PAUSE)
        raise OutcomeUnknown

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[AsyncConnection]:
        """Lend a connection in autocommit for a few seconds.

        Raises:
            Overloaded: the database is unavailable or too slow, or every connection is busy for too long.
        """
        async with self.connections.reader() as connection:
            yield connection

    @asynccontextmanager
    async def searcher(self, indexed: Sequence[str]) -> AsyncIterator[AsyncConnection]:
        """Lend one of a few connections in autocommit for filters of clients. Each statement may take half a second.

        Raises:
            TooExpensive: a statement took longer; the error names the `indexed` fields.
            Overloaded: the database is unavailable, or every connection is busy for too long.
        """
        async with self.connections.searcher(indexed) as connection:
            yield connection

    async def head(self) -> tuple[int, datetime]:
        """Position and time of the last event; `(0, epoch)` while there is none."""
        async with self.reader() as connection:
            position, at = await _fetch_row(await connection.execute(HEAD, binary=True))
            return position, at

    async def read(self, after: int, limit: int) -> list[EventRow]:
        """The events of the log after a position, in order: at most `limit`, and none after `READ_BYTES`."""
        async with self.reader() as connection:
            return await archived_queries.next_events(connection, after, limit, READ_BYTES)

    async def span(
        self,
        connection: AsyncConnection,
        after: int,
        until: int,
        types: Sequence[str] | None = None,
        share: tuple[int, int] | None = None,
    ) -> list[EventRow]:
        """The events with positions in (after, until], of all types or of some, over a connection of the caller.

        With a `share` (n, i), only the events of streams in the i-th of n shares, from 0. Each stream is in one share.
        """
        return await archived_queries.events_between(connection, after, until, types, share)

    async def history(
        self, stream: str, after: int = 0, until: int = NEWEST, limit: int = NEWEST
    ) -> list[EventRow]:
        """The events of one stream with versions in (after, until], in order."""
        async with self.reader() as connection:
            return await archived_queries.history_of(connection, stream, after, until, limit)

    async def position_before(self, at: datetime) -> int:
        """The position of the last event recorded before a time. A binary search: the times of events never fall."""
        async with self.reader() as connection:
            low, high = 0, int((await _fetch_row(await connection.execute(HEAD, binary=True)))[0])
            while low < high:
                middle = (low + high + 1) // 2
                [(then,)] = await archived_queries.fetch_of_span(
                    connection, TIME_OF, (middle,), middle - 1, middle
                )
                if then < at:
                    low = middle
                else:
                    high = middle - 1
            return low

    async def load(self, stream: str, version: int = NEWEST) -> Versioned[Any] | None:
        """The state of a stream, at present or at a version; None where the stream has no events."""
        async with self.reader() as connection:
            return (await self.states.load(connection, {stream: None}, until=version)).get(stream)

    async def load_all(
        self, streams: Iterable[str], moment: PositionOrTime | None = None
    ) -> dict[str, Versioned[Any]]:
        """The states of those streams that have events and can be read, at present or as of a position or a time."""
        unreadable: dict[str, Unreadable] = {}
        async with self.reader() as connection:
            if moment is not None:
                return await self.states.as_of(connection, streams, moment)
            found = await self.states.load(connection, dict.fromkeys(streams), damaged=unreadable)
        if away := next((e for e in unreadable.values() if not isinstance(e, Damaged)), None):
            raise away
        return found

    async def load_with_head(self, stream: str, until: int | datetime = NEWEST) -> LoadedState:
        """The state of a stream, at present, at a version or a time, and the head of the log, in one query."""
        async with self.reader() as connection:
            return await self.states.read(connection, stream, until)

    async def keys(self, streams: Iterable[str]) -> dict[str, DataKey | None]:
        """The data keys of streams, for readers of stored JSON; None for a stream without a key, as after an erasure."""
        keys, unknown = self.keyring.known_keys(streams := set(streams), use_absent=False)
        if unknown:
            async with self.reader() as connection:
                keys |= await self.states.learn(connection, unknown)
        return {stream: keys.get(stream) for stream in streams}

    async def store_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        """Store snapshots of committed versions, from which later states are loaded faster."""
        async with self.reader() as connection:
            await connection.execute(STORE_SNAPSHOTS, columns(SNAPSHOT_COLUMNS, snapshots))

    async def claim(
        self, once: IdempotencyKey, outcome: dict[str, Any], at: datetime
    ) -> Reply | None:
        """Store an outcome under an idempotency key and return None, or return the reply that is stored already."""
        async with self.reader() as connection:
            return await claim(connection, once, outcome, at)

    async def reply(self, once: IdempotencyKey) -> Reply | None:
        """The reply that is stored under an idempotency key, or None."""
        async with self.reader() as connection:
            return await read_reply(connection, once)

    async def forget_replies(self, until: datetime) -> None:
        """Delete the replies up to a time, in several short statements."""
        more = True
        while more:
            async with self.reader() as connection:
                more = await forget_some(connection, until)


async def _fetch_row(cursor: AsyncCursor[Any]) -> tuple[Any, ...]:
    row = await cursor.fetchone()
    if row is None:
        raise psycopg.InterfaceError("a row that must exist does not")
    return tuple(row)
