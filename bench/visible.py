"""Measures the time from a command to its effect in the list, while 500 commands arrive each second.

The time begins when the command is due. One command in ten is followed up: its answer names a position, and another
connection reads the execution in the list with `minPosition`. The command is visible when the list answers at that
position, so the time includes the command, the view and the query.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import orjson
import uvloop

from bench.client import Caller, percentile
from bench.machine import Meter
from bench.measurements import Measurement, Report, Target
from bench.plan import Plan
from bench.population import Service
from bench.stand import Stand
from bench.write import prepare

RATE = 500
FOLLOWED = 10
EXECUTIONS = 500
CONNECTIONS = 64
WARM_UP = 1.0


@dataclass(slots=True)
class Seen:
    """Seconds from the moment a command was due, and from its answer, until the list showed it."""

    since_due: list[float] = field(default_factory=list)
    since_answer: list[float] = field(default_factory=list)
    commands: list[float] = field(default_factory=list)


def measure(stand: Stand, plan: Plan, report: Report) -> None:
    """Send the commands and follow them up, once for each repetition."""
    service, server = prepare(stand, "visible")
    names = uvloop.run(service.running("visible", EXECUTIONS))
    runs: list[Seen] = []
    for _ in range(plan.repetitions):
        meter = Meter(server=server.pid, PostgreSQL=stand.postgres_pid)
        runs.append(uvloop.run(watch(service, names, plan.seconds)))
        costs = meter.costs().per(round(RATE * (plan.seconds + WARM_UP)))
    stand.stop(server)
    p50, p99 = Target("≤", 15), Target("≤", 60)
    report.add(
        f"Visible in the list, at {RATE} commands/s",
        [
            _measurement(
                "command sent → list answered, p50", runs, 0.5, "since_due", p50, note=costs
            ),
            _measurement("command sent → list answered, p99", runs, 0.99, "since_due", p99),
            _measurement("command answered → list answered, p50", runs, 0.5, "since_answer"),
            _measurement("command answered → list answered, p99", runs, 0.99, "since_answer"),
            _measurement("command sent → command answered, p50", runs, 0.5, "commands"),
            _measurement("command sent → command answered, p99", runs, 0.99, "commands"),
        ],
    )


def _measurement(
    name: str,
    runs: Sequence[Seen],
    share: float,
    what: str,
    target: Target | None = None,
    *,
    note: str = "",
) -> Measurement:
    samples = [1e3 * percentile(sorted(getattr(run, what)), share) for run in runs]
    return Measurement(name, "ms", samples, target, note)


Pool = asyncio.Queue[Caller]


@dataclass(slots=True)
class Watch:
    """Sends commands on connections of one pool, and follows them up on those of another."""

    service: Service
    names: Sequence[str]
    senders: Pool
    watchers: Pool
    seen: Seen = field(default_factory=Seen)

    async def one(self, nth: int, due: float, *, followed: bool) -> None:
        """Send the nth command, which changes the progress of an execution between two values; follow it up if wanted."""
        name, value = self.names[nth % len(self.names)], 40 + nth // len(self.names) % 2
        async with borrow(self.senders) as connection:
            answer = await connection.call(self.service.progress(name, value))
        if followed:
            answered = time.perf_counter()
            await self._follow(name, int(answer.header("log-position") or 0))
            now = time.perf_counter()
            self.seen.since_due.append(now - due)
            self.seen.since_answer.append(now - answered)
            self.seen.commands.append(answered - due)

    async def _follow(self, name: str, position: int) -> None:
        path = f"/executions?$id={name}&minPosition={position}"
        async with borrow(self.watchers) as connection:
            shown = await connection.call(self.service.request("GET", path))
        row = orjson.loads(shown.body)["data"][0]
        if row["position"] < position:
            raise RuntimeError(f"the list shows {name} at {row['position']}, before {position}")


async def watch(service: Service, names: Sequence[str], seconds: float) -> Seen:
    """Send commands at a fixed rate, without waiting for answers, and follow up one command in ten."""
    tasks = set[asyncio.Task[None]]()
    async with connections(service) as senders, connections(service) as watchers:
        watch = Watch(service, names, senders, watchers)
        start = time.perf_counter()
        for nth in range(round(RATE * (seconds + WARM_UP))):
            due = start + nth / RATE
            await asyncio.sleep(due - time.perf_counter())
            followed = nth % FOLLOWED == 0 and due >= start + WARM_UP
            tasks.add(asyncio.create_task(watch.one(nth, due, followed=followed)))
        await asyncio.gather(*tasks)
    return watch.seen


@asynccontextmanager
async def connections(service: Service) -> AsyncIterator[Pool]:
    pool = Pool()
    async with AsyncExitStack() as stack:
        for _ in range(CONNECTIONS):
            pool.put_nowait(await stack.enter_async_context(service.connect()))
        yield pool


@asynccontextmanager
async def borrow(pool: Pool) -> AsyncIterator[Caller]:
    connection = await pool.get()
    try:
        yield connection
    finally:
        pool.put_nowait(connection)
