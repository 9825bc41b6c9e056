"""`executions timers` lists the next timers and those that are late."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from api.cli.main import main
from domain.eventlog.sessions import session_options
from projections.engine.migrations import migrate_projections
from projections.timers.projection import Timers

ROW = """INSERT INTO timers (execution, status, worked, {column}, due)
    VALUES (%s, 'retry', 0, {moment}, {moment})"""


@pytest.fixture(autouse=True)
def settings(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate_projections(database, "executions", [Timers()])
    monkeypatch.setenv("EXECUTIONS_DATABASE_URL", database)
    monkeypatch.setenv("EXECUTIONS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "120")


def timers(*options: str) -> Result:
    return CliRunner().invoke(main, ["timers", *options])


def insert_timer(database: str, execution: str, moment: str) -> None:
    with psycopg.connect(database, options=session_options("executions")) as connection:
        query = ROW.format(column="retry_at", moment=moment)
        connection.execute(query.encode(), (execution,))


def test_timers_are_listed_with_the_earliest_first(database: str) -> None:
    insert_timer(database, "later", "now() + interval '2 hours'")
    insert_timer(database, "soon", "now() + interval '1 minute'")
    result = timers()
    assert result.exit_code == 0, result.output
    assert result.output.index("soon") < result.output.index("later")
    assert "No timer is late." in result.output
    assert "No process fires timers" in result.output
    shown = json.loads(timers("--json", "--limit", "1").output)
    assert [(each["execution"], each["kind"]) for each in shown["timers"]] == [("soon", "retry")]
    assert (shown["owned"], shown["late"], shown["lag"]) == (False, 0, 0)


def test_command_ends_with_1_if_timers_are_late(database: str) -> None:
    insert_timer(database, "forgotten", "now() - interval '1 hour'")
    result = timers()
    assert result.exit_code == 1
    assert "late by 1:00:0" in result.output
    assert "1 timer is due, the oldest for 1:00:0" in result.output


RUNNING = """INSERT INTO timers (execution, status, worked, timeout, active_since, due, checkpoint_due)
    SELECT execution, 'running', 0, timeout, began, began + timeout * interval '1 millisecond',
        began + interval '15 minutes'
    FROM (SELECT %s AS execution, %s::bigint AS timeout, now() - %s::interval AS began) AS timer"""


def running(database: str, execution: str, since: str, timeout: int | None = None) -> None:
    with psycopg.connect(database, options=session_options("executions")) as connection:
        connection.execute(RUNNING, (execution, timeout, since))


def test_automatic_checkpoint_that_is_no_longer_due_is_not_late(database: str) -> None:
    """As of imported executions that began long ago and stay running."""
    running(database, "imported", "15 years")
    running(database, "long", "2 days", timeout=3 * 86_400_000)
    result = timers()
    assert result.exit_code == 0, result.output
    assert "imported" not in result.output
    assert "No timer is late." in result.output
    [shown] = json.loads(timers("--json").output)["timers"]
    assert (shown["execution"], shown["kind"]) == ("long", "timeout")


def test_timeout_is_late_and_a_checkpoint_waits_until_something_happens(database: str) -> None:
    running(database, "overdue", "15 years", timeout=3_600_000)
    running(database, "idle", "1 hour")
    shown = json.loads((result := timers("--json")).output)
    assert (result.exit_code, shown["late"]) == (1, 1)
    kinds = [(each["execution"], each["kind"]) for each in shown["timers"]]
    assert kinds == [("overdue", "timeout"), ("idle", "checkpoint")]
    [line] = [line for line in timers().output.splitlines() if "idle" in line]
    assert "as something happens" in line
