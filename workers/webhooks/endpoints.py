"""How many calls each endpoint may have at once, by what came of the last ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping
from datetime import datetime, timedelta

from workers.webhooks.caller import Outcome
from workers.webhooks.retry_schedule import LONGEST_WISH, asked_for

OF_AN_ENDPOINT = 32
OF_SLOW = 100
"""Calls at once of all endpoints together whose last call was slow, or had trouble: the other places are for the others."""
SLOW = 3_000
"""Milliseconds from which on an answer is slow."""
LONGEST_HOLD = timedelta(minutes=1)
"""How long a `Retry-After` holds up other events for its endpoint, which may be of other webhooks."""


class Room:
    """The calls for which there is room at a time."""

    def __init__(
        self,
        busy: Mapping[str, int],
        slow: Container[str],
        troubled: Mapping[str, datetime],
        now: datetime,
    ) -> None:
        self._busy = Counter(busy)
        self._slow = slow
        self._troubled = troubled
        self._now = now
        self._of_slow = sum(calls for each, calls in busy.items() if self._is_slow(each))

    def has(self, endpoint: str) -> bool:
        """Whether an endpoint may get one more call."""
        if self._troubled.get(endpoint, self._now) > self._now:
            return False
        if self._is_slow(endpoint) and self._of_slow >= OF_SLOW:
            return False
        return self._busy[endpoint] < (1 if endpoint in self._troubled else OF_AN_ENDPOINT)

    def take(self, endpoint: str) -> bool:
        """Take the room for a call, if there is any; whether there was."""
        if not self.has(endpoint):
            return False
        self._busy[endpoint] += 1
        self._of_slow += self._is_slow(endpoint)
        return True

    def _is_slow(self, endpoint: str) -> bool:
        return endpoint in self._troubled or endpoint in self._slow


class Endpoints:
    """Endpoints that are called, those whose last answer was slow, and those that had trouble: whose last call was not
    answered, or failed with `Retry-After`. Such a one gets one call at a time, and none before the time for which it has
    asked.
    """

    def __init__(self) -> None:
        self._busy: Counter[str] = Counter()
        self._slow: dict[str, datetime] = {}
        """When that was, by endpoint."""
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
        if outcome.latency >= SLOW:
            self._slow[endpoint] = now
        else:
            self._slow.pop(endpoint, None)
        asked = now if outcome.error is None else asked_for(outcome.retry_after, now)
        if outcome.status is None or asked > now:
            until = min(asked, now + LONGEST_HOLD)
            self._troubled[endpoint] = max(until, self._troubled.get(endpoint, now))
        elif not self.is_held(endpoint, now):
            self._troubled.pop(endpoint, None)

    def is_held(self, endpoint: str, now: datetime) -> bool:
        """Whether it has asked for no call yet."""
        return self._troubled.get(endpoint, now) > now

    def pauses(self, now: datetime) -> dict[str, datetime]:
        """Those that have asked for no call yet, and from when on they may be called."""
        return {endpoint: at for endpoint, at in self._troubled.items() if at > now}

    def room(self, now: datetime) -> Room:
        """The calls for which there is room beside those under way."""
        return Room(self._busy, self._slow, self._troubled, now)

    def full(self, now: datetime) -> list[str]:
        """Those that may get no more calls now."""
        room = self.room(now)
        known = {*self._busy, *self._slow, *self._troubled}
        return [endpoint for endpoint in known if not room.has(endpoint)]

    def forget(self, now: datetime) -> None:
        """Forget trouble of long ago: nothing waits longer for a call, so nothing waits for those of then."""
        oldest = now - 2 * LONGEST_WISH
        self._troubled = {each: at for each, at in self._troubled.items() if at > oldest}
        self._slow = {each: at for each, at in self._slow.items() if at > oldest}
