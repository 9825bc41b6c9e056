"""Two PostgreSQL servers, a served log on one of them, and the command that moves it to the other."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, LiteralString

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from api.embedded_postgres.cluster import USER
from api.embedded_postgres.server import EmbeddedPostgres
from domain.eventlog.sessions import session_options
from tests.support import killed_move
from tests.support.databases import FAST, reachable_folder
from tests.support.forked_program import exit_code_of_forked, run_forked
from tests.support.service_process import Service

SCHEMA = "executions"
LONGEST = 120
_NUMBERS = itertools.count(1)
LEFT = {
    "publications": "SELECT count(*) FROM pg_publication",
    "slots": "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()",
    "triggers": "SELECT count(*) FROM pg_trigger WHERE tgname = 'log_move'",
    "rows": "SELECT count(*) FROM log_move",
}


class Servers:
    """The old database, with logical replication, and the new one; one user has the same password in both."""

    def __init__(self, old: EmbeddedPostgres, new: EmbeddedPostgres) -> None:
        self._old, self._new = old, new
        self._password = old.password(USER)
        alter = SQL("ALTER ROLE {} PASSWORD {}").format(Identifier(USER), self._password)
        with psycopg.connect(new.conninfo(), autocommit=True) as connection:
            connection.execute(alter)

    def old(self, database: str) -> str:
        return self._old.conninfo(database)

    def new(self, database: str) -> str:
        return make_conninfo(self._new.conninfo(database), password=self._password)

    @contextmanager
    def databases(self) -> Iterator[tuple[str, str]]:
        """An empty database on both servers, while the block runs."""
        name = f"log_{os.getpid()}_{next(_NUMBERS)}"
        places = self.old("postgres"), self.new("postgres")
        for place in places:
            _execute(place, SQL("CREATE DATABASE {}").format(Identifier(name)))
        try:
            yield self.old(name), self.new(name)
        finally:
            # An interrupted move keeps its slot and its subscription: both go with their servers.
            with suppress(psycopg.errors.ObjectInUse):
                for place in places:
                    _execute(place, SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@contextmanager
def two_servers(bin_dir: Path | None) -> Iterator[Servers]:
    """Both servers, while the block runs."""
    settings = {**FAST, "max_logical_replication_workers": "8", "max_worker_processes": "16"}
    with ExitStack() as stack:
        old, new = (
            stack.enter_context(
                EmbeddedPostgres(
                    stack.enter_context(reachable_folder()),
                    settings={**settings, "wal_level": level},
                    bin_dir=bin_dir,
                )
            )
            for level in ("logical", "replica")
        )
        yield Servers(old, new)


class MovedLog:
    """A log with a name, its two servers, and its two databases."""

    def __init__(self, name: str, services: Sequence[Service], old: str, new: str) -> None:
        self.name = name
        self.services = services
        self.old, self.new = old, new

    def move(self, *options: str, to: str | None = None) -> CompletedProcess[str]:
        """`executions cells move`, from beginning to end."""
        return self.cells("move", self.name, "--to", to or self.new, *options)

    def cells(self, *arguments: str, at: str | None = None) -> CompletedProcess[str]:
        return cells(*arguments, at=at or self.old, data=self.services[0].data)

    def killed_move(self, method: str, when: str) -> int | None:
        """A move that is killed before or after it has called a method of `MoveDatabases`; its exit code."""
        arguments = ["cells", "move", self.name, "--to", self.new, "--json"]
        variables = environment(self.old, self.services[0].data)
        return exit_code_of_forked(
            killed_move.run, method, when, arguments, variables, seconds=LONGEST
        )


@contextmanager
def moved_log(servers: Servers, *, services: int = 1) -> Iterator[MovedLog]:
    """A log served by this many servers, which may be moved while the block runs."""
    name = f"north-{next(_NUMBERS)}"
    with servers.databases() as (old, new), reachable_folder() as folder:
        running = [Service(folder, old, EXECUTIONS_LOG=name) for _ in range(services)]
        try:
            for service in running:
                service.start()
            yield MovedLog(name, running, old, new)
        finally:
            for service in running:
                service.close()


def cells(*arguments: str, at: str, data: Path) -> CompletedProcess[str]:
    """`executions cells …`, for a database."""
    command = ["cells", *arguments, "--data-dir", str(data)]
    return run_forked(command, environment(at, data), LONGEST)


def environment(database: str, data: Path) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if "EXECUTIONS_" not in name}
    return {**ours, "EXECUTIONS_DATABASE_URL": database, "EXECUTIONS_DATA_DIR": str(data)}


def ask(conninfo: str, query: LiteralString, *values: Any) -> Any:
    """The first value of the result of a query, in the schema of the log."""
    with psycopg.connect(conninfo, autocommit=True, options=session_options(SCHEMA)) as connection:
        row = connection.execute(query, values or None).fetchone()
        return row[0] if row else None


def left_of_move(conninfo: str) -> dict[str, int]:
    """The objects that a move has left in a database, by kind; missing ones are left out."""
    found = {what: int(ask(conninfo, query)) for what, query in LEFT.items()}
    return {what: number for what, number in found.items() if number}


def has_schema(conninfo: str) -> bool:
    return bool(ask(conninfo, "SELECT to_regnamespace(%s) IS NOT NULL", SCHEMA))


def _execute(conninfo: str, command: Any) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(command)
