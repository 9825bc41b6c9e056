"""Writes to one node of a cluster past every proxy, like a client that has its address, and stores what was acknowledged."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count

import psycopg

from tests.support.cluster_node import Node
from tests.support.patroni_cluster import PatroniCluster
from tests.support.waiting import wait_until

PAUSE, RETRY_PAUSE = 0.02, 0.3
"""Seconds after a row, and after a refusal."""
TABLE = "CREATE TABLE IF NOT EXISTS written (node text, number int, PRIMARY KEY (node, number))"
WRITE = "INSERT INTO written VALUES (%s, %s)"
READ = "SELECT node, number FROM written"
_NUMBERS = count()
"""Common to all writers, as those of one failure find the rows of the previous one."""


class DirectWriter:
    """Commits one row at a time until it is stopped; a refused number is not used again."""

    def __init__(self, node: Node) -> None:
        self.acknowledged: set[tuple[str, int]] = set()
        self._node = node
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="direct writer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop writing; the node must not hang."""
        self._stopped.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopped.wait(RETRY_PAUSE):
            with (
                suppress(psycopg.Error),
                psycopg.connect(self._node.conninfo, autocommit=True) as connection,
            ):
                connection.execute("SET statement_timeout = '60s'")
                self._write(connection)

    def _write(self, connection: psycopg.Connection) -> None:
        while not self._stopped.wait(PAUSE):
            row = (self._node.name, next(_NUMBERS))
            connection.execute(WRITE, row)
            self.acknowledged.add(row)


@contextmanager
def direct_writers(nodes: Sequence[Node], primary: Node) -> Iterator[Sequence[DirectWriter]]:
    """A writer to each node while the block runs, of which one has written; the table is created on `primary`."""
    with psycopg.connect(primary.conninfo, autocommit=True) as connection:
        connection.execute(TABLE)
    writers = [DirectWriter(node) for node in nodes]
    try:
        wait_until(lambda: any(writer.acknowledged for writer in writers))
        yield writers
    finally:
        for writer in writers:
            writer.stop()


def assert_kept(writers: Sequence[DirectWriter], cluster: PatroniCluster) -> None:
    """Raises AssertionError if the primary lacks a row that a node has acknowledged."""
    there: set[tuple[str, int]] = set()

    def read() -> bool:
        with suppress(psycopg.OperationalError), psycopg.connect(cluster.primary().conninfo) as one:
            there.update(one.execute(READ).fetchall())
            return True
        return False  # it has just lost leadership

    wait_until(read)
    for writer in writers:
        assert writer.acknowledged <= there, sorted(writer.acknowledged - there)
