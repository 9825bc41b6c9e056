"""The queue of claimable executions as one process knows it: the read model, and what the log has had since.

The read model is read again only when what was read is used up, when something has got another place in it, and every
second. Of the log, each look reads what came since the last one.
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
"""Events that are read of the log at once, at most: what is older the read model will show."""
OFTEN = 0.5
"""Seconds after which a look first asks where to begin."""
SPARE = 500
"""Executions that are read of the read model beyond those that are asked for."""
MANY = 2_000
"""Events by which it has gone on since it was read: what came or went with them, each look goes through."""
AGAIN = 1.0
"""Seconds after which it is read again at least: it may have been made again."""
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
"""The limit makes sure that an index is used: statistics may know nothing of the newest events yet."""
NEXT = """(SELECT {nth} AS nth, rank, created, execution FROM claims
    WHERE status = 'queued'{conditions} ORDER BY rank DESC, created LIMIT %b)"""
READ = f"""SELECT NULL::int AS nth, NULL::bigint AS rank, position AS created, NULL AS execution
    FROM ({BOOKMARK_AND_HEAD}) AS reached UNION ALL SELECT nth, rank, created, execution FROM ({{found}}) AS next
    ORDER BY nth NULLS FIRST, rank DESC, created"""


Owner = tuple[str, str]
"""A column of `claims`, such as `provider`, and its value: whose an execution is."""


class ClaimFilter(NamedTuple):
    """What a worker asks for: executions of a service, or of an assignee, by id; None for any. It may have those
    that are of all owners of one of these groups, None: all.
    """

    service: str | None = None
    assignee: str | None = None
    owners: tuple[tuple[Owner, ...], ...] | None = None

    def conditions(self, values: list[Any]) -> str:
        """As SQL; what has to be bound is appended to `values`."""
        asked = {"service": self.service, "assignee": self.assignee}
        found = "".join(f" AND {name} = %b" for name, value in asked.items() if value is not None)
        values += [value for value in asked.values() if value is not None]
        if self.owners is None:
            return found
        values += [value for group in self.owners for _, value in group]
        groups = (" AND ".join(f"{name} = %b" for name, _ in group) for group in self.owners)
        return f"{found} AND ({' OR '.join(groups) or 'false'})"


class Queued(NamedTuple):
    """An execution in the queue, in whose order these are: the most urgent, then the oldest, first."""

    urgency: int
    created: int
    execution: str


class Created(NamedTuple):
    """One that the read model may not know yet."""

    queued: Queued
    service: str
    customer: str
    provider: str
    assignee: str | None

    def meets(self, wanted: ClaimFilter) -> bool:
        """Whether it is what a worker asks for, and may have."""
        asked = wanted.service in (None, self.service) and wanted.assignee in (None, self.assignee)
        return asked and (
            wanted.owners is None
            or any(
                all(getattr(self, name, None) == value for name, value in group)
                for group in wanted.owners
            )
        )


class ClaimQueue:
    """Where the log is, `head`, and the read model, `position`, at the last look; and what is queued.

    `unsettled` is the last event that queued something again or may have given it another place, which
    the read model alone can tell.
    """

    def __init__(self) -> None:
        self.head = self.position = self.unsettled = 0
        self._scanned = 0
        self._looked_at = -inf
        self._created: dict[str, Created] = {}
        self._gone: dict[str, int] = {}
        self._read: dict[ClaimFilter, list[Queued]] = {}
        self._whole: set[ClaimFilter] = set()
        """Of these, all that are queued were read."""
        self._read_at = -1
        self._read_time = -inf
        self._without_gap_from = 0
        """The position from which on all events of the log were seen."""

    @property
    def settled(self) -> bool:
        """Whether every place in it is known."""
        return self.unsettled <= self.position

    async def catch_up(self, connection: AsyncConnection) -> None:
        """Learn what came since the last look."""
        if monotonic() - self._looked_at > OFTEN:
            cursor = await connection.execute(BOOKMARK_AND_HEAD, binary=True)
            self.position, self.head = (await cursor.fetchall())[0]
            begin = max(self._scanned, self.position, self.head - FARTHEST)
            if begin > self._scanned:
                self._scanned = self._without_gap_from = begin
        await self._scan(connection)
        self._looked_at = monotonic()

    async def _scan(self, connection: AsyncConnection) -> None:
        values = (self._scanned,)
        # Never prepared: where to begin decides how it is best done.
        cursor = await connection.execute(SCAN, values, prepare=False, binary=True)
        for position, head, topic, stream, state in await cursor.fetchall():
            if topic is None:
                self.position, self.head = position, head
            elif topic == ExecutionCreated.type:
                self._created[aggregate_id(stream)] = _parse_created(stream, position, state)
            elif topic in (ExecutionUpdated.type, ExecutionReleased.type):
                self.unsettled = max(self.unsettled, position)
            else:
                self._gone[aggregate_id(stream)] = position
        if self.head > self._scanned + FARTHEST:
            self._without_gap_from = self.head
        self._scanned = self.head

    async def first(
        self,
        connection: AsyncConnection,
        wanted: Mapping[ClaimFilter, int],
        passed: Collection[str],
    ) -> dict[ClaimFilter, list[str]]:
        """The first executions for each thing that is asked for, as many as it counts, without those `passed`."""
        found = self._first(wanted, passed)
        short = {one for one, number in wanted.items() if len(found[one]) < number}
        if self._is_old() or wanted.keys() - self._read.keys() or short - self._whole:
            await self._read_again(connection, wanted, SPARE + len(passed))
            found = self._first(wanted, passed)
        return found

    def _is_old(self) -> bool:
        """Whether what was read does not tell, together with what was seen of the log, what is queued now."""
        return (
            self._read_at < max(self.unsettled, self._without_gap_from)
            or self.position > self._read_at + MANY
            or monotonic() - self._read_time > AGAIN
        )

    def _first(
        self, wanted: Mapping[ClaimFilter, int], passed: Collection[str]
    ) -> dict[ClaimFilter, list[str]]:
        found: dict[ClaimFilter, list[str]] = {}
        for one, number in wanted.items():
            created = sorted(each.queued for each in self._created.values() if each.meets(one))
            chosen: list[str] = []
            found[one] = chosen
            for queued in merge(self._read.get(one, ()), created):
                if len(chosen) == number:
                    break
                known = queued.execution in passed or queued.execution in self._gone
                if not known and queued.execution not in chosen[-1:]:
                    chosen.append(queued.execution)
        return found

    async def _read_again(
        self, connection: AsyncConnection, wanted: Mapping[ClaimFilter, int], more: int
    ) -> None:
        values: list[Any] = []
        parts = []
        for nth, (one, number) in enumerate(wanted.items()):
            conditions = one.conditions(values)
            values.append(number + more)
            parts.append(NEXT.format(nth=nth, conditions=conditions))
        query = READ.format(found=" UNION ALL ".join(parts))
        cursor = await connection.execute(query, values, prepare=False, binary=True)
        (_, _, self._read_at, _), *rows = await cursor.fetchall()
        kinds = list(wanted)
        self._read = {one: [] for one in kinds}
        for nth, rank, created, execution in rows:
            self._read[kinds[nth]].append(Queued(-rank, created, execution))
        self._whole = {one for one in kinds if len(self._read[one]) < wanted[one] + more}
        self._read_time = monotonic()
        self.position = self._read_at
        self._created = {
            execution: one
            for execution, one in self._created.items()
            if one.queued.created > self._read_at
        }
        self._gone = {
            execution: position
            for execution, position in self._gone.items()
            if position > self._read_at
        }


def _parse_created(stream: str, position: int, state: bytes) -> Created:
    event = orjson.loads(state)
    rank = RANKS[Priority(event.get("priority", Priority.NORMAL))]
    assigned = (event.get("assignee") or {}).get("id")
    queued = Queued(-rank, position, aggregate_id(stream))
    return Created(queued, event["service"], event["customer"], event["provider"], assigned)
