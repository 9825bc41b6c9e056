"""A proxy to PostgreSQL that can be cut, or stop forwarding, at the worst moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory

from psycopg.conninfo import conninfo_to_dict, make_conninfo

SOCKET = ".s.PGSQL.5432"
COMMIT = b"COMMIT\0"


class Cut(Enum):
    """The moment at which the proxy breaks."""

    NEVER = "never"
    BEFORE_COMMIT = "the server never gets the COMMIT"
    AFTER_COMMIT = "the server commits, and its answer is lost"


class PostgresProxy:
    """Forwards everything between its own socket and PostgreSQL's."""

    def __init__(self, conninfo: str, folder: str) -> None:
        self._target = Path(str(conninfo_to_dict(conninfo)["host"])) / SOCKET
        self.conninfo = make_conninfo(conninfo, host=folder)
        self.cut = Cut.NEVER
        self.marks = dict.fromkeys(Cut, COMMIT)
        """The bytes at which it breaks."""
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def freeze(self) -> None:
        """Hold back every byte, and accept every client."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Forward what was held back."""
        self._flowing.set()

    def cut_all(self) -> None:
        """Break every connection."""
        for writer in self._writers:
            writer.close()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until either side ends, or the proxy is cut."""
        there, back = await asyncio.open_unix_connection(str(self._target))
        ends = {writer, back}
        self._writers |= ends
        to_server = asyncio.create_task(self._pass(reader, back, Cut.BEFORE_COMMIT))
        to_client = asyncio.create_task(self._pass(there, writer, Cut.AFTER_COMMIT))
        both = {to_server, to_client}
        self._tasks |= both
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.close()
        await asyncio.wait(both)
        self._writers -= ends
        self._tasks -= both

    async def close(self) -> None:
        self.thaw()
        self.cut_all()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, breaking: Cut
    ) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                await self._flowing.wait()
                if self.cut is breaking and self.marks[breaking] in data:
                    self.cut = Cut.NEVER
                    return
                sink.write(data)
                await sink.drain()


@asynccontextmanager
async def proxied(conninfo: str) -> AsyncIterator[PostgresProxy]:
    """A proxy to the server of a connection string, with a connection string of its own."""
    with TemporaryDirectory(prefix="proxy-") as folder:
        proxy = PostgresProxy(conninfo, folder)
        server = await asyncio.start_unix_server(proxy.accept, f"{folder}/{SOCKET}")
        async with server:
            yield proxy
            await proxy.close()
