"""Fills the tables of views with several processes: each applies the streams of its share to the same new tables.

A process reads its share from standard input, which then stays open: when the parent dies, in whatever way, standard
input closes and the process ends. Its bookmark shows its progress, and its exit status whether it succeeded.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from psycopg import AsyncConnection
from psycopg.errors import DeadlockDetected
from psycopg.sql import SQL

from domain.eventlog.store import Store
from projections.engine.follower import Follower
from projections.engine.migrations import BEGIN_BOOKMARK
from projections.engine.pages import LogPart
from projections.engine.prefetch import SharedPages, collecting_rarely, reading_ahead
from projections.engine.projection import Projection
from projections.engine.verification.log_check import LogCheck

LOOK_EVERY = 0.05
"""Seconds between two reads of the bookmarks of the parts, and of the state of the processes."""
NO_IDLE_TIMEOUT = "-c idle_in_transaction_session_timeout=0"
"""No other process waits for the rows of a part, so a transaction may be idle while the machine is busy."""

REACHED = SQL("SELECT sum(position)::bigint / count(*) FROM bookmarks WHERE view = ANY({})")
ALL_REACHED = SQL("UPDATE bookmarks SET position = {} WHERE view = {}")


OnProgress = Callable[[int, int], None]
"""Called with the position reached and the position to reach."""


def unseen(_: int, __: int) -> None:
    """Ignore the progress: an `OnProgress` for callers that show none."""


class PartFailed(Exception):
    """A process of a rebuild ended before it had applied its share."""


class Processes(NamedTuple):
    """The number of processes for one rebuild, and the command and environment of each; None for this process's
    environment.
    """

    number: int
    command: Sequence[str]
    environment: Mapping[str, str] | None = None


class Share(NamedTuple):
    """The work of one process: it applies the streams of share `number` of `shares`, counted from 0, to each view in
    `until`, up to the position given there. The session `options` select the schema of the tables.

    The process also checks the log up to the position `log`. With the master `key`, in base64, it opens sealed fields.
    """

    conninfo: str
    options: str
    schema: str
    until: Mapping[str, int]
    page: int
    shares: int
    number: int
    log: int = 0
    key: str | None = None

    @property
    def end(self) -> int:
        """The last position that the process has to read."""
        return max((self.log, *self.until.values()))

    def part(self, view: str) -> LogPart:
        """Return the part of the log that the process applies to a view."""
        return LogPart(self.shares, self.number, self.until[view])

    def bookmarks(self) -> list[str]:
        """Return the names of the bookmarks of this share, one for each view."""
        return [self.part(view).bookmark(view) for view in self.until]

    def encode(self) -> bytes:
        """Return the share as a line that `parse` reads."""
        return json.dumps(self).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Share:
        """Return the share in a line. Raises ValueError if the line is incomplete."""
        return cls(*json.loads(line))


async def apply(
    share: Share, views: Sequence[Projection], store: Store, on_progress: OnProgress = unseen
) -> None:
    """Apply a share to its views, from their bookmarks to its end. Each event is decoded once for all views."""
    views = [view for view in views if view.name in share.until]
    options = f"{share.options} {NO_IDLE_TIMEOUT}"
    whole = LogPart(share.shares, share.number, share.end)
    async with (
        await AsyncConnection.connect(
            share.conninfo, autocommit=True, options=options
        ) as connection,
        reading_ahead(store, None if share.log else _types(views), share.page, whole) as pages,
    ):
        followers: list[LogCheck | Follower] = [
            Follower(view, SharedPages(pages, _types_of(view)), share.page, share.part(view.name))
            for view in views
        ]
        if share.log:
            followers.insert(
                0,
                LogCheck(
                    store, pages, share.page, whole[:2], share.log, opening=share.key is not None
                ),
            )
        with collecting_rarely():
            while followers:  # those that have more to apply; each applies a page in turn
                followers = [
                    follower
                    for follower in followers
                    if await _catch_up(follower, connection) is not None and follower.behind
                ]
                reached = min((each.position for each in followers), default=share.end)
                on_progress(reached, share.end)


def _types_of(view: Projection) -> frozenset[str] | None:
    return None if view.types is None else frozenset(view.types)


def _types(views: Sequence[Projection]) -> Sequence[str] | None:
    """Return the event types that the views apply, sorted; None for all."""
    types: set[str] = set()
    for view in views:
        if view.types is None:
            return None
        types.update(view.types)
    return sorted(types)


async def _catch_up(follower: LogCheck | Follower, connection: AsyncConnection) -> object:
    """Apply a page, again if it was undone by a deadlock of two processes that add to the same sums."""
    while True:
        with suppress(DeadlockDetected):
            return await follower.catch_up(connection)


async def apply_all(
    connection: AsyncConnection,
    shares: Sequence[Share],
    workers: Processes,
    on_progress: OnProgress,
) -> None:
    """Apply each share with a process of its own, then move the bookmarks of the views to the end of the shares.

    All processes have ended when this returns or raises.

    Raises:
        PartFailed: a process failed or was killed.
    """
    until = shares[0].end
    bookmarks = await _create_bookmarks(connection, shares)
    with _processes(shares, workers) as processes:
        while _are_running(processes):
            cursor = await connection.execute(REACHED.format(bookmarks))
            on_progress((await cursor.fetchall())[0][0] or 0, until)
            await asyncio.sleep(LOOK_EVERY)
    await _move_bookmarks(connection, shares)


async def apply_here(
    connection: AsyncConnection,
    share: Share,
    views: Sequence[Projection],
    store: Store,
    on_progress: OnProgress,
) -> None:
    """Apply a share that is the whole log in this process, then move the bookmarks of the views to its end."""
    await _create_bookmarks(connection, [share])
    await apply(share, views, store, on_progress)
    await _move_bookmarks(connection, [share])


async def _create_bookmarks(connection: AsyncConnection, shares: Sequence[Share]) -> list[str]:
    bookmarks = [bookmark for share in shares for bookmark in share.bookmarks()]
    for bookmark in bookmarks:
        await connection.execute(BEGIN_BOOKMARK, (bookmark,))
    return bookmarks


async def _move_bookmarks(connection: AsyncConnection, shares: Sequence[Share]) -> None:
    for view, position in shares[0].until.items():
        await connection.execute(ALL_REACHED.format(position, view))


@contextmanager
def _processes(
    shares: Sequence[Share], workers: Processes
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start a process for each share; kill and reap all of them when the block ends."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for share in shares:
            # A session of its own, so that Ctrl-C reaches only the parent, which then ends the process.
            process = subprocess.Popen(
                workers.command,
                stdin=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                env=workers.environment,
            )
            processes.append(process)
            assert process.stdin is not None
            with suppress(
                BrokenPipeError
            ):  # the process has already failed, as its exit status shows
                process.stdin.write(share.encode())
        yield processes
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            with process:
                pass


def _are_running(processes: Sequence[subprocess.Popen[bytes]]) -> bool:
    """Return whether any process is still running; raise `PartFailed` if one has failed."""
    statuses = [process.poll() for process in processes]
    for number, status in enumerate(statuses, 1):
        if status:
            how = f"was killed by signal {-status}" if status < 0 else "failed"
            raise PartFailed(f"process {number} of {len(processes)} {how}; the view is as it was")
    return None in statuses
