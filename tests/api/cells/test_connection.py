"""HTTP requests over connections that are kept open: every form of answer, and every way in which a server closes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from api.cells.connection import Answered, BrokenAnswer, ConnectionPool

MOST = 100
WHOLE = b"HTTP/1.1 200 OK\r\nLog-Position: 7\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
ONCE = WHOLE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")

pytestmark = pytest.mark.anyio


class Scripted:
    """A server that sends its answers one after the other; after an empty answer it closes the connection."""

    def __init__(self, answers: Sequence[bytes], *, last: bool) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self._answers = iter(answers)
        self._last = last
        self._open: set[asyncio.StreamWriter] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            while answer := await self._next(reader):
                for byte in answer:
                    writer.write(bytes([byte]))
                await writer.drain()
                if self._last:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def close(self) -> None:
        """Close what is open, so that nothing is left to the end of the loop."""
        for writer in self._open:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _next(self, reader: asyncio.StreamReader) -> bytes:
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        return next(self._answers, b"")


@asynccontextmanager
async def connect(
    *answers: bytes, path: str = "", last: bool = False
) -> AsyncIterator[tuple[ConnectionPool, Scripted]]:
    """Connections to a server, which closes after the `last` answer."""
    scripted = Scripted(answers, last=last)
    server = await asyncio.start_server(scripted.accept, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    connections = ConnectionPool(f"http://127.0.0.1:{port}{path}")
    try:
        yield connections, scripted
    finally:
        connections.close()
        server.close()
        await scripted.close()


async def get(connections: ConnectionPool, most: int = MOST) -> Answered:
    return await connections.get("/api/executions", [("limit", 2)], {"authorization": "x"}, most)


async def test_answer_in_each_transfer_encoding_is_whole_and_its_connection_is_kept() -> None:
    async with connect(WHOLE, CHUNKED) as (connections, scripted):
        first, second = await get(connections), await get(connections)
    assert (first.content, second.content) == (b"hello", b"hello")
    assert (first.status, first.headers["log-position"]) == (200, "7")
    assert scripted.connections == 1


async def test_request_has_the_base_path_of_the_log_its_query_and_its_headers() -> None:
    async with connect(WHOLE, path="/logs/north/") as (connections, scripted):
        await connections.get("/api/x", [("a", "b c&d"), ("a", 1)], {"x-purpose": "é"}, MOST)
    first, *lines = scripted.requests[0].split(b"\r\n")
    assert first == b"GET /logs/north/api/x?a=b+c%26d&a=1 HTTP/1.1"
    assert "x-purpose: é".encode("latin-1") in lines


async def test_connection_that_was_closed_meanwhile_is_replaced() -> None:
    async with connect(WHOLE, b"", WHOLE) as (connections, scripted):
        answers = [await get(connections) for _ in range(2)]
    assert [answer.content for answer in answers] == [b"hello", b"hello"]
    assert scripted.connections == 2


async def test_connection_that_the_server_will_close_is_not_kept() -> None:
    async with connect(ONCE, WHOLE) as (connections, scripted):
        await get(connections)
        await get(connections)
    assert scripted.connections == 2


@pytest.mark.parametrize("part", [b"", WHOLE[:-2], CHUNKED[:-2]])
async def test_connection_that_ends_within_an_answer_is_an_error(part: bytes) -> None:
    async with connect(part, last=True) as (connections, _):
        with pytest.raises(ConnectionError):
            await get(connections)


@pytest.mark.parametrize(
    "answer",
    [CHUNKED, WHOLE, b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"],
)
async def test_answer_that_is_invalid_or_too_long_is_an_error(answer: bytes) -> None:
    async with connect(answer) as (connections, _):
        with pytest.raises(BrokenAnswer):
            await get(connections, most=4)


async def test_connection_of_a_cancelled_request_is_not_used_again() -> None:
    async with connect(b"HTTP/1.1 200 OK\r\n", WHOLE) as (connections, scripted):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await get(connections)
        assert (await get(connections)).content == b"hello"
    assert scripted.connections == 2
