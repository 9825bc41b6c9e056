"""Measures a service with a million executions: how fast it fills, the times of lists, and its size.

Unlike the other sections it measures no limit beside the product, and each list is loaded once: figures
of two runs compare only where both had the machine to themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle

import psycopg
import uvloop

from bench import list_queries, many_lives
from bench.client import run_load
from bench.machine import children, command_line, shared_memory
from bench.measurements import Measurement, Report, Target
from bench.plan import Plan
from bench.population import Service
from bench.read import CLIENTS, LAST_PAGE, Query, pages
from bench.stand import Server, Stand

TENTHS = 10
A_PAGE = 50
SMALLEST = 20_000
"""The executions below which the list of a service would have less than a thousand pages."""
SHORT = 0.2
"""The share of a load's seconds for which each list is loaded, because there are more than a hundred lists."""
FAR = "SELECT head.position - min(b.position), head.position FROM executions.head, executions.bookmarks AS b GROUP BY 2"
SIZES = """SELECT CASE WHEN c.relname LIKE 'executions%' THEN 'rows of the view of executions'
        WHEN c.relname LIKE 'execution%' THEN 'documents and states of it'
        WHEN c.relname LIKE 'analytics%' THEN 'analytics' WHEN c.relname = 'events' THEN 'events'
        ELSE 'the rest' END, sum(pg_total_relation_size(c.oid))::float8
    FROM pg_class AS c WHERE c.relnamespace = 'executions'::regnamespace AND c.relkind = 'r'
    GROUP BY 1 ORDER BY 1"""


def section(executions: int) -> Callable[[Stand, Plan, Report], None]:
    """Return the section for so many executions."""

    def measure(stand: Stand, plan: Plan, report: Report) -> None:
        count = max(plan.count(executions), SMALLEST)
        conninfo = stand.database("million")
        server = stand.serve(conninfo)
        service = Service(server.port, stand.token)
        report.add(f"Filling with {count} executions", _fill(service, conninfo, count))
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
            report.add("Size", _sizes(connection, count))
        report.add("Memory", _memory(server))
        title = f"Lists among {count} executions, {CLIENTS} clients"
        report.add(title, list(_lists(service, plan, report, min(A_PAGE, count // SMALLEST))))
        report.add("Maintenance", _maintenance(stand, server, conninfo))

    return measure


def _fill(service: Service, conninfo: str, count: int) -> list[Measurement]:
    measurements = []
    uvloop.run(many_lives.prepare(service))
    for tenth in range(TENTHS):
        first, until = (count * number // TENTHS for number in (tenth, tenth + 1))
        commands = sum(1 for _ in many_lives.lives(first, until, count))
        started = time.perf_counter()
        last = uvloop.run(service.send(many_lives.lives(first, until, count)))
        rate = commands / (time.perf_counter() - started)
        note = f"the views are {_far(conninfo)[0]} events behind"
        measurements.append(
            Measurement(f"commands, tenth {tenth + 1}", "per second", [rate], None, note)
        )
    started = time.perf_counter()
    uvloop.run(service.visible(last))
    return [
        *measurements,
        Measurement("until the views are there", "s", [time.perf_counter() - started]),
    ]


def _far(conninfo: str) -> tuple[int, int]:
    """Return the lag of the slowest view in events, and the last position of the log."""
    with psycopg.connect(conninfo) as connection:
        row = connection.execute(FAR).fetchone()
    assert row is not None
    return row[0], row[1]


def _sizes(connection: psycopg.Connection, count: int) -> list[Measurement]:
    row = connection.execute("SELECT count(*) FROM executions.events").fetchone()
    assert row is not None
    sizes = connection.execute(SIZES).fetchall()
    measurements = [Measurement(name, "bytes an execution", [size / count]) for name, size in sizes]
    whole = sum(size for _, size in sizes)
    return [*measurements, Measurement("everything", "bytes an event", [whole / row[0]])]


def _memory(server: Server) -> list[Measurement]:
    """Measure the memory of the service after all commands, for each process and in total."""
    work = [pid for pid in children(server.pid) if "api.work_process" in command_line(pid)]
    sizes = {"server": [server.pid], "work process": work, "service": [server.pid, *work]}
    return [
        Measurement(
            name,
            "MiB",
            [sum(map(shared_memory, pids)) / 2**20],
            Target("≤", 200) if name == "service" else None,
            "PSS; PostgreSQL is beside it",
        )
        for name, pids in sizes.items()
    ]


def _lists(service: Service, plan: Plan, report: Report, limit: int) -> Iterator[Measurement]:
    for query in list_queries.deep():
        first, last = uvloop.run(pages(service, query, limit))
        yield from _time(service, plan, report, f"{query.name}, first page", [first])
        yield from _time(service, plan, report, f"{query.name}, page {LAST_PAGE}", last)
    for query in list_queries.others():
        yield from _time(service, plan, report, query.name, [_first(service, query)])


def _first(service: Service, query: Query) -> bytes:
    return query.request(service, A_PAGE, None)


def _time(
    service: Service, plan: Plan, report: Report, name: str, requests: Sequence[bytes]
) -> Iterator[Measurement]:
    each = [(service.port, cycle(requests)) for _ in range(CLIENTS)]
    load = uvloop.run(run_load(each, plan.seconds * SHORT, warm_up=0.2))
    if load.others:
        report.notes.append(f"{name}: answered {dict(load.others)}")
    for share in (0.5, 0.99):
        target = Target("≤", 30) if share > 0.5 else None
        shown = f"{name}, p{share * 100:.0f}"
        yield Measurement(shown, "ms", [1e3 * load.percentile(share)], target)


def _maintenance(stand: Stand, server: Server, conninfo: str) -> list[Measurement]:
    stand.stop(server)
    started = time.perf_counter()
    stand.serve(conninfo)
    ready = time.perf_counter() - started
    return [
        Measurement("start until ready", "s", [ready]),
        Measurement(
            "executions rebuild executions", "s", [stand.run(conninfo, "rebuild", "executions")]
        ),
        Measurement("executions verify", "s", [stand.run(conninfo, "verify")]),
    ]
