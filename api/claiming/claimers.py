"""The workers that wait for an execution, by what they ask for, each in its turn."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from domain.errors import Overloaded
from domain.writer.command_bus import Answer
from domain.writer.message import Message
from projections.claims.queue import Wanted


class Claimer:
    """One call that waits. `message` makes the command to claim an execution, of its id; while one is on
    its way, it is `trying`.
    """

    __slots__ = ("future", "message", "trying", "wanted")

    def __init__(self, wanted: Wanted, message: Callable[[str], Message]) -> None:
        self.wanted = wanted
        self.message = message
        self.trying = False
        self.future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def answer(self, answer: Answer) -> None:
        """What it has claimed."""
        if not self.future.done():
            self.future.set_result(answer)

    def abandon(self) -> None:
        """It waits no more, whatever comes."""
        if not self.future.cancel() and not self.future.cancelled():
            self.future.exception()  # it was raised, or nobody is there to whom it matters

    def refuse(self, error: Exception) -> None:
        """Why it can claim nothing."""
        if not self.future.done():
            self.future.set_exception(error)


class Claimers:
    """Those who wait, up to a limit; those who ask for the same are served in the order in which they came."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lines: OrderedDict[Wanted, OrderedDict[Claimer, None]] = OrderedDict()
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def join(self, claimer: Claimer, *, first: bool = False) -> None:
        """Let one wait, `first` where its turn had come already.

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
        """Let one wait no more, if it does."""
        line = self._lines.get(claimer.wanted)
        if line is None or claimer not in line:
            return
        del line[claimer]
        self._number -= 1
        if not line:
            del self._lines[claimer.wanted]

    def next(self, wanted: Wanted) -> Claimer | None:
        """Take out the first who asks for this; None where nobody does."""
        line = self._lines.get(wanted)
        if line is None:
            return None
        claimer = next(iter(line))
        self.leave(claimer)
        return claimer

    def wishes(self, most: int) -> dict[Wanted, int]:
        """What is asked for, and by how many; where there is more than so much, each comes in its turn."""
        chosen = {wanted: len(line) for wanted, line in list(self._lines.items())[:most]}
        if len(chosen) < len(self._lines):
            for wanted in chosen:
                self._lines.move_to_end(wanted)
        return chosen

    def refuse(self, error: Callable[[], Exception]) -> None:
        """Refuse all."""
        for line in self._lines.values():
            for claimer in line:
                claimer.refuse(error())
        self._lines.clear()
        self._number = 0
