"""A view rebuilt by several processes equals the live one, and a failure of one process leaves the live view intact."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest
from psycopg import AsyncConnection

from api.cli.rebuild_worker import COMMAND
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from domain.execution.events.progress import ProgressUpdated
from domain.model import Recorded
from projections.analytics.projection import Analytics
from projections.engine import rebuild as rebuilding
from projections.engine.follower import Follower
from projections.engine.migrations import BEGIN_BOOKMARK, migrate_projections
from projections.engine.pages import LogPages, LogPart
from projections.engine.parallel_rebuild import PartFailed, Processes, Share, apply
from projections.engine.rebuild import Rebuilt, rebuild
from projections.executions.projection import Executions
from tests.support.event_writer import Happening, Log, created, opened, some, started
from tests.support.forked_children import REBUILD
from tests.support.rebuilds import (
    Several,
    ask,
    bookmark,
    connect,
    differences,
    follow,
    rows,
    write_history,
)
from tests.support.sample_view import Seen

pytestmark = pytest.mark.anyio

ANONYMOUS = Processes(2, ("/nobody/can/start/this",))
PROGRAMS = Processes(2, COMMAND)
"""Started as by an operator. They live for a second, so that they can be found and killed."""
DIES_AT_ONCE = Processes(2, (sys.executable, "-c", "raise SystemExit(3)"))


@pytest.fixture(autouse=True)
def _share_short_logs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding, "SHARED", 10)
    monkeypatch.setattr(rebuilding, "PAGE", 20)


async def rebuilt(conninfo: str, store: Store, processes: Processes) -> Rebuilt:
    view = Executions(store.codec)
    return await rebuild(conninfo, "executions", view, store, processes=processes)


def parts() -> list[int]:
    """The rebuild processes that this process has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            names = (folder / "comm").read_text() + (folder / "cmdline").read_text()
            if parent == os.getpid() and REBUILD in names:
                found.append(int(folder.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


def two_parts() -> list[int]:
    """Two such processes, as soon as both run."""
    until = time.monotonic() + 30
    while len(found := parts()) < 2:
        assert time.monotonic() < until
        time.sleep(0.01)
    return found


async def test_processes_build_the_same_rows_beside_a_live_follower_under_writes(
    views: str, several: Several
) -> None:
    async with opened(views) as store, asyncio.TaskGroup() as tasks:
        log, done = Log(store), asyncio.Event()
        await write_history(log)
        await log.write(some_more())

        async def write() -> None:
            number = 0
            while not done.is_set():
                name = f"e-{number % 30}" if number % 3 else f"new-{number}"
                happening = Happening(name, ProgressUpdated(progress=5))
                await log.write([created(name), *started(name)] if number % 3 == 0 else [happening])
                number += 1
                await asyncio.sleep(0)

        async def read() -> None:
            async with await connect(views) as connection:
                follower = Follower(Executions(store.codec), LogPages(store, Executions.types))
                while not done.is_set():
                    await follower.catch_up(connection, 7)

        tasks.create_task(write())
        tasks.create_task(read())
        try:
            result = await rebuilt(views, store, several(3))
        finally:
            done.set()
    assert result.parked == 0
    async with opened(views) as store:
        await follow(views, store)
        assert await differences(views, store) == []
    assert bookmark(views) == (log.position, 2)
    assert parts() == []


def some_more() -> list[Happening]:
    return [
        happening
        for number in range(100)
        for happening in (created(f"more-{number}"), *started(f"more-{number}"))
    ]


async def test_every_rebuild_process_reports_its_progress(views: str) -> None:
    received: list[tuple[int, int]] = []
    async with opened(views) as store:
        await write_history(Log(store))
        view, note = Executions(store.codec), lambda *at: received.append(at)
        await rebuild(views, "executions", view, store, note, processes=PROGRAMS)
        assert await differences(views, store) == []
    assert received[0] == (0, 75)
    assert received[-1] == (75, 75)
    assert received == sorted(received)


async def test_killed_process_fails_the_rebuild_and_leaves_the_live_view_intact(
    views: str, several: Several
) -> None:
    async with opened(views) as store:
        await write_history(Log(store))
        await follow(views, store)
        live = rows(views)
        rebuilding_ = asyncio.create_task(rebuilt(views, store, PROGRAMS))
        os.kill((await asyncio.to_thread(two_parts))[1], 9)
        with pytest.raises(PartFailed, match="was killed by signal 9; the view is as it was"):
            await rebuilding_
        assert parts() == []
        assert (rows(views), bookmark(views)) == (live, (75, 1))
        assert await rebuilt(views, store, several(2)) == Rebuilt(75, 0)
        assert rows(views) == live


async def test_interrupted_rebuild_leaves_no_process(views: str) -> None:
    async with opened(views) as store:
        await write_history(Log(store))
        rebuilding_ = asyncio.create_task(rebuilt(views, store, PROGRAMS))
        await asyncio.to_thread(two_parts)
        rebuilding_.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rebuilding_
    assert parts() == []


async def test_failing_rebuild_process_is_named(views: str) -> None:
    async with opened(views) as store:
        await write_history(Log(store))
        with pytest.raises(PartFailed, match=r"process \d of 2 failed; the view is as it was"):
            await rebuilt(views, store, DIES_AT_ONCE)


async def test_events_that_rebuild_processes_cannot_apply_are_parked(
    views: str, several: Several
) -> None:
    async with opened(views) as store:
        log = Log(store)
        await write_history(log)
        lost = [Happening(f"nobody-{number}", ProgressUpdated(progress=5)) for number in range(4)]
        await log.write([*lost, created("e")])
        ask(views, "INSERT INTO parked VALUES ('executions', 1, 'gone', 'gone', 'gone')")
        assert await rebuilt(views, store, several(2)) == Rebuilt(80, 4)
        assert ask(views, "SELECT view, position, stream FROM parked ORDER BY position") == [
            ("executions", 76 + number, f"execution/nobody-{number}") for number in range(4)
        ]
        assert len(await differences(views, store)) == 4


async def test_short_log_is_rebuilt_without_processes(
    views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "SHARED", 76)
    async with opened(views) as store:
        await write_history(Log(store))
        assert await rebuilt(views, store, ANONYMOUS) == Rebuilt(75, 0)


async def test_totals_across_streams_equal_those_of_one_process(
    views: str, several: Several
) -> None:
    migrate_projections(views, "executions", [Analytics()])
    totals = "SELECT * FROM analytics_totals WHERE executions > 0 ORDER BY slice, value, status"
    async with opened(views) as store:
        log = Log(store)
        await write_history(log)
        await log.write(some_more())
        await rebuild(views, "executions", Analytics(), store)
        by_one = ask(views, totals)
        done = await rebuild(views, "executions", Analytics(), store, processes=several(3))
    assert (done.position, done.parked) == (log.position, 0)
    assert ask(views, totals) == by_one != []


class Deadlocked(Seen):
    """A view that loses its first page to a deadlock."""

    lost = False

    async def apply(self, connection: AsyncConnection, page: Sequence[Recorded]) -> None:
        await super().apply(connection, page)
        if not self.lost:
            self.lost = True
            raise psycopg.errors.DeadlockDetected


async def test_page_rolled_back_by_a_deadlock_is_applied_again(views: str) -> None:
    view = Deadlocked()
    migrate_projections(views, "executions", [view])
    begin = LogPart(1, 0, 30).bookmark(view.name)
    async with opened(views) as store:
        await Log(store).write(some(30))
        async with await connect(views) as connection:
            await connection.execute(BEGIN_BOOKMARK, (begin,))
        options = session_options("executions")
        await apply(Share(views, options, "executions", {view.name: 30}, 20, 1, 0), [view], store)
    assert ask(views, "SELECT count(*), count(DISTINCT position) FROM seen") == [(30, 30)]
    assert ask(views, "SELECT count(*) FROM parked") == [(0,)]


def test_rebuild_process_ends_with_its_parent(views: str) -> None:
    """It waits for its bookmark, which the test has locked, when its standard input ends."""
    part = LogPart(2, 0, 100)
    options = "-c search_path=executions"
    share = Share(views, options, "executions", {"executions": part.until}, 20, *part[:2])
    name = part.bookmark("executions")
    with psycopg.connect(views, options=options) as connection:
        connection.execute(BEGIN_BOOKMARK, (name,))
        connection.commit()
        connection.execute("SELECT FROM bookmarks WHERE view = %s FOR UPDATE", (name,))
        with subprocess.Popen(COMMAND, stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            process.stdin.write(share.encode())
            process.stdin.flush()
            wait_until_blocked(views)
            process.stdin.close()
            assert process.wait(5) == 1


def wait_until_blocked(conninfo: str) -> None:
    waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    until = time.monotonic() + 30
    while not ask(conninfo, waiting):
        assert time.monotonic() < until


def test_progress_message_of_a_share_round_trips() -> None:
    share = Share("password='a\n\"b'", "-c x=y", "schema", {"logs": 100}, 20, 3, 1, 200, "key")
    assert Share.parse(share.encode()) == share
    with pytest.raises(ValueError, match="Expecting value"):
        Share.parse(b"")
