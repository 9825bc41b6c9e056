"""`executions doctor` with the log of a server."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from api.cli.doctor import _summary
from domain import registry
from domain.eventlog.encryption import Vault
from domain.eventlog.keyring import Keyring
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from projections.diagnosis import measurements
from projections.diagnosis.measurements import Measurements, ServerState, TableSize
from projections.preparation import prepare_tables
from tests.support.forked_program import run_forked


def doctor(conninfo: str, data_dir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    settings = {"EXECUTIONS_DATABASE_URL": conninfo, "EXECUTIONS_DATA_DIR": str(data_dir)}
    return run_forked(["doctor", *options], {**os.environ, **settings, "COLUMNS": "120"}, 60)


def test_doctor_names_faults_and_ends_with_1(database: str, tmp_path: Path) -> None:
    well = doctor(database, tmp_path)
    assert "The log is at 0" in well.stdout
    assert "rows (about)" in well.stdout
    assert "ahead of the log" not in well.stdout
    with psycopg.connect(database, options=session_options("executions")) as connection:
        connection.execute("UPDATE bookmarks SET position = 7 WHERE view = 'analytics'")
    ill = doctor(database, tmp_path)
    assert ill.returncode == 1
    assert "analytics is at 7, ahead of the log" in ill.stdout
    assert "executions rebuild analytics" in ill.stdout
    shown = json.loads(doctor(database, tmp_path, "--json").stdout)
    assert [finding["severity"] for finding in shown["findings"]].count("damaged") >= 1
    assert shown["position"] == 0


FAILING = """
INSERT INTO events VALUES (1, 1, now() - interval '1 hour', 'user/u', 'user.created', '{}', '{}');
INSERT INTO webhooks VALUES ('wh_1', NULL, 'webhook/wh_1', 1, 1, 0, 'https://a.example', '{*}', NULL);
INSERT INTO webhook_progress (webhook, failing_since, last_at, error)
    VALUES ('wh_1', now(), now(), 'answered 500');
INSERT INTO webhook_deliveries (webhook, position, stream, version, state, at)
    VALUES ('wh_1', 1, 'user/u', 1, 'waiting', now());
INSERT INTO webhook_lanes VALUES ('wh_1', 'user/u', 'https://a.example', now());
"""
ARCHIVED = """INSERT INTO log_archives VALUES
    ('log-lines/2026-10-01/1-3.parquet', '2026-10-01', 1, 3, 3, 10, 'digest', now())"""

TIMERS = """INSERT INTO timers (execution, status, worked, due, checkpoint_due) VALUES
    ('overdue', 'retry', 0, now() - interval '2 days', NULL),
    ('idle', 'running', 0, NULL, now() - interval '1 hour')"""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (TIMERS, ["1 timer is overdue, the first for 2880 minutes"]),
        (FAILING, ["calls of 1 webhook fail", "1 event waits for webhooks, the oldest for 3"]),
        (ARCHIVED, ["log-lines/2026-10-01/1-3.parquet first: what it has cannot be read"]),
    ],
)
def test_doctor_reports_overdue_timers_failing_webhooks_and_missing_archive_files(
    database: str, tmp_path: Path, given: str, said: list[str]
) -> None:
    doctor(database, tmp_path)
    with psycopg.connect(database, options=session_options("executions")) as connection:
        connection.execute(given)
    shown = json.loads(doctor(database, tmp_path, "--json").stdout)
    found = " / ".join(finding["what"] for finding in shown["findings"])
    assert all(each in found for each in said), found


@pytest.mark.anyio
async def test_views_are_not_ahead_of_a_log_that_is_written_meanwhile(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, read_first = measurements._rows, list[str]()

    async def write_after_the_first(connection: AsyncConnection, query: str) -> list[Any]:
        rows = await read(connection, query)
        if not read_first:
            read_first.append(query)
            with psycopg.connect(database, options=session_options("executions")) as other:
                other.execute("UPDATE bookmarks SET position = 7 WHERE view = 'analytics'")
        return rows

    monkeypatch.setattr(measurements, "_rows", write_after_the_first)
    prepare_tables(database, database, "executions")
    store = Store(database, "executions", registry.codec(), Keyring(Vault(b"k" * 32)))
    await store.open()
    measured = await measurements.measure(store)
    await store.close()
    assert {view.position for view in measured.views} == {measured.head}


def test_doctor_says_how_many_bytes_an_event_takes() -> None:
    tables = [TableSize("events", 40_000, 11_400, 90, 0), TableSize("users", 29_500, 0, 9, 0)]
    server = ServerState(1, 0.0, 0, 0, 0, 0)
    said = _summary(Measurements(100, tables, [], {"server_version": "18"}, server, 0))
    assert said.startswith(
        "The log is at 100; it takes 79 KiB: 514 bytes an event in the table of events with its "
        "indexes, 809 with all other tables (views, keys and others)."
    )
