"""A client of the API that creates executions and checks answers."""

from __future__ import annotations

from typing import Any, NamedTuple

import httpx

JSON = dict[str, Any]


RESULT = {"success": True, "output": {"emails_sent": 2}, "summary": "Sent to 2 leads"}


ERROR = {"code": "SMTP", "message": "No answer from the mail server", "recoverable": True}


POLICY = {"maxRetries": 3, "backoff": "exponential", "initialDelay": 60_000, "maxDelay": 600_000}


class Catalog(NamedTuple):
    """The ids of the catalog entries that executions refer to."""

    customer: str
    provider: str
    workflow: str
    service: str
    order: str


class Executions:
    """Creates executions and brings them into a status."""

    def __init__(self, api: httpx.Client, catalog: Catalog) -> None:
        self._api = api
        self._ids: JSON = {"order": catalog.order, "service": catalog.service}

    def create(self, **fields: Any) -> JSON:
        """Create an execution; its document."""
        return ok(self._api.post("/executions", json={**self._ids, **fields}))

    def tell(self, execution: str, command: str, **body: Any) -> JSON:
        """Send a command, by its path below the execution; the document after it."""
        return ok(self._api.post(f"/executions/{execution}/{command}", json=body))

    def running(self, **fields: Any) -> str:
        """Create and start an execution; its id."""
        return str(self.create(status="running", **fields)["$id"])


def ok(response: httpx.Response) -> JSON:
    """The JSON of a successful answer."""
    assert response.is_success, f"{response.status_code} {response.text}"
    answer: JSON = response.json()
    return answer


def recorded_event(api: httpx.Client, position: int) -> str:
    """The frame of the event at a position, as a stream of events sends it."""
    wanted = {"from": str(position - 1)}
    accept = {"Accept": "text/event-stream"}
    with api.stream("GET", "/events", params=wanted, headers=accept) as stream:
        return next(line for line in stream.iter_lines() if f'"position":{position},' in line)


def refused(response: httpx.Response, status: int, code: str) -> JSON:
    """The problem document of a refusal, with the right structure."""
    assert response.status_code == status, f"{response.status_code} {response.text[:2000]}"
    assert response.headers["content-type"] == "application/problem+json"
    problem: JSON = response.json()
    assert problem["type"] == f"/problems/{code}", problem
    assert problem["status"] == status
    assert all(isinstance(problem[name], str) for name in ("title", "detail", "instance"))
    return problem
