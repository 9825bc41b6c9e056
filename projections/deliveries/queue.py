"""The outbox of webhooks: the one process that calls them enters events, finds those that are due, and settles them.

Events wait in lanes, one for each webhook and stream, and of a lane only the first is called. A process that writes
here holds the row `webhook_head` until the commit: this process, on the connection that holds its lock, so
that no statement of a former owner comes after one of the next, and the servers (see `requests`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import NamedTuple

from psycopg import AsyncConnection

from domain.damage import report_if_damaged
from domain.errors import Unreadable
from domain.eventlog.archive.archived_queries import fetch_of_streams
from domain.eventlog.connection.pg_arrays import columns, placeholders

IN_A_ROW = 20
"""Events of a lane that are called before it is another's turn."""
SMALL = 4_096
"""Bytes of an event that is read with those of other lanes; a larger one is read when it is its turn."""

LOCK = "SELECT position FROM webhook_head FOR UPDATE"
SEEN = "SELECT coalesce((SELECT position FROM bookmarks WHERE view = 'deliveries'), 0)"
READ_HAS_MORE = f"""SELECT position < ({SEEN}) OR EXISTS (
    SELECT FROM webhook_progress WHERE position IS NOT NULL) FROM webhook_head"""
WAITS = "SELECT EXISTS (SELECT FROM webhook_lanes)"
OWED = ("text", "bigint", "text", "bigint", "text")
ENTER = f"""WITH owed AS (SELECT * FROM unnest({placeholders(OWED)})
        AS o (webhook, position, stream, version, endpoint)),
    kept AS (INSERT INTO webhook_deliveries AS d (webhook, position, stream, version)
        SELECT DISTINCT webhook, position, stream, version FROM owed
        ON CONFLICT (webhook, position) DO UPDATE SET state = 'waiting', attempts = 0)
    INSERT INTO webhook_lanes (webhook, stream, endpoint, next_at)
    SELECT DISTINCT ON (webhook, stream) webhook, stream, endpoint, %b::timestamptz FROM owed
    ON CONFLICT (webhook, stream) DO UPDATE SET endpoint = excluded.endpoint"""

# An index scan for each endpoint, whatever waits there: so a dead one, however much waits for it, costs others
# nothing. Those of a lane that is being called are found, too.
DUE = """WITH RECURSIVE known (endpoint) AS (
        (SELECT endpoint FROM webhook_lanes ORDER BY endpoint LIMIT 1)
        UNION ALL SELECT (SELECT l.endpoint FROM webhook_lanes AS l
            WHERE l.endpoint > known.endpoint ORDER BY l.endpoint LIMIT 1)
        FROM known WHERE known.endpoint IS NOT NULL)
    SELECT due.* FROM known CROSS JOIN LATERAL (
        SELECT webhook, stream, endpoint, next_at FROM webhook_lanes AS l
        WHERE l.endpoint = known.endpoint AND l.next_at <= %b ORDER BY l.next_at LIMIT %b) AS due
    WHERE NOT known.endpoint = ANY(%b::text[]) ORDER BY due.next_at LIMIT %b"""
LOAD = f"""SELECT wanted.webhook, wanted.stream, w.execution, w.stream, w.version,
        coalesce(s.generation, 0), s.overlap_until, d.position, d.version, d.attempts, e.at, e.topic,
        e.meta, CASE WHEN octet_length(e.state) <= {SMALL} THEN e.state END
    FROM unnest(%b::text[], %b::text[]) AS wanted (webhook, stream)
    JOIN webhooks AS w ON w.webhook = wanted.webhook
    LEFT JOIN webhook_states AS s ON s.webhook = wanted.webhook
    CROSS JOIN LATERAL (SELECT position, version, attempts FROM webhook_deliveries
        WHERE webhook = wanted.webhook AND stream = wanted.stream AND state = 'waiting'
        ORDER BY position LIMIT {IN_A_ROW}) AS d
    JOIN events AS e ON e.originator_id = wanted.stream AND e.originator_version = d.version
    WHERE s.disabled_at IS NULL OR s.disabled_at < w.position
    ORDER BY wanted.webhook, wanted.stream, d.position"""
SET = "SELECT EXISTS (SELECT FROM webhooks WHERE webhook = %b AND stream = %b AND version = %b)"
LANES = ("text", "text")
GONE = f"""UPDATE webhook_deliveries AS d SET state = 'failed', at = coalesce(d.at, now()),
        error = 'not called: the webhook was disabled or removed'
    FROM unnest({placeholders(LANES)}) AS l (webhook, stream)
    WHERE d.webhook = l.webhook AND d.stream = l.stream AND d.state = 'waiting' AND NOT EXISTS (
        SELECT FROM webhooks AS w LEFT JOIN webhook_states AS s USING (webhook)
        WHERE w.webhook = l.webhook AND (s.disabled_at IS NULL OR s.disabled_at < w.position))"""
REMOVE_EMPTY_LANES = f"""DELETE FROM webhook_lanes AS l USING unnest({placeholders(LANES)}) AS o (webhook, stream)
    WHERE l.webhook = o.webhook AND l.stream = o.stream AND NOT EXISTS (
        SELECT FROM webhook_deliveries AS d
        WHERE d.webhook = l.webhook AND d.stream = l.stream AND d.state = 'waiting')"""
POSTPONE = f"""UPDATE webhook_lanes AS l SET next_at = %b
    FROM unnest({placeholders(LANES)}) AS o (webhook, stream)
    WHERE l.webhook = o.webhook AND l.stream = o.stream"""

SETTLED = (
    *("text", "text", "bigint", "text", "timestamptz", "bigint", "bigint", "text", "text"),
    "timestamptz",
)
# The answer to what was erased meanwhile may quote it: it is not kept.
SETTLE = f"""WITH o AS (SELECT o.*, CASE WHEN k.wrapped IS DISTINCT FROM ''::bytea THEN said END AS answer
        FROM unnest({placeholders(SETTLED)}) WITH ORDINALITY
            AS o (webhook, stream, position, state, at, status, latency, said, error, next_at, nth)
        LEFT JOIN data_keys AS k ON k.originator_id = o.stream),
    kept AS (UPDATE webhook_deliveries AS d SET state = o.state, attempts = d.attempts + 1, at = o.at,
            status = o.status, latency = o.latency, answer = o.answer, error = o.error
        FROM o WHERE d.webhook = o.webhook AND d.position = o.position AND d.state = 'waiting'),
    next AS (UPDATE webhook_lanes AS l SET next_at = o.next_at FROM o
        WHERE l.webhook = o.webhook AND l.stream = o.stream AND o.next_at IS NOT NULL),
    last AS (SELECT DISTINCT ON (webhook) * FROM o ORDER BY webhook, nth DESC)
    INSERT INTO webhook_progress AS p (webhook, failing_since, last_at, status, latency, answer, error)
    SELECT webhook, CASE WHEN error IS NOT NULL THEN at END, at, status, latency, answer, error FROM last
    ON CONFLICT (webhook) DO UPDATE SET last_at = excluded.last_at, status = excluded.status,
        latency = excluded.latency, answer = excluded.answer, error = excluded.error,
        failing_since = CASE WHEN excluded.error IS NOT NULL
            THEN coalesce(p.failing_since, excluded.failing_since) END
    RETURNING webhook, failing_since, announced"""
ANNOUNCE = """UPDATE webhook_progress SET announced = %b,
    failing_since = CASE WHEN %b THEN NULL ELSE failing_since END WHERE webhook = %b"""
FORGET = """WITH gone AS (DELETE FROM webhook_deliveries WHERE (webhook, position) IN (
        SELECT webhook, position FROM webhook_deliveries WHERE state <> 'waiting' AND at < %b
        ORDER BY at LIMIT %b) RETURNING webhook, at),
    unsaid AS (UPDATE webhook_progress AS p SET answer = NULL FROM gone
        WHERE p.webhook = gone.webhook AND p.last_at = gone.at AND p.answer <> '')
    SELECT count(*) FROM gone"""
"""The last answer goes with its delivery: by that an erasure finds what may quote its content."""


class Lane(NamedTuple):
    """The events of one stream that wait for one webhook."""

    webhook: str
    stream: str


class DueLane(NamedTuple):
    """A lane whose next event is due."""

    lane: Lane
    endpoint: str


class Owed(NamedTuple):
    """An event that a webhook is owed."""

    webhook: str
    position: int
    stream: str
    version: int
    endpoint: str


class WaitingDelivery(NamedTuple):
    """An event that waits: the webhook's `execution`, the event that set it (`set_by`, `set_at`), its
    secret, and the event's own row; `data` is None where that is large.
    """

    lane: Lane
    execution: str | None
    set_by: str
    set_at: int
    generation: int
    overlap_until: datetime | None
    position: int
    version: int
    attempts: int
    at: datetime
    type: str
    meta: str
    data: bytes | None


class Settled(NamedTuple):
    """What came of a call. `status` is None where there was no answer, `latency` in milliseconds, `answer` the first
    KiB. `next_at` is when the lane is called again, None: at once.
    """

    webhook: str
    stream: str
    position: int
    state: str
    at: datetime
    status: int | None
    latency: int
    answer: str
    error: str | None
    next_at: datetime | None


class Standing(NamedTuple):
    """Since when a webhook fails, and whether the log says so."""

    failing_since: datetime | None
    announced: bool


class DeliveryQueue:
    """The queue, on the connection of its owner. Each method is one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._turn = asyncio.Lock()

    async def has_more(self) -> bool:
        """Whether the log was not looked through for all webhooks up to where they are known."""
        async with self._turn:
            return bool(await self._one(READ_HAS_MORE))

    async def waits(self) -> bool:
        """Whether anything waits, now or for later."""
        async with self._turn:
            return bool(await self._one(WAITS))

    @asynccontextmanager
    async def entering(self) -> AsyncIterator[tuple[AsyncConnection, int, int]]:
        """A transaction that enters what is owed: its connection, the position up to which that was
        done, and the one up to which webhooks are known.
        """
        async with self._turn, self._connection.transaction():
            head = await self._one(LOCK)
            yield self._connection, head, await self._one(SEEN)

    async def due(
        self, now: datetime, full: list[str], of_an_endpoint: int, limit: int
    ) -> list[DueLane]:
        """The lanes to call now, without those of some endpoints."""
        values = (now, of_an_endpoint, full, limit)
        async with self._turn:
            cursor = await self._connection.execute(DUE, values, prepare=True, binary=True)
            return [DueLane(Lane(*row[:2]), row[2]) for row in await cursor.fetchall()]

    async def waiting(self, lanes: Iterable[Lane]) -> dict[Lane, list[WaitingDelivery]]:
        """What waits in lanes, in order; nothing where the webhook is not to be called. Lanes are left out whose
        events cannot be read now, or ever, as their archive is away or damaged.
        """
        found: dict[Lane, list[WaitingDelivery]] = {lane: [] for lane in lanes}
        unreadable: dict[str, Unreadable] = {}
        async with self._turn:
            rows = await fetch_of_streams(
                self._connection,
                LOAD,
                columns(LANES, found),
                (lane.stream for lane in found),
                prepare=True,
                unreadable=unreadable,
            )
        for row in rows:
            lane = Lane(*row[:2])
            found[lane].append(WaitingDelivery(lane, *row[2:]))
        for error in unreadable.values():
            report_if_damaged(error)
        return {lane: waits for lane, waits in found.items() if lane.stream not in unreadable}

    async def is_changed(self, waiting: WaitingDelivery) -> bool:
        """Whether the webhook has other settings than those by which it was called, or was removed."""
        async with self._turn:
            return not await self._one(SET, (waiting.lane.webhook, waiting.set_by, waiting.set_at))

    async def postpone(self, lanes: Sequence[Lane], later: datetime) -> None:
        """Look at these lanes later."""
        async with self.entering() as (connection, *_):
            await connection.execute(POSTPONE, (later, *columns(LANES, lanes)))

    async def remove_empty(self, lanes: Sequence[Lane], later: datetime) -> None:
        """Remove lanes in which nothing waits that may be called. While the read model is behind, as it is made
        again, they are looked at later.
        """
        async with self.entering() as (connection, head, seen):
            if seen < head:
                await connection.execute(POSTPONE, (later, *columns(LANES, lanes)))
                return
            await connection.execute(GONE, columns(LANES, lanes))
            await connection.execute(REMOVE_EMPTY_LANES, columns(LANES, lanes))

    async def settle(self, settled: Sequence[Settled]) -> dict[str, Standing]:
        """Keep what came of calls; how the webhooks stand after them."""
        async with self._turn, self._connection.transaction():
            await self._one(LOCK)
            values = columns(SETTLED, settled)
            cursor = await self._connection.execute(SETTLE, values, prepare=True, binary=True)
            return {row[0]: Standing(*row[1:]) for row in await cursor.fetchall()}

    async def announce(self, webhook: str, *, failing: bool, over: bool = False) -> None:
        """Keep that the log says of a webhook that it fails, or no more; its failures may be `over`."""
        async with self._turn:
            await self._connection.execute(ANNOUNCE, (failing, over, webhook))

    async def forget(self, until: datetime, limit: int) -> int:
        """Drop what was settled before a time, so many at most; how many that were."""
        async with self._turn:
            return await self._one(FORGET, (until, limit))

    async def _one(self, query: str, values: Sequence[object] = ()) -> int:
        row = await (await self._connection.execute(query, values)).fetchone()
        assert row is not None
        return int(row[0])


async def enter(connection: AsyncConnection, owed: Sequence[Owed], now: datetime) -> None:
    """Enter what webhooks are owed, due now, in the transaction of the connection."""
    if owed:
        await connection.execute(ENTER, (*columns(OWED, owed), now))
