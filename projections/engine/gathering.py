"""When a view applies its next page. A page of many events costs little more than a page of one, so
events gather for a moment: the busier the log, the longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

PER_EVENT = 0.001
LONGEST_GATHER = 0.1
"""Seconds that follow on a page: for each event of it, and at most."""


class Gathering:
    """The times at which views are due, in seconds of a monotonic clock.

    A view is due when there is something new and its events have gathered long enough, or at once
    where a reader waits for it. `gathers` has the seconds that each takes at least.
    """

    def __init__(self, gathers: Mapping[str, float]) -> None:
        self._gathers = dict(gathers)
        self._ready_at = dict.fromkeys(gathers, 0.0)
        self._pending = set(gathers)
        self._hurried: set[str] = set()

    def expect_events(self) -> None:
        """There may be something new in the log."""
        self._pending.update(self._gathers)

    def hurry(self, view: str) -> None:
        """A reader waits for the view."""
        if view in self._gathers:
            self._hurried.add(view)

    def take_due(self, views: Iterable[str], now: float) -> list[str]:
        """Those of the views that are to apply a page now. What comes meanwhile makes them due again."""
        due = [view for view in views if self._due_at(view) <= now]
        self._pending.difference_update(due)
        self._hurried.difference_update(due)
        return due

    def note_applied(self, view: str, moved: int, now: float, *, behind: bool) -> None:
        """The view has applied so many events; `behind` if there are more in the log."""
        pause = min(moved * PER_EVENT, LONGEST_GATHER)
        self._ready_at[view] = now if behind else now + self._gathers[view] + pause
        if behind:
            self._pending.add(view)

    def next_at(self, views: Iterable[str]) -> float:
        """When the first of these views is due, as far as is known; infinite while nothing is new."""
        return min(map(self._due_at, views), default=inf)

    def _due_at(self, view: str) -> float:
        if view in self._hurried:
            return -inf
        return self._ready_at[view] if view in self._pending else inf
