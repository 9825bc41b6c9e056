"""What a client asks while the database is away, and what it must hear."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import NamedTuple

import httpx

from tests.support.service_process import AUTHORIZED, Service

LONGEST_WAIT = 8.5
QUESTIONS = (
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


class Heard(NamedTuple):
    """An answer and how long it took."""

    response: httpx.Response
    seconds: float


async def ask(client: httpx.AsyncClient, method: str, path: str) -> Heard:
    begun = monotonic()
    response = await client.request(method, path, json=BODIES.get(path))
    return Heard(response, monotonic() - begun)


async def assert_away(service: Service, seconds: float) -> None:
    """Until the time is over: every question gets 503 within seconds, and the process lives."""
    end = monotonic() + seconds
    async with httpx.AsyncClient(
        base_url=service.url, headers=AUTHORIZED, timeout=2 * LONGEST_WAIT
    ) as client:
        while monotonic() < end:
            asking = [asyncio.create_task(ask(client, *question)) for question in QUESTIONS]
            while not all(task.done() for task in asking):
                alive = await ask(client, "GET", "/healthz")
                assert alive.response.status_code == 200
                assert alive.seconds < 1
                await asyncio.sleep(0.2)
            for heard in await asyncio.gather(*asking):
                assert_refused(heard)


def assert_refused(heard: Heard) -> None:
    where = f"{heard.response.request.url}: {heard.response.text}"
    assert heard.response.status_code == 503, where
    assert int(heard.response.headers["retry-after"]) >= 1, where
    assert heard.seconds < LONGEST_WAIT, where
