"""Looks through the log for what webhooks are owed, and enters it in their queue.

Webhooks that are up to the log share one look at each page of it, up to the position in `webhook_head`. One
that begins in the past, was rewound, or cannot be served now has a position of its own, and joins the others when it is
there (see `catch_up`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from psycopg import AsyncConnection

from domain.catalog.webhook import WebhookDisabled, WebhookEnabled
from domain.damage import report
from domain.eventlog.store import Store
from domain.model import aggregate_id
from projections.deliveries import owed_queries as sql
from projections.deliveries.queue import DeliveryQueue, enter
from projections.deliveries.queue_queries import HAS_WEBHOOKS_SEEN
from workers.webhooks.catch_up import CatchUp
from workers.webhooks.matching import HookFilter, HookIndex, UnreadableHook
from workers.webhooks.owed import OwedFinder, owed_to_executions, rows_of_types

PAGE = 2_000
"""Events that are looked through at once."""
OWN = "webhook."
"""So begin the types of events that change webhooks."""
BEGIN_ANEW = frozenset({WebhookDisabled.type, WebhookEnabled.type})
"""Events after which earlier failures of a webhook do not count any more."""


class WebhookDispatcher:
    """Enters what webhooks are owed, page by page."""

    def __init__(self, store: Store, queue: DeliveryQueue, clock: Callable[[], datetime]) -> None:
        self._queue = queue
        self._clock = clock
        self._finder = OwedFinder(store)
        self._catch_up = CatchUp(store, queue, self._finder, clock)
        self._hooks: dict[str, HookFilter] = {}
        self._known = False
        """Whether those are all that can be read, as they are now."""
        self._behind: list[str] = []
        self._index = HookIndex()
        self.retry_at: datetime | None = None
        """When to try again what of the past could not be read."""

    async def step(self) -> bool:
        """Look through the next page for all, and for some that are behind; whether there may be more."""
        self.retry_at = None
        if not await self._queue.has_more():
            return False
        async with self._queue.entering() as (connection, head, seen):
            if seen < head:  # the read model is made again: not all webhooks are known
                return False
            await self._look_up(connection, head)
            until = await self._advance(connection, head, seen)
        more = await self._catch_up.step(self._behind, self._hooks)
        self.retry_at = self._catch_up.retry_at
        return seen > until or more

    async def _look_up(self, connection: AsyncConnection, head: int) -> None:
        """Know the webhooks there are, and which of them are behind."""
        fresh = not self._known
        if fresh:
            await connection.execute(sql.BEGIN_HOOKS, (head,))
            self._hooks = await _read_hooks(connection, head)
            self._known = True
        rows = await (await connection.execute(sql.BEHIND)).fetchall()
        behind = [row[0] for row in rows]
        if fresh or behind != self._behind:
            live = self._hooks.keys() - set(behind)
            self._index = HookIndex(self._hooks[name] for name in sorted(live))
        self._behind = behind

    async def _advance(self, connection: AsyncConnection, head: int, seen: int) -> int:
        """Move the position of those that are up to the log by a page, or up to `seen` where nothing is owed; return it."""
        if not self._hooks and (none_until := await _is_without_webhooks(connection)):
            until = max(head, none_until)
        else:
            until = min(head + PAGE, seen)
            if until > head:
                await self._live(connection, head, until)
        if until > head:
            await connection.execute(sql.MOVE, (until,))
        return until

    async def _live(self, connection: AsyncConnection, head: int, until: int) -> None:
        rows = await rows_of_types(connection, head, until, self._index.types, PAGE)
        anew = [aggregate_id(row.stream) for row in rows if row.type in BEGIN_ANEW]
        if any(row.type.startswith(OWN) for row in rows):
            self._known = False
            await self._look_up(connection, head)
            rows = await rows_of_types(connection, head, until, self._index.types, PAGE)
        found = await self._finder.find(self._index, rows)
        of_executions = await owed_to_executions(connection, head, until)
        now = self._clock()
        await enter(connection, of_executions.owed + found.owed, now)
        if undecided := [*found.undecided, *of_executions.undecided]:
            await connection.execute(sql.HOLD, (head, undecided))
        if anew:
            await connection.execute(sql.FORGIVE, (anew,))
        await connection.execute(sql.WAKE, (now, head, until))


async def _is_without_webhooks(connection: AsyncConnection) -> int:
    """The position up to which no webhook was made, but those that were removed; 0 where there is any, called or not."""
    [(found, seen)] = await (await connection.execute(HAS_WEBHOOKS_SEEN)).fetchall()
    return 0 if found else int(seen)


async def _read_hooks(connection: AsyncConnection, head: int) -> dict[str, HookFilter]:
    """The webhooks of the whole log that can be read. The others wait from here on, and hold up none."""
    hooks, unreadable = {}, []
    for *row, scope in await (await connection.execute(sql.OF_LOG)).fetchall():
        try:
            hooks[row[0]] = HookFilter.read(*row, scope=scope)
        except UnreadableHook as error:
            report(error)
            unreadable.append(row[0])
    if unreadable:
        await connection.execute(sql.HOLD, (head, unreadable))
    return hooks
