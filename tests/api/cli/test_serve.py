"""Errors of `executions serve` that cannot start, and of maintenance commands without a log."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from click.testing import CliRunner

from api.cli.main import main
from api.embedded_postgres.data_dir import DataDir
from domain import registry
from domain.eventlog.encryption import Vault
from domain.eventlog.migrations import settle_master_key
from domain.eventlog.sessions import session_options
from domain.eventlog.setup.log_id import log_id
from domain.eventlog.setup.log_name import settle_log_name
from projections.registry import all_projections
from tests.support.forked_program import run_forked
from tests.support.paths import DATA
from tests.support.service_process import serving

IMPORT = f"import xes {DATA / 'orders.xes'} --mapping {DATA / 'orders.mapping.json'}"
LOOKING_AFTER = ["projections", "verify", "rebuild executions", "work"]


class Outcome(NamedTuple):
    """Exit code and output of a command."""

    returncode: int
    stdout: str
    stderr: str


def run(command: str, data_dir: Path, **environment: str) -> Outcome:
    """Run a command: `serve` in its own process, as it changes its process; others in this one."""
    arguments = [*command.split(), "--data-dir", str(data_dir)]
    started = serve if command.startswith("serve") else invoke
    outcome = started(arguments, environment)
    assert "Traceback" not in outcome.stderr
    return outcome


def serve(arguments: list[str], environment: dict[str, str]) -> Outcome:
    ours = {name: value for name, value in os.environ.items() if "EXECUTIONS_" not in name}
    done = run_forked(arguments, {**ours, **environment}, 120)
    return Outcome(done.returncode, done.stdout, done.stderr)


def invoke(arguments: list[str], environment: dict[str, str]) -> Outcome:
    done = CliRunner().invoke(main, arguments, env=environment)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return Outcome(done.exit_code, done.stdout, done.stderr)


def require_refused(data_dir: Path, command: str = "serve --port 0", **environment: str) -> str:
    """Require that the command fails with one line; return the line."""
    done = run(command, data_dir, **environment)
    assert done.returncode == 1, done.stdout
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.fixture
def sealed(database: str) -> str:
    """A database whose log is encrypted with another key."""
    _, wrapped = Vault(b"of another server, 32 bytes long").make("execution/e")
    with psycopg.connect(database, options=session_options("executions")) as connection:
        connection.execute("INSERT INTO data_keys VALUES ('execution/e', %s)", (wrapped,))
    return database


@pytest.mark.parametrize("command", ["serve --port 0", "verify"])
def test_log_is_not_opened_with_another_master_key(
    sealed: str, tmp_path: Path, command: str
) -> None:
    DataDir.open(tmp_path).master_key()
    said = require_refused(tmp_path, command, EXECUTIONS_DATABASE_URL=sealed)
    assert "master.key is not the key that this log was sealed with" in said


@pytest.mark.parametrize("command", ["serve --port 0", "verify"])
def test_lost_master_key_is_not_replaced_by_a_new_one(
    sealed: str, tmp_path: Path, command: str
) -> None:
    said = require_refused(tmp_path, command, EXECUTIONS_DATABASE_URL=sealed)
    assert f"there is no master.key in {tmp_path}" in said
    assert not DataDir(tmp_path).master_key_file.exists()


@pytest.mark.parametrize("command", ["serve --port 0", "verify"])
def test_log_that_another_server_has_begun_is_opened_only_with_its_master_key(
    database: str, tmp_path: Path, command: str
) -> None:
    first, second = (DataDir.open(tmp_path / name) for name in ("first", "second"))
    settle_master_key(database, "executions", DataDir(first.path).master_key, first.master_key)
    environment = {"EXECUTIONS_DATABASE_URL": database}
    said = require_refused(second.path, command, **environment)
    assert f"there is no master.key in {second.path}" in said
    assert not second.master_key_file.exists()
    other = Vault(second.master_key())
    said = require_refused(second.path, command, **environment)
    assert "master.key is not the key that this log was sealed with" in said
    assert other.id in said
    assert Vault(first.master_key()).id in said


def test_invalid_setting_is_named(tmp_path: Path) -> None:
    assert "EXECUTIONS_QUEUE_LIMIT" in require_refused(tmp_path, EXECUTIONS_QUEUE_LIMIT="many")


def test_unreachable_database_is_reported(tmp_path: Path) -> None:
    nowhere = "postgresql://127.0.0.1:1/nowhere"
    done = run("serve --port 0", tmp_path, EXECUTIONS_DATABASE_URL=nowhere)
    assert "EXECUTIONS_DATABASE_URL" in done.stderr


@pytest.mark.parametrize("command", LOOKING_AFTER)
def test_maintenance_command_reports_an_unreachable_database(tmp_path: Path, command: str) -> None:
    nowhere = "postgresql://127.0.0.1:1/nowhere"
    done = run(command, tmp_path, EXECUTIONS_DATABASE_URL=nowhere)
    assert done.returncode == 1
    assert "the database is away" in done.stderr


@pytest.mark.parametrize("command", [*LOOKING_AFTER, "token", "tail", IMPORT])
def test_only_serve_makes_a_data_directory(tmp_path: Path, command: str) -> None:
    nowhere = tmp_path / "nope"
    said = require_refused(nowhere, command)
    assert f"in {nowhere}: is --data-dir (EXECUTIONS_DATA_DIR) right?" in said
    assert not nowhere.exists()


@pytest.mark.parametrize("command", [*LOOKING_AFTER, "token", "tail", IMPORT])
def test_only_serve_makes_files_in_a_data_directory(tmp_path: Path, command: str) -> None:
    assert "there is no" in require_refused(tmp_path, command)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", LOOKING_AFTER)
def test_only_serve_makes_a_log_in_a_database(database: str, tmp_path: Path, command: str) -> None:
    words = {"EXECUTIONS_DATABASE_URL": database, "EXECUTIONS_SCHEMA": "misspelt"}
    assert "there is no log in the schema misspelt" in require_refused(tmp_path, command, **words)
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT to_regnamespace('misspelt')").fetchone() == (None,)


@pytest.mark.parametrize("command", ["projections", "rebuild executions"])
def test_projection_commands_need_no_master_key(sealed: str, tmp_path: Path, command: str) -> None:
    assert run(command, tmp_path, EXECUTIONS_DATABASE_URL=sealed).returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_verify_reports_how_much_it_compared(database: str, tmp_path: Path) -> None:
    said = run("verify", tmp_path, EXECUTIONS_DATABASE_URL=database).stdout
    assert said.splitlines() == [
        "Checked 0 events, 0 data keys, 0 snapshots, 0 log lines.",
        *(
            f"Compared 0 rows of {view}, up to position 0 of 0."
            for view in (view.name for view in all_projections(registry.codec()))
        ),
        "All of it is what the events say.",
    ]


def test_port_in_use_is_reported_before_anything_is_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = require_refused(tmp_path / "new", f"serve --port {port}")
    choose = "choose another with --port or EXECUTIONS_PORT"
    assert said == f"Error: port {port} is taken; {choose}\n"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "a..b", "::2"])
def test_foreign_host_is_reported_before_anything_is_made(tmp_path: Path, host: str) -> None:
    said = require_refused(tmp_path / "new", f"serve --port 0 --host {host}")
    assert f"host {host} cannot be listened on" in said
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="a folder nobody may write to")
def test_data_directory_that_cannot_be_written_to_is_named() -> None:
    said = require_refused(Path("/sys/kernel"))
    assert "the data directory /sys/kernel cannot be written to: " in said


def test_misspelt_setting_is_reported_on_a_terminal(tmp_path: Path) -> None:
    said = run("token", tmp_path, EXECUTIONS_PROT="1").stderr
    assert said.startswith(
        "Warning: EXECUTIONS_PROT is no setting; did you mean EXECUTIONS_PORT?\n"
    )


def test_misspelt_setting_is_reported_in_the_server_log(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    line = run("serve --port 0", tmp_path / "file" / "new", EXECUTIONS_PROT="1").stderr
    warning = json.loads(line.splitlines()[0])
    assert (warning["variable"], warning["near"]) == ("EXECUTIONS_PROT", ["EXECUTIONS_PORT"])


def test_restored_command_gives_the_log_another_id(database: str, tmp_path: Path) -> None:
    before = log_id(database, "executions")
    done = run("restored", tmp_path, EXECUTIONS_DATABASE_URL=database)
    assert done.returncode == 0, done.stderr
    assert log_id(database, "executions") != before
    assert log_id(database, "executions") in done.stdout


def archived_log(database: str) -> psycopg.Connection:
    """A connection to the log, which has an archive with one file in a folder that is not there."""
    connection = psycopg.connect(database, autocommit=True, options="-c search_path=executions")
    connection.execute("INSERT INTO log_archive_place (url) VALUES ('file:///nowhere')")
    connection.execute(
        "INSERT INTO log_archives VALUES ('lines.parquet', '2026-11-01', 1, 2, 2, 9, '', now())"
    )
    return connection


@pytest.mark.parametrize("copied", [True, False])
def test_restored_log_reads_its_archive_where_the_files_are(
    database: str, tmp_path: Path, *, copied: bool
) -> None:
    files = tmp_path / "archive"
    files.mkdir()
    if copied:
        (files / "lines.parquet").touch()
    with archived_log(database) as connection:
        done = run("restored", tmp_path, EXECUTIONS_DATABASE_URL=database)
        row = connection.execute("SELECT url FROM log_archive_place").fetchone()
    assert done.returncode == 0, done.stderr
    assert row == (files.as_uri() if copied else "file:///nowhere",)
    assert ("does not have lines.parquet" in done.stderr) is not copied


def test_log_of_a_running_server_keeps_its_id(database: str, tmp_path: Path) -> None:
    before = log_id(database, "executions")
    with serving(database):
        said = require_refused(tmp_path, "restored", EXECUTIONS_DATABASE_URL=database)
    assert "runs on this log: stop all of them first" in said
    assert log_id(database, "executions") == before


def test_help_of_rebuild_names_every_view() -> None:
    words = CliRunner().invoke(main, ["rebuild", "--help"]).output
    assert [view.name for view in all_projections(registry.codec()) if view.name not in words] == []


def test_database_that_refuses_writes_is_named_in_one_line(database: str, tmp_path: Path) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    assert "it is a standby, or read-only" in require_refused(
        tmp_path, EXECUTIONS_DATABASE_URL=database
    )


def test_log_is_not_served_under_another_name(database: str, tmp_path: Path) -> None:
    assert settle_log_name(database, "executions", "north") == "north"
    names = {"EXECUTIONS_DATABASE_URL": database, "EXECUTIONS_LOG": "south"}
    said = require_refused(tmp_path, **names)
    assert "EXECUTIONS_LOG" in said
    assert "is named `north`, not `south`" in said
