"""Consumers of low cost: they count frames and sample latencies, and parse nothing else."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TypeVar, cast

STAMP = b'"model":"'
"""The text before the time in an event: events of this benchmark have the time at which they were sent, in nanoseconds of
`perf_counter`."""
FRAME = b'"specversion"'
CAUGHT_UP = b"caught-up"
CONNECTING = 250
SAMPLED = 50
T = TypeVar("T")


class Tally:
    """The counts and latencies of all listeners of a measurement."""

    def __init__(self) -> None:
        self.frames = 0
        self.caught_up = 0
        self.lost = 0
        self.first = 0.0
        self.last = 0.0
        self.latencies: list[tuple[int, float]] = []
        """The time in a sampled frame, and the seconds from then to its arrival."""

    def reset(self) -> None:
        """Begin a new period."""
        self.frames, self.first, self.last, self.latencies = 0, 0.0, 0.0, []


class Listener(asyncio.Protocol):
    """One stream."""

    def __init__(self, request: bytes, tally: Tally, number: int) -> None:
        self._request = request
        self._tally = tally
        self._number = number
        self._seen_past = False
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is of no such class
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        tally = self._tally
        count = data.count(FRAME)
        if not self._seen_past and CAUGHT_UP in data:
            self._seen_past = True
            tally.caught_up += 1
        if not count:
            return
        now = time.perf_counter()
        tally.frames += count
        tally.first = tally.first or now
        tally.last = now
        self._number += 1
        if self._number % SAMPLED == 0:
            self._sample(data, now)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._tally.lost += 1

    def _sample(self, data: bytes, now: float) -> None:
        start = data.rfind(STAMP)
        if start >= 0:
            stamp = data[start + len(STAMP) :].partition(b'"')[0]
            with suppress(ValueError):
                self._tally.latencies.append((int(stamp), now - int(stamp) / 1e9))


@asynccontextmanager
async def listening(
    port: int, requests: Sequence[bytes], tally: Tally
) -> AsyncIterator[list[Listener]]:
    """Yield a listener for each request, opened by the hundreds."""
    loop, made = asyncio.get_running_loop(), list[Listener]()
    for begin in range(0, len(requests), CONNECTING):
        connecting = [
            loop.create_connection(
                lambda request=request, number=number: Listener(request, tally, number),  # type: ignore[misc]
                "127.0.0.1",
                port,
            )
            for number, request in enumerate(requests[begin : begin + CONNECTING], begin)
        ]
        made += [protocol for _, protocol in await asyncio.gather(*connecting)]
    try:
        yield made
    finally:
        for listener in made:
            listener.close()
        await asyncio.sleep(0.2)


async def until(reached: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition is true; return whether it is within `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        if reached() or time.monotonic() > deadline:
            return reached()
        await asyncio.sleep(0.005)


async def at_rate(rate: float, seconds: float, act: Callable[[], Awaitable[T]]) -> list[T]:
    """Call `act` at a fixed rate without waiting for its results; return the results."""
    start, tasks = time.perf_counter(), list[asyncio.Future[T]]()
    for nth in range(round(rate * seconds)):
        await asyncio.sleep(start + nth / rate - time.perf_counter())
        tasks.append(asyncio.ensure_future(act()))
    return await asyncio.gather(*tasks)


@contextmanager
def many_files() -> Iterator[None]:
    """Raise the limit of open files to the highest allowed one until the block ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
