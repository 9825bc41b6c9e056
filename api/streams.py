"""The feed as Server-Sent Events. A connection is a cursor; it holds no queue."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.feed import EVERYTHING, Feed, Frame
from api.operations import Call
from domain.errors import DomainError, NotFound
from domain.wire import parse_time

HEARTBEAT = 15.0
STALLED = 30.0
LARGEST_WRITE = 64 * 1024
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
CONTROL = b'%bevent: %b\ndata: {"position":%d}\n\n'

log = structlog.get_logger()


class Start(NamedTuple):
    """Where a stream begins: after this position; `resumed` when the client named it."""

    cursor: int
    resumed: bool


async def start(call: Call, default: str) -> Start:
    """The cursor a client asks for, by `Last-Event-ID` or `?from=`.

    Raises:
        Invalid: it is no position, lies in the future, or is no time.
    """
    head, _ = await call.system.store.head()
    if (last := call.header("last-event-id")) is not None:
        return Start(_position("Last-Event-ID", last, head), resumed=True)
    wanted = call.parameter("from")
    if (wanted or default) == "start":
        return Start(0, resumed=False)
    if (wanted or default) == "now":
        return Start(head, resumed=False)
    assert wanted is not None
    if wanted.isdecimal():
        return Start(_position("from", wanted, head), resumed=True)
    return Start(await call.system.store.position_before(_time(wanted)), resumed=False)


def _position(name: str, text: str, head: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= head):
        raise BadCursor(f"{name} must be a position of the log, from 0 to {head}.")
    return int(text)


def _time(text: str) -> datetime:
    try:
        return parse_time(text)
    except ValueError as error:
        raise BadCursor(f"`from` must be start, now, a position or a time: {error}.") from None


class BadCursor(DomainError):
    """The stream cannot begin there."""

    code = "malformed"


def wanted(call: Call) -> bool:
    """Whether the client asked for server-sent events."""
    return "text/event-stream" in (call.header("accept") or "")


async def of_everything(call: Call) -> ASGIApp:
    """Every event of the log, from now on unless the client says otherwise."""
    call.only("from")
    begin = await start(call, "now")
    return EventStream(call.system.feed, begin.cursor)


async def of_execution(call: Call) -> ASGIApp:
    """The events of one execution, from the first unless the client says otherwise.

    A client that comes back after the end gets 204, which tells it to stay away.
    """
    call.only("from")
    stream = f"execution/{call.path['id']}"
    begin = await start(call, "start")
    held = await call.system.store.load(stream)
    if held is None:
        raise NotFound("There is no such execution.")
    over = held.state.final
    if over and begin.resumed and begin.cursor >= held.position:
        return Response(status_code=204)
    return EventStream(call.system.feed, begin.cursor, stream, over=over)


class EventStream:
    """An ASGI response: everything after a cursor, then what comes, until the client goes.

    With a `stream` it is one execution's, and ends when all is sent and the story is over. `over`
    says whether it was when the stream began.
    """

    def __init__(
        self, feed: Feed, cursor: int, stream: str = EVERYTHING, *, over: bool = False
    ) -> None:
        self._feed = feed
        self._cursor = cursor
        self._sent = cursor
        self._stream = stream
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._feed.opened():
            serving = asyncio.create_task(self._serve(send), name="stream")
            watching = asyncio.create_task(_disconnect(receive), name="stream's client")
            try:
                await asyncio.wait({serving, watching}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (serving, watching):
                    task.cancel()
                await asyncio.gather(serving, watching, return_exceptions=True)

    async def _serve(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        try:
            await self._past(send)
            while not (self._feed.closing or self._over):
                await self._feed.wait(self._cursor, self._stream, HEARTBEAT)
                if not await self._frames(send):
                    await self._heartbeat(send)
            if self._feed.closing:
                again = random.randint(500, 5000)  # noqa: S311 - spreads reconnects, keeps no secret
                await _write(send, b"event: closing\nretry: %d\ndata: {}\n\n" % again)
            await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            log.info("slow stream cut", cursor=self._sent)

    async def _past(self, send: Send) -> None:
        while self._cursor < self._feed.head and not self._feed.closing:
            await self._frames(send)
        if self._cursor > self._sent:
            await self._control(send, b"checkpoint")
        await self._control(send, b"caught-up")

    async def _frames(self, send: Send) -> bool:
        frames, self._cursor = await self._feed.after(self._cursor, self._stream)
        for chunk in _joined(frames):
            await _write(send, chunk)
        for frame in frames:
            if self._stream != EVERYTHING and frame.ends is not None:
                self._over = frame.ends
            self._sent = frame.position
        return bool(frames)

    async def _heartbeat(self, send: Send) -> None:
        if self._cursor > self._sent:
            await self._control(send, b"checkpoint")
        else:
            await _write(send, b": heartbeat\n")

    async def _control(self, send: Send, name: bytes) -> None:
        """A frame of our own; its id is a real position, so that a resume from it loses nothing."""
        place = self._cursor
        await _write(send, CONTROL % (b"id: %d\n" % place if place else b"", name, place))
        self._sent = place


def _joined(frames: Sequence[Frame]) -> Iterator[bytes]:
    """The frames in as few writes as 64 KiB each allow."""
    parts: list[bytes] = []
    size = 0
    for frame in frames:
        parts.append(frame.sse)
        size += len(frame.sse)
        if size >= LARGEST_WRITE:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)


async def _write(send: Send, body: bytes) -> None:
    """Raises TimeoutError when the client has not read for too long."""
    async with asyncio.timeout(STALLED):
        await send({"type": "http.response.body", "body": body, "more_body": True})


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
