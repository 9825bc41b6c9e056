"""Questions to one server: GET requests over connections that are kept, each with its whole answer.

A client for everything takes 2 milliseconds of the processor for a question, as long as the other log for its answer.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import NamedTuple, cast
from urllib.parse import urlencode, urlsplit

import httptools
import httpx

Query = list[tuple[str, str | int | float | bool | None]]
"""Parameters, in order, repeated ones repeated."""
CONNECT_TIMEOUT = 2.0
MOST_IDLE = 8
"""Connections that nothing is asked on."""
PORTS = {"http": 80, "https": 443}


class Answered(NamedTuple):
    """An answer as it came: its status, its headers by their names in lower case, and its content."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class BrokenAnswer(Exception):
    """What came is no answer, or longer than was allowed."""


class _Connection(asyncio.Protocol):
    """One question at a time."""

    def __init__(self) -> None:
        self.is_open = True
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answered] | None = None

    async def ask(self, request: bytes, most: int) -> Answered:
        """The answer, of no more than so many bytes.

        Raises:
            ConnectionError: it was closed before.
            BrokenAnswer: it is none.
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
        """Ask nothing more."""
        self.is_open = False
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is of no such class

    def data_received(self, data: bytes) -> None:
        try:
            if self._answer is None:
                raise BrokenAnswer("something came that nobody asked for")
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
        self._ssl: ssl.SSLContext | None = (
            httpx.create_ssl_context(trust_env=False) if parts.scheme == "https" else None
        )
        self._named = parts.netloc.rpartition("@")[2]
        self._idle: list[_Connection] = []

    async def get(self, path: str, query: Query, headers: Mapping[str, str], most: int) -> Answered:
        """The answer to a question. A connection that turns out to be closed is replaced, as a GET may be sent twice.

        Raises:
            OSError: the server cannot be reached, or closes the connection.
            BrokenAnswer: it answers what is none, or more than so many bytes.
        """
        request = self._request(path, query, headers)
        while self._idle:
            if (kept := self._idle.pop()).is_open:
                try:
                    return await self._ask(kept, request, most)
                except ConnectionError:
                    continue
        return await self._ask(await self._connect(), request, most)

    def close(self) -> None:
        """Close those that are idle."""
        while self._idle:
            self._idle.pop().close()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, made = await loop.create_connection(
                    _Connection, self._host, self._port, ssl=self._ssl
                )
        except TimeoutError:
            raise ConnectionError(f"no connection within {CONNECT_TIMEOUT:g} seconds") from None
        return made

    async def _ask(self, connection: _Connection, request: bytes, most: int) -> Answered:
        answer = await connection.ask(request, most)
        if connection.is_open and len(self._idle) < MOST_IDLE:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def _request(self, path: str, query: Query, headers: Mapping[str, str]) -> bytes:
        where = f"{self._path}{path}{'?' if query else ''}{urlencode(query)}"
        lines = [f"GET {where} HTTP/1.1", f"host: {self._named}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")
