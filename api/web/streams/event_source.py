"""Streams other than those of the hub, through sse-starlette: a frame is encoded only when the one before is written."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import orjson
import structlog
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import AppStatus, SendTimeoutError
from starlette.types import Receive, Scope, Send

from api.streaming.close_codes import SLOW
from api.streaming.encoding import SSE
from api.streaming.heartbeat import HEARTBEAT, UNREAD_TIMEOUT
from api.streaming.hub import Hub
from api.streaming.subscriber import Transport
from api.transport.protocols import protocol_of
from api.web.access.admitted import Stream
from api.web.responses import VARY
from domain.eventlog.connection.notifications import Wake

LOCKED_OUT_WITHIN = 3.0
"""Seconds for a client to read that its credential has ended, before the stream is cut."""

log = structlog.get_logger()

# The library would end streams in the middle of a frame, and stay in that state for the whole process.
AppStatus.enable_automatic_graceful_drain = False


class HeartbeatComment(ServerSentEvent):
    """A comment without a blank line, which some clients would take for an empty event."""

    def encode(self) -> bytes:
        return b": heartbeat\n"


class EventSource(EventSourceResponse, Stream):
    """A stream that ends with its frames, with the server, or when the client disconnects.

    `frames` is called with this response. It yields whole frames, several at once where it can, waits for `wake`, and
    ends when the response is `closing`. A client that does not read for `UNREAD_TIMEOUT` seconds is cut.
    """

    def __init__(
        self,
        hub: Hub,
        frames: Callable[[EventSource], AsyncGenerator[bytes]],
        headers: dict[str, str] | None = None,
        kind: str = "",
    ) -> None:
        self.wake = Wake()
        self.closing = False
        self._locked_out = ""
        self.kind = kind
        self.cursor: str | None = None
        """The cursor that was last sent to the client, of streams that have cursors."""
        self._hub = hub
        self._transport: Transport | None = None
        super().__init__(
            self._with_last_frame(frames(self)),
            headers={**VARY, **(headers or {})},
            sep="\n",
            ping=HEARTBEAT,
            ping_message_factory=HeartbeatComment,
            send_timeout=UNREAD_TIMEOUT,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            begin = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(begin)
            await send({"type": "http.response.body", "body": b""})
            return
        self._transport = protocol_of(scope)
        self._hub.register(self)
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            log.info("slow stream cut", path=scope["path"])
            self.cut()
            await receive()  # wait for the disconnect, without which the server would log an error
        finally:
            self._transport = None
            self._hub.unregister(self)

    @property
    def full(self) -> bool:
        """Whether there is no room for another stream."""
        return self._hub.full

    def say_goodbye(self) -> None:
        """End the stream after a frame that asks the client to reconnect."""
        self.closing = True
        self.wake.set()

    def end_access(self, reason: str) -> None:
        self._locked_out = reason
        self.say_goodbye()
        asyncio.get_running_loop().call_later(LOCKED_OUT_WITHIN, self.cut)

    def cut(self) -> None:
        """End the stream at once, and discard what the client has not read."""
        if self._transport is not None:
            self._transport.cut(SLOW, "")

    async def _with_last_frame(self, frames: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        async with aclosing(frames) as open_frames:
            async for data in open_frames:
                yield data
        if self._locked_out:
            yield frame("closing", orjson.dumps({"reason": self._locked_out}))
        elif self.closing:
            retry = random.randint(500, 5000)  # noqa: S311 - spreads the reconnects, need not be secure
            yield b"event: closing\nretry: %d\n" % retry + b'data: {"retry":%d}\n\n' % retry


def frame(name: str, data: bytes, cursor: object = None) -> bytes:
    """Encode a server-sent event. The cursor, if given, is the one from which a client resumes."""
    encoded = SSE.frame(None, name, data)
    return encoded if cursor is None else b"id: %b\n%b" % (str(cursor).encode(), encoded)


def control(name: str, cursor: object, **more: Any) -> bytes:
    """Encode a frame about the stream, with its cursor."""
    return frame(name, orjson.dumps({"cursor": str(cursor), **more}), cursor)
