"""The pages of an erasure of a customer, first of executions and then of orders, and the holds that keep some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from domain.errors import OnHold
from domain.eventlog.store import Store
from domain.jobs.job import Job, Refusal
from domain.retention.hold import HoldPlaced
from domain.writer.guarded_writer import WriteOutcome
from domain.writer.message import Unless
from projections.catalog import Catalog
from projections.log_lines.archive.holds_on import holds_on, holds_on_orders

NONE: Mapping[str, Sequence[str]] = {}
ORDERS = "orders:"
"""The prefix of the cursor of a job whose executions are done; the cursor of the list of orders follows it."""
IN_TIME = """SELECT originator_id FROM events WHERE originator_id = ANY(%s::text[])
    AND originator_version = 1 AND notification_id <= %s"""


class ErasurePage(NamedTuple):
    """A page of a job: the ids of aggregates of one kind, the cursor of the next page, and the position of the log up to which
    the list was complete.
    """

    kind: str
    ids: Sequence[str]
    next_cursor: str | None
    position: int


class ErasureHolds(NamedTuple):
    """The holds on executions or orders, by their ids, as of a position. `unless` refuses commands if a hold was placed since."""

    holds: Mapping[str, Sequence[str]] = NONE
    position: int = 0
    unless: Unless | None = None

    def refusals(self, kind: str) -> tuple[Refusal, ...]:
        """The refusals of the executions or orders that holds keep."""
        return tuple(
            refusal(kind, id_, OnHold.code, OnHold().detail, tuple(holds))
            for id_, holds in self.holds.items()
        )


NO_HOLDS = ErasureHolds()


def refusal(
    kind: str, id_: str, code: str, detail: str, holds: tuple[str, ...] | None = None
) -> Refusal:
    """The refusal of an execution or an order."""
    named = {kind: id_} if holds is None else {kind: id_, "holds": holds}
    return Refusal.model_validate({**named, "code": code, "detail": detail})


async def orders_of(store: Store, catalog: Catalog, job: Job, limit: int) -> ErasurePage:
    """The next page of an erasure: orders of its customer that existed when the job was created."""
    after, wanted = (job.cursor or "").removeprefix(ORDERS), {"customer": job.filter["customer"]}
    async with store.reader() as connection:
        page = await catalog.list(connection, "order", wanted, limit=limit, cursor=after)
        streams = [f"order/{entry.id}" for entry in page.data]
        cursor = await connection.execute(IN_TIME, (streams, job.created_position))
        ids = [stream.partition("/")[2] for (stream,) in await cursor.fetchall()]
    following = None if page.next_cursor is None else f"{ORDERS}{page.next_cursor}"
    return ErasurePage("order", ids, following, page.position)


async def find_erasure_holds(store: Store, part: ErasurePage) -> ErasureHolds:
    """Find the legal holds on the executions or orders of a page.

    Raises:
        Damaged: a hold cannot be read.
        Overloaded: the database is unavailable.
    """
    found = await store.load_all(f"{part.kind}/{id_}" for id_ in part.ids)
    states = [versioned.state for versioned in found.values()]
    find = holds_on_orders if part.kind == "order" else holds_on
    async with store.reader() as connection:
        on_hold = await find(connection, states)
    return ErasureHolds(on_hold.holds, on_hold.position, Unless(HoldPlaced.type, on_hold.position))


def ids_erased(ids: Sequence[str], outcomes: Sequence[WriteOutcome]) -> tuple[str, ...]:
    """The ids whose content was erased, now, or before for the same reason."""
    pairs = zip(ids, outcomes, strict=True)
    return tuple(id_ for id_, outcome in pairs if outcome.answer is not None)
