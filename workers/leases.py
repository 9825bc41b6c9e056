"""Releases executions whose workers have lost their leases, and marks those that are silent for too long.

The read model has the candidates: executions whose last change of status is longer ago than lease or silence
allow. The last event and the last heartbeat, which are read here, decide. Then a command is sent that checks
once more. Each is looked at again when its next lease or silence may be over, not before. One process at a
time looks, the one that holds an advisory lock.

While no server ran, no heartbeat could arrive. So silence counts at the earliest from when this process
became the owner, and from the last leap of the clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any, ClassVar, NamedTuple

import structlog
from psycopg import AsyncConnection

from domain.errors import OutcomeUnknown, Overloaded
from domain.eventlog.store import Store
from domain.execution.commands import ReleaseExecution, StallExecution
from domain.execution.state import Execution
from domain.execution.types import MOST_LOST
from domain.model import Command
from domain.writer.guarded_writer import GuardedWriter
from domain.writer.message import Message
from projections.claims.projection import Claims
from projections.claims.silent import SilentExecution, forget_ended, next_silent, silent, silent_of
from projections.engine.progress import read_view_position
from workers.ownership import OwnedWork

ACTOR = "system"
PAUSE = 1.0
"""Seconds between two looks at least: a lease is lost, and a stall is marked, so much late at most."""
AT_ONCE = 200
FARTHEST_BEHIND = 10_000
"""Events that the read model may be behind."""
SETTLES = timedelta(seconds=2)
"""Time in which the read model sees what a command has led to."""
LEAP = timedelta(seconds=1)
"""By how much more time of day than time must have passed between two looks for it to be a leap."""
ALL_EVERY = timedelta(seconds=10)
"""An execution may become due in the past: its silence is watched from now on, or the read model was late."""
EPOCH = datetime.fromtimestamp(0, UTC)
CLEAN_EVERY, RETENTION = timedelta(hours=1), timedelta(days=1)

log = structlog.get_logger()


class DueCommand(NamedTuple):
    """The command that an execution is due now, if any, and when to look at it again."""

    command: Command[Any] | None
    again_at: datetime


class LeaseWorker(OwnedWork):
    """Looks after leases and silences."""

    work: ClassVar[str] = "leases"
    follows: ClassVar[str | None] = Claims.name

    def __init__(
        self,
        writer: GuardedWriter,
        store: Store,
        conninfo: str,
        *,
        clock: Callable[[], datetime],
        most_lost: int = MOST_LOST,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(conninfo, store.schema)
        self._writer = writer
        self._store = store
        self._clock = clock
        self._most_lost = most_lost
        self._steady = steady
        self._looks_again: dict[str, datetime] = {}
        self._counts_from = self._clean_at = self._all_at = EPOCH
        self._looked_until = EPOCH, ""
        self._looked = self._clock(), self._steady()

    async def run(self, connection: AsyncConnection) -> None:
        """Send what is due, again and again."""
        self.take_over()
        while True:
            if await self.send_due(connection):
                await asyncio.sleep(0)
                continue
            await self.pause(connection, PAUSE)
            await self._wait_until_next(connection)

    async def _wait_until_next(self, connection: AsyncConnection) -> None:
        at = await self.next_due_at(connection)
        await self.wait_for_work(
            connection,
            due_in=lambda: inf if at is None else (at - self._clock()).total_seconds(),
        )

    async def next_due_at(self, connection: AsyncConnection) -> datetime | None:
        """When the first lease or silence may be over that was not at the last call of `send_due`; or when all are
        asked for, if that call was not for all.
        """
        known = [await next_silent(connection, self._looked[0]), *self._looks_again.values()]
        if self._looked[0] > self._all_at - ALL_EVERY:
            known.append(self._all_at)
        return min(filter(None, known), default=None)

    def take_over(self) -> None:
        """Count silence from now on: for an unknown time no heartbeat could arrive."""
        self._looked = self._clock(), self._steady()
        self._begin_anew(self._looked[0])

    def _begin_anew(self, now: datetime) -> None:
        self._counts_from = now
        self._looks_again.clear()
        self._all_at = EPOCH

    async def send_due(self, connection: AsyncConnection) -> bool:
        """Send what is due now, for `AT_ONCE` executions at most, and as many that are looked at again;
        whether there may be more.
        """
        now = self._now()
        await self._clean(connection, now)
        if now >= self._all_at:
            self._all_at, self._looked_until = now + ALL_EVERY, (EPOCH, "")
        found = await silent(connection, self._looked_until, now, AT_ONCE)
        fresh = [one for one in found if one.execution not in self._looks_again]
        again = [key for key, at in self._looks_again.items() if at <= now][:AT_ONCE]
        if again:
            fresh += await silent_of(connection, again, now)
        if fresh and (await read_view_position(connection, Claims.name)).lag > FARTHEST_BEHIND:
            return False
        over = len(found) < AT_ONCE
        self._looked_until = (now - SETTLES, "") if over else found[-1].sort_key
        for execution in again:
            del self._looks_again[execution]
        if without := self._without_sign(fresh, now):
            await self._send(await self._messages(without, now))
        return not over or len(again) == AT_ONCE

    def _without_sign(
        self, fresh: Sequence[SilentExecution], now: datetime
    ) -> list[SilentExecution]:
        """Those whose last heartbeat is long ago, too; notes when each of the others is looked at again."""
        without = []
        for one in fresh:
            silent_at = one.silent_at(max(one.heard_at or self._counts_from, self._counts_from))
            if silent_at > now:
                self._looks_again[one.execution] = silent_at
            else:
                without.append(one)
        return without

    async def _clean(self, connection: AsyncConnection, now: datetime) -> None:
        """Now and then drop the heartbeats of executions that have ended."""
        if now < self._clean_at:
            return
        self._clean_at = now + CLEAN_EVERY
        if not (await read_view_position(connection, Claims.name)).lag:
            await forget_ended(connection, now - RETENTION)

    async def _messages(self, fresh: Sequence[SilentExecution], now: datetime) -> list[Message]:
        """The commands that are due; notes when each execution is looked at again."""
        states = await self._store.load_all(f"execution/{one.execution}" for one in fresh)
        messages = []
        for one in fresh:
            stream = f"execution/{one.execution}"
            due = self._due(states[stream].state, one, now) if stream in states else None
            self._looks_again[one.execution] = due.again_at if due else now + SETTLES
            if due and due.command:
                messages.append(Message(stream, due.command, ACTOR, correlation="lease"))
        return messages

    def _now(self) -> datetime:
        """The time of day; a leap of it counts as a sign of life of every execution."""
        now, steady = self._clock(), self._steady()
        passed = timedelta(seconds=steady - self._looked[1])
        if now - self._looked[0] > passed + LEAP:
            log.warning("the clock leapt: leases begin anew")
            self._begin_anew(now)
        self._looked = now, steady
        return now

    def _due(self, execution: Execution, one: SilentExecution, now: datetime) -> DueCommand:
        heard_at = one.heard_at
        counts_from = max(heard_at or self._counts_from, self._counts_from)
        lost_at, stalls_at = execution.lease_until(counts_from), execution.stalls_at(counts_from)
        if lost_at is not None and execution.claim is not None and lost_at <= now:
            release = ReleaseExecution(
                worker=execution.claim.worker, heard_at=heard_at, most_lost=self._most_lost
            )
            return DueCommand(release, now + SETTLES)
        command, silence = None, execution.heartbeat_timeout
        if stalls_at is not None and silence is not None and stalls_at <= now:
            command = None if execution.stalled else StallExecution(heard_at=heard_at)
            stalls_at = now + silence
        again_at = min(filter(None, (lost_at, stalls_at)), default=now + SETTLES)
        return DueCommand(command, again_at)

    async def _send(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        try:
            outcomes = await self._writer.send_all(messages)
        except (Overloaded, OutcomeUnknown):
            return  # they are due still, and looked at again
        for message, outcome in zip(messages, outcomes, strict=True):
            if outcome.refused is not None:
                log.debug("nothing to do", stream=message.stream, reason=str(outcome.refused))
            elif isinstance(message.command, ReleaseExecution):
                log.info("a lease was lost", stream=message.stream, worker=message.command.worker)
