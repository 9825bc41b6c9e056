"""One tail of the log per process: every event is read once, encoded once, and shared by all streams."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

import structlog

from api.metrics import LOG_POSITION, STREAMS
from domain.codec import Stored
from domain.errors import Overloaded
from domain.store import Store
from projections.envelopes import envelope
from projections.listen import Listener

PAGE = 1_000
RING = 16_384
POLL = 0.25
PAUSE = 2.0
EVERYTHING = ""

log = structlog.get_logger()


class Frame(NamedTuple):
    """One event, ready to be sent: as an SSE frame, with what subscribers ask of it."""

    position: int
    stream: str
    type: str
    sse: bytes
    ends: bool | None


ENDS = {
    "execution.completed": True,
    "execution.cancelled": True,
    "execution.retry": False,
    "execution.starting": False,
}


def _ends(row: Stored) -> bool | None:
    """Whether the story of an execution ends here, goes on again, or (None) is not changed in that."""
    if row.type == "execution.failed":
        return b'"final":true' in row.data
    return ENDS.get(row.type)


class Feed:
    """Tails the log into a ring of frames and wakes those who wait for more.

    A reader asks `after(cursor)`: it gets frames from the ring, or, when it is further behind than
    the ring reaches, a page from the store. Frames are contiguous: positions have no holes, and the
    feed would rather stop than skip one.
    """

    def __init__(self, store: Store, listener: Listener, schema: str) -> None:
        self._store = store
        self._wake = listener.subscribe(schema)
        self._ring: deque[Frame] = deque(maxlen=RING)
        self._head = -1
        self._latest: dict[str, int] = {}
        self._streams = 0
        self.closing = False
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def head(self) -> int:
        """Position of the newest frame."""
        return self._head

    def start(self) -> None:
        """Begin at the end of the log as it will be found."""
        self._task = asyncio.create_task(self._run(), name="feed")

    def close(self) -> None:
        """Ask every stream to say goodbye: those who wait are woken and see `closing`."""
        self.closing = True
        self._release(list(self._waiting))

    async def stop(self) -> None:
        """End the tail."""
        self.close()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    @contextmanager
    def opened(self) -> Iterator[None]:
        """While a stream is open, frames are made and kept."""
        self._streams += 1
        STREAMS.set(self._streams)
        try:
            yield
        finally:
            self._streams -= 1
            STREAMS.set(self._streams)

    async def after(self, cursor: int, stream: str = EVERYTHING) -> tuple[Sequence[Frame], int]:
        """Frames after a cursor (of one stream, or of all), and the cursor after them.

        Empty when there is nothing new yet: then `wait`.
        """
        ring = self._ring
        if ring and ring[0].position <= cursor + 1 <= self._head + 1:
            first = cursor + 1 - ring[0].position
            fresh = [ring[i] for i in range(first, min(len(ring), first + PAGE))]
        elif cursor >= self._head:
            return (), cursor
        else:
            return await self._past(cursor, stream)
        wanted = fresh if stream == EVERYTHING else [f for f in fresh if f.stream == stream]
        return wanted, fresh[-1].position if fresh else cursor

    async def wait(self, cursor: int, stream: str, seconds: float) -> None:
        """Until there may be frames after the cursor, or the seconds are over."""
        newest = self._head if stream == EVERYTHING else self._latest.get(stream, 0)
        if newest > cursor or self.closing:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(stream, set()).add(future)
        try:
            async with asyncio.timeout(seconds):
                await future
        except TimeoutError:
            pass
        finally:
            if waiting := self._waiting.get(stream):
                waiting.discard(future)
                if not waiting:
                    del self._waiting[stream]

    async def _past(self, cursor: int, stream: str) -> tuple[Sequence[Frame], int]:
        head = self._head  # what comes while we read is for the next time: nothing is skipped
        if stream == EVERYTHING:
            rows = await self._store.read(cursor, PAGE)
        else:
            rows = await self._store.history_after(stream, cursor, PAGE)
        frames = await self.encode(row for row in rows if row.position <= head)
        if stream == EVERYTHING or len(rows) == PAGE:
            return frames, frames[-1].position if frames else cursor
        return frames, head

    async def encode(self, rows: Iterable[Stored]) -> list[Frame]:
        """Frames of rows, their sealed fields opened."""
        rows = list(rows)
        keys = await self._store.keys(row.stream for row in rows if b'"$sealed"' in row.data)
        return [_frame(row, envelope(row, keys.get(row.stream))) for row in rows]

    async def _run(self) -> None:
        while True:
            try:
                while await self._advance():
                    pass
            except Overloaded:
                await asyncio.sleep(POLL)
            except Exception:  # a task that ended would stop every stream unseen
                log.exception("feed stopped, and tries again")
                await asyncio.sleep(PAUSE)
            else:
                await self._wake.wait(POLL)

    async def _advance(self) -> bool:
        if self._head < 0 or not self._streams:
            # Nobody reads along: what was kept is of no use, and nothing needs to be encoded.
            self._ring.clear()
            self._latest.clear()
            self._head, _ = await self._store.head()
            LOG_POSITION.set(self._head)
            self._release(list(self._waiting))
            return False
        rows = await self._store.read(self._head, PAGE)
        if not rows:
            return False
        if rows[0].position != self._head + 1 or rows[-1].position != self._head + len(rows):
            raise RuntimeError(f"the log has a hole after position {self._head}")
        frames = await self.encode(rows)
        for frame in frames:
            self._keep(frame)
        self._head = rows[-1].position
        LOG_POSITION.set(self._head)
        self._release({EVERYTHING, *(frame.stream for frame in frames)})
        return len(rows) == PAGE

    def _keep(self, frame: Frame) -> None:
        ring, latest = self._ring, self._latest
        if len(ring) == RING and latest[ring[0].stream] == ring[0].position:
            del latest[ring[0].stream]
        ring.append(frame)
        latest[frame.stream] = frame.position

    def _release(self, streams: Iterable[str]) -> None:
        for stream in streams:
            for future in self._waiting.pop(stream, ()):
                if not future.done():
                    future.set_result(None)


def _frame(row: Stored, data: bytes) -> Frame:
    sse = b"id: %d\nevent: %b\ndata: %b\n\n" % (row.position, row.type.encode(), data)
    return Frame(row.position, row.stream, row.type, sse, _ends(row))
