"""Decides when a view applies its next page.

A page of many events costs little more than a page of one, so events gather for a moment: the busier the log, the
longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

PER_EVENT = 0.001
LONGEST_GATHER = 0.2
"""Seconds of pause after a page, in addition to `gathers`: for each event of the page, and at most; not less than the page took,
within the same limit, so that views leave half of a busy machine to others.
"""
SOON = 0.02
"""Seconds: views that are due so soon take part in the page of a view that is due now. One page for two views costs much less
than two pages.
"""


class Gathering:
    """The times at which views are due, in seconds of a monotonic clock.

    A view is due when the log may have new events and these have gathered long enough: for at least the seconds that
    `gathers` has for the view. It is due at once if a reader waits for it.
    """

    def __init__(self, gathers: Mapping[str, float]) -> None:
        self._gathers = dict(gathers)
        self._ready_at = dict.fromkeys(gathers, 0.0)
        self._pending = set(gathers)
        self._hurried: set[str] = set()

    def expect_events(self) -> None:
        """Note that the log may have new events."""
        self._pending.update(self._gathers)

    def hurry(self, view: str) -> None:
        """Make a view due at once, because a reader waits for it."""
        if view in self._gathers:
            self._hurried.add(view)

    def take_due(self, views: Iterable[str], now: float) -> list[str]:
        """Return the views that are due, and those that are due soon, if one has gathered long enough. The caller then
        applies a page to them. Events noted from now on make them due again.
        """
        ready_at = {view: self._gathered_at(view) for view in views}
        until = now + SOON if min(ready_at.values(), default=inf) <= now else now
        due = [view for view, at in ready_at.items() if at <= until or view in self._hurried]
        self._pending.difference_update(due)
        self._hurried.difference_update(due)
        return due

    def note_applied(
        self, view: str, moved: int, now: float, *, took: float = 0.0, behind: bool
    ) -> None:
        """Note that a view has moved by `moved` positions, in a page that `took` so many seconds; `behind` if the log has
        more.
        """
        pause = min(max(moved * PER_EVENT, took), LONGEST_GATHER)
        self._ready_at[view] = now if behind else now + self._gathers[view] + pause
        if behind:
            self._pending.add(view)

    def next_at(self, views: Iterable[str]) -> float:
        """Return the time at which the first of these views is due; infinite if no new events are known."""
        return min(map(self._due_at, views), default=inf)

    def _due_at(self, view: str) -> float:
        return -inf if view in self._hurried else self._gathered_at(view)

    def _gathered_at(self, view: str) -> float:
        """The time at which the events for a view will have gathered long enough; infinite if there are none."""
        return self._ready_at[view] if view in self._pending else inf
