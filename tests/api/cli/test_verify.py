"""`executions verify`: its report and exit code; `executions rebuild` of snapshots."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from api.embedded_postgres.server import EmbeddedPostgres
from domain import registry
from domain.eventlog.sessions import session_options
from tests.api.cli.test_serve import run
from tests.support.api_client import ok
from tests.support.databases import new_database
from tests.support.running_server import data_dir, serving

DAMAGES = {
    "log": "UPDATE head SET position = 9",
    "keys": "INSERT INTO data_keys VALUES ('execution/x', 'damaged')",
    "snapshots": """INSERT INTO snapshots SELECT 'user/acme', 7, 7, now(), '', {shape},
        snapshot_digest('user/acme', 7, 7, {shape}, '')""",
    "catalog": "UPDATE catalog SET shown = 'x'",
    "executions": "UPDATE bookmarks SET position = 99 WHERE view = 'executions'",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of the log."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def whole(module_database: str, data: Path) -> str:
    """The name of a database without faults, without a connection to it."""
    data_dir(module_database, data)
    with serving(module_database) as server, server.client() as api:
        ok(api.post("/users", json={"$id": "acme", "name": "Acme", "kind": "person"}))
        deadline = monotonic() + 30
        while any(view["lag"] for view in ok(api.get("/readyz"))["views"].values()):
            assert monotonic() < deadline
            sleep(0.05)
    assert run("verify", data, EXECUTIONS_DATABASE_URL=module_database).returncode == 0
    return str(conninfo_to_dict(module_database)["dbname"])


@pytest.fixture
def copied(whole: str, postgres: EmbeddedPostgres, admin: psycopg.Connection) -> Iterator[str]:
    """A copy of that database, which the test damages."""
    with new_database(admin, template=whole) as name:
        yield postgres.conninfo(name)


@pytest.mark.parametrize("part", DAMAGES)
def test_verify_names_damaged_rows_and_exits_with_1(copied: str, data: Path, part: str) -> None:
    environment = {"EXECUTIONS_DATABASE_URL": copied}
    shape = f"'{registry.codec().shape}'"
    with psycopg.connect(copied, options=session_options("executions")) as connection:
        connection.execute(DAMAGES[part].format(shape=shape).encode())
    done = run("verify", data, **environment)
    assert done.returncode == 1
    assert f"\n{part}: " in f"\n{done.stdout}", done.stdout
    report = json.loads(run("verify --json", data, **environment).stdout)
    assert part in {fault["part"] for fault in report["faults"]}
    assert report["faultCount"] == len(report["faults"]) > 0


def test_snapshots_are_rebuilt_like_a_view(database: str, tmp_path: Path) -> None:
    done = run("rebuild snapshots", tmp_path, EXECUTIONS_DATABASE_URL=database)
    assert done.stdout == "snapshots are new, of 0 streams\n"
