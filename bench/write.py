"""Measures recording: rows in PostgreSQL, commands to the bus alone, and commands over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import cycle

import uvloop

from bench.callers import Called
from bench.client import Load, run_load
from bench.growth import bytes_per_event
from bench.machine import Meter
from bench.measurements import Measurement, Report, Target
from bench.pgbench import Kind, PgBench
from bench.plan import Plan
from bench.population import A_CALL, Service, check_all
from bench.stand import ROOT, Server, Stand

CONNECTIONS = 64
ALONE = (64, 256)
PGBENCH: tuple[tuple[Kind, int], ...] = (("free", 64), ("free", 256), ("dense", 64))
MANY_CONNECTIONS = 3
EVENTS_TO_GROW = 100_000
Requests = tuple[int, Iterator[bytes]]


def measure(stand: Stand, plan: Plan, report: Report) -> None:
    """Measure all parts, one after the other."""
    report.add("Log", [growth(stand, plan)])
    report.add("Recording, in process", alone(stand, plan))
    service, server = prepare(stand, "single")
    report.add("Single commands over HTTP", over_http(stand, plan, service, server))
    report.add("Many commands a call", many(stand, plan, service, server))
    stand.stop(server)
    report.add("Two processes, the same executions", measure_shared(stand, plan))


def prepare(stand: Stand, database: str) -> tuple[Service, Server]:
    """Start a service on an empty database, and create its catalog."""
    server = stand.serve(stand.database(database))
    service = Service(server.port, stand.token)
    uvloop.run(service.prepare())
    return service, server


def growth(stand: Stand, plan: Plan) -> Measurement:
    size = uvloop.run(bytes_per_event(stand.database("growth"), plan.count(EVENTS_TO_GROW)))
    return Measurement("event of 240 bytes of payload", "bytes", [size], Target("≤", 650))


def alone(stand: Stand, plan: Plan) -> list[Measurement]:
    """Measure pgbench and the bus in turns, so that other load of the machine affects both."""
    bench, conninfo = PgBench(stand.database("pgbench"), stand.folder), stand.database("bus")
    rates: dict[str, list[float]] = {}
    called: dict[int, list[Called]] = {clients: [] for clients in ALONE}
    for _ in range(plan.repetitions):
        for kind, clients in PGBENCH:
            rate = bench.rate(kind, clients, plan.seconds)
            rates.setdefault(f"pgbench, {kind} positions, {clients} clients", []).append(rate)
        for clients in ALONE:
            called[clients].append(call_bus(stand, conninfo, clients, plan.seconds))
    measurements = [Measurement(name, "rows/s", samples) for name, samples in rates.items()]
    for clients, calls in called.items():
        measurements += _bus_measurements(
            clients, calls, rates[f"pgbench, free positions, {clients} clients"]
        )
    return measurements


def call_bus(stand: Stand, conninfo: str, callers: int, seconds: float) -> Called:
    command = [sys.executable, "-P", "-m", "bench.callers"]
    arguments = [str(callers), str(seconds), str(stand.postgres_pid)]
    done = subprocess.run(
        command + arguments, input=conninfo, capture_output=True, text=True, check=False, cwd=ROOT
    )
    if done.returncode:
        raise RuntimeError(f"the bus alone: {done.stderr[-2000:]}")
    return Called(**json.loads(done.stdout))


def _bus_measurements(
    callers: int, calls: Sequence[Called], limit: Sequence[float]
) -> list[Measurement]:
    name = f"bus alone, {callers} callers"
    goal = Target("≥", 25_000) if callers == max(ALONE) else None
    ratios = [call.rate / rate for call, rate in zip(calls, limit, strict=True)]
    return [
        Measurement(name, "commands/s", [call.rate for call in calls], goal, calls[-1].cpu),
        Measurement(f"{name}, p50", "ms", [call.p50 * 1e3 for call in calls]),
        Measurement(f"{name}, p99", "ms", [call.p99 * 1e3 for call in calls]),
        Measurement(f"{name} : pgbench, free positions", "x", ratios),
    ]


def over_http(stand: Stand, plan: Plan, service: Service, server: Server) -> list[Measurement]:
    """Measure the bare echo and the service in turns, with the same requests."""
    executions = uvloop.run(service.running("single", CONNECTIONS))
    requests = [[service.progress(name, value) for value in (40, 60)] for name in executions]
    sample = uvloop.run(
        service.call("POST", f"/executions/{executions[0]}/progress", {"progress": 1})
    )
    echo = stand.echo(sample.body)
    echoes: list[tuple[Load, str]] = []
    answers: list[tuple[Load, str]] = []
    for _ in range(plan.repetitions):
        for target, loads in ((echo, echoes), (server, answers)):
            each = [(target.port, cycle(pair)) for pair in requests]
            loads.append(run(stand, plan, each, [target]))
    stand.stop(echo)
    ratios = [a.rate / e.rate for (a, _), (e, _) in zip(answers, echoes, strict=True)]
    return [
        *load_measurements(f"bare JSON echo, {len(sample.body)} bytes", echoes, None, None),
        *load_measurements("POST …/progress", answers, None, Target("≤", 50)),
        Measurement("POST …/progress : bare echo", "%", [100 * r for r in ratios], Target("≥", 45)),
    ]


def many(stand: Stand, plan: Plan, service: Service, server: Server) -> list[Measurement]:
    """Measure `POST /commands`; each call has a command for each of 500 executions of its own."""
    names = uvloop.run(service.running("many", A_CALL * MANY_CONNECTIONS))

    def body(nth: int, progress: int) -> bytes:
        mine = names[nth * A_CALL : (nth + 1) * A_CALL]
        word = {"command": "updateProgress", "progress": progress}
        return service.request("POST", "/commands", [{**word, "execution": name} for name in mine])

    samples, costs = [], ""
    for _ in range(plan.repetitions):
        calls = [
            (server.port, cycle([body(nth, 40), body(nth, 60)])) for nth in range(MANY_CONNECTIONS)
        ]
        meter = Meter(server=server.pid, PostgreSQL=stand.postgres_pid)
        load = uvloop.run(
            run_load(calls, plan.seconds, inspect=lambda body: check_all(body, A_CALL))
        )
        refuse_others(load)
        samples.append(load.inspected / load.seconds)
        costs = meter.costs().per(round(load.inspected * (plan.seconds + 1) / plan.seconds))
    name = f"POST /commands, {A_CALL} a call, {MANY_CONNECTIONS} connections"
    return [Measurement(name, "commands/s", samples, Target("≥", 12_000), costs)]


def measure_shared(stand: Stand, plan: Plan) -> list[Measurement]:
    """Measure two servers on one database; every connection sends commands to all of the executions in turn."""
    service, first = prepare(stand, "shared")
    second = stand.serve(stand.conninfo("shared"))
    names = uvloop.run(service.running("shared", CONNECTIONS))
    loads = []
    for _ in range(plan.repetitions):
        each = [(s.port, shared_requests(service, names, n)) for n, s in turns(first, second)]
        loads.append(run(stand, plan, each, [first, second]))
    for server in (first, second):
        stand.stop(server)
    return load_measurements(
        "POST …/progress on either", loads, Target("≥", 5_000), Target("≤", 100)
    )


def turns(*servers: Server) -> Iterator[tuple[int, Server]]:
    for nth in range(CONNECTIONS):
        yield nth, servers[nth % len(servers)]


def shared_requests(service: Service, names: Sequence[str], nth: int) -> Iterator[bytes]:
    """Return requests with values that no other connection sends, so that every command changes something."""
    order = [*names[nth:], *names[:nth]]
    return cycle([service.progress(name, nth + half) for half in (0, 0.5) for name in order])


def run(
    stand: Stand, plan: Plan, each: Sequence[Requests], servers: Sequence[Server]
) -> tuple[Load, str]:
    """Run one load; return it with the CPU time of an answer as text."""
    meter = Meter(server=[server.pid for server in servers], PostgreSQL=stand.postgres_pid)
    load = uvloop.run(run_load(each, plan.seconds))
    refuse_others(load)
    # The meter also counts the warm-up of a second, which is assumed to have the same rate of answers.
    return load, meter.costs().per(round(load.rate * (plan.seconds + 1)))


def refuse_others(load: Load) -> None:
    """Raise RuntimeError if a load had answers other than 200: then its measurements do not count."""
    if load.others:
        raise RuntimeError(f"answers other than 200: {dict(load.others)}")


def load_measurements(
    name: str, loads: Sequence[tuple[Load, str]], rate: Target | None, p99: Target | None
) -> list[Measurement]:
    return [
        Measurement(name, "requests/s", [load.rate for load, _ in loads], rate, loads[-1][1]),
        Measurement(f"{name}, p50", "ms", [1e3 * load.percentile(0.5) for load, _ in loads]),
        Measurement(f"{name}, p99", "ms", [1e3 * load.percentile(0.99) for load, _ in loads], p99),
    ]
