"""The commands that wait for the writer, and their callers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Any, NamedTuple, Protocol

import structlog

from domain.errors import Overloaded
from domain.outages import Outages
from domain.writer.message import Message

MOST_COMMANDS = 500
LONGEST_WAIT = 4.0


log = structlog.get_logger()


class AnswerReceiver(Protocol):
    """Takes what became of a message. Exactly one of its methods is called, once; it must not raise or block."""

    def answer(self, answer: Any) -> None:
        """It was carried out."""

    def refuse(self, error: Exception) -> None:
        """It was not."""


class FutureReceiver:
    """A caller that awaits the answer, and may have gone."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def answer(self, answer: Any) -> None:
        """Let the caller have it, if it still waits."""
        if not self.future.done():
            self.future.set_result(answer)

    def refuse(self, error: Exception) -> None:
        """The same, when it went wrong."""
        if not self.future.done():
            self.future.set_exception(error)


class WaitingCommand(NamedTuple):
    """A message, who receives its answer, and until when it may be taken."""

    message: Message
    receiver: AnswerReceiver
    until: float

    def answer(self, answer: Any) -> None:
        """Hand the answer over; a receiver that breaks harms no other caller."""
        try:
            self.receiver.answer(answer)
        except Exception:
            log.exception("an answer could not be handed over")

    def refuse(self, error: Exception) -> None:
        """Hand over what went wrong, as well."""
        try:
            self.receiver.refuse(error)
        except Exception:
            log.exception("a refusal could not be handed over")


class CommandQueue:
    """Hands out batches in order. No command waits in it for longer than a few seconds."""

    def __init__(self, limit: int, outages: Outages) -> None:
        self._limit = limit
        self._outages = outages
        self._waiting: deque[WaitingCommand] = deque()
        self._size = MOST_COMMANDS
        self._filled = asyncio.Event()
        self._gathered = asyncio.Event()
        self._wanted = limit + 1

    def __len__(self) -> int:
        return len(self._waiting)

    def require_room(self, commands: int) -> None:
        """Raises Overloaded where so many more cannot wait."""
        if len(self._waiting) + commands > self._limit:
            raise self._outages.current or Overloaded()

    def put(self, message: Message, receiver: AnswerReceiver) -> None:
        """Let a message wait for the next batch."""
        self._waiting.append(WaitingCommand(message, receiver, monotonic() + LONGEST_WAIT))
        self._filled.set()
        if len(self._waiting) >= self._wanted:
            self._gathered.set()

    async def gather(self, commands: int, seconds: float) -> None:
        """Wait until so many commands wait, or for so long."""
        if len(self._waiting) >= commands:
            return
        self._gathered.clear()
        self._wanted = commands
        timer = asyncio.get_running_loop().call_later(seconds, self._gathered.set)
        try:
            await self._gathered.wait()
        finally:
            self._wanted = self._limit + 1
            timer.cancel()

    async def wait_until_filled(self) -> None:
        """Wait until there may be something to take, or `wake` was called."""
        await self._filled.wait()
        self._filled.clear()

    def wake(self) -> None:
        """Wake `wait_until_filled`, so that the writer notices a stop."""
        self._filled.set()

    def take(self) -> list[WaitingCommand]:
        """The next batch. Who has waited long is not kept waiting for an outage to end."""
        taken: list[WaitingCommand] = []
        now = monotonic()
        while self._waiting and len(taken) < self._size:
            waiting = self._waiting.popleft()
            if waiting.until < now:
                waiting.refuse(self._outages.refuse())
            else:
                taken.append(waiting)
        return taken

    def put_back_from(self, taken: list[WaitingCommand], index: int) -> None:
        """Take those from an index on out of a batch; they keep their order in the next one."""
        self.put_back(taken[index:])
        del taken[index:]

    def put_back(self, taken: Sequence[WaitingCommand]) -> None:
        """They come first in the next batch."""
        self._waiting.extendleft(reversed(taken))

    def split_failed(self, taken: Sequence[WaitingCommand]) -> None:
        """A batch failed as a whole: it comes again in smaller parts, to find the one at fault."""
        self.put_back(taken)
        self.shrink(len(taken))

    def shrink(self, taken: int) -> None:
        """A batch of so many failed: the next is half as large."""
        self._size = max(1, taken // 2)

    def widen(self) -> None:
        """A batch went well: the next may be larger again."""
        self._size = min(2 * self._size, MOST_COMMANDS)

    def refuse(self, taken: Iterable[WaitingCommand] = ()) -> None:
        """Refuse everyone in the queue, and those taken."""
        for waiting in (*taken, *self._waiting):
            waiting.refuse(self._outages.current or Overloaded())
        self._waiting.clear()
