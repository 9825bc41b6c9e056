"""Calls webhooks: each event at least once, in order for each webhook and stream, many at once.

One process calls, the one that holds an advisory lock; when it dies, another that stands by takes over.
All that it writes goes over the connection that holds the lock, and nothing is held open while it waits
for a receiver. An endpoint has few calls at once, and fewer while it does not answer or asks for time, so it takes no
other's room (see `endpoints`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from math import inf
from time import monotonic
from typing import ClassVar

import structlog
from psycopg import AsyncConnection

from domain.errors import Overloaded
from domain.eventlog.connection.notifications import Wake
from domain.eventlog.connection.timeouts import OUTAGES
from domain.eventlog.store import Store
from domain.writer.guarded_writer import GuardedWriter
from projections.deliveries.projection import Deliveries
from projections.deliveries.queue import DeliveryQueue, DueLane, Lane, Settled, WaitingDelivery
from workers.ownership import OwnedWork
from workers.webhooks.caller import Outcome, WebhookCaller
from workers.webhooks.dispatcher import WebhookDispatcher
from workers.webhooks.endpoints import OF_AN_ENDPOINT, Endpoints
from workers.webhooks.health_reports import GONE, HealthReports
from workers.webhooks.outcome_writer import OutcomeWriter
from workers.webhooks.retry_schedule import next_attempt_at

SOON = 1.0
"""Seconds between two looks while something is called."""
GATHERS = 0.05
"""Seconds after a look in which events gather for the next, unless something is called."""
UNUSED_GATHERS = 0.5
"""As many more where the log has no webhook: the first event for the first one may wait so long."""
AT_ONCE = 200
"""Lanes that are called at once."""
LOOK_AGAIN = timedelta(seconds=10)
FRESH = 1.0
"""Seconds for which what was read of a lane is sent; then it is read again, as its webhook may have changed."""
AFTER_MISTAKE = 1.0
"""Seconds that a lane is left alone when something went wrong on this side."""
MISTAKE = "the webhook could not be called, by a mistake of the service, which is in its log"
RETENTION = timedelta(days=30)
"""How long what was delivered or given up is kept."""
FORGET_EVERY = timedelta(minutes=1)
FORGOTTEN_AT_ONCE = 5_000

log = structlog.get_logger()


class WebhookWorker(OwnedWork):
    """Calls the webhooks that are owed an event."""

    work: ClassVar[str] = "webhooks"
    follows: ClassVar[str | None] = Deliveries.name
    turn = "calling"

    def __init__(
        self,
        caller: WebhookCaller,
        store: Store,
        writer: GuardedWriter,
        conninfo: str,
        *,
        clock: Callable[[], datetime],
        chance: Callable[[], float],
    ) -> None:
        super().__init__(conninfo, store.schema)
        self._caller = caller
        self._store = store
        self._writer = writer
        self._clock = clock
        self._chance = chance

    async def run(self, connection: AsyncConnection) -> None:
        """Call until cancelled; calls under way are broken off then, and made again by the next owner."""
        calls = self.calls(DeliveryQueue(connection))
        try:
            while True:
                if not await calls.step():
                    await self._wait_until_due(connection, calls)
        finally:
            await calls.break_off()

    async def _wait_until_due(self, connection: AsyncConnection, calls: DeliveryWorker) -> None:
        """Wait until a call is due, or one that is under way may have ended."""
        if calls.under_way:
            await self.wait_for_work(connection, SOON)
            return
        await asyncio.sleep(GATHERS)
        at = await calls.next_due_at()
        if at is None and not await calls.has_webhooks():
            await asyncio.sleep(UNUSED_GATHERS)
        await self.wait_for_work(
            connection, due_in=lambda: inf if at is None else (at - self._clock()).total_seconds()
        )

    def calls(self, queue: DeliveryQueue) -> DeliveryWorker:
        """The calls that are made by the owner of a queue."""
        dispatcher = WebhookDispatcher(self._store, queue, self._clock)
        reports = HealthReports(self._writer, queue)
        return DeliveryWorker(
            queue,
            dispatcher,
            self._caller,
            reports,
            clock=self._clock,
            chance=self._chance,
            wake=self.wake,
        )


class DeliveryWorker:
    """What is called now, and what next."""

    def __init__(
        self,
        queue: DeliveryQueue,
        dispatcher: WebhookDispatcher,
        caller: WebhookCaller,
        reports: HealthReports,
        *,
        clock: Callable[[], datetime],
        chance: Callable[[], float],
        wake: Wake,
    ) -> None:
        self._queue = queue
        self._dispatcher = dispatcher
        self._caller = caller
        self._health_reports = reports
        self._outcome_writer = OutcomeWriter(queue)
        self._clock = clock
        self._chance = chance
        self._under_way: dict[Lane, asyncio.Task[None]] = {}
        self._endpoints = Endpoints()
        self._wake = wake
        self._forget_at = clock()
        self._swept = ""

    async def step(self) -> bool:
        """Enter what is owed, and call what is due, a page of both; whether there was anything."""
        more = await self._dispatcher.step()
        begun = await self.begin()
        await self._forget()
        return more or begun > 0

    @property
    def under_way(self) -> bool:
        """Whether anything is called now."""
        return bool(self._under_way)

    async def next_due_at(self) -> datetime | None:
        """When the next call is due, or what of the past could not be read is tried again."""
        due = await self._queue.next_due(self._endpoints.pauses(self._clock()))
        return min(filter(None, (due, self._dispatcher.retry_at)), default=None)

    async def has_webhooks(self) -> bool:
        """Whether the log has any webhook, also of one execution."""
        return await self._queue.has_webhooks()

    async def break_off(self) -> None:
        """End what is under way."""
        under_way = list(self._under_way.values())
        for call in under_way:
            call.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def settle(self) -> None:
        """Wait until what is under way has ended."""
        while self._under_way:
            await asyncio.gather(*self._under_way.values())

    async def begin(self) -> int:
        """Begin to call the lanes that are due, as far as there is room; how many those were."""
        room, now = AT_ONCE - len(self._under_way), self._clock()
        if room <= 0:
            return 0
        full = self._endpoints.full(now)
        # Those that are under way are due, too, and are among them.
        due = await self._queue.due(now, full, 2 * OF_AN_ENDPOINT, AT_ONCE)
        chosen = self._choose(due, room, now)
        found = await self._queue.waiting(each.lane for each in chosen) if chosen else {}
        if unread := [each.lane for each in chosen if each.lane not in found]:
            await self._queue.postpone(unread, now + LOOK_AGAIN)
        if idle := [lane for lane, waiting in found.items() if not waiting]:
            await self._queue.remove_empty(idle, now + LOOK_AGAIN)
        for each in chosen:
            if waiting := found.get(each.lane):
                self._begin(each, waiting)
        return len(chosen)

    def _choose(self, due: Sequence[DueLane], room: int, now: datetime) -> list[DueLane]:
        chosen: list[DueLane] = []
        of_endpoints = self._endpoints.room(now)
        for each in due:
            if len(chosen) == room:
                break
            if each.lane not in self._under_way and of_endpoints.take(each.endpoint):
                chosen.append(each)
        return chosen

    def _begin(self, due: DueLane, waiting: Sequence[WaitingDelivery]) -> None:
        lane, endpoint = due

        def done(_: asyncio.Task[None]) -> None:
            del self._under_way[lane]
            self._endpoints.end(endpoint)
            self._wake.set()

        self._endpoints.begin(endpoint)
        call = asyncio.create_task(self._serve(endpoint, waiting), name=f"webhook {lane.webhook}")
        self._under_way[lane] = call
        call.add_done_callback(done)

    async def _serve(self, endpoint: str, waiting: Sequence[WaitingDelivery]) -> None:
        """Send what a lane holds, event by event, until one is not taken, or its webhook has to be read again."""
        read_at = monotonic()
        try:
            for event in waiting:
                if not await self._deliver(endpoint, event) or monotonic() - read_at > FRESH:
                    return
        except (Overloaded, *OUTAGES):  # the outage is in the log
            await asyncio.sleep(AFTER_MISTAKE)
        except Exception:
            log.exception("webhook could not be served", webhook=waiting[0].lane.webhook)
            await asyncio.sleep(AFTER_MISTAKE)

    async def _deliver(self, endpoint: str, event: WaitingDelivery) -> bool:
        """Send one event; whether the next one may follow at once."""
        outcome = await self._send(event)
        if outcome.attempted:
            self._endpoints.note(endpoint, outcome, self._clock())
        settled = self._settle(event, outcome)
        standing = await self._outcome_writer.write(settled)
        if standing is None:
            return False
        await self._health_reports.consider(event, settled, standing)
        return settled.error is None and not self._endpoints.is_held(endpoint, self._clock())

    async def _send(self, event: WaitingDelivery) -> Outcome:
        try:
            return await self._caller.send(event, self._clock())
        except (Overloaded, *OUTAGES):
            raise
        except Exception:
            log.exception("webhook could not be called", webhook=event.lane.webhook)
            return Outcome(None, 0, error=MISTAKE, attempted=False)

    def _settle(self, event: WaitingDelivery, outcome: Outcome) -> Settled:
        now = self._clock()
        state, next_at = "delivered", None
        if outcome.status == GONE:
            state, next_at = "failed", now + LOOK_AGAIN  # by then it is disabled
        elif outcome.error is not None:
            next_at = next_attempt_at(event.attempts + 1, now, self._chance(), outcome.retry_after)
            state = "failed" if next_at is None else "waiting"
        return Settled(
            *event.lane,
            event.position,
            state,
            now,
            outcome.status,
            outcome.latency,
            outcome.answer,
            outcome.error,
            next_at,
            event.rewinds,
            event.set_by,
            event.set_at,
            event.generation,
        )

    async def _forget(self) -> None:
        now = self._clock()
        if now >= self._forget_at:
            gone = await self._queue.forget(now - RETENTION, FORGOTTEN_AT_ONCE)
            self._forget_at = now if gone == FORGOTTEN_AT_ONCE else now + FORGET_EVERY
            self._swept = await self._queue.sweep(self._swept, FORGOTTEN_AT_ONCE)
            self._endpoints.forget(now)
