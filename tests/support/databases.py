"""Databases of the tests: templates, copies of them, and folders that PostgreSQL can access."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from api.embedded_postgres.cluster import USER
from api.embedded_postgres.server import EmbeddedPostgres
from domain.eventlog.migrations import migrate_log

FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "max_wal_size": "256MB",
    "scram_iterations": "1",
    "authentication_timeout": "10s",
}
"""Settings of a server whose data may be lost, and whose passwords protect nothing. `DROP DATABASE` waits for every client that
has begun to connect: by default a minute for one that has given up and left its socket open.
"""
# Several test processes may share one server: their databases have names of their own.
TEMPLATE = f"template_{os.getpid()}"
"""With the tables of the log alone."""
WITH_VIEWS = f"views_{os.getpid()}"
"""As at the second start of a server: with the tables of all views."""
MEMORY = Path("/dev/shm")  # noqa: S108 - folders with names of their own are made in it
"""On Linux. Creating a database there takes a quarter of the CPU time."""
ROOM = 2 * 1024**3
CREATE = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
DROP = sql.SQL("DROP DATABASE {} WITH (FORCE)")
DROP_IF_THERE = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
_NUMBERS = itertools.count(1)


def hash_password_once(server: EmbeddedPostgres) -> None:
    """Set the owner's password again, hashed in one iteration: by default a connection spends 3 ms on 4 096 iterations."""
    command = sql.SQL("ALTER ROLE {} PASSWORD {}").format(
        sql.Identifier(USER), server.password(USER)
    )
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute(command)


def migrate(conninfo: str) -> None:
    """Create the schema of the log in an empty database; every test's database is a copy of it."""
    migrate_log(conninfo, "executions")


@contextmanager
def new_database(
    admin: psycopg.Connection, name: str | None = None, *, template: str = TEMPLATE
) -> Iterator[str]:
    """A database while the block runs, migrated and empty if it is copied from our template."""
    made = name or f"test_{os.getpid()}_{next(_NUMBERS)}"
    admin.execute(CREATE.format(sql.Identifier(made), sql.Identifier(template)))
    try:
        yield made
    finally:
        admin.execute(DROP.format(sql.Identifier(made)))


def end_sessions(admin: psycopg.Connection, name: str) -> None:
    """Terminate every connection to a database, and allow no new one."""
    database = sql.Identifier(name)
    admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(database))
    admin.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", (name,)
    )


@contextmanager
def earlier_state(admin: psycopg.Connection, name: str) -> Iterator[Callable[[], None]]:
    """A copy of a database as it is now. A call puts the copy in its place, like a failover that loses commits."""
    copy, lost = f"{name}_earlier", f"{name}_lost"
    let_in = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(name))
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    end_sessions(admin, name)
    try:
        admin.execute(CREATE.format(sql.Identifier(copy), sql.Identifier(name)))
    except psycopg.errors.ObjectInUse:  # of a client that was authenticating meanwhile
        end_sessions(admin, name)
        admin.execute(CREATE.format(sql.Identifier(copy), sql.Identifier(name)))
    admin.execute(let_in)

    def replace() -> None:
        end_sessions(admin, name)
        admin.execute(rename.format(sql.Identifier(name), sql.Identifier(lost)))
        admin.execute(rename.format(sql.Identifier(copy), sql.Identifier(name)))
        admin.execute(let_in)

    try:
        yield replace
    finally:
        for made in (copy, lost):
            admin.execute(DROP_IF_THERE.format(sql.Identifier(made)))


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """A folder for a PostgreSQL while the block runs: in memory if there is enough, otherwise on the disk."""
    # In pytest's temporary folders, the PostgreSQL started by root, which runs as
    # another user, could not access its data; and a socket's path must be short.
    parent = MEMORY if _has_room(MEMORY) else None
    with tempfile.TemporaryDirectory(prefix="executions-", dir=parent) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def _has_room(parent: Path) -> bool:
    """Whether there is room for databases, and copied programs may run."""
    try:
        about = os.statvfs(parent)
    except OSError:
        return False
    return about.f_bavail * about.f_frsize > ROOM and not about.f_flag & os.ST_NOEXEC
