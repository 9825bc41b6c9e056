"""A rebuild by several processes: each applies the streams of its share to the same new tables.

A process reads its share from standard input, which then stays open: its parent may die in
any way, and the process ends. How far it is stands in its bookmark, and its end in its exit status.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from psycopg import AsyncConnection
from psycopg.sql import SQL

from domain.eventlog.store import Store
from projections.engine.migrations import BEGIN_BOOKMARK
from projections.engine.pages import Part
from projections.engine.prefetch import collecting_rarely, reading_ahead
from projections.engine.projection import Projection

LOOK_EVERY = 0.05
"""Seconds between two looks at how far the parts are."""
NO_IDLE_TIMEOUT = "-c idle_in_transaction_session_timeout=0"
"""No other process writes the rows of a part, so none waits while this one is denied the processor."""

REACHED = SQL("SELECT sum(position)::bigint / count(*) FROM bookmarks WHERE view = ANY({})")
ALL_REACHED = SQL("UPDATE bookmarks SET position = {} WHERE view = {}")


class PartFailed(Exception):
    """A process of a rebuild has ended before its share was applied."""


class Processes(NamedTuple):
    """How many may work at one rebuild, and how one is started: its command and its environment, which
    is that of this process where none is named.
    """

    number: int
    command: Sequence[str]
    environment: Mapping[str, str] | None = None


class Share(NamedTuple):
    """What one process gets: the tables, by the options of a session, and a part of the log."""

    conninfo: str
    options: str
    schema: str
    view: str
    page: int
    part: Part

    def encode(self) -> bytes:
        """The line that `parse` understands."""
        return json.dumps(self).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Share:
        """A share from its line. Raises ValueError where the line is cut off."""
        conninfo, options, schema, view, page, part = json.loads(line)
        return cls(conninfo, options, schema, view, page, Part(*part))


async def apply(share: Share, view: Projection, store: Store) -> None:
    """Bring the tables from the share's bookmark to its end."""
    options = f"{share.options} {NO_IDLE_TIMEOUT}"
    async with (
        await AsyncConnection.connect(
            share.conninfo, autocommit=True, options=options
        ) as connection,
        reading_ahead(view, store, share.page, share.part) as follower,
    ):
        with collecting_rarely():
            while await follower.catch_up(connection) is not None and follower.behind:
                pass


async def apply_all(
    connection: AsyncConnection,
    shares: Sequence[Share],
    workers: Processes,
    on_progress: Callable[[int, int], None],
) -> None:
    """Have each share of a view applied by a process of its own, and move the view's bookmark there.

    Raises:
        PartFailed: a process failed or was killed. No process is left, whatever is raised.
    """
    view, until = shares[0].view, shares[0].part.until
    bookmarks = [share.part.bookmark(view) for share in shares]
    for bookmark in bookmarks:
        await connection.execute(BEGIN_BOOKMARK, (bookmark,))
    with _started(shares, workers) as processes:
        while _going_on(processes):
            cursor = await connection.execute(REACHED.format(bookmarks))
            on_progress((await cursor.fetchall())[0][0], until)
            await asyncio.sleep(LOOK_EVERY)
    await connection.execute(ALL_REACHED.format(until, view))


@contextmanager
def _started(
    shares: Sequence[Share], workers: Processes
) -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for share in shares:
            # A session of its own: Ctrl-C is for the one who started it, and who ends it.
            process = subprocess.Popen(
                workers.command,
                stdin=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                env=workers.environment,
            )
            processes.append(process)
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # it has failed already, which its status tells
                process.stdin.write(share.encode())
        yield processes
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            with process:
                pass


def _going_on(processes: Sequence[subprocess.Popen[bytes]]) -> bool:
    statuses = [process.poll() for process in processes]
    for number, status in enumerate(statuses, 1):
        if status:
            how = f"was killed by signal {-status}" if status < 0 else "failed"
            raise PartFailed(f"process {number} of {len(processes)} {how}; the view is as it was")
    return None in statuses
