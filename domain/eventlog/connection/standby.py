"""Checks twice a second whether the log may be read from a standby, and logs each change."""

from __future__ import annotations

import asyncio
from datetime import datetime
from math import inf
from time import monotonic
from typing import NamedTuple

import structlog

from domain.errors import Overloaded
from domain.eventlog.connection.standby_store import StandbyStore
from domain.supervisor import Background, Tasks

EVERY = 0.5
"""Seconds between two checks."""
MOST_LAG = 2.0
"""Seconds that a standby may be behind the primary."""
NOT_LOOKED = "it was not checked yet"
ANOTHER_PAST = "its event at the position seen last is another one than the primary's"
READ_STATUS = """SELECT pg_is_in_recovery(), log_id, position,
    (SELECT at FROM events WHERE notification_id = %b) FROM head"""

log = structlog.get_logger()


class StandbyStatus(NamedTuple):
    """A row of `LOOK`: whether a database is a standby, the id and position of its log, and the time of its event at the
    position that this process has seen last.
    """

    is_standby: bool
    log_id: str
    position: int
    at: datetime | None


class SeenEvent(NamedTuple):
    """The last event that this process has seen on the primary."""

    position: int
    at: datetime


class Lag:
    """For how many seconds a standby may have lacked events that were seen on the primary.

    It notes a position of the primary and the time (the mark). Once the standby has reached that position, it has
    everything that the primary had at that time.
    """

    def __init__(self) -> None:
        self.seconds = inf
        self._complete_at = -inf
        self._mark, self._marked_at = 0, -inf

    def update(self, standby: int, primary: int, now: float) -> None:
        """Update `seconds` by the positions of standby and primary at a monotonic time."""
        if standby >= self._mark:
            self._complete_at = now if standby >= primary else self._marked_at
            self._mark, self._marked_at = primary, now
        self.seconds = now - self._complete_at


def reason_unusable(status: StandbyStatus, of_log: str, seen: SeenEvent) -> str | None:
    """Why a database must not be read from, apart from its lag; None where it may be."""
    if not status.is_standby:
        return "it is no standby"
    if status.log_id != of_log:
        return "it is of another log"
    if status.position >= seen.position > 0 and status.at != seen.at:
        return ANOTHER_PAST
    return None


class Standby(Background):
    """Checks a standby over a store of its own."""

    def __init__(self, store: StandbyStore, of_log: str) -> None:
        self.store = store
        self.lag = Lag()
        self._of_log = of_log
        self._reason: str | None = NOT_LOOKED
        self._since = monotonic()

    @property
    def usable(self) -> bool:
        """Whether reads may go to the standby."""
        return self._reason is None and self.store.outages.current is None

    def tasks(self) -> Tasks:
        return {"standby": self._run}

    async def stop(self) -> None:
        await super().stop()
        await self.store.close()

    async def _run(self) -> None:
        await self.store.open()
        while True:
            self._update_reason(await self.find_reason())
            await asyncio.sleep(EVERY)

    async def find_reason(self) -> str | None:
        """Query the standby: why reads must not go to it at present; None where they may."""
        seen = SeenEvent(self.store.primary.seen.position, self.store.primary.seen.at)
        try:
            async with self.store.unchecked_reader() as connection:
                cursor = await connection.execute(READ_STATUS, (seen.position,), binary=True)
                row = await cursor.fetchone()
        except Overloaded as error:
            return " ".join((self.store.outages.reason or repr(error.__cause__)).split())
        if row is None or seen.position == 0:
            return NOT_LOOKED
        status = StandbyStatus(*row)
        if (reason := reason_unusable(status, self._of_log, seen)) is not None:
            return reason
        self.lag.update(status.position, seen.position, monotonic())
        # An unusable standby must be at half the bound, so that one near the bound does not change all the time.
        most = MOST_LAG if self._reason is None else MOST_LAG / 2
        return None if self.lag.seconds <= most else "it lags"

    def _update_reason(self, reason: str | None) -> None:
        former, self._reason = self._reason, reason
        if reason == former:
            return
        if former is None or (former == NOT_LOOKED and reason is not None):
            self._since = monotonic()
            log.warning("reads go to the primary, not to the standby", reason=reason)
        elif former == NOT_LOOKED:
            log.info("reads go to the standby")
        elif reason is None:
            seconds = round(monotonic() - self._since, 1)
            log.warning("reads go to the standby again", seconds=seconds)
