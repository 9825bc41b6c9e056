"""Looks through the log for what webhooks are owed, and enters it in their queue.

Webhooks that are up to the log share one look at each page of it, up to the position in `webhook_head`. One
that begins in the past, or was rewound, has a position of its own, and joins the others when it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from domain.catalog.webhook import WebhookDisabled, WebhookEnabled
from domain.damage import report, report_if_damaged
from domain.errors import Damaged, Unreadable
from domain.eventlog.archive.archived_queries import fetch_of_span
from domain.eventlog.codec import EventRow
from domain.eventlog.store import Store
from domain.execution.webhook_events import matches as names_match
from domain.model import aggregate_id
from projections.deliveries import owed_queries as sql
from projections.deliveries.queue import DeliveryQueue, Owed, enter
from workers.webhooks.event_states import EventStates
from workers.webhooks.matching import HookFilter, HookIndex, LoggedEvent

PAGE = 2_000
"""Events that are looked through at once."""
PAST = 50_000
"""Events of the past that are looked through at once, and of which `PAGE` at most are entered."""
OWN = "webhook."
"""So begin the types of events that change webhooks."""
BEGIN_ANEW = frozenset({WebhookDisabled.type, WebhookEnabled.type})
"""Events after which earlier failures of a webhook do not count any more."""


class WebhookDispatcher:
    """Enters what webhooks are owed, page by page."""

    def __init__(self, store: Store, queue: DeliveryQueue, clock: Callable[[], datetime]) -> None:
        self._queue = queue
        self._clock = clock
        self._states = EventStates(store)
        self._hooks: dict[str, HookFilter] | None = None
        self._behind: dict[str, int] = {}
        self._index = HookIndex()

    async def step(self) -> bool:
        """Look through the next page for all, and for each that is behind; whether there may be more."""
        if not await self._queue.has_more():
            return False
        async with self._queue.entering() as (connection, head, seen):
            if seen < head:  # the read model is made again: not all webhooks are known
                return False
            await self._look_up(connection, head)
            until = min(head + PAGE, seen)
            if until > head:
                await self._live(connection, head, until)
            # Up to where the others are now: what they have just looked through was not for these.
            behind = [
                await self._catch_up(connection, hook, until) for hook in self._behind.items()
            ]
        return seen > until or any(behind)

    async def _look_up(self, connection: AsyncConnection, head: int) -> None:
        """Know the webhooks there are, and which of them are behind."""
        rows = await (await connection.execute(sql.BEHIND)).fetchall()
        behind: dict[str, int] = {row[0]: row[1] for row in rows}
        if behind.keys() - self._behind.keys():  # perhaps it was changed before it was rewound
            self._hooks = None
        fresh = self._hooks is None
        if self._hooks is None:
            await connection.execute(sql.BEGIN_HOOKS, (head,))
            cursor = await connection.execute(sql.OF_LOG)
            hooks = [HookFilter.read(*row[:-1], scope=row[-1]) for row in await cursor.fetchall()]
            self._hooks = {hook.webhook: hook for hook in hooks}
            rows = await (await connection.execute(sql.BEHIND)).fetchall()
            behind = {row[0]: row[1] for row in rows}
        if fresh or behind.keys() != self._behind.keys():
            live = [hook for name, hook in self._hooks.items() if name not in behind]
            self._index = HookIndex(live)
        self._behind = behind

    async def _live(self, connection: AsyncConnection, head: int, until: int) -> None:
        rows = await _rows(connection, head, until, self._index.types, PAGE)
        anew = [aggregate_id(row.stream) for row in rows if row.type in BEGIN_ANEW]
        if any(row.type.startswith(OWN) for row in rows):
            self._hooks = None
            await self._look_up(connection, head)
            rows = await _rows(connection, head, until, self._index.types, PAGE)
        owed = await _of_executions(connection, head, until)
        owed += await self._find_owed(self._index, rows)
        now = self._clock()
        await enter(connection, owed, now)
        if anew:
            await connection.execute(sql.FORGIVE, (anew,))
        await connection.execute(sql.WAKE, (now, head, until))
        await connection.execute(sql.MOVE, (until,))

    async def _catch_up(
        self, connection: AsyncConnection, behind: tuple[str, int], head: int
    ) -> bool:
        """Look through a page of the past for one webhook; whether there is more. Where the past cannot be read, as
        its archive is away or damaged, it waits there, and holds up no other.
        """
        try:
            return await self._look_back(connection, *behind, head)
        except Unreadable as error:  # nothing was written
            report_if_damaged(error)
            return False

    async def _look_back(
        self, connection: AsyncConnection, webhook: str, position: int, head: int
    ) -> bool:
        hook = (self._hooks or {}).get(webhook)
        if hook is None:  # it is disabled, or removed
            await connection.execute(sql.CAUGHT_UP, (None, webhook))
            return False
        cursor = await connection.execute(sql.MANY_WAIT, (webhook,))
        if (await cursor.fetchone()) == (True,):
            return False
        until = min(position + PAST, head)
        index = HookIndex([replace(hook, since=position)])
        rows = await _rows(connection, position, until, index.types, PAGE)
        if len(rows) == PAGE:
            until = rows[-1].position
        await enter(connection, await self._find_owed(index, rows), self._clock())
        done = until >= head
        await connection.execute(sql.CAUGHT_UP, (None if done else until, webhook))
        return not done

    async def _find_owed(self, index: HookIndex, rows: Iterable[EventRow]) -> list[Owed]:
        events = list(_events(rows))
        folded = [event.row for event in events if index.needs_state(event)]
        states: dict[tuple[str, int], Any] = await self._states.of(folded) if folded else {}
        return [
            Owed(hook.webhook, row.position, row.stream, row.version, hook.endpoint)
            for event in events
            for row in (event.row,)
            for hook in index.find(event, states.get((row.stream, row.version)))
        ]


def _events(rows: Iterable[EventRow]) -> Iterator[LoggedEvent]:
    """Those that can be read: nobody can say whom the others concern."""
    for row in rows:
        try:
            yield LoggedEvent.read(row)
        except Damaged as error:
            report(error)


async def _rows(
    connection: AsyncConnection, after: int, until: int, types: Sequence[str], limit: int
) -> list[EventRow]:
    values = (after, until, list(types), limit)
    rows = await fetch_of_span(connection, sql.OF_TYPES, values, after, until)
    return [EventRow(*row) for row in rows]


async def _of_executions(connection: AsyncConnection, after: int, until: int) -> list[Owed]:
    """What the webhooks of executions are owed."""
    cursor = await connection.execute(sql.OF_EXECUTIONS, (after, until), prepare=False, binary=True)
    rows = await cursor.fetchall()
    owed = []
    for row in rows:
        try:
            owed.append(find_owed(*row[:4], row=EventRow(*row[4:])))
        except Damaged as error:
            report(error)
    return [found for found in owed if found is not None]


def find_owed(
    webhook: str, since: int, endpoint: str, events: Sequence[str], *, row: EventRow
) -> Owed | None:
    """What a webhook of an execution is owed by an event of it, if it is. Raises Damaged where that cannot be read."""
    event = LoggedEvent.read(row)
    if event.imported or row.position <= since:
        return None
    if not names_match(tuple(events), row.type, final=event.final):
        return None
    return Owed(webhook, row.position, row.stream, row.version, endpoint)
