"""A PostgreSQL, and a standby that streams from it, which may lag or be killed on demand."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString, NamedTuple

import psycopg

from api.embedded_postgres.cluster import Cluster
from api.embedded_postgres.server import EmbeddedPostgres
from tests.support.databases import FAST, reachable_folder
from tests.support.waiting import wait_until

SETTINGS = {**FAST, "wal_writer_delay": "10ms"}
FLUSH: LiteralString = """SET synchronous_commit = on;
    SELECT pg_logical_emit_message(true, 'test', '')"""


class Pair(NamedTuple):
    """The two servers."""

    primary: EmbeddedPostgres
    of_primary: Cluster
    standby: EmbeddedPostgres
    data: Path
    """Of the standby."""

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While the block runs, the standby shows only what it has now."""
        self.wait_until_equal()
        ask(self.standby, "SELECT pg_wal_replay_pause()")
        wait_until(lambda: ask(self.standby, "SELECT pg_get_wal_replay_pause_state()") == "paused")
        try:
            yield
        finally:
            ask(self.standby, "SELECT pg_wal_replay_resume()")

    @contextmanager
    def commits_waiting(self) -> Iterator[None]:
        """Commits wait for a missing standby: until they are acknowledged the primary does not show them."""
        ask(self.primary, "ALTER SYSTEM SET synchronous_standby_names = 'elsewhere'")
        ask(self.primary, "ALTER SYSTEM SET synchronous_commit = on")
        ask(self.primary, "SELECT pg_reload_conf(), pg_sleep(0.2)")
        try:
            yield
        finally:
            ask(self.primary, "ALTER SYSTEM RESET ALL")
            ask(self.primary, "SELECT pg_reload_conf(), pg_sleep(0.2)")

    def wait_until_equal(self) -> None:
        """Wait until the standby shows all commits."""
        with psycopg.connect(self.primary.conninfo(), autocommit=True) as connection:
            connection.execute(FLUSH)
        place = ask(self.primary, "SELECT pg_current_wal_flush_lsn()::text")
        wait_until(
            lambda: ask(self.standby, "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", place)
        )

    def kill_standby(self) -> None:
        """Kill it, as if its machine was lost."""
        os.kill(int((self.data / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)

    def start_standby(self) -> None:
        """Start it again."""
        wait_until(lambda: not self.standby.ensure_running())


@contextmanager
def pair(bin_dir: Path | None) -> Iterator[Pair]:
    """A server, and a standby of it, while the block runs."""
    with (
        reachable_folder() as folder,
        EmbeddedPostgres(folder, settings=SETTINGS, bin_dir=bin_dir) as primary,
        new_standby(primary, Cluster(folder, bin_dir)) as (standby, data),
    ):
        yield Pair(primary, Cluster(folder, bin_dir), standby, data)


@contextmanager
def new_standby(
    primary: EmbeddedPostgres, of_primary: Cluster
) -> Iterator[tuple[EmbeddedPostgres, Path]]:
    """Another standby of a server, and its data directory."""
    with reachable_folder() as folder:
        copied = Cluster(folder, of_primary.bin_dir)
        copy(primary, of_primary, copied)
        with EmbeddedPostgres(folder, settings=SETTINGS, bin_dir=copied.bin_dir) as standby:
            yield standby, copied.data


def copy(primary: EmbeddedPostgres, of_primary: Cluster, copied: Cluster) -> None:
    """Make the data directory of a standby."""
    run_as = copied.run_as()
    run_as.make_private(copied.data)
    run_as.write(copied.password, of_primary.password.read_text())
    made = run_as.run(
        *(copied.programs(run_as) / "pg_basebackup", "-D", copied.data, "-d", primary.conninfo()),
        *("--checkpoint=fast", "--write-recovery-conf", "--no-sync"),
    )
    assert made.returncode == 0, made.stderr
    for lock in copied.data.glob(
        ".s.PGSQL.*.lock"
    ):  # of the primary's socket, which is in its data directory
        lock.unlink()


def ask(server: EmbeddedPostgres, query: LiteralString, *values: Any) -> Any:
    """The first value of the result of a statement, if any."""
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        cursor = connection.execute(query, values or None)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None
