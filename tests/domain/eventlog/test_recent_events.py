"""How many of the newest events are cached, and for which readers."""

from __future__ import annotations

from datetime import UTC, datetime

from domain import registry
from domain.eventlog.codec import EventRow
from domain.eventlog.recent_events import RecentEvents

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def recent(number: int) -> RecentEvents:
    events = RecentEvents(registry.codec())
    events.append(
        [
            EventRow(position, position, NOON, "execution/a", "execution.starting", "{}", b"{}")
            for position in range(1, number + 1)
        ]
    )
    return events


def test_events_that_every_reader_has_passed_are_dropped_except_the_newest() -> None:
    events = recent(10)
    events.drop_passed(10, spared=3)
    assert [event.row.position for event in events.after(7, 10)] == [8, 9, 10]
    assert (events.covers(7), events.covers(6)) == (True, False)


def test_events_that_a_reader_has_not_passed_stay() -> None:
    events = recent(10)
    events.drop_passed(4, spared=3)
    assert (events.covers(4), events.covers(3)) == (True, False)
    events.drop_passed(2, spared=3)
    assert events.covers(4)


def test_few_events_stay_although_every_reader_has_passed_them() -> None:
    events = recent(3)
    events.drop_passed(3, spared=5)
    assert events.covers(0)
