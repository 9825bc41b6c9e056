"""Measures commands to two logs at once, each with a service of its own, beside the same commands to one of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import cycle

import uvloop

from bench.client import Load, run_load
from bench.machine import Meter
from bench.measurements import Measurement, Report, Target
from bench.plan import Plan
from bench.population import Service
from bench.stand import Server, Stand
from bench.write import refuse_others

LOGS = ("first", "second")
CONNECTIONS = (16, 64)
"""To each log."""
WARM_UP = 1.0
SETTLE_TIME = 1.0
"""Seconds after each load, for views to catch up and for commits of other databases to end."""
AT_64 = Target("≥", 1.4)
ONE, BOTH = "one log", "two logs"

Requests = list[tuple[int, Iterator[bytes]]]
"""Of one log, for each of its connections."""


def measure(stand: Stand, plan: Plan, report: Report) -> None:
    """Measure one log and two logs in turns; both are on one PostgreSQL."""
    servers = [stand.serve(stand.database(f"log_{log}"), LOG=log) for log in LOGS]
    requests = [_requests(Service(server.port, stand.token)) for server in servers]
    for connections in CONNECTIONS:
        title = f"Commands to one log and to two logs, {connections} connections each"
        each = [of_log[:connections] for of_log in requests]
        report.add(
            title, [*_time(stand, plan, servers, each, AT_64 if connections == 64 else None)]
        )
    for server in servers:
        stand.stop(server)


def _requests(service: Service) -> Requests:
    uvloop.run(service.prepare())
    executions = uvloop.run(service.running("single", max(CONNECTIONS)))
    return [
        (service.port, cycle([service.progress(name, value) for value in (40, 60)]))
        for name in executions
    ]


def _time(
    stand: Stand,
    plan: Plan,
    servers: Sequence[Server],
    requests: Sequence[Requests],
    target: Target | None,
) -> Iterator[Measurement]:
    loads: dict[str, list[Load]] = {ONE: [], BOTH: []}
    costs = dict.fromkeys(loads, "")
    for _ in range(plan.repetitions):
        for name, of_logs in ((ONE, requests[:1]), (BOTH, requests)):
            meter = Meter(services=[s.pid for s in servers], PostgreSQL=stand.postgres_pid)
            each = [pair for of_log in of_logs for pair in of_log]
            load = uvloop.run(run_load(each, plan.seconds, warm_up=WARM_UP))
            costs[name] = meter.costs().per(round(load.rate * (plan.seconds + WARM_UP)))
            refuse_others(load)
            loads[name].append(load)
            time.sleep(SETTLE_TIME)
    for name, of_name in loads.items():
        yield Measurement(name, "commands/s", [load.rate for load in of_name], None, costs[name])
        p99 = [1e3 * load.percentile(0.99) for load in of_name]
        yield Measurement(f"{name}, p99", "ms", p99)
    ratios = [both.rate / one.rate for one, both in zip(loads[ONE], loads[BOTH], strict=True)]
    yield Measurement("two logs : one log", "x", ratios, target)
