"""Measures lists, searches and analytics over 100 000 executions, with four clients."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import NamedTuple
from urllib.parse import quote

import orjson
import uvloop

from bench.client import Load, run_load
from bench.machine import Meter
from bench.measurements import Measurement, Report, Target
from bench.plan import Plan
from bench.population import SERVICES, Service
from bench.stand import Server, Stand
from bench.write import prepare, refuse_others

EXECUTIONS = 100_000
CLIENTS = 4
LAST_PAGE = 1_000
AROUND = 8
"""Pages up to the last one that are requested in turn, so that not the same page is always cached."""
ENDED = {"status": {"$in": ["completed", "failed"]}}
LATER = {"metadata.createdAt": {"$gte": "2000-01-01T00:00:00.000Z"}}
FREE = {"metadata.number": {"$gte": 100}}


class Query(NamedTuple):
    """A list that is read page by page."""

    name: str
    method: str
    path: str
    body: object = None

    def request(self, service: Service, limit: int, cursor: str | None) -> bytes:
        joint = "&" if "?" in self.path else "?"
        after = f"&cursor={quote(cursor)}" if cursor else ""
        return service.request(self.method, f"{self.path}{joint}limit={limit}{after}", self.body)


QUERIES = (
    Query("list", "GET", "/executions"),
    Query("list of one status", "GET", "/executions?status=completed"),
    Query("find by status and time", "POST", "/executions/find", {**ENDED, **LATER}),
    Query("find by a free attribute", "POST", "/executions/find", {**ENDED, **FREE}),
)
ANALYTICS = ("", "?by=status", "?by=day", f"?service={SERVICES[0]}&by=assignee")


def measure(stand: Stand, plan: Plan, report: Report) -> None:
    """Measure the first and the thousandth page of each query, then the analytics."""
    service, server = stand.once("lives", lambda: populate(stand, plan))
    limit = plan.count(50)  # as many pages, whatever the number of executions
    measurements: list[Measurement] = []
    for query in QUERIES:
        first, last = uvloop.run(pages(service, query, limit))
        measurements += _time(stand, plan, server, f"{query.name}, first page", [first])
        measurements += _time(stand, plan, server, f"{query.name}, page {LAST_PAGE}", last)
    for parameters in ANALYTICS:
        requests = [service.request("GET", f"/analytics/executions{parameters}")]
        measurements += _time(stand, plan, server, f"analytics{parameters}", requests)
    report.add(
        f"Reading among {plan.count(EXECUTIONS)} executions, {CLIENTS} clients", measurements
    )


def populate(stand: Stand, plan: Plan) -> tuple[Service, Server]:
    """Start a service and record all those executions."""
    service, server = prepare(stand, "lives")

    async def live() -> None:
        await service.visible(await service.populate(plan.count(EXECUTIONS)))

    uvloop.run(live())
    return service, server


async def pages(service: Service, query: Query, limit: int) -> tuple[bytes, list[bytes]]:
    """Return the request of the first page, and those of the last pages up to the thousandth, by following cursors."""
    first = query.request(service, limit, None)
    requests = [first]
    async with service.connect() as connection:
        for _ in range(LAST_PAGE - 1):
            page = orjson.loads((await connection.call(requests[-1])).body)
            if page.get("nextCursor") is None:
                raise RuntimeError(f"{query.name} has only {len(requests)} pages")
            requests.append(query.request(service, limit, page["nextCursor"]))
    return first, requests[-AROUND:]


def _time(
    stand: Stand, plan: Plan, server: Server, name: str, requests: Sequence[bytes]
) -> list[Measurement]:
    loads: list[Load] = []
    for _ in range(plan.repetitions):
        meter = Meter(server=server.pid, PostgreSQL=stand.postgres_pid)
        each = [(server.port, cycle(requests)) for _ in range(CLIENTS)]
        loads.append(uvloop.run(run_load(each, plan.seconds / 2, warm_up=0.5)))
        refuse_others(loads[-1])
        costs = meter.costs().per(round(loads[-1].rate * (plan.seconds / 2 + 0.5)))
    return [
        Measurement(
            f"{name}, p50", "ms", [1e3 * load.percentile(0.5) for load in loads], None, costs
        ),
        Measurement(
            f"{name}, p99", "ms", [1e3 * load.percentile(0.99) for load in loads], Target("≤", 30)
        ),
    ]
