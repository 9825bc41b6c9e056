"""The throttle of timers: no pauses while only they write, small commits with pauses while others do."""

from __future__ import annotations

from dataclasses import dataclass

from workers.timers.throttle import (
    ALONE,
    BESIDE_OTHERS,
    LONGEST_PAUSE,
    PAUSE_FACTOR,
    REMEMBERED,
    SHORTEST_PAUSE,
    Throttle,
)


@dataclass
class Given:
    """A throttle whose clock the test moves."""

    now: float = 0.0

    def __post_init__(self) -> None:
        self.throttle = Throttle(lambda: self.now)

    @property
    def shown(self) -> tuple[int, float]:
        """Commands per commit, and the pause after a commit of 20 ms."""
        return self.throttle.commands, self.throttle.pause_after(0.020)


FAST, GENTLE = (ALONE, 0.0), (BESIDE_OTHERS, PAUSE_FACTOR * 0.020)


def test_timers_fire_without_pause_while_others_write_nothing() -> None:
    given = Given()
    for _ in range(3):
        given.throttle.note(1_000)
        assert given.shown == FAST
        given.now += REMEMBERED / 10


def test_commits_are_small_with_pauses_between_them_as_soon_as_others_write() -> None:
    given = Given()
    given.throttle.note(1_000)
    given.throttle.note(1_001)
    assert given.shown == GENTLE


def test_pace_is_full_again_once_others_have_written_nothing_for_a_while() -> None:
    given = Given()
    given.throttle.note(1_000)
    given.throttle.note(1_001)
    given.now += 0.9 * REMEMBERED
    given.throttle.note(1_001)
    assert given.shown == GENTLE
    given.now += 0.2 * REMEMBERED
    given.throttle.note(1_001)
    assert given.shown == FAST


def test_log_that_lost_events_does_not_count_as_written_by_others() -> None:
    """After a failover it may be shorter."""
    given = Given()
    given.throttle.note(1_000)
    given.throttle.note(900)
    assert given.shown == FAST
    given.throttle.note(901)
    assert given.shown == GENTLE


def test_pause_is_limited_however_long_a_commit_took() -> None:
    given = Given()
    given.throttle.note(1_000)
    given.throttle.note(1_001)
    assert given.throttle.pause_after(60) == LONGEST_PAUSE
    assert given.throttle.pause_after(0) == SHORTEST_PAUSE
