"""Releases executions whose leases are over, and marks running executions without a sign of life as stalled.

The read model has the candidates: executions whose status changed longer ago than their lease or their heartbeat timeout. The
last event and the last heartbeat, which are read here, decide which of them are due. Those get a command, which checks again.
Each candidate is checked again when its lease or timeout may be over next. One process at a time does this, the one that holds
an advisory lock.

While no server was running, no heartbeat could arrive. So silence is counted from when this process became the owner, or from
the last leap of the clock, at the earliest.
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
"""The least number of seconds between two looks: by so much, at most, commands are late."""
AT_ONCE = 200
"""Candidates of one look."""
FARTHEST_BEHIND = 10_000
"""Events that the read model may be behind; otherwise no command is sent."""
SETTLES = timedelta(seconds=2)
"""The time after which the read model has the events of a command."""
LEAP = timedelta(seconds=1)
"""How much more the time of day must have advanced than the monotonic clock between two looks, to count as a leap."""
ALL_EVERY = timedelta(seconds=10)
"""The time from one look at all candidates to the next: some become due in the past, as when a heartbeat timeout is set, or
the read model was behind.
"""
EPOCH = datetime.fromtimestamp(0, UTC)
CLEAN_EVERY, RETENTION = timedelta(hours=1), timedelta(days=1)
"""The time between two deletions of the heartbeats of ended executions, and how old these are at least."""

log = structlog.get_logger()


class DueCommand(NamedTuple):
    """The command that is due for an execution now, if any, and when to check the execution again."""

    command: Command[Any] | None
    again_at: datetime


class NextCheck(NamedTuple):
    """When to check an execution again that was found as due at a time; one that is due at another time is a new candidate."""

    due: datetime
    at: datetime


class LeaseWorker(OwnedWork):
    """Releases and stalls the executions of a log."""

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
        self._next_checks: dict[str, NextCheck] = {}
        self._silence_counts_from = self._clean_at = self._all_at = EPOCH
        self._looked_until = EPOCH, ""
        self._last_look_at = self._clock(), self._steady()

    async def run(self, connection: AsyncConnection) -> None:
        """Send due commands until cancelled."""
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
        """When the next lease or timeout may be over, or the next look at all candidates is due; None for neither."""
        times = [
            await next_silent(connection, self._last_look_at[0]),
            *(check.at for check in self._next_checks.values()),
        ]
        if self._last_look_at[0] > self._all_at - ALL_EVERY:
            times.append(self._all_at)
        return min(filter(None, times), default=None)

    def take_over(self) -> None:
        """Count silence from now on, as for an unknown time no heartbeat could arrive."""
        self._last_look_at = self._clock(), self._steady()
        self._count_silence_from(self._last_look_at[0])

    def _count_silence_from(self, now: datetime) -> None:
        self._silence_counts_from = now
        self._next_checks.clear()
        self._all_at = EPOCH

    async def send_due(self, connection: AsyncConnection) -> bool:
        """Send the commands that are due, for `AT_ONCE` new candidates and as many that are checked again, at most; return
        whether there may be more.
        """
        now = self._now()
        await self._clean(connection, now)
        if now >= self._all_at:
            self._all_at, self._looked_until = now + ALL_EVERY, (EPOCH, "")
        found = await silent(connection, self._looked_until, now, AT_ONCE)
        new = [each for each in found if not self._is_checked(each)]
        again = [key for key, check in self._next_checks.items() if check.at <= now][:AT_ONCE]
        checked = await silent_of(connection, again, now) if again else []
        candidates = list({each.execution: each for each in (*new, *checked)}.values())
        if candidates and (await read_view_position(connection, Claims.name)).lag > FARTHEST_BEHIND:
            return False
        is_last_page = len(found) < AT_ONCE
        self._looked_until = (now - SETTLES, "") if is_last_page else found[-1].sort_key
        for execution in again:
            self._next_checks.pop(execution, None)
        if without_heartbeat := self._select_without_heartbeat(candidates, now):
            await self._send(await self._due_messages(without_heartbeat, now))
        return not is_last_page or len(again) == AT_ONCE

    def _is_checked(self, candidate: SilentExecution) -> bool:
        check = self._next_checks.get(candidate.execution)
        return check is not None and check.due == candidate.due

    def _select_without_heartbeat(
        self, candidates: Sequence[SilentExecution], now: datetime
    ) -> list[SilentExecution]:
        """The candidates whose last heartbeat is also too long ago; notes when to check the others again."""
        selected = []
        for each in candidates:
            silent_at = each.silent_at(self._silent_since(each))
            if silent_at > now:
                self._next_checks[each.execution] = NextCheck(each.due, silent_at)
            else:
                selected.append(each)
        return selected

    def _silent_since(self, candidate: SilentExecution) -> datetime:
        """The time of the last heartbeat, or from when silence is counted, whichever is later."""
        counts_from = self._silence_counts_from
        return max(candidate.heard_at or counts_from, counts_from)

    async def _clean(self, connection: AsyncConnection, now: datetime) -> None:
        """Delete the heartbeats of ended executions, once per `CLEAN_EVERY`."""
        if now < self._clean_at:
            return
        self._clean_at = now + CLEAN_EVERY
        if not (await read_view_position(connection, Claims.name)).lag:
            await forget_ended(connection, now - RETENTION)

    async def _due_messages(
        self, candidates: Sequence[SilentExecution], now: datetime
    ) -> list[Message]:
        """The commands that are due; notes when to check each execution again."""
        states = await self._store.load_all(f"execution/{each.execution}" for each in candidates)
        messages = []
        for each in candidates:
            stream = f"execution/{each.execution}"
            due = self._due_command(states[stream].state, each, now) if stream in states else None
            again_at = due.again_at if due else now + SETTLES
            self._next_checks[each.execution] = NextCheck(each.due, again_at)
            if due and due.command:
                messages.append(Message(stream, due.command, ACTOR, correlation="lease"))
        return messages

    def _now(self) -> datetime:
        """The time of day. After a leap of the clock silence is counted anew."""
        now, steady = self._clock(), self._steady()
        passed = timedelta(seconds=steady - self._last_look_at[1])
        if now - self._last_look_at[0] > passed + LEAP:
            log.warning("the clock leapt: leases begin anew")
            self._count_silence_from(now)
        self._last_look_at = now, steady
        return now

    def _due_command(
        self, execution: Execution, candidate: SilentExecution, now: datetime
    ) -> DueCommand:
        heard_at, since = candidate.heard_at, self._silent_since(candidate)
        lost_at, stalls_at = execution.lease_until(since), execution.stalls_at(since)
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
            return  # the executions are checked again
        for message, outcome in zip(messages, outcomes, strict=True):
            if outcome.refused is not None:
                log.debug("nothing to do", stream=message.stream, reason=str(outcome.refused))
            elif isinstance(message.command, ReleaseExecution):
                log.info("a lease was lost", stream=message.stream, worker=message.command.worker)
