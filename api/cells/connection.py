"""GET requests to one server over reused connections, each with its whole answer in memory.

A general HTTP client takes 2 milliseconds of CPU for a request, as much as the other log takes for the answer.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import NamedTuple, cast
from urllib.parse import urlencode, urlsplit

import httptools

Query = list[tuple[str, str | int | float | bool | None]]
"""Query parameters, in order; a repeated parameter is repeated."""
CONNECT_TIMEOUT = 2.0
MOST_IDLE = 8
"""Connections that nothing is asked on."""
MEDIA_TYPE = "text/event-stream"
PORTS = {"http": 80, "https": 443}


class Answered(NamedTuple):
    """A whole answer: the status, the headers by name in lower case, and the content."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class BrokenAnswer(Exception):
    """An answer is malformed, or longer than allowed."""


class _Connection(asyncio.Protocol):
    """A connection, for one request at a time."""

    def __init__(self) -> None:
        self.is_open = True
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answered] | None = None

    async def ask(self, request: bytes, most: int) -> Answered:
        """Send a request, and return the answer, whose content has at most `most` bytes.

        Raises:
            ConnectionError: the connection was closed before the answer.
            BrokenAnswer: the answer is malformed or too long.
        """
        assert self._transport is not None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._content = bytearray()
        self._most = most
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._answer
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self.is_open = False
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The transport of uvloop is no subclass.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            if self._answer is None:
                raise BrokenAnswer("bytes came without a request")
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._fail(cause if isinstance(cause, BrokenAnswer) else BrokenAnswer(str(error)))
        except BrokenAnswer as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._fail(exc or ConnectionResetError("the connection was closed"))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._content += body
        if len(self._content) > self._most:
            raise BrokenAnswer(f"it answers more than {self._most} bytes")

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        self.is_open = self.is_open and self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Answered(status, self._headers, bytes(self._content)))
        self._answer = None

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self._answer = None
        self.close()


class ConnectionPool:
    """The connections to the server of a URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or PORTS[parts.scheme]
        self._path = parts.path.rstrip("/")
        self._ssl = _ssl_context() if parts.scheme == "https" else None
        self._named = parts.netloc.rpartition("@")[2]
        self._idle: list[_Connection] = []

    async def get(self, path: str, query: Query, headers: Mapping[str, str], most: int) -> Answered:
        """Send a GET request, and return the answer. On a closed connection it is repeated, which a GET allows.

        Raises:
            OSError: the server is unreachable, or closes the connection.
            BrokenAnswer: the answer is malformed, or has more than `most` bytes.
        """
        request = self._request(path, query, headers)
        while self._idle:
            if (connection := self._idle.pop()).is_open:
                try:
                    return await self._ask(connection, request, most)
                except ConnectionError:
                    continue
        return await self._ask(await self._connect(), request, most)

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, connection = await loop.create_connection(
                    _Connection, self._host, self._port, ssl=self._ssl
                )
        except TimeoutError:
            raise ConnectionError(f"no connection within {CONNECT_TIMEOUT:g} seconds") from None
        return connection

    async def _ask(self, connection: _Connection, request: bytes, most: int) -> Answered:
        answer = await connection.ask(request, most)
        if connection.is_open and len(self._idle) < MOST_IDLE:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def _request(self, path: str, query: Query, headers: Mapping[str, str]) -> bytes:
        target = f"{self._path}{path}{'?' if query else ''}{urlencode(query)}"
        lines = [f"GET {target} HTTP/1.1", f"host: {self._named}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _ssl_context() -> ssl.SSLContext:
    import httpx  # it takes 5 MB

    return httpx.create_ssl_context(trust_env=False)
