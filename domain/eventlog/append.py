"""Appends one batch of events: under the log's lock, or optimistically without it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection, AsyncCursor

from domain.eventlog.codec import EventRow
from domain.eventlog.idempotency import REPLIES_KEPT, Reply
from domain.eventlog.pg_arrays import columns
from domain.eventlog.queries import APPEND, APPENDED, BEGIN, HEAD
from domain.eventlog.states import StateLoader
from domain.model import Versioned

REPLIES = (
    "SELECT key, fingerprint, outcome FROM idempotency_keys WHERE key = ANY(%b::text[]) AND at > %b"
)
KEEP_REPLIES = """INSERT INTO idempotency_keys AS kept
    SELECT * FROM unnest(%b::text[], %b::text[], %b::timestamptz[], %b::text[])
    ON CONFLICT (key) DO UPDATE SET fingerprint = excluded.fingerprint, at = excluded.at,
        outcome = excluded.outcome WHERE kept.at <= %b"""
KEEP_KEYS = "INSERT INTO data_keys SELECT * FROM unnest(%b::text[], %b::bytea[])"


class Transaction:
    """One batch, under the lock of the log. `position` and `at` are those of its last event.

    `session` changes with the connection: what was known through another one may be of another
    server, which a failover has left behind. `channel` is where it is told that events were appended.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        states: StateLoader,
        session: int,
        position: int,
        at: datetime,
        *,
        channel: str,
    ) -> None:
        self._connection = connection
        self._states = states
        self._channel = channel
        self.session = session
        self.position = position
        self.at = at

    async def replies(self, keys: Sequence[str], since: datetime) -> dict[str, Reply]:
        """What was answered under these idempotency keys since a time."""
        # Never prepared: a plan made while the table was empty reads all of it for long.
        cursor = await self._connection.execute(REPLIES, (keys, since), prepare=False, binary=True)
        return {row[0]: Reply(*row) for row in await cursor.fetchall()}

    async def load(self, known: Mapping[str, Versioned[Any] | None]) -> dict[str, Versioned[Any]]:
        """The present states of streams, of which some are known as of a version."""
        return await self._states.load(self._connection, known, believe_absent=True)

    async def learn(self, streams: Iterable[str]) -> None:
        """Have the keys of streams at hand; one that has none then is known to have none."""
        await self._states.learn(self._connection, streams, believe_absent=True)

    async def append(
        self,
        events: Sequence[EventRow],
        replies: Sequence[Reply],
        at: datetime,
    ) -> None:
        """Write and commit. Positions and versions are the caller's to give.

        Positions follow on `position`, and all the events were recorded `at` the same time.

        Raises:
            HeadMoved: another request stored one of the idempotency keys in the meantime.
        """
        run, keyring = self._connection.execute, self._states.keyring
        streams = {event.stream for event in events}
        keys = keyring.unsaved(streams)
        if replies:
            kept = await run(KEEP_REPLIES, (*_reply_columns(replies, at), at - REPLIES_KEPT))
            if kept.rowcount != len(replies):
                raise HeadMoved
        async with self._connection.pipeline():
            if events:
                await run(APPEND, self._rows(events, at), prepare=True)
            if keys:
                await run(KEEP_KEYS, (list(keys), list(keys.values())))
            await run("COMMIT")
        keyring.stored(streams)

    async def confirm(self) -> None:
        """Nothing to check: the lock guarantees that the head has not moved."""

    def _rows(self, events: Sequence[EventRow], at: datetime) -> list[Any]:
        assert self.position + len(events) == events[-1].position
        rows = columns(APPENDED, [(e.version, e.stream, e.type, e.meta, e.data) for e in events])
        position = self.position
        return [events[-1].position, at, position, position, *rows, self._channel]


class HeadMoved(Exception):
    """Another process has written since; nothing of the attempt remains."""


class OptimisticTransaction(Transaction):
    """One batch without the lock: its caller knows the head, and believes that nobody else writes.

    Whether that is so shows when it is written, in the one statement that does it.
    """

    async def append(
        self,
        events: Sequence[EventRow],
        replies: Sequence[Reply],
        at: datetime,
    ) -> None:
        """As `Transaction.append`.

        Raises:
            HeadMoved: the head was elsewhere.
        """
        streams = {event.stream for event in events}
        if replies or self._states.keyring.unsaved(streams):
            cursor = await self._connection.execute(BEGIN, prepare=False)
            cursor.nextset()
            await self._expect(cursor)
            await super().append(events, replies, at)
            return
        cursor = await self._connection.execute(APPEND, self._rows(events, at), prepare=True)
        if cursor.rowcount != 1:
            raise HeadMoved

    async def confirm(self) -> None:
        """Check that the head has not moved.

        Raises:
            HeadMoved: the head was elsewhere.
        """
        await self._expect(await self._connection.execute(HEAD))

    async def _expect(self, cursor: AsyncCursor[Any]) -> None:
        if await cursor.fetchone() != (self.position, self.at):
            raise HeadMoved


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _reply_columns(replies: Sequence[Reply], at: datetime) -> list[list[Any]]:
    keys, fingerprints, outcomes = _columns(replies)
    return [keys, fingerprints, [at] * len(replies), outcomes]
