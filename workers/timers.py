"""Fires timers: begins retries, ends attempts that last too long, keeps automatic checkpoints.

A due timer becomes a command that checks for itself whether it is still right, so to fire it late, twice
or from two processes changes nothing. One process at a time fires, the one that holds an advisory lock;
when it dies, another that stands by takes over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime
from time import monotonic
from typing import Any

import structlog
from psycopg import AsyncConnection

from domain.errors import DomainError, OutcomeUnknown, Overloaded
from domain.eventlog.sessions import session_options
from domain.eventlog.timeouts import OUTAGES
from domain.execution.commands import AutoCheckpoint, StartRetry, TimeOutExecution
from domain.execution.state import CHECKPOINT_EVERY, CHECKPOINT_LATE
from domain.model import Command
from domain.supervisor import cancel, supervise
from domain.writer.command_bus import Answer, Bus
from domain.writer.message import Message
from projections.timers.due import due, place, postpone
from projections.timers.timer import Timer

ACTOR = "system"
POLL = 0.1
"""Seconds between two looks while nothing is due."""
TAKE_OVER = 1.0
"""Seconds between two tries to become the one who fires."""
AT_ONCE = 200
"""Commands in one go: others who write get their turn between two of them."""
FARTHEST_BEHIND = 10_000
"""Events that the read model may be behind: what it shows as due then may long have happened."""
SETTLES = 5.0
"""Seconds in which the read model sees what firing has led to; until then a timer is not fired again."""
OWN = "SELECT pg_try_advisory_lock(hashtext(%s), hashtext('timers fire'))"

OPTIONS = (
    "-c statement_timeout=5s"
    " -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"
)
"""A connection that hangs is lost within seconds, and with it the lock."""

log = structlog.get_logger()


class TimerWorker:
    """Fires what is due, as long as it owns the timers of its log."""

    def __init__(self, bus: Bus, conninfo: str, schema: str, clock: Callable[[], datetime]) -> None:
        self._bus = bus
        self._conninfo = conninfo
        self._schema = schema
        self._clock = clock
        self._fired: dict[tuple[str, datetime | None], float] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to stand by, and to fire once this process owns the timers."""
        work = supervise("timers", self._own_and_fire, OUTAGES)
        self._task = asyncio.create_task(work, name="timers")

    async def stop(self) -> None:
        """Fire no more; what was fired is answered by the writer all the same."""
        if self._task is not None:
            await cancel(self._task)

    async def _own_and_fire(self) -> None:
        options = f"{session_options(self._schema)} {OPTIONS}"
        async with await AsyncConnection.connect(
            self._conninfo, autocommit=True, options=options
        ) as connection:
            await self._become_owner(connection)
            log.info("timers are fired by this process")
            self._fired.clear()
            while True:
                fired = await self.fire(connection)
                await asyncio.sleep(0 if fired >= AT_ONCE else POLL)

    async def _become_owner(self, connection: AsyncConnection) -> None:
        while True:
            cursor = await connection.execute(OWN, (f"timers of {self._schema}",))
            row = await cursor.fetchone()
            if row is not None and row[0]:
                return
            await asyncio.sleep(TAKE_OVER)

    async def fire(self, connection: AsyncConnection) -> int:
        """Fire what is due now, about `AT_ONCE` at most; how many that were."""
        now, settled = self._clock(), monotonic() - SETTLES
        self._fired = {key: at for key, at in self._fired.items() if at > settled}
        found = await due(connection, now, AT_ONCE + len(self._fired))
        timers = [timer for timer in found if (timer.execution, timer.due) not in self._fired]
        if not timers or (behind := await place(connection)).lag > FARTHEST_BEHIND:
            return 0
        answers = await asyncio.gather(*(self._send(timer, now) for timer in timers))
        fired = monotonic()
        idle = []
        for timer, answer in zip(timers, answers, strict=True):
            if answer is None or answer.versioned.position > behind.head:
                self._fired[timer.execution, timer.due] = fired  # its event moves the timer
            else:
                idle.append(timer)
        await postpone(connection, [_postponed(timer, now) for timer in idle])
        return len(timers)

    async def _send(self, timer: Timer, now: datetime) -> Answer | None:
        """The answer to the last command that was due; None where it was refused."""
        answer = None
        for command in _commands(timer, now):
            message = Message(f"execution/{timer.execution}", command, ACTOR, correlation="timer")
            try:
                answer = await self._bus.send(message)
            except (Overloaded, OutcomeUnknown):
                return None
            except DomainError as error:
                log.debug("timer has passed", execution=timer.execution, reason=error.code)
                return None
            except Exception:
                log.exception("timer failed", execution=timer.execution)
                return None
        return answer


def _commands(timer: Timer, now: datetime) -> Iterator[Command[Any]]:
    """What is due: an attempt that ends keeps no checkpoint."""
    if timer.retry_at is not None and timer.retry_at <= now:
        yield StartRetry()
    elif (times_out := timer.times_out_at) is not None and times_out <= now:
        yield TimeOutExecution()
    elif (checkpoint := timer.checkpoint_due) is not None and checkpoint <= now:
        yield AutoCheckpoint()


def _postponed(timer: Timer, now: datetime) -> tuple[str, datetime, datetime | None]:
    """A timer whose command led to nothing: a checkpoint of an execution of which nothing was heard."""
    assert timer.due is not None
    later: list[datetime] = [at for at in (timer.times_out_at, timer.retry_at) if at and at > now]
    checkpoint = timer.checkpoint_due
    if checkpoint is not None and now <= checkpoint + CHECKPOINT_LATE:
        later.append(now + CHECKPOINT_EVERY)
    return timer.execution, timer.due, min(later, default=None)
