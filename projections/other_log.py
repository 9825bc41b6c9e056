"""Detects that the database has another log than before: after a failover that lost commits, or a restore."""

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
    """The log that replaced the known one: its last position and its id. `seen` is the last position that this process has
    seen of the known log, if the new one lacks events up to there.
    """

    position: int
    log_id: str
    seen: int | None = None

    @property
    def shown(self) -> dict[str, Any]:
        """The members for log lines: from which position to which the log went back, if it did."""
        return {} if self.seen is None else {"wentBack": {"from": self.seen, "to": self.position}}


async def other_log(store: Store, of_log: str) -> OtherLog | None:
    """Return the present log if its id is not `of_log`, or if it lacks events that this process has seen; else None.

    A new connection is used, because an old one may lead to a server that was replaced. A log that lacks events gets a new
    id here, except if its own tree covers the missing events: removing events from a log must not remove the evidence.

    Raises:
        Overloaded: the database is unavailable.
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
