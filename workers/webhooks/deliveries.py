"""Calls webhooks: each event at least once, in order for each webhook, many webhooks at once.

One process calls, the one that holds an advisory lock; when it dies, another that stands by takes over.
All that it writes goes over the connection that holds the lock, and nothing is held open while it waits
for a receiver. An endpoint has few calls at once, one of them while it fails, so it takes nobody's room.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from psycopg import AsyncConnection

from domain.errors import Overloaded
from domain.eventlog.connection.timeouts import OUTAGES
from domain.supervisor import cancel, supervise
from projections.deliveries import calls
from projections.deliveries.calls import Key, Next
from workers.ownership import ownership
from workers.webhooks.receiver import Receiver
from workers.webhooks.schedule import next_call

POLL = 0.25
"""Seconds between two looks while nothing is due."""
AT_ONCE = 200
"""Webhooks that are called at once."""
OF_AN_ENDPOINT = 8
IN_A_ROW = 20
"""Events that a webhook gets before it is another's turn."""
LOOK_AGAIN = timedelta(seconds=10)
AFTER_MISTAKE = 1.0
"""Seconds that a webhook is left alone when something went wrong on this side."""
GONE = 410
log = structlog.get_logger()


class WebhookWorker:
    """Calls the webhooks that are owed an event, as long as it owns those of its log."""

    def __init__(
        self,
        receiver: Receiver,
        conninfo: str,
        schema: str,
        clock: Callable[[], datetime],
        chance: Callable[[], float],
    ) -> None:
        self._receiver = receiver
        self._conninfo = conninfo
        self._schema = schema
        self._clock = clock
        self._chance = chance
        self._calls: dict[Key, asyncio.Task[None]] = {}
        self._busy: Counter[str] = Counter()
        self._failing: set[str] = set()
        """Endpoints whose last call failed."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to stand by, and to call once this process owns the webhooks."""
        work = supervise("webhooks", self._own_and_call, OUTAGES)
        self._task = asyncio.create_task(work, name="webhooks")

    async def stop(self) -> None:
        """Call no more; what is under way is broken off, and made again by the next owner."""
        if self._task is not None:
            await cancel(self._task)

    async def _own_and_call(self) -> None:
        async with ownership(self._conninfo, self._schema, "webhooks") as connection:
            log.info("webhooks are called by this process")
            try:
                while True:
                    more = await calls.take(connection, self._clock())
                    begun = await self.begin(connection)
                    await asyncio.sleep(0 if more or begun else POLL)
            finally:
                await self._break_off()

    async def _break_off(self) -> None:
        under_way = list(self._calls.values())
        for call in under_way:
            call.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def begin(self, connection: AsyncConnection) -> int:
        """Begin to call the webhooks that are due, as far as there is room; how many those were."""
        room = AT_ONCE - len(self._calls)
        if room <= 0:
            return 0
        full = [endpoint for endpoint in self._busy if not self._has_room(endpoint)]
        begun, now = 0, self._clock()
        for key, endpoint in await calls.due(connection, now, full, room + len(self._calls)):
            if begun < room and key not in self._calls and self._has_room(endpoint):
                self._begin(connection, key, endpoint)
                begun += 1
        return begun

    def _has_room(self, endpoint: str) -> bool:
        return self._busy[endpoint] < (1 if endpoint in self._failing else OF_AN_ENDPOINT)

    def _begin(self, connection: AsyncConnection, key: Key, endpoint: str) -> None:
        def done(_: asyncio.Task[None]) -> None:
            del self._calls[key]
            self._busy[endpoint] -= 1
            self._busy += Counter()  # drops those at zero

        self._busy[endpoint] += 1
        call = asyncio.create_task(self._serve(connection, key), name=f"webhook {'/'.join(key)}")
        self._calls[key] = call
        call.add_done_callback(done)

    async def _serve(self, connection: AsyncConnection, key: Key) -> None:
        """Send what one webhook is owed, event by event, until one is not taken."""
        try:
            for _ in range(IN_A_ROW):
                owed = await calls.next_of(connection, key)
                if owed is None:
                    await calls.rest(connection, key, self._clock() + LOOK_AGAIN)
                    return
                if not await self._deliver(connection, key, owed):
                    return
        except Overloaded:  # the outage is in the log
            await asyncio.sleep(AFTER_MISTAKE)
        except Exception:
            log.exception("webhook could not be served", execution=key.execution)
            await asyncio.sleep(AFTER_MISTAKE)

    async def _deliver(self, connection: AsyncConnection, key: Key, owed: Next) -> bool:
        """Send one event; whether the next one may follow at once."""
        if owed.gone == owed.hook_version:
            await calls.keep_given_up(connection, key, owed.position, self._clock())
            return True
        result = await self._receiver.send(key, owed, self._clock())
        outcome, now = result.outcome, self._clock()
        if outcome.error is None:
            self._failing.discard(owed.endpoint)
            await calls.keep_delivered(connection, key, owed.position, outcome, now)
            return True
        self._failing.add(owed.endpoint)
        if outcome.status == GONE:
            gone = owed.hook_version
            await calls.keep_failed(connection, key, outcome, now, next_at=now, gone=gone)
            return True
        next_at = next_call(owed.attempts + 1, now, self._chance(), result.retry_after)
        await calls.keep_failed(connection, key, outcome, now, next_at=next_at or now)
        if next_at is None:
            await calls.keep_given_up(connection, key, owed.position, now)
        return False
