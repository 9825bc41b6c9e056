"""Opens the sealed content of the rows of a list."""

from __future__ import annotations

from collections.abc import Sequence

from domain.eventlog.store import Store
from projections.executions.references import Listed, refers, with_content
from projections.representations.client_json import open_and_mark


async def open_rows(store: Store, rows: Sequence[Listed]) -> list[bytes]:
    """Return the document of each row for a client, as JSON, with its content.

    Raises:
        Overloaded: the database is unavailable.
    """
    if any(refers(row.document) for row in rows):
        async with store.reader() as connection:
            rows = await with_content(connection, rows)
    keys = await store.keys(f"execution/{row.id}" for row in rows)
    return [open_and_mark(row.document, keys[f"execution/{row.id}"]) for row in rows]
