"""The tail of the log lines: reads each new line of workers once, whichever process recorded it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from domain.eventlog.store import Store
from projections.log_lines.model import StoredLine

PAGE = 1_000
"""Ids of new lines that are read at a time."""
LARGEST = 1024 * 1024
"""Bytes of sealed lines that are read at a time, but at least one line."""

LAST = "SELECT id FROM log_head"
NEW = """SELECT id, execution, octet_length(sealed) FROM log_lines
    WHERE id > %b ORDER BY id LIMIT %b"""
LINES = """SELECT execution, occurred_at, 1 AS origin, id, at, level, step, NULL AS said, sealed
    FROM log_lines WHERE id = ANY(%b::bigint[]) ORDER BY id"""


class Appended(NamedTuple):
    """A line, and the id of its execution."""

    execution: str
    line: StoredLine


class LinePage(NamedTuple):
    """Lines in the order of their ids; `more` if there may be further lines already."""

    lines: Sequence[Appended]
    more: bool


class Found(NamedTuple):
    """The id of a new line, the id of its execution, and the size of its content in bytes."""

    id: int
    execution: str
    size: int


class LogLineTail:
    """Reads the lines after the last id that it has read. Ids are assigned in the order of commits and without gaps, so no
    line is missed.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last_id = 0

    async def begin(self) -> None:
        """Begin after the lines that exist now."""
        async with self._store.reader() as connection:
            [(self._last_id,)] = await (await connection.execute(LAST)).fetchall()

    async def read(self, wanted: Callable[[str], bool]) -> LinePage:
        """Return the lines that were appended since the previous call, of the executions for which `wanted` is true."""
        found = await self._find()
        taken = list(_within_bytes(found, wanted))
        lines = await self._lines([new.id for new in taken if wanted(new.execution)])
        self._move_past(taken)
        return LinePage(lines, len(taken) < len(found) or len(found) >= PAGE)

    async def executions(self) -> set[str]:
        """Return the ids of the executions that got new lines since the previous call."""
        executions: set[str] = set()
        more = True
        while more:
            found = await self._find()
            self._move_past(found)
            executions.update(new.execution for new in found)
            more = len(found) >= PAGE
        return executions

    async def _find(self) -> list[Found]:
        async with self._store.reader() as connection:
            cursor = await connection.execute(NEW, (self._last_id, PAGE), binary=True)
            return [Found(*row) for row in await cursor.fetchall()]

    async def _lines(self, ids: Sequence[int]) -> list[Appended]:
        if not ids:
            return []
        async with self._store.reader() as connection:
            cursor = await connection.execute(LINES, (ids,), binary=True)
            return [Appended(row[0], StoredLine(*row[1:])) for row in await cursor.fetchall()]

    def _move_past(self, found: Sequence[Found]) -> None:
        if found:
            self._last_id = found[-1].id


def _within_bytes(found: Sequence[Found], wanted: Callable[[str], bool]) -> Iterator[Found]:
    size = 0
    for new in found:
        size += new.size if wanted(new.execution) else 0
        if size > LARGEST and size > new.size:
            return
        yield new
