"""Fires timers: starts retries, ends attempts that last too long, saves automatic checkpoints.

A due timer becomes a command that checks whether it is still due, so firing late, twice or from two processes does no harm. One
process at a time fires timers, the one that holds an advisory lock; when it dies, another process takes over.
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
"""The longest time in seconds between two looks while a timer is due."""
GATHERS = 0.1
"""The shortest time in seconds between two looks, unless more timers are due than one look finds."""
TIMERS_AT_ONCE = 200
"""Timers that one look finds."""
FARTHEST_BEHIND = 10_000
"""Events that the read model may be behind; otherwise no timer is fired, as those that it shows may have been fired long ago."""
SETTLE_TIME = timedelta(seconds=5)
"""The time after which the read model has the events of a fired timer; until then the timer is not fired again."""
DAY_EVERY, ALL_EVERY = timedelta(seconds=10), timedelta(hours=1)
"""The time between two looks at all timers of the last day, and between two looks at all timers."""
DAY_PAUSE = timedelta(seconds=1)
"""The least time from one look at all timers of the last day to the next, which is ten times as long as the former took."""
LONGEST_LATE = CHECKPOINT_LATE + CHECKPOINT_EVERY
"""How long ago a timer of the last day may be due."""
EPOCH = datetime.fromtimestamp(0, UTC)
START = EPOCH, ""
"""The time and id from which to look at all timers."""

Due = tuple[Timer, Command[Any]]
"""A due timer, and its command."""

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
        self._fired: dict[tuple[str, datetime | None, type[Command[Any]]], datetime] = {}
        self._forget_at_size = 0
        self._last_look_at = self._day_at = self._all_at = EPOCH
        self._timeout_at: datetime | None = None
        """The first timeout of those that are hidden by an earlier checkpoint."""
        self._looked_until = self._all_from = START
        self._found = self._more = self._looks_far = self._looks_at_all = False
        self._far_look_began = self._paused_until = EPOCH
        self._throttle = Throttle()

    async def run(self, connection: AsyncConnection) -> None:
        """Fire timers until cancelled."""
        self._fired.clear()
        self._all_at, self._all_from = EPOCH, START
        while True:
            await self.fire(connection)
            if self._more:
                await asyncio.sleep(0)
                continue
            await asyncio.sleep(GATHERS)
            await self._wait_until_next(connection)

    async def next_due_at(self, connection: AsyncConnection) -> datetime | None:
        """When the next timer is due, or the next look at all timers of the last day; None for neither.

        A checkpoint that changed nothing stays due, and the timeout of its execution comes later.
        """
        times = [await next_due(connection, self._last_look_at), self._timeouts_at]
        if self._last_look_at > self._day_at - DAY_EVERY:
            times.append(self._day_at)
        return min(filter(None, times), default=None)

    async def _wait_until_next(self, connection: AsyncConnection) -> None:
        at = await self.next_due_at(connection)
        await self.wait_for_work(
            connection,
            AGAIN if self._found else None,
            lambda: inf if at is None else (at - self._clock()).total_seconds(),
        )

    async def fire(self, connection: AsyncConnection) -> int:
        """Fire the timers that are due, `TIMERS_AT_ONCE` at most; return their number."""
        now = self._last_look_at = self._clock()
        self._forget_fired(now)
        found = await due(connection, self._look_from(now), now, TIMERS_AT_ONCE)
        self._found = bool(found)
        self._note_timeouts(found, now)
        commands = [
            (timer, command)
            for timer in found
            if (command := _command(timer, now)) and self._fire_again_at(timer, command) <= now
        ]
        self._more = len(found) == TIMERS_AT_ONCE
        if commands and not await self._fire(connection, commands, now):
            self._more, self._all_at = False, min(self._all_at, now + DAY_EVERY)
            self._looks_far = False
            return 0
        if self._looks_far and not self._more:
            self._looks_far = False
            self._paused_until = now + max(DAY_PAUSE, 10 * (now - self._far_look_began))
        last = found[-1] if self._more else None
        self._looked_until = (
            (last.due or now, last.execution) if last else (now - 2 * SETTLE_TIME, "")
        )
        return len(commands)

    async def _fire(
        self, connection: AsyncConnection, commands: Sequence[Due], now: datetime
    ) -> bool:
        """Send commands, unless the read model is too far behind the log; return whether they were sent."""
        unsent = list(commands)
        while unsent:
            began = time.monotonic()
            if (view := await read_view_position(connection, Timers.name)).lag > FARTHEST_BEHIND:
                return False
            self._throttle.note(await all_written(connection) - self._writer.appended)
            part, unsent = unsent[: self._throttle.commands], unsent[self._throttle.commands :]
            for (timer, command), outcome in zip(part, await self._send(part), strict=True):
                answer, again_at = outcome.answer, now + SETTLE_TIME
                had_no_effect = answer is not None and answer.versioned.position <= view.head
                if had_no_effect and isinstance(command, AutoCheckpoint):
                    times = (now + CHECKPOINT_EVERY, timer.times_out_at)
                    again_at = min(filter(None, times))
                self._fired[timer.execution, timer.due, type(command)] = again_at
            await asyncio.sleep(self._throttle.pause_after(time.monotonic() - began))
        return True

    @property
    def _timeouts_at(self) -> datetime | None:
        """When to look at all timers of the last day for a timeout that is hidden."""
        return None if self._timeout_at is None else max(self._timeout_at, self._paused_until)

    def _note_timeouts(self, found: Sequence[Timer], now: datetime) -> None:
        """Note when the first attempt times out whose timer is due already, by its checkpoint."""
        later = [at for timer in found if (at := timer.times_out_at) is not None and at > now]
        self._timeout_at = min((*later, *filter(None, (self._timeout_at,))), default=None)

    def _fire_again_at(self, timer: Timer, command: Command[Any]) -> datetime:
        """The time before which a timer does not send a command of the same type again."""
        return self._fired.get((timer.execution, timer.due, type(command)), EPOCH)

    def _forget_fired(self, now: datetime) -> None:
        """Forget the timers that may be fired again, once their number has doubled."""
        if len(self._fired) >= self._forget_at_size:
            self._fired = {key: until for key, until in self._fired.items() if until > now}
            self._forget_at_size = 2 * len(self._fired) + TIMERS_AT_ONCE

    def _look_from(self, now: datetime) -> tuple[datetime, str]:
        """The time and id after which to look for due timers: usually those that became due in the last seconds.

        Events may be dated back, so every `DAY_EVERY` all timers of the last day are looked at, and every `ALL_EVERY` all timers.
        A look at all that takes longer goes on after the next one at the last day.
        """
        if now >= self._all_at:
            self._all_at = now + ALL_EVERY
            self._looked_until, self._all_from = self._all_from, START
            self._begin_far_look(now, at_all=True)
        elif now >= self._day_at or (not self._more and now >= (self._timeouts_at or self._day_at)):
            if self._looks_far and self._looks_at_all:  # it has not come to its end
                self._all_at, self._all_from = now + DAY_EVERY, self._looked_until
            self._looked_until = now - LONGEST_LATE, ""
            self._begin_far_look(now, at_all=False)
        return self._looked_until

    def _begin_far_look(self, now: datetime, *, at_all: bool) -> None:
        self._looks_far, self._looks_at_all = True, at_all
        self._far_look_began, self._day_at, self._timeout_at = now, now + DAY_EVERY, None

    async def _send(self, commands: Sequence[Due]) -> list[WriteOutcome]:
        """Send commands, and return their outcomes. Where the database is unavailable, all timers are looked at again soon."""
        messages = [
            Message(f"execution/{timer.execution}", command, ACTOR, correlation="timer")
            for timer, command in commands
        ]
        try:
            outcomes = await self._writer.send_all(messages)
        except (Overloaded, OutcomeUnknown) as error:
            self._all_at, self._looks_at_all = self._clock() + SETTLE_TIME, False
            return [WriteOutcome(refused=error)] * len(commands)
        for message, outcome in zip(messages, outcomes, strict=True):
            if isinstance(outcome.refused, DomainError):
                log.debug("timer has passed", stream=message.stream, reason=outcome.refused.code)
        return outcomes


def _command(timer: Timer, now: datetime) -> Command[Any] | None:
    """The command of a due timer; None for an automatic checkpoint that is more than `CHECKPOINT_LATE` late."""
    if timer.retry_at is not None and timer.retry_at <= now:
        return StartRetry()
    if (times_out := timer.times_out_at) is not None and times_out <= now:
        return TimeOutExecution()
    if (checkpoint := timer.checkpoint_due) is not None:
        return AutoCheckpoint() if checkpoint <= now <= checkpoint + CHECKPOINT_LATE else None
    return None
