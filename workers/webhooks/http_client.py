"""Sends one POST to where a webhook points, and reads the first KiB of the answer.

The network layer of httpcore is replaced by one that looks the host up once, vets every address that it
has, and dials a vetted one by number: so no second look-up can lead elsewhere. There are no redirects and no
proxies. A connection whose answer was read to its end is kept for some seconds, for the next call.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from threading import Thread
from typing import NamedTuple

import httpcore
import httpx

from workers.webhooks.addresses import AddressRefused, Network, check

TIMEOUT = 15.0
"""Seconds for a call from beginning to end."""
ANSWER_BYTES = 1_024
KEPT = 200
KEPT_FOR = 10.0
"""Connections that are kept for the next call, and for how many seconds."""
ANSWER_WITHIN = 2.0
"""Seconds that the beginning of the answer may take after its status."""

Trace = Callable[[str, object], Awaitable[None]]
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, as texts. Raises OSError where there are none."""


class Response(NamedTuple):
    """What a receiver answered: `body` is the first KiB, `retry_after` its header."""

    status: int
    body: bytes
    retry_after: str | None


class Target(NamedTuple):
    """A URL as the connection pool takes it, and the headers that follow from it."""

    url: httpcore.URL
    headers: list[tuple[bytes, bytes]]


class CallFailed(Exception):
    """There was no answer; the message says why."""


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to vetted addresses alone."""

    def __init__(
        self, allowed: Sequence[Network], resolve: Resolve, network: httpcore.AsyncNetworkBackend
    ) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the protocol of httpcore
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the first address of the host that answers, if all of them may be reached.

        Raises:
            AddressRefused: one of them may not.
        """
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the host {host} has no address: {error}") from error
        for address in addresses:
            check(address, self._allowed)
        failed: Exception = httpcore.ConnectError(f"the host {host} has no address")
        for address in addresses:
            try:
                return await self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed


class HttpClient:
    """Calls receivers. `network` and `resolve` are replaced in tests alone."""

    def __init__(
        self,
        allowed: Sequence[Network],
        network: httpcore.AsyncNetworkBackend | None = None,
        resolve: Resolve | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._timeout = timeout
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),  # read once: it costs as much as the call
            max_connections=None,
            max_keepalive_connections=KEPT,
            keepalive_expiry=KEPT_FOR,
            network_backend=GuardedBackend(
                allowed, resolve or look_up, network or httpcore.AnyIOBackend()
            ),
        )

    async def close(self) -> None:
        """Break off what is under way."""
        await self._pool.aclose()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Send a body.

        Raises:
            CallFailed: there was no answer in time, or the address is refused.
        """
        try:
            async with asyncio.timeout(self._timeout):
                return await self._post(url, headers, body)
        except TimeoutError:
            raise CallFailed(f"no answer within {self._timeout:g} s") from None
        except (AddressRefused, httpx.InvalidURL) as error:
            raise CallFailed(str(error)) from None
        except Exception as error:
            raise CallFailed(f"{type(error).__name__}: {error}".removesuffix(": ")) from error

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        target = target_of(url)
        given = {name.lower() for name in headers}
        sent = [pair for pair in target.headers if pair[0].decode().lower() not in given]
        sent += [(name.encode("latin-1"), _value(value)) for name, value in headers.items()]
        sent.append((b"Content-Length", b"%d" % len(body)))
        connected = False

        async def trace(event: str, _: object) -> None:
            nonlocal connected
            connected = connected or event == "connection.connect_tcp.started"

        try:
            return await self._send(target.url, sent, body, trace)
        except (httpcore.NetworkError, httpcore.RemoteProtocolError):
            if connected:
                raise
        return await self._send(target.url, sent, body)  # the kept connection was at its end

    async def _send(
        self,
        url: httpcore.URL,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        trace: Trace | None = None,
    ) -> Response:
        extensions = {} if trace is None else {"trace": trace}
        async with self._pool.stream(
            "POST", url, headers=headers, content=body, extensions=extensions
        ) as response:
            answer = await _beginning(response)
            found = (value for name, value in response.headers if name.lower() == b"retry-after")
            retry_after = next(found, None)
            return Response(
                response.status,
                answer,
                None if retry_after is None else retry_after.decode("latin-1"),
            )


@lru_cache(maxsize=4_096)
def target_of(url: str) -> Target:
    """Where a URL leads. Raises httpx.InvalidURL."""
    parsed = httpx.URL(url)
    request = httpx.Request("POST", parsed)
    if parsed.userinfo:
        auth = httpx.BasicAuth(parsed.username, parsed.password)
        request = next(auth.sync_auth_flow(request))
    headers = [pair for pair in request.headers.raw if pair[0].lower() != b"content-length"]
    place = httpcore.URL(
        scheme=parsed.raw_scheme,
        host=parsed.raw_host,
        port=parsed.port,
        target=parsed.raw_path,
    )
    return Target(place, headers)


def _value(text: str) -> bytes:
    """As browsers and httpx send it: in Latin-1, or what is beyond that in UTF-8."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


async def look_up(host: str, port: int) -> Sequence[str]:
    """The addresses of a host. A look-up cannot be broken off: its thread keeps no program from ending."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Sequence[str]] = loop.create_future()

    def answer(addresses: Sequence[str], error: Exception | None) -> None:
        if found.done():
            return
        if error is None:
            found.set_result(addresses)
        else:
            found.set_exception(error)

    def work() -> None:
        addresses, failed = [], None
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(info[4][0]) for info in infos))
        except (OSError, UnicodeError) as error:
            failed = error
        with suppress(RuntimeError):  # the loop is closed by now
            loop.call_soon_threadsafe(answer, addresses, failed)

    Thread(target=work, name=f"look up {host}", daemon=True).start()
    return await found


async def _beginning(response: httpcore.Response) -> bytes:
    """The first KiB; less where the rest does not come, as the status was answered all the same."""
    answer = b""
    with suppress(httpcore.NetworkError, httpcore.ProtocolError, TimeoutError):
        async with asyncio.timeout(ANSWER_WITHIN):
            async for part in response.aiter_stream():
                answer += part
                if len(answer) >= ANSWER_BYTES:
                    break
    return answer[:ANSWER_BYTES]
