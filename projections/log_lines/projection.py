"""The view of notes: the log lines that the server derives from failures, retries, completions and cancellations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from psycopg import AsyncConnection

from domain.eventlog.connection.pg_arrays import columns, placeholders
from domain.model import Recorded, aggregate_id
from projections.log_lines.model import NOTED_EVENTS, note_of

SCHEMA = """
CREATE TABLE IF NOT EXISTS log_notes (
    execution   text COLLATE "C" NOT NULL,
    occurred_at timestamptz NOT NULL,
    id          bigint NOT NULL,  -- the position of the event it follows from
    at          timestamptz NOT NULL,
    level       text COLLATE "C" NOT NULL,
    step        text COLLATE "C",
    said        text NOT NULL,  -- the part of the message that is not sealed
    sealed      text,           -- the rest of it, the token of the event
    PRIMARY KEY (execution, occurred_at, id)
);
"""

ARRAYS = ("text", "timestamptz", "bigint", "timestamptz", *("text",) * 4)
NOTE = f"""INSERT INTO log_notes SELECT * FROM unnest({placeholders(ARRAYS)})
    ON CONFLICT DO NOTHING"""


class LogLineProjection:
    """The view of notes."""

    name: ClassVar[str] = "logs"
    schema: ClassVar[str] = SCHEMA
    tables: ClassVar[tuple[str, ...]] = ("log_notes",)
    gathers: ClassVar[float] = 0.05
    types: ClassVar[Sequence[str] | None] = NOTED_EVENTS
    compared: ClassVar[Mapping[str, str]] = {"log_notes": "true"}

    def forget(self) -> None:
        """Do nothing: no states are cached."""

    async def apply(self, connection: AsyncConnection, page: Sequence[Recorded]) -> None:
        """Write one line for each event."""
        rows = [
            (aggregate_id(event.stream), line.occurred_at, line.id, *line[3:])
            for event, line in zip(page, map(note_of, page), strict=True)
        ]
        await connection.execute(NOTE, columns(ARRAYS, rows), prepare=True)
