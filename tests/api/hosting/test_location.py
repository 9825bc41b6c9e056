"""Other logs of a deployment are in the database of its settings, even if the log of the settings was moved."""

from __future__ import annotations

from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from api.database import Database
from api.settings import Settings
from api.work_task import task_of, work_for_others
from domain.eventlog.moving.journal import location_of
from domain.eventlog.sessions import session_options
from tests.support.running_server import KEYS

MOVED = "INSERT INTO log_move (id, step, target, moved) VALUES ('m', 'finished', %s, true)"


def test_other_logs_are_found_in_the_database_of_the_settings_after_a_move(
    database: str, tmp_path: Path
) -> None:
    target = location_of(make_conninfo(database, dbname="postgres"))
    with psycopg.connect(database, options=session_options("executions")) as connection:
        connection.execute(MOVED, (target,))
    named = Database(database, database)
    known = named.locate("executions").locate("executions")
    assert conninfo_to_dict(known.serving)["dbname"] == "postgres"
    assert known.as_named == named

    settings = Settings(data_dir=tmp_path, logs=tmp_path / "logs.json")
    task = task_of(settings, known.serving, KEYS, known.as_named[:2])
    moved_again = task._replace(conninfo="dbname=elsewhere")
    [work] = work_for_others(moved_again)
    assert work._deployment.known == named
