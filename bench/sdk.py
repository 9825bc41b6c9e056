"""Measures the Python SDK: single commands beside bare httpx2, buffered steps, and the memory of a watcher.

All run in this process, one request after the other, as the calls of a program would.
"""

from __future__ import annotations

import asyncio
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import httpx2

from bench.measurements import Measurement, Report, Target
from bench.plan import Plan
from bench.stand import Stand
from service_executions import AsyncClient, Client

STEPS, WATCHERS = 20_000, 200
PAGE = resource.getpagesize()


def measure(stand: Stand, plan: Plan, report: Report) -> None:
    """Measure commands, steps and watchers on one service."""
    server = stand.serve(stand.database("sdk"))
    url = f"http://127.0.0.1:{server.port}"
    with Client(url, stand.token, spool=str(stand.folder / "spool")) as client:
        client.users.create("acme", name="Acme", kind="organization")
        client.services.create("sdr", name="SDR", provider="acme")
        client.orders.create("order-1", service="sdr", customer="acme")
        report.add("Single commands", _commands(stand, plan, client, url))
        report.add("Buffered steps", _steps(plan, client))
        report.add("Watchers", _watchers(stand, plan, client, url))
    stand.stop(server)


def _commands(stand: Stand, plan: Plan, client: Client, url: str) -> list[Measurement]:
    """Measure updates of one execution's progress, by httpx2 and by the SDK in turns."""
    run = client.executions.create(order="order-1", service="sdr", status="running")
    headers = {"Authorization": f"Bearer {stand.token}", "Content-Type": "application/json"}
    bare, ours = list[Pace](), list[Pace]()
    with httpx2.Client(headers=headers) as http:
        path = f"{url}/api/executions/{run.id}/progress"

        def plainly(number: int) -> None:
            answer = http.post(path, content=json.dumps({"progress": number % 100}).encode())
            assert answer.json()["progress"] == number % 100

        def with_sdk(number: int) -> None:
            assert run.update_progress(number % 100).progress == number % 100

        for _ in range(plan.repetitions):
            bare.append(_pace(plainly, plan.seconds))
            ours.append(_pace(with_sdk, plan.seconds))
    turns = list(zip(ours, bare, strict=True))
    shares = [100 * own.rate / other.rate for own, other in turns]
    efforts = [100 * other.cpu / own.cpu for own, other in turns]
    return [
        Measurement(
            "limit: bare httpx2, answer parsed", "commands/s", [each.rate for each in bare]
        ),
        Measurement("the SDK", "commands/s", [each.rate for each in ours]),
        Measurement("share of the limit", "%", shares, Target("≥", 60)),
        Measurement("limit: CPU time of a command", "µs", [each.cpu for each in bare]),
        Measurement("the SDK's", "µs", [each.cpu for each in ours]),
        Measurement(
            "share by CPU time", "%", efforts, Target("≥", 60), "whatever else the machine does"
        ),
    ]


class Pace(NamedTuple):
    """The commands per second, and the microseconds of this process's CPU time for each."""

    rate: float
    cpu: float


def _pace(call: Callable[[int], None], seconds: float) -> Pace:
    for number in range(20):
        call(number)
    start, cpu, number = time.perf_counter(), time.process_time(), 0
    while (spent := time.perf_counter() - start) < seconds:
        call(number)
        number += 1
    return Pace(number / spent, (time.process_time() - cpu) / number * 1e6)


def _steps(plan: Plan, client: Client) -> list[Measurement]:
    """Measure buffered steps, a hundred per execution: how fast they are recorded, and until the service has them."""
    amount = plan.count(STEPS)
    recorded, sent = list[float](), list[float]()
    for _ in range(plan.repetitions):
        start = time.perf_counter()
        for _ in range(amount // 100):
            with client.track(order="order-1", service="sdr", on_error="buffer") as run:
                for _ in range(100):
                    with run.step("work"):
                        pass
        recorded.append(amount / (time.perf_counter() - start))
        assert client.flush(120)
        sent.append(amount / (time.perf_counter() - start))
        assert not client.buffer.refused
    return [
        Measurement("recorded by the work", "steps/s", recorded, Target("≥", 5_000)),
        Measurement("and recorded by the service", "steps/s", sent, None, "two commands each"),
    ]


def _watchers(stand: Stand, plan: Plan, client: Client, url: str) -> list[Measurement]:
    return [
        Measurement(
            "memory of one more watcher",
            "KB",
            [asyncio.run(_watcher(stand, client, url)) for _ in range(plan.repetitions)],
            Target("≤", 60),
            f"{WATCHERS} watchers in one process",
        )
    ]


async def _watcher(stand: Stand, client: Client, url: str) -> float:
    """Return the memory that each of many watchers adds to this process, after each has received its first frame, in KB."""
    run = client.executions.create(order="order-1", service="sdr", id=f"watched-{uuid4()}")
    async with AsyncClient(url, stand.token) as watching:
        streams = [watching.executions.watch(run.id)]
        await anext(streams[0])
        before = _resident()
        for _ in range(WATCHERS):
            stream = watching.executions.watch(run.id)
            await anext(stream)
            streams.append(stream)
        after = _resident()
        for stream in streams:
            await stream.aclose()
    return (after - before) / WATCHERS / 1_000


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
