"""A connection to NATS that is over when it is lost, rather than one that heals itself: what was under way on it is then
known to have failed. Who needs another makes another.
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
"""What NATS, or its absence, interrupts."""
CONNECT_TIMEOUT = 3
PING_EVERY = 2
PINGS_UNANSWERED = 2
"""A server that is gone without a word is noticed within this many pings."""
PENDING = 64 * 1024 * 1024
"""Bytes that may wait to be sent."""
CLOSE_TIMEOUT = 1.0
SCHEMES = ("nats", "tls", "ws", "wss")

log = structlog.get_logger()
T = TypeVar("T")


class Lost(ConnectionError):
    """The connection to NATS is lost."""


@dataclass(frozen=True)
class NatsServers:
    """Where NATS is, by URLs of servers of one cluster, and what one is let in by."""

    urls: Sequence[str] = field(repr=False)
    credentials: Path | None = None
    ca: Path | None = None

    @property
    def shown(self) -> str:
        """The hosts, without what a URL may have of secrets."""
        parts = map(urlsplit, self.urls)
        return ", ".join(f"{part.hostname}:{part.port or 4222}" for part in parts)

    @property
    def tls(self) -> ssl.SSLContext | None:
        """How servers are verified; None where the server decides whether there is TLS."""
        return None if self.ca is None else ssl.create_default_context(cafile=str(self.ca))

    def has_tls(self, url: str) -> bool:
        """Whether what is sent to a URL must be encrypted."""
        scheme = urlsplit(url).scheme
        return scheme == "tls" or (scheme == "nats" and self.ca is not None)


def nats_servers(urls: str, credentials: Path | None = None, ca: Path | None = None) -> NatsServers:
    """The servers at URLs with commas between them.

    Raises:
        SetupError: one of them is none, or a file cannot be read.
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
    """That NATS is away: logged when it begins, and when it ends."""

    def __init__(self) -> None:
        self._under_way = False

    def begin(self, error: Exception) -> None:
        """It does not do what it should."""
        if not self._under_way:
            log.warning("nats is away", reason=str(error) or type(error).__name__)
        self._under_way = True

    def end(self) -> None:
        """It does."""
        if self._under_way:
            log.warning("nats is back")
        self._under_way = False


class NatsClient(Client):
    """A client that tells its password to no server that wants no TLS, if the address asks for TLS: the library has TLS
    only where the server, or who answers in its place, says so.
    """

    def __init__(self, *, secure: bool) -> None:
        super().__init__()
        self._secure = secure

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if self._secure and initial_connection and not info.get("tls_required"):
            raise NatsError("the server offers no TLS, and its address asks for it")
        await super()._process_info(info, initial_connection)


class NatsConnection:
    """A connection, open until it is lost. Then all of `wakes` are set."""

    def __init__(self, *, secure: bool) -> None:
        self.client = NatsClient(secure=secure)
        self.wakes: set[Wake] = set()
        self._lost = asyncio.Event()

    async def note_closed(self) -> None:
        """It is over."""
        self._lost.set()
        for wake in self.wakes:
            wake.set()

    async def until_lost(self) -> None:
        """Raises Lost once it is over."""
        await self._lost.wait()
        raise Lost

    async def unless_lost(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of some work that may wait for an answer. Raises Lost where the connection is over before."""
        tasks = asyncio.create_task(work), asyncio.create_task(self._lost.wait())
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not tasks[0].done():
                raise Lost
            return tasks[0].result()
        finally:
            await cancel(*tasks)

    def require(self) -> None:
        """Raises Lost where it is over."""
        if self._lost.is_set():
            raise Lost


@asynccontextmanager
async def connection_to(servers: NatsServers, name: str) -> AsyncIterator[NatsConnection]:
    """A connection to one of the servers, while the block runs; `name` is shown by NATS.

    Raises:
        AWAY: none of them can be reached, or lets this client in.
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
        max_reconnect_attempts=1,  # else a server that refuses is tried until the time is over
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
