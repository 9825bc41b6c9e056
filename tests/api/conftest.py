"""A running service, a catalog in it, and executions in every state, made over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import psycopg
import pytest

from api.access.rights import Role
from api.embedded_postgres.server import EmbeddedPostgres
from tests.support import owned_world
from tests.support.api_client import ERROR, POLICY, RESULT, Catalog, Executions, ok
from tests.support.databases import new_database
from tests.support.running_server import Serving, serving


@pytest.fixture(scope="module")
def module_database(
    postgres: EmbeddedPostgres, admin: psycopg.Connection, views_template: str
) -> Iterator[str]:
    """A database for all tests of a module, which do not conflict with each other."""
    with new_database(admin, template=views_template) as name:
        yield postgres.conninfo(name)


@pytest.fixture
def database(database_with_views: str) -> str:
    """As `database` of other folders, with the tables of all views, so that a server that starts need not create them."""
    return database_with_views


@pytest.fixture(scope="module")
def server(module_database: str) -> Iterator[Serving]:
    with serving(module_database) as running:
        yield running


@pytest.fixture(scope="module")
def owned(module_database: str) -> Iterator[Serving]:
    """A server with samples that have owners, and callers who each reach one of them (`owned_world`)."""
    with owned_world.world(module_database) as running:
        with owned_world.client_of(running, Role.ADMIN) as admin:
            owned_world.fill(admin)
        yield running


@pytest.fixture(scope="module")
def api(server: Serving) -> Iterator[httpx.Client]:
    """A client of the administrator; its paths are relative to `/api`."""
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
