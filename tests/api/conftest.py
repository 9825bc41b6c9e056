"""A running service, a catalog in it, and executions in every state, made through the front door."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import psycopg
import pytest
from psycopg import sql

from api.embedded_postgres.server import EmbeddedPostgres
from tests.api.serving import Serving, serving
from tests.conftest import CREATE, NUMBERS, TEMPLATE

JSON = dict[str, Any]
RESULT = {"success": True, "output": {"emails_sent": 2}, "summary": "Sent to 2 leads"}
ERROR = {"code": "SMTP", "message": "No answer from the mail server", "recoverable": True}
POLICY = {"maxRetries": 3, "backoff": "exponential", "initialDelay": 60_000, "maxDelay": 600_000}


class Catalog(NamedTuple):
    """The ids of what executions refer to."""

    customer: str
    provider: str
    workflow: str
    service: str
    order: str


@pytest.fixture(scope="module")
def module_database(postgres: EmbeddedPostgres, admin: psycopg.Connection) -> Iterator[str]:
    """A database for all tests of a module: what they write does not disturb each other."""
    name = f"api_{next(NUMBERS)}"
    admin.execute(CREATE.format(sql.Identifier(name), sql.Identifier(TEMPLATE)))
    yield postgres.conninfo(name)
    admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def server(module_database: str) -> Iterator[Serving]:
    with serving(module_database) as running:
        yield running


@pytest.fixture(scope="module")
def api(server: Serving) -> Iterator[httpx.Client]:
    """A client of the administrator's; its paths begin below `/api`."""
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def catalog(api: httpx.Client) -> Catalog:
    known = Catalog("acme", "outreach", "outreach-steps", "sdr-service", "order-123")
    steps = [{"id": "research", "name": "Research"}, {"id": "send", "name": "Send"}]
    for path, entry in (
        ("users", {"$id": known.customer, "name": "Acme", "kind": "organization"}),
        ("users", {"$id": known.provider, "name": "Outreach Ltd", "kind": "organization"}),
        ("workflows", {"$id": known.workflow, "name": "Outreach", "steps": steps}),
        (
            "services",
            {
                "$id": known.service,
                "name": "Lead outreach",
                "provider": known.provider,
                "workflow": known.workflow,
            },
        ),
        ("orders", {"$id": known.order, "service": known.service, "customer": known.customer}),
    ):
        ok(api.post(f"/{path}", json=entry))
    return known


class Executions:
    """Makes executions and brings them to a state."""

    def __init__(self, api: httpx.Client, catalog: Catalog) -> None:
        self._api = api
        self._ids: JSON = {"order": catalog.order, "service": catalog.service}

    def create(self, **fields: Any) -> JSON:
        """The document of a new one."""
        return ok(self._api.post("/executions", json={**self._ids, **fields}))

    def tell(self, execution: str, command: str, **body: Any) -> JSON:
        """The document after a command, by its path below the execution."""
        return ok(self._api.post(f"/executions/{execution}/{command}", json=body))

    def running(self, **fields: Any) -> str:
        """The id of one that runs."""
        return str(self.create(status="running", **fields)["$id"])


@pytest.fixture(scope="module")
def executions(api: httpx.Client, catalog: Catalog) -> Executions:
    return Executions(api, catalog)


@pytest.fixture
def queued_execution(executions: Executions) -> str:
    return str(executions.create()["$id"])


@pytest.fixture
def running_execution(executions: Executions) -> str:
    return executions.running()


@pytest.fixture
def paused_execution(executions: Executions, running_execution: str) -> str:
    executions.tell(running_execution, "pause", state={"page": 3}, reason="lunch")
    return running_execution


@pytest.fixture
def completed_execution(executions: Executions, running_execution: str) -> str:
    executions.tell(running_execution, "complete", **RESULT)
    return running_execution


@pytest.fixture
def failed_execution(executions: Executions, running_execution: str) -> str:
    executions.tell(running_execution, "fail", **ERROR)
    return running_execution


@pytest.fixture
def retrying_execution(executions: Executions) -> str:
    execution = executions.running(retryPolicy=POLICY)
    executions.tell(execution, "fail", **ERROR)
    return execution


@pytest.fixture
def cancelled_execution(executions: Executions, queued_execution: str) -> str:
    executions.tell(queued_execution, "cancel", reason="changed my mind")
    return queued_execution


def ok(response: httpx.Response) -> JSON:
    """The JSON of an answer that is no refusal."""
    assert response.is_success, f"{response.status_code} {response.text}"
    answer: JSON = response.json()
    return answer


def refused(response: httpx.Response, status: int, code: str) -> JSON:
    """The problem document of a refusal, of the right shape."""
    assert response.status_code == status, f"{response.status_code} {response.text[:2000]}"
    assert response.headers["content-type"] == "application/problem+json"
    problem: JSON = response.json()
    assert problem["type"] == f"/problems/{code}", problem
    assert problem["status"] == status
    assert all(isinstance(problem[name], str) for name in ("title", "detail", "instance"))
    return problem
