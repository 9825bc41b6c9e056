"""A load generator of low cost: it uses raw protocols, and makes requests before the clock starts.

Answers must have a Content-Length, or a status without a body; anything else is an error here.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import orjson

END_OF_HEAD = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
NO_BODY = (b"204", b"304")
ANSWER_TIMEOUT = 60.0


def request(method: str, path: str, body: object = None, token: str | None = None) -> bytes:
    """Return the bytes of a request; `body` becomes JSON."""
    content = b"" if body is None else orjson.dumps(body)
    lines = [f"{method} {path} HTTP/1.1", "host: bench", f"content-length: {len(content)}"]
    if content:
        lines.append("content-type: application/json")
    if token:
        lines.append(f"authorization: Bearer {token}")
    return "\r\n".join(lines).encode() + END_OF_HEAD + content


class Answer(NamedTuple):
    """An answer, and the seconds from the sending of the request to its arrival."""

    status: int
    head: bytes
    body: bytes
    seconds: float

    def json(self) -> dict[str, object]:
        parsed: dict[str, object] = orjson.loads(self.body)
        return parsed

    def header(self, name: str) -> str | None:
        found = re.search(rb"\r\n" + name.encode() + rb": *([^\r]*)", self.head, re.IGNORECASE)
        return found[1].decode() if found else None


class Connection(asyncio.Protocol):
    """A keep-alive connection with at most one pending request; calls `answered` with each answer."""

    def __init__(self) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.WriteTransport | None = None
        self._parts: list[bytes] = []
        self._missing = 0
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is of no such class

    def send(self, request: bytes) -> None:
        assert self._transport is not None
        self._sent = time.perf_counter()
        self._transport.write(request)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._parts:
            self._parts.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._parts)
            self._parts = []
        end = data.find(END_OF_HEAD)
        if end < 0:
            self._wait(data, 1)
            return
        end += len(END_OF_HEAD)
        missing = end + _length(data, end) - len(data)
        if missing > 0:
            self._wait(data, missing)
        else:
            self.answered(data, end, time.perf_counter() - self._sent)

    def _wait(self, data: bytes, missing: int) -> None:
        self._parts, self._missing = [data], missing

    def answered(self, data: bytes, body: int, seconds: float) -> None:
        """Handle a complete answer, whose body begins at the index `body` of `data`."""
        raise NotImplementedError

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)


def _length(data: bytes, end: int) -> int:
    found = LENGTH.search(data, 0, end)
    if found is None:
        if data[9:12] in NO_BODY:
            return 0
        raise ValueError(f"an answer without Content-Length: {data[:end]!r}")
    return int(found[1])


class Caller(Connection):
    """A connection for calls that are awaited one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self._answer: asyncio.Future[Answer] | None = None

    async def call(self, request: bytes, expect: int | None = 200) -> Answer:
        """Send a request and return the answer.

        Raises:
            RuntimeError: the status of the answer is not the expected one.
        """
        self._answer = asyncio.get_running_loop().create_future()
        self.send(request)
        answer = await asyncio.wait_for(self._answer, ANSWER_TIMEOUT)
        if expect is not None and answer.status != expect:
            first = request.partition(b"\r\n")[0].decode()
            raise RuntimeError(f"{first} is answered {answer.status}: {answer.body[:500]!r}")
        return answer

    def answered(self, data: bytes, body: int, seconds: float) -> None:
        assert self._answer is not None
        self._answer.set_result(Answer(int(data[9:12]), data[:body], data[body:], seconds))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("the server closed the connection"))


@asynccontextmanager
async def caller(port: int) -> AsyncIterator[Caller]:
    _, connection = await asyncio.get_running_loop().create_connection(Caller, "127.0.0.1", port)
    try:
        yield connection
    finally:
        connection.close()
        await connection.closed


@dataclass(slots=True)
class Load:
    """The result of a load: the sorted latencies, in seconds, of the answers with status 200; the number of other answers
    by status; and the sum of what `Inspect` counted.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    inspected: int = 0

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        return percentile(self.latencies, share)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which a share of the sorted values is; 0 if there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


Inspect = Callable[[bytes], int]
"""Returns a count from the body of an answer; an exception ends the load."""


class Client(Connection):
    """Sends the next request as soon as the last one is answered, until the time `stop` of `perf_counter`."""

    def __init__(
        self,
        requests: Iterator[bytes],
        load: Load,
        start: float,
        stop: float,
        inspect: Inspect | None,
    ) -> None:
        super().__init__()
        self._requests = requests
        self._load = load
        self._start = start
        self._stop = stop
        self._inspect = inspect

    def begin(self) -> None:
        self.send(next(self._requests))

    def answered(self, data: bytes, body: int, seconds: float) -> None:
        now = self._sent + seconds
        if self._start <= now < self._stop:
            if data.startswith(b"HTTP/1.1 200"):
                self._load.latencies.append(seconds)
                if self._inspect is not None:
                    self._load.inspected += self._inspect(data[body:])
            else:
                self._load.others[data[9:12].decode()] += 1
        if now < self._stop:
            self.send(next(self._requests))
        else:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if time.perf_counter() < self._stop:
            self._load.others["connection lost"] += 1
        super().connection_lost(exc)


async def run_load(
    plan: Sequence[tuple[int, Iterator[bytes]]],
    seconds: float,
    *,
    warm_up: float = 1.0,
    inspect: Inspect | None = None,
) -> Load:
    """Run a load with a connection for each (port, requests) of the plan. Answers during the warm-up are not counted."""
    loop, load = asyncio.get_running_loop(), Load(seconds)
    start = time.perf_counter() + warm_up
    clients: list[Client] = []
    for port, requests in plan:
        _, client = await loop.create_connection(
            lambda given=requests: Client(given, load, start, start + seconds, inspect),  # type: ignore[misc]
            "127.0.0.1",
            port,
        )
        clients.append(client)
    for client in clients:
        client.begin()
    with suppress(TimeoutError):
        every = asyncio.gather(*(client.closed for client in clients))
        await asyncio.wait_for(every, warm_up + seconds + ANSWER_TIMEOUT)
    load.latencies.sort()
    return load
