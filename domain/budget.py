"""A CPU budget for long work on the event loop, which lets other tasks run in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import thread_time
from typing import TypeVar

from domain.errors import TooExpensive

SLICE = 0.005
"""Seconds of work after which other tasks may run."""

T = TypeVar("T")


class Budget:
    """The seconds of CPU that one read may use. Other work of the thread in between does not count.

    `cheaper` is the error when the budget is used up; it says what would take less time.
    """

    def __init__(
        self,
        seconds: float,
        cheaper: TooExpensive,
        clock: Callable[[], float] = thread_time,
    ) -> None:
        self._left = seconds
        self._cheaper = cheaper
        self._clock = clock
        self._resumed_at = clock()

    async def let_others_run(self) -> None:
        """Let other tasks run, if this one has worked for `SLICE` seconds since they last did.

        Raises:
            TooExpensive: the budget is used up.
        """
        if self._clock() - self._resumed_at >= SLICE:
            await self.wait(asyncio.sleep(0))

    async def wait(self, other: Awaitable[T]) -> T:
        """Await something that takes no CPU of this read, such as a query, and return its result.

        Raises:
            TooExpensive: the budget is used up.
        """
        self._left -= self._clock() - self._resumed_at
        try:
            result = await other
        finally:
            self._resumed_at = self._clock()
        if self._left < 0:
            raise self._cheaper
        return result
