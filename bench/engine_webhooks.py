"""Measures how many events per second one process sends to the receiver of a webhook, beside a bare client.

Executions report their progress while no work process is running. Then one is started, and sends the events to a webhook of
the whole log. The receiver answers at once and notes the times of the calls; the rate is that between the first and the
last call. Then a bare client, also a process of its own, posts the same bodies with as many connections.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import orjson
import uvloop

from bench.measurements import Measurement, Report, Target
from bench.plan import Plan
from bench.population import A_CALL, Item, Service, check_all
from bench.stand import ROOT, Stand

EVENTS = 20_000
EXECUTIONS = 400
PATIENCE = 180.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Received(asyncio.Protocol):
    """A connection of the receiver: it answers each call, and keeps its time and body."""

    def __init__(self, calls: list[tuple[float, bytes]]) -> None:
        self._calls = calls
        self._data = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # that of uvloop is no subclass

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            length = int(self._data[:end].lower().partition(b"content-length: ")[2].split(b"\r")[0])
            if len(self._data) < end + 4 + length:
                return
            body, self._data = self._data[end + 4 :][:length], self._data[end + 4 + length :]
            self._calls.append((time.perf_counter(), body))
            self._transport.write(OK)


def measure(stand: Stand, plan: Plan, report: Report) -> None:
    """Measure the webhook and the bare client, once."""
    amount = plan.count(EVENTS)
    sent, bare = uvloop.run(_measure(stand, stand.database("webhooks"), amount))
    report.add(
        f"Webhooks, {amount} events of {EXECUTIONS} executions",
        [
            Measurement("events sent", "/s", [sent], Target("≥", 1_000)),
            Measurement("a bare client, the same bodies", "/s", [bare]),
            Measurement("sent, of the bare client", "", [sent / bare]),
        ],
    )


async def _measure(stand: Stand, conninfo: str, amount: int) -> tuple[float, float]:
    server = stand.serve(conninfo, "--no-work")
    service = Service(server.port, stand.token)
    await service.prepare()
    async with _receiving() as (port, calls):
        running = await service.running("called", EXECUTIONS)
        url = f"http://127.0.0.1:{port}/hook"
        hook = {"url": url, "events": ["execution.progress"]}
        await service.call("POST", "/webhooks", hook, 201)
        items = list(_progress(running, amount))
        for begin in range(0, amount, A_CALL):
            part = items[begin : begin + A_CALL]
            check_all((await service.call("POST", "/commands", part)).body, len(part))
        work = stand.work(conninfo)
        sent = await _rate(calls, amount)
        stand.end(work)
        stand.stop(server)
        bodies = [body for _, body in calls[:amount]]
        calls.clear()
        file = stand.folder / "bodies.json"
        file.write_bytes(orjson.dumps([body.decode() for body in bodies]))
        poster = _poster(url, file)
        bare = await _rate(calls, amount)
        await asyncio.to_thread(poster.wait, PATIENCE)
        return sent, bare


@asynccontextmanager
async def _receiving() -> AsyncIterator[tuple[int, list[tuple[float, bytes]]]]:
    calls: list[tuple[float, bytes]] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Received(calls), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], calls


def _progress(running: list[str], amount: int) -> Iterator[Item]:
    for number in range(amount):
        execution = running[number % len(running)]
        progress = round(number * 100 / amount, 3)
        yield {"command": "updateProgress", "execution": execution, "progress": progress}


async def _rate(calls: list[tuple[float, bytes]], amount: int) -> float:
    deadline = time.monotonic() + PATIENCE
    while len(calls) < amount:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(calls)} of {amount} events were sent in {PATIENCE:.0f} s")
        await asyncio.sleep(0.1)
    return (amount - 1) / (calls[amount - 1][0] - calls[0][0])


def _poster(url: str, file: Path) -> subprocess.Popen[bytes]:
    command = (sys.executable, "-P", "-m", "bench.poster", url, str(file))
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)
