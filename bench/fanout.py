"""The limit for streams: a server that only writes the same bytes to all its sockets.

    python -m bench.fanout PORT

`GET /` opens a stream of HTTP chunks; `POST /?FRAMES` sends so many frames to all streams, in one write for each stream. A
frame is a CloudEvents envelope as the service sends it, with the time at which it was sent.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import ClassVar, cast

import uvloop

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
FRAME = (
    b'id: 1234567\nevent: execution.usage\ndata: {"specversion":"1.0","id":"1234567",'
    b'"type":"execution.usage","source":"/api/executions/streams-0","subject":"streams-0",'
    b'"time":"2026-01-01T00:00:00.000Z","datacontenttype":"application/json",'
    b'"position":1234567,"version":1234,"actor":"admin","correlationid":"0123456789abcdef",'
    b'"data":{"tokensUsed":1,"model":"%d"}}\n\n'
)
AT_ONCE = 100


class Stream(asyncio.Protocol):
    """A connection: a stream of a consumer, or a request to send frames to all streams."""

    open: ClassVar[set[asyncio.WriteTransport]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"POST"):
            frames = int(data.partition(b"?")[2].partition(b" ")[0])
            self._task = asyncio.get_running_loop().create_task(self._send(frames))
        else:
            self._transport.write(HEAD)
            self._transport.write(b"d\r\n: caught-up\n\n\r\n")
            self.open.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.open.discard(self._transport)

    async def _send(self, frames: int) -> None:
        body = FRAME % time.perf_counter_ns() * frames
        chunk = b"%x\r\n%b\r\n" % (len(body), body)
        for sent, transport in enumerate(list(self.open), 1):
            transport.write(chunk)
            if sent % AT_ONCE == 0:
                await asyncio.sleep(0)
        self._transport.write(DONE)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(
        Stream, "127.0.0.1", int(sys.argv[1]), backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
