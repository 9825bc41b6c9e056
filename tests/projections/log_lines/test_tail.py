"""The tail reads every line once, in the order of the commits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from domain.eventlog.store import Store
from domain.execution.commands.log import LogLine
from projections.engine.migrations import migrate_projections
from projections.log_lines import tail as tail_module
from projections.log_lines.projection import LogLineProjection
from projections.log_lines.tail import LogLineTail
from tests.support.event_writer import NOON, Log, opened, some
from tests.support.log_lines import append_lines

pytestmark = pytest.mark.anyio
INSERT = """INSERT INTO log_lines (execution, occurred_at, id, at, level, sealed)
    SELECT 'e-0', now(), id, now(), 'info', 'x' FROM log_head"""


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    """A store with the executions `e-0` to `e-2`."""
    migrate_projections(database, "executions", [LogLineProjection()])
    async with opened(database) as opened_store:
        await Log(opened_store).write(some(3))
        yield opened_store


async def append(store: Store, execution: str, count: int, size: int = 10) -> None:
    lines = [LogLine(level="info", message="x" * size)] * count
    await append_lines(store, execution, lines, NOON)


def everything(_: str) -> bool:
    return True


async def ids(tail: LogLineTail, wanted: Any = everything) -> list[int]:
    """The ids of all lines that were read, page by page."""
    found, more = list[int](), True
    while more:
        page = await tail.read(wanted)
        more = page.more
        found += [line.id for _, line in page.lines]
    return found


async def test_tail_reads_only_new_lines_and_each_once(store: Store) -> None:
    await append(store, "e-0", 5)
    tail = LogLineTail(store)
    await tail.begin()
    assert await ids(tail) == []
    await append(store, "e-1", 3)
    assert await ids(tail) == [6, 7, 8]
    assert await ids(tail) == []


async def test_tail_reads_only_requested_executions(store: Store) -> None:
    tail = LogLineTail(store)
    await tail.begin()
    await append(store, "e-0", 2)
    await append(store, "e-1", 2)
    assert await ids(tail, lambda execution: execution == "e-1") == [3, 4]
    assert await ids(tail) == []


async def test_lines_of_another_process_are_read_in_the_order_of_the_commits(store: Store) -> None:
    """A writer holds the last id until its commit: no id shows before a lower one."""
    tail = LogLineTail(store)
    await tail.begin()
    async with store.reader() as connection:
        async with connection.transaction():
            await connection.execute("UPDATE log_head SET id = id + 1")
            await connection.execute(INSERT)
            later = asyncio.create_task(append(store, "e-1", 2))
            await asyncio.sleep(0.3)
            assert await ids(tail) == []
        await later
    assert await ids(tail) == [1, 2, 3]


async def test_ids_have_no_holes_after_a_rollback(store: Store) -> None:
    async with store.reader() as connection, connection.transaction(force_rollback=True):
        await connection.execute("UPDATE log_head SET id = id + 1")
        await connection.execute(INSERT)
    tail = LogLineTail(store)
    await tail.begin()
    await append(store, "e-1", 2)
    assert await ids(tail) == [1, 2]


async def test_page_of_lines_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_module, "LARGEST", 1_000)
    monkeypatch.setattr(tail_module, "PAGE", 7)
    tail = LogLineTail(store)
    await tail.begin()
    await append(store, "e-0", 10, size=300)
    await append(store, "e-1", 2, size=5_000)
    pages, more = list[int](), True
    while more:
        page = await tail.read(everything)
        pages.append(len(page.lines))
        more = page.more
    assert sum(pages) == 12
    assert max(pages) <= 3
    assert await ids(tail) == []


async def test_failure_loses_no_line(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tail = LogLineTail(store)
    await tail.begin()
    await append(store, "e-0", 2)

    async def fails(_: Any) -> Any:
        raise OSError("cut")

    with monkeypatch.context() as patched:
        patched.setattr(tail, "_lines", fails)
        with pytest.raises(OSError, match="cut"):
            await tail.read(everything)
    assert await ids(tail) == [1, 2]
