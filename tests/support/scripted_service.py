"""A service that gives scripted answers to a client of the SDK, without a connection."""

from __future__ import annotations

from typing import Any

import httpx2

from service_executions import Client
from service_executions.requests import BY_CODE

JSON = dict[str, Any]
Answer = httpx2.Response | Exception
DOCUMENT: JSON = {
    "$type": "ServiceExecution",
    "$id": "run-1",
    "order": "order-1",
    "service": "sdr",
    "customer": "acme",
    "provider": "outreach",
    "status": "running",
    "progress": 0,
    "steps": [],
    "checkpoints": [],
    "attempts": [],
    "metrics": {
        "tokensUsed": 0,
        "cost": 0,
        "currency": "USD",
        "apiCalls": 0,
        "retries": 0,
        "stepsCompleted": 0,
        "stepsTotal": 0,
    },
    "priority": "normal",
    "timeout": 3_600_000,
    "webhooks": [],
    "tags": [],
    "metadata": {"createdAt": "2026-11-22T08:00:00.000Z", "updatedAt": "2026-11-22T08:00:00.000Z"},
    "version": 3,
    "position": 12,
}
PAGE: JSON = {"data": [], "hasMore": False, "nextCursor": None}
BROKEN = httpx2.ReadError("connection reset")


def answered(document: Any, status: int = 200, **headers: str) -> httpx2.Response:
    """An answer of JSON; `log_position` is the header `Log-Position`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, json=document, headers=named)


def problem(status: int, code: str, **members: Any) -> httpx2.Response:
    """A refusal."""
    assert code in BY_CODE
    document = {"type": f"/problems/{code}", "title": code, "status": status, "detail": code}
    after = {"retry-after": str(members.pop("retry_after"))} if "retry_after" in members else {}
    return httpx2.Response(status, json={**document, **members}, headers=after)


class ScriptedService:
    """Gives its answers in order, and stores the requests."""

    def __init__(self, *answers: Answer) -> None:
        self.requests: list[httpx2.Request] = []
        self._answers = list(answers)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, **options: Any) -> Client:
        """A client of this service."""
        http = httpx2.Client(transport=httpx2.MockTransport(self))
        return Client("http://service.test", "secret", http_client=http, **options)

    @property
    def asked(self) -> list[tuple[str, str]]:
        """Method and path of each request."""
        return [(request.method, request.url.path) for request in self.requests]

    def sent(self, header: str) -> list[str | None]:
        """The value of a header in each request."""
        return [request.headers.get(header) for request in self.requests]
