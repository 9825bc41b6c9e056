"""Views built by several processes: each applies the streams of its share to the same new tables.

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
"""Seconds between two looks at how far the parts are."""
NO_IDLE_TIMEOUT = "-c idle_in_transaction_session_timeout=0"
"""No other process writes the rows of a part, so none waits while this one is denied the processor."""

REACHED = SQL("SELECT sum(position)::bigint / count(*) FROM bookmarks WHERE view = ANY({})")
ALL_REACHED = SQL("UPDATE bookmarks SET position = {} WHERE view = {}")


OnProgress = Callable[[int, int], None]
"""Is called with the position reached and the position to reach."""


def unseen(_: int, __: int) -> None:
    """An `OnProgress` that nobody looks at."""


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
    """What one process gets: the tables, by the options of a session, and the streams of the share `number` of
    `shares`, from 0, for each view up to a position of the log. Up to `log` it checks the log, too; by the master
    `key`, in base64, it opens what is sealed there.
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
        """The last position that is of interest."""
        return max((self.log, *self.until.values()))

    def part(self, view: str) -> LogPart:
        """What is to be applied to a view."""
        return LogPart(self.shares, self.number, self.until[view])

    def bookmarks(self) -> list[str]:
        """How far each view is."""
        return [self.part(view).bookmark(view) for view in self.until]

    def encode(self) -> bytes:
        """The line that `parse` understands."""
        return json.dumps(self).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Share:
        """A share from its line. Raises ValueError where the line is cut off."""
        return cls(*json.loads(line))


async def apply(
    share: Share, views: Sequence[Projection], store: Store, on_progress: OnProgress = unseen
) -> None:
    """Bring the tables from the share's bookmarks to its ends. An event is decoded once for all views."""
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
            while followers:  # those that have more, each page in turn
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
    """All that some views are shown."""
    types: set[str] = set()
    for view in views:
        if view.types is None:
            return None
        types.update(view.types)
    return sorted(types)


async def _catch_up(follower: LogCheck | Follower, connection: AsyncConnection) -> object:
    """A page; once more where it was undone, as two processes added to the same sums in another order."""
    while True:
        with suppress(DeadlockDetected):
            return await follower.catch_up(connection)


async def apply_all(
    connection: AsyncConnection,
    shares: Sequence[Share],
    workers: Processes,
    on_progress: OnProgress,
) -> None:
    """Have each share applied by a process of its own, and move the bookmarks of the views there.

    Raises:
        PartFailed: a process failed or was killed. No process is left, whatever is raised.
    """
    until = shares[0].end
    bookmarks = await _begin(connection, shares)
    with _start(shares, workers) as processes:
        while _going_on(processes):
            cursor = await connection.execute(REACHED.format(bookmarks))
            on_progress((await cursor.fetchall())[0][0] or 0, until)
            await asyncio.sleep(LOOK_EVERY)
    await _end(connection, shares)


async def apply_here(
    connection: AsyncConnection,
    share: Share,
    views: Sequence[Projection],
    store: Store,
    on_progress: OnProgress,
) -> None:
    """The same for a share that is the whole log, by this process."""
    await _begin(connection, [share])
    await apply(share, views, store, on_progress)
    await _end(connection, [share])


async def _begin(connection: AsyncConnection, shares: Sequence[Share]) -> list[str]:
    bookmarks = [bookmark for share in shares for bookmark in share.bookmarks()]
    for bookmark in bookmarks:
        await connection.execute(BEGIN_BOOKMARK, (bookmark,))
    return bookmarks


async def _end(connection: AsyncConnection, shares: Sequence[Share]) -> None:
    for view, position in shares[0].until.items():
        await connection.execute(ALL_REACHED.format(position, view))


@contextmanager
def _start(shares: Sequence[Share], workers: Processes) -> Iterator[list[subprocess.Popen[bytes]]]:
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
