"""Ports of this machine's loopback that lead into a network namespace."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.primary_proxy import HOST
from tests.support.thread_loop import ThreadLoop, pass_on, thread_loop

NETWORK = 0x40000000
"""`CLONE_NEWNET` of Linux: Python 3.11 has no `os.setns` yet."""
HERE = Path("/proc/thread-self/ns/net")
NAMED = Path("/run/netns")
CONNECT = 2.0
"""Seconds, as `timeout connect` in `docs/high-availability/haproxy.cfg`."""
_LIBC = ctypes.CDLL(None, use_errno=True)


class Doors:
    """Forwards connections to addresses in a namespace, as a client there would open them."""

    def __init__(self, namespace: str, loop: ThreadLoop) -> None:
        self._namespace = namespace
        self._loop = loop
        self._servers: list[asyncio.Server] = []

    def open(self, address: str, port: int) -> int:
        """The port that leads to the address from now on."""

        async def opened() -> int:
            async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                with suppress(OSError, TimeoutError):
                    await self._pass(reader, writer, (address, port))
                writer.close()

            server = await asyncio.start_server(accept, HOST)
            self._servers.append(server)
            made: int = server.sockets[0].getsockname()[1]
            return made

        return self._loop.run(opened())

    async def close(self) -> None:
        """Stop listening."""
        for server in self._servers:
            server.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, where: tuple[str, int]
    ) -> None:
        there, back = await self._connected(where)
        passing = [
            asyncio.create_task(pass_on(*ends)) for ends in ((reader, back), (there, writer))
        ]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            back.close()
            for task in passing:
                task.cancel()

    async def _connected(
        self, where: tuple[str, int]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        made = socket_in(self._namespace)
        made.setblocking(False)
        try:
            async with asyncio.timeout(CONNECT):
                await asyncio.get_running_loop().sock_connect(made, where)
        except BaseException:
            made.close()
            raise
        return await asyncio.open_connection(sock=made)


def socket_in(namespace: str, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A socket in a namespace: it stays there when the thread leaves it."""
    with HERE.open() as here, (NAMED / namespace).open() as there:
        _enter(there.fileno())
        try:
            return socket.socket(type=kind)
        finally:
            _enter(here.fileno())


def _enter(namespace: int) -> None:
    if _LIBC.setns(namespace, NETWORK):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def doors_into(namespace: str) -> Iterator[Doors]:
    """Forwarded ports while the block runs."""
    with thread_loop("doors") as loop:
        made = Doors(namespace, loop)
        try:
            yield made
        finally:
            loop.run(made.close())
