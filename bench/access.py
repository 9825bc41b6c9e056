"""Measures the cost of the access log: the same reads by a server that records them and by one that does not, in turns.

Both servers serve the same log. The one without the access log is made only for this measurement (`bench/unrecorded.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from typing import NamedTuple

import uvloop

from bench.client import Load, run_load
from bench.machine import Meter
from bench.measurements import Measurement, Report, Target
from bench.plan import Plan
from bench.population import Service
from bench.stand import Server, Stand
from bench.write import refuse_others

EXECUTIONS = 1_000
PAGE = 50


class Reads(NamedTuple):
    """A kind of read, and the number of connections that send it."""

    name: str
    path: str
    connections: int
    bounded: bool = True
    """Whether the loss has a target. A single reader waits for a commit for each read, so its loss has none."""


READS = (
    Reads("one execution", "/executions/{}", 64),
    Reads("one execution", "/executions/{}", 1, bounded=False),
    Reads("status of one", "/executions/{}/status", 64),
    Reads(f"list of {PAGE}", f"/executions?limit={PAGE}", 16),
)


class Servers(NamedTuple):
    """The server that records reads, the one that does not, and the executions that both serve."""

    recording: Server
    bare: Server
    service: Service
    names: Sequence[str]


def measure(stand: Stand, plan: Plan, report: Report) -> None:
    """Measure each kind of read on both servers in turns."""
    server = stand.serve(conninfo := stand.database("access"))
    service = Service(server.port, stand.token)
    uvloop.run(service.prepare())
    names = uvloop.run(service.running("read", EXECUTIONS))
    bare = stand.serve(conninfo, "--no-work", module="bench.unrecorded")
    servers = Servers(server, bare, service, names)
    measurements = [
        measurement for reads in READS for measurement in _compare(stand, plan, servers, reads)
    ]
    report.add("Reads with the access log, and without it", measurements)
    stand.stop(bare)
    stand.stop(server)


def _compare(stand: Stand, plan: Plan, servers: Servers, reads: Reads) -> list[Measurement]:
    requests = [servers.service.request("GET", reads.path.format(name)) for name in servers.names]
    loads: dict[int, list[Load]] = {servers.recording.pid: [], servers.bare.pid: []}
    costs = dict.fromkeys(loads, "")
    for _ in range(plan.repetitions):
        for target in (servers.bare, servers.recording):
            each = [
                (target.port, cycle([*islice(requests, nth, None), *requests[:nth]]))
                for nth in range(reads.connections)
            ]
            meter = Meter(server=target.pid, PostgreSQL=stand.postgres_pid)
            load = uvloop.run(run_load(each, plan.seconds))
            refuse_others(load)
            loads[target.pid].append(load)
            costs[target.pid] = meter.costs().per(round(load.rate * (plan.seconds + 1)))
    return _measurements(reads, loads, costs)


def _measurements(
    reads: Reads, loads: dict[int, list[Load]], costs: dict[int, str]
) -> list[Measurement]:
    name = f"{reads.name}, {reads.connections} connections"
    (ours, our_cost), (theirs, their_cost) = ((loads[pid], costs[pid]) for pid in loads)
    lost = [100 * (1 - one.rate / other.rate) for one, other in zip(ours, theirs, strict=True)]
    return [
        Measurement(f"{name}, unrecorded", "reads/s", [e.rate for e in theirs], None, their_cost),
        Measurement(f"{name}, recorded", "reads/s", [e.rate for e in ours], None, our_cost),
        Measurement(f"{name}, p50 unrecorded", "ms", [1e3 * e.percentile(0.5) for e in theirs]),
        Measurement(f"{name}, p50 recorded", "ms", [1e3 * e.percentile(0.5) for e in ours]),
        Measurement(f"{name}, lost", "%", lost, Target("≤", 30) if reads.bounded else None),
    ]
