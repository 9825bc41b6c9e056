"""The lists that are measured among a million executions: filters with and without hits, and orders."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from bench.many_lives import CUSTOMERS, FIRST_DAY, PROVIDERS, SERVICES
from bench.read import Query
from projections.executions.columns import FIELDS
from projections.executions.indexes import SORTED_BY
from projections.query.field_types import TEXT

FOUND: dict[str, Any] = {
    "$id": "execution-000471",
    "status": "failed",
    "service": SERVICES[3],
    "customer": CUSTOMERS[5],
    "provider": PROVIDERS[2],
    "priority": "urgent",
    "assignee.id": "agent-77",
    "error.code": "E3",
    "metadata.version": "1.5",
    "tags": "tag-1",
    "metadata.region": "region-4",
    "metadata.number": 777,
}
NOWHERE = "nowhere"
THOUSAND = [f"{NOWHERE}-{number}" for number in range(1_000)]
COMBINED: dict[str, Any] = {
    "$or, a part has hits": {"$or": [{"error.code": NOWHERE}, {"assignee.id": "agent-5"}]},
    "$or without hits": {"$or": [{"error.code": NOWHERE}, {"metrics.duration": {"$gte": 1e12}}]},
    "$not": {"$not": {"status": "completed"}},
    "1 000 values": {"assignee.id": {"$in": THOUSAND}},
    "1 000 values of a free attribute": {"metadata.region": {"$in": THOUSAND}},
    "a free attribute above": {"metadata.number": {"$gte": 100}},
}
SORTED_WITHIN: tuple[tuple[dict[str, Any], str], ...] = (
    ({"status": "failed"}, "-metrics.duration"),
    ({"service": SERVICES[3]}, "-metrics.cost"),
    ({"customer": CUSTOMERS[5]}, "-metadata.updatedAt"),
    ({}, "-priority,metadata.createdAt"),
)
DAYS = [f"{FIRST_DAY + timedelta(days=day):%Y-%m-%dT%H:%M:%SZ}" for day in (10, 40)]
NOONS = [day.replace("T00:", "T12:") for day in DAYS]
COUNTED = (
    "",
    "status=completed",
    f"service={SERVICES[3]}",
    f"customer={CUSTOMERS[5]}&status=failed",
    f"service={SERVICES[3]}&customer={CUSTOMERS[5]}",
    f"service={SERVICES[3]}&provider={PROVIDERS[3]}",
    f"metadata.createdAt[gte]={DAYS[0]}&metadata.createdAt[lt]={DAYS[1]}",
    f"service={SERVICES[3]}&metadata.createdAt[gte]={DAYS[0]}",
    f"customer={CUSTOMERS[5]}&metadata.createdAt[lt]={DAYS[1]}",
    f"metadata.createdAt[gte]={NOONS[0]}&metadata.createdAt[lt]={NOONS[1]}",
)
FACETS = (
    "status",
    "status,service,error.code",
    "tags",
    "metadata.region",
    f"status,service,provider&customer={CUSTOMERS[5]}",
    f"status,customer&service={SERVICES[3]}",
    f"status,service,customer&metadata.createdAt[gte]={DAYS[0]}",
)


def deep() -> Iterator[Query]:
    """Yield the lists of which the thousandth page is measured, too."""
    yield Query("list", "GET", "/executions")
    yield Query("list of a service", "GET", f"/executions?service={SERVICES[3]}")
    yield Query("list by duration", "GET", "/executions?sort=-metrics.duration")
    yield Query("list by update", "GET", "/executions?sort=-metadata.updatedAt")


def others() -> Iterator[Query]:
    """Yield a list for each filter and each order, and for some combinations."""
    for path, value in FOUND.items():
        yield Query(f"{path}, with hits", "POST", "/executions/find", {path: value})
    for path, known in FIELDS.items():
        if known.kind.reads_numbers:
            yield Query(f"{path}, above all", "POST", "/executions/find", {path: {"$gt": 2**53}})
        elif known.kind is TEXT:
            yield Query(f"{path}, without hits", "POST", "/executions/find", {path: NOWHERE})
    yield from (Query(name, "POST", "/executions/find", asked) for name, asked in COMBINED.items())
    for sort in (sign + path for path in SORTED_BY for sign in ("", "-")):
        yield Query(f"by {sort}", "GET", f"/executions?sort={sort}")
    for asked, sort in SORTED_WITHIN:
        name = f"{', '.join(asked.values()) or 'all'} by {sort}"
        yield Query(name, "POST", f"/executions/find?sort={sort}", asked)
    for words in COUNTED:
        yield Query(f"count of {words or 'all'}", "GET", f"/executions?count=true&{words}")
    for names in FACETS:
        yield Query(f"facets {names}", "GET", f"/executions?facets={names}")
