"""Sends one POST to where a webhook points, and reads the first KiB of the answer.

For each connection the host is looked up once, every address that it has is vetted, and a vetted one is dialled
by number: so no second look-up can lead elsewhere. There are no redirects and no proxies. A connection whose
answer was read to its end is kept for some seconds, for the next call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from os import strerror
from ssl import SSLContext, SSLError
from typing import NamedTuple

from domain.lru import LruCache
from workers.outbound.addresses import AddressRefused, Network, check
from workers.outbound.look_up import Resolve, look_up
from workers.webhooks.http_connection import ANSWER_BYTES, HttpConnection, NoAnswer, Response

TIMEOUT = 15.0
"""Seconds for a call from its beginning to the status of its answer."""
MOST_IDLE = 200
IDLE_SECONDS = 10.0
"""Connections that are kept for the next call, and for how many seconds."""
TARGETS = 4_096
"""URLs that are known; as long as connections, as they may have passwords in them and their webhooks be erased."""


class ConnectionOrigin(NamedTuple):
    """What connections are to."""

    host: str
    port: int
    tls: bool


class Target(NamedTuple):
    """Where a URL leads: the beginning of the request, and the headers that follow from the URL."""

    origin: ConnectionOrigin
    line: bytes
    headers: list[tuple[bytes, bytes]]


Dial = Callable[[str, ConnectionOrigin], Awaitable[HttpConnection]]
"""Connects to an address of an origin. Raises OSError where that does not answer."""


class CallFailed(Exception):
    """There was no answer; the message says why."""


class HttpClient:
    """Calls receivers. `dial` and `resolve` are replaced in tests alone."""

    def __init__(
        self,
        allowed: Sequence[Network],
        dial: Dial | None = None,
        resolve: Resolve | None = None,
        timeout: float = TIMEOUT,
        answer_bytes: int = ANSWER_BYTES,
    ) -> None:
        self._allowed = allowed
        self._dial = dial or self._connect_to
        self._resolve = resolve or look_up
        self._timeout = timeout
        self._answer_bytes = answer_bytes
        self._idle: dict[ConnectionOrigin, list[HttpConnection]] = {}
        self._targets: LruCache[str, Target] = LruCache(TARGETS)
        self._sweep: asyncio.TimerHandle | None = None

    async def aclose(self) -> None:
        """Close and forget what is kept."""
        if self._sweep is not None:
            self._sweep.cancel()
        self._targets.clear()
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Send a body.

        Raises:
            CallFailed: there was no answer in time, or the address is refused.
        """
        try:
            async with asyncio.timeout(self._timeout):
                connection, origin = await self._send(url, headers, body)
        except TimeoutError:
            raise CallFailed(f"no answer within {self._timeout:g} s") from None
        except (AddressRefused, NoAnswer) as error:
            raise CallFailed(str(error)) from None
        # The status counts, however late the rest comes: a call that is made again would be a second one.
        response = await connection.read()
        if connection.open:
            self._release(connection, origin)
        return response

    async def _send(
        self, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[HttpConnection, ConnectionOrigin]:
        """The connection over which the status of an answer came."""
        target = self._target(url)
        request = request_of(target, headers, body)
        if (kept := self._take(target.origin)) is not None:
            try:
                await kept.send(request)
            except NoAnswer:
                if kept.began_to_answer:
                    raise
            else:
                return kept, target.origin
        # None was kept, or it was at its end.
        connection = await self._connect(target.origin)
        await connection.send(request)
        return connection, target.origin

    def _target(self, url: str) -> Target:
        """Where a URL leads; as it takes longer to find that out than to send, it is known for some seconds."""
        if (target := self._targets.get(url)) is None:
            target = target_of(url)
            self._targets.put(url, target)
            self._targets.trim()
            self._sweep_later()
        return target

    # --- connections

    @cached_property
    def _tls(self) -> SSLContext:
        """Read once, as it costs more than a call, and only where a receiver wants it: it takes megabytes."""
        import httpx

        tls = httpx.create_ssl_context()
        tls.set_alpn_protocols(["http/1.1"])
        return tls

    async def _connect(self, origin: ConnectionOrigin) -> HttpConnection:
        """A connection to the first address of the host that answers, if all of them may be reached.

        Raises:
            AddressRefused: one of them may not.
            CallFailed: none answers.
        """
        try:
            addresses = await self._resolve(origin.host, origin.port)
        except (OSError, UnicodeError) as error:
            raise CallFailed(f"the host {origin.host} has no address: {error}") from error
        check(origin.host, addresses, self._allowed)
        reason = f"the host {origin.host} has no address"
        for address in addresses:
            try:
                return await self._dial(address, origin)
            except OSError as error:
                reason = f"no connection to {origin.host}: {_reason(error)}"
        raise CallFailed(reason)

    async def _connect_to(self, address: str, origin: ConnectionOrigin) -> HttpConnection:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: HttpConnection(self._answer_bytes),
            address,
            origin.port,
            ssl=self._tls if origin.tls else None,
            server_hostname=origin.host if origin.tls else None,
        )
        return connection

    def _take(self, origin: ConnectionOrigin) -> HttpConnection | None:
        """A kept connection, the one that was used last."""
        kept = self._idle.get(origin)
        while kept:
            if (connection := kept.pop()).open:
                return connection
        return None

    def _release(self, connection: HttpConnection, origin: ConnectionOrigin) -> None:
        if sum(map(len, self._idle.values())) >= MOST_IDLE:
            connection.close()
            return
        connection.idle_until = asyncio.get_running_loop().time() + IDLE_SECONDS
        self._idle.setdefault(origin, []).append(connection)
        self._sweep_later()

    def _sweep_later(self) -> None:
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._close_old)

    def _close_old(self) -> None:
        self._targets.clear()
        now = asyncio.get_running_loop().time()
        for origin, connections in list(self._idle.items()):
            young = [each for each in connections if each.open and each.idle_until > now]
            for connection in set(connections).difference(young):
                connection.close()
            self._idle[origin] = young
            if not young:
                del self._idle[origin]
        self._sweep = None
        if self._idle:
            self._sweep_later()


def target_of(url: str) -> Target:
    """Where a URL leads.

    Raises:
        CallFailed: it is none.
    """
    # Only where something is called: with what it imports it takes as much memory as all views.
    import httpx

    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise CallFailed("the URL cannot be called, as it is not valid") from None
    request = httpx.Request("POST", parsed)
    if parsed.userinfo:
        auth = httpx.BasicAuth(parsed.username, parsed.password)
        request = next(auth.sync_auth_flow(request))
    headers = [pair for pair in request.headers.raw if pair[0].lower() != b"content-length"]
    scheme, path = parsed.scheme, parsed.raw_path
    port = parsed.port or (443 if scheme == "https" else 80)
    origin = ConnectionOrigin(parsed.raw_host.decode("ascii"), port, scheme == "https")
    return Target(origin, b"POST %b HTTP/1.1" % path, headers)


def request_of(target: Target, headers: Mapping[str, str], body: bytes) -> bytes:
    """A request, whole. What is given goes before what follows from the URL.

    Raises:
        CallFailed: a header has a line break in it.
    """
    given = {name.lower() for name in headers}
    pairs = [pair for pair in target.headers if pair[0].decode().lower() not in given]
    pairs += [(name.encode("latin-1"), _value(value)) for name, value in headers.items()]
    pairs.append((b"Content-Length", b"%d" % len(body)))
    lines = [target.line, *(b"%b: %b" % pair for pair in pairs)]
    if any(b"\n" in line or b"\r" in line or b"\0" in line for line in lines):
        raise CallFailed("a header cannot be sent, as it has a line break in it")
    return b"\r\n".join((*lines, b"", body))


def _reason(error: OSError) -> str:
    """Why there is no connection, without the address, which the text of an error may have."""
    if isinstance(error, SSLError):
        return str(error)
    return strerror(error.errno) if error.errno else type(error).__name__


def _value(text: str) -> bytes:
    """As browsers and httpx send it: in Latin-1, or what is beyond that in UTF-8."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()
