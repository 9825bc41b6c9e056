"""The event store: append, load, read.

The row `head` is lock and counter in one: whoever holds it appends, positions are `1, 2, 3, …`
without holes, and commit order is position order, so a reader that has seen position n has seen
everything before it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import groupby
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncCursor

from domain.eventlog.append import BEGIN, COLUMNS, HEAD, Attempt, Moved, Transaction
from domain.eventlog.codec import Codec, Stored
from domain.eventlog.connections import Connections
from domain.eventlog.encryption import DataKey
from domain.eventlog.idempotency import IdempotencyKey, Reply, claim
from domain.eventlog.keyring import Keyring
from domain.eventlog.pg_arrays import columns
from domain.eventlog.snapshots import Snapshot
from domain.model import Held, Recorded, replay

READ = f"""SELECT {COLUMNS} FROM (
        SELECT {COLUMNS}, sum(octet_length(state)) OVER (ORDER BY notification_id)
            - octet_length(state) AS before
        FROM events WHERE notification_id > %b ORDER BY notification_id LIMIT %b) AS page
    WHERE before < %b ORDER BY notification_id"""
SPAN = f"SELECT {COLUMNS} FROM events WHERE notification_id > %b AND notification_id <= %b"
IN_ORDER = " ORDER BY notification_id"
OF_TYPES = " AND topic = ANY(%b::text[])"
OF_SHARE = " AND mod(hashtext(originator_id) & 2147483647, %b) = %b"
READ_STREAM = f"""SELECT {COLUMNS} FROM events WHERE originator_id = %b
    AND originator_version > %b AND originator_version <= %b ORDER BY originator_version LIMIT %b"""
FRESH = """SELECT e.* FROM unnest(%b::text[], %b::bigint[]) AS known (stream, version)
    CROSS JOIN LATERAL (
        SELECT notification_id, originator_version, at, originator_id, topic, meta, state
        FROM events WHERE originator_id = known.stream AND originator_version > known.version
            AND originator_version <= %b ORDER BY originator_version) AS e"""
SNAPSHOTS = """SELECT s.* FROM unnest(%b::text[]) AS wanted (stream) CROSS JOIN LATERAL (
        SELECT originator_id, originator_version, position, at, state FROM snapshots
        WHERE originator_id = wanted.stream AND originator_version <= %b AND shape = %b
        ORDER BY originator_version DESC LIMIT 1) AS s"""
SNAPSHOT_KINDS = ("text", "bigint", "bigint", "timestamptz", "bytea", "text")
KEEP_SNAPSHOTS = """INSERT INTO snapshots SELECT * FROM unnest(
    %b::text[], %b::bigint[], %b::bigint[], %b::timestamptz[], %b::bytea[], %b::text[])
    ON CONFLICT DO NOTHING"""
FORGET_REPLIES = """DELETE FROM idempotency_keys WHERE at <= %b AND key IN (
    SELECT key FROM idempotency_keys WHERE at <= %b ORDER BY at LIMIT %b)"""
AT_TIME = """SELECT coalesce(max(originator_version), 0) FROM events
    WHERE originator_id = %b AND at <= %b"""
TIME_OF = "SELECT at FROM events WHERE notification_id = %b"
KEYS = "SELECT originator_id, wrapped FROM data_keys WHERE originator_id = ANY(%b::text[])"

NEWEST = 2**62
READ_BYTES = 16 * 1024 * 1024
FORGOTTEN_AT_ONCE = 5_000


class Store:
    """The log of one schema in PostgreSQL."""

    def __init__(
        self, conninfo: str, schema: str, codec: Codec, keyring: Keyring, connections: int = 8
    ) -> None:
        self.codec = codec
        self.keyring = keyring
        self.schema = schema
        self._connections = Connections(conninfo, schema, connections)

    async def open(self) -> None:
        """Start to connect; what is away is connected to when it comes back."""
        await self._connections.open()

    async def close(self) -> None:
        """Close every connection."""
        await self._connections.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Take the lock of the log; it is given back by `append`, or by leaving without it.

        Raises:
            Overloaded: the database is away, or another process holds the lock too long.
        """
        async with self._writing() as connection:
            cursor = await connection.execute(BEGIN, prepare=False)
            cursor.nextset()
            yield Transaction(connection, self, self._connections.session, *await _one(cursor))

    @asynccontextmanager
    async def attempt(self, session: int, position: int, at: datetime) -> AsyncIterator[Attempt]:
        """Write without the lock, where the head is believed to be as a session left it.

        Raises:
            Moved: another process has written, or the session is over; nothing was written.
            Overloaded: the database is away.
        """
        async with self._writing() as connection:
            if session != self._connections.session:
                raise Moved
            yield Attempt(connection, self, session, position, at)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._connections.writer() as connection:
                yield connection
        except Moved:
            raise
        except BaseException:
            await self._connections.drop_writer()
            raise
        finally:
            self.keyring.discard_minted()

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[AsyncConnection]:
        """A connection in autocommit, for a few seconds.

        Raises:
            Overloaded: the database is away or too slow, or every connection is busy for too long.
        """
        async with self._connections.reader() as connection:
            yield connection

    async def head(self) -> tuple[int, datetime]:
        """Position and time of the last event; `(0, epoch)` while there is none."""
        async with self.reader() as connection:
            position, at = await _one(await connection.execute(HEAD, binary=True))
            return position, at

    async def read(self, after: int, limit: int) -> list[Stored]:
        """The next events of the log, in order: at most `limit`, and none after `READ_BYTES`."""
        async with self.reader() as connection:
            cursor = await connection.execute(READ, (after, limit, READ_BYTES), binary=True)
            return [Stored(*row) for row in await cursor.fetchall()]

    async def span(
        self,
        connection: AsyncConnection,
        after: int,
        until: int,
        types: Sequence[str] | None = None,
        share: tuple[int, int] | None = None,
    ) -> list[Stored]:
        """The events in (after, until], of some types or of all, on a connection of the caller's.

        A `share` (n, i) has the streams of the i-th of n shares, from 0; each stream is in one.
        """
        query, values = SPAN, [after, until, *(share or ())]
        if share is not None:
            query += OF_SHARE
        if types is not None:
            query += OF_TYPES
            values.append(list(types))
        cursor = await connection.execute(query + IN_ORDER, values, binary=True)
        return [Stored(*row) for row in await cursor.fetchall()]

    async def history(
        self, stream: str, after: int = 0, until: int = NEWEST, limit: int = NEWEST
    ) -> list[Stored]:
        """The events of one stream with versions in (after, until], in order."""
        async with self.reader() as connection:
            cursor = await connection.execute(
                READ_STREAM, (stream, after, until, limit), binary=True
            )
            return [Stored(*row) for row in await cursor.fetchall()]

    async def version_at(self, stream: str, at: datetime) -> int:
        """The version a stream had at a time; 0 before its first event."""
        async with self.reader() as connection:
            cursor = await connection.execute(AT_TIME, (stream, at), binary=True)
            return int((await _one(cursor))[0])

    async def position_before(self, at: datetime) -> int:
        """The position of the last event recorded before a time, found by halving: `at` never falls."""
        async with self.reader() as connection:
            low, high = 0, int((await _one(await connection.execute(HEAD, binary=True)))[0])
            while low < high:
                middle = (low + high + 1) // 2
                cursor = await connection.execute(TIME_OF, (middle,), binary=True)
                if (await _one(cursor))[0] < at:
                    low = middle
                else:
                    high = middle - 1
            return low

    async def load(self, stream: str, version: int = NEWEST) -> Held[Any] | None:
        """The state of a stream, now or as of a version; None where it has no events."""
        async with self.reader() as connection:
            held = await self.load_on(connection, {stream: None}, until=version)
        return held.get(stream)

    async def load_all(self, streams: Iterable[str]) -> dict[str, Held[Any]]:
        """The present states of those streams that have events."""
        async with self.reader() as connection:
            return await self.load_on(connection, dict.fromkeys(streams))

    async def load_on(
        self,
        connection: AsyncConnection,
        known: Mapping[str, Held[Any] | None],
        *,
        until: int = NEWEST,
        believe_absent: bool = False,
    ) -> dict[str, Held[Any]]:
        """States from the nearest snapshots (where nothing is known) and the events after them."""
        cold = [stream for stream, held in known.items() if held is None]
        frozen = await self._frozen(connection, cold, until) if cold else {}
        bases: dict[str, Held[Any] | Snapshot | None] = {**known, **frozen}
        versions = [base.version if base else 0 for base in bases.values()]
        cursor = await connection.execute(FRESH, (list(bases), versions, until), binary=True)
        rows = [Stored(*row) for row in await cursor.fetchall()]
        # After the events: a key is stored with the first of them that needs it.
        keys = await self.learn(connection, known, believe_absent=believe_absent)
        held = {stream: state for stream, state in known.items() if state}
        for stream, row in frozen.items():
            held[stream] = self.codec.thaw(row, keys.get(stream))
        return _folded(held, (self.codec.decode(row, keys.get(row.stream)) for row in rows))

    async def learn(
        self, connection: AsyncConnection, streams: Iterable[str], *, believe_absent: bool
    ) -> dict[str, DataKey]:
        """The keys of streams, as far as they have one."""
        keys, unknown = self.keyring.known(streams, believe_absent=believe_absent)
        if unknown:
            # Never prepared: a plan made while the table was empty reads all of it for long.
            cursor = await connection.execute(KEYS, (unknown,), prepare=False, binary=True)
            rows = await cursor.fetchall()
            keys |= self.keyring.learn(rows, absent=unknown if believe_absent else ())
        return keys

    async def keys(self, streams: Iterable[str]) -> dict[str, DataKey | None]:
        """The data keys of streams, for readers of stored JSON; None where there is none (any more)."""
        streams = set(streams)
        keys, unknown = self.keyring.known(streams, believe_absent=False)
        if unknown:
            async with self.reader() as connection:
                keys |= await self.learn(connection, unknown, believe_absent=False)
        return {stream: keys.get(stream) for stream in streams}

    async def keep_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        """Keep states of versions that are committed, to load later ones from."""
        async with self.reader() as connection:
            await connection.execute(KEEP_SNAPSHOTS, columns(SNAPSHOT_KINDS, snapshots))

    async def claim(
        self, once: IdempotencyKey, outcome: dict[str, Any], at: datetime
    ) -> Reply | None:
        """Keep an outcome under a key, where it is free (then None), or tell what is kept there."""
        async with self.reader() as connection:
            return await claim(connection, once, outcome, at)

    async def forget_replies(self, until: datetime) -> None:
        """Drop what was answered under idempotency keys up to a time, little by little."""
        gone = FORGOTTEN_AT_ONCE
        while gone == FORGOTTEN_AT_ONCE:
            async with self.reader() as connection:
                gone = (await connection.execute(FORGET_REPLIES, (until, until, gone))).rowcount

    async def _frozen(
        self, connection: AsyncConnection, streams: list[str], until: int
    ) -> dict[str, Snapshot]:
        cursor = await connection.execute(
            SNAPSHOTS, (streams, until, self.codec.shape), binary=True
        )
        return {row[0]: Snapshot(*row) for row in await cursor.fetchall()}


async def _one(cursor: AsyncCursor[Any]) -> tuple[Any, ...]:
    row = await cursor.fetchone()
    if row is None:
        raise psycopg.InterfaceError("a row that must exist does not")
    return tuple(row)


def _folded(held: dict[str, Held[Any]], events: Iterable[Recorded]) -> dict[str, Held[Any]]:
    for stream, tail in groupby(events, key=lambda recorded: recorded.stream):
        if (state := replay(held.get(stream), tail)) is not None:
            held[stream] = state
    return held
