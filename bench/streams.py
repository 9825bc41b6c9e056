"""Measures streams beside a bare fan-out of the same bytes: rates, latencies and costs of deliveries.

Servers, PostgreSQL and the listeners share the machine, so the same load runs on the bare fan-out and on the service in
turns. Each event has the time at which its command was sent, so a latency includes the command, the commit and the
delivery.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple

import uvloop

from bench.listeners import many_files
from bench.measurements import Measurement, Report, Target
from bench.plan import Plan
from bench.stand import Stand
from bench.stream_loads import (
    BURST,
    RATE,
    STREAMS,
    Delivered,
    Ground,
    beside_catch_up,
    burst,
    catch_up,
    fill,
    idle,
    measure_watching,
    reconnects,
    steady,
)
from bench.write import prepare

Load = Callable[[], Coroutine[Any, Any, Delivered]]


class Row(NamedTuple):
    """A row of the report: which value of which load it shows, and its name, unit and target."""

    load: str
    what: str
    name: str
    unit: str
    target: Target | None = None


MANY, LIGHT = f"{STREAMS} streams, {RATE} events/s", "100 streams, 20 events/s"
BURSTS = f"bursts of {BURST} to {STREAMS} streams"
EACH_SECOND = "deliveries/s"
ROWS = (
    Row("sse", "rate", f"{MANY}, SSE", EACH_SECOND, Target("≥", 95_000)),
    Row("sse", "p99", f"{MANY}, SSE, p99", "ms", Target("≤", 60)),
    Row("sse", "cpu", f"{MANY}, SSE, CPU each", "µs"),
    Row("bare", "rate", f"{MANY}, bare fan-out", EACH_SECOND),
    Row("bare", "cpu", f"{MANY}, bare fan-out, CPU each", "µs"),
    Row("socket", "rate", f"{MANY}, WebSocket", EACH_SECOND, Target("≥", 60_000)),
    Row("socket", "p99", f"{MANY}, WebSocket, p99", "ms"),
    Row("socket", "cpu", f"{MANY}, WebSocket, CPU each", "µs"),
    Row("burst", "rate", BURSTS, EACH_SECOND, Target("≥", 7e5)),
    Row("bare burst", "rate", f"{BURSTS}, bare fan-out", EACH_SECOND),
    Row("light", "after_answer", f"{LIGHT}: answered → received, p50", "ms", Target("≤", 5)),
    Row("light", "p50", f"{LIGHT}: sent → received, p50", "ms"),
    Row("light", "p99", f"{LIGHT}: sent → received, p99", "ms"),
    Row("beside", "p50", f"100 streams, {RATE} events/s, p50", "ms"),
    Row("catching up", "p50", "the same beside a catch-up, p50", "ms"),
)


def measure(stand: Stand, plan: Plan, report: Report) -> None:
    """Measure the costs of streams, then deliveries, then reads of the past."""
    service, server = prepare(stand, "streams")
    names = uvloop.run(service.running("streams", plan.count(5_000)))
    head = uvloop.run(fill(service, names[0], plan.count(100_000)))
    stand.stop(server)
    server = stand.serve(stand.conninfo("streams"))
    ground, bare = Ground(server, stand.token, names[0]), Ground(stand.fanout(), "")
    with many_files():
        # Memory first: memory that other loads have freed would be used again and not be counted.
        report.add("Streams: what they cost", _costs(ground, names, plan))
        report.add("Streams: deliveries", _deliveries(ground, bare, plan))
        report.add("Streams: the past", _past(ground, head, plan))
    stand.stop(server)


def _deliveries(ground: Ground, bare: Ground, plan: Plan) -> list[Measurement]:
    loads: dict[str, list[Delivered]] = {}
    for _ in range(plan.repetitions):
        for name, load in _loads(ground, bare, plan.seconds).items():
            loads.setdefault(name, []).append(uvloop.run(load()))
    measurements = [
        Measurement(
            row.name, row.unit, [getattr(one, row.what) for one in loads[row.load]], row.target
        )
        for row in ROWS
    ]
    cpu = [b.cpu / s.cpu for b, s in zip(loads["bare"], loads["sse"], strict=True)]
    slower = [c.rate / b.rate for c, b in zip(loads["catching up"], loads["beside"], strict=True)]
    return [
        *measurements,
        Measurement("bare fan-out : SSE, CPU", "x", cpu, Target("≥", 0.7)),
        Measurement("deliveries beside a catch-up : without", "x", slower, Target("≥", 0.9)),
    ]


def _loads(ground: Ground, bare: Ground, seconds: float) -> dict[str, Load]:
    """Return the loads by name, in the order in which they run: each next to that of the bare fan-out."""
    return {
        "bare": partial(steady, bare, STREAMS, RATE, seconds),
        "sse": partial(steady, ground, STREAMS, RATE, seconds),
        "socket": partial(steady, ground, STREAMS, RATE, seconds, socket=True),
        "bare burst": partial(burst, bare, STREAMS, 5),
        "burst": partial(burst, ground, STREAMS, 5),
        "light": partial(steady, ground, 100, 20, seconds),
        "beside": partial(steady, ground, 100, RATE, seconds),
        "catching up": partial(beside_catch_up, ground, seconds),
    }


def _past(ground: Ground, head: int, plan: Plan) -> list[Measurement]:
    alone = [uvloop.run(catch_up(ground, head - 10)) for _ in range(plan.repetitions)]
    crowd = plan.count(5_000)
    seconds = [uvloop.run(reconnects(ground, crowd)) for _ in range(plan.repetitions)]
    return [
        Measurement("catch-up of one stream", "events/s", alone, Target("≥", 60_000)),
        Measurement(f"{crowd} reconnects at once, all caught up", "s", seconds, Target("≤", 5)),
    ]


def _costs(ground: Ground, names: list[str], plan: Plan) -> list[Measurement]:
    sockets = uvloop.run(idle(ground, STREAMS, 5, socket=True))
    more, few, many = list[float](), 0.0, 0.0
    for _ in range(plan.repetitions):
        few = uvloop.run(measure_watching(ground, names[:1], 500))
        many = uvloop.run(measure_watching(ground, names, 500))
        more.append((many - few) / 1e3)
    crowd = plan.count(10_000)
    size, share = uvloop.run(idle(ground, crowd, max(plan.seconds, 15)))
    return [
        Measurement(
            f"an event beside {len(names)} watchers of others",
            "ms",
            more,
            Target("≤", 0.5),
            f"the command and all: {many:.0f} µs, with one watcher {few:.0f} µs",
        ),
        Measurement("an idle WebSocket", "KiB", [sockets[0]], Target("≤", 40)),
        Measurement(f"an idle SSE stream of {crowd}", "KiB", [size], Target("≤", 20)),
        Measurement(f"{crowd} idle streams", "% of a core", [share], Target("≤", 2)),
    ]
