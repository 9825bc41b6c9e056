"""The states of executions that go on, which are stored only now and then.

A stored state is at most some events behind its row. Who needs the state applies those, which are in
the log; so an event costs the view no copy of the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.damage import report
from domain.errors import Damaged
from domain.eventlog.codec import Codec, Snapshot, frozen, sealed_json
from domain.eventlog.pg_arrays import columns
from domain.execution.state import Execution
from domain.model import Versioned
from projections.executions.references import STREAM, Listed, folded
from projections.executions.tables import STATE_KINDS, WRITE_STATES
from projections.representations.execution import document

MOST_EVENTS = 8
MOST_BYTES = 16 * 1024
"""A state is stored once its row is so many events, or so many bytes of events, ahead of the last one."""


class StoredRow(NamedTuple):
    """What the tables hold of an execution: its document where it has ended, else maybe a state."""

    id: str
    version: int
    document: bytes | None
    state_version: int
    state_position: int
    state_at: datetime
    state: bytes | None


class CachedState(NamedTuple):
    """A state, and up to where it is stored."""

    versioned: Versioned[Execution]
    stored_version: int = 0
    stored_size: int = 0

    @property
    def weight(self) -> int:
        """The room it takes in a cache."""
        return self.versioned.weight

    @property
    def due(self) -> bool:
        """Whether it should be stored now."""
        ahead = self.versioned.version - self.stored_version
        size = self.versioned.size - self.stored_size
        return not self.versioned.state.final and (ahead >= MOST_EVENTS or size >= MOST_BYTES)

    @property
    def stored(self) -> CachedState:
        """The same once it is stored."""
        return CachedState(self.versioned, self.versioned.version, self.versioned.size)


async def read_states(
    connection: AsyncConnection, codec: Codec, rows: Sequence[StoredRow]
) -> dict[str, CachedState]:
    """The states of those rows that go on, by id.

    Raises:
        Damaged: the log does not lead to one of them.
    """
    rows = [row for row in rows if row.document is None]
    thawed = {STREAM + row.id: _thawed(codec, row) for row in rows if row.state is not None}
    known = {stream: state for stream, state in thawed.items() if state is not None}
    versions = {STREAM + row.id: row.version for row in rows}
    states = await folded(connection, codec, versions, known)
    found = {}
    for row in rows:
        stream = STREAM + row.id
        start = known.get(stream)
        stored = (start.version, start.size) if start else ()
        found[row.id] = CachedState(states[stream], *stored)
    return found


async def listed(
    connection: AsyncConnection, codec: Codec, rows: Sequence[StoredRow], now: datetime
) -> list[Listed]:
    """What is shown of rows; the durations of those that go on count until `now`."""
    states = await read_states(connection, codec, rows)
    return [
        Listed(
            row.id,
            row.document
            if row.document is not None
            else sealed_json(document(states[row.id].versioned, now)),
        )
        for row in rows
    ]


async def write_states(connection: AsyncConnection, due: Iterable[CachedState]) -> None:
    """Store states."""
    rows = [(one.state.id, one.version, one.position, one.at, frozen(one.state)) for one, *_ in due]
    if rows:
        await connection.execute(WRITE_STATES, columns(STATE_KINDS, rows), prepare=True)


def _thawed(codec: Codec, row: StoredRow) -> Versioned[Any] | None:
    """The stored state; None where it is damaged, as the events lead there, too."""
    assert row.state is not None
    stored = (row.state_version, row.state_position, row.state_at, row.state)
    try:
        return codec.thaw(Snapshot(STREAM + row.id, *stored))
    except Damaged as error:
        report(error)
        return None
