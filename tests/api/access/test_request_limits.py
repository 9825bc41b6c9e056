"""The limit of requests per second of a caller does not affect other callers."""

from __future__ import annotations

import pytest

from api.access import request_limits
from api.access.request_limits import RequestLimits
from api.problems.problems import TooManyRequests


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_requests_of_a_second_may_come_at_once_and_refill() -> None:
    time = Time()
    limits = RequestLimits(3, time)
    assert [limits.take("ann") for _ in range(4)] == [True, True, True, False]
    assert limits.take("bob")
    time.now += 1 / 3 + 0.001
    assert [limits.take("ann") for _ in range(2)] == [True, False]
    time.now += 60
    assert [limits.take("ann") for _ in range(4)] == [True, True, True, False]


def test_refusal_has_the_time_to_retry_after() -> None:
    limits = RequestLimits(1, Time())
    limits.require("ann")
    with pytest.raises(TooManyRequests) as refused:
        limits.require("ann")
    assert refused.value.members == {"retryAfter": 1}


def test_no_request_is_refused_without_a_limit() -> None:
    limits = RequestLimits(None)
    assert all(limits.take("ann") for _ in range(10_000))


def test_limits_remember_a_bounded_number_of_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_limits, "MOST_CALLERS", 2)
    limits = RequestLimits(1, Time())
    for name in ("ann", "bob", "eve"):
        assert limits.take(name)
    assert limits.take("ann")
    assert not limits.take("eve")
