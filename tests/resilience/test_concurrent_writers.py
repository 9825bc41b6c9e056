"""Several processes write the same streams of one log while a reader follows it."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process

import orjson
import pytest

from domain.eventlog.codec import EventRow
from domain.eventlog.store import Store
from tests.support.acknowledged_writes import Acknowledged, assert_log_contains
from tests.support.paths import ROOT
from tests.support.sample_aggregate import Begin, message, running_bus, store
from tests.support.writer_process import TALLIES

WRITERS = 3

pytestmark = pytest.mark.anyio


async def writer(database: str, name: int, seconds: float) -> Process:
    module = ("-m", "tests.support.writer_process", database, f"writer-{name}", str(seconds))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *module, stdin=PIPE, stdout=PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


async def tail(log: Store, until: asyncio.Event) -> list[EventRow]:
    """Follow the log to its end, checking that each position is the next one."""
    seen: list[EventRow] = []
    while True:
        over = until.is_set()
        page = await log.read(len(seen), 500)
        assert [row.position for row in page] == list(
            range(len(seen) + 1, len(seen) + len(page) + 1)
        )
        seen += page
        if over and not page:
            return seen


async def test_concurrent_writers_make_dense_positions_without_loss_or_starvation(
    database: str, thorough: bool
) -> None:
    seconds = 20 if thorough else 3
    log, over = store(database), asyncio.Event()
    async with running_bus(log) as bus:
        await asyncio.gather(*(bus.send(message(str(n), Begin())) for n in range(TALLIES)))
        processes = await asyncio.gather(*(writer(database, n, seconds) for n in range(WRITERS)))
        tailing = asyncio.create_task(tail(log, over))
        said = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
        over.set()
        seen = await tailing
    answers = [[Acknowledged(*answer) for answer in orjson.loads(out)] for out, _ in said]
    everyone = [answer for each in answers for answer in each]
    assert_log_contains(seen, everyone)
    assert len(seen) == len(everyone) + TALLIES
    shares = [len(each) / len(everyone) for each in answers]
    assert min(shares) > 0.25 / WRITERS
