"""The end of the log lines: each line that workers tell is read once, whichever process took it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import NamedTuple

from domain.eventlog.store import Store
from projections.log_lines.model import Kept

PAGE = 1_000
LARGEST = 1024 * 1024
"""Bytes of sealed lines that are read in one go, and at least one line."""
REACH = PAGE
MOST_MISSING = 20_000
"""Ids that may be given out and not committed at one moment: a thousand on each of many connections."""
PATIENCE = 5.0
"""Seconds, after which an id that never came to light is taken for one that was rolled back."""

LAST = "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('log_lines', 'id')::regclass), 0)"
NEW = """(SELECT id, execution, octet_length(sealed) FROM log_lines
        WHERE id > %b ORDER BY id LIMIT %b)
    UNION ALL SELECT id, execution, octet_length(sealed) FROM log_lines
        WHERE id = ANY(%b::bigint[])"""
LINES = """SELECT execution, occurred_at, 1 AS origin, id, at, level, step, NULL AS said, sealed
    FROM log_lines WHERE id = ANY(%b::bigint[]) ORDER BY id"""


class Appended(NamedTuple):
    """A line, and what it is a line of."""

    execution: str
    line: Kept


class Page(NamedTuple):
    """Lines in the order of their ids; `more` when there may be others already."""

    lines: Sequence[Appended]
    more: bool


class Found(NamedTuple):
    """An id that came to light, and how many bytes its line takes."""

    id: int
    execution: str
    size: int


class LogLineTail:
    """Ids are given out before lines are committed, so a lower one may come to light after a higher
    one: those that are missing are asked for again until `PATIENCE` is over.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last = 0
        self._missing: dict[int, float] = {}

    async def begin(self) -> None:
        """What has come to light by now will not be read."""
        async with self._store.reader() as connection:
            (row,) = await (await connection.execute(LAST)).fetchall()
        self._last, self._missing = max(0, row[0] - REACH), {}
        self._pass(await self._found())

    async def read(self, wanted: Callable[[str], bool]) -> Page:
        """What came to light since the last time, of those executions that are wanted."""
        found = await self._found()
        taken = list(_affordable(found, wanted))
        lines = await self._lines([new.id for new in taken if wanted(new.execution)])
        self._pass(taken)
        return Page(lines, len(taken) < len(found) or len(found) >= PAGE)

    async def executions(self) -> set[str]:
        """Those that lines of came to light since the last time."""
        executions: set[str] = set()
        more = True
        while more:
            found = await self._found()
            self._pass(found)
            executions.update(new.execution for new in found)
            more = len(found) >= PAGE
        return executions

    async def _found(self) -> list[Found]:
        values = (self._last, PAGE, list(self._missing))
        async with self._store.reader() as connection:
            cursor = await connection.execute(NEW, values, binary=True)
            return sorted(Found(*row) for row in await cursor.fetchall())

    async def _lines(self, ids: Sequence[int]) -> list[Appended]:
        if not ids:
            return []
        async with self._store.reader() as connection:
            cursor = await connection.execute(LINES, (ids,), binary=True)
            return [Appended(row[0], Kept(*row[1:])) for row in await cursor.fetchall()]

    def _pass(self, found: Sequence[Found]) -> None:
        now = monotonic()
        last = max(self._last, found[-1].id) if found else self._last
        here = {new.id for new in found}
        skipped = range(max(self._last, last - MOST_MISSING) + 1, last)
        missing = self._missing | dict.fromkeys(skipped, now + PATIENCE)
        self._last = last
        self._missing = {
            id_: until for id_, until in missing.items() if until > now and id_ not in here
        }


def _affordable(found: Sequence[Found], wanted: Callable[[str], bool]) -> Iterator[Found]:
    size = 0
    for new in found:
        size += new.size if wanted(new.execution) else 0
        if size > LARGEST and size > new.size:
            return
        yield new
