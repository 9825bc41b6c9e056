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
from domain.eventlog.codec import Codec, Snapshot, encode_state, sealed_json
from domain.eventlog.heartbeats import heard
from domain.eventlog.pg_arrays import columns
from domain.execution.state import Execution
from domain.model import Recorded, Versioned, replay
from projections.executions.references import STREAM, Listed, folded, referring
from projections.executions.tables import STATE_KINDS, WRITE_STATES
from projections.representations.execution import document

MOST_EVENTS = 8
LARGE_EVENT = 2_048
"""A state is stored after each event of so many bytes, and when so many events have followed on the last
one that was. So it depends on the events alone which state is stored, and not on how they came in pages."""


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
    """A state, and the version up to which it is stored, 0 where it is not."""

    versioned: Versioned[Execution]
    stored_version: int = 0

    @property
    def weight(self) -> int:
        """The room it takes in a cache."""
        return self.versioned.weight


def advance(
    before: CachedState | None, events: Iterable[Recorded]
) -> tuple[CachedState, Versioned[Execution] | None]:
    """The state after some events, and the newest on the way to it that is to be stored, if any."""
    versioned, stored = before or (None, 0)
    due = None
    for event in events:
        versioned = replay(versioned, [referring(event)])
        assert versioned is not None
        if versioned.state.final:
            stored, due = 0, None
        elif versioned.version - stored >= MOST_EVENTS or event.size >= LARGE_EVENT:
            stored, due = versioned.version, versioned
    assert versioned is not None
    return CachedState(versioned, stored), due


async def read_states(
    connection: AsyncConnection, codec: Codec, rows: Sequence[StoredRow]
) -> dict[str, CachedState]:
    """The states of those rows that go on, by id.

    Raises:
        Damaged: the log does not lead to one of them.
    """
    rows = [row for row in rows if row.document is None]
    restored = {STREAM + row.id: _thawed(codec, row) for row in rows if row.state is not None}
    known = {stream: state for stream, state in restored.items() if state is not None}
    versions = {STREAM + row.id: row.version for row in rows}
    states = await folded(connection, codec, versions, known)
    found = {}
    for row in rows:
        stream = STREAM + row.id
        found[row.id] = CachedState(states[stream], known[stream].version if stream in known else 0)
    return found


async def listed(
    connection: AsyncConnection, codec: Codec, rows: Sequence[StoredRow], now: datetime
) -> list[Listed]:
    """What is shown of rows; the durations of those that go on count until `now`."""
    states = await read_states(connection, codec, rows)
    heard_at = await heard(connection, states) if states else {}
    return [
        Listed(
            row.id,
            row.document
            if row.document is not None
            else sealed_json(
                document(states[row.id].versioned, now, heard_at=heard_at.get(row.id))
            ),
        )
        for row in rows
    ]


async def write_states(connection: AsyncConnection, due: Iterable[Versioned[Execution]]) -> None:
    """Store states."""
    rows = [
        (one.state.id, one.version, one.position, one.at, encode_state(one.state)) for one in due
    ]
    if rows:
        await connection.execute(WRITE_STATES, columns(STATE_KINDS, rows), prepare=True)


def _thawed(codec: Codec, row: StoredRow) -> Versioned[Any] | None:
    """The stored state; None where it is damaged, as the events lead there, too."""
    assert row.state is not None
    stored = (row.state_version, row.state_position, row.state_at, row.state)
    try:
        return codec.restore(Snapshot(STREAM + row.id, *stored))
    except Damaged as error:
        report(error)
        return None
