"""Detects that another log took the place of the known one: by a failover that lost commits, or a restore."""

from __future__ import annotations

from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.eventlog.connection.log_head import (
    LastSeen,
    LogDiverged,
    read_head,
    read_head_unchecked,
    renew_diverged_log_id,
)
from domain.eventlog.store import Store
from projections.audit.tables import head_of as tree_of


class OtherLog(NamedTuple):
    """The log is another one than it was: where it ends, its id, and how far the one before was `seen`, where
    what was seen there is not in this one.
    """

    position: int
    log_id: str
    seen: int | None = None

    @property
    def shown(self) -> dict[str, Any]:
        """What operators are shown of it: how far the log went back."""
        return {} if self.seen is None else {"wentBack": {"from": self.seen, "to": self.position}}


async def other_log(store: Store, of_log: str) -> OtherLog | None:
    """The log that there is, if it is another one than that of this id, or lacks what was seen; looked at on a
    new connection, as an old one may lead to a server that was replaced.

    A log that lacks what was seen gets another id here. But not one that lacks what its own tree covers: who takes
    events out of a log must not be rid of the evidence by that.

    Raises:
        Overloaded: the database is away.
    """
    async with store.fresh() as connection:
        lost = await _is_lost(connection, store.seen)
        if lost and await _covers_its_tree(connection):
            await renew_diverged_log_id(connection, store.seen, of_log)
        position, _, log_id = await read_head_unchecked(connection)
    if not lost and log_id == of_log:
        return None
    return OtherLog(position, log_id, store.seen.position if lost else None)


async def _is_lost(connection: AsyncConnection, seen: LastSeen) -> bool:
    try:
        await read_head(connection, seen)
    except LogDiverged:
        return True
    return False


async def _covers_its_tree(connection: AsyncConnection) -> bool:
    tree, head = await tree_of(connection), await read_head_unchecked(connection)
    return tree is None or tree.size <= head.position
