"""The stream of one log among several, followed over all its connections."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import NamedTuple

import httpx
import orjson

from api.cells.connection import Query
from api.cells.cursor import LOG_ID, CellPosition
from api.cells.frames import FrameReader, LogFrame
from api.cells.remote import POSITION, Away
from domain.errors import DomainError

SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
LINE = "log"
"""Frames of log lines, which are no events: nothing follows that belongs to them."""
OTHER_LOG = "other-log"


class ForwardedFrame(NamedTuple):
    """What is to be sent on of one log: a frame of an event, with its data, or one about its stream."""

    cell: str
    name: str
    reached: CellPosition | None = None
    """Where the log goes on behind it; None where that stays."""
    data: bytes = b""
    about: Mapping[str, str] = {}
    """What a frame about the stream says besides."""


Connect = Callable[[Query], Awaitable[httpx.Response]]
Emit = Callable[[Sequence[ForwardedFrame]], Awaitable[None]]


class LogStreamEnded(Exception):
    """The log may not be followed any more; it says why."""


ABOUT_STREAM = frozenset({"checkpoint", "caught-up", "fell-behind"})
"""Frames of a log about its stream, besides its goodbye."""


class LogStream:
    """Follows one log from a position on. A connection that is lost is made again, and goes on where it was."""

    def __init__(self, cell: str, reached: CellPosition, connect: Connect) -> None:
        self.cell = cell
        self.reached = reached
        self._connect = connect
        self._answer: httpx.Response | None = None
        self._missing: str | None = None
        """Why it is away, where it is."""
        self._goodbye: float | None = None
        """Seconds after which a server that ends asks to be tried again."""
        self._failures = 0

    async def open(self, *, now: bool) -> None:
        """Connect for the first time; with `now` from the end of the log on, wherever that is. A log that is away is
        tried again by `run`.

        Raises:
            DomainError: it refuses.
        """
        try:
            self._answer = await self._open([("from", "now")] if now else self.reached.query)
        except Away as away:
            self._missing = str(away)

    async def run(self, emit: Emit) -> None:
        """Follow it, until it may not be followed any more. `emit` takes what came, and waits until that is sent."""
        if self._missing is not None:
            await emit([self._about("away", reason=self._missing)])
            await asyncio.sleep(self._pause())
        try:
            while True:
                await self._visit(emit)
                await asyncio.sleep(self._pause())
        except LogStreamEnded as end:
            await emit([self._about("closing", reason=str(end))])
        except DomainError as refusal:
            reason = OTHER_LOG if refusal.code == OTHER_LOG else "refused"
            await emit([self._about("closing", reason=reason, detail=refusal.detail)])

    async def aclose(self) -> None:
        """End the connection, if there is one."""
        answer, self._answer = self._answer, None
        if answer is not None:
            await answer.aclose()

    async def _visit(self, emit: Emit) -> None:
        """One connection, from its beginning to its end."""
        try:
            if self._answer is None:
                self._answer = await self._open(self.reached.query)
            if self._missing is not None:
                self._missing = None
                await emit([self._about("back")])
            async with aclosing(self._parts(self._answer)) as parts:
                async for sent in parts:
                    await emit(sent)
        except Away as away:
            if self._missing is None:
                self._missing = str(away)
                await emit([self._about("away", reason=self._missing)])
        except httpx.HTTPError:
            pass  # the connection is lost: whether the log is away shows when it is made again
        finally:
            await self.aclose()

    async def _open(self, query: Query) -> httpx.Response:
        answer = await self._connect(query)
        log, position = (answer.headers.get(name, "") for name in ("log-id", "log-position"))
        if not (LOG_ID.fullmatch(log) and POSITION.fullmatch(position)):
            await answer.aclose()
            raise Away("it answers what no log does")
        is_now = ("from", "now") in query
        self.reached = (
            CellPosition(int(position), log) if is_now else self.reached._replace(log=log)
        )
        return answer

    async def _parts(self, answer: httpx.Response) -> AsyncGenerator[list[ForwardedFrame]]:
        """What is to be sent on, as it comes; all frames of one event at once."""
        reader = FrameReader()
        waiting: list[ForwardedFrame] = []
        async for part in answer.aiter_bytes():
            sent: list[ForwardedFrame] = []
            for frame in reader.read(part):
                self._failures = 0
                if frame.name == "closing":
                    yield sent
                    sent = []
                    self._leave(frame)
                elif frame.position is None:
                    line = frame.name == LINE
                    (sent if line else waiting).append(
                        ForwardedFrame(self.cell, frame.name, data=frame.data)
                    )
                else:
                    sent += self._move(waiting, frame, frame.position)
                    waiting = []
            yield sent

    def _move(
        self, before: list[ForwardedFrame], frame: LogFrame, position: int
    ) -> list[ForwardedFrame]:
        """The last frame of an event with those before it, or one about the stream; none of what has come already."""
        about, reached = frame.name in ABOUT_STREAM, self.reached.position
        if not about and position <= reached:
            return []
        self.reached = CellPosition(max(position, reached), self.reached.log)
        return [
            *before,
            ForwardedFrame(self.cell, frame.name, self.reached, b"" if about else frame.data),
        ]

    def _leave(self, frame: LogFrame) -> None:
        """The server says goodbye: note when to come back, or that there is no way back.

        Raises:
            LogStreamEnded: the credential has ended, or the log is another one.
        """
        if frame.retry is None:
            raise LogStreamEnded(_reason(frame.data))
        self._goodbye = frame.retry / 1_000

    def _pause(self) -> float:
        """Seconds until the next connection."""
        if self._goodbye is not None:
            wait, self._goodbye = self._goodbye, None
            return wait
        longest: float = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2**self._failures)
        self._failures = min(self._failures + 1, 10)
        return longest * random.uniform(0.5, 1)  # noqa: S311 - spreads the reconnects, keeps no secret

    def _about(self, name: str, **about: str) -> ForwardedFrame:
        return ForwardedFrame(self.cell, name, self.reached, about=about)


def _reason(data: bytes) -> str:
    try:
        return str(orjson.loads(data)["reason"])
    except (ValueError, LookupError):
        raise Away("it sends what no log does") from None
