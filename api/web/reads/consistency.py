"""Waits until the data of an answer has reached the position that a request asks for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from api.problems.problems import NotYetVisible
from api.streaming.stream_position import require_log
from api.web.preferences import seconds_to_wait
from api.web.request import Request
from domain.eventlog.states import LoadedState
from domain.execution.types import Status
from domain.model import Versioned
from projections.engine.position_tracker import PositionTracker
from projections.read_sources import LogRead, Read, ReadSources

T = TypeVar("T")

DEFAULT_WAIT = 5
"""Seconds that a read waits for a position, without `Prefer: wait=`."""
LONGEST_WAIT = 30
"""Seconds that a read waits for a position at most."""
POLL = 0.05
"""Seconds between two reads of a position."""
LOGS_WITHIN = 1.0
"""Seconds that a read waits for the log lines that the server makes of events."""


def require_position(request: Request, position: int, at_least: int = 0) -> None:
    """Check that read data has reached a position. It may have gone back since the wait, as a crash may undo rows.

    Raises:
        NotYetVisible: `position` is before `?minPosition=`, or before `at_least`.
    """
    wanted = max(_min_position(request), at_least)
    if position < wanted:
        raise NotYetVisible(position=position, minPosition=wanted)


class Consistency:
    """Waits until data has reached the position of `?minPosition=`, or a position that the server needs.

    The methods raise NotYetVisible where the data does not reach it within the time of `Prefer: wait=<seconds>`
    (5, at most 30), and CursorOfOtherLog at once where `?log=` is the id of another log.
    """

    def __init__(self, sources: ReadSources, positions: PositionTracker, of_log: str) -> None:
        self._sources = sources
        self._store = sources.primary
        self._positions = positions
        self._of_log = of_log

    def position(self, projection: str) -> int:
        """The position of the last event that a projection has applied."""
        return self._positions.position(projection)

    async def wait_for_projection(
        self, request: Request, projection: str, at_least: int = 0
    ) -> None:
        """Wait until a projection has reached `?minPosition=`, and `at_least`."""
        wanted = max(self._wanted_position(request), at_least)
        if wanted and not await self._positions.wait(projection, wanted, patience(request)):
            head, _ = await self._store.head()
            raise _not_yet_visible(self.position(projection), wanted, head)

    async def of_view(self, request: Request, view: str, read: Read[T], at_least: int = 0) -> T:
        """Read from a projection once it has reached `?minPosition=`, and `at_least`."""
        await self.wait_for_projection(request, view, at_least)
        return await self._sources.of_view(
            view, max(self._wanted_position(request), at_least), read
        )

    async def wait_for_log(self, request: Request) -> int:
        """Wait until the log has reached `?minPosition=`, and return its position."""

        async def position() -> int:
            return (await self._store.head())[0]

        return await self.wait_until(request, position, await position())

    async def of_log(self, request: Request, read: LogRead[T]) -> tuple[int, T]:
        """Read from the log once it has reached `?minPosition=`. Return its position before the read, and the result."""
        position = await self.wait_for_log(request)
        return position, await self._sources.of_log(position, read)

    async def wait_until(
        self,
        request: Request,
        position: Callable[[], Awaitable[int]],
        reached: int,
        at_least: int = 0,
    ) -> int:
        """Wait until `position` returns at least `?minPosition=` and `at_least`, and return the last position.

        `reached` is the position now.
        """
        wanted = max(self._wanted_position(request), at_least)
        deadline = time.monotonic() + patience(request)
        while reached < wanted:
            if time.monotonic() > deadline:
                raise _not_yet_visible(reached, wanted, (await self._store.head())[0])
            await asyncio.sleep(POLL)
            reached = await position()
        return reached

    async def read(
        self, request: Request, read: Callable[[], Awaitable[LoadedState]]
    ) -> LoadedState:
        """Read a state that has reached `?minPosition=`; where the first read has not, wait for the log and read again."""
        wanted = self._wanted_position(request)
        reading = await read()
        if reading.position < wanted:
            await self.wait_for_log(request)
            reading = await read()
        return reading

    async def read_past(
        self, request: Request, read: Read[LoadedState], settled: Callable[[LoadedState], bool]
    ) -> LoadedState:
        """Read a state of the past that has reached `?minPosition=`. One that is `settled` never changes, so a standby may
        answer it.
        """
        past = await self._sources.of_past(self._wanted_position(request), read, settled)
        return past or await self.read(request, lambda: read(self._store))

    async def wait_for_log_lines(self, versioned: Versioned[Any]) -> None:
        """Wait up to `LOGS_WITHIN` for the log lines that the server makes of an execution's end, or of a failure before
        a retry.
        """
        if versioned.state.final or versioned.state.status is Status.RETRY:
            await self._positions.wait("logs", versioned.position, LOGS_WITHIN)

    def _wanted_position(self, request: Request) -> int:
        require_log(request.parameter("log"), self._of_log)
        return _min_position(request)


def _not_yet_visible(position: int, wanted: int, head: int) -> NotYetVisible:
    detail = None
    if wanted > head:
        detail = (
            f"The log ends at position {head}, and `minPosition` is {wanted}: nothing was recorded there yet. "
            "Where the log was restored from a backup, or is another one, that is no position of it: send "
            "`log` as well, the `Log-Id` of the answer that named the position."
        )
    return NotYetVisible(detail, position=position, minPosition=wanted)


def _min_position(request: Request) -> int:
    return request.integer("minPosition", 0, 2**63 - 1) or 0


def patience(request: Request) -> int:
    """The seconds that a client wants to wait, at most `LONGEST_WAIT`."""
    prefer = request.header("prefer")
    asked = None if prefer is None else seconds_to_wait(prefer)
    return DEFAULT_WAIT if asked is None else min(asked, LONGEST_WAIT)
