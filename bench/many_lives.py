"""Commands for very many executions, which differ in all fields by which lists are filtered and sorted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.population import DAYS, STEPS, Item, Service, life

CUSTOMERS = [f"customer-{number}" for number in range(100)]
PROVIDERS = [f"provider-{number}" for number in range(4)]
SERVICES = [f"service-{number}" for number in range(12)]
PRIORITIES = ("low", "normal", "normal", "normal", "high", "urgent")
MODELS = ("small-1", "medium-2", "large-3")
FIRST_DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(
    DAYS + 1
)


async def prepare(service: Service) -> None:
    """Create the users, services and orders to which the executions refer."""
    for user in (*CUSTOMERS, *PROVIDERS):
        given = {"$id": user, "name": user, "kind": "organization"}
        await service.call("POST", "/users", given, 201)
    for number, name in enumerate(SERVICES):
        provider = PROVIDERS[number % len(PROVIDERS)]
        given = {"$id": name, "name": name, "provider": provider}
        await service.call("POST", "/services", given, 201)
        for customer in CUSTOMERS:
            given = {"$id": _order(name, customer), "service": name, "customer": customer}
            await service.call("POST", "/orders", given, 201)


def lives(first: int, until: int, total: int) -> Iterator[Item]:
    """Yield the commands of the executions with these numbers, of `total` executions over 60 days."""
    every = timedelta(days=DAYS) / total
    for number in range(first, until):
        yield from _vary(life(number, FIRST_DAY + number * every), number)


def _vary(items: list[Item], number: int) -> Iterator[Item]:
    first, started, completed, *ended = items
    yield first | creation(number)
    yield started
    yield _usage(first["execution"], number, started["occurredAt"])
    yield completed
    yield from ended


def creation(number: int) -> Item:
    """Return the members in which the creation of the execution with a number differs from others."""
    service = SERVICES[number % len(SERVICES)]
    # By another divisor than the service, so that each customer has executions of each service.
    customer = CUSTOMERS[number * 7 // 11 % len(CUSTOMERS)]
    made: dict[str, Any] = {
        "order": _order(service, customer),
        "service": service,
        "priority": PRIORITIES[number % len(PRIORITIES)],
        "tags": [f"tag-{number % 5}", f"batch-{number // 1_000}"],
        "metadata": {
            "environment": "bench",
            "version": f"1.{number % 17}",
            "number": number,
            "region": f"region-{number % 9}",
        },
        "assignee": {
            "type": "ai-agent",
            "id": f"agent-{number % 997}",
            "name": f"Agent {number % 997}",
            "model": MODELS[number % len(MODELS)],
        },
    }
    if number % 4 == 0:
        delays = {"initialDelay": 1_000, "maxDelay": 60_000}
        made["retryPolicy"] = {"maxRetries": 2 + number % 3, "backoff": "exponential", **delays}
    return made


def _usage(execution: str, number: int, at: str) -> Item:
    return {
        "command": "recordUsage",
        "execution": execution,
        "tokensUsed": number * 7_919 % 50_000 + 1,
        "cost": round(number * 104_729 % 100_000 / 1e4 + 0.0001, 4),
        "apiCalls": number % 30,
        "step": STEPS[0],
        "occurredAt": at,
    }


def _order(service: str, customer: str) -> str:
    return f"order-of-{service}-{customer}"
