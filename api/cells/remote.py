"""Sends requests to the server of one log among several, and checks its answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol

from api.cells.connection import Answered, BrokenAnswer, ConnectionPool, Query

if TYPE_CHECKING:
    import httpx

    from api.cells.stream_client import StreamClient

MOST_QUESTIONS = 8
"""Requests to one log at the same time; further ones wait, within their time limit."""
LARGEST = 16 * 1024 * 1024
"""Bytes of the largest answer: twice the limit of a page of a list."""
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
        self._transport = transport
        self._streams: StreamClient | None = None

    async def aclose(self) -> None:
        """Close all connections."""
        self._questions.close()
        if self._streams is not None:
            await self._streams.aclose()

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
        from api.cells.stream_client import StreamClient

        if self._streams is None:
            self._streams = StreamClient(self._url, self._seconds, self._transport)
        with self._as_away():
            async with asyncio.timeout(self._seconds):
                answer = await self._streams.open(path, query, headers, LARGEST)
        return _reply(answer) if isinstance(answer, Answered) else answer

    @contextmanager
    def _as_away(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise Away(f"it has not answered within {self._seconds:g} seconds") from None
        except BrokenAnswer as error:
            raise Away(str(error)) from None
        except OSError as error:
            cause = error.__cause__ or error
            raise Away(f"it does not answer: {type(cause).__name__}") from error


def _reply(answer: Answered) -> CellReply:
    status = answer.status
    if status != 200 and (not 400 <= status < 500 or status == 429):
        raise Away(f"it answers {status}")
    position = answer.headers.get("log-position", "0")
    if not POSITION.fullmatch(position):
        raise Away("it answers a position that is none")
    return CellReply(status, int(position), answer.content)
