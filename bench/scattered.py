"""Measures one list of two logs, each with a server of its own, beside the list of one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle

import uvloop

from bench.client import Load, run_load
from bench.machine import Meter
from bench.measurements import Measurement, Report, Target
from bench.plan import Plan
from bench.population import DAYS, Item, Service, life
from bench.stand import Server, Stand, free_port
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
    ports = [free_port() for _ in LOGS]
    cells = ",".join(
        f"{log}=http://127.0.0.1:{port}" for log, port in zip(LOGS, ports, strict=True)
    )
    servers = [
        stand.serve(stand.database(log), port=port, LOG=log, CELLS=cells)
        for log, port in zip(LOGS, ports, strict=True)
    ]
    count = plan.count(EXECUTIONS)
    for nth, server in enumerate(servers):
        uvloop.run(_fill(Service(server.port, stand.token), nth, count))
    measurements = [
        measurement for clients in CLIENTS for measurement in _time(stand, plan, servers, clients)
    ]
    report.add(f"Lists of 50 among {count} executions in each of two logs", measurements)
    for server in servers:
        stand.stop(server)


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
    stand: Stand, plan: Plan, servers: Sequence[Server], clients: int
) -> Iterator[Measurement]:
    service = Service(servers[0].port, stand.token)
    loads: dict[str, list[Load]] = {name: [] for name in LISTS}
    costs = dict.fromkeys(LISTS, "")
    for _ in range(plan.repetitions):
        for name, path in LISTS.items():
            each = [(service.port, cycle([service.request("GET", path)])) for _ in range(clients)]
            first, second = (server.pid for server in servers)
            meter = Meter(asked=first, other=second, PostgreSQL=stand.postgres_pid)
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
