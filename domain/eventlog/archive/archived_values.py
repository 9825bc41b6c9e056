"""Adds events from archive files to a query as values: a common table expression `events` unites them with the rows of the
table, or replaces rows by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from domain.eventlog.codec import EventRow
from domain.eventlog.connection.pg_arrays import Array, array, placeholders
from domain.eventlog.queries import COLUMNS

KINDS = ("bigint", "bigint", "timestamptz", "text", "text", "text", "bytea")
NAMES = tuple(f"archived_{column}" for column in COLUMNS.split(", "))
EVENTS = """WITH events AS NOT MATERIALIZED (SELECT {columns} FROM events{beyond}
    UNION ALL SELECT * FROM unnest({arrays}) AS archived ({columns}))"""
BEYOND = " WHERE notification_id > {}"

Values = Sequence[Any] | Mapping[str, Any]


def with_archived_events(
    query: str, values: Values, events: Sequence[EventRow], *, beyond: int | None = None
) -> tuple[str, Values]:
    """Add archived events to a query; return the new query and its values.

    With `beyond`, the events replace the rows of the table up to that position; otherwise they are added to all rows.
    """
    columns = event_arrays(events)
    named = isinstance(values, Mapping)
    arrays = placeholders(KINDS)
    if named:
        arrays = ", ".join(f"%({name})b::{kind}[]" for name, kind in zip(NAMES, KINDS, strict=True))
    cte = EVENTS.format(
        columns=COLUMNS,
        arrays=arrays,
        beyond="" if beyond is None else BEYOND.format(beyond),
    )
    joined = f"{cte}, {query[5:]}" if query.startswith("WITH ") else f"{cte} {query}"
    if isinstance(values, Mapping):
        return joined, {**values, **dict(zip(NAMES, columns, strict=True))}
    return joined, [*columns, *values]


def event_arrays(events: Sequence[EventRow]) -> list[Array]:
    """Encode the columns of events as arrays; there may be no events."""
    columns = list(zip(*events, strict=True)) or [()] * len(KINDS)
    return [array(kind, column) for kind, column in zip(KINDS, columns, strict=True)]
