"""The HTTP protocol of uvicorn, with a line for streams, by which encoded bytes are written to the transport.

ASGI can neither share bytes among connections nor report a full write buffer, so each connection passes itself to the
application as the extension `LINE`.

A connection that has ended clears its references to objects that refer to it. Else the garbage collector would have
to free it, which runs late: thousands of closed connections would look like a leak.
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
"""Requests of a connection that may wait for the answer to the one before."""
REQUEST = 4 * 1024
"""Bytes of memory of a request that waits for the answer to the one before."""
BODY = (b"transfer-encoding", b"content-length")
NOSNIFF = ("x-content-type-options", "nosniff")
"""Forbids browsers to guess another media type than that of the answer."""


class StreamProtocol(asyncio.Protocol):
    """The part that HTTP and WebSocket share: writes bytes, and notifies the subscriber of room and of the end."""

    subscriber: Subscriber | None = None
    paused = False
    """Whether the client reads too slowly: set when 64 KiB are in the write buffer (the default of the event loop), besides
    128 KiB in the kernel (`listen_socket.UNSENT_BYTES`).
    """
    transport: asyncio.Transport
    write_raw: Callable[[bytes], None]

    def show_token(self) -> None:
        """Note that the client has sent a valid token."""

    @property
    def gone(self) -> bool:
        return self.transport.is_closing()

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():  # uvloop raises where asyncio ignores the write
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
    """A transport that writes the head of a response together with the body that follows at once. Uvicorn writes them
    one by one, and a system call takes as long as the rest of an answer.
    """

    unread = False
    """Whether a part of the request has not arrived yet."""
    rest_unread = False
    """Whether something behind the last request is not read any more."""
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
        """Close the connection: at once, or for a client that is still sending after it had time to read the answer."""
        self.flush()
        unread = self.unread or self.rest_unread
        if unread and not self.is_closing() and self.bare.can_write_eof():
            self.half_closed = HalfClosed(self.bare)
            self.bare.resume_reading()
        else:
            self.bare.close()

    def flush(self) -> None:
        """Write a head that no body has followed so far."""
        head, self._head = self._head, b""
        if head and not self.is_closing():
            self.bare.write(head)


class HttpProtocol(LimitedConnection, StreamProtocol, HttpToolsProtocol):
    """HTTP/1.1. A response that has begun chunked may be continued by `write`, in whole chunks.

    Malformed HTTP and too much framing are refused here, without the application. A client that is answered before its
    request is complete gets `Connection: close`, and the connection ends.
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
        self.write_raw = bare.write  # used after the head was sent

    def too_slow(self) -> None:
        if self.scope is None or (  # type: ignore[redundant-expr]  # before the first message
            self._cycle() is not None and not self._joined.unread
        ):
            self._joined.bare.close()  # nothing of a request has arrived
        else:
            self._refuse(TooSlow())

    def wait(self) -> None:
        """Wait for the next request, or for the client to close."""
        if not self._joined.bare.is_closing():
            self.limits.wait(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if (cycle := self._cycle()) is None or cycle.response_complete:
            self.end_of_body()  # else the body of the next request is being received
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
            self._require_alone()
            return
        self.headers = TRAILERS
        self._keep_alive, cycle.keep_alive = cycle.keep_alive, False
        self._joined.unread = True

    def _require_alone(self) -> None:
        """Refuse a WebSocket handshake that has a body, or comes before the client has the answers to its former requests: this
        protocol would go on with those beside that of WebSockets.
        """
        if any(field[0] in BODY and field[1] != b"0" for field in self.headers):
            raise RequestRefused("a WebSocket handshake has no body")
        if self.paused or (self.cycle is not None and not self.cycle.response_complete):  # type: ignore[redundant-expr]  # None before the first request
            raise RequestRefused("a WebSocket handshake waits for the answers before it")

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
        self._clear_references()

    def handle_websocket_upgrade(self) -> None:
        self.transport = self._joined.bare
        self.transport.set_write_buffer_limits()  # the default of 64 KiB again
        super().handle_websocket_upgrade()
        self._clear_references()

    def _cycle(self) -> RequestResponseCycle | None:
        """The cycle of the request that is being received; None before its head is complete."""
        cycle = self.cycle
        return cycle if cycle is not None and cycle.scope is self.scope else None  # type: ignore[redundant-expr]  # None before the first head

    def _clear_references(self) -> None:
        self.parser = self.scope = self.cycle = None  # type: ignore[assignment]

    def send_400_response(self, msg: str) -> None:
        self._refuse(Malformed("This is no valid HTTP/1.1 request."))

    def _refuse(self, error: DomainError) -> None:
        """Answer a refusal and close. While another answer is being sent, only close; where a whole request waits for its answer,
        close after that.
        """
        if self.transport.is_closing():
            return
        cycle = self.cycle
        waiting = cycle is not None and not cycle.response_complete  # type: ignore[redundant-expr]  # None before the first head
        if self.pipeline or (waiting and cycle.response_started):
            self._joined.bare.close()
            return
        if waiting and not self._joined.unread:
            cycle.keep_alive, self._joined.rest_unread = False, True
            self.flow.pause_reading()
            return
        self.transport.write(whole_refusal(error, self.server_state.default_headers))
        self._joined.unread = True
        self.transport.close()
        self.wait()


class RequestRefused(Exception):
    """Raised into the parser, which stops; the client gets the refusal of malformed HTTP."""


def protocol_of(scope: Scope) -> Transport:
    """The connection of a request, as a transport for streams.

    Raises:
        KeyError: the application is not served by these protocols.
    """
    line: Transport = scope["extensions"][LINE]
    return line
