"""Fires timers: starts retries, ends attempts that last too long, saves automatic checkpoints.

A due timer becomes a command that checks whether it is still due, so firing late, twice or from two processes does no harm. One
process at a time fires timers, the one that holds an advisory lock; when it dies, another process takes over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from math import inf
from operator import attrgetter
from typing import Any, ClassVar

import structlog
from psycopg import AsyncConnection

from domain.errors import DomainError, OutcomeUnknown, Overloaded
from domain.execution.commands import AutoCheckpoint, StartRetry, TimeOutExecution
from domain.execution.state import CHECKPOINT_EVERY, CHECKPOINT_LATE
from domain.model import Command
from domain.writer.guarded_writer import GuardedWriter, WriteOutcome
from domain.writer.message import Message
from projections.engine.progress import ViewPosition, read_view_position
from projections.timers.due import DueTimer, next_due
from projections.timers.projection import Timers
from projections.timers.timer import Kind
from workers.ownership import OwnedWork
from workers.timers.look import EPOCH, Look
from workers.timers.throttle import Throttle, all_written

ACTOR = "system"
COMMANDS: dict[Kind, Command[Any]] = {
    "retry": StartRetry(),
    "timeout": TimeOutExecution(),
    "checkpoint": AutoCheckpoint(),
}
AGAIN = 1.0
"""The longest time in seconds between two looks while a retry or a timeout is due."""
GATHERS = 0.1
"""The shortest time in seconds between two looks, unless one is under way that has more pages."""
TIMERS_AT_ONCE = 200
"""Timers on one page."""
FARTHEST_BEHIND = 10_000
"""Events that the read model may be behind; otherwise no timer is fired, as those that it shows may have been fired long ago."""
SETTLE_TIME = timedelta(seconds=5)
"""The time after which the read model has the events of a fired timer; until then the timer is not fired again."""
AFTER_REFUSAL = timedelta(minutes=1)
"""The time after which a timer is fired again that was refused, such as that of an execution that cannot be read."""
ALL_EVERY = timedelta(seconds=10)
"""The time between two looks at all retries and timeouts, because events may be dated back, and at the checkpoints that became
due during the last day."""

log = structlog.get_logger()


class TimerWorker(OwnedWork):
    """Fires the timers of a log."""

    work: ClassVar[str] = "timers"
    follows: ClassVar[str | None] = Timers.name

    def __init__(
        self, writer: GuardedWriter, conninfo: str, schema: str, clock: Callable[[], datetime]
    ) -> None:
        super().__init__(conninfo, schema)
        self._writer = writer
        self._clock = clock
        self._throttle = Throttle()
        self._begin()

    def _begin(self) -> None:
        """Begin without what is known of timers, as another process may have fired them meanwhile."""
        self._checkpoints = Look("checkpoints", CHECKPOINT_LATE, ALL_EVERY)
        self._looks = (
            Look("deadlines", 2 * SETTLE_TIME),
            Look("deadlines", None, ALL_EVERY),
            self._checkpoints,
        )
        self._looked_at = EPOCH
        self._found = False
        self._fired: dict[DueTimer, datetime] = {}
        """The timers that were fired, and the time before which each is not fired again."""
        self._forget_at_size = 0

    async def run(self, connection: AsyncConnection) -> None:
        """Fire timers until cancelled."""
        self._begin()
        while True:
            await self.fire(connection)
            if any(look.under_way for look in self._looks):
                await asyncio.sleep(0)
                continue
            await asyncio.sleep(GATHERS)
            await self._wait_until_next(connection)

    async def next_due_at(self, connection: AsyncConnection) -> datetime | None:
        """When to look next: when the next timer is due, or a look begins of which something may have become due unseen since
        the last one; None for neither.
        """
        deadline, checkpoint = await next_due(connection, self._looked_at)
        times = [deadline, checkpoint and max(checkpoint, self._checkpoints.next_at)]
        times += [
            look.next_at for look in self._looks if look.every and look.began < self._looked_at
        ]
        return min(filter(None, times), default=None)

    async def _wait_until_next(self, connection: AsyncConnection) -> None:
        at = await self.next_due_at(connection)
        await self.wait_for_work(
            connection,
            AGAIN if self._found else None,
            lambda: inf if at is None else (at - self._clock()).total_seconds(),
        )

    async def fire(self, connection: AsyncConnection) -> int:
        """Fire the timers on the next page of each look; return their number, or 0 if the read model is too far behind."""
        now = self._looked_at = self._clock()
        self._forget_fired(now)
        due: set[DueTimer] = set()
        for look in self._looks:
            if look.is_due(now):
                due.update(await look.read_page(connection, now, TIMERS_AT_ONCE))
        self._found = any(timer.kind != "checkpoint" for timer in due)
        unfired = [timer for timer in due if self._fired.get(timer, EPOCH) <= now]
        if await self._fire(connection, sorted(unfired, key=attrgetter("at"))):
            return len(unfired)
        for look in self._looks:
            look.end(now)
        return 0

    async def _fire(self, connection: AsyncConnection, unfired: Sequence[DueTimer]) -> bool:
        """Send commands, unless the read model is too far behind the log; return whether they were sent."""
        while unfired:
            began = time.monotonic()
            if (view := await read_view_position(connection, Timers.name)).lag > FARTHEST_BEHIND:
                return False
            self._throttle.note(await all_written(connection) - self._writer.appended)
            part, unfired = unfired[: self._throttle.commands], unfired[self._throttle.commands :]
            for timer, outcome in zip(part, await self._send(part), strict=True):
                self._fired[timer] = self._clock() + _pause_after(timer, outcome, view)
            await asyncio.sleep(self._throttle.pause_after(time.monotonic() - began))
        return True

    def _forget_fired(self, now: datetime) -> None:
        """Forget the timers that may be fired again, once their number has doubled."""
        if len(self._fired) >= self._forget_at_size:
            self._fired = {timer: until for timer, until in self._fired.items() if until > now}
            self._forget_at_size = 2 * len(self._fired) + TIMERS_AT_ONCE

    async def _send(self, timers: Sequence[DueTimer]) -> list[WriteOutcome]:
        """Send the commands of timers, and return their outcomes."""
        messages = [
            Message(
                f"execution/{timer.execution}", COMMANDS[timer.kind], ACTOR, correlation="timer"
            )
            for timer in timers
        ]
        try:
            outcomes = await self._writer.send_all(messages)
        except (Overloaded, OutcomeUnknown) as error:
            return [WriteOutcome(refused=error)] * len(timers)
        for message, outcome in zip(messages, outcomes, strict=True):
            if isinstance(outcome.refused, DomainError):
                log.debug("timer has passed", stream=message.stream, reason=outcome.refused.code)
        return outcomes


def _pause_after(timer: DueTimer, outcome: WriteOutcome, view: ViewPosition) -> timedelta:
    """The least time until a timer is fired again."""
    if outcome.answer is None:
        unavailable = isinstance(outcome.refused, Overloaded | OutcomeUnknown)
        return SETTLE_TIME if unavailable else AFTER_REFUSAL
    had_no_effect = outcome.answer.versioned.position <= view.head
    return CHECKPOINT_EVERY if had_no_effect and timer.kind == "checkpoint" else SETTLE_TIME
