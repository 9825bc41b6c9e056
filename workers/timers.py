"""Fires timers: begins retries, ends attempts that last too long, keeps automatic checkpoints.

A due timer becomes a command that checks for itself whether it is still right, so to fire it late, twice
or from two processes changes nothing. One process at a time fires, the one that holds an advisory lock;
when it dies, another that stands by takes over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any, ClassVar

import structlog
from psycopg import AsyncConnection

from domain.errors import DomainError, OutcomeUnknown, Overloaded
from domain.execution.commands import AutoCheckpoint, StartRetry, TimeOutExecution
from domain.execution.state import CHECKPOINT_EVERY, CHECKPOINT_LATE
from domain.model import Command
from domain.writer.guarded_writer import GuardedWriter, WriteOutcome
from domain.writer.message import Message
from projections.engine.progress import read_view_position
from projections.timers.due import due, next_due
from projections.timers.projection import Timers
from projections.timers.timer import Timer
from workers.ownership import OwnedWork
from workers.throttle import Throttle, all_written

ACTOR = "system"
AGAIN = 1.0
"""Seconds between two looks at most while something is due."""
GATHERS = 0.1
"""Seconds between two looks at least, unless more is due than fires at once."""
TIMERS_AT_ONCE = 200
"""Timers that are looked for at once."""
FARTHEST_BEHIND = 10_000
"""Events that the read model may be behind: what it shows as due then may long have happened."""
SETTLE_TIME = timedelta(seconds=5)
"""Time in which the read model sees what firing has led to; until then a timer is not fired again."""
DAY_EVERY, ALL_EVERY = timedelta(seconds=10), timedelta(hours=1)
LONGEST_LATE = CHECKPOINT_LATE + CHECKPOINT_EVERY
EPOCH = datetime.fromtimestamp(0, UTC)

Due = tuple[Timer, Command[Any]]
"""A timer that is due, and the command that it becomes."""

log = structlog.get_logger()


class TimerWorker(OwnedWork):
    """Fires what is due."""

    work: ClassVar[str] = "timers"
    follows: ClassVar[str | None] = Timers.name

    def __init__(
        self, writer: GuardedWriter, conninfo: str, schema: str, clock: Callable[[], datetime]
    ) -> None:
        super().__init__(conninfo, schema)
        self._writer = writer
        self._clock = clock
        self._passed: dict[tuple[str, datetime | None], datetime] = {}
        self._forgets_from = 0
        self._looked_at = self._day_at = self._all_at = EPOCH
        self._looked_until = EPOCH, ""
        self._found = self._more = False
        self._throttle = Throttle()

    async def run(self, connection: AsyncConnection) -> None:
        """Fire what is due, again and again."""
        self._passed.clear()
        self._all_at = EPOCH
        while True:
            await self.fire(connection)
            if self._more:
                await asyncio.sleep(0)
                continue
            await asyncio.sleep(GATHERS)
            await self._wait_until_next(connection)

    async def next_due_at(self, connection: AsyncConnection) -> datetime | None:
        """When the first timer is due that was not at the last look; or when those of a day are looked at, if that look
        was not at them.
        """
        known = [await next_due(connection, self._looked_at)]
        if self._looked_at > self._day_at - DAY_EVERY:
            known.append(self._day_at)
        return min(filter(None, known), default=None)

    async def _wait_until_next(self, connection: AsyncConnection) -> None:
        at = await self.next_due_at(connection)
        await self.wait_for_work(
            connection,
            AGAIN if self._found else None,
            lambda: inf if at is None else (at - self._clock()).total_seconds(),
        )

    async def fire(self, connection: AsyncConnection) -> int:
        """Fire what is due now, `TIMERS_AT_ONCE` at most; how many that were."""
        now = self._looked_at = self._clock()
        self._forget_passed(now)
        found = await due(connection, self._begin(now), now, TIMERS_AT_ONCE)
        self._found = bool(found)
        fresh = [timer for timer in found if self._not_before(timer) <= now]
        commands = [(timer, command) for timer in fresh if (command := _command(timer, now))]
        self._more = len(found) == TIMERS_AT_ONCE
        if commands and not await self._fire(connection, commands, now):
            self._more = False
            return 0
        last = found[-1] if self._more else None
        self._looked_until = (
            (last.due or now, last.execution) if last else (now - 2 * SETTLE_TIME, "")
        )
        return len(commands)

    async def _fire(
        self, connection: AsyncConnection, commands: Sequence[Due], now: datetime
    ) -> bool:
        """Send commands, unless the read model is too far behind the log; whether they were sent."""
        left = list(commands)
        while left:
            began = time.monotonic()
            if (view := await read_view_position(connection, Timers.name)).lag > FARTHEST_BEHIND:
                return False
            self._throttle.note(await all_written(connection) - self._writer.appended)
            part, left = left[: self._throttle.commands], left[self._throttle.commands :]
            for (timer, _), outcome in zip(part, await self._send(part), strict=True):
                idle = outcome.answer is not None and outcome.answer.versioned.position <= view.head
                self._passed[timer.execution, timer.due] = now + (
                    CHECKPOINT_EVERY if idle else SETTLE_TIME
                )
            await asyncio.sleep(self._throttle.pause_after(time.monotonic() - began))
        return True

    def _not_before(self, timer: Timer) -> datetime:
        """Until when it is not fired again."""
        return self._passed.get((timer.execution, timer.due), EPOCH)

    def _forget_passed(self, now: datetime) -> None:
        """Forget what may be fired again, now and then: thousands are kept while thousands are fired."""
        if len(self._passed) >= self._forgets_from:
            self._passed = {key: until for key, until in self._passed.items() if until > now}
            self._forgets_from = 2 * len(self._passed) + TIMERS_AT_ONCE

    def _begin(self, now: datetime) -> tuple[datetime, str]:
        """From where to look for what is due: mostly only what has become due in the last seconds.

        Events may be of the past, so now and then all of the last day is looked at, and every hour all
        there is.
        """
        if now >= self._all_at:
            self._all_at, self._day_at = now + ALL_EVERY, now + DAY_EVERY
            self._looked_until = EPOCH, ""
        elif now >= self._day_at:
            self._day_at = now + DAY_EVERY
            self._looked_until = now - LONGEST_LATE, ""
        return self._looked_until

    async def _send(self, commands: Sequence[Due]) -> list[WriteOutcome]:
        """What became of commands that are due. Where the database is away, all is looked at again soon."""
        messages = [
            Message(f"execution/{timer.execution}", command, ACTOR, correlation="timer")
            for timer, command in commands
        ]
        try:
            outcomes = await self._writer.send_all(messages)
        except (Overloaded, OutcomeUnknown) as error:
            self._all_at = self._clock() + SETTLE_TIME
            return [WriteOutcome(refused=error)] * len(commands)
        for message, outcome in zip(messages, outcomes, strict=True):
            if isinstance(outcome.refused, DomainError):
                log.debug("timer has passed", stream=message.stream, reason=outcome.refused.code)
        return outcomes


def _command(timer: Timer, now: datetime) -> Command[Any] | None:
    """What is due. A checkpoint that is very late comes no more."""
    if timer.retry_at is not None and timer.retry_at <= now:
        return StartRetry()
    if (times_out := timer.times_out_at) is not None and times_out <= now:
        return TimeOutExecution()
    if (checkpoint := timer.checkpoint_due) is not None:
        return AutoCheckpoint() if checkpoint <= now <= checkpoint + CHECKPOINT_LATE else None
    return None
