"""Reads use only a standby of the same log, with the same past, that does not lag too far."""

from __future__ import annotations

from datetime import timedelta
from math import inf

import pytest

from domain.eventlog.connection.standby import (
    ANOTHER_PAST,
    Lag,
    SeenEvent,
    StandbyStatus,
    reason_unusable,
)
from tests.support.sample_aggregate import NOON

LOG, SEEN, LATER = "log-1", SeenEvent(10, NOON), NOON + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("look", "said"),
    [
        (StandbyStatus(True, LOG, 10, NOON), None),
        (StandbyStatus(True, LOG, 12, NOON), None),
        (StandbyStatus(True, LOG, 9, None), None),
        (StandbyStatus(False, LOG, 10, NOON), "it is no standby"),
        (StandbyStatus(True, "log-2", 10, NOON), "it is of another log"),
        (StandbyStatus(True, LOG, 10, LATER), ANOTHER_PAST),
        (StandbyStatus(True, LOG, 12, LATER), ANOTHER_PAST),
        (StandbyStatus(True, LOG, 12, None), ANOTHER_PAST),
    ],
)
def test_only_a_standby_of_the_same_log_and_past_is_read(
    look: StandbyStatus, said: str | None
) -> None:
    assert reason_unusable(look, LOG, SEEN) == said


@pytest.mark.parametrize(
    ("looks", "seconds"),
    [
        ([(5, 5)], 0),
        ([(4, 5)], inf),
        ([(4, 5), (5, 5)], 0),
        ([(4, 5), (5, 9)], 1),
        ([(5, 5), (5, 9)], 1),
        ([(5, 5), (5, 9), (5, 9)], 2),
        ([(5, 5), (5, 9), (8, 12)], 2),
        ([(5, 5), (5, 9), (8, 12), (9, 15)], 2),
        ([(5, 5), (5, 9), (8, 12), (15, 15)], 0),
        ([(5, 5), (6, 9), (9, 12), (12, 15)], 1),
    ],
)
def test_lag_is_the_time_since_a_standby_lacks_a_position_seen_on_the_primary(
    looks: list[tuple[int, int]], seconds: float
) -> None:
    lag = Lag()
    for now, (standby, primary) in enumerate(looks, 100):
        lag.update(standby, primary, float(now))
    assert lag.seconds == seconds
