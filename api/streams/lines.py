"""Uvicorn's protocols, with a line for streams: ready-made bytes go to the transport as they are.

ASGI has no word for bytes that a thousand connections share, nor for "the buffer is full", so each
connection offers itself to the application as the extension `LINE`. Everything else is uvicorn's.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from api.streams.connection import Connection, Line

LINE = "executions.line"
FAREWELL = 5.0


class HttpLine(HttpToolsProtocol):
    """HTTP/1.1. A response that has begun chunked may go on by `write`, in whole chunks."""

    consumer: Connection | None = None

    @property
    def gone(self) -> bool:
        return self.transport.is_closing()

    @property
    def paused(self) -> bool:
        return self.flow.write_paused

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def cut(self, code: int, reason: str) -> None:
        self.transport.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {LINE: self}  # type: ignore[dict-item]  # ours is no dict

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.consumer is not None:
            self.consumer.resumed()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.consumer is not None:
            self.consumer.lost()


class SocketLine(WebSocketsSansIOProtocol):
    """WebSocket without compression. Once it is accepted, whole frames may go out by `write`."""

    consumer: Connection | None = None

    @property
    def gone(self) -> bool:
        return self.transport.is_closing()

    @property
    def paused(self) -> bool:
        return not self.writable.is_set()

    def write(self, data: bytes) -> None:
        self.transport.write(data)

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

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.consumer is not None:
            self.consumer.resumed()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.consumer is not None:
            self.consumer.lost()

    def shutdown(self) -> None:
        if self.consumer is None:
            super().shutdown()  # else the hub says goodbye, with the cursor


def line_of(scope: Scope) -> Line:
    """The line of a request.

    Raises:
        KeyError: the application is not served by these protocols.
    """
    line: Line = scope["extensions"][LINE]
    return line
