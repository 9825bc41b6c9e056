"""Gives queued executions to waiting claims.

One task of the process reads the queue for all waiting workers, and sends a command for each pair of worker and
execution: the most urgent execution, then the oldest (`Queued`), goes to the worker that has waited longest among those
with the same filter (`Claimers`). Events that the view does not have yet are read from the log. Other processes hand out
executions, too, so the command decides by the newest state: where another worker has claimed the execution, this one
gets the next. An execution that was handed out is skipped until the view shows the claim.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

from api.claiming.claimers import Claimer, Claimers
from domain.errors import (
    Forbidden,
    IdempotencyKeyReused,
    Invalid,
    OutcomeUnknown,
    Overloaded,
    VersionMismatch,
)
from domain.eventlog.connection.notifications import Wake
from domain.eventlog.store import Store
from domain.supervisor import Background, Tasks
from domain.writer.command_bus import Answer, Bus
from domain.writer.message import Message
from projections.claims.queue import ClaimFilter, ClaimQueue
from projections.engine.position_tracker import PositionTracker

VIEW = "claims"
MOST_WAITING = 10_000
"""Claims that may wait at the same time; further ones are refused as Overloaded."""
MOST_WISHES = 64
"""Different things to ask for, of which the executions are read at once."""
POLL_INTERVAL = 1.0
"""Seconds after which the queue is looked at for those who wait, as a notification may be lost."""
NEWS_EVERY = 0.02
"""Seconds between two reads because the view has advanced."""
GATHERING = 0.004
"""Seconds after a read, in which claims gather for the next."""
LEAST_WAIT = 0.05
"""Seconds that a claim waits at least, so that one read serves many claims."""
SETTLING = 0.1
"""Seconds that a read waits at most for the view to show executions that were queued again or whose priority
changed.
"""
OF_THE_CALL = (
    *(Forbidden, IdempotencyKeyReused, Invalid),
    *(OutcomeUnknown, Overloaded, VersionMismatch),
)
"""Refusals that are about the claim itself, not about the execution that it was given."""


class ClaimDispatcher(Background):
    """Hands out executions to claims, while it is running."""

    outages = (Overloaded,)

    def __init__(
        self, bus: Bus, store: Store, positions: PositionTracker, limit: int = MOST_WAITING
    ) -> None:
        self._bus = bus
        self._store = store
        self._positions = positions
        self._claimers = Claimers(limit)
        self._wake = Wake()
        self._queue = ClaimQueue()
        self._read_lock = asyncio.Lock()
        self._skipped: dict[str, float | None] = {}
        self._open = False

    def __len__(self) -> int:
        return len(self._claimers)

    def start(self) -> None:
        """Begin to hand out executions; needs a running event loop."""
        self._open = True
        super().start()

    def tasks(self) -> Tasks:
        return {"claims": self._hand_out, "news of the queue": self._follow}

    def close(self) -> None:
        """Accept no more claims, and refuse those that wait. May be called more than once."""
        self._open = False
        self._claimers.refuse(Overloaded)

    async def stop(self) -> None:
        """Stop handing out executions."""
        self.close()
        await super().stop()

    async def claim(
        self, wanted: ClaimFilter, message: Callable[[str], Message], seconds: float
    ) -> Answer | None:
        """Claim the first queued execution that a worker wants; None where there is none within `seconds`.

        `message` makes the command that claims the execution with an id.

        Raises:
            Overloaded: too many claims wait, or the database is unavailable.
            DomainError: the command was refused, and not because another worker was faster.
        """
        self._bus.require_room(1)
        if not self._open:
            raise Overloaded
        claimer = Claimer(wanted, message)
        self._claimers.join(claimer)
        self._wake.set()
        try:
            await asyncio.wait([claimer.future], timeout=max(seconds, LEAST_WAIT))
            while not claimer.future.done():
                if claimer.trying:
                    await asyncio.wait([claimer.future], timeout=NEWS_EVERY)
                elif not await self._read_once_more(claimer):
                    return None
            return claimer.future.result()
        finally:
            self._claimers.leave(claimer)
            claimer.abandon()

    async def first(self, wanted: ClaimFilter) -> str | None:
        """The id of the execution that would be handed out now; None where there is none."""
        async with self._read_lock:
            executions = (await self._first({wanted: 1}))[wanted]
        return executions[0] if executions else None

    async def _read_once_more(self, claimer: Claimer) -> bool:
        """Look for a call whose time is over; whether it has an execution now, or tries to claim one."""
        await self._read_queue({claimer.wanted: self._claimers.place(claimer)})
        return claimer.future.done() or claimer.trying

    async def _hand_out(self) -> None:
        while True:
            await self._wake.wait(POLL_INTERVAL)
            if wishes := self._claimers.wishes(MOST_WISHES):
                await self._read_queue(wishes)
                await asyncio.sleep(GATHERING)

    async def _follow(self) -> None:
        """Read the queue again when the view has advanced."""
        while True:
            position = self._positions.position(VIEW)
            await self._positions.wait_beyond(VIEW, position, POLL_INTERVAL)
            if len(self._claimers):
                self._wake.set()
            await asyncio.sleep(NEWS_EVERY)

    async def _read_queue(self, wishes: dict[ClaimFilter, int]) -> None:
        """Find the first executions for these wishes, and hand them to as many calls as were counted: a call that
        came later may expect an execution that this look has not seen.
        """
        async with self._read_lock:
            found = await self._first(wishes)
            for wanted, executions in found.items():
                for execution in executions:
                    if (claimer := self._claimers.next(wanted)) is not None:
                        self._try(claimer, execution)

    async def _first(self, wishes: dict[ClaimFilter, int]) -> dict[ClaimFilter, list[str]]:
        queue = self._queue
        async with self._store.reader() as connection:
            await queue.catch_up(connection)
            if not queue.settled:
                await self._positions.wait(VIEW, queue.unsettled, SETTLING)
                await queue.catch_up(connection)
            found = await queue.first(connection, wishes, self._skipped)
        self._forget_shown()
        return found

    def _forget_shown(self) -> None:
        """Stop skipping executions whose claims the view shows now. A refusal has no position, so the current position of
        the log is noted, which is after the cause of the refusal.
        """
        for execution, position in list(self._skipped.items()):
            if position is None:
                self._skipped[execution] = self._queue.head
            elif position <= self._queue.position:
                del self._skipped[execution]

    def _try(self, claimer: Claimer, execution: str) -> None:
        self._skipped[execution] = inf
        claimer.trying = True
        handed = Handed(self, claimer, execution)
        try:
            self._bus.deliver(claimer.message(execution), handed)
        except Exception as error:  # noqa: BLE001 - every error is answered
            handed.refuse(error)

    def note_decided(self, execution: str, position: int | None) -> None:
        """Note the position at which an execution was claimed; None where the claim was refused."""
        self._skipped[execution] = position

    def turn_back(self, claimer: Claimer) -> None:
        """Let a claim wait again, before all others, as its execution was taken; refuse it where this is closed."""
        if not self._open:
            claimer.refuse(Overloaded())
            return
        self._claimers.join(claimer, first=True)
        self._wake.set()


class Handed:
    """An execution that was handed to a worker. The writer calls `answer` or `refuse`."""

    __slots__ = ("_claimer", "_dispatcher", "_execution")

    def __init__(self, dispatcher: ClaimDispatcher, claimer: Claimer, execution: str) -> None:
        self._dispatcher = dispatcher
        self._claimer = claimer
        self._execution = execution

    def answer(self, answer: Answer) -> None:
        """Answer the claim, as the worker has claimed the execution."""
        self._claimer.trying = False
        self._dispatcher.note_decided(self._execution, answer.versioned.position)
        self._claimer.answer(answer)

    def refuse(self, error: Exception) -> None:
        """Let the worker wait for another execution, unless the refusal is about its claim."""
        self._claimer.trying = False
        self._dispatcher.note_decided(self._execution, None)
        if isinstance(error, OF_THE_CALL):
            self._claimer.refuse(error)
        elif not self._claimer.future.done():
            self._dispatcher.turn_back(self._claimer)
