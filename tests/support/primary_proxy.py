"""Leads to the primary of a cluster, as HAProxy does with `docs/high-availability/haproxy.cfg`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

import httpx

from tests.support.thread_loop import pass_on, thread_loop

EVERY, AGAIN, WITHIN, FALL = 1.0, 0.25, 1.0, 2
"""`inter`, `fastinter` and `downinter`, `timeout check` and `fall` of that file."""
HOST = "127.0.0.1"


class Backend(NamedTuple):
    """The ports of one node: of its PostgreSQL, and of its Patroni."""

    postgres: int
    patroni: int


class PrimaryProxy:
    """Forwards connections to the node that reports that it is the primary; those to another node are cut."""

    def __init__(self, backends: Sequence[Backend]) -> None:
        self.port = 0
        self._server: asyncio.Server | None = None
        self._checking: asyncio.Task[None] | None = None
        self._failed = dict.fromkeys(backends, FALL)
        self._ends: dict[Backend, set[asyncio.StreamWriter]] = {b: set() for b in backends}

    async def start(self) -> None:
        """Start to listen, and to ask the nodes."""
        self._server = await asyncio.start_server(self.accept, HOST)
        self.port = self._server.sockets[0].getsockname()[1]
        self._checking = asyncio.create_task(self.check())

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client, if there is a primary."""
        up = [backend for backend, failed in self._failed.items() if failed < FALL]
        with suppress(OSError):
            if up:
                await self._connect(up[0], reader, writer)
        writer.close()

    async def _connect(
        self, backend: Backend, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there, back = await asyncio.open_connection(HOST, backend.postgres)
        ends = {writer, back}
        self._ends[backend] |= ends
        passing = [
            asyncio.create_task(pass_on(*both)) for both in ((reader, back), (there, writer))
        ]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.close()
            self._ends[backend] -= ends
            for task in passing:
                task.cancel()

    async def check(self) -> None:
        """Ask every node repeatedly whether it is the primary."""
        async with httpx.AsyncClient(timeout=WITHIN) as client:
            await asyncio.gather(*(self._follow(client, backend) for backend in self._failed))

    async def _follow(self, client: httpx.AsyncClient, backend: Backend) -> None:
        while True:
            await self._ask(client, backend)
            await asyncio.sleep(AGAIN if self._failed[backend] else EVERY)

    async def _ask(self, client: httpx.AsyncClient, backend: Backend) -> None:
        try:
            answer = await client.options(f"http://{HOST}:{backend.patroni}/primary")
            well = answer.status_code == httpx.codes.OK
        except httpx.HTTPError:
            well = False
        self._failed[backend] = 0 if well else self._failed[backend] + 1
        if self._failed[backend] >= FALL:
            for end in self._ends[backend]:
                end.transport.abort()


@contextmanager
def primary_proxy(backends: Sequence[Backend]) -> Iterator[PrimaryProxy]:
    """The proxy, on a port of its own, while the block runs."""
    proxy = PrimaryProxy(backends)
    with thread_loop("proxy") as loop:
        loop.run(proxy.start())
        try:
            yield proxy
        finally:
            loop.run(proxy.stop())
