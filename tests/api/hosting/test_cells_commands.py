"""`executions cells create`, `list` and `drop` with a file of logs that one server serves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import psycopg
import pytest
from click.testing import CliRunner, Result

from api.cells.registry import LogRegistry
from api.cli.cells import hosted
from api.cli.main import main
from tests.support.databases import reachable_folder
from tests.support.service_process import AUTHORIZED, Service
from tests.support.waiting import wait_until

SCHEMAS = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'executions_%%'"


class Hosting(NamedTuple):
    """A server of the log `main` and of the logs in a file."""

    service: Service
    registry: LogRegistry
    database: str

    def cells(self, *arguments: str, log: str | None = "main") -> Result:
        """`executions cells …`, with the settings of the server."""
        settings = {
            "EXECUTIONS_DATABASE_URL": self.database,
            "EXECUTIONS_DATA_DIR": str(self.service.data),
            "EXECUTIONS_LOG": log,
            "EXECUTIONS_LOGS": str(self.registry.file),
        }
        return CliRunner().invoke(main, ["cells", *arguments], env=settings)

    def post(self, log: str) -> int:
        """Create a user in a log; return the status of the answer."""
        url, body = f"{self.service.url}/logs/{log}/api/users", {"name": "Ann", "kind": "person"}
        return httpx.post(url, json=body, headers=AUTHORIZED, timeout=30).status_code

    def schemas(self) -> set[str]:
        with psycopg.connect(self.database) as connection:
            return {name for (name,) in connection.execute(SCHEMAS).fetchall()}


@pytest.fixture(scope="module")
def hosting(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosting]:
    registry = LogRegistry(tmp_path_factory.mktemp("cells") / "logs.json")
    with reachable_folder() as folder:
        file = str(registry.file)
        service = Service(folder, module_database, EXECUTIONS_LOG="main", EXECUTIONS_LOGS=file)
        try:
            service.start()
            yield Hosting(service, registry, module_database)
        finally:
            service.close()


def test_log_is_served_and_listed_from_its_creation_until_it_is_dropped(
    hosting: Hosting,
) -> None:
    made = json.loads(hosting.cells("create", "north", "--json").output)
    assert made == {
        "name": "north",
        "schema": "executions_north",
        "made": True,
        "path": "/logs/north/api",
    }
    wait_until(lambda: hosting.post("north") == 201)
    [listed] = json.loads(hosting.cells("list", "--json").output)
    assert (listed["name"], listed["schema"], listed["position"]) == (
        "north",
        "executions_north",
        1,
    )
    assert "executions_north" in hosting.cells("list").output
    dropped = hosting.cells("drop", "north", "--confirm", "north")
    assert dropped.exit_code == 0, dropped.output
    assert "Dropped the schema executions_north" in dropped.output
    assert hosting.registry.read() == {}
    assert hosting.post("north") == 404
    assert "executions_north" not in hosting.schemas()


def test_create_that_is_run_again_keeps_the_location_and_adds_a_host(hosting: Hosting) -> None:
    hosting.cells("create", "south")
    again = hosting.cells("create", "south", "--host", "south.example")
    assert "in the schema executions_south, as before" in again.output
    assert "at /logs/south/api, and at south.example" in again.output
    assert hosting.registry.read()["south"].hosts == ("south.example",)
    assert hosting.registry.read()["south"].schema == "executions_south"


def test_log_that_is_still_served_stays_in_the_file(
    hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosting.cells("create", "east")
    monkeypatch.setattr(hosted, "is_served", lambda *_: True)
    monkeypatch.setattr(hosted, "NOTICED", 0.0)
    monkeypatch.setattr(hosted, "LET_GO", 0.0)
    refused = hosting.cells("drop", "east", "--confirm", "east")
    assert (refused.exit_code, "is served although" in refused.output) == (1, True)
    assert "east" in hosting.registry.read()
    assert "executions_east" in hosting.schemas()


@pytest.mark.parametrize("log", ["main", None])
def test_log_of_the_settings_is_not_added_to_the_file(hosting: Hosting, log: str | None) -> None:
    refused = hosting.cells("create", "main", log=log)
    assert (refused.exit_code, "the log of the settings" in refused.output) == (1, True)


@pytest.mark.parametrize("host", ["a b", "http://west.example", "west.example/logs"])
def test_create_refuses_what_is_no_host(hosting: Hosting, host: str) -> None:
    before = hosting.schemas()
    refused = hosting.cells("create", "west", "--host", host)
    assert (refused.exit_code, f"but is `{host}`" in refused.output) == (1, True)
    assert hosting.schemas() == before


def test_create_refuses_the_host_of_another_log_and_makes_no_schema(hosting: Hosting) -> None:
    hosting.cells("create", "taken", "--host", "Taken.example")
    before = hosting.schemas()
    refused = hosting.cells("create", "taker", "--host", "taken.example")
    assert (refused.exit_code, "the same location or host" in refused.output) == (1, True)
    assert hosting.schemas() == before


def test_host_of_a_log_without_a_file_is_refused(hosting: Hosting) -> None:
    settings = {"EXECUTIONS_DATABASE_URL": hosting.database, "EXECUTIONS_LOGS": ""}
    arguments = ["cells", "create", "west", "--host", "west.example"]
    refused = CliRunner().invoke(main, arguments, env=settings)
    assert (refused.exit_code, "EXECUTIONS_LOGS" in refused.output) == (1, True)
