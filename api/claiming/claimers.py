"""Queues the claims that wait for an execution, one queue for each thing that workers ask for."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from domain.errors import Overloaded
from domain.writer.command_bus import Answer
from domain.writer.message import Message
from projections.claims.queue import ClaimFilter


class Claimer:
    """One call that waits. `message` makes the command that claims the execution with an id; it is `trying`
    while such a command is under way.
    """

    __slots__ = ("future", "message", "trying", "wanted")

    def __init__(self, wanted: ClaimFilter, message: Callable[[str], Message]) -> None:
        self.wanted = wanted
        self.message = message
        self.trying = False
        self.future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def answer(self, answer: Answer) -> None:
        """Give the call what it has claimed."""
        if not self.future.done():
            self.future.set_result(answer)

    def abandon(self) -> None:
        """Drop whatever comes: the call has ended."""
        if not self.future.cancel() and not self.future.cancelled():
            self.future.exception()  # read, so that asyncio reports no error without a reader

    def refuse(self, error: Exception) -> None:
        """Refuse the call."""
        if not self.future.done():
            self.future.set_exception(error)


class Claimers:
    """The calls that wait, up to a limit. Those that ask for the same are answered in the order they came."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lines: OrderedDict[ClaimFilter, OrderedDict[Claimer, None]] = OrderedDict()
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def join(self, claimer: Claimer, *, first: bool = False) -> None:
        """Let a call wait; `first`, before all others, where its turn had come already.

        Raises:
            Overloaded: too many wait.
        """
        if self._number >= self._limit and not first:
            raise Overloaded("Too many workers wait for an execution.")
        line = self._lines.setdefault(claimer.wanted, OrderedDict())
        line[claimer] = None
        line.move_to_end(claimer, last=not first)
        self._number += 1

    def leave(self, claimer: Claimer) -> None:
        """Take a call out, if it waits."""
        line = self._lines.get(claimer.wanted)
        if line is None or claimer not in line:
            return
        del line[claimer]
        self._number -= 1
        if not line:
            del self._lines[claimer.wanted]

    def next(self, wanted: ClaimFilter) -> Claimer | None:
        """Take out the first call that asks for this; None where none does."""
        line = self._lines.get(wanted)
        if line is None:
            return None
        claimer = next(iter(line))
        self.leave(claimer)
        return claimer

    def wishes(self, most: int) -> dict[ClaimFilter, int]:
        """What is asked for, and by how many calls. Where more than `most` things are, they take turns."""
        chosen = {wanted: len(line) for wanted, line in list(self._lines.items())[:most]}
        if len(chosen) < len(self._lines):
            for wanted in chosen:
                self._lines.move_to_end(wanted)
        return chosen

    def refuse(self, error: Callable[[], Exception]) -> None:
        """Refuse all calls that wait."""
        for line in self._lines.values():
            for claimer in line:
                claimer.refuse(error())
        self._lines.clear()
        self._number = 0
