"""Long work on the event loop: it lets others run in between, and ends when it took too much."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import thread_time
from typing import TypeVar

from domain.errors import TooExpensive

SLICE = 0.005
"""Seconds of work, after which others may run."""

T = TypeVar("T")


class Budget:
    """So many seconds of CPU for one read. What else the thread does meanwhile does not count.

    `cheaper` is the refusal, which says what would take less.
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
        self._since = clock()

    async def let_others_run(self) -> None:
        """Let others run, if this has worked long enough since they did.

        Raises:
            TooExpensive: the seconds are used up.
        """
        if self._clock() - self._since >= SLICE:
            await self.wait(asyncio.sleep(0))

    async def wait(self, other: Awaitable[T]) -> T:
        """The result of what takes no CPU of this read, such as a query.

        Raises:
            TooExpensive: the seconds are used up.
        """
        self._left -= self._clock() - self._since
        try:
            result = await other
        finally:
            self._since = self._clock()
        if self._left < 0:
            raise self._cheaper
        return result
