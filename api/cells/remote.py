"""Sends requests to the server of one log among several, and checks its answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import httpx

from api.cells.connection import CONNECT_TIMEOUT, Answered, BrokenAnswer, ConnectionPool, Query

SILENCE = 45.0
"""Seconds without a frame or heartbeat, after which a stream counts as lost."""
MOST_QUESTIONS = 8
"""Requests to one log at the same time; further ones wait, within their time limit."""
LARGEST = 16 * 1024 * 1024
"""Bytes of the largest answer: twice the limit of a page of a list."""
MEDIA_TYPE = "text/event-stream"
POSITION = re.compile(r"[0-9]{1,18}")


class Away(Exception):
    """The log gives no usable answer; the message says why."""


class CellReply(NamedTuple):
    """An answer or a refusal: the status, the position of the log, and a JSON text."""

    status: int
    position: int
    text: bytes


class Questions(Protocol):
    """Sends questions to a server: `ConnectionPool`, if it is no test."""

    async def get(
        self, path: str, query: Query, headers: Mapping[str, str], most: int
    ) -> Answered: ...

    def close(self) -> None: ...


class RemoteLog:
    """Sends requests to the server of one log: GET requests by `KeptConnections`, streams by a general HTTP client.

    Redirects are not followed, as requests carry a credential.
    """

    def __init__(
        self,
        url: str,
        seconds: float,
        transport: httpx.AsyncBaseTransport | None = None,
        questions: Questions | None = None,
    ) -> None:
        self._url = url
        self._seconds = seconds
        self._questions = questions or ConnectionPool(url)
        self._request_slots = asyncio.Semaphore(MOST_QUESTIONS)
        timeout = httpx.Timeout(seconds, connect=CONNECT_TIMEOUT)
        # Each stream has a connection of its own, and streams must not use up the connections of other requests.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=MOST_QUESTIONS)
        self._client = httpx.AsyncClient(
            transport=transport, timeout=timeout, limits=limits, trust_env=False
        )

    async def aclose(self) -> None:
        """Close all connections."""
        self._questions.close()
        await self._client.aclose()

    async def get(self, path: str, query: Query, headers: Mapping[str, str]) -> CellReply:
        """Send a GET request, and return the reply.

        Raises:
            Away: the server does not answer completely in time, is overloaded, or has an error.
        """
        with self._as_away():
            async with asyncio.timeout(self._seconds), self._request_slots:
                answer = await self._questions.get(path, query, headers, LARGEST)
        return _reply(answer)

    async def open(
        self, path: str, query: Query, headers: Mapping[str, str]
    ) -> httpx.Response | CellReply:
        """Open a stream of server-sent events, which the caller has to close; or return the refusal.

        Raises:
            Away: the server does not answer in time, is overloaded, has an error, or does not answer a stream.
        """
        timeout = httpx.Timeout(self._seconds, connect=CONNECT_TIMEOUT, read=SILENCE)
        with self._as_away():
            async with asyncio.timeout(self._seconds):
                request = self._client.build_request(
                    "GET", self._url + path, params=query, headers=headers, timeout=timeout
                )
                answer = await self._client.send(request, stream=True)
                if answer.status_code == 200 and answer.headers.get("content-type", "").startswith(
                    MEDIA_TYPE
                ):
                    return answer
                try:
                    return _reply(await _read_all(answer))
                finally:
                    await answer.aclose()

    @contextmanager
    def _as_away(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise Away(f"it has not answered within {self._seconds:g} seconds") from None
        except BrokenAnswer as error:
            raise Away(str(error)) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise Away(f"it does not answer: {type(error).__name__}") from error


def _reply(answer: Answered) -> CellReply:
    status = answer.status
    if status != 200 and (not 400 <= status < 500 or status == 429):
        raise Away(f"it answers {status}")
    position = answer.headers.get("log-position", "0")
    if not POSITION.fullmatch(position):
        raise Away("it answers a position that is none")
    return CellReply(status, int(position), answer.content)


async def _read_all(answer: httpx.Response) -> Answered:
    text = bytearray()
    async for part in answer.aiter_bytes():
        text += part
        if len(text) > LARGEST:
            raise BrokenAnswer(f"it answers more than {LARGEST} bytes")
    return Answered(answer.status_code, answer.headers, bytes(text))
