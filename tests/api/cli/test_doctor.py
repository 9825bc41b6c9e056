"""`executions doctor` on a log that a server has made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg

from domain.eventlog.sessions import session_options

PROGRAM = Path(sys.executable).with_name("executions")


def doctor(conninfo: str, data_dir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    settings = {"EXECUTIONS_DATABASE_URL": conninfo, "EXECUTIONS_DATA_DIR": str(data_dir)}
    return subprocess.run(
        [PROGRAM, "doctor", *options],
        env={**os.environ, **settings, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_doctor_names_what_is_damaged_and_ends_with_1(database: str, tmp_path: Path) -> None:
    well = doctor(database, tmp_path)
    assert "The log is at 0" in well.stdout
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
