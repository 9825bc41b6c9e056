"""Writes the rows of executions, and the documents of those that have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from zlib import crc32

import orjson
from psycopg import AsyncConnection

from domain.eventlog.codec import to_sealed_json
from domain.eventlog.connection.pg_arrays import array, columns
from domain.execution.state import Execution
from domain.model import Versioned
from projections.executions.columns import COLUMNS
from projections.executions.tables import BODY_KINDS, KINDS, WRITE
from projections.representations.execution import document
from projections.representations.packing import pack

YIELD_EVERY = 100
"""Rows that are made before the event loop runs other tasks."""
MOST_WRITTEN = 4 * 1024 * 1024
"""Bytes that one statement writes, approximately: an execution of thousands of steps has megabytes."""

Body = tuple[str, str, bytes | None, int | None]
"""Tags, metadata, and the document and its checksum if the execution has ended."""


async def write(connection: AsyncConnection, changed: Sequence[Versioned[Execution]]) -> None:
    """Write the rows of executions, some megabytes at a time, in the caller's transaction."""
    bodies: list[Body] = []
    size = 0
    for written, versioned in enumerate(changed, 1):
        bodies.append(_body(versioned))
        size += sum(len(part) for part in bodies[-1][:3] if part)
        if size > MOST_WRITTEN or written == len(changed):
            await _write_part(connection, changed[written - len(bodies) : written], bodies)
            bodies, size = [], 0
        elif written % YIELD_EVERY == 0:
            await asyncio.sleep(0)


async def _write_part(
    connection: AsyncConnection, changed: Sequence[Versioned[Execution]], bodies: Sequence[Body]
) -> None:
    arrays = []
    for column, kind in zip(COLUMNS, KINDS, strict=True):
        arrays.append(array(kind, list(map(column.value, changed))))
        if len(changed) > YIELD_EVERY:
            await asyncio.sleep(0)
    await connection.execute(WRITE, arrays + columns(BODY_KINDS, bodies), prepare=True)


def _body(versioned: Versioned[Execution]) -> Body:
    state = versioned.state
    tags, metadata = _array(state.tags), orjson.dumps(state.metadata).decode()
    return tags, metadata, *(stored_document(versioned) or (None, None))


def stored_document(versioned: Versioned[Execution]) -> tuple[bytes, int] | None:
    """Return the packed document of an execution that has ended, and its checksum; None if it has not ended."""
    if not versioned.state.final:
        return None
    shown = to_sealed_json(document(versioned, versioned.at))
    return pack(shown), crc32(shown)


def _array(tags: Sequence[str]) -> str:
    """Return the tags as the text of an SQL array. An array of arrays cannot be bound, because SQL requires these to
    have equal lengths.

    JSON escapes quotes and backslashes in the same way as the text of an array, and tags need no other escapes.
    """
    return "{" + orjson.dumps(tags).decode()[1:-1] + "}"
