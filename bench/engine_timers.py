"""Measures timers: how fast they fire if many are due at once, and how that affects the commands of the API.

Many executions fail with a retry that is due immediately. A work process follows the log, but cannot fire timers while
this program holds their lock. After the lock is released, the rate is read from the times in the log, between the first
and the last timer that fires. This is done twice: without other calls, and with commands at a steady rate, whose
latencies between the first and the last timer are compared with those before. Then single retries come due while nothing
else happens, and their lateness is read from the log. At the end the CPU time of the idle process is measured, without
and with the auditor.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import cycle
from typing import NamedTuple

import psycopg
import uvloop

from bench.client import percentile
from bench.machine import Meter, cpu_seconds
from bench.measurements import Measurement, Report, Target
from bench.plan import Plan
from bench.population import SERVICES, Item, Service
from bench.stand import Server, Stand

TIMERS = 100_000
PACED = 16
PACE = 0.05
"""Seconds from one command of a connection to the next."""
BEFORE = 10.0
"""Seconds of commands before the timers fire, so that the 99th percentile is that of 3 200."""
PUNCTUAL = 40
LATER = 700
"""Milliseconds until the retries come due that are measured one by one."""
IDLE = 10.0
SETTLES = 8.0
"""Seconds after which a work process has started and fired the timers that were due."""
RATE = "100"
"""The events that the auditor checks each second, as a setting."""
PATIENCE = 600.0
HEAD = "SELECT position FROM executions.head"
FIRED = """SELECT count(*), min(at), max(at) FROM executions.events
    WHERE topic = 'execution.started' AND notification_id > %s AND notification_id <= %s"""
"""The timers that fired between two positions. Counting all of them each time would take a large part of the CPU time."""
OWN = "SELECT pg_advisory_lock(hashtext('timers of executions'), hashtext('timers'))"
LATE = """SELECT extract(epoch FROM started.at
        - (convert_from(retry.state, 'UTF8')::jsonb ->> 'nextRetryAt')::timestamptz)
    FROM executions.events retry JOIN executions.events started
        ON started.originator_id = retry.originator_id AND started.topic = 'execution.starting'
        AND started.originator_version > retry.originator_version
    WHERE retry.topic = 'execution.retry' AND retry.originator_id LIKE 'execution/punctual-%'"""


@dataclass(frozen=True, slots=True)
class Fired:
    """The number of timers that fired, and the times of the first and the last."""

    count: int
    first: datetime
    last: datetime

    @property
    def rate(self) -> float:
        return self.count / (self.last - self.first).total_seconds()


class Call(NamedTuple):
    """The time at which a command was answered, and the seconds that it took."""

    at: float
    seconds: float


class Burst(NamedTuple):
    """The timers that fired, their costs, and the calls before and meanwhile."""

    fired: Fired
    costs: str
    before: list[Call]
    meanwhile: list[Call]


def measure(stand: Stand, plan: Plan, report: Report) -> None:
    """Measure all parts on one log. Timers fire only once, so each part has executions of its own."""
    conninfo = stand.database("timers")
    server = stand.serve(conninfo, "--no-work")
    service = Service(server.port, stand.token)
    uvloop.run(service.prepare())
    running, amount = uvloop.run(service.running("paced", PACED)), plan.count(TIMERS)
    log = TimersLog(stand, conninfo, server)
    alone = log.burst("alone", amount, [])
    beside = log.burst("beside", amount, running)
    work = stand.work(conninfo)
    time.sleep(SETTLES)
    uvloop.run(_one_by_one(service))
    late = _late(conninfo)
    stand.end(work)
    idle, audits = (_share(stand, conninfo, rate) for rate in ("0", RATE))
    stand.stop(server)
    title = f"Timers: {amount} retries due at once"
    report.add(title, [*_of_bursts(alone, beside), *_idle_measurements(late, idle, audits)])


def _of_bursts(alone: Burst, beside: Burst) -> list[Measurement]:
    before, meanwhile = _p99(beside.before), _p99(beside.meanwhile)
    note = f"{before:.1f} ms before, {meanwhile:.1f} ms meanwhile, {len(beside.meanwhile)} commands"
    return [
        Measurement(
            "fired while nobody calls",
            "/s",
            [alone.fired.rate],
            Target("≥", 3_000),
            alone.costs,
        ),
        Measurement(
            f"fired beside {PACED / PACE:.0f} commands/s",
            "/s",
            [beside.fired.rate],
            None,
            beside.costs,
        ),
        Measurement(
            "p99 of these commands, of that before",
            "times",
            [meanwhile / before],
            Target("≤", 1.5),
            note,
        ),
    ]


def _idle_measurements(late: list[float], idle: float, audits: float) -> list[Measurement]:
    return [
        Measurement("late under light load, p50", "ms", [percentile(late, 0.5) * 1000]),
        Measurement("late, the latest", "ms", [late[-1] * 1000], Target("≤", 250)),
        Measurement("CPU of the idle process", "% of a core", [idle * 100], Target("≤", 1)),
        Measurement(f"… that audits {RATE} events/s", "% of a core", [audits * 100]),
    ]


class TimersLog:
    """A log with a server, on which work processes are started."""

    def __init__(self, stand: Stand, conninfo: str, server: Server) -> None:
        self._stand = stand
        self._conninfo = conninfo
        self._server = server
        self._service = Service(server.port, stand.token)

    def burst(self, prefix: str, amount: int, called: list[str]) -> Burst:
        """Let so many timers fire, which are all due before the first one fires, while commands are sent to executions."""
        with _owning_timers(self._conninfo):
            work = self._stand.work(self._conninfo)
            last = uvloop.run(_fill(self._service, prefix, amount))
            before = uvloop.run(_call_at_pace(self._service, called, BEFORE if called else 0.0))
            meter = Meter(
                work=work.pid, server=self._server.pid, PostgreSQL=self._stand.postgres_pid
            )
        firing = _while_firing(self._service, called, self._conninfo, last, amount)
        fired, calls = uvloop.run(firing)
        costs = meter.costs().per(amount)
        self._stand.end(work)
        first, until = fired.first.timestamp(), fired.last.timestamp()
        return Burst(fired, costs, before, [call for call in calls if first <= call.at <= until])


async def _fill(service: Service, prefix: str, amount: int) -> int:
    """Create executions whose retry is due; return the position of the last event."""
    last = await service.send(item for number in range(amount) for item in _failing(number, prefix))
    await service.visible(last)
    return last


@contextmanager
def _owning_timers(conninfo: str) -> Iterator[None]:
    """Keep other processes from firing timers until the block ends."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(OWN)
        yield


def _failing(number: int, prefix: str, delay: int = 0) -> Iterator[Item]:
    name, service = f"{prefix}-{number}", SERVICES[number % len(SERVICES)]
    policy = {"maxRetries": 3, "backoff": "linear", "initialDelay": delay, "maxDelay": delay}
    yield {
        "command": "create",
        "execution": name,
        "order": f"order-of-{service}",
        "service": service,
        "status": "running",
        "retryPolicy": policy,
    }
    yield {"command": "fail", "execution": name, "code": "E", "message": "m", "recoverable": True}


async def _call_at_pace(service: Service, names: list[str], seconds: float) -> list[Call]:
    over = asyncio.Event()
    calls = asyncio.create_task(_until(over, service, names))
    await asyncio.sleep(seconds)
    over.set()
    return await calls


async def _while_firing(
    service: Service, names: list[str], conninfo: str, after: int, amount: int
) -> tuple[Fired, list[Call]]:
    over = asyncio.Event()
    calls = asyncio.create_task(_until(over, service, names))
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        deadline, count, times = time.monotonic() + PATIENCE, 0, list[datetime]()
        while count < amount:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{amount} timers have not fired in {PATIENCE:.0f} s")
            await asyncio.sleep(0.2)
            [(position,)] = await (await connection.execute(HEAD)).fetchall()
            cursor = await connection.execute(FIRED, (after, position))
            [(more, first, last)] = await cursor.fetchall()
            after, count = position, count + more
            times += [first, last] if more else []
    over.set()
    return Fired(count, times[0], times[-1]), await calls


async def _until(over: asyncio.Event, service: Service, names: list[str]) -> list[Call]:
    calls: list[Call] = []

    async def work(name: str, offset: float) -> None:
        values = cycle((40.0, 60.0))
        await asyncio.sleep(offset)
        async with service.connect() as connection:
            while not over.is_set():
                answer = await connection.call(service.progress(name, next(values)))
                calls.append(Call(time.time(), answer.seconds))
                await asyncio.sleep(max(0.0, PACE - answer.seconds))

    offsets = (PACE * number / len(names) for number in range(len(names)))
    await asyncio.gather(*map(work, names, offsets))
    return calls


async def _one_by_one(service: Service) -> None:
    for number in range(PUNCTUAL):
        items = list(_failing(number, "punctual", LATER))
        await service.call("POST", "/commands", items)
        await asyncio.sleep(0.1)
    await asyncio.sleep(LATER / 1000 + 1)


def _late(conninfo: str) -> list[float]:
    with psycopg.connect(conninfo) as connection:
        late = sorted(float(row[0]) for row in connection.execute(LATE))
    if len(late) != PUNCTUAL:
        raise RuntimeError(f"{len(late)} of {PUNCTUAL} retries began")
    return late


def _share(stand: Stand, conninfo: str, rate: str) -> float:
    """Return the share of a core that an idle work process takes whose auditor checks `rate` events per second."""
    work = stand.work(conninfo, AUDITOR_RATE=rate)
    time.sleep(SETTLES)
    before = cpu_seconds(work.pid)
    time.sleep(IDLE)
    share = (cpu_seconds(work.pid) - before) / IDLE
    stand.end(work)
    return share


def _p99(calls: list[Call]) -> float:
    """Return the 99th percentile of the latencies, in milliseconds."""
    return percentile(sorted(call.seconds for call in calls), 0.99) * 1000
