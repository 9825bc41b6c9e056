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
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import StatusLike

from api.streams.connection import Connection, Line
from api.web import problems
from api.web.problems import HeadTooLarge, Internal, Malformed
from domain.errors import DomainError

LINE = "executions.line"
FAREWELL = 5.0
LONGEST_HEAD = 64 * 1024


class Fed(asyncio.Protocol):
    """What both have in common: bytes go out, and the consumer hears of room and of the end."""

    consumer: Connection | None = None
    paused = False
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
        if self.consumer is not None:
            self.consumer.resumed()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.consumer is not None:
            self.consumer.lost()


class Joined:
    """A transport that sends the head of a response together with the body that follows at once:
    uvicorn writes them one by one, and a system call costs as much as all else about an answer.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self.bare = transport
        self._head = b""
        self._call_soon = asyncio.get_running_loop().call_soon

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bare, name)

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._call_soon(self.flush)
            return
        self.bare.write(data)

    def close(self) -> None:
        self.flush()
        self.bare.close()

    def flush(self) -> None:
        """Send a head that nothing followed so far."""
        head, self._head = self._head, b""
        if head and not self.bare.is_closing():
            self.bare.write(head)


class HttpLine(Fed, HttpToolsProtocol):
    """HTTP/1.1. A response that has begun chunked may go on by `write`, in whole chunks.

    What is no HTTP, and a head without end, is refused here: no application hears of it.
    """

    _head = 0

    def cut(self, code: int, reason: str) -> None:
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        bare = cast(asyncio.Transport, transport)
        super().connection_made(cast(asyncio.Transport, Joined(bare)))
        self.feed = bare.write  # for when the head has gone out

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {LINE: self}  # type: ignore[dict-item]  # ours is no dict
        self._head = 0

    def data_received(self, data: bytes) -> None:
        before = self.scope
        super().data_received(data)
        began = self.scope is not before
        complete = getattr(self.cycle, "scope", None) is self.scope
        if not began and not complete:
            self._head += len(data)  # all of it belongs to a head that goes on
            if self._head > LONGEST_HEAD:
                self._refuse(HeadTooLarge())

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._let_go()

    def handle_websocket_upgrade(self) -> None:
        self.transport = cast(Joined, self.transport).bare
        super().handle_websocket_upgrade()
        self._let_go()

    def _let_go(self) -> None:
        self.parser = self.scope = self.cycle = None  # type: ignore[assignment]

    def send_400_response(self, msg: str) -> None:
        self._refuse(Malformed("This is no valid HTTP/1.1 request."))

    def _refuse(self, error: DomainError) -> None:
        """Answer and hang up; amid another answer, only hang up."""
        cycle = self.cycle
        amid = cycle is not None and cycle.response_started and not cycle.response_complete  # type: ignore[redundant-expr]  # there is none before the first head
        if not amid:
            answer = problems.answer(error, "")
            headers = b"".join(b"%b: %b\r\n" % header for header in answer.raw_headers)
            start = STATUS_LINE[answer.status_code] + b"connection: close\r\n"
            self.transport.write(start + headers + b"\r\n" + bytes(answer.body))
        self.transport.close()


class SocketLine(Fed, WebSocketsSansIOProtocol):
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
        await super().send(message)
        if self.close_sent:
            # An answer instead of a handshake completes it, too. Uvicorn does not say so, and logs
            # each refusal as an error of the application.
            self.handshake_complete = True

    def shutdown(self) -> None:
        if self.consumer is None:
            super().shutdown()  # else the hub says goodbye, with the cursor


def _rejected(status: StatusLike, text: str) -> Response:
    error = Internal() if status == HTTPStatus.INTERNAL_SERVER_ERROR else Malformed(text.strip())
    answer = problems.answer(error, "")
    headers = Headers(connection="close", **answer.headers)
    return Response(answer.status_code, "", headers, bytes(answer.body))


def line_of(scope: Scope) -> Line:
    """The line of a request.

    Raises:
        KeyError: the application is not served by these protocols.
    """
    line: Line = scope["extensions"][LINE]
    return line
