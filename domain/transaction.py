"""One batch of events on its way into the log, under the log's lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from psycopg import AsyncConnection

from domain.batch import Reply
from domain.codec import Snapshot, Stored
from domain.kernel import Held

if TYPE_CHECKING:
    from domain.store import Store

BEGIN = "BEGIN; SELECT position, at FROM head FOR UPDATE"
ADVANCE = "UPDATE head SET position = %b, at = %b"
COLUMNS = "notification_id, originator_version, at, originator_id, topic, meta, state"
INSERT = f"""INSERT INTO events ({COLUMNS}) SELECT * FROM unnest(
    %b::bigint[], %b::bigint[], %b::timestamptz[], %b::text[], %b::text[], %b::text[], %b::bytea[])"""
KEEP_SNAPSHOTS = """INSERT INTO snapshots SELECT * FROM unnest(
    %b::text[], %b::bigint[], %b::bigint[], %b::timestamptz[], %b::bytea[]) ON CONFLICT DO NOTHING"""
REPLIES = (
    "SELECT key, fingerprint, outcome FROM idempotency_keys WHERE key = ANY(%b::text[]) AND at > %b"
)
KEEP_REPLIES = """INSERT INTO idempotency_keys
    SELECT * FROM unnest(%b::text[], %b::text[], %b::timestamptz[], %b::text[])
    ON CONFLICT (key) DO UPDATE SET fingerprint = excluded.fingerprint, at = excluded.at,
        outcome = excluded.outcome"""
KEEP_KEYS = "INSERT INTO data_keys SELECT * FROM unnest(%b::text[], %b::bytea[])"


class Transaction:
    """One batch, under the lock of the log. `position` and `at` are those of its last event."""

    def __init__(
        self, connection: AsyncConnection, store: Store, position: int, at: datetime
    ) -> None:
        self._connection = connection
        self._store = store
        self.position = position
        self.at = at

    async def replies(self, keys: Sequence[str], since: datetime) -> dict[str, Reply]:
        """What was answered under these idempotency keys since a time."""
        cursor = await self._connection.execute(REPLIES, (keys, since), binary=True)
        return {row[0]: Reply(*row) for row in await cursor.fetchall()}

    async def load(self, known: Mapping[str, Held[Any] | None]) -> dict[str, Held[Any]]:
        """The present states of streams, of which some are known as of a version."""
        return await self._store.load_on(self._connection, known, believe_absent=True)

    async def append(
        self,
        events: Sequence[Stored],
        snapshots: Sequence[Snapshot],
        replies: Sequence[Reply],
        at: datetime,
    ) -> None:
        """Write and commit. Positions and versions are the caller's to give: it has the lock."""
        run, keys = self._connection.execute, self._store.keyring.minted()
        async with self._connection.pipeline():
            if events:
                await run(INSERT, _columns(events), prepare=True)
                await run(ADVANCE, (events[-1].position, at), prepare=True)
                await run(self._store.notify)
            if keys:
                await run(KEEP_KEYS, (list(keys), list(keys.values())))
            if snapshots:
                await run(KEEP_SNAPSHOTS, _columns(snapshots))
            if replies:
                await run(KEEP_REPLIES, _reply_columns(replies, at))
            await run("COMMIT")


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _reply_columns(replies: Sequence[Reply], at: datetime) -> list[list[Any]]:
    keys, fingerprints, outcomes = _columns(replies)
    return [keys, fingerprints, [at] * len(replies), outcomes]
