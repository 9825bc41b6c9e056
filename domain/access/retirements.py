"""The days that were taken out of the access log: which entries they had, and how the chain goes on behind them."""

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
"""There is one: the access log is one chain."""
LEAST_DAYS, DEFAULT_DAYS = 30, 3_650
"""No entry is retired sooner, whatever is set; and when it is where nothing is set."""


@dataclass(frozen=True)
class Gap(State):
    """Entries that were retired, from `first` to `last`; the hash before the first, and that of the last."""

    first: int
    last: int
    before: str
    hash: str


@dataclass(frozen=True)
class AccessRetirements(Aggregate):
    """All entries that were retired, neighbours together, and the last day of them."""

    gaps: tuple[Gap, ...] = ()
    last_day: date = date.min

    def has(self, first: int, last: int) -> bool:
        """Whether all entries from the first to the last were retired."""
        return any(gap.first <= first and last <= gap.last for gap in self.gaps)


class AccessRetired(Event):
    """The entries of a day, from `first` to `last`, are kept no longer.

    `before` is the hash of the entry before them, empty where there was none, and `hash` that of the last: the chain
    goes on with it. Both are in hexadecimal.
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
    """Record that the entries of a day are kept no longer. Clients cannot send it.

    Raises:
        IllegalTransition: they are not old enough.
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
