"""One of many logs is moved to another PostgreSQL while it is served; the others stay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import psycopg
import pytest

from api.cells.registry import LogLocation, LogRegistry
from domain.eventlog.moving.journal import location_of
from domain.eventlog.sessions import session_options
from tests.support.api_client import ok
from tests.support.databases import reachable_folder
from tests.support.forked_program import run_forked
from tests.support.moved_log import LONGEST, Servers, environment, two_servers
from tests.support.service_process import AUTHORIZED, Service
from tests.support.waiting import wait_until

LOGS = "east", "west", "north"


class Hosting(NamedTuple):
    """A server of many logs, the file of them, and two databases."""

    service: Service
    registry: LogRegistry
    old: str
    new: str

    def client(self, log: str) -> httpx.Client:
        url = f"{self.service.url}/logs/{log}/api"
        return httpx.Client(base_url=url, headers=AUTHORIZED, timeout=30)

    def move(self, log: str, **variables: str) -> str:
        """Run `executions cells move` to its end."""
        of_move = {**environment(self.old, self.service.data), **variables}
        done = run_forked(["cells", "move", log, "--to", self.new], of_move, LONGEST)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def servers(postgres_bin: Path | None) -> Iterator[Servers]:
    with two_servers(postgres_bin) as servers:
        yield servers


@pytest.fixture(scope="module")
def hosting(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosting]:
    registry = LogRegistry(tmp_path_factory.mktemp("hosting") / "logs.json")
    for name in LOGS:
        registry.put(name, LogLocation.of(name))
    with servers.databases() as (old, new), reachable_folder() as folder:
        service = Service(folder, old, EXECUTIONS_LOG="main", EXECUTIONS_LOGS=str(registry.file))
        try:
            service.start()
            yield Hosting(service, registry, old, new)
        finally:
            service.close()


def head(location: str, log: str) -> int:
    """The position of the last event of a log in a database."""
    options = session_options(f"executions_{log}")
    with psycopg.connect(location, autocommit=True, options=options) as connection:
        row = connection.execute("SELECT position FROM head").fetchone()
    return int(row[0]) if row else -1


def enter(api: httpx.Client, name: str) -> None:
    """Create a user, once the log accepts commands."""

    def is_accepted() -> bool:
        answer = api.post("/users", json={"$id": name, "name": name, "kind": "person"})
        assert answer.status_code in {201, 409, 503}, answer.text
        return answer.status_code != 503

    wait_until(is_accepted)


def assert_moved(hosting: Hosting, log: str) -> None:
    """Require that new events are written to the new database, that it has all earlier ones, and that its views follow."""
    stayed = head(hosting.old, log)
    with hosting.client(log) as api:
        enter(api, "after")
        position = head(hosting.new, log)
        assert (head(hosting.old, log), position > stayed) == (stayed, True)
        wait_until(lambda: ok(api.get("/readyz")).get("withoutOwner") is None)
        wait_until(lambda: api.get(f"/users?minPosition={position}").status_code == 200)
        names = {each["$id"] for each in ok(api.get("/users"))["data"]}
        assert {"before", "after"} <= names


def test_log_of_the_file_is_moved_alone_and_the_file_has_its_location(hosting: Hosting) -> None:
    with hosting.client("east") as east, hosting.client("north") as north:
        enter(east, "before")
        enter(north, "before")
        with east.stream("GET", "/events", headers={"Accept": "text/event-stream"}) as stream:
            hosting.move("east", EXECUTIONS_LOGS=str(hosting.registry.file))
            assert "closing" in stream.read().decode()
        location = hosting.registry.read()["east"]
        assert location.schema == "executions_east"
        assert location_of(location.url or "") == location_of(hosting.new)
        assert_moved(hosting, "east")
        before = head(hosting.old, "north")
        enter(north, "after")
        assert head(hosting.old, "north") == before + 1
        assert hosting.registry.read()["north"].url is None


def test_server_finds_a_moved_log_although_the_file_has_its_former_location(
    hosting: Hosting,
) -> None:
    with hosting.client("west") as west:
        enter(west, "before")
    hosting.move("west", EXECUTIONS_SCHEMA="executions_west")
    assert_moved(hosting, "west")
    assert hosting.registry.read()["west"] == LogLocation.of("west")


def test_move_of_the_log_of_the_settings_is_refused_if_others_would_be_searched_in_the_new_database(
    hosting: Hosting,
) -> None:
    variables = {
        **environment(hosting.old, hosting.service.data),
        "EXECUTIONS_LOGS": str(hosting.registry.file),
    }
    refused = run_forked(["cells", "move", "main", "--to", hosting.new], variables, LONGEST)
    assert refused.returncode == 1
    assert "north would be looked for in the new database" in " ".join(refused.stderr.split())


def test_drop_of_a_served_log_is_refused_without_the_file(hosting: Hosting) -> None:
    of_schema = {"EXECUTIONS_LOGS": "", "EXECUTIONS_SCHEMA": "executions_north"}
    variables = {**environment(hosting.old, hosting.service.data), **of_schema}
    drop = ["cells", "drop", "north", "--confirm", "north", "--json"]
    served = run_forked(drop, variables, LONGEST)
    assert "runs on this log" in served.stderr
    assert head(hosting.old, "north") > 0


def test_other_logs_stay_in_the_old_database_after_a_move_of_the_log_of_the_settings(
    hosting: Hosting,
) -> None:
    with hosting.client("main") as main, hosting.client("north") as north:
        enter(north, "before")
        hosting.move("main")
        enter(main, "after")
        before = head(hosting.old, "north")
        enter(north, "late")
        assert head(hosting.old, "north") == before + 1
        wait_until(lambda: north.get(f"/users?minPosition={before + 1}").status_code == 200)
        wait_until(lambda: ok(main.get("/readyz")).get("withoutOwner") is None)
        with psycopg.connect(hosting.new) as connection:
            found = connection.execute("SELECT to_regnamespace('executions_north')").fetchone()
    assert found == (None,)
