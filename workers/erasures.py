"""What a job erases, and what legal holds keep of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from domain.errors import OnHold
from domain.eventlog.store import Store
from domain.jobs.job import Refusal
from domain.retention.hold import HoldPlaced
from domain.writer.guarded_writer import Outcome
from domain.writer.message import Unless
from projections.executions.references import Listed
from projections.log_lines.archive.holds_on import holds_on

NONE: Mapping[str, Sequence[str]] = {}


class Kept(NamedTuple):
    """The holds on executions, by their ids, as of a position; no hold may be placed after it meanwhile."""

    holds: Mapping[str, Sequence[str]] = NONE
    position: int = 0
    unless: Unless | None = None

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """Each execution that is kept, as one that did not take the command."""
        detail = OnHold().detail
        return tuple(
            Refusal(execution=id_, code=OnHold.code, detail=detail, holds=tuple(holds))
            for id_, holds in self.holds.items()
        )


NOTHING_KEPT = Kept()


async def kept_by_holds(store: Store, rows: Iterable[Listed]) -> Kept:
    """Which of some executions legal holds keep.

    Raises:
        Damaged: what is held cannot be said.
        Overloaded: the database is away.
    """
    states = await store.load_all(f"execution/{row.id}" for row in rows)
    async with store.reader() as connection:
        found = await holds_on(connection, [versioned.state for versioned in states.values()])
    return Kept(found.holds, found.position, Unless(HoldPlaced.type, found.position))


def erased_by(ids: Sequence[str], outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Those of the executions that were erased, now or before for the same reason."""
    pairs = zip(ids, outcomes, strict=True)
    return tuple(id_ for id_, outcome in pairs if outcome.answer is not None)
