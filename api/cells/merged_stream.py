"""Merges the streams of several logs into one, in the order in which their frames arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import structlog

from api.cells.cursor import CellCursor
from api.cells.log_stream import ForwardedFrame, LogStream
from domain.supervisor import cancel

log = structlog.get_logger()


class MergedFrame(NamedTuple):
    """A frame for the client: of an event, with its `data`, or about the stream. A client resumes after the `cursor`."""

    name: str
    data: bytes = b""
    cursor: str | None = None
    about: Mapping[str, Any] = {}


class MergedStream:
    """Follows several logs at once. More of a log is read only when its last frames were taken, so a client that reads
    slowly slows down the streams of the logs, and nothing accumulates here.
    """

    def __init__(self, streams: Sequence[LogStream], cursor: CellCursor) -> None:
        self.cursor = cursor
        """The cursor after the frames that were taken; it also has positions of logs that are not followed."""
        self.over = False
        """Whether the stream has ended, as one of the logs may not be followed any more."""
        self._streams = streams
        self._behind = {stream.cell for stream in streams}
        """Names of logs that have not caught up, or are unavailable."""
        self._arrived: list[tuple[Sequence[ForwardedFrame], asyncio.Event]] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, *, now: bool) -> None:
        """Connect to all logs; with `now`, to each from its end on.

        Raises:
            DomainError: a log refuses the stream.
        """
        try:
            opened = (stream.open(now=now) for stream in self._streams)
            for outcome in await asyncio.gather(*opened, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome
        except BaseException:
            await self.aclose()
            raise
        for stream in self._streams:
            self.cursor.move(stream.cell, stream.reached)

    def start(self, wake: Callable[[], object]) -> None:
        """Begin to follow the logs, and call `wake` whenever there are frames to take."""
        for stream in self._streams:
            run = self._run(stream, wake)
            self._tasks.append(asyncio.create_task(run, name=f"stream of {stream.cell}"))

    async def aclose(self) -> None:
        """Close all connections."""
        await cancel(*self._tasks)
        for stream in self._streams:
            await stream.aclose()

    def take(self) -> list[MergedFrame]:
        """The frames that have arrived since the last call."""
        arrived, self._arrived = self._arrived, []
        taken: list[MergedFrame] = []
        for batch, room in arrived:
            taken.extend(self._merge(sent) for sent in batch if not self.over)
            room.set()
        return taken

    async def _run(self, stream: LogStream, wake: Callable[[], object]) -> None:
        try:
            await stream.run(partial(self._put, wake))
        except Exception:
            log.exception("the stream of a log cannot be followed", cell=stream.cell)
        self.over = True
        wake()

    async def _put(self, wake: Callable[[], object], batch: Sequence[ForwardedFrame]) -> None:
        if batch:
            room = asyncio.Event()
            self._arrived.append((batch, room))
            wake()
            await room.wait()

    def _merge(self, sent: ForwardedFrame) -> MergedFrame:
        if sent.reached is not None:
            self.cursor.move(sent.cell, sent.reached)
        cursor = str(self.cursor)
        if sent.data:
            data = b'{"cell":"%b",%b' % (sent.cell.encode(), sent.data[1:])
            return MergedFrame(sent.name, data, None if sent.reached is None else cursor)
        if sent.name == "caught-up":
            return self._merge_caught_up(sent.cell, cursor)
        if sent.name == "checkpoint":
            return MergedFrame(sent.name, b"", cursor)
        self._behind.add(sent.cell)  # for `fell-behind`, `away`, `back` and `closing`
        self.over = sent.name == "closing"
        return MergedFrame(sent.name, b"", cursor, {"cell": sent.cell, **sent.about})

    def _merge_caught_up(self, cell: str, cursor: str) -> MergedFrame:
        """The frame `caught-up` of the whole stream, once the last log has caught up; before, only a checkpoint."""
        was_behind = bool(self._behind)
        self._behind.discard(cell)
        if self._behind or not was_behind:
            return MergedFrame("checkpoint", b"", cursor)
        positions = {stream.cell: self.cursor.get(stream.cell) for stream in self._streams}
        cells = {
            name: {"position": reached.position, "log": reached.log}
            for name, reached in positions.items()
            if reached is not None
        }
        return MergedFrame("caught-up", b"", cursor, {"cells": cells})
