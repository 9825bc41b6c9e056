"""Measures the list of a customer who has one of a hundred executions, beside the same list of the administrator.

The newest executions are created over HTTP as running ones, and all but every ninth are cancelled. The others are copies
of the rows of ended executions, with earlier times, in the table that lists search. No requested page shows the copies,
but they are filtered, sorted and counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import cycle
from typing import NamedTuple

import psycopg
import uvloop

from bench import many_lives
from bench.client import Load, run_load
from bench.machine import Meter
from bench.measurements import Measurement, Report, Target
from bench.plan import Plan
from bench.population import DAYS, Item, Service, life
from bench.stand import Server, Stand
from bench.write import refuse_others
from projections.executions.tables import ROW

CLIENTS = (1, 4)
WARM_UP = 0.5
THEIRS = "the customer's"
MADE = 20_000
CUSTOMER = many_lives.CUSTOMERS[5]
COPIED = {"id": "e.id || '~' || n", "created_at": f"e.created_at - n * interval '{DAYS} days'"}
COPY = f"""INSERT INTO executions.executions_ended ({", ".join(ROW)})
    SELECT {", ".join(COPIED.get(name, f"e.{name}") for name in ROW)}
    FROM executions.executions_ended AS e, generate_series(1, %s) AS n"""  # noqa: S608
OWN = "SELECT count(*) FROM executions.executions WHERE customer = %s"
LISTS = {
    "list of 50": "limit=50",
    "list of 50 with count and facets": "limit=50&count=true&facets=status,service",
}


class Caller(NamedTuple):
    """A server, a client of it with its token, and the query parameters that the client adds."""

    server: Server
    service: Service
    given: str


def section(executions: int) -> Callable[[Stand, Plan, Report], None]:
    """Return the section for so many executions."""

    def measure(stand: Stand, plan: Plan, report: Report) -> None:
        conninfo = stand.database("scoped")
        server = stand.serve(conninfo)
        service = Service(server.port, stand.token)
        count, filled = _fill(service, conninfo, plan.count(executions))
        report.add(f"Filling with {count} executions", filled)
        asked = {"role": "customer", "party": CUSTOMER}
        made = uvloop.run(service.call("POST", "/keys", asked, 201))
        customer = Service(server.port, str(made.json()["key"]))
        callers = {
            "the administrator's, by a filter": Caller(server, service, f"customer={CUSTOMER}&"),
            THEIRS: Caller(server, customer, ""),
        }
        measurements = [
            Measurement("share of the customer", "%", [100 * _number(conninfo) / count])
        ]
        for name, query in LISTS.items():
            for clients in CLIENTS:
                measurements += _time(stand, plan, callers, (name, query), clients)
        report.add(f"Lists of a customer among {count} executions", measurements)
        stand.stop(server)

    return measure


def _fill(service: Service, conninfo: str, count: int) -> tuple[int, list[Measurement]]:
    """Create the executions; return their number, and the measurements of the time that it took."""
    made = min(MADE, count)
    uvloop.run(many_lives.prepare(service))
    started = time.perf_counter()
    uvloop.run(service.visible(uvloop.run(service.send(_lives(made)))))
    seen = time.perf_counter() - started
    with psycopg.connect(conninfo, autocommit=True) as connection:
        copied = connection.execute(COPY, (count // made - 1,)).rowcount
        connection.execute("VACUUM ANALYZE")
    filled = time.perf_counter() - started
    return made + copied, [
        Measurement(f"{made} made, until lists have them", "s", [seen]),
        Measurement(f"{copied} copied", "s", [filled - seen]),
    ]


def _lives(count: int) -> Iterator[Item]:
    every = timedelta(days=DAYS) / count
    for number in range(count):
        begun = many_lives.FIRST_DAY + number * every
        created, *_, last = life(number, begun)
        yield created | many_lives.creation(number)
        if number % 9:
            cancelled = {"command": "cancel", "execution": created["execution"]}
            yield {**cancelled, "reason": "not needed", "occurredAt": last["occurredAt"]}


def _number(conninfo: str) -> int:
    """Return the number of executions of the customer."""
    with psycopg.connect(conninfo) as connection:
        row = connection.execute(OWN, (CUSTOMER,)).fetchone()
    assert row is not None
    return int(row[0])


def _time(
    stand: Stand, plan: Plan, callers: dict[str, Caller], asked: tuple[str, str], clients: int
) -> Iterator[Measurement]:
    name, query = asked
    loads: dict[str, list[Load]] = {whose: [] for whose in callers}
    costs = dict.fromkeys(callers, "")
    for _ in range(plan.repetitions):
        for whose, (server, service, given) in callers.items():
            request = service.request("GET", f"/executions?{given}{query}")
            each = [(service.port, cycle([request])) for _ in range(clients)]
            meter = Meter(server=server.pid, PostgreSQL=stand.postgres_pid)
            load = uvloop.run(run_load(each, plan.seconds, warm_up=WARM_UP))
            refuse_others(load)
            loads[whose].append(load)
            costs[whose] = meter.costs().per(round(load.rate * (plan.seconds + WARM_UP)))
    for whose, found in loads.items():
        shown = f"{name}, {whose}, {clients} at once"
        target = Target("≤", 30) if whose == THEIRS else None
        p50, p99 = ([1e3 * load.percentile(share) for load in found] for share in (0.5, 0.99))
        yield Measurement(f"{shown}, p50", "ms", p50, None, costs[whose])
        yield Measurement(f"{shown}, p99", "ms", p99, target)
