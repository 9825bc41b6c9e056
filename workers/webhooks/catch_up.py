"""Looks through the past for webhooks that are behind the others, a page of each in turn.

Each page is entered, and the webhook's position moved, in one transaction, so a crash neither skips nor repeats
anything. What is read for it is read before, as an archive may be slow: nothing is held meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from psycopg import AsyncConnection

from domain.damage import report_if_damaged
from domain.errors import ArchiveAway, Unreadable
from domain.eventlog.codec import EventRow
from domain.eventlog.store import Store
from projections.deliveries import owed_queries as sql
from projections.deliveries.queue import DeliveryQueue, Owed, enter
from workers.webhooks.matching import HookFilter, HookIndex, UnreadableHook
from workers.webhooks.owed import (
    ExecutionHook,
    OwedFinder,
    owed_to,
    rows_of_stream,
    rows_of_types,
)

PAGE = 2_000
"""Events that are entered at once."""
PAST = 50_000
"""Events of the past of the whole log that are looked through at once."""
AT_ONCE = 20
"""Webhooks for which a page is looked through before it is the turn of new events."""
RETRY_IN = timedelta(minutes=1)
AWAY = "What it asks for of the past cannot be read now, as the archive is away or damaged."


class HookProgress(NamedTuple):
    """A row of the query: where a webhook is, where the others are, whether it is to be called, and what it asks for."""

    position: int
    head: int
    is_enabled: bool
    execution: str | None
    stream: str
    since: int
    endpoint: str
    events: list[str]
    filter: str | None
    scope: str | None


class Page(NamedTuple):
    """What a webhook is owed by the events up to a position."""

    owed: list[Owed]
    until: int


class CatchUp:
    """Enters what webhooks are owed that are behind."""

    def __init__(
        self,
        store: Store,
        queue: DeliveryQueue,
        finder: OwedFinder,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._queue = queue
        self._finder = finder
        self._clock = clock
        self._round: list[str] = []
        self._more = False
        self.retry_at: datetime | None = None

    async def step(self, behind: Sequence[str], hooks: dict[str, HookFilter]) -> bool:
        """Look through a page for some of those that are behind; whether there may be more. A webhook of the whole log is
        among `hooks` from then on, as it was read.
        """
        if not self._round:
            self._round, self._more, self.retry_at = list(behind), False, None
        taken, self._round = self._round[:AT_ONCE], self._round[AT_ONCE:]
        for webhook in taken:
            self._more |= await self._advance(webhook, hooks)
        return bool(self._round) or self._more

    async def _advance(self, webhook: str, hooks: dict[str, HookFilter]) -> bool:
        """Look through a page for one webhook; whether there is more. Where that cannot be read, it waits there, says
        so, and holds up no other.
        """
        async with self._store.reader() as connection:
            progress = await _progress(connection, webhook)
        if progress is None:
            return False
        try:
            page = await self._read(webhook, progress, hooks)
        except Unreadable as error:
            report_if_damaged(error)
            fault = error.detail
            if not isinstance(error, UnreadableHook):
                fault, self.retry_at = AWAY, self._clock() + RETRY_IN
            await self._queue.note_fault(webhook, fault)
            return False
        return page is not None and await self._enter(webhook, progress, page)

    async def _read(
        self, webhook: str, progress: HookProgress, hooks: dict[str, HookFilter]
    ) -> Page | None:
        """The next page; None where enough waits for the webhook."""
        if not progress.is_enabled:
            return Page([], progress.head)
        async with self._store.reader() as connection:
            cursor = await connection.execute(sql.MANY_WAIT, (webhook,))
            if (await cursor.fetchone()) == (True,):
                return None
        if progress.execution is None:
            return await self._read_log(webhook, progress, hooks)
        async with self._store.reader() as connection:
            span = progress.position, progress.head
            rows = await rows_of_stream(connection, progress.stream, *span, PAGE)
        hook = ExecutionHook(webhook, progress.position, progress.endpoint, progress.events)
        found = owed_to((hook, row) for row in rows)
        if found.undecided:
            raise UnreadableHook(stream=progress.stream)
        return Page(found.owed, _end(rows, progress.head))

    async def _read_log(
        self, webhook: str, progress: HookProgress, hooks: dict[str, HookFilter]
    ) -> Page:
        where = webhook, progress.since, progress.endpoint
        hook = HookFilter.read(*where, progress.events, progress.filter, scope=progress.scope)
        hooks[webhook] = hook
        index = HookIndex([replace(hook, since=progress.position)])
        until = min(progress.position + PAST, progress.head)
        async with self._store.reader() as connection:
            rows = await rows_of_types(connection, progress.position, until, index.types, PAGE)
        found = await self._finder.find(index, rows)
        if found.undecided:
            raise ArchiveAway
        return Page(found.owed, _end(rows, until))

    async def _enter(self, webhook: str, progress: HookProgress, page: Page) -> bool:
        """Enter a page, unless the webhook has been changed or rewound since it was read; whether there is more."""
        async with self._queue.entering() as (connection, head, seen):
            if seen < head:  # the read model is made again
                return False
            if await _progress(connection, webhook) != progress:
                return True
            done = page.until >= head
            await enter(connection, page.owed, self._clock())
            await connection.execute(sql.CAUGHT_UP, (None if done else page.until, webhook))
        return not done


async def _progress(connection: AsyncConnection, webhook: str) -> HookProgress | None:
    """Where a webhook is; None where it is not behind."""
    row = await (await connection.execute(sql.PROGRESS, (webhook,), binary=True)).fetchone()
    return None if row is None else HookProgress(*row)


def _end(rows: Sequence[EventRow], until: int) -> int:
    """Up to where events were read, of which as many as a page were asked for."""
    return rows[-1].position if len(rows) == PAGE else until
