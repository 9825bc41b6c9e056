"""Follows the stream of one log among several, and reconnects when the connection is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

import orjson

from api.cells.connection import Query
from api.cells.cursor import LOG_ID, CellPosition
from api.cells.frames import FrameReader, LogFrame
from api.cells.remote import POSITION, Away
from domain.errors import DomainError

if TYPE_CHECKING:
    import httpx

SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds before a reconnect: doubled after each failure."""
LINE = "log"
"""The name of frames of log lines, which are complete by themselves: the frames of an event end with one that has a
position.
"""
OTHER_LOG = "other-log"


class ForwardedFrame(NamedTuple):
    """A frame of one log for the client: of an event, with its data, or about the log's stream."""

    cell: str
    name: str
    reached: CellPosition | None = None
    """The position of the log after the frame; None where the frame does not move it."""
    data: bytes = b""
    about: Mapping[str, str] = {}
    """Further members of a frame about the stream."""


Connect = Callable[[Query], Awaitable["httpx.Response"]]
Emit = Callable[[Sequence[ForwardedFrame]], Awaitable[None]]


class LogStreamEnded(Exception):
    """The log may not be followed any more; the message is the reason."""


ABOUT_STREAM = frozenset({"checkpoint", "caught-up", "fell-behind"})
"""The names of frames about the stream, except `closing`."""


class LogStream:
    """Follows one log from a position on. After a lost connection it reconnects, and resumes at the last position."""

    def __init__(self, cell: str, reached: CellPosition, connect: Connect) -> None:
        self.cell = cell
        self.reached = reached
        self._connect = connect
        self._answer: httpx.Response | None = None
        self._away_reason: str | None = None
        """Why the log is unavailable; None while it is not."""
        self._retry_after: float | None = None
        """Seconds after which a server that has closed the stream asks for a reconnect; None otherwise."""
        self._failures = 0

    async def open(self, *, now: bool) -> None:
        """Connect for the first time; with `now`, from the end of the log on. `run` reconnects to an unavailable log.

        Raises:
            DomainError: the log refuses the stream.
        """
        try:
            self._answer = await self._open([("from", "now")] if now else self.reached.query)
        except Away as away:
            self._away_reason = str(away)

    async def run(self, emit: Emit) -> None:
        """Follow the log until it may not be followed any more. `emit` takes received frames, and returns when they are
        sent.
        """
        if self._away_reason is not None:
            await emit([self._about("away", reason=self._away_reason)])
            await asyncio.sleep(self._pause())
        try:
            while True:
                await self._follow_connection(emit)
                await asyncio.sleep(self._pause())
        except LogStreamEnded as end:
            await emit([self._about("closing", reason=str(end))])
        except DomainError as refusal:
            reason = OTHER_LOG if refusal.code == OTHER_LOG else "refused"
            await emit([self._about("closing", reason=reason, detail=refusal.detail)])

    async def aclose(self) -> None:
        """Close the connection, if there is one."""
        answer, self._answer = self._answer, None
        if answer is not None:
            await answer.aclose()

    async def _follow_connection(self, emit: Emit) -> None:
        """Connect once, and emit frames until the connection ends."""
        import httpx

        try:
            if self._answer is None:
                self._answer = await self._open(self.reached.query)
            if self._away_reason is not None:
                self._away_reason = None
                await emit([self._about("back")])
            async with aclosing(self._parts(self._answer)) as parts:
                async for sent in parts:
                    await emit(sent)
        except Away as away:
            if self._away_reason is None:
                self._away_reason = str(away)
                await emit([self._about("away", reason=self._away_reason)])
        except httpx.HTTPError:
            pass  # the connection is lost; the next one shows whether the log is unavailable
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
        """The received frames for the client; all frames of one event together."""
        reader = FrameReader()
        incomplete: list[ForwardedFrame] = []
        async for part in answer.aiter_bytes():
            complete: list[ForwardedFrame] = []
            for frame in reader.read(part):
                self._failures = 0
                if frame.name == "closing":
                    yield complete
                    complete = []
                    self._note_closing(frame)
                elif frame.position is None:
                    line = frame.name == LINE
                    (complete if line else incomplete).append(
                        ForwardedFrame(self.cell, frame.name, data=frame.data)
                    )
                else:
                    complete += self._advance(incomplete, frame, frame.position)
                    incomplete = []
            yield complete

    def _advance(
        self, before: list[ForwardedFrame], frame: LogFrame, position: int
    ) -> list[ForwardedFrame]:
        """Move to the position of a frame, and return it with the frames `before` it of the same event; nothing for an
        event that was received already.
        """
        about, reached = frame.name in ABOUT_STREAM, self.reached.position
        if not about and position <= reached:
            return []
        self.reached = CellPosition(max(position, reached), self.reached.log)
        return [
            *before,
            ForwardedFrame(self.cell, frame.name, self.reached, b"" if about else frame.data),
        ]

    def _note_closing(self, frame: LogFrame) -> None:
        """Note from a frame `closing` when to reconnect.

        Raises:
            LogStreamEnded: the credential has ended, or the log is another one.
        """
        if frame.retry is None:
            raise LogStreamEnded(_reason(frame.data))
        self._retry_after = frame.retry / 1_000

    def _pause(self) -> float:
        """The seconds until the next connection."""
        if self._retry_after is not None:
            wait, self._retry_after = self._retry_after, None
            return wait
        longest: float = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2**self._failures)
        self._failures = min(self._failures + 1, 10)
        return longest * random.uniform(0.5, 1)  # noqa: S311 - spreads the reconnects, need not be secure

    def _about(self, name: str, **about: str) -> ForwardedFrame:
        return ForwardedFrame(self.cell, name, self.reached, about=about)


def _reason(data: bytes) -> str:
    try:
        return str(orjson.loads(data)["reason"])
    except (ValueError, LookupError):
        raise Away("it sends what no log does") from None
