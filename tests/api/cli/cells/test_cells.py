"""`executions cells`: create, list, drop and move logs, and print maps for proxies."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from api.cli.main import main
from domain.eventlog.setup.databases import database_of, in_database
from domain.eventlog.setup.log_name import settle_log_name
from tests.support.databases import DROP_IF_THERE, new_database

NAME = f"north-{os.getpid()}"
MAP = "north=https://north.example,south=http://10.0.0.2:8000"


@pytest.fixture
def north(admin: psycopg.Connection) -> Iterator[str]:
    """The name of a log whose database is dropped after the test."""
    yield NAME
    admin.execute(DROP_IF_THERE.format(psycopg.sql.Identifier(database_of(NAME))))


def cells(*arguments: str, data_dir: Path | None = None, **settings: str | None) -> Result:
    environment = {f"EXECUTIONS_{name.upper()}": value for name, value in settings.items()}
    if data_dir is not None:
        environment["EXECUTIONS_DATA_DIR"] = str(data_dir)
    return CliRunner().invoke(main, ["cells", *arguments], env=environment)


def test_create_makes_a_log_with_its_name_and_list_shows_it(
    database: str, tmp_path: Path, north: str
) -> None:
    done = cells("create", north, "--json", data_dir=tmp_path, database_url=database)
    assert done.exit_code == 0, done.output
    made = json.loads(done.output)
    assert (made["name"], made["database"], made["made"]) == (north, database_of(north), True)
    assert settle_log_name(in_database(database, made["database"]), "executions") == north
    listed = cells("list", "--json", data_dir=tmp_path, database_url=database)
    [log] = [log for log in json.loads(listed.output) if log.get("name") == north]
    assert (log["database"], log["position"], log["bytes"] > 0) == (made["database"], 0, True)
    table = cells("list", data_dir=tmp_path, database_url=database).output
    assert any(north in line and made["database"] in line for line in table.splitlines())


def test_create_that_is_run_again_makes_missing_parts_and_shows_no_password(
    database: str, tmp_path: Path, north: str
) -> None:
    for said in ("", ", as before"):
        done = cells("create", north, data_dir=tmp_path, database_url=database)
        assert f"is in the database {database_of(north)}{said}." in done.output
        assert "password" not in done.output
    found = psycopg.conninfo.conninfo_to_dict(database)
    assert str(found["password"]) not in done.output


def test_create_shows_both_addresses_if_the_owner_has_one_and_no_secret(
    database: str, tmp_path: Path, north: str
) -> None:
    owner = psycopg.conninfo.make_conninfo(database, sslpassword="hidden", application_name="owner")
    urls = {"database_url": database, "database_owner_url": owner}
    made = cells("create", north, "--json", data_dir=tmp_path, **urls).output
    said = cells("create", north, data_dir=tmp_path, **urls).output
    assert "application_name=owner" in json.loads(made)["ownerUrl"]
    assert all(
        f"dbname={database_of(north)}" in json.loads(made)[key] for key in ("url", "ownerUrl")
    )
    assert f"EXECUTIONS_DATABASE_OWNER_URL='{json.loads(made)['ownerUrl']}'" in said
    assert "EXECUTIONS_DATABASE_URL=" in said
    assert "hidden" not in made + said


def test_create_refuses_an_invalid_name(database: str, tmp_path: Path) -> None:
    done = cells("create", "North!", data_dir=tmp_path, database_url=database)
    assert (done.exit_code, "log (EXECUTIONS_LOG)" in done.output) == (1, True)


def test_drop_asks_for_the_name_and_drops_the_database(
    database: str, tmp_path: Path, north: str, admin: psycopg.Connection
) -> None:
    run = partial(cells, data_dir=tmp_path, database_url=database)
    run("create", north)
    wrong = run("drop", north, "--confirm", "south")
    assert (wrong.exit_code, "nothing was dropped" in wrong.output) == (1, True)
    said = run("drop", north, "--confirm", north)
    assert said.exit_code == 0, said.output
    assert "0 events" in said.output
    assert f"Dropped the database {database_of(north)}." in said.output
    there = "SELECT FROM pg_database WHERE datname = %s"
    assert admin.execute(there, (database_of(north),)).fetchone() is None


def test_drop_keeps_other_tables_of_the_database(database: str, tmp_path: Path, north: str) -> None:
    run = partial(cells, data_dir=tmp_path, database_url=database)
    run("create", north)
    other = in_database(database, database_of(north))
    with psycopg.connect(other) as connection:
        connection.execute("CREATE TABLE public.notes (text text)")
    dropped = json.loads(run("drop", north, "--confirm", north, "--json").output)
    assert dropped["dropped"] == f"the schema executions of the database {database_of(north)}"
    with psycopg.connect(other) as connection:
        connection.execute("SELECT FROM public.notes")


def test_drop_of_a_log_name_in_two_databases_needs_the_url_of_its_database(
    database: str, tmp_path: Path, north: str, admin: psycopg.Connection
) -> None:
    run = partial(cells, data_dir=tmp_path)
    run("create", north, database_url=database)
    with new_database(admin) as name:
        other = in_database(database, name)
        settle_log_name(other, "executions", north)
        refused = run("drop", north, "--confirm", north, database_url=database)
        assert (refused.exit_code, "there are several logs named" in refused.output) == (1, True)
        done = run("drop", north, "--confirm", north, "--json", database_url=other)
        assert json.loads(done.output)["dropped"] == f"the schema executions of the database {name}"


def test_move_that_cannot_begin_is_refused(database: str, tmp_path: Path, north: str) -> None:
    run = partial(cells, data_dir=tmp_path, database_url=database)
    run("create", north)
    for said, arguments in {
        "there is no log named south": ("south", "--to", database),
        "must name a database": (north, "--to", "host=127.0.0.1"),
        "wal_level of the old database": (north, "--to", database, "--dry-run"),
        "is not being moved": (north, "--to", database, "--abort"),
    }.items():
        done = run("move", *arguments)
        assert (done.exit_code, said in done.output) == (1, True), done.output


def test_map_has_a_line_for_each_log_and_each_tenant() -> None:
    tenant = "--tenant", "ACME.example=south"
    assert cells("map", "--for", "nginx", *tenant, cells=MAP).output.splitlines() == [
        '"north" https://north.example;',
        '"south" http://10.0.0.2:8000;',
        '"acme.example" http://10.0.0.2:8000;',
    ]
    haproxy = cells("map", "--for", "haproxy", *tenant, cells=MAP)
    assert haproxy.output.splitlines() == ["north north", "south south", "acme.example south"]


@pytest.mark.parametrize(
    "tenant",
    ["acme", "acme.example=west", "a b=south", '"=south', "=south", "acme.example:8080=south"],
)
def test_map_refuses_a_tenant_that_is_not_a_host_of_a_log(tenant: str) -> None:
    done = cells("map", "--for", "nginx", "--tenant", tenant, cells=MAP)
    assert (done.exit_code, "HOST=NAME" in done.output) == (1, True)


def test_map_refuses_a_host_that_is_the_name_of_a_log() -> None:
    done = cells("map", "--for", "haproxy", "--tenant", "north=south", cells=MAP)
    assert (done.exit_code, "is the name of a log" in done.output) == (1, True)


def test_map_refuses_a_host_of_two_logs() -> None:
    tenants = ("--tenant", "acme.example=north", "--tenant", "ACME.example=south")
    done = cells("map", "--for", "nginx", *tenants, cells=MAP)
    assert (done.exit_code, "names ACME.example twice" in done.output) == (1, True)


def test_map_without_a_setting_names_the_missing_setting() -> None:
    done = cells("map", "--for", "nginx", cells=None)
    assert (done.exit_code, "EXECUTIONS_CELLS" in done.output) == (1, True)
