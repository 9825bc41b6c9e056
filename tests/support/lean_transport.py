"""A transport of `httpx` that takes a fraction of the time of the default one, which is most of the cost of a request.

A request whose content is in memory is written in one piece, and answers are parsed by `httptools`. All others are sent
the usual way: large and streamed content, requests for a stream of events, `HEAD`, upgrades, and TLS.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from types import TracebackType

import httpx
from httptools import HttpParserError, HttpResponseParser

LARGEST = 60_000
"""The most bytes of content that are written before anything is read."""
USUAL = {b"expect", b"upgrade", b"transfer-encoding"}
FRAMED = {b"content-length", b"transfer-encoding"}
Address = tuple[str, int]


class LeanTransport(httpx.HTTPTransport):
    """Reuses connections, like the default one; threads may share it."""

    def __init__(self) -> None:
        super().__init__()
        self._idle: dict[Address, list[socket.socket]] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not _is_plain(request):
            return super().handle_request(request)
        timeouts = request.extensions.get("timeout", {})
        address = request.url.host, request.url.port or 80
        connection = self._reused(address) or _connected(address, timeouts.get("connect"))
        connection.settimeout(timeouts.get("read"))
        answer = _Answer(self, address, connection)
        try:
            connection.sendall(_written(request))
            answer.begin()
        except OSError as error:
            answer.close()
            raise httpx.WriteError(str(error)) from error
        except httpx.TransportError:
            answer.close()
            raise
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=answer,
            extensions={"http_version": b"HTTP/1.1"},
        )

    def close(self) -> None:
        self._close_idle()
        super().close()

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._close_idle()
        super().__exit__(exc_type, exc_value, traceback)

    def _close_idle(self) -> None:
        for connections in self._idle.values():
            while connections:
                connections.pop().close()

    def release(self, address: Address, connection: socket.socket) -> None:
        self._idle.setdefault(address, []).append(connection)

    def _reused(self, address: Address) -> socket.socket | None:
        """An idle connection; one with unread data was closed by the server."""
        idle = self._idle.get(address, [])
        while idle:
            connection = idle.pop()
            waiting = select.poll()
            waiting.register(connection, select.POLLIN)
            if not waiting.poll(0):
                return connection
            connection.close()
        return None


class _Answer(httpx.SyncByteStream):
    """An answer that is read as far as the caller asks for it."""

    def __init__(
        self, transport: LeanTransport, address: Address, connection: socket.socket
    ) -> None:
        self._transport, self._address, self._connection = transport, address, connection
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._released = False
        self._whole = False
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []

    def begin(self) -> None:
        """Read to the end of the headers."""
        while not self.status:
            self._receive()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            while self._parts:
                yield self._parts.pop(0)
            if self._whole:
                return
            self._receive()

    def close(self) -> None:
        if self._parser is None:
            return
        self._parser = None
        if self._whole and self._released:
            self._transport.release(self._address, self._connection)
        else:
            self._connection.close()

    def _receive(self) -> None:
        try:
            received = self._connection.recv(65_536)
        except TimeoutError as error:
            raise httpx.ReadTimeout("timed out") from error
        except OSError as error:
            raise httpx.ReadError(str(error)) from error
        if received and self._parser is not None:
            try:
                self._parser.feed_data(received)
            except HttpParserError as error:
                raise httpx.RemoteProtocolError(str(error)) from error
        elif self.status and not any(name.lower() in FRAMED for name, _ in self.headers):
            self._whole = True
        else:
            raise httpx.RemoteProtocolError("the server disconnected before the answer was whole")

    # --- callbacks of the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        self.status = self._parser.get_status_code()

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)

    def on_message_complete(self) -> None:
        assert self._parser is not None
        self._whole = True
        self._released = self._parser.should_keep_alive()


def _is_plain(request: httpx.Request) -> bool:
    if request.method in {"HEAD", "CONNECT"} or request.url.scheme != "http":
        return False
    if not isinstance(request.stream, httpx.ByteStream) or len(request.content) > LARGEST:
        return False
    named = [(name.lower(), value) for name, value in request.headers.raw]
    return not any(
        name in USUAL or (name == b"accept" and value == b"text/event-stream")
        for name, value in named
    )


def _written(request: httpx.Request) -> bytes:
    lines = [b"%b %b HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers.raw]
    return b"\r\n".join([*lines, b"", request.content])


def _connected(address: Address, timeout: float | None) -> socket.socket:
    try:
        connection = socket.create_connection(address, timeout)
    except TimeoutError as error:
        raise httpx.ConnectTimeout("timed out") from error
    except OSError as error:
        raise httpx.ConnectError(str(error)) from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
