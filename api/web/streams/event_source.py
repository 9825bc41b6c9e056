"""Streams of which there are few, through sse-starlette: a frame is asked for once the one before is written, so none wait."""

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

from api.streaming.encoding import SSE
from api.streaming.heartbeat import HEARTBEAT, STALLED
from api.streaming.hub import Hub
from api.streaming.subscriber import SLOW, Transport
from api.transport.protocols import protocol_of
from api.web.access.admitted import Stream
from api.web.responses import VARY
from domain.eventlog.connection.notifications import Wake

LOCKED_OUT_WITHIN = 3.0
"""Seconds in which a client may still hear that its credential has ended."""

log = structlog.get_logger()

# The library's own way ends streams in the middle, and remembers for the whole process that it did.
AppStatus.enable_automatic_graceful_drain = False


class HeartbeatComment(ServerSentEvent):
    """A comment without a blank line, of which some clients would make an empty event."""

    def encode(self) -> bytes:
        return b": heartbeat\n"


class EventSource(EventSourceResponse, Stream):
    """An answer that goes on until its frames end, the server does, or the client goes.

    `frames` is called with this response: it yields whole frames, several in one where it can, waits
    by `wake`, and ends when it is `closing`. A client that does not read for `STALLED` seconds is cut.
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
        """How far its client has been sent what it follows, where that has places."""
        self._hub = hub
        self._transport: Transport | None = None
        super().__init__(
            self._until_goodbye(frames(self)),
            headers={**VARY, **(headers or {})},
            sep="\n",
            ping=HEARTBEAT,
            ping_message_factory=HeartbeatComment,
            send_timeout=STALLED,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._transport = protocol_of(scope)
        self._hub.register(self)
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            log.info("slow stream cut", path=scope["path"])
            self.cut()
            await receive()  # until it has gone: else the server takes this for a mistake
        finally:
            self._transport = None
            self._hub.unregister(self)

    @property
    def full(self) -> bool:
        """Whether there is no room for it any more."""
        return self._hub.full

    def say_goodbye(self) -> None:
        """The server ends: say so, and end."""
        self.closing = True
        self.wake.set()

    def end_access(self, reason: str) -> None:
        self._locked_out = reason
        self.say_goodbye()
        asyncio.get_running_loop().call_later(LOCKED_OUT_WITHIN, self.cut)

    def cut(self) -> None:
        """End at once, whatever is still unread."""
        if self._transport is not None:
            self._transport.cut(SLOW, "")

    async def _until_goodbye(self, frames: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        async with aclosing(frames) as its:
            async for data in its:
                yield data
        if self._locked_out:
            yield frame("closing", orjson.dumps({"reason": self._locked_out}))
        elif self.closing:
            retry = random.randint(500, 5000)  # noqa: S311 - spreads the reconnects, keeps no secret
            yield b"event: closing\nretry: %d\n" % retry + b'data: {"retry":%d}\n\n' % retry


def frame(name: str, data: bytes, cursor: object = None) -> bytes:
    """One server-sent event; its cursor, if given, is what a client goes on with."""
    made = SSE.frame(None, name, data)
    return made if cursor is None else b"id: %b\n%b" % (str(cursor).encode(), made)


def control(name: str, cursor: object, **more: Any) -> bytes:
    """A frame of our own, which says where the stream is."""
    return frame(name, orjson.dumps({"cursor": str(cursor), **more}), cursor)
