"""Uvicorn's protocols, with a line for streams: ready-made bytes go to the transport as they are.

ASGI has no word for bytes that a thousand connections share, nor for "the buffer is full", so each
connection offers itself to the application as the extension `LINE`. Everything else is uvicorn's.

A line that has ended lets go of what leads back to it. Else it would wait for the collector, which
comes late, and latest to what has lived long: thousands who leave would look like a leak.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import StatusLike

from api.problems import problems
from api.problems.problems import HeadTooLarge, Internal, Malformed
from api.streaming.subscriber import Subscriber, Transport
from api.transport.framing import TRAILERS, FramingBudget
from api.transport.half_closed import HalfClosed
from api.transport.handshake import reason
from domain.errors import DomainError

LINE = "executions.line"
FAREWELL = 5.0
MOST_PIPELINED = 64
BODY = (b"transfer-encoding", b"content-length")
NOSNIFF = ("x-content-type-options", "nosniff")
"""No browser may take an answer for anything but what its media type says."""


class StreamProtocol(asyncio.Protocol):
    """What both have in common: bytes go out, and the consumer hears of room and of the end."""

    subscriber: Subscriber | None = None
    paused = False
    """Whether the client reads too slowly: set by the event loop when 64 KiB wait in its write buffer
    (its default), beside the 128 KiB that the kernel holds (`listen_socket.UNSENT`).
    """
    transport: asyncio.Transport
    feed: Callable[[bytes], None]

    @property
    def gone(self) -> bool:
        return self.transport.is_closing()

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():  # uvloop raises where asyncio says nothing
            self.transport.write(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.feed = cast(asyncio.Transport, transport).write

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
            self.subscriber.lost()


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
        if self.half_closed is not None:
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


class HttpProtocol(StreamProtocol, HttpToolsProtocol):
    """HTTP/1.1. A response that has begun chunked may go on by `write`, in whole chunks.

    What is no HTTP, and framing without end, is refused here: no application hears of it. A client
    that is answered before its message has come whole is told so, and the connection ends.
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
        self.feed = bare.write  # for when the head has gone out

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {LINE: self}  # type: ignore[dict-item]  # ours is no dict
        self._framing.begin()

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MOST_PIPELINED:
            raise Refused("more requests than may wait for their answers")
        super().on_headers_complete()
        if (cycle := self._cycle()) is None:
            if any(field[0] in BODY and field[1] != b"0" for field in self.headers):
                raise Refused("a WebSocket handshake has no body")
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
        if (cycle := self._cycle()) is not None and not cycle.response_started:
            cycle.keep_alive = self._keep_alive

    def data_received(self, data: bytes) -> None:
        if self._joined.half_closed is not None:
            self._joined.half_closed.discard(data)
            return
        before, body = self.scope, self._framing.body
        super().data_received(data)
        if self.scope is before and self._framing.spend(len(data), self._framing.body - body):
            self._refuse(HeadTooLarge())

    def shutdown(self) -> None:
        self._keep_alive = False
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._joined.half_closed is not None:
            self._joined.half_closed.release()
        self._let_go()

    def handle_websocket_upgrade(self) -> None:
        self.transport = self._joined.bare
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
        answer = problems.answer(error, "")
        fields = (*self.server_state.default_headers, *answer.raw_headers)
        headers = b"".join(b"%b: %b\r\n" % field for field in fields)
        start = STATUS_LINE[answer.status_code] + b"connection: close\r\n"
        self.transport.write(start + headers + b"\r\n" + bytes(answer.body))
        self._joined.unread = True
        self.transport.close()


class Refused(Exception):
    """Raised to the parser, which reads no further; the client is answered as for any broken HTTP."""


class WebSocketProtocol(StreamProtocol, WebSocketsSansIOProtocol):
    """WebSocket without compression. Once it is accepted, whole frames may go out by `write`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.conn.reject = _rejected  # type: ignore[method-assign]  # else it answers in plain text

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # It could not even be read, and of that uvicorn says nothing.
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def cut(self, code: int, reason: str) -> None:
        if not self.close_sent:
            self.conn.send_close(code, reason)
            self.close_sent = True
            self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.close()
        asyncio.get_running_loop().call_later(FAREWELL, self.transport.abort)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            extensions = cast(dict[str, Any], self.scope["extensions"])
            extensions[LINE] = self

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.conn.parser.close()
        self.scope = None  # type: ignore[assignment]

    async def send(self, message: Any) -> None:
        if message["type"] == "websocket.http.response.start":
            defaults = self.default_headers  # of which uvicorn sends none with a refusal
            message = {**message, "headers": [*defaults, *message["headers"]]}
        await super().send(message)
        if self.close_sent:
            # An answer instead of a handshake completes it, too. Uvicorn does not say so, and logs
            # each refusal as an error of the application.
            self.handshake_complete = True

    def shutdown(self) -> None:
        if self.subscriber is None:
            super().shutdown()  # else the hub says goodbye, with the cursor


def _rejected(status: StatusLike, text: str) -> Response:
    error = Internal() if status == HTTPStatus.INTERNAL_SERVER_ERROR else Malformed(reason(text))
    answer = problems.answer(error, "")
    headers = Headers(connection="close", **{NOSNIFF[0]: NOSNIFF[1]}, **answer.headers)
    return Response(answer.status_code, "", headers, bytes(answer.body))


def protocol_of(scope: Scope) -> Transport:
    """The line of a request.

    Raises:
        KeyError: the application is not served by these protocols.
    """
    line: Transport = scope["extensions"][LINE]
    return line
