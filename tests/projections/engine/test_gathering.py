"""Events are gathered into a page, for longer when the log is busy, unless a reader waits."""

from __future__ import annotations

from math import inf

import pytest

from projections.engine.gathering import LONGEST_GATHER, PER_EVENT, SOON, Gathering

QUICK, SLOW = 0.01, 0.1
BOTH = ("quick", "slow")


@pytest.fixture
def gathering() -> Gathering:
    """Two views that have just applied a page at 100 s; there are no new events."""
    made = Gathering({"quick": QUICK, "slow": SLOW})
    for view in made.take_due(BOTH, 100.0):
        made.note_applied(view, 0, 100.0, behind=False)
    return made


def test_view_is_due_at_the_start() -> None:
    assert Gathering({"quick": QUICK}).take_due(["quick"], 0.0) == ["quick"]


def test_no_view_is_due_without_new_events(gathering: Gathering) -> None:
    assert gathering.take_due(BOTH, 1_000.0) == []
    assert gathering.next_at(BOTH) == inf


def test_view_gathers_for_its_own_interval(gathering: Gathering) -> None:
    gathering.expect_events()
    assert gathering.next_at(BOTH) == 100.0 + QUICK
    assert gathering.next_at(["slow"]) == 100.0 + SLOW
    assert gathering.take_due(BOTH, 100.05) == ["quick"]
    assert gathering.take_due(BOTH, 100.05) == []
    assert gathering.take_due(BOTH, 100.0 + SLOW) == ["slow"]


def test_views_that_are_due_soon_share_the_page_of_one_that_has_gathered(
    gathering: Gathering,
) -> None:
    gathering.expect_events()
    soon = 100.0 + SLOW - SOON
    assert gathering.take_due(["slow"], soon) == []  # by itself it gathers to the end
    assert gathering.take_due(BOTH, soon) == ["quick", "slow"]
    assert gathering.take_due(BOTH, 100.0 + SLOW) == []


def test_view_that_a_reader_waits_for_takes_no_other_along(gathering: Gathering) -> None:
    gathering.expect_events()
    gathering.hurry("slow")
    assert gathering.take_due(BOTH, 100.0 + QUICK - 0.001) == ["slow"]
    assert gathering.take_due(BOTH, 100.0 + QUICK) == ["quick"]


@pytest.mark.parametrize(
    ("moved", "pause"), [(20, 20 * PER_EVENT), (1_000, LONGEST_GATHER), (5_000, LONGEST_GATHER)]
)
def test_long_page_lets_more_events_gather(gathering: Gathering, moved: int, pause: float) -> None:
    gathering.note_applied("quick", moved, 200.0, behind=False)
    gathering.expect_events()
    assert gathering.next_at(["quick"]) == 200.0 + QUICK + pause


@pytest.mark.parametrize(
    ("took", "pause"), [(0.03, 0.03), (0.002, 20 * PER_EVENT), (2.0, LONGEST_GATHER)]
)
def test_pause_is_as_long_as_the_page_took(gathering: Gathering, took: float, pause: float) -> None:
    gathering.note_applied("quick", 20, 200.0, took=took, behind=False)
    gathering.expect_events()
    assert gathering.next_at(["quick"]) == 200.0 + QUICK + pause


def test_events_that_arrive_during_a_page_make_its_view_due_again(gathering: Gathering) -> None:
    gathering.expect_events()
    assert gathering.take_due(["quick"], 200.0) == ["quick"]
    gathering.expect_events()
    gathering.note_applied("quick", 0, 200.0, behind=False)
    assert gathering.next_at(["quick"]) == 200.0 + QUICK


def test_view_that_is_behind_is_due_at_once(gathering: Gathering) -> None:
    gathering.note_applied("quick", 5_000, 200.0, behind=True)
    assert gathering.take_due(BOTH, 200.0) == ["quick"]


def test_waiting_reader_makes_a_view_due_once(gathering: Gathering) -> None:
    gathering.hurry("slow")
    assert gathering.next_at(BOTH) < 0
    assert gathering.take_due(BOTH, 100.0) == ["slow"]
    assert gathering.take_due(BOTH, 100.0) == []


def test_unknown_view_makes_no_view_due(gathering: Gathering) -> None:
    gathering.hurry("nonsense")
    assert gathering.next_at(BOTH) == inf
