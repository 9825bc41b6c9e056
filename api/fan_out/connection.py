"""A connection to NATS that does not reconnect: when it is lost, all running work on it has failed, and its user makes
another connection.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoServersError

from api.settings import SetupError
from domain.eventlog.connection.notifications import Wake
from domain.supervisor import cancel

AWAY = (NatsError, OSError, TimeoutError, asyncio.TimeoutError)
"""The errors of an unavailable NATS."""
CONNECT_TIMEOUT = 3
"""Seconds for a connection to one server to be made."""
PING_EVERY = 2
"""Seconds."""
PINGS_UNANSWERED = 2
"""Pings without an answer after which the connection is lost."""
PENDING = 64 * 1024 * 1024
"""Bytes that may wait to be sent, at most."""
CLOSE_TIMEOUT = 1.0
"""Seconds for a connection to be closed in order."""
SCHEMES = ("nats", "tls", "ws", "wss")

log = structlog.get_logger()
T = TypeVar("T")


class Lost(ConnectionError):
    """The connection to NATS is lost."""


@dataclass(frozen=True)
class NatsServers:
    """The URLs of the servers of one NATS cluster, and the files with credentials and the certificate authority."""

    urls: Sequence[str] = field(repr=False)
    credentials: Path | None = None
    ca: Path | None = None

    @property
    def shown(self) -> str:
        """The hosts and ports, without the secrets that a URL may have."""
        parts = map(urlsplit, self.urls)
        return ", ".join(f"{part.hostname}:{part.port or 4222}" for part in parts)

    @property
    def tls(self) -> ssl.SSLContext | None:
        """The TLS context that verifies servers; None where the server decides whether TLS is used."""
        return None if self.ca is None else ssl.create_default_context(cafile=str(self.ca))

    def has_tls(self, url: str) -> bool:
        """Whether the connection to a URL must be encrypted."""
        scheme = urlsplit(url).scheme
        return scheme == "tls" or (scheme == "nats" and self.ca is not None)


def nats_servers(urls: str, credentials: Path | None = None, ca: Path | None = None) -> NatsServers:
    """Parse the comma-separated URLs of servers.

    Raises:
        SetupError: a URL is not valid, or a file does not exist.
    """
    found = [url.strip() for url in urls.split(",") if url.strip()]
    for url in found:
        if urlsplit(url).scheme not in SCHEMES or not urlsplit(url).hostname:
            raise SetupError("the address of NATS must be like nats://host:4222 or tls://host:4222")
    if not found:
        raise SetupError("the address of NATS is missing: it is like nats://host:4222")
    for file in filter(None, (credentials, ca)):
        if not file.is_file():
            raise SetupError(f"there is no file {file}")
    return NatsServers(tuple(found), credentials, ca)


class Outage:
    """Logs an outage of NATS once when it begins, and once when it ends."""

    def __init__(self) -> None:
        self._is_running = False

    def begin(self, error: Exception) -> None:
        """Note an error of NATS."""
        if not self._is_running:
            log.warning("nats is away", reason=str(error) or type(error).__name__)
        self._is_running = True

    def end(self) -> None:
        """Note that NATS works."""
        if self._is_running:
            log.warning("nats is back")
        self._is_running = False


class NatsClient(Client):
    """A client that sends no credentials to a server without TLS, if the address asks for TLS. The library uses TLS only
    if the server, or an attacker in its place, asks for it.
    """

    def __init__(self, *, secure: bool) -> None:
        super().__init__()
        self._secure = secure

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if self._secure and initial_connection and not info.get("tls_required"):
            raise NatsError("the server offers no TLS, and its address asks for it")
        await super()._process_info(info, initial_connection)


class NatsConnection:
    """A connection that is open until it is lost. Then all of `wakes` are set."""

    def __init__(self, *, secure: bool) -> None:
        self.client = NatsClient(secure=secure)
        self.wakes: set[Wake] = set()
        self._lost = asyncio.Event()

    async def note_closed(self) -> None:
        """Note that the connection is lost, and set all of `wakes`."""
        self._lost.set()
        for wake in self.wakes:
            wake.set()

    async def until_lost(self) -> None:
        """Wait until the connection is lost, then raise Lost."""
        await self._lost.wait()
        raise Lost

    async def unless_lost(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`, and return its result. Raises Lost where the connection is lost before."""
        tasks = asyncio.create_task(work), asyncio.create_task(self._lost.wait())
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not tasks[0].done():
                raise Lost
            return tasks[0].result()
        finally:
            await cancel(*tasks)

    def require(self) -> None:
        """Raises Lost where the connection is lost."""
        if self._lost.is_set():
            raise Lost


@asynccontextmanager
async def connection_to(servers: NatsServers, name: str) -> AsyncIterator[NatsConnection]:
    """A connection to one of the servers while the block runs; NATS shows `name` as that of the client.

    Raises:
        AWAY: no server is reachable, or accepts the credentials.
    """
    connection = await _connect_to_any(servers, name)
    try:
        yield connection
    finally:
        await _close(connection)


async def _connect_to_any(servers: NatsServers, name: str) -> NatsConnection:
    last: Exception = Lost()
    for url in random.sample(servers.urls, len(servers.urls)):
        connection = NatsConnection(secure=servers.has_tls(url))
        try:
            async with asyncio.timeout(2 * CONNECT_TIMEOUT):
                await _connect(connection, url, servers, name)
        except AWAY as error:
            last = error
            await _close(connection)
        except BaseException:
            await _close(connection)
            raise
        else:
            return connection
    raise last


async def _connect(connection: NatsConnection, url: str, servers: NatsServers, name: str) -> None:
    reason: list[Exception] = []

    async def note_failure(error: Exception) -> None:
        log.debug("nats says", error=repr(error))
        reason.append(error)

    try:
        await _begin(connection, url, servers, name, note_failure)
    except NoServersError as error:
        raise (reason or [error])[-1] from None


async def _begin(
    connection: NatsConnection,
    url: str,
    servers: NatsServers,
    name: str,
    failed: Callable[[Exception], Awaitable[None]],
) -> None:
    await connection.client.connect(
        url,
        name=name,
        allow_reconnect=False,
        max_reconnect_attempts=1,  # else a server that refuses the credentials is tried until the time-out
        reconnect_time_wait=0,
        connect_timeout=CONNECT_TIMEOUT,
        ping_interval=PING_EVERY,
        max_outstanding_pings=PINGS_UNANSWERED,
        pending_size=PENDING,
        tls=servers.tls,
        user_credentials=str(servers.credentials) if servers.credentials else None,
        closed_cb=connection.note_closed,
        error_cb=failed,
    )


async def _close(connection: NatsConnection) -> None:
    with suppress(*AWAY):
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await connection.client.close()
