"""Checks the rows of one execution against its events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.eventlog.codec import encode_state
from domain.execution.state import Execution
from domain.integrity.fault import Fault
from domain.model import Recorded, Versioned
from projections.engine.migrations import form_of
from projections.executions.columns import COLUMNS
from projections.executions.projection import Executions
from projections.executions.references import STREAM, referring
from projections.executions.rows import stored_document
from projections.executions.stored_states import CachedState, advance
from projections.executions.tables import ROW
from projections.representations.packing import same

FOUND = f"""SELECT wanted.id, b.position, b.form, {", ".join(f"r.{name}" for name in ROW)},
        d.document, d.checksum, s.version, s.position, s.at, s.state
    FROM unnest(%b::text[]) AS wanted (id)
    LEFT JOIN bookmarks AS b ON b.view = 'executions'
    LEFT JOIN LATERAL (SELECT * FROM executions WHERE id = wanted.id OFFSET 0) AS r ON true
    LEFT JOIN execution_documents AS d ON d.id = wanted.id
    LEFT JOIN execution_states AS s ON s.id = wanted.id"""
"""`OFFSET 0` makes PostgreSQL look up each id by itself, whatever size the planner assumes for the tables."""
MEMBERS = (*(column.field.path for column in COLUMNS), "tags", "metadata")


class StoredExecution(NamedTuple):
    """What the tables have of an execution, and the bookmark of the view at the same moment.

    `rows` are the rows of the execution, of which there must be one: the values of `MEMBERS`, then its document and
    its stored state. `readable`: the rows of the view exist and have the form of this program.
    """

    id: str
    position: int
    readable: bool
    rows: list[tuple[Any, ...]]

    @property
    def version(self) -> int:
        """The version of the row; 0 if there is no row."""
        return int(self.rows[0][MEMBERS.index("version")]) if self.rows else 0


async def read_stored(
    connection: AsyncConnection, view: Executions, ids: Sequence[str]
) -> dict[str, StoredExecution]:
    """Read everything stored of some executions, in one statement; return it by id."""
    found = await (await connection.execute(FOUND, (list(ids),), binary=True)).fetchall()
    position, form = found[0][1:3]
    readable, rows = form == form_of(view), dict[str, list[tuple[Any, ...]]]()
    for id_, _, _, *row in found:
        rows.setdefault(id_, []).extend([] if row[0] is None else [tuple(row)])
    return {id_: StoredExecution(id_, position or 0, readable, rows[id_]) for id_ in ids}


class ExpectedRows:
    """The rows that the view must have of an execution, after each of its events in order."""

    def __init__(self) -> None:
        self._cached: CachedState | None = None
        self._state: Versioned[Execution] | None = None

    def advance(self, recorded: Recorded) -> None:
        """Apply the next event, which must have been decoded without a data key."""
        self._cached, stored = advance(self._cached, [referring(recorded)])
        if stored is not None or not self._cached.stored_version:
            self._state = stored

    def faults(self, stored: StoredExecution) -> Iterator[Fault]:
        """Yield the differences between the expected and the stored rows, which must be of the same version."""
        if self._cached is None:
            return
        versioned = self._cached.versioned
        if len(stored.rows) != 1:
            yield _fault(stored, None, f"has {len(stored.rows)} rows")
            return
        [row] = stored.rows
        width = len(MEMBERS)
        expected = (
            *(column.value(versioned) for column in COLUMNS),
            list(versioned.state.tags),
            versioned.state.metadata,
        )
        for member, value, wanted in zip(MEMBERS, row[:width], expected, strict=True):
            if value != wanted:
                yield _fault(stored, member, "is not what its events say")
        document, checksum = stored_document(versioned) or (None, None)
        if not same(row[width], document) or row[width + 1] != checksum:
            yield _fault(stored, "document", "is not what its events say")
        state = self._state
        expected_state = (
            (None, None, None, None)
            if state is None
            else (state.version, state.position, state.at, encode_state(state.state))
        )
        if row[width + 2 :] != expected_state:
            yield _fault(stored, "state", "is not what its events say")


def _fault(stored: StoredExecution, member: str | None, what: str) -> Fault:
    return Fault(Executions.name, STREAM + stored.id, what, None, member)
