"""Measures whole lives of executions: all requests that a worker sends for one execution, one after the other."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import uvloop

from bench.client import Connection, percentile
from bench.machine import Meter
from bench.measurements import Measurement, Report, Target
from bench.plan import Plan
from bench.population import SERVICES, Service
from bench.stand import Server, Stand

CONNECTIONS = (1, 16, 64)
REQUESTS = 12
STEPS = 3
LINES = 2
WARM_UP = 1.0
PATIENCE = 60.0
LOG = "log"
Request = tuple[str, bytes]
"""The kind of a request, and its bytes."""
Section = Callable[[Stand, Plan, Report], None]


@dataclass(slots=True)
class Lives:
    """The result of a load: the seconds of each request, by the kind of the request."""

    start: float
    stop: float
    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @property
    def latencies(self) -> list[float]:
        return sorted(one for each in self.seconds.values() for one in each)

    @property
    def rate(self) -> float:
        """The lives that were completed each second."""
        return len(self.latencies) / REQUESTS / (self.stop - self.start)


def life(service: Service, identity: str) -> Iterator[Request]:
    """Yield the requests of one execution: 12, with 3 steps and 2 log lines."""
    below = f"/executions/{identity}"
    created = {
        "$id": identity,
        "order": f"order-of-{SERVICES[0]}",
        "service": SERVICES[0],
        "metadata": {"user": identity[:2], "input": "x" * 64},
    }
    yield "create", service.request("POST", "/executions", created)
    yield "start", service.request("POST", f"{below}/start", {})
    for nth in range(STEPS):
        step = f"{below}/steps/step-{nth}"
        yield "step", service.request("POST", f"{step}/start", {"name": f"Step {nth}"})
        yield "step", service.request("POST", f"{step}/complete", {"output": nth})
    yield "progress", service.progress(identity, 50)
    for nth in range(LINES):
        line = {"level": "info", "message": f"line {nth} {'y' * 60}"}
        yield LOG, service.request("POST", f"{below}/logs", line)
    done = {"success": True, "output": {"number": 1}, "summary": "done"}
    yield "complete", service.request("POST", f"{below}/complete", done)


class Worker(Connection):
    """A connection that sends the requests of one life after another."""

    def __init__(self, service: Service, lives: Lives) -> None:
        super().__init__()
        self._service = service
        self._lives = lives
        self._requests: Iterator[Request] = iter(())
        self._kind = ""

    def send_next(self) -> None:
        """Send the next request of the present life, or the first one of a new life."""
        following = next(self._requests, None)
        if following is None:
            self._requests = life(self._service, uuid4().hex)
            following = next(self._requests)
        self._kind, request = following
        self.send(request)

    def answered(self, data: bytes, body: int, seconds: float) -> None:
        if data[9:11] != b"20":
            raise RuntimeError(f"{self._kind} is answered {data[9:12]!r}: {data[body:][:300]!r}")
        now = self._sent + seconds
        if self._lives.start <= now < self._lives.stop:
            self._lives.seconds[self._kind].append(seconds)
        if now < self._lives.stop:
            self.send_next()
        else:
            self.close()


async def live(service: Service, connections: int, seconds: float) -> Lives:
    """Run a load of lives with so many connections, for `seconds`."""
    begin = time.perf_counter() + WARM_UP
    lives = Lives(begin, begin + seconds)
    loop = asyncio.get_running_loop()
    workers = [
        (await loop.create_connection(lambda: Worker(service, lives), "127.0.0.1", service.port))[1]
        for _ in range(connections)
    ]
    for worker in workers:
        worker.send_next()
    closed = asyncio.gather(*(worker.closed for worker in workers))
    await asyncio.wait_for(closed, WARM_UP + seconds + PATIENCE)
    return lives


def section(beside: Path | None) -> Section:
    """Return the section; with `beside`, the service of another checkout is measured in turns with this one."""

    def measure(stand: Stand, plan: Plan, report: Report) -> None:
        servers = {"service": stand.serve(stand.database("life"))}
        if beside is not None:
            servers["beside"] = stand.serve(stand.database("beside"), checkout=beside)
        for server in servers.values():
            uvloop.run(Service(server.port, stand.token).prepare())
        sample = uvloop.run(_sample(stand, servers["service"]))
        servers["bare JSON echo"] = stand.echo(sample)
        for connections in CONNECTIONS:
            report.add(
                f"Lives of {REQUESTS} requests, {connections} connections",
                _in_turns(stand, plan, servers, connections),
            )
        for server in servers.values():
            stand.stop(server)

    return measure


async def _sample(stand: Stand, server: Server) -> bytes:
    service = Service(server.port, stand.token)
    [name] = await service.running("sample", 1)
    return (await service.call("POST", f"/executions/{name}/progress", {"progress": 1})).body


def _in_turns(
    stand: Stand, plan: Plan, servers: dict[str, Server], connections: int
) -> list[Measurement]:
    lived: dict[str, list[Lives]] = {name: [] for name in servers}
    costs: dict[str, str] = {}
    for _ in range(plan.repetitions):
        for name, server in servers.items():
            meter = Meter(server=server.pid, PostgreSQL=stand.postgres_pid)
            lives = uvloop.run(live(Service(server.port, stand.token), connections, plan.seconds))
            share = (plan.seconds + WARM_UP) / plan.seconds
            costs[name] = meter.costs().per(round(len(lives.latencies) * share))
            lived[name].append(lives)
    found = [
        measurement
        for name in servers
        for measurement in _measurements(name, lived[name], costs[name])
    ]
    return [*found, *_ratios(lived)]


def _measurements(name: str, lived: list[Lives], costs: str) -> list[Measurement]:
    commands = [sorted(_commands(lives)) for lives in lived]
    lines = [sorted(lives.seconds[LOG]) for lives in lived]
    return [
        Measurement(name, "lives/s", [lives.rate for lives in lived], note=costs),
        Measurement(
            f"{name}, command p50", "ms", [1e3 * percentile(each, 0.5) for each in commands]
        ),
        Measurement(
            f"{name}, command p99", "ms", [1e3 * percentile(each, 0.99) for each in commands]
        ),
        Measurement(
            f"{name}, log line p99", "ms", [1e3 * percentile(each, 0.99) for each in lines]
        ),
    ]


def _commands(lives: Lives) -> Iterator[float]:
    return (one for kind, each in lives.seconds.items() if kind != LOG for one in each)


def _ratios(lived: dict[str, list[Lives]]) -> list[Measurement]:
    measurements = []
    for other, its in list(lived.items())[1:]:
        pairs = zip(lived["service"], its, strict=True)
        ratios = [one.rate / another.rate for one, another in pairs]
        goal = Target("≥", 2.5) if other == "beside" else None
        measurements.append(Measurement(f"service : {other}", "x", ratios, goal))
    return measurements
