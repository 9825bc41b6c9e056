"""Every line is read once, in whatever order commits bring ids to light."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from domain.eventlog.store import Store
from projections.engine.migrations import migrate_projections
from projections.log_lines import tail as tail_module
from projections.log_lines.model import LogLine
from projections.log_lines.projection import LogLineProjection
from projections.log_lines.reader import LogLineStore
from projections.log_lines.tail import LogLineTail
from tests.support.event_writer import NOON, Log, opened, some

pytestmark = pytest.mark.anyio
INSERT = """INSERT INTO log_lines (execution, occurred_at, at, level, sealed)
    VALUES ('e-0', now(), now(), 'info', 'x') RETURNING id"""
INSERT_MANY = """INSERT INTO log_lines (execution, occurred_at, at, level, sealed)
    SELECT 'e-0', now(), now(), 'info', 'x' FROM generate_series(1, 1000)"""


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    """One with the executions `e-0` to `e-2`."""
    migrate_projections(database, "executions", [LogLineProjection()])
    async with opened(database) as opened_store:
        await Log(opened_store).write(some(3))
        yield opened_store


async def append(store: Store, execution: str, count: int, size: int = 10) -> None:
    lines = [LogLine(level="info", message="x" * size)] * count
    await LogLineStore(store).append(execution, lines, NOON)


def everything(_: str) -> bool:
    return True


async def ids(tail: LogLineTail, wanted: Any = everything) -> list[int]:
    """Those of all lines that came to light, page by page."""
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


@pytest.mark.parametrize("began_before", [True, False])
async def test_line_that_is_committed_late_is_read_all_the_same(
    store: Store, *, began_before: bool
) -> None:
    tail = LogLineTail(store)
    if began_before:
        await tail.begin()
    async with store.reader() as connection, connection.transaction():
        (row,) = await (await connection.execute(INSERT)).fetchall()
        await append(store, "e-1", 2)
        if not began_before:
            await tail.begin()
        assert await ids(tail) == ([2, 3] if began_before else [])
    assert await ids(tail) == [row[0]] == [1]
    assert await ids(tail) == []


async def test_many_lines_that_are_committed_late_at_once_are_read_all_the_same(
    store: Store,
) -> None:
    tail = LogLineTail(store)
    await tail.begin()
    async with (
        store.reader() as one,
        store.reader() as other,
        one.transaction(),
        other.transaction(),
    ):
        await one.execute(INSERT_MANY)
        await other.execute(INSERT_MANY)
        await append(store, "e-1", 1)
        assert await ids(tail) == [2001]
    assert sorted(await ids(tail)) == list(range(1, 2001))


async def test_rolled_back_line_is_given_up_after_a_while(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail_module, "PATIENCE", 0.0)
    tail = LogLineTail(store)
    await tail.begin()
    async with store.reader() as connection, connection.transaction(force_rollback=True):
        await connection.execute(INSERT)
    await append(store, "e-1", 1)
    assert await ids(tail) == [2]
    await append(store, "e-1", 1)
    assert await ids(tail) == [3]
    assert tail._missing == {}


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
