"""The outbox of webhooks: the one process that calls them enters events, finds those that are due, and settles them.

Events wait in lanes, one for each webhook and stream, and of a lane only the first is called. A process that writes
here holds the row `webhook_head` until the commit: this process, on the connection that holds its lock, so
that no statement of a former owner comes after one of the next, and the servers (see `requests`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import NamedTuple

from psycopg import AsyncConnection

from domain.damage import report_if_damaged
from domain.errors import Unreadable
from domain.eventlog.archive.archived_queries import fetch_of_streams
from domain.eventlog.connection.pg_arrays import array, columns
from projections.deliveries import queue_queries as sql


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
    secret, how often it was rewound, and the event's own row; `data` is None where that is large.
    """

    lane: Lane
    execution: str | None
    set_by: str
    set_at: int
    generation: int
    overlap_until: datetime | None
    rewinds: int
    position: int
    version: int
    attempts: int
    at: datetime
    type: str
    meta: str
    data: bytes | None


class Settled(NamedTuple):
    """What came of a call. `status` is None where there was no answer, `latency` in milliseconds, `answer` the first
    KiB. `next_at` is when the lane is called again, None: at once. `rewinds` is how often the webhook had been rewound;
    `set_by`, `set_at` and `generation` say by which settings and which secret it was called (see `WaitingDelivery`).
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
    rewinds: int
    set_by: str
    set_at: int
    generation: int


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
            return bool(await self._one(sql.READ_HAS_MORE))

    async def has_webhooks(self) -> bool:
        """Whether there is any webhook, called or not."""
        async with self._turn:
            return bool(await self._one(sql.HAS_WEBHOOKS))

    async def next_due(self, paused_until: Mapping[str, datetime]) -> datetime | None:
        """When the next lane is due, of some endpoints not before a time."""
        endpoints, times = sql.HELD
        values = array(endpoints, list(paused_until)), array(times, list(paused_until.values()))
        async with self._turn:
            cursor = await self._connection.execute(sql.NEXT, values, binary=True)
            [(at,)] = await cursor.fetchall()
        return at  # type: ignore[no-any-return]  # a time, or NULL

    async def note_fault(self, webhook: str, fault: str) -> None:
        """Keep why nothing is entered for a webhook that is behind."""
        async with self._turn:
            await self._connection.execute(sql.FAULT, (fault, webhook, fault))

    @asynccontextmanager
    async def entering(self) -> AsyncIterator[tuple[AsyncConnection, int, int]]:
        """A transaction that enters what is owed: its connection, the position up to which that was
        done, and the one up to which webhooks are known.
        """
        async with self._turn, self._connection.transaction():
            head = await self._one(sql.LOCK)
            yield self._connection, head, await self._one(sql.SEEN)

    async def due(
        self, now: datetime, full: list[str], of_an_endpoint: int, limit: int
    ) -> list[DueLane]:
        """The lanes to call now, without those of some endpoints."""
        values = (now, of_an_endpoint, full, limit)
        async with self._turn:
            cursor = await self._connection.execute(sql.DUE, values, prepare=True, binary=True)
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
                sql.LOAD,
                columns(sql.LANES, found),
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

    async def postpone(self, lanes: Sequence[Lane], later: datetime) -> None:
        """Look at these lanes later."""
        async with self.entering() as (connection, *_):
            await connection.execute(sql.POSTPONE, (later, *columns(sql.LANES, lanes)))

    async def remove_empty(self, lanes: Sequence[Lane], later: datetime) -> None:
        """Remove lanes in which nothing waits that may be called. While the read model is behind, as it is made
        again, they are looked at later.
        """
        async with self.entering() as (connection, head, seen):
            if seen < head:
                await connection.execute(sql.POSTPONE, (later, *columns(sql.LANES, lanes)))
                return
            await connection.execute(sql.GONE, columns(sql.LANES, lanes))
            await connection.execute(sql.REMOVE_EMPTY_LANES, columns(sql.LANES, lanes))

    async def settle(self, settled: Sequence[Settled]) -> list[Standing | None]:
        """Keep what came of calls; return how each one's webhook stands after all of them. None is returned for what is not
        kept, as the event is sent again: what was sent before the webhook was rewound, and a failure before its settings or
        its secret changed, or it was removed.
        """
        async with self._turn, self._connection.transaction():
            await self._one(sql.LOCK)
            values = columns(sql.SETTLED, settled)
            cursor = await self._connection.execute(sql.SETTLE, values, prepare=True, binary=True)
            standing = {nth: Standing(*of_it) for nth, *of_it in await cursor.fetchall()}
        return [standing.get(nth) for nth in range(1, len(settled) + 1)]

    async def announce(self, webhook: str, *, failing: bool, over: bool = False) -> None:
        """Keep that the log says of a webhook that it fails, or no more; its failures may be `over`."""
        async with self._turn:
            await self._connection.execute(sql.ANNOUNCE, (failing, over, webhook))

    async def sweep(self, after: str, limit: int) -> str:
        """Drop how webhooks stand that were removed, among as many as `limit` that follow on one; the last of these,
        or nothing after the last one.
        """
        async with self.entering() as (connection, head, seen):
            if seen < head:  # the read model is made again
                return after
            cursor = await connection.execute(sql.SWEEP, (after, limit))
            [(last,)] = await cursor.fetchall()
        return last or ""

    async def forget(self, until: datetime, limit: int) -> int:
        """Drop what was settled before a time, so many at most; how many that were."""
        async with self._turn:
            return await self._one(sql.FORGET, (until, limit))

    async def _one(self, query: str, values: Sequence[object] = ()) -> int:
        row = await (await self._connection.execute(query, values)).fetchone()
        assert row is not None
        return int(row[0])


async def enter(connection: AsyncConnection, owed: Sequence[Owed], now: datetime) -> None:
    """Enter what webhooks are owed, due now, in the transaction of the connection."""
    if owed:
        await connection.execute(sql.ENTER, (*columns(sql.OWED, owed), now))
