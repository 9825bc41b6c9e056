"""Measures one list of two logs, each with a server and a PostgreSQL of its own, beside the list of one of them.

Then the same again, where each log has one core, as if it were on a machine of its own; the client shares the core of the
log that it asks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle

import uvloop

from bench.client import Load, run_load
from bench.machine import Meter, pin, pinned
from bench.measurements import Measurement, Report, Target
from bench.plan import Plan
from bench.population import DAYS, Item, Service, life
from bench.stand import Server, Stand, free_port
from bench.stand import stand as new_stand
from bench.write import refuse_others

EXECUTIONS = 20_000
"""In each log."""
LOGS = ("north", "south")
CLIENTS = (1, 4)
WARM_UP = 0.5
ONE, BOTH = "of one log", "of two logs"
LISTS = {ONE: "/executions?limit=50", BOTH: "/cells/executions?limit=50"}


def measure(stand: Stand, plan: Plan, report: Report) -> None:
    """Measure both lists in turns; both are requested from the first server."""
    with new_stand() as other:
        stands = (stand, other)
        servers, count = _serve(stands), plan.count(EXECUTIONS)
        for nth, server in enumerate(servers):
            uvloop.run(_fill(Service(server.port, stand.token), nth, count))
        title = f"Lists of 50 among {count} executions in each of two logs"
        times = [each for clients in CLIENTS for each in _time(stands, plan, servers, clients)]
        report.add(title, times)
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) >= len(LOGS):
            for core, server, its in zip(cores, servers, stands, strict=False):
                pin(server.pid, core)
                pin(its.postgres_pid, core)
            with pinned(cores[0]):
                report.add(f"{title}, each on one core", [*_time(stands, plan, servers, 1)])
        for server in servers:
            stand.stop(server)


def _serve(stands: Sequence[Stand]) -> list[Server]:
    """Start a server for each log, which knows the other, on a PostgreSQL of its own; both have the token of the first."""
    ports = [free_port() for _ in LOGS]
    cells = ",".join(
        f"{log}=http://127.0.0.1:{port}" for log, port in zip(LOGS, ports, strict=True)
    )
    token = stands[0].token
    return [
        stand.serve(stand.database(log), port=port, LOG=log, CELLS=cells, ADMIN_TOKEN=token)
        for stand, log, port in zip(stands, LOGS, ports, strict=True)
    ]


async def _fill(service: Service, nth: int, count: int) -> None:
    await service.prepare()
    await service.visible(await service.send(_lives(nth, count)))


def _lives(nth: int, count: int) -> Iterator[Item]:
    """Those of the two logs take turns in time."""
    first, every = datetime.now(UTC) - timedelta(days=DAYS + 1), timedelta(days=DAYS) / count
    for number in range(count):
        turn = number * len(LOGS) + nth
        yield from life(turn, first + turn * every / len(LOGS))


def _time(
    stands: Sequence[Stand], plan: Plan, servers: Sequence[Server], clients: int
) -> Iterator[Measurement]:
    service = Service(servers[0].port, stands[0].token)
    loads: dict[str, list[Load]] = {name: [] for name in LISTS}
    costs = dict.fromkeys(LISTS, "")
    for _ in range(plan.repetitions):
        for name, path in LISTS.items():
            each = [(service.port, cycle([service.request("GET", path)])) for _ in range(clients)]
            first, second = (server.pid for server in servers)
            databases = [stand.postgres_pid for stand in stands]
            meter = Meter(asked=first, other=second, PostgreSQL=databases)
            load = uvloop.run(run_load(each, plan.seconds, warm_up=WARM_UP))
            refuse_others(load)
            loads[name].append(load)
            costs[name] = meter.costs().per(round(load.rate * (plan.seconds + WARM_UP)))
    p50 = {name: _milliseconds(found, 0.5) for name, found in loads.items()}
    for name in LISTS:
        shown = f"list {name}, {clients} at once"
        yield Measurement(f"{shown}, p50", "ms", p50[name], None, costs[name])
        yield Measurement(f"{shown}, p99", "ms", _milliseconds(loads[name], 0.99))
    ratios = [both / one for one, both in zip(p50[ONE], p50[BOTH], strict=True)]
    yield Measurement(f"two logs : one log, {clients} at once, p50", "x", ratios, Target("≤", 1.5))


def _milliseconds(loads: Sequence[Load], share: float) -> list[float]:
    return [1e3 * load.percentile(share) for load in loads]
