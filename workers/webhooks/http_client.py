"""Sends one POST to where a webhook points, and reads the first KiB of the answer.

The network layer of httpcore is replaced by one that looks the host up once, vets every address that it
has, and dials a vetted one by number: so no second look-up can lead elsewhere. There are no redirects,
no proxies and no kept connections.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from threading import Thread
from typing import NamedTuple

import httpcore
import httpx

from workers.webhooks.addresses import AddressRefused, Network, check

TIMEOUT = 15.0
"""Seconds for a call from beginning to end."""
ANSWER_BYTES = 1_024
ANSWER_WITHIN = 2.0
"""Seconds that the beginning of the answer may take after its status."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, as texts. Raises OSError where there are none."""


class Response(NamedTuple):
    """What a receiver answered: `body` is the first KiB, `retry_after` its header."""

    status: int
    body: bytes
    retry_after: str | None


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
            max_keepalive_connections=0,
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
        target = httpx.URL(url)
        request = httpx.Request("POST", target, headers=dict(headers), content=body)
        if target.userinfo:
            auth = httpx.BasicAuth(target.username, target.password)
            request = next(auth.sync_auth_flow(request))
        place = httpcore.URL(
            scheme=target.raw_scheme,
            host=target.raw_host,
            port=target.port,
            target=target.raw_path,
        )
        async with self._pool.stream(
            "POST", place, headers=request.headers.raw, content=body
        ) as response:
            found = httpx.Headers(response.headers)
            answer = await _beginning(response)
            return Response(response.status, answer, found.get("retry-after"))


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
