"""The tail of the log lines: reads each new line of workers once, whichever process took it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from domain.eventlog.store import Store
from projections.log_lines.model import StoredLine

PAGE = 1_000
LARGEST = 1024 * 1024
"""Bytes of sealed lines that are read in one go, and at least one line."""

LAST = "SELECT id FROM log_head"
NEW = """SELECT id, execution, octet_length(sealed) FROM log_lines
    WHERE id > %b ORDER BY id LIMIT %b"""
LINES = """SELECT execution, occurred_at, 1 AS origin, id, at, level, step, NULL AS said, sealed
    FROM log_lines WHERE id = ANY(%b::bigint[]) ORDER BY id"""


class Appended(NamedTuple):
    """A line, and what it is a line of."""

    execution: str
    line: StoredLine


class LinePage(NamedTuple):
    """Lines in the order of their ids; `more` when there may be others already."""

    lines: Sequence[Appended]
    more: bool


class Found(NamedTuple):
    """The id of a new line, and how many bytes it takes."""

    id: int
    execution: str
    size: int


class LogLineTail:
    """Ids are given in the order of the commits, without holes: what is new is behind the last one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last = 0

    async def begin(self) -> None:
        """What is there by now will not be read."""
        async with self._store.reader() as connection:
            [(self._last,)] = await (await connection.execute(LAST)).fetchall()

    async def read(self, wanted: Callable[[str], bool]) -> LinePage:
        """What was appended since the last time, of those executions that are wanted."""
        found = await self._find()
        taken = list(_affordable(found, wanted))
        lines = await self._lines([new.id for new in taken if wanted(new.execution)])
        self._pass(taken)
        return LinePage(lines, len(taken) < len(found) or len(found) >= PAGE)

    async def executions(self) -> set[str]:
        """Those that lines were appended to since the last time."""
        executions: set[str] = set()
        more = True
        while more:
            found = await self._find()
            self._pass(found)
            executions.update(new.execution for new in found)
            more = len(found) >= PAGE
        return executions

    async def _find(self) -> list[Found]:
        async with self._store.reader() as connection:
            cursor = await connection.execute(NEW, (self._last, PAGE), binary=True)
            return [Found(*row) for row in await cursor.fetchall()]

    async def _lines(self, ids: Sequence[int]) -> list[Appended]:
        if not ids:
            return []
        async with self._store.reader() as connection:
            cursor = await connection.execute(LINES, (ids,), binary=True)
            return [Appended(row[0], StoredLine(*row[1:])) for row in await cursor.fetchall()]

    def _pass(self, found: Sequence[Found]) -> None:
        if found:
            self._last = found[-1].id


def _affordable(found: Sequence[Found], wanted: Callable[[str], bool]) -> Iterator[Found]:
    size = 0
    for new in found:
        size += new.size if wanted(new.execution) else 0
        if size > LARGEST and size > new.size:
            return
        yield new
