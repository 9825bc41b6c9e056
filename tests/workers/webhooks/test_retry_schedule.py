"""Delays between the calls for one event."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from workers.webhooks.retry_schedule import DELAYS, LONGEST_WISH, next_attempt_at

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(("failures", "minutes"), [(1, 1), (2, 5), (3, 30), (4, 120), (5, 720)])
def test_delay_grows_with_each_failure(failures: int, minutes: int) -> None:
    assert next_attempt_at(failures, NOON, 0.0) == NOON + timedelta(minutes=minutes)
    assert next_attempt_at(failures, NOON, 1.0) == NOON + timedelta(minutes=minutes) * 1.2


def test_event_is_given_up_after_the_last_delay() -> None:
    assert next_attempt_at(len(DELAYS) + 1, NOON, 0.0) is None


@pytest.mark.parametrize(
    ("wish", "seconds"),
    [
        ("300", 300),
        ("30", 60),
        ("Sun, 22 Nov 2026 12:10:00 GMT", 600),
        ("soon", 60),
        ("-5", 60),
        ("9" * 400, LONGEST_WISH.total_seconds()),
        ("Sun, 22 Nov 2099 12:10:00 GMT", LONGEST_WISH.total_seconds()),
    ],
)
def test_receiver_may_ask_for_a_later_time_but_not_for_an_earlier_one(
    wish: str, seconds: float
) -> None:
    assert next_attempt_at(1, NOON, 0.0, wish) == NOON + timedelta(seconds=seconds)
