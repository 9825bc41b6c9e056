"""Retired days of the access log: the entries of a day are deleted, and an event has the hashes that continue the chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import ClassVar

from domain.errors import IllegalTransition
from domain.model import (
    Aggregate,
    Context,
    Event,
    Recorded,
    State,
    aggregate_id,
)
from domain.recording import Recording

STREAM = "retirement/access-log"
"""The only stream of its kind, as the access log is one chain."""
LEAST_DAYS, DEFAULT_DAYS = 30, 3_650
"""The least number of days for which entries are kept, whatever the setting, and the default of the setting."""


@dataclass(frozen=True)
class Gap(State):
    """The retired entries from `first` to `last`, with the hash before the first, and the hash of the last."""

    first: int
    last: int
    before: str
    hash: str


@dataclass(frozen=True)
class AccessRetirements(Aggregate):
    """All retired entries, as gaps that do not adjoin each other, and the last retired day."""

    gaps: tuple[Gap, ...] = ()
    last_day: date = date.min

    def has(self, first: int, last: int) -> bool:
        """Whether all entries from `first` to `last` were retired."""
        return any(gap.first <= first and last <= gap.last for gap in self.gaps)


class AccessRetired(Event):
    """The entries of a day, from `first` to `last`, were retired: they are deleted after this event.

    `before`: the hash of the entry before them, empty if there was none; `hash`: the hash of the last of them, with which the
    chain continues. Both are in hexadecimal.
    """

    type: ClassVar[str] = "access.retired"
    day: date
    first: int
    last: int
    before: str
    hash: str

    def apply(self, state: AccessRetirements | None, recorded: Recorded) -> AccessRetirements:
        former = AccessRetirements(aggregate_id(recorded.stream)) if state is None else state
        gaps: list[Gap] = []
        retired = Gap(self.first, self.last, self.before, self.hash)
        for gap in sorted((*former.gaps, retired), key=lambda gap: gap.first):
            if gaps and gaps[-1].last + 1 == gap.first:
                gaps[-1] = gaps[-1].evolve(last=gap.last, hash=gap.hash)
            else:
                gaps.append(gap)
        return former.evolve(gaps=tuple(gaps), last_day=max(former.last_day, self.day))


class RetireAccesses(Recording[AccessRetirements]):
    """Retire the entries of a day. Only the server sends this.

    Raises:
        IllegalTransition: the day is less than `LEAST_DAYS` days ago.
    """

    wire_name: ClassVar[str] = "retireAccesses"

    day: date
    first: int
    last: int
    before: str
    hash: str

    def decide(self, state: AccessRetirements | None, context: Context) -> Iterator[Event]:
        if context.now.date() - self.day < timedelta(days=LEAST_DAYS):
            raise IllegalTransition(
                f"Entries of the access log are kept for at least {LEAST_DAYS} days.",
                status="kept",
                allowedCommands=[],
            )
        if state is None or not state.has(self.first, self.last):
            yield AccessRetired(
                day=self.day, first=self.first, last=self.last, before=self.before, hash=self.hash
            )


EVENTS: tuple[type[Event], ...] = (AccessRetired,)
