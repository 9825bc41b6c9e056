"""Measures many idle logs in one process: the time of a start, their costs, and the time of the first request to one."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence

import psycopg
import uvloop

from bench.machine import busy_seconds, children, command_line, cpu_seconds, shared_memory
from bench.measurements import Measurement, Report, Target
from bench.plan import Plan
from bench.population import Service
from bench.stand import Server, Stand

LOGS = 1_000
MAKES_WITHIN, STARTS_WITHIN = 7_200.0, 600.0
IDLE_AFTER = 80.0
"""Seconds after which open logs and unused connections are closed."""
AWAKE = 20
"""Logs that are requested, one after the other."""
MB = 1e6
OWNED = """SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2
    AND objid = (hashtext('all work')::bigint & 4294967295)::oid"""
CONNECTIONS = """SELECT count(*) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"""


def measure(stand: Stand, plan: Plan, report: Report) -> None:
    """Measure a server with a single log, and one with many logs beside it."""
    count = plan.count(LOGS)
    names = [f"log-{number:04}" for number in range(count)]
    file, conninfo = stand.folder / "logs.json", stand.database("resting")
    file.write_text("{}")
    alone = _begin(stand, conninfo)
    time.sleep(IDLE_AFTER)
    memory, measurements = _cost(alone, conninfo, 0)
    report.add("Idle, with no other log", measurements)
    file.write_text(json.dumps({name: {"schema": f"x_{name.replace('-', '_')}"} for name in names}))
    made = _until_owned(conninfo, count, MAKES_WITHIN)
    stand.stop(alone)
    begun = time.perf_counter()
    server = _begin(stand, conninfo)
    ready = time.perf_counter() - begun
    worked = _until_owned(conninfo, count, STARTS_WITHIN) + ready
    time.sleep(IDLE_AFTER)
    _, measurements = _cost(server, conninfo, count, memory)
    began = [
        Measurement("a log made, two at once", "s", [made / count]),
        Measurement("start until requests are answered", "s", [ready]),
        Measurement("start until all logs are worked for", "s", [worked]),
    ]
    report.add(f"Idle, with {count} logs", [*began, *measurements])
    report.add("The first request to one of them", _ask(stand, server, names[:AWAKE]))
    stand.stop(server)


def _begin(stand: Stand, conninfo: str) -> Server:
    return stand.serve(conninfo, LOG="main", LOGS=str(stand.folder / "logs.json"))


def _until_owned(conninfo: str, count: int, within: float) -> float:
    """Wait until so many logs have a process that does their work; return the seconds that it took."""
    begun = time.perf_counter()
    with psycopg.connect(conninfo, autocommit=True) as connection:
        while (owned := _number(connection, OWNED)) < count:
            elapsed = time.perf_counter() - begun
            if elapsed > within:
                raise RuntimeError(f"{owned} of {count} logs are worked for after {within:g} s")
            time.sleep(min(10.0, 0.01 * count))
    return time.perf_counter() - begun


def _number(connection: psycopg.Connection, query: str) -> int:
    found = connection.execute(query.encode()).fetchone()
    assert found is not None
    return int(found[0])


def _cost(
    server: Server, conninfo: str, count: int, before: float = 0.0
) -> tuple[float, Sequence[Measurement]]:
    """Return the memory of server and work process together in MB, and the measurements of an idle period."""
    works = next(pid for pid in children(server.pid) if "api.work_process" in command_line(pid))
    pids = {"server": server.pid, "work process": works}
    memory = {name: shared_memory(pid) / MB for name, pid in pids.items()}
    took = {name: _own(pid, works) for name, pid in pids.items()}
    begun, busy = time.perf_counter(), busy_seconds()
    time.sleep(IDLE_AFTER)
    elapsed, others = time.perf_counter() - begun, busy_seconds() - busy
    both = sum(memory.values())
    measurements = [
        *(Measurement(f"memory of the {name}", "MB", [size]) for name, size in memory.items()),
        *(
            Measurement(
                f"{name}, of a core", "%", [100 * (_own(pid, works) - took[name]) / elapsed]
            )
            for name, pid in pids.items()
        ),
        Measurement("the machine, of a core", "%", [100 * others / elapsed]),
    ]
    if count:
        measurements.append(Measurement("memory of both", "MB", [both], Target("≤", 1_073)))
        measurements.append(
            Measurement("memory a log", "MB", [(both - before) / count], Target("≤", 1))
        )
    with psycopg.connect(conninfo, autocommit=True) as connection:
        measurements.append(
            Measurement("connections of all", "", [_number(connection, CONNECTIONS)])
        )
    return both, measurements


def _own(pid: int, works: int) -> float:
    """Return the CPU seconds of a process; those of the work process are not counted as the server's."""
    return cpu_seconds(pid) - (cpu_seconds(works) if pid != works else 0.0)


def _ask(stand: Stand, server: Server, names: Sequence[str]) -> Sequence[Measurement]:
    first, again = (uvloop.run(_times(stand, server, names)) for _ in range(2))
    time.sleep(IDLE_AFTER)
    reopened = uvloop.run(_times(stand, server, names))
    shown = {"never opened before": first, "open": again, "closed again": reopened}
    return [
        Measurement(f"a log that was {name}, p50", "ms", [statistics.median(times)])
        for name, times in shown.items()
    ]


async def _times(stand: Stand, server: Server, names: Sequence[str]) -> list[float]:
    times = []
    async with Service(server.port, stand.token).connect() as connection:
        for name in names:
            request = Service(server.port, stand.token).request("GET", "/executions")
            path = f"GET /logs/{name}/api".encode()
            begun = time.perf_counter()
            await connection.call(request.replace(b"GET /api", path), 200)
            times.append(1e3 * (time.perf_counter() - begun))
    return times
