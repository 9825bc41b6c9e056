"""The list of a customer to whom one of a hundred executions belongs, beside the same list of the administrator.

The executions are created as they run, and all but every ninth are cancelled: two commands each, so that many can be made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import cycle

import psycopg
import uvloop

from bench import many_lives
from bench.client import Load, run_load
from bench.figures import Figure, Report, Target
from bench.plan import Plan
from bench.population import DAYS, Item, Service, life
from bench.stand import Stand
from bench.write import refuse_others

CLIENTS = (1, 4)
CUSTOMER = many_lives.CUSTOMERS[5]
LISTS = {
    "list of 50": "limit=50",
    "list of 50 with count and facets": "limit=50&count=true&facets=status,service",
}


def section(executions: int) -> Callable[[Stand, Plan, Report], None]:
    """The section for so many executions."""

    def measure(stand: Stand, plan: Plan, report: Report) -> None:
        count = plan.count(executions)
        conninfo = stand.database("scoped")
        server = stand.serve(conninfo)
        service = Service(server.port, stand.token)
        report.add(f"Filling with {count} executions", _filled(service, conninfo, count))
        made = uvloop.run(
            service.call("POST", "/keys", {"role": "customer", "party": CUSTOMER}, 201)
        )
        customer = Service(server.port, str(made.json()["key"]))
        share = uvloop.run(_total(customer)) / count
        figures = [Figure("share of the customer", "%", [100 * share])]
        for name, query in LISTS.items():
            for clients in CLIENTS:
                figures += _timed(plan, service, customer, (name, query), clients)
        report.add(f"Lists of a customer among {count} executions", figures)
        stand.stop(server)

    return measure


def _filled(service: Service, conninfo: str, count: int) -> list[Figure]:
    uvloop.run(many_lives.prepare(service))
    started = time.perf_counter()
    last = uvloop.run(service.send(_lives(count)))
    sent = time.perf_counter() - started
    uvloop.run(service.visible(last))
    seen = time.perf_counter() - started
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    return [
        Figure("executions", "per second", [count / sent]),
        Figure("until the lists have them", "s", [seen]),
    ]


def _lives(count: int) -> Iterator[Item]:
    every = timedelta(days=DAYS) / count
    for number in range(count):
        begun = many_lives.FIRST_DAY + number * every
        created, *_, last = life(number, begun)
        yield created | many_lives.created(number)
        if number % 9:
            cancelled = {"command": "cancel", "execution": created["execution"]}
            yield {**cancelled, "reason": "not needed", "occurredAt": last["occurredAt"]}


async def _total(customer: Service) -> int:
    """How many executions a customer sees."""
    answer = await customer.call("GET", "/executions?limit=1&count=true")
    return int(str(answer.json()["total"]))


def _timed(
    plan: Plan, service: Service, customer: Service, asked: tuple[str, str], clients: int
) -> Iterator[Figure]:
    name, query = asked
    requests = {
        "the administrator's, by a filter": service.request(
            "GET", f"/executions?customer={CUSTOMER}&{query}"
        ),
        "the customer's": customer.request("GET", f"/executions?{query}"),
    }
    loads: dict[str, list[Load]] = {whose: [] for whose in requests}
    for _ in range(plan.repetitions):
        for whose, request in requests.items():
            each = [(service.port, cycle([request])) for _ in range(clients)]
            loads[whose].append(uvloop.run(run_load(each, plan.seconds, warm_up=0.5)))
            refuse_others(loads[whose][-1])
    for whose, found in loads.items():
        shown = f"{name}, {whose}, {clients} at once"
        target = Target("≤", 30) if whose == "the customer's" else None
        yield Figure(f"{shown}, p50", "ms", [1e3 * load.percentile(0.5) for load in found])
        yield Figure(f"{shown}, p99", "ms", [1e3 * load.percentile(0.99) for load in found], target)
