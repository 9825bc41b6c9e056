"""A receiver of webhooks on this machine that misbehaves on demand, and stores the calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GONE = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"
BROKEN = b"HTTP/1.1 500 Oops\r\nContent-Length: 6\r\n\r\nbroken"
ENDLESS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CUT_SHORT = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"
CUT_IN_HEAD = b"HTTP/1.1 200 OK\r\nConte"
STALLED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\npart"
SILENT = b""
CHUNK = b"400\r\n" + b"x" * 1_024 + b"\r\n"
STAYS = (SILENT, STALLED)
"""After these the connection stays open."""


class Call(NamedTuple):
    """A received call: path, headers in lower case, and body."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def position(self) -> int:
        """The position of its event."""
        return int(orjson.loads(self.body)["position"])


@dataclass
class WebhookReceiver:
    """Answers each path as in `answers`, otherwise with `OK`."""

    port: int = 0
    answers: dict[str, bytes] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    serving: set[asyncio.Task[None]] = field(default_factory=set)

    def url(self, path: str = "/hook") -> str:
        """The URL for webhooks."""
        return f"http://127.0.0.1:{self.port}{path}"

    def positions(self, path: str = "/hook") -> list[int]:
        """The positions that were sent to a path, in the order in which they arrived."""
        return [call.position for call in self.calls if call.path == path]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one call."""
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._answer(reader, writer)
        finally:
            self.serving.discard(task)
            writer.transport.abort() if task.cancelling() else writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        headers = {name.lower(): value for name, value in pairs}
        body = await reader.readexactly(int(headers["content-length"]))
        path = first.split(" ")[1]
        self.calls.append(Call(path, headers, body))
        answer = self.answers.get(path, OK)
        writer.write(answer)
        await writer.drain()
        while answer == ENDLESS:
            writer.write(CHUNK)
            await writer.drain()
        if answer in STAYS:
            await reader.read()


@asynccontextmanager
async def webhook_receiver() -> AsyncIterator[WebhookReceiver]:
    """A receiver that listens on loopback while the block runs."""
    receiver = WebhookReceiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in receiver.serving:
            task.cancel()
        await asyncio.gather(*receiver.serving, return_exceptions=True)
        await asyncio.sleep(0.01)  # the transports close
