"""A server of three logs: `main`, the log of its settings, and `north` and `south`, with callers of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.cells.registry import LogLocation, LogRegistry
from tests.support.api_client import ok
from tests.support.running_server import Serving, serving
from tests.support.tokens import AUDIENCE, ISSUER, SECRET

HOST = "south.example"


@pytest.fixture(scope="module")
def hosting_server(
    module_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    folder: Path = tmp_path_factory.mktemp("hosting")
    registry = LogRegistry(folder / "logs.json")
    registry.put("north", LogLocation.of("north"))
    registry.put("south", LogLocation(schema="executions_south", hosts=(HOST,)))
    tokens: dict[str, Any] = {"jwt_key": SECRET, "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE}
    with serving(
        module_database, data_dir=folder, log_name="main", logs=registry.file, **tokens
    ) as running:
        yield running


@pytest.fixture(scope="module")
def main(hosting_server: Serving) -> Iterator[httpx.Client]:
    with hosting_server.client() as client:
        yield client


@pytest.fixture(scope="module")
def north(hosting_server: Serving) -> Iterator[httpx.Client]:
    with hosting_server.client("north") as client:
        yield client


@pytest.fixture(scope="module")
def south(hosting_server: Serving) -> Iterator[httpx.Client]:
    with hosting_server.client("south") as client:
        yield client


def person(api: httpx.Client, name: str) -> str:
    """Create a user in a log; return its id."""
    return str(ok(api.post("/users", json={"name": name, "kind": "person"}))["$id"])


def execution(api: httpx.Client, identity: str) -> str:
    """Create an execution in a log, with the objects it refers to."""
    for path, entry in (
        ("users", {"$id": "acme", "name": "Acme", "kind": "organization"}),
        ("services", {"$id": "sdr", "name": "Leads", "provider": "acme"}),
        ("orders", {"$id": "order-1", "service": "sdr", "customer": "acme"}),
    ):
        answer = api.post(f"/{path}", json=entry)
        assert answer.status_code in {201, 409}, answer.text
    ok(api.post("/executions", json={"$id": identity, "order": "order-1", "service": "sdr"}))
    return identity
