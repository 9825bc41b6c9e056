"""How many calls each endpoint may have at once, by what came of the last ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

from workers.webhooks.caller import Outcome
from workers.webhooks.retry_schedule import LONGEST_WISH, asked_for

OF_AN_ENDPOINT = 32
LONGEST_HOLD = timedelta(minutes=1)
"""How long a `Retry-After` holds up other events for its endpoint, which may be of other webhooks."""


class Endpoints:
    """Endpoints that are called, and those that had trouble: whose last call was not answered, or failed with
    `Retry-After`. Such a one gets one call at a time, and none before the time for which it has asked.
    """

    def __init__(self) -> None:
        self._busy: Counter[str] = Counter()
        self._troubled: dict[str, datetime] = {}
        """From when on they may be called, by endpoint."""

    def begin(self, endpoint: str) -> None:
        """A call begins."""
        self._busy[endpoint] += 1

    def end(self, endpoint: str) -> None:
        """A call has ended."""
        self._busy[endpoint] -= 1
        self._busy += Counter()  # drops those at zero

    def note(self, endpoint: str, outcome: Outcome, now: datetime) -> None:
        """Remember what came of a call."""
        asked = now if outcome.error is None else asked_for(outcome.retry_after, now)
        if outcome.status is None or asked > now:
            until = min(asked, now + LONGEST_HOLD)
            self._troubled[endpoint] = max(until, self._troubled.get(endpoint, now))
        elif not self.is_held(endpoint, now):
            self._troubled.pop(endpoint, None)

    def is_held(self, endpoint: str, now: datetime) -> bool:
        """Whether it has asked for no call yet."""
        return self._troubled.get(endpoint, now) > now

    def has_room(self, endpoint: str, now: datetime, more: int = 0) -> bool:
        """Whether it may get one more call, beside those under way and `more`."""
        if self.is_held(endpoint, now):
            return False
        most = 1 if endpoint in self._troubled else OF_AN_ENDPOINT
        return self._busy[endpoint] + more < most

    def full(self, now: datetime) -> Iterator[str]:
        """Those that may get no more calls now."""
        known = {*self._busy, *self._troubled}
        return (endpoint for endpoint in known if not self.has_room(endpoint, now))

    def forget(self, now: datetime) -> None:
        """Forget trouble of long ago: nothing waits longer for a call, so nothing waits for those of then."""
        recent = self._troubled.items()
        self._troubled = {each: at for each, at in recent if now - at < 2 * LONGEST_WISH}
