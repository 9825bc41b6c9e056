"""`executions webhooks` lists waiting and failed deliveries, and sends them again."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from api.cli.main import main
from domain.eventlog.sessions import session_options
from projections.deliveries.projection import Deliveries
from projections.engine.migrations import migrate_projections

GIVEN = """
INSERT INTO events VALUES (1, 1, now() - interval '1 hour', 'user/u', 'user.created', '{}', '{}');
INSERT INTO webhooks VALUES ('wh_1', NULL, 'webhook/wh_1', 1, 1, 0, 'https://a.example', '{*}', NULL);
INSERT INTO webhook_progress (webhook, failing_since, last_at, error)
    VALUES ('wh_1', now(), now(), 'answered 500');
"""
DELIVERY = """INSERT INTO webhook_deliveries (webhook, position, stream, version, state, at)
    VALUES ('wh_1', 1, 'user/u', 1, %s, now());"""
LANE = "INSERT INTO webhook_lanes VALUES ('wh_1', 'user/u', 'https://a.example', now())"


@pytest.fixture(autouse=True)
def settings(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate_projections(database, "executions", [Deliveries()])
    monkeypatch.setenv("EXECUTIONS_DATABASE_URL", database)
    monkeypatch.setenv("EXECUTIONS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "120")


def webhooks(*options: str) -> Result:
    return CliRunner().invoke(main, ["webhooks", *options])


def test_ids_are_printed_whole_in_a_pipe_and_on_a_narrow_terminal(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_delivery(database, "waiting")
    identity = "execution-with-a-long-name/wh-1"
    with psycopg.connect(database, options=session_options("executions")) as connection:
        for table in ("webhooks", "webhook_progress", "webhook_deliveries", "webhook_lanes"):
            connection.execute(
                f"UPDATE {table} SET webhook = %s".encode(),  # noqa: S608 - values of this test
                (identity,),
            )
    monkeypatch.setenv("COLUMNS", "80")
    assert "answered 500" in webhooks().output
    assert identity in webhooks().output
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    on_terminal = webhooks().output
    assert identity in on_terminal
    assert " failing " in on_terminal


def test_webhook_that_reads_the_past_is_listed_with_the_events_that_it_is_behind(
    database: str,
) -> None:
    with psycopg.connect(database, options=session_options("executions")) as connection:
        connection.execute(GIVEN.replace("now(), now(), 'answered 500'", "NULL, NULL, NULL"))
        connection.execute("UPDATE webhook_progress SET position = 0")
        connection.execute("UPDATE webhook_head SET position = 7")
    shown = json.loads(webhooks("--json").output)
    assert (shown["waiting"], shown["failing"], shown["behind"]) == (0, 0, 1)
    assert [(each["webhook"], each["behind"]) for each in shown["webhooks"]] == [("wh_1", 7)]
    assert "Webhooks that still read the past: 1." in webhooks().output


def test_disabled_webhook_is_sent_nothing_again(database: str) -> None:
    insert_delivery(database, "failed")
    with psycopg.connect(database, options=session_options("executions")) as connection:
        connection.execute("INSERT INTO webhook_states VALUES ('wh_1', 2, 0, NULL)")
    result = webhooks("--redeliver", "wh_1")
    assert result.exit_code == 1
    assert "enable it first" in result.output
    assert json.loads(webhooks("--json").output)["waiting"] == 0


def insert_delivery(database: str, state: str) -> None:
    with psycopg.connect(database, options=session_options("executions")) as connection:
        connection.execute(GIVEN)
        connection.execute(DELIVERY, (state,))
        if state == "waiting":
            connection.execute(LANE)


def test_command_ends_with_0_if_nothing_waits_or_failed() -> None:
    result = webhooks()
    assert result.exit_code == 0, result.output
    assert "0 events wait" in result.output
    assert "No process calls webhooks" in result.output


def test_failing_webhooks_are_listed_and_the_command_ends_with_1(database: str) -> None:
    insert_delivery(database, "waiting")
    result = webhooks()
    assert result.exit_code == 1, result.output
    assert "Calls of 1 webhooks fail." in result.output
    shown = json.loads(webhooks("--json").output)
    assert (shown["waiting"], shown["failing"], shown["owned"]) == (1, 1, False)
    [webhook] = shown["webhooks"]
    assert (webhook["webhook"], webhook["state"], webhook["waiting"]) == ("wh_1", "failing", 1)
    assert 3_600 <= webhook["lagSeconds"] == shown["oldestSeconds"]


def test_redeliver_sends_failed_deliveries_again(database: str) -> None:
    insert_delivery(database, "failed")
    result = webhooks("--redeliver", "wh_1", "--since", "2126-01-01T00:00:00Z", "--json")
    assert json.loads(result.output) == {"redelivered": 0}
    assert "1 sent again" in webhooks("--redeliver", "wh_1").output
    assert json.loads(webhooks("--json").output)["waiting"] == 1
    assert "there is no webhook" in webhooks("--redeliver", "wh_2").output
    assert "--since" in webhooks("--redeliver", "wh_1", "--since", "soon").output


def test_since_without_redeliver_is_an_error_of_usage() -> None:
    result = webhooks("--since", "yesterday")
    assert result.exit_code == 2
    assert "--since goes with --redeliver alone" in result.output
