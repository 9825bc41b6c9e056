"""Streams beside a bare fan-out of the same bytes: what is delivered, how soon, and what it costs.

Servers, PostgreSQL and the listeners share the machine, so the same load runs on the bare fan-out
and on the service in turn. An event carries the time when its command was sent: a latency holds the
command, the commit and the delivery.
"""

from __future__ import annotations

from functools import partial

import uvloop

from bench.figures import Figure, Report, Target
from bench.listeners import many_files
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
    filled,
    idle,
    reconnects,
    steady,
    watched_apart,
)
from bench.write import prepared


def measure(stand: Stand, plan: Plan, report: Report) -> None:
    """Every figure in turn."""
    service, server = prepared(stand, "streams")
    names = uvloop.run(service.running("streams", plan.count(5_000)))
    head = uvloop.run(filled(service, names[0], plan.count(100_000)))
    stand.stop(server)
    server = stand.serve(stand.conninfo("streams"))
    ground, bare = Ground(server, stand.token, names[0]), Ground(stand.fanout(), "")
    with many_files():
        # Memory first: what others have freed would be counted as nothing.
        report.add("Streams: what they cost", _costs(ground, names, plan))
        report.add("Streams: deliveries", _deliveries(ground, bare, plan))
        report.add("Streams: the past", _past(ground, head, plan))
    stand.stop(server)


def _deliveries(ground: Ground, bare: Ground, plan: Plan) -> list[Figure]:
    loads: dict[str, list[Delivered]] = {}
    for _ in range(plan.repetitions):
        for name, load in (
            ("bare", partial(steady, bare, STREAMS, RATE, plan.seconds)),
            ("sse", partial(steady, ground, STREAMS, RATE, plan.seconds)),
            ("socket", partial(steady, ground, STREAMS, RATE, plan.seconds, socket=True)),
            ("bare burst", partial(burst, bare, STREAMS, 5)),
            ("burst", partial(burst, ground, STREAMS, 5)),
            ("light", partial(steady, ground, 100, 20, plan.seconds)),
            ("beside", partial(steady, ground, 100, RATE, plan.seconds)),
            ("catching up", partial(beside_catch_up, ground, plan.seconds)),
        ):
            loads.setdefault(name, []).append(uvloop.run(load()))
    cpu = [b.cpu / s.cpu for b, s in zip(loads["bare"], loads["sse"], strict=True)]
    slower = [c.rate / b.rate for c, b in zip(loads["catching up"], loads["beside"], strict=True)]

    def figure(load: str, what: str, name: str, unit: str, target: Target | None = None) -> Figure:
        return Figure(name, unit, [getattr(one, what) for one in loads[load]], target)

    many, light = f"{STREAMS} streams, {RATE} events/s", "100 streams, 20 events/s"
    return [
        figure("sse", "rate", f"{many}, SSE", "deliveries/s", Target("≥", 95_000)),
        figure("sse", "p99", f"{many}, SSE, p99", "ms", Target("≤", 60)),
        figure("sse", "cpu", f"{many}, SSE, CPU each", "µs"),
        figure("bare", "rate", f"{many}, bare fan-out", "deliveries/s"),
        figure("bare", "cpu", f"{many}, bare fan-out, CPU each", "µs"),
        Figure("bare fan-out : SSE, CPU", "x", cpu, Target("≥", 0.7)),
        figure("socket", "rate", f"{many}, WebSocket", "deliveries/s", Target("≥", 60_000)),
        figure("socket", "p99", f"{many}, WebSocket, p99", "ms"),
        figure("socket", "cpu", f"{many}, WebSocket, CPU each", "µs"),
        figure(
            "burst",
            "rate",
            f"bursts of {BURST} to {STREAMS} streams",
            "deliveries/s",
            Target("≥", 7e5),
        ),
        figure(
            "bare burst",
            "rate",
            f"bursts of {BURST} to {STREAMS} streams, bare fan-out",
            "deliveries/s",
        ),
        figure("light", "after_answer", f"{light}: answered → received, p50", "ms", Target("≤", 5)),
        figure("light", "p50", f"{light}: sent → received, p50", "ms"),
        figure("light", "p99", f"{light}: sent → received, p99", "ms"),
        figure("beside", "p50", f"100 streams, {RATE} events/s, p50", "ms"),
        figure("catching up", "p50", "the same beside a catch-up, p50", "ms"),
        Figure("deliveries beside a catch-up : without", "x", slower, Target("≥", 0.9)),
    ]


def _past(ground: Ground, head: int, plan: Plan) -> list[Figure]:
    alone = [uvloop.run(catch_up(ground, head - 10)) for _ in range(plan.repetitions)]
    crowd = plan.count(5_000)
    seconds = [uvloop.run(reconnects(ground, crowd)) for _ in range(plan.repetitions)]
    return [
        Figure("catch-up of one stream", "events/s", alone, Target("≥", 60_000)),
        Figure(f"{crowd} reconnects at once, all caught up", "s", seconds, Target("≤", 5)),
    ]


def _costs(ground: Ground, names: list[str], plan: Plan) -> list[Figure]:
    sockets = uvloop.run(idle(ground, STREAMS, 5, socket=True))
    more, few, many = list[float](), 0.0, 0.0
    for _ in range(plan.repetitions):
        few = uvloop.run(watched_apart(ground, names[:1], 500))
        many = uvloop.run(watched_apart(ground, names, 500))
        more.append((many - few) / 1e3)
    crowd = plan.count(10_000)
    size, share = uvloop.run(idle(ground, crowd, max(plan.seconds, 15)))
    return [
        Figure(
            f"an event beside {len(names)} watchers of others",
            "ms",
            more,
            Target("≤", 0.5),
            f"the command and all: {many:.0f} µs, with one watcher {few:.0f} µs",
        ),
        Figure("an idle WebSocket", "KiB", [sockets[0]], Target("≤", 40)),
        Figure(f"an idle SSE stream of {crowd}", "KiB", [size], Target("≤", 20)),
        Figure(f"{crowd} idle streams", "% of a core", [share], Target("≤", 2)),
    ]
