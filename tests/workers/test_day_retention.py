"""Days that are past are all looked at every hour, those that wait for something meanwhile, too."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import date

import pytest

from workers import day_retention

pytestmark = pytest.mark.anyio
FIRST, SECOND = date(2026, 10, 1), date(2026, 10, 2)


class Over(Exception):
    """The test has seen enough."""


class Time:
    """A clock that moves by what is slept."""

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def looks(
    monkeypatch: pytest.MonkeyPatch, *waiting: Collection[date]
) -> list[tuple[float, Collection[date] | None]]:
    """When which days are looked at, where so many answers say which ones wait."""
    time, answers = Time(), iter(waiting)
    found: list[tuple[float, Collection[date] | None]] = []
    monkeypatch.setattr(day_retention, "monotonic", lambda: time.now)
    monkeypatch.setattr(asyncio, "sleep", time.sleep)

    async def look(days: Collection[date] | None) -> Collection[date]:
        found.append((time.now, days))
        try:
            return next(answers)
        except StopIteration:
            raise Over from None

    with pytest.raises(Over):
        await day_retention.check_periodically(look)
    return found


async def test_days_that_wait_alone_are_looked_at_again_before_the_hour_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = await looks(monkeypatch, {FIRST, SECOND}, {SECOND}, ())
    assert found == [(0, None), (30, {FIRST, SECOND}), (60, {SECOND}), (3600, None)]


async def test_all_days_are_looked_at_every_hour_although_one_waits_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = await looks(monkeypatch, *[{FIRST}] * 122)
    assert [when for when, days in found if days is None] == [0, 3630]
