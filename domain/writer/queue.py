"""The queue of commands before the writer, each with the receiver of its answer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from math import inf
from time import monotonic
from typing import Any, NamedTuple, Protocol

import structlog

from domain.errors import OutcomeUnknown, Overloaded
from domain.outages import Outages
from domain.writer.message import Message

MOST_COMMANDS = 500
"""The largest number of commands in one batch, which is one transaction."""
BULK_BESIDE = 50
"""The bulk commands in a batch that has other commands, too: so few that these do not wait long for their answers, and
enough that the bulk commands go on.
"""
LONGEST_WAIT = 4.0
"""Seconds that a command waits for a batch before it is refused, so that a caller does not wait for an outage to end."""
WAITED = (
    f"Other commands kept this one waiting for more than {LONGEST_WAIT:g} seconds. Send it again, "
    "with the same Idempotency-Key if it had one."
)

LONGEST_WRITE = 4.0
"""Seconds that a batch may be under way before new commands are refused: their batch would wait behind it."""
STUCK = (
    f"A commit has taken more than {LONGEST_WRITE:g} seconds: the database, or the standbys that commits wait for, "
    "do not answer. Send it again, with the same Idempotency-Key if it had one."
)

log = structlog.get_logger()


class AnswerReceiver(Protocol):
    """Receives the outcome of a message. Exactly one method is called, once. Neither may raise or block."""

    def answer(self, answer: Any) -> None:
        """Receive the answer to a command that was accepted."""

    def refuse(self, error: Exception) -> None:
        """Receive the error of a command that was refused or failed."""


class FutureReceiver:
    """Sets the outcome of a message as the result of a future, unless the caller has cancelled it."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def answer(self, answer: Any) -> None:
        """Set the answer as the result of the future."""
        if not self.future.done():
            self.future.set_result(answer)

    def refuse(self, error: Exception) -> None:
        """Set the error as the exception of the future."""
        if not self.future.done():
            self.future.set_exception(error)


class WaitingCommand(NamedTuple):
    """A message in the queue, the receiver of its answer, and the latest monotonic time at which a batch may take it."""

    message: Message
    receiver: AnswerReceiver
    until: float

    def answer(self, answer: Any) -> None:
        """Pass an answer to the receiver. An exception of the receiver is logged, so that other callers are still answered."""
        try:
            self.receiver.answer(answer)
        except Exception:
            log.exception("an answer could not be delivered")

    def refuse(self, error: Exception) -> None:
        """Pass an error to the receiver. An exception of the receiver is logged."""
        try:
            self.receiver.refuse(error)
        except Exception:
            log.exception("a refusal could not be delivered")


class CommandQueue:
    """A queue that hands out batches: first the commands that were sent alone, then the bulk commands, each kind in its
    order. A command waits for `LONGEST_WAIT` at most.
    """

    def __init__(self, limit: int, outages: Outages) -> None:
        self._limit = limit
        self._outages = outages
        self._single: deque[WaitingCommand] = deque()
        self._bulk: deque[WaitingCommand] = deque()
        self._batch_size = MOST_COMMANDS
        self._filled = asyncio.Event()
        self._gathered = asyncio.Event()
        self._gather_until = limit + 1
        self._writing_since = inf

    def __len__(self) -> int:
        return len(self._single) + len(self._bulk)

    def require_room(self, commands: int) -> None:
        """Check that so many more commands can wait.

        Raises:
            Overloaded: they would exceed the limit of the queue, or the batch that was taken last is stuck.
        """
        if len(self) + commands > self._limit:
            raise self._outages.current or Overloaded()
        if monotonic() - self._writing_since > LONGEST_WRITE:
            raise self._outages.refuse(commands, otherwise=STUCK)

    def put(self, message: Message, receiver: AnswerReceiver) -> None:
        """Append a message to the queue."""
        waiting = WaitingCommand(message, receiver, monotonic() + LONGEST_WAIT)
        self._kind_of(waiting).append(waiting)
        self._filled.set()
        if len(self) >= self._gather_until:
            self._gathered.set()

    async def gather(self, commands: int, seconds: float) -> None:
        """Wait until the queue holds so many commands, for so many seconds at most."""
        if len(self) >= commands:
            return
        self._gathered.clear()
        self._gather_until = commands
        timer = asyncio.get_running_loop().call_later(seconds, self._gathered.set)
        try:
            await self._gathered.wait()
        finally:
            self._gather_until = self._limit + 1
            timer.cancel()

    async def wait_until_filled(self) -> None:
        """Wait until a command was put, or `wake` was called, since the last call."""
        await self._filled.wait()
        self._filled.clear()

    def wake(self) -> None:
        """Wake `wait_until_filled`, so that the writer notices a stop."""
        self._filled.set()

    def take(self) -> list[WaitingCommand]:
        """Remove and return the next batch. Commands that have waited for longer than `LONGEST_WAIT` are refused."""
        size, beside = self._batch_size, min(len(self._bulk), BULK_BESIDE)
        taken = self._take_from(self._single, max(1, size - beside))
        taken += self._take_from(self._bulk, min(beside, size - len(taken)) if taken else size)
        self._writing_since = monotonic() if taken else inf
        return taken

    def note_answered(self) -> None:
        """Note that the commands of the batch that was taken last have their answers, or are back in the queue."""
        self._writing_since = inf

    def _take_from(self, kind: deque[WaitingCommand], most: int) -> list[WaitingCommand]:
        taken: list[WaitingCommand] = []
        now = monotonic()
        while kind and len(taken) < most:
            waiting = kind.popleft()
            if waiting.until < now:
                waiting.refuse(self._outages.refuse(otherwise=WAITED))
            else:
                taken.append(waiting)
        return taken

    def put_back_from(self, taken: list[WaitingCommand], index: int) -> None:
        """Move the commands from index `index` on from a batch back to the front of the queue, in order."""
        self.put_back(taken[index:])
        del taken[index:]

    def put_back(self, taken: Sequence[WaitingCommand]) -> None:
        """Put commands back at the front of the queue, in order."""
        for waiting in reversed(taken):
            self._kind_of(waiting).appendleft(waiting)

    def _kind_of(self, waiting: WaitingCommand) -> deque[WaitingCommand]:
        return self._bulk if waiting.message.bulk else self._single

    def split_failed(self, taken: Sequence[WaitingCommand]) -> None:
        """Put a failed batch back, and halve the batch size, so that repeated failures isolate the command at fault."""
        self.put_back(taken)
        self.shrink(len(taken))

    def shrink(self, taken: int) -> None:
        """Set the batch size to half of a batch that failed."""
        self._batch_size = max(1, taken // 2)

    def widen(self) -> None:
        """Double the batch size after a success, up to `MOST_COMMANDS`."""
        self._batch_size = min(2 * self._batch_size, MOST_COMMANDS)

    def note_failed(self, failed: Sequence[WaitingCommand]) -> None:
        """Count commands that were not written, and refuse those that wait and may depend on them, as these would be refused
        for good: commands to the same streams, and all bulk commands, if one of them failed.
        """
        self._outages.refuse(len(failed))
        streams = {waiting.message.stream for waiting in failed}
        bulk_failed = any(waiting.message.bulk for waiting in failed)

        def may_depend(waiting: WaitingCommand) -> bool:
            return waiting.message.stream in streams or (bulk_failed and waiting.message.bulk)

        refused = [each for each in (*self._single, *self._bulk) if may_depend(each)]
        self._single = deque(each for each in self._single if not may_depend(each))
        self._bulk = deque(each for each in self._bulk if not may_depend(each))
        for waiting in refused:
            waiting.refuse(self._outages.refuse())

    def refuse(self, taken: Iterable[WaitingCommand] = ()) -> None:
        """Refuse all commands in the queue, and those that were taken, which may be written."""
        for waiting in taken:
            waiting.refuse(OutcomeUnknown())
        for waiting in (*self._single, *self._bulk):
            waiting.refuse(self._outages.current or Overloaded())
        self._single.clear()
        self._bulk.clear()
