"""All past days are checked every hour; those that are blocked are checked again earlier."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import date

import pytest

from workers import day_retention

pytestmark = pytest.mark.anyio
FIRST, SECOND = date(2026, 10, 1), date(2026, 10, 2)


class Over(Exception):
    """Raised once the test has seen enough."""


class Time:
    """A clock that advances by the time slept."""

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def checks(
    monkeypatch: pytest.MonkeyPatch, *waiting: Collection[date]
) -> list[tuple[float, Collection[date] | None]]:
    """The times and days of the checks, if these days are reported as blocked."""
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


async def test_only_blocked_days_are_checked_again_within_the_hour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = await checks(monkeypatch, {FIRST, SECOND}, {SECOND}, ())
    assert found == [(0, None), (30, {FIRST, SECOND}), (60, {SECOND}), (3600, None)]


async def test_all_days_are_checked_every_hour_although_one_stays_blocked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = await checks(monkeypatch, *[{FIRST}] * 122)
    assert [when for when, days in found if days is None] == [0, 3630]
