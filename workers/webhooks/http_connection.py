"""One connection to a receiver: a request is written to it, and the beginning of its answer is read."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import NamedTuple, cast

import httptools

ANSWER_BYTES = 1_024
ANSWER_WITHIN = 2.0
"""Seconds that the beginning of the answer may take after its status."""
MOST_BYTES = 128 * 1_024
"""Of an answer, its head included: one with more is read no further."""
SWITCHING = 101
UNANSWERED = "the connection was closed before an answer came"


class Response(NamedTuple):
    """What a receiver answered: `body` is its beginning, a KiB as a rule, `retry_after` its header."""

    status: int
    body: bytes
    retry_after: str | None


class NoAnswer(Exception):
    """No status came; the message says why."""


class HttpConnection(asyncio.Protocol):
    """Takes one request after the other. What it reads of an answer is bounded."""

    def __init__(self, answer_bytes: int = ANSWER_BYTES) -> None:
        self._answer_bytes = answer_bytes
        self.idle_until = 0.0
        """Up to when it is kept for the next request, by the clock of the loop."""
        self._transport: asyncio.Transport
        self._parser: httptools.HttpResponseParser | None = None
        self._status: asyncio.Future[int]
        self._enough: asyncio.Future[None]
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._status, self._enough = loop.create_future(), loop.create_future()
        self._body = b""
        self._retry_after: str | None = None
        self._received = 0
        self._stays = self._whole = False

    @property
    def open(self) -> bool:
        """Whether another request may be written to it."""
        return not self._closed

    @property
    def began_to_answer(self) -> bool:
        """Whether anything came since the request."""
        return self._received > 0

    async def send(self, request: bytes) -> None:
        """Write a request, and wait for the status of the answer.

        Raises:
            NoAnswer: there was none.
        """
        self._begin()
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)
        try:
            await self._status
        except BaseException:
            self.close()
            raise

    async def read(self) -> Response:
        """The beginning of the answer whose status has come; less where the rest does not come, as the status was
        answered all the same. It is closed then, unless the answer was read to its end.
        """
        try:
            if not self._enough.done():
                with suppress(TimeoutError):
                    async with asyncio.timeout(ANSWER_WITHIN):
                        await self._enough
        except BaseException:
            self.close()
            raise
        self._parser = None
        if not (self._whole and self._stays):
            self.close()
        return Response(self._status.result(), self._body[: self._answer_bytes], self._retry_after)

    def close(self) -> None:
        """Break it off."""
        self._closed = True
        self._transport.abort()

    # --- what the event loop says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # that of uvloop is no subclass

    def data_received(self, data: bytes) -> None:
        if self._parser is None:  # nobody has asked
            self.close()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._end("the receiver wants another protocol")
        except httptools.HttpParserError as error:
            self._end(f"the answer is no HTTP: {error}")
        if self._received > MOST_BYTES:
            self._end("the head of the answer is too large")

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self._end(UNANSWERED if exc is None else f"{UNANSWERED}: {exc}")

    def _end(self, reason: str) -> None:
        """Nothing more is read; without a status there was no answer."""
        if self._parser is None:
            return
        if not self._status.done():
            self._status.set_exception(NoAnswer(reason))
        if not self._enough.done():
            self._enough.set_result(None)

    # --- what the parser says

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after" and self._retry_after is None:
            self._retry_after = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        informs = 100 <= status < 200 and status != SWITCHING  # the answer itself is still to come
        if not (informs or self._status.done()):
            self._stays = self._parser.should_keep_alive()
            self._status.set_result(status)

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) >= self._answer_bytes and not self._enough.done():
            self._enough.set_result(None)

    def on_message_complete(self) -> None:
        if self._status.done() and not self._enough.done():
            self._whole = True
            self._enough.set_result(None)
