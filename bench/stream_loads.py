"""The loads under which streams are measured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from bench.client import Caller, caller, percentile, request
from bench.listeners import Tally, at_rate, listening, until
from bench.machine import cpu_seconds, resident_memory
from bench.population import Service, check_all
from bench.stand import Server

RATE = 100
STREAMS = 1_000
BURST = 1_000
PATIENCE = 60.0
EVENT_STREAM = "accept: text/event-stream"
SOCKET = (
    "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="
)


class Delivered(NamedTuple):
    """The result of a load: deliveries per second, latencies in milliseconds, and the microseconds of CPU of a delivery.

    A latency begins when the command is sent; `after_answer` begins when its sender gets the answer.
    """

    rate: float
    p50: float = 0
    p99: float = 0
    cpu: float = 0
    after_answer: float = 0


@dataclass(frozen=True, slots=True)
class Ground:
    """A server whose streams are measured, and the requests that make it send events."""

    server: Server
    token: str
    name: str = ""

    def stream(self, path: str = "/api/events", *, socket: bool = False, after: int = -1) -> bytes:
        """Return the request that opens a stream."""
        lines = [
            f"GET {path} HTTP/1.1",
            "host: bench",
            f"authorization: Bearer {self.token}",
            SOCKET if socket else EVENT_STREAM,
        ]
        if after >= 0:
            lines.append(f"last-event-id: {after}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def events(self, count: int, stamp: int) -> bytes:
        """Return the request that makes so many events at once."""
        if not self.name:
            return request("POST", f"/?{count}")
        usage = {"tokensUsed": 1, "model": str(stamp)}
        if count == 1:
            path = f"/api/executions/{self.name}/metrics"
            return request("POST", path, usage, self.token)
        command = {"command": "recordUsage", "execution": self.name, **usage}
        return request("POST", "/api/commands", [command] * count, self.token)


@asynccontextmanager
async def senders(
    ground: Ground, count: int = 16
) -> AsyncIterator[Callable[[int], Awaitable[tuple[int, float]]]]:
    """Yield a function that sends events on one of a few connections, and returns their time and the latency."""
    async with AsyncExitStack() as stack:
        pool: asyncio.Queue[Caller] = asyncio.Queue()
        for _ in range(count):
            pool.put_nowait(await stack.enter_async_context(caller(ground.server.port)))

        async def send(events: int) -> tuple[int, float]:
            connection, stamp = await pool.get(), time.perf_counter_ns()
            answer = await connection.call(ground.events(events, stamp))
            pool.put_nowait(connection)
            return stamp, answer.seconds

        yield send


async def steady(
    ground: Ground, streams: int, rate: float, seconds: float, *, socket: bool = False
) -> Delivered:
    """Send so many events per second, one by one, to so many streams."""
    tally = Tally()
    requests = [ground.stream(socket=socket)] * streams
    if socket:
        requests = [ground.stream("/api/events?format=events", socket=True)] * streams
    async with listening(ground.server.port, requests, tally), senders(ground) as send:
        await until(lambda: tally.caught_up >= streams, PATIENCE)
        await at_rate(rate, 1.0, partial(send, 1))
        await asyncio.sleep(0.2)
        tally.reset()
        before = cpu_seconds(ground.server.pid)
        answered = dict(await at_rate(rate, seconds, partial(send, 1)))
        expected = round(rate * seconds) * streams
        await until(lambda: tally.frames >= expected, PATIENCE)
        cpu = cpu_seconds(ground.server.pid) - before
        return _deliver(tally, cpu, answered)


async def burst(ground: Ground, streams: int, bursts: int) -> Delivered:
    """Send bursts of events to so many streams."""
    tally, rates = Tally(), list[float]()
    before = cpu_seconds(ground.server.pid)
    requests = [ground.stream()] * streams
    async with listening(ground.server.port, requests, tally):
        await until(lambda: tally.caught_up >= streams, PATIENCE)
        for _ in range(bursts):
            tally.reset()
            async with senders(
                ground, 1
            ) as send:  # a new connection, as the service closes idle ones
                await send(BURST)
            await until(lambda: tally.frames >= BURST * streams, PATIENCE)
            rates.append(tally.frames / (tally.last - tally.first))
    cpu = cpu_seconds(ground.server.pid) - before
    each = cpu / (bursts * BURST * streams) * 1e6
    return Delivered(percentile(sorted(rates), 0.5), cpu=each)


def _deliver(tally: Tally, cpu: float, answered: dict[int, float]) -> Delivered:
    ordered = sorted(seconds for _, seconds in tally.latencies)
    after = sorted(seconds - answered.get(stamp, 0) for stamp, seconds in tally.latencies)
    return Delivered(
        tally.frames / max(tally.last - tally.first, 1e-9),
        percentile(ordered, 0.5) * 1e3,
        percentile(ordered, 0.99) * 1e3,
        cpu / max(tally.frames, 1) * 1e6,
        percentile(after, 0.5) * 1e3,
    )


async def idle(
    ground: Ground, streams: int, seconds: float, *, socket: bool = False
) -> tuple[float, float]:
    """Return the KiB that an idle stream takes, and the percentage of a core that all of them take."""
    tally = Tally()
    before = resident_memory(ground.server.pid)
    requests = [ground.stream(socket=socket)] * streams
    async with listening(ground.server.port, requests, tally):
        await until(lambda: tally.caught_up >= streams, PATIENCE)
        await asyncio.sleep(2)
        size = (resident_memory(ground.server.pid) - before) / streams / 1024
        cpu = cpu_seconds(ground.server.pid)
        await asyncio.sleep(seconds)
        share = (cpu_seconds(ground.server.pid) - cpu) / seconds
    return size, 100 * share


async def measure_watching(ground: Ground, names: list[str], events: int) -> float:
    """Return the microseconds of CPU for an event while each of these executions has a watcher."""
    tally = Tally()
    requests = [ground.stream(f"/api/executions/{name}/watch") for name in names]
    async with listening(ground.server.port, requests, tally), senders(ground) as send:
        await until(lambda: tally.caught_up >= len(names), PATIENCE)
        await asyncio.sleep(1)
        before = cpu_seconds(ground.server.pid)
        await at_rate(RATE, events / RATE, partial(send, 1))
        return (cpu_seconds(ground.server.pid) - before) / events * 1e6


async def catch_up(ground: Ground, events: int) -> float:
    """Return the events per second that one stream gets from the store."""
    tally = Tally()
    began = time.perf_counter()
    async with listening(ground.server.port, [ground.stream(after=0)], tally):
        await until(lambda: tally.caught_up == 1, PATIENCE)
        if tally.frames < events:
            raise RuntimeError(f"a stream got {tally.frames} of {events} events")
    return tally.frames / (tally.last - began)


async def beside_catch_up(ground: Ground, seconds: float) -> Delivered:
    """Measure 100 live streams while another stream reads the past again and again."""

    async def reading() -> None:
        while True:
            tally = Tally()
            async with listening(ground.server.port, [ground.stream(after=0)], tally):
                await until(lambda tally=tally: tally.caught_up == 1, PATIENCE)  # type: ignore[misc]

    task = asyncio.create_task(reading())
    try:
        return await steady(ground, 100, RATE, seconds)
    finally:
        task.cancel()


async def newest(ground: Ground) -> int:
    """Return the last position of the log."""
    async with caller(ground.server.port) as connection:
        answer = await connection.call(request("GET", "/readyz"))
    return int(str(answer.json()["position"]))


async def reconnects(ground: Ground, streams: int) -> float:
    """Return the seconds until so many streams, opened at once and 100 events behind, have caught up."""
    tally, head = Tally(), await newest(ground)
    began = time.perf_counter()
    requests = [ground.stream(after=head - 100)] * streams
    async with listening(ground.server.port, requests, tally):
        await until(lambda: tally.caught_up >= streams, PATIENCE)
        if tally.frames < 100 * streams:
            raise RuntimeError(f"{tally.frames} of {100 * streams} frames came")
        return time.perf_counter() - began


async def fill(service: Service, name: str, events: int) -> int:
    """Record so many events; return the last position of the log."""
    commands = [{"command": "recordUsage", "execution": name, "tokensUsed": 1}] * 1_000
    async with service.connect() as connection:
        for _ in range(-(-events // len(commands))):
            answer = await connection.call(service.request("POST", "/commands", commands))
            check_all(answer.body, len(commands))
    return int(answer.body.rpartition(b'"position":')[2].partition(b"}")[0])
