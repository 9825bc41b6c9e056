"""Measures the cost of rights, scope, sealing and the access log together: the same load on two services, in turns.

One service is the product, and the caller has the key of a provider. The other one neither seals content nor records
reads (`bare`), and the caller is its administrator, who has no scope. Each has a log of its own with the same executions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import NamedTuple

import uvloop

from bench.client import run_load
from bench.events import PROVIDER
from bench.machine import Meter
from bench.measurements import Measurement, Report, Target
from bench.plan import Plan
from bench.population import A_CALL, STEPS, Service
from bench.stand import Server, Stand
from bench.write import refuse_others

EXECUTIONS = 1_000
CONTENT = {"lead": "Ada Lovelace", "notes": "met at the conference; asked for an offer. " * 5}
NAMES = ("commands", "read")


class Side(NamedTuple):
    """A service, the client with the caller's token, and the executions that get commands and that are read."""

    server: Server
    caller: Service
    commanded: Sequence[str]
    read: Sequence[str]


class Kind(NamedTuple):
    """A kind of request: its requests for one execution, the number of connections, and the percentage of the rate that may
    be lost.
    """

    name: str
    requests: Callable[[Service, str], list[bytes]]
    connections: int
    most_lost: float
    is_read: bool = False


def _progress(service: Service, name: str) -> list[bytes]:
    return [service.progress(name, value) for value in (40, 60)]


def _checkpoint(service: Service, name: str) -> list[bytes]:
    path = f"/executions/{name}/checkpoints"
    return [service.request("POST", path, {"state": {**CONTENT, "turn": n}}) for n in (1, 2)]


def _one(service: Service, name: str) -> list[bytes]:
    return [service.request("GET", f"/executions/{name}")]


def _list(service: Service, _: str) -> list[bytes]:
    return [service.request("GET", "/executions?limit=50")]


KINDS = (
    Kind("POST …/progress", _progress, 64, 25),
    Kind("POST …/checkpoint, with content", _checkpoint, 64, 25),
    Kind("one execution, with content", _one, 64, 30, is_read=True),
    Kind("list of 50", _list, 16, 30, is_read=True),
)


def measure(stand: Stand, plan: Plan, report: Report) -> None:
    """Measure each kind of request on both services in turns."""
    ours, bare = _side(stand, "trusted", None), _side(stand, "bare", "bench.bare")
    measurements = [
        measurement for kind in KINDS for measurement in _compare(stand, plan, (bare, ours), kind)
    ]
    report.add("Rights, scope, sealing and the access log together", measurements)
    for side in (ours, bare):
        stand.stop(side.server)


def _side(stand: Stand, name: str, module: str | None) -> Side:
    server = stand.serve(stand.database(name), module=module)
    service = Service(server.port, stand.token)
    uvloop.run(service.prepare())
    commanded, read = (uvloop.run(service.running(each, EXECUTIONS)) for each in NAMES)
    for begin in range(0, EXECUTIONS, A_CALL // 2):
        part = read[begin : begin + A_CALL // 2]
        uvloop.run(service.send(item for name in part for item in _work(name)))
    if module is None:
        made = uvloop.run(
            service.call("POST", "/keys", {"role": "provider", "party": PROVIDER}, 201)
        )
        service = Service(server.port, str(made.json()["key"]))
    return Side(server, service, commanded, read)


def _work(execution: str) -> list[dict[str, object]]:
    step = {"execution": execution, "step": STEPS[0]}
    return [
        {**step, "command": "startStep", "input": CONTENT},
        {**step, "command": "completeStep", "output": CONTENT},
    ]


class Taken(NamedTuple):
    """The requests per second, the server's CPU seconds for each, and the costs as text."""

    rate: float
    cpu: float
    words: str


def _compare(stand: Stand, plan: Plan, sides: Sequence[Side], kind: Kind) -> list[Measurement]:
    taken: dict[int, list[Taken]] = {side.server.pid: [] for side in sides}
    for turn in range(plan.repetitions):
        for side in sides[:: -1 if turn % 2 else 1]:
            taken[side.server.pid].append(_take(stand, plan, side, kind))
    bare, ours = taken.values()
    pairs = list(zip(bare, ours, strict=True))
    name = f"{kind.name}, {kind.connections} connections"
    lost = [100 * (1 - with_.rate / without.rate) for without, with_ in pairs]
    by_cpu = [100 * (1 - without.cpu / with_.cpu) for without, with_ in pairs]
    return [
        Measurement(
            f"{name}, without", "requests/s", [each.rate for each in bare], None, bare[-1].words
        ),
        Measurement(
            f"{name}, with", "requests/s", [each.rate for each in ours], None, ours[-1].words
        ),
        Measurement(f"{name}, lost", "%", lost, Target("≤", kind.most_lost)),
        Measurement(f"{name}, lost by the CPU of the server", "%", by_cpu),
    ]


def _take(stand: Stand, plan: Plan, side: Side, kind: Kind) -> Taken:
    meter = Meter(server=side.server.pid, PostgreSQL=stand.postgres_pid)
    load = uvloop.run(run_load(_each(side, kind), plan.seconds))
    refuse_others(load)
    costs, count = meter.costs(), round(load.rate * (plan.seconds + 1))
    return Taken(load.rate, costs.of["server"] / count, costs.per(count))


def _each(side: Side, kind: Kind) -> list[tuple[int, cycle[bytes]]]:
    """Return the requests of each connection: commands to executions of its own, or reads of all in different orders."""
    names = side.read if kind.is_read else side.commanded
    port, requests = side.caller.port, [kind.requests(side.caller, name) for name in names]
    if not kind.is_read:
        return [(port, cycle(own)) for own in requests[: kind.connections]]
    reads = [request for own in requests for request in own]
    return [
        (port, cycle([*islice(reads, nth, None), *reads[:nth]])) for nth in range(kind.connections)
    ]
