"""The stored states of executions that have not ended. A state is stored only now and then.

A stored state is at most a few events behind its row. A reader applies those events from the log, so that an event
does not cost the view a copy of the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple
from zlib import crc32

from psycopg import AsyncConnection

from domain.damage import report
from domain.errors import ArchiveAway, Damaged, Unreadable
from domain.eventlog.codec import Codec, Snapshot, encode_state, to_sealed_json
from domain.eventlog.connection.pg_arrays import columns
from domain.execution.events.lifecycle import RetryScheduled
from domain.execution.state import Execution
from domain.lru import LruCache
from domain.model import Recorded, Versioned
from projections.executions.references import STREAM, Listed, fold, referring
from projections.executions.tables import STATE_KINDS, WRITE_STATES
from projections.representations.execution import document
from projections.representations.packing import unpack

MOST_EVENTS = 8
LARGE_EVENT = 2_048
"""A state is stored after an event of at least `LARGE_EVENT` bytes, `MOST_EVENTS` events after the last stored state,
and when a retry is scheduled: thousands of retries may start at once, long after their states were dropped from memory.
So the events alone decide which states are stored; the division into pages does not."""
STORED_AFTER = f"{MOST_EVENTS} events, {LARGE_EVENT} bytes, {RetryScheduled.type}"


RECENT = 4_096
"""The capacity of the cache of states that lists have shown, in parts of states (`Versioned.weight`)."""


class StoredRow(NamedTuple):
    """What the tables have of an execution: its document if it has ended, else its stored state, if there is one, and in lists
    the time of its last heartbeat.
    """

    id: str
    version: int
    document: bytes | None
    checksum: int | None
    state_version: int
    state_position: int
    state_at: datetime
    state: bytes | None
    heard_at: datetime | None = None

    def heard_until(self, until: datetime) -> StoredRow:
        """This row without a later heartbeat: which one was the last before is not known."""
        later = self.heard_at is not None and self.heard_at > until
        return self._replace(heard_at=None) if later else self


class CachedState(NamedTuple):
    """A state, the version of the stored state (0 if none is stored), and whether the row is in the table of resting
    executions.
    """

    versioned: Versioned[Execution]
    stored_version: int = 0
    resting: bool = False

    @property
    def weight(self) -> int:
        """The share of the cache's capacity that the state takes."""
        return self.versioned.weight


def advance(
    before: CachedState | None, events: Iterable[Recorded]
) -> tuple[CachedState, Versioned[Execution] | None]:
    """Apply events to a state; return the new state, and the newest state on the way that must be stored, if any."""
    versioned, stored, _ = before or (None, 0, False)
    state, size = (versioned.state, versioned.size) if versioned else (None, 0)
    due = None
    for recorded in events:  # not `replay`: a rebuild runs this loop for each event of the log
        event = referring(recorded)
        state = event.event.apply(state, event)
        size += event.size
        if state.final:
            stored, due = 0, None
        elif (
            event.version - stored >= MOST_EVENTS
            or recorded.size >= LARGE_EVENT
            or isinstance(event.event, RetryScheduled)
        ):
            stored = event.version
            due = Versioned(state, event.version, event.position, event.at, size)
    assert state is not None
    return CachedState(Versioned(state, event.version, event.position, event.at, size), stored), due


async def read_states(
    connection: AsyncConnection,
    codec: Codec,
    rows: Sequence[StoredRow],
    unreadable: dict[str, Unreadable] | None = None,
) -> dict[str, CachedState]:
    """Return the states of the rows that have no document, by id. A state is left out if the log has no events for it.

    Streams whose archived events cannot be read are left out and added to `unreadable`, if that is given.
    """
    rows = [row for row in rows if row.document is None]
    restored = {STREAM + row.id: _decode_state(codec, row) for row in rows if row.state is not None}
    known = {stream: state for stream, state in restored.items() if state is not None}
    versions = {STREAM + row.id: row.version for row in rows}
    states = await fold(connection, codec, versions, known, unreadable)
    found: dict[str, CachedState] = {}
    for row in rows:
        stream = STREAM + row.id
        stored = known[stream].version if stream in known else 0
        found |= {row.id: CachedState(states[stream], stored)} if stream in states else {}
    return found


class ShownRows:
    """Makes the documents that lists show. Caches the states of executions that have not ended."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._recent: LruCache[str, Versioned[Execution]] = LruCache(RECENT, attrgetter("weight"))

    async def list_rows(
        self, connection: AsyncConnection, rows: Sequence[StoredRow], now: datetime
    ) -> list[Listed]:
        """Return the document of each row. Durations of executions that have not ended count until `now`.

        A row that is damaged, or whose events are in an archive that is unavailable, is shown as unreadable.
        """
        states = {row.id: state for row in rows if (state := self._find_recent(row)) is not None}
        unknown = [row for row in rows if row.document is None and row.id not in states]
        unreadable: dict[str, Unreadable] = {}
        read = await read_states(connection, self._codec, unknown, unreadable)
        for id_, cached in read.items():
            states[id_] = cached.versioned
            self._recent.put(id_, cached.versioned)
        self._recent.trim()
        archived = {s for s, error in unreadable.items() if isinstance(error, ArchiveAway)}
        return [
            Listed.unreadable(row.id)
            if STREAM + row.id in archived
            else _list_row(row, states.get(row.id), now)
            for row in rows
        ]

    def _find_recent(self, row: StoredRow) -> Versioned[Execution] | None:
        state = self._recent.get(row.id) if row.document is None else None
        return state if state is not None and state.version == row.version else None


def _list_row(row: StoredRow, state: Versioned[Execution] | None, now: datetime) -> Listed:
    if state is not None:
        return Listed(row.id, to_sealed_json(document(state, now, heard_at=row.heard_at)))
    with suppress(ValueError):
        if row.document is not None and crc32(shown := unpack(row.document)) == row.checksum:
            return Listed(row.id, shown)
    report(Damaged(stream=STREAM + row.id, version=row.version))
    return Listed.unreadable(row.id)


async def write_states(connection: AsyncConnection, due: Iterable[Versioned[Execution]]) -> None:
    """Write states to `execution_states`, in the caller's transaction."""
    rows = [
        (state.state.id, state.version, state.position, state.at, encode_state(state.state))
        for state in due
    ]
    if rows:
        await connection.execute(WRITE_STATES, columns(STATE_KINDS, rows), prepare=True)


def _decode_state(codec: Codec, row: StoredRow) -> Versioned[Any] | None:
    """Return the stored state; None if it is damaged, because the events lead to the same state."""
    assert row.state is not None
    stored = (row.state_version, row.state_position, row.state_at, row.state)
    try:
        return codec.restore(Snapshot(STREAM + row.id, *stored))
    except Damaged as error:
        report(error)
        return None
