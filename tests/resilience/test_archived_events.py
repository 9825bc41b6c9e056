"""The archiver of events is killed at each step while commands continue: every event is read once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from domain.eventlog.append import StreamMoved
from domain.eventlog.codec import EventRow
from domain.execution.commands import RecordUsage
from domain.integrity.log import order_faults
from domain.writer.guarded_writer import GuardedWriter
from tests.support import killed_archiver
from tests.support.event_writer import opened
from tests.support.forked_program import exit_code_of_forked
from tests.support.killed_archiver import STEPS
from tests.support.moved_log import moved_log, two_servers
from tests.support.past_events import EVENTS, PastEvents, archive_first
from tests.support.service_process import AUTHORIZED

QUICK = (("put", "after"), ("take out", "before"), ("lock", "after"), ("take out", "after"))
EXECUTIONS = 6
LONGEST = 120


@pytest.fixture
async def past(database_with_views: str, tmp_path: Path) -> AsyncIterator[PastEvents]:
    async with PastEvents.opened(database_with_views, tmp_path) as opened:
        yield opened


async def archive(past: PastEvents, step: str, when: str) -> int | None:
    """The exit code of the program, which archives what is there by now."""
    await past.grow()
    given = past.conninfo, past.folder, step, when
    return await asyncio.to_thread(
        exit_code_of_forked, killed_archiver.run, *given, seconds=LONGEST
    )


@pytest.mark.anyio
async def test_killed_archiver_loses_no_event(past: PastEvents, thorough: bool) -> None:
    for number in range(EXECUTIONS):
        await past.run(f"e-{number}")
    await past.pause("e-waits")
    kills = [(step, when) for step in STEPS for when in ("before", "after")] if thorough else QUICK
    for number, (step, when) in enumerate(kills):
        known = await past.store.read(0, 10_000)
        assert await archive(past, step, when) == -signal.SIGKILL, (step, when)
        await past.tick(f"execution/e-{number % EXECUTIONS}", RecordUsage(tokens_used=1))
        now = await past.store.read(0, 10_000)
        assert now[: len(known)] == known, (step, when)
        assert [row.position for row in now] == list(range(1, len(now) + 1))
    assert await archive(past, "put", "never") == 0
    events = await past.store.read(0, 10_000)
    assert await past.horizon() >= EXECUTIONS * EVENTS
    for stream in {row.stream for row in events}:
        history = await past.store.history(stream)
        assert history == [row for row in events if row.stream == stream]
        assert await past.store.load(stream) is not None
    assert await order_faults(past.store, 0, len(events), len(events)) == []


def test_archived_events_move_with_their_log(postgres_bin: Path | None, tmp_path: Path) -> None:
    with two_servers(postgres_bin) as servers, moved_log(servers) as moved:
        [service] = moved.services
        with httpx.Client(base_url=f"{service.url}/api", headers=AUTHORIZED) as api:
            api.post("/users", json={"$id": "p", "name": "P", "kind": "person"}).raise_for_status()
            api.post(
                "/services", json={"$id": "s", "name": "S", "provider": "p"}
            ).raise_for_status()
            body = {"service": "s", "customer": "p"}
            api.post("/orders", json={"$id": "o", **body}).raise_for_status()
            for name in ("e-0", "e-1"):
                body = {"$id": f"north-{name}", "order": "o", "service": "s", "status": "running"}
                api.post("/executions", json=body).raise_for_status()
        before, stale = asyncio.run(archive_half(moved.old, tmp_path))
        done = moved.move("--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert asyncio.run(read_again(moved.new, stale)) == before


async def archive_half(conninfo: str, folder: Path) -> tuple[list[EventRow], EventRow]:
    """The events of a log whose first executions are archived; and one of those executions."""
    async with opened(conninfo) as store, store.reader() as connection:
        before = await store.read(0, 100)
        executions = [row for row in before if row.stream.startswith("execution/")]
        writer = GuardedWriter(store, lambda: before[-1].at, str, lambda: 0.5)
        await archive_first(store, connection, writer, folder, executions[-1].position)
        events = await store.read(0, 100)
        assert events[: len(before)] == before
        left = await (await connection.execute("SELECT count(*) FROM events")).fetchone()
        assert left == (len(events) - len(executions),)
        return events, executions[1]


async def read_again(conninfo: str, stale: EventRow) -> list[EventRow]:
    """The events in a database, in which an archived version is refused."""
    async with opened(conninfo) as store:
        with pytest.raises(StreamMoved):
            await store.append([stale], stale.at)
        return await store.read(0, 100)
