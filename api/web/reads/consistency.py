"""Waits until the data behind an answer is new enough, and says how far it goes."""

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
LONGEST_WAIT = 30
POLL = 0.05
LOGS_WITHIN = 1.0
"""Seconds that a read waits for the server's own log lines."""


def require_position(request: Request, position: int, at_least: int = 0) -> None:
    """Refuse to answer while the data is behind the position asked for: a crash may have undone rows.

    Raises:
        NotYetVisible: it does not reach `?minPosition=`, or `at_least`.
    """
    wanted = max(_min_position(request), at_least)
    if position < wanted:
        raise NotYetVisible(position=position, minPosition=wanted)


class Consistency:
    """Waits until what is read goes as far as `?minPosition=`, or the server, asks for.

    The methods raise NotYetVisible where it does not within the time of `Prefer: wait=<seconds>`
    (5, at most 30), and CursorOfOtherLog at once where `?log=` says that the position is of another log.
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
        """What is read of a projection that has reached `?minPosition=`, and `at_least`."""
        await self.wait_for_projection(request, view, at_least)
        return await self._sources.of_view(
            view, max(self._wanted_position(request), at_least), read
        )

    async def wait_for_log(self, request: Request) -> int:
        """Wait until the log has reached `?minPosition=`; how far a read of it goes, at least."""

        async def position() -> int:
            return (await self._store.head())[0]

        return await self.wait_until(request, position, await position())

    async def of_log(self, request: Request, read: LogRead[T]) -> tuple[int, T]:
        """How far the log is once it has reached `?minPosition=`, and what is read of it, at least up to there."""
        position = await self.wait_for_log(request)
        return position, await self._sources.of_log(position, read)

    async def wait_until(
        self,
        request: Request,
        position: Callable[[], Awaitable[int]],
        reached: int,
        at_least: int = 0,
    ) -> int:
        """Wait until something, which has `reached` a position, is at `?minPosition=` and `at_least`;
        where it is then.
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
        """What is read once the log has reached `?minPosition=`; read once where it has already, else again."""
        wanted = self._wanted_position(request)
        reading = await read()
        if reading.position < wanted:
            await self.wait_for_log(request)
            reading = await read()
        return reading

    async def read_past(
        self, request: Request, read: Read[LoadedState], settled: Callable[[LoadedState], bool]
    ) -> LoadedState:
        """The same of a state of the past. One that is `settled` never changes, so a standby may answer it."""
        past = await self._sources.of_past(self._wanted_position(request), read, settled)
        return past or await self.read(request, lambda: read(self._store))

    async def wait_for_log_lines(self, versioned: Versioned[Any]) -> None:
        """Wait a moment for the server's own lines about the end, or the failure before a retry."""
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
    """How many seconds the client wants to wait at most."""
    prefer = request.header("prefer")
    asked = None if prefer is None else seconds_to_wait(prefer)
    return DEFAULT_WAIT if asked is None else min(asked, LONGEST_WAIT)
