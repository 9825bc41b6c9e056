"""The queue of claimable executions as one process knows it, from the read model and the newest events of the log.

The read model is read again only when the executions read from it are used up, when an event has queued an execution
again or changed its rank, and every second. Each look reads the events of the log since the previous look.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from heapq import merge
from math import inf
from time import monotonic
from typing import Any, NamedTuple

import orjson
from psycopg import AsyncConnection

from domain.execution.events.claims import ExecutionReleased
from domain.execution.events.creation import ExecutionCreated, ExecutionUpdated
from domain.execution.events.lifecycle import ExecutionCancelled, ExecutionStarting
from domain.model import aggregate_id
from domain.types import Priority
from projections.claims.row import RANKS

FARTHEST = 5_000
"""Events of the log that a look reads at most. Older changes are found in the read model."""
OFTEN = 0.5
"""Seconds since the previous look after which a look first reads the positions of the log and of the read model."""
SPARE = 500
"""Executions that are read from the read model beyond those that were asked for."""
MANY = 2_000
"""Events that the read model may have applied since it was read. Every search goes through the executions that these
events added or removed."""
AGAIN = 1.0
"""Seconds after which the read model is read again, as a rebuild may have replaced it."""
BOOKMARK_AND_HEAD = """SELECT coalesce((SELECT position FROM bookmarks WHERE view = 'claims'), 0) AS position,
    head.position AS head FROM head"""
TOPICS = (
    ExecutionCreated,
    ExecutionStarting,
    ExecutionCancelled,
    ExecutionUpdated,
    ExecutionReleased,
)
SCAN = f"""SELECT position, head, NULL, NULL, NULL::bytea FROM ({BOOKMARK_AND_HEAD}) AS reached UNION ALL
    SELECT notification_id, NULL, topic, originator_id,
        CASE WHEN topic = '{ExecutionCreated.type}' THEN state END
    FROM (SELECT notification_id, topic, originator_id, state FROM events
        WHERE notification_id > %b ORDER BY notification_id LIMIT {FARTHEST}) AS new
    WHERE topic IN ({", ".join(f"'{event.type}'" for event in TOPICS)})"""
"""The positions of the read model and of the log, and the events after a position. The inner LIMIT makes PostgreSQL use
the index even if its statistics do not cover the newest events yet."""
NEXT = """(SELECT {nth} AS nth, rank, created, execution FROM claims
    WHERE status = 'queued'{conditions} ORDER BY rank DESC, created LIMIT (SELECT %b::bigint))"""
READ = f"""SELECT NULL::int AS nth, NULL::bigint AS rank, position AS created, NULL AS execution
    FROM ({BOOKMARK_AND_HEAD}) AS reached UNION ALL SELECT nth, rank, created, execution FROM ({{found}}) AS next
    ORDER BY nth NULLS FIRST, rank DESC, created"""
"""The position of the read model, and the first executions of each filter. The planner does not see the value of the inner
LIMIT; so it takes the index in the order of the queue, even for a table without statistics, instead of sorting all of it.
"""


Owner = tuple[str, str]
"""A column of `claims` such as `provider`, and a value that an execution must have in it."""


class ClaimFilter(NamedTuple):
    """The executions that a worker asks for: of a service and of an assignee, by their ids; None for any.

    The worker may claim an execution that has all values of at least one group of `owners`; None: any execution.
    """

    service: str | None = None
    assignee: str | None = None
    owners: tuple[tuple[Owner, ...], ...] | None = None

    def conditions(self, values: list[Any]) -> str:
        """Return the filter as SQL that begins with AND; values to bind are appended to `values`."""
        wanted = {"service": self.service, "assignee": self.assignee}
        sql = "".join(f" AND {name} = %b" for name, value in wanted.items() if value is not None)
        values += [value for value in wanted.values() if value is not None]
        if self.owners is None:
            return sql
        values += [value for group in self.owners for _, value in group]
        groups = (" AND ".join(f"{name} = %b" for name, _ in group) for group in self.owners)
        return f"{sql} AND ({' OR '.join(groups) or 'false'})"


class Queued(NamedTuple):
    """An execution in the queue. As tuples these sort in the order of the queue: the most urgent first, then the oldest."""

    urgency: int
    created: int
    execution: str


class Created(NamedTuple):
    """A created execution that the read model may not have yet."""

    queued: Queued
    service: str
    customer: str
    provider: str
    assignee: str | None

    def meets(self, wanted: ClaimFilter) -> bool:
        """Whether the execution meets a filter."""
        fits = wanted.service in (None, self.service) and wanted.assignee in (None, self.assignee)
        return fits and (
            wanted.owners is None
            or any(
                all(getattr(self, name, None) == value for name, value in group)
                for group in wanted.owners
            )
        )


class ClaimQueue:
    """The queued executions, the last position of the log (`head`) and the position of the read model (`position`), all
    as of the last look.

    `unsettled` is the position of the last event that queued an execution again or may have changed its rank. Only the
    read model shows its place in the queue then.
    """

    def __init__(self) -> None:
        self.head = self.position = self.unsettled = 0
        self._scanned_until = 0
        self._last_look_at = -inf
        self._created: dict[str, Created] = {}
        self._dequeued: dict[str, int] = {}
        """The position of the event that took each execution out of the queue."""
        self._read: dict[ClaimFilter, list[Queued]] = {}
        self._exhausted: set[ClaimFilter] = set()
        """The filters for which the read model had no more executions than were read."""
        self._read_position = -1
        self._read_time = -inf
        self._without_gap_from = 0
        """The position from which on all events of the log were read."""

    @property
    def settled(self) -> bool:
        """Whether the read model has applied all events that changed the order of the queue."""
        return self.unsettled <= self.position

    async def catch_up(self, connection: AsyncConnection) -> None:
        """Read the events since the last look."""
        if monotonic() - self._last_look_at > OFTEN:
            cursor = await connection.execute(BOOKMARK_AND_HEAD, binary=True)
            self.position, self.head = (await cursor.fetchall())[0]
            begin = max(self._scanned_until, self.position, self.head - FARTHEST)
            if begin > self._scanned_until:
                self._scanned_until = self._without_gap_from = begin
        await self._scan(connection)
        self._last_look_at = monotonic()

    async def _scan(self, connection: AsyncConnection) -> None:
        values = (self._scanned_until,)
        # Not prepared: the best plan depends on the position.
        cursor = await connection.execute(SCAN, values, prepare=False, binary=True)
        for position, head, topic, stream, state in await cursor.fetchall():
            if topic is None:
                self.position, self.head = position, head
            elif topic == ExecutionCreated.type:
                self._created[aggregate_id(stream)] = _parse_created(stream, position, state)
            elif topic in (ExecutionUpdated.type, ExecutionReleased.type):
                self.unsettled = max(self.unsettled, position)
            else:
                self._dequeued[aggregate_id(stream)] = position
        if self.head > self._scanned_until + FARTHEST:
            self._without_gap_from = self.head
        self._scanned_until = self.head

    async def first(
        self,
        connection: AsyncConnection,
        wanted: Mapping[ClaimFilter, int],
        passed: Collection[str],
    ) -> dict[ClaimFilter, list[str]]:
        """Return the first queued executions for each filter, up to its number, without those in `passed`."""
        found = self._first(wanted, passed)
        short = {each for each, number in wanted.items() if len(found[each]) < number}
        if self._is_old() or wanted.keys() - self._read.keys() or short - self._exhausted:
            await self._read_again(connection, wanted, SPARE + len(passed))
            found = self._first(wanted, passed)
        return found

    def _is_old(self) -> bool:
        """Whether the rows that were read, together with the events read since, may not give the present queue."""
        return (
            self._read_position < max(self.unsettled, self._without_gap_from)
            or self.position > self._read_position + MANY
            or monotonic() - self._read_time > AGAIN
        )

    def _first(
        self, wanted: Mapping[ClaimFilter, int], passed: Collection[str]
    ) -> dict[ClaimFilter, list[str]]:
        found: dict[ClaimFilter, list[str]] = {}
        for claim_filter, number in wanted.items():
            created = sorted(
                each.queued for each in self._created.values() if each.meets(claim_filter)
            )
            chosen: list[str] = []
            found[claim_filter] = chosen
            for queued in merge(self._read.get(claim_filter, ()), created):
                if len(chosen) == number:
                    break
                unavailable = queued.execution in passed or queued.execution in self._dequeued
                if not unavailable and queued.execution not in chosen[-1:]:
                    chosen.append(queued.execution)
        return found

    async def _read_again(
        self, connection: AsyncConnection, wanted: Mapping[ClaimFilter, int], more: int
    ) -> None:
        query, values = read_query({each: number + more for each, number in wanted.items()})
        cursor = await connection.execute(query, values, prepare=False, binary=True)
        (_, _, self._read_position, _), *rows = await cursor.fetchall()
        filters = list(wanted)
        self._read = {each: [] for each in filters}
        for nth, rank, created, execution in rows:
            self._read[filters[nth]].append(Queued(-rank, created, execution))
        self._exhausted = {each for each in filters if len(self._read[each]) < wanted[each] + more}
        self._read_time = monotonic()
        self.position = self._read_position
        self._created = {
            execution: each
            for execution, each in self._created.items()
            if each.queued.created > self._read_position
        }
        self._dequeued = {
            execution: position
            for execution, position in self._dequeued.items()
            if position > self._read_position
        }


def read_query(wanted: Mapping[ClaimFilter, int]) -> tuple[str, list[Any]]:
    """Return the query `READ` for the first executions of each filter, up to its number, and the values to bind."""
    values: list[Any] = []
    parts = []
    for nth, (claim_filter, number) in enumerate(wanted.items()):
        conditions = claim_filter.conditions(values)
        values.append(number)
        parts.append(NEXT.format(nth=nth, conditions=conditions))
    return READ.format(found=" UNION ALL ".join(parts)), values


def _parse_created(stream: str, position: int, state: bytes) -> Created:
    event = orjson.loads(state)
    rank = RANKS[Priority(event.get("priority", Priority.NORMAL))]
    assigned = (event.get("assignee") or {}).get("id")
    queued = Queued(-rank, position, aggregate_id(stream))
    return Created(queued, event["service"], event["customer"], event["provider"], assigned)
