"""Queues the claims that wait for an execution, one queue for each filter."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from domain.errors import Overloaded
from domain.writer.command_bus import Answer
from domain.writer.message import Message
from projections.claims.queue import ClaimFilter


class Claimer:
    """A claim that waits. `message` makes the command that claims the execution with an id; `trying` is set while such a
    command is running.
    """

    __slots__ = ("future", "message", "trying", "wanted")

    def __init__(self, wanted: ClaimFilter, message: Callable[[str], Message]) -> None:
        self.wanted = wanted
        self.message = message
        self.trying = False
        self.future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def answer(self, answer: Answer) -> None:
        """Answer the claim with the claimed execution."""
        if not self.future.done():
            self.future.set_result(answer)

    def abandon(self) -> None:
        """Ignore further answers, as the request has ended."""
        if not self.future.cancel() and not self.future.cancelled():
            self.future.exception()  # retrieved, so that asyncio does not log it

    def refuse(self, error: Exception) -> None:
        """Refuse the claim."""
        if not self.future.done():
            self.future.set_exception(error)


class Claimers:
    """The waiting claims, up to a limit. Claims with the same filter are answered in the order of their arrival."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lines: OrderedDict[ClaimFilter, OrderedDict[Claimer, None]] = OrderedDict()
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def join(self, claimer: Claimer, *, first: bool = False) -> None:
        """Add a claim; with `first`, before all others, as its turn had come before.

        Raises:
            Overloaded: too many claims wait.
        """
        if self._number >= self._limit and not first:
            raise Overloaded("Too many workers wait for an execution.")
        line = self._lines.setdefault(claimer.wanted, OrderedDict())
        line[claimer] = None
        line.move_to_end(claimer, last=not first)
        self._number += 1

    def leave(self, claimer: Claimer) -> None:
        """Remove a claim, if it waits."""
        line = self._lines.get(claimer.wanted)
        if line is None or claimer not in line:
            return
        del line[claimer]
        self._number -= 1
        if not line:
            del self._lines[claimer.wanted]

    def next(self, wanted: ClaimFilter) -> Claimer | None:
        """Remove and return the first claim with a filter; None where there is none."""
        line = self._lines.get(wanted)
        if line is None:
            return None
        claimer = next(iter(line))
        self.leave(claimer)
        return claimer

    def place(self, claimer: Claimer) -> int:
        """The place of a claim among those with its filter, from 1; 1 if it does not wait."""
        line = list(self._lines.get(claimer.wanted, ()))
        return line.index(claimer) + 1 if claimer in line else 1

    def wishes(self, most: int) -> dict[ClaimFilter, int]:
        """The number of claims by filter, for at most `most` filters; further filters are returned by the next calls."""
        selected = {wanted: len(line) for wanted, line in list(self._lines.items())[:most]}
        if len(selected) < len(self._lines):
            for wanted in selected:
                self._lines.move_to_end(wanted)
        return selected

    def refuse(self, error: Callable[[], Exception]) -> None:
        """Refuse all waiting claims."""
        for line in self._lines.values():
            for claimer in line:
                claimer.refuse(error())
        self._lines.clear()
        self._number = 0
