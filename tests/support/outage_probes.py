"""Requests while the database is away, each of which must be answered 503 in time."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import NamedTuple

import httpx

from domain.outages import AWAY
from tests.support.service_process import AUTHORIZED, Service

LONGEST_WAIT = 8.5
AT_ONCE = 3
"""Seconds in which an answer arrives that waits for no database, even on a slow machine: one that waits takes 4 at least."""
REQUESTS = (
    ("POST", "/api/executions/probe/metrics"),
    ("POST", "/api/commands"),
    ("GET", "/api/executions/probe"),
    ("GET", "/api/executions?limit=1"),
    ("GET", "/api/executions/probe/events"),
    ("GET", "/api/analytics/executions"),
    ("GET", "/readyz"),
)
BODIES = {
    "/api/executions/probe/metrics": {"tokensUsed": 1},
    "/api/commands": [{"command": "recordUsage", "execution": "probe", "tokensUsed": 1}],
}


class TimedResponse(NamedTuple):
    """An answer and its duration."""

    response: httpx.Response
    seconds: float


async def ask(client: httpx.AsyncClient, method: str, path: str) -> TimedResponse:
    begun = monotonic()
    response = await client.request(method, path, json=BODIES.get(path))
    return TimedResponse(response, monotonic() - begun)


async def assert_away(service: Service, seconds: float) -> None:
    """For this many seconds: each request is answered 503 in time, and `/healthz` answers 200."""
    end = monotonic() + seconds
    async with httpx.AsyncClient(
        base_url=service.url, headers=AUTHORIZED, timeout=2 * LONGEST_WAIT
    ) as client:
        while monotonic() < end:
            asking = [asyncio.create_task(ask(client, *request)) for request in REQUESTS]
            while not all(task.done() for task in asking):
                alive = await ask(client, "GET", "/healthz")
                assert alive.response.status_code == 200
                assert alive.seconds < AT_ONCE
                await asyncio.sleep(0.2)
            for timed in await asyncio.gather(*asking):
                assert_unavailable(timed)


def assert_unavailable(timed: TimedResponse) -> None:
    where = f"{timed.response.request.url}: {timed.response.text}"
    assert timed.response.status_code == 503, where
    assert int(timed.response.headers["retry-after"]) >= 1, where
    assert timed.seconds < LONGEST_WAIT, where
    assert timed.response.json()["detail"] == AWAY, where
