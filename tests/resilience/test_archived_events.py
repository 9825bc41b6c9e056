"""What archives events is killed at each step, while commands go on: every event is read, and none twice."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from domain.execution.commands import RecordUsage
from domain.integrity.log import order_faults
from tests.support.killed_archiver import STEPS
from tests.support.past_events import EVENTS, PastEvents
from tests.support.paths import ROOT

pytestmark = pytest.mark.anyio
QUICK = (("put", "after"), ("take out", "before"), ("lock", "after"), ("take out", "after"))
EXECUTIONS = 6


@pytest.fixture
async def past(database: str, tmp_path: Path) -> AsyncIterator[PastEvents]:
    async with PastEvents.opened(database, tmp_path) as opened:
        yield opened


async def archive(past: PastEvents, step: str, when: str) -> int | None:
    """What becomes of the program, which archives what there is by now."""
    await past.grow()
    arguments = past.conninfo, str(past.folder), step, when
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.killed_archiver", *arguments), cwd=ROOT
    )
    return await program.wait()


async def test_nothing_is_lost_where_what_archives_is_killed(
    past: PastEvents, thorough: bool
) -> None:
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
