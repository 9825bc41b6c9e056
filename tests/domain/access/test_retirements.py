"""Retirements of days of the access log are recorded once, and only for old days."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from domain.access.retirements import STREAM, AccessRetired, Gap, RetireAccesses
from domain.errors import IllegalTransition
from tests.support.given import NOON, Given, given

DAY = date(2026, 10, 1)


def fields(first: int, last: int, day: date = DAY) -> dict[str, Any]:
    before = "" if first == 1 else f"hash-{first - 1}"
    return {"day": day, "first": first, "last": last, "before": before, "hash": f"hash-{last}"}


def history(*events: AccessRetired) -> Given:
    return given(*events, stream=STREAM)


def test_neighbouring_days_are_one_gap_of_the_chain() -> None:
    days = [
        AccessRetired(**fields(1, 3)),
        AccessRetired(**fields(8, 9, DAY + timedelta(days=2))),
        AccessRetired(**fields(4, 5, DAY + timedelta(days=1))),
    ]
    state = history(*days).state
    assert state.gaps == (Gap(1, 5, "", "hash-5"), Gap(8, 9, "hash-7", "hash-9"))
    assert state.last_day == DAY + timedelta(days=2)
    assert state.has(2, 5)
    assert not state.has(5, 8)


def test_entries_are_retired_once() -> None:
    day = history(AccessRetired(**fields(1, 3)))
    day.when(RetireAccesses(**fields(1, 3))).then()
    day.when(RetireAccesses(**fields(4, 5))).then(AccessRetired(**fields(4, 5)))


def test_entries_of_less_than_30_days_are_not_retired() -> None:
    young, old = (fields(1, 3, NOON.date() - timedelta(days=days)) for days in (29, 30))
    history().when(RetireAccesses(**young)).refused(IllegalTransition)
    history().when(RetireAccesses(**old)).then(AccessRetired(**old))
