"""Uvicorn's protocols, with a line for streams: ready-made bytes go to the transport as they are.

ASGI has no word for bytes that a thousand connections share, nor for "the buffer is full", so each
connection offers itself to the application as the extension `LINE`. Everything else is uvicorn's.

A line that has ended lets go of what leads back to it. Else it would wait for the collector, which
comes late, and latest to what has lived long: thousands who leave would look like a leak.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import (
    HttpToolsProtocol,
    RequestResponseCycle,
)

from api.problems.problems import HeadTooLarge, Malformed, TooSlow
from api.streaming.subscriber import Subscriber, Transport
from api.transport.framing import TRAILERS, FramingBudget
from api.transport.half_closed import HalfClosed
from api.transport.http_answer import whole_refusal
from api.transport.limited_connection import LimitedConnection
from domain.errors import DomainError

LINE = "executions.line"
MOST_PIPELINED = 64
REQUEST = 4 * 1024
"""Bytes that a request costs which waits for the answer to the one before."""
BODY = (b"transfer-encoding", b"content-length")
NOSNIFF = ("x-content-type-options", "nosniff")
"""No browser may take an answer for anything but what its media type says."""


class StreamProtocol(asyncio.Protocol):
    """What both have in common: bytes go out, and the consumer hears of room and of the end."""

    subscriber: Subscriber | None = None
    paused = False
    """Whether the client reads too slowly: set by the event loop when 64 KiB wait in its write buffer
    (its default), beside the 128 KiB that the kernel holds (`listen_socket.UNSENT_BYTES`).
    """
    transport: asyncio.Transport
    write_raw: Callable[[bytes], None]

    def show_token(self) -> None:
        """The client has shown a valid token."""

    @property
    def gone(self) -> bool:
        return self.transport.is_closing()

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():  # uvloop raises where asyncio says nothing
            self.transport.write(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.write_raw = cast(asyncio.Transport, transport).write

    def pause_writing(self) -> None:
        super().pause_writing()
        self.paused = True

    def resume_writing(self) -> None:
        super().resume_writing()
        self.paused = False
        if self.subscriber is not None:
            self.subscriber.unblock()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.subscriber is not None:
            self.subscriber.note_lost()


class CoalescingTransport:
    """A transport that sends the head of a response together with the body that follows at once:
    uvicorn writes them one by one, and a system call costs as much as all else about an answer.
    """

    unread = False
    """Whether a part of a request's message is still to come."""
    half_closed: HalfClosed | None = None

    def __init__(self, transport: asyncio.Transport) -> None:
        self.bare = transport
        self._head = b""
        self._call_soon = asyncio.get_running_loop().call_soon

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bare, name)

    def write(self, data: bytes) -> None:
        if self.is_closing():
            return
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._call_soon(self.flush)
            return
        self.bare.write(data)

    def is_closing(self) -> bool:
        return self.half_closed is not None or self.bare.is_closing()

    def close(self) -> None:
        """Hang up: at once, or, on a client that still sends, when it has had time to read."""
        self.flush()
        if self.unread and not self.is_closing() and self.bare.can_write_eof():
            self.half_closed = HalfClosed(self.bare)
            self.bare.resume_reading()
        else:
            self.bare.close()

    def flush(self) -> None:
        """Send a head that nothing followed so far."""
        head, self._head = self._head, b""
        if head and not self.is_closing():
            self.bare.write(head)


class HttpProtocol(LimitedConnection, StreamProtocol, HttpToolsProtocol):
    """HTTP/1.1. A response that has begun chunked may go on by `write`, in whole chunks.

    What is no HTTP, and framing without end, is refused here: no application hears of it. A client
    that is answered before its message has come whole gets `Connection: close`, and the connection ends.
    """

    _keep_alive = False
    _joined: CoalescingTransport

    def cut(self, code: int, reason: str) -> None:
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        bare = cast(asyncio.Transport, transport)
        self._joined = CoalescingTransport(bare)
        self._framing = FramingBudget()
        super().connection_made(cast(asyncio.Transport, self._joined))
        self.write_raw = bare.write  # for when the head has gone out

    def too_slow(self) -> None:
        if self.scope is None or (  # type: ignore[redundant-expr]  # before the first message
            self._cycle() is not None and not self._joined.unread
        ):
            self._joined.bare.close()  # nothing of it has come
        else:
            self._refuse(TooSlow())

    def wait(self) -> None:
        """It is free for the next request, or hung up on."""
        if not self._joined.bare.is_closing():
            self.limits.wait(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.end_of_body()
        if self.timeout_keep_alive_task is not None or self._joined.half_closed is not None:
            self.wait()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {LINE: self}  # type: ignore[dict-item]  # ours is no dict
        self._framing.begin()

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MOST_PIPELINED:
            raise RequestRefused("more requests than may wait for their answers")
        self.limits.begin(self)
        super().on_headers_complete()
        if (cycle := self._cycle()) is None:
            if any(field[0] in BODY and field[1] != b"0" for field in self.headers):
                raise RequestRefused("a WebSocket handshake has no body")
            return
        self.headers = TRAILERS
        self._keep_alive, cycle.keep_alive = cycle.keep_alive, False
        self._joined.unread = True

    def on_body(self, body: bytes) -> None:
        self._framing.body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._joined.unread = False
        self.end_of_body()
        if (cycle := self._cycle()) is not None and not cycle.response_started:
            cycle.keep_alive = self._keep_alive

    def data_received(self, data: bytes) -> None:
        if self._joined.half_closed is not None:
            self._joined.half_closed.discard(data)
            return
        before, body = self.scope, self._framing.body
        super().data_received(data)
        body = self._framing.body - body
        if self.scope is before and self._framing.spend(len(data), body):
            self._refuse(HeadTooLarge())
        elif self._joined.unread:
            self.receive(body)
        elif self.scope is not None and self._cycle() is None:  # type: ignore[redundant-expr]  # none after an upgrade
            self.hold(len(data))
        elif self.pipeline:
            self.hold(len(self.pipeline) * REQUEST)

    def shutdown(self) -> None:
        self._keep_alive = False
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._joined.half_closed is not None:
            self._joined.half_closed.release()
        self.limits.forget(self)
        self._let_go()

    def handle_websocket_upgrade(self) -> None:
        self.transport = self._joined.bare
        self.transport.set_write_buffer_limits()
        super().handle_websocket_upgrade()
        self._let_go()

    def _cycle(self) -> RequestResponseCycle | None:
        """That of the message which is being received; none before its head is complete."""
        cycle = self.cycle
        return cycle if cycle is not None and cycle.scope is self.scope else None  # type: ignore[redundant-expr]  # there is none before the first head

    def _let_go(self) -> None:
        self.parser = self.scope = self.cycle = None  # type: ignore[assignment]

    def send_400_response(self, msg: str) -> None:
        self._refuse(Malformed("This is no valid HTTP/1.1 request."))

    def _refuse(self, error: DomainError) -> None:
        """Answer and hang up; amid another answer, only hang up."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        amid = cycle is not None and cycle.response_started and not cycle.response_complete  # type: ignore[redundant-expr]  # there is none before the first head
        if amid or self.pipeline:
            self._joined.bare.close()
            return
        self.transport.write(whole_refusal(error, self.server_state.default_headers))
        self._joined.unread = True
        self.transport.close()
        self.wait()


class RequestRefused(Exception):
    """Raised to the parser, which reads no further; the client is answered as for any broken HTTP."""


def protocol_of(scope: Scope) -> Transport:
    """The line of a request.

    Raises:
        KeyError: the application is not served by these protocols.
    """
    line: Transport = scope["extensions"][LINE]
    return line
