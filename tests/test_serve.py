"""What `executions serve` says when it cannot start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from domain.recorder import session_options
from domain.vault import Vault

PROGRAM = Path(sys.executable).with_name("executions")


def refused(data_dir: Path, **environment: str) -> str:
    done = subprocess.run(
        [PROGRAM, "serve", "--port", "0", "--data-dir", data_dir],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_log_is_not_opened_with_another_master_key(database: str, tmp_path: Path) -> None:
    _, wrapped = Vault(b"of another server, 32 bytes long").make("execution/e")
    with psycopg.connect(database, options=session_options("executions")) as connection:
        connection.execute("INSERT INTO data_keys VALUES ('execution/e', %s)", (wrapped,))
    said = refused(tmp_path, EXECUTIONS_DATABASE_URL=database)
    assert "master.key is not the key that this log was sealed with" in said


def test_a_setting_that_cannot_be_is_named(tmp_path: Path) -> None:
    assert "EXECUTIONS_QUEUE_LIMIT" in refused(tmp_path, EXECUTIONS_QUEUE_LIMIT="many")


def test_a_database_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    said = refused(tmp_path, EXECUTIONS_DATABASE_URL="postgresql://127.0.0.1:1/nowhere")
    assert "EXECUTIONS_DATABASE_URL" in said


@pytest.mark.parametrize("command", ["projections", "verify", "rebuild executions"])
def test_looking_after_a_database_that_is_not_there_says_so(tmp_path: Path, command: str) -> None:
    nowhere = "postgresql://127.0.0.1:1/nowhere"
    done = subprocess.run(
        [PROGRAM, *command.split(), "--data-dir", tmp_path],
        env={**os.environ, "EXECUTIONS_DATABASE_URL": nowhere},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "the database is away" in done.stderr
