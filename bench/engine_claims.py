"""Measures how fast queued executions are handed to workers that claim at the same time, and the cost of heartbeats.

The limit of both is measured in the same run: the same connections start queued executions by their ids, which records two
of the three events of a claim, and searches nothing. A heartbeat records no event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import cycle

import orjson
import uvloop

from bench.client import Load, run_load
from bench.machine import Meter
from bench.measurements import Measurement, Report, Target
from bench.plan import Plan
from bench.population import SERVICES, Item, Service
from bench.stand import Stand

WORKERS = 64
MOST = 12_000
"""Executions that are queued for each second of a load, more than are claimed or started."""
PRIORITIES = ("low", "normal", "high", "urgent")
WARM_UP = 1.0


def measure(stand: Stand, plan: Plan, report: Report) -> None:
    """Measure starts, claims and heartbeats in turns, so that other load of the machine affects all of them."""
    conninfo = stand.database("claims")
    server = stand.serve(conninfo)
    service = Service(server.port, stand.token)
    uvloop.run(service.prepare())
    beats = [_beat(service, name) for name in uvloop.run(service.running("alive", WORKERS))]
    loads: dict[str, list[Load]] = {"start": [], "claim": [], "heartbeat": []}
    cpu: dict[str, str] = {}
    for repetition in range(plan.repetitions):
        names = _fill_queue(service, f"{repetition}-started", plan)
        shares = [
            iter(
                [service.request("POST", f"/executions/{name}/start") for name in names[n::WORKERS]]
            )
            for n in range(WORKERS)
        ]
        claimed = _fill_queue(service, f"{repetition}-claimed", plan)
        stand.checkpoint()
        for what, requests in (
            ("start", shares),
            ("claim", _claims(service)),
            ("heartbeat", beats),
        ):
            meter = Meter(server=server.pid, PostgreSQL=stand.postgres_pid)
            load = _run(server.port, requests, plan, claims=what == "claim")
            cpu[what] = meter.costs().per(round(load.rate * (plan.seconds + WARM_UP)))
            loads[what].append(load)
        uvloop.run(_cancel(service, claimed))
    stand.stop(server)
    report.add(f"Claims and heartbeats, {WORKERS} workers", _measurements(loads, cpu))


def _run(port: int, requests: Iterable[Iterator[bytes]], plan: Plan, *, claims: bool) -> Load:
    """Run one load. Raises RuntimeError if an execution was claimed twice."""
    seen: list[str] = []

    def inspect(body: bytes) -> int:
        seen.append(orjson.loads(body)["$id"])
        return 1

    load = uvloop.run(
        run_load(
            [(port, each) for each in requests],
            plan.seconds,
            warm_up=WARM_UP,
            inspect=inspect if claims else None,
        )
    )
    if len(set(seen)) != len(seen):
        raise RuntimeError("an execution was claimed twice")
    return load


def _measurements(loads: dict[str, list[Load]], cpu: dict[str, str]) -> list[Measurement]:
    goals = {
        "claim": (Target("≥", 2_000), Target("≤", 50)),
        "heartbeat": (Target("≥", 1_000), None),
    }
    measurements = []
    for what, each in loads.items():
        rate, slowest = goals.get(what, (None, None))
        others = sum((load.others for load in each), start=type(each[0].others)())
        note = f"{cpu[what]}; not 200: {dict(others)}" if others else cpu[what]
        measurements += [
            Measurement(what, "/s", [load.rate for load in each], rate, note),
            Measurement(f"{what}, p50", "ms", [load.percentile(0.5) * 1e3 for load in each]),
            Measurement(
                f"{what}, p99", "ms", [load.percentile(0.99) * 1e3 for load in each], slowest
            ),
        ]
    pairs = zip(loads["claim"], loads["start"], strict=True)
    measurements.append(Measurement("claim : start", "x", [a.rate / b.rate for a, b in pairs]))
    return measurements


def _fill_queue(service: Service, prefix: str, plan: Plan) -> list[str]:
    amount = int(MOST * (plan.seconds + WARM_UP))
    names = [f"{prefix}-{number}" for number in range(amount)]
    last = uvloop.run(service.send(_creation(name, n) for n, name in enumerate(names)))
    uvloop.run(service.visible(last))
    return names


def _creation(name: str, number: int) -> Item:
    service = SERVICES[number % len(SERVICES)]
    return {
        "command": "create",
        "execution": name,
        "order": f"order-of-{service}",
        "service": service,
        "priority": PRIORITIES[number % len(PRIORITIES)],
    }


async def _cancel(service: Service, names: list[str]) -> None:
    """Cancel the remaining executions, so that they are not claimed in the next repetition."""
    async with service.connect() as connection:
        for first in range(0, len(names), 1_000):
            part = [
                {"command": "cancel", "execution": name} for name in names[first : first + 1_000]
            ]
            await connection.call(service.request("POST", "/commands", part))


def _claims(service: Service) -> list[Iterator[bytes]]:
    return [
        cycle([service.request("POST", "/executions/claim", {"worker": f"w-{n}", "wait": 1})])
        for n in range(WORKERS)
    ]


def _beat(service: Service, name: str) -> Iterator[bytes]:
    return cycle([service.request("POST", f"/executions/{name}/heartbeat", {})])
