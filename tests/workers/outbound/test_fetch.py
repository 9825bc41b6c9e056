"""Fetching a document: only from allowed networks, within a time, and only a valid document."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from workers.outbound import fetch as fetching
from workers.outbound.addresses import networks
from workers.outbound.fetch import FetchFailed, fetch

pytestmark = pytest.mark.anyio
LOOPBACK = networks("127.0.0.0/8")
SETTING = "EXECUTIONS_JWT_ALLOW"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: /keys\r\nContent-Length: 0\r\n\r\n"
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2_000
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n{"


class Site:
    """Answers each request with the same bytes, and stores the request heads."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.heads: list[bytes] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self.answer)
        if not self.answer:
            await reader.read()  # until the client gives up
        writer.close()


@asynccontextmanager
async def site(answer: bytes) -> AsyncIterator[Site]:
    made = Site(answer)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
    try:
        yield made
    finally:
        server.close()


async def test_document_comes_from_an_allowed_network() -> None:
    async with site(OK) as made:
        assert await fetch(made.url, 1_000, LOOPBACK, SETTING) == b"{}"
        assert made.heads[0].startswith(b"GET /keys HTTP/1.1\r\n")


async def test_other_networks_are_refused_with_the_name_of_the_setting() -> None:
    async with site(OK) as made:
        with pytest.raises(FetchFailed, match=SETTING):
            await fetch(made.url, 1_000, (), SETTING)
        assert made.heads == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [(REDIRECT, "302"), (LARGE, "1000 bytes"), (HALF, "body"), (b"x\r\n", "disconnected")],
)
async def test_answer_that_is_not_a_document_is_refused(answer: bytes, said: str) -> None:
    async with site(answer) as made:
        with pytest.raises(FetchFailed, match=said):
            await fetch(made.url, 1_000, LOOPBACK, SETTING)
        assert len(made.heads) == 1


async def test_site_that_does_not_answer_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT", 0.2)
    async with site(b"") as made:
        with pytest.raises(FetchFailed, match=r"0\.2 s"):
            await fetch(made.url, 1_000, LOOPBACK, SETTING)
