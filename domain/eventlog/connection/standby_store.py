"""Reads the log from a standby of PostgreSQL, which is a little behind the primary."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from copy import copy
from datetime import datetime
from time import monotonic
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection

from domain.errors import Overloaded
from domain.eventlog.connection.connections import Connections
from domain.eventlog.connection.pools import RetryingPool
from domain.eventlog.connection.shared import SharedDatabase
from domain.eventlog.connection.timeouts import cut_after
from domain.eventlog.encryption import DataKey
from domain.eventlog.queries import LOAD, LOAD_AT_TIME, NEWEST, WITH_HEAD
from domain.eventlog.state_parts import fold_parts, question_columns, read_parts
from domain.eventlog.states import COLD, LoadedState, PositionOrTime
from domain.eventlog.store import Store
from domain.model import Versioned
from domain.outages import AWAY, Outages

CONNECTS_WITHIN, ANSWERS_WITHIN = 0.5, 2.0
"""Seconds for connecting, and for reading: short, as the primary can be read instead."""
ARRIVES_WITHIN, PAUSE = 0.05, 0.002
"""Seconds that a read waits until the standby has what it needs, and between two checks of that."""
NO_WAIT_FOR = 5.0
"""Seconds without such waits after one has failed."""
NOT_THERE = "The standby has not reached the position."
SAME_LOG = """SELECT pg_is_in_recovery() AND log_id = %b AND NOT EXISTS (
    SELECT FROM events WHERE notification_id = %b AND at <> %b) FROM head"""
"""Whether a database is a standby of this log, and has no other event at the position that was seen last."""
LOG_REACHES = "SELECT position >= %b FROM head"


class StandbyCondition(NamedTuple):
    """What must be true of a standby before it is read: a query that returns true."""

    query: str
    values: tuple[Any, ...]

    def and_also(self, other: StandbyCondition | None) -> StandbyCondition:
        """The condition that both hold at one moment."""
        if other is None:
            return self
        return StandbyCondition(
            f"SELECT ({self.query}) AND ({other.query})", (*self.values, *other.values)
        )


class StandbyOutages(Outages):
    """Stores why the standby is unavailable. `Standby` logs the reason."""

    def __init__(self) -> None:
        super().__init__()
        self.reason: str | None = None

    @property
    def current(self) -> Overloaded | None:
        return None if self.reason is None else Overloaded(AWAY)

    def begin(self, reason: str) -> None:
        self.reason = reason

    def note_answer(self) -> None:
        self.reason = None

    def disk_is_full(self, reason: str) -> None:
        self.begin(reason)


class StandbyConnections(Connections):
    """Connections that give up sooner than those to the primary: a read that fails is answered by the primary."""

    outages: StandbyOutages

    def __init__(
        self, conninfo: str, schema: str, readers: int, shared: SharedDatabase | None = None
    ) -> None:
        super().__init__(conninfo, schema, readers, shared)
        self.outages = StandbyOutages()

    def _pool(self, size: int, more: str = "") -> RetryingPool:
        pool = super()._pool(size, more)
        pool.timeout, pool.retries = CONNECTS_WITHIN, False
        return pool

    @asynccontextmanager
    async def _lent(self, pool: RetryingPool) -> AsyncIterator[AsyncConnection]:
        try:
            async with super()._lent(pool) as connection:
                with cut_after(ANSWERS_WITHIN, connection):
                    yield connection
        except psycopg.Error as error:  # such as a table that has an older form there
            raise Overloaded(AWAY) from error


class CatchUpWait:
    """How long reads wait until the standby has what they need: not at all for some seconds after such a wait has failed."""

    def __init__(self) -> None:
        self._none_until = 0.0

    @property
    def seconds(self) -> float:
        """Seconds that a read may wait now."""
        return ARRIVES_WITHIN if monotonic() >= self._none_until else 0.0

    def disable_for_a_while(self) -> None:
        """Let no read wait for the next `NO_WAIT_FOR` seconds, as a wait has failed."""
        self._none_until = monotonic() + NO_WAIT_FOR


class StandbyStore(Store):
    """Reads from a standby. Data keys come from the primary, as a standby that lags still has keys that were destroyed.

    Every method that reads also raises Overloaded where the standby does not answer soon.
    """

    connections_of = StandbyConnections
    outages: StandbyOutages

    def __init__(self, conninfo: str, primary: Store, connections: int, of_log: str) -> None:
        super().__init__(
            *(conninfo, primary.schema, primary.codec, primary.keyring, connections),
            log_name=primary.log_name,
        )
        self.primary = primary
        self._of_log = of_log
        self._catch_up_wait = CatchUpWait()
        self.reached: StandbyCondition | None = None

    async def open(self) -> None:
        """Start to connect, without a notifier: a standby cannot notify."""
        await self.connections.open()

    def once(self, reached: StandbyCondition) -> StandbyStore:
        """A copy of the store that lends a connection only once the condition `reached` holds on it, as connections may lead
        to different standbys.
        """
        store = copy(self)
        store.reached = reached
        return store

    def unchecked_reader(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Lend a connection without checking that it leads to a usable standby."""
        return super().reader()

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[AsyncConnection]:
        async with super().reader() as connection:
            await self._wait_for_condition(connection)
            yield connection

    @asynccontextmanager
    async def searcher(self, indexed: Sequence[str]) -> AsyncIterator[AsyncConnection]:
        async with super().searcher(indexed) as connection:
            await self._wait_for_condition(connection)
            yield connection

    async def _wait_for_condition(self, connection: AsyncConnection) -> None:
        """Wait until the standby of a connection is one of this log, and the condition of the store holds."""
        seen = self.primary.seen
        wanted = StandbyCondition(SAME_LOG, (self._of_log, seen.position, seen.at)).and_also(
            self.reached
        )
        end = monotonic() + self._catch_up_wait.seconds
        while not await _holds(connection, wanted):
            if monotonic() >= end:
                self._catch_up_wait.disable_for_a_while()
                raise Overloaded(NOT_THERE)
            await asyncio.sleep(PAUSE)

    async def keys(self, streams: Iterable[str]) -> dict[str, DataKey | None]:
        return await self.primary.keys(streams)

    async def load(self, stream: str, version: int = NEWEST) -> Versioned[Any] | None:
        return await self.primary.load(stream, version)

    async def load_all(
        self, streams: Iterable[str], moment: PositionOrTime | None = None
    ) -> dict[str, Versioned[Any]]:
        return await self.primary.load_all(streams, moment)

    async def load_with_head(self, stream: str, until: int | datetime = NEWEST) -> LoadedState:
        key = (await self.keys([stream]))[stream]
        if isinstance(until, datetime):
            query, values = (
                WITH_HEAD + LOAD_AT_TIME,
                (until, *question_columns([stream], (), [COLD])),
            )
        else:
            query, values = WITH_HEAD + LOAD, question_columns([stream], (), [COLD], [until])
        async with self.reader() as connection:
            head, *parts = await read_parts(connection, self.codec, query, values, [stream])
        versioned = fold_parts(self.codec, None, parts, key)
        return LoadedState(versioned, head[0], head[2], self.keyring.is_destroyed(stream))


async def _holds(connection: AsyncConnection, reached: StandbyCondition) -> bool:
    cursor = await connection.execute(reached.query, reached.values, prepare=True, binary=True)
    row = await cursor.fetchone()
    return row is not None and bool(row[0])
