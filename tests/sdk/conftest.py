"""Fixtures for tests of the SDK: a running service, its clients, and the catalog that executions refer to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from api.embedded_postgres.server import EmbeddedPostgres
from service_executions import AsyncClient, Client
from tests.support.databases import new_database
from tests.support.running_server import TOKEN, Serving, serving


@pytest.fixture(scope="module")
def server(postgres: EmbeddedPostgres, admin: psycopg.Connection) -> Iterator[Serving]:
    with new_database(admin) as name, serving(postgres.conninfo(name)) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Serving) -> Iterator[Client]:
    with Client(server.url, TOKEN) as made:
        made.users.create("acme", name="Acme", kind="organization")
        made.users.create("outreach", name="Outreach Ltd", kind="organization")
        made.workflows.create("outreach-steps", name="Outreach", steps=[{"id": "a", "name": "A"}])
        for service in ("sdr-service", "content-service", "integration-service", "batch"):
            made.services.create(
                service, name=service, provider="outreach", workflow="outreach-steps"
            )
            made.orders.create(f"order-{service}", service=service, customer="acme")
        yield made


@pytest.fixture
async def async_client(server: Serving, client: Client) -> AsyncIterator[AsyncClient]:
    """An asynchronous client of the same service, which has the catalog already."""
    async with AsyncClient(server.url, TOKEN) as made:
        yield made
