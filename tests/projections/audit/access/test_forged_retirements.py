"""Forged retirements are found: only whole days that are old enough may be missing from the access log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.support.past_lines import DAY
from tests.support.past_reads import PastReads

pytestmark = pytest.mark.anyio
FIRST = date(2026, 10, 1)
Spans = list[tuple[int, int, int]]
"""For each forged retirement: its day, as days after the first one, and its first and last entry."""


@pytest.fixture
async def reads(database_with_views: str, tmp_path: Path) -> AsyncIterator[PastReads]:
    """Entries 1 to 3, 4 to 6, and 7, each group on one day; 8 and 9 on another, 40 days later. Each has its own anchor."""
    async with PastReads.opened(database_with_views, tmp_path) as opened:
        for executions in ("e-1 e-2 e-1", "e-1 e-2 e-3", "e-1"):
            for execution in executions.split():
                await opened.read(execution)
                await opened.anchor()
            opened.past.now = opened.past.now.replace(hour=12, minute=0, second=0) + DAY
        opened.past.now += 40 * DAY
        await opened.days("e-2 e-1")
        yield opened


WHOLE_DAYS: dict[str, Spans] = {
    "the first": [(0, 1, 3)],
    "one between others": [(1, 4, 6)],
    "each of them": [(2, 7, 7), (0, 1, 3), (1, 4, 6)],
}


PARTS_OF_DAYS: dict[str, Spans] = {
    "another day that had no entries": [(10, 7, 7)],
    "its first entry": [(1, 4, 4)],
    "one between others": [(1, 5, 5)],
    "its last entry": [(1, 6, 6)],
    "as an earlier day": [(0, 5, 5)],
    "as a later day": [(2, 6, 6)],
    "the very first entry": [(0, 1, 1)],
    "all of it, one by one": [(1, 4, 4), (1, 5, 5), (1, 6, 6)],
    "the end of a day, with the next one": [(2, 6, 7)],
    "the beginning of a day, with the one before": [(0, 1, 4)],
    "a day as the one before it": [(0, 4, 6)],
    "days as each other": [(1, 1, 3), (0, 4, 6)],
}


async def test_old_whole_days_may_be_retired_and_parts_of_a_day_may_not(reads: PastReads) -> None:
    await reads.change("CREATE TEMP TABLE whole AS TABLE access_log")
    for which, found in {**WHOLE_DAYS, **PARTS_OF_DAYS}.items():
        spans = [(FIRST + days * DAY, first, last) for days, first, last in found]
        await reads.forge(reads.past.now, *spans)
        faults = await reads.faults()
        assert bool(faults) is (which in PARTS_OF_DAYS), (which, faults)
        assert all("retired" in fault for fault in faults), (which, faults)
        await reads.change("DELETE FROM events WHERE topic = 'access.retired'")
        await reads.change("INSERT INTO access_log TABLE whole EXCEPT TABLE access_log")


async def test_retired_day_that_is_too_young_by_its_anchors_is_named_whichever_day_is_claimed(
    reads: PastReads,
) -> None:
    await reads.forge(reads.past.now, (FIRST + 20 * DAY, 8, 9))
    young, other = await reads.faults()
    assert young.endswith("after 1 days: they had to be kept for 30")
    assert other.endswith("as those of 2026-10-21, but were anchored on 2026-11-13")


async def test_retired_entries_without_an_anchor_are_named(reads: PastReads) -> None:
    await reads.read("e-1")
    await reads.forge(reads.past.now + 31 * DAY, (reads.past.now.date(), 10, 10))
    [fault] = await reads.faults()
    assert fault.endswith("and had not been anchored")


async def test_retirement_in_the_future_is_named_once_a_later_anchor_exists(
    reads: PastReads,
) -> None:
    later = reads.past.now + 31 * DAY
    await reads.forge(later, (FIRST + 43 * DAY, 8, 9))
    await reads.days("e-3")
    [fault] = await reads.faults()
    assert f"at {later:%Y-%m-%d} 12:00, which was still to come at position" in fault


async def test_anchor_earlier_than_the_one_before_it_is_named(reads: PastReads) -> None:
    later = reads.past.now + timedelta(hours=1)
    await reads.change(
        "UPDATE events SET at = %s WHERE topic = 'access.anchored' AND originator_version = 2",
        later,
    )
    [fault] = await reads.faults()
    assert fault.startswith("access log: entries 3 to 3: were anchored at position")
