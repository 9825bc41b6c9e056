"""Folds every execution again from its events, and compares with the read model's rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.eventlog.library.recorders import RecordedNotification
from domain.eventlog.queries import BEGUN, EXISTS
from domain.eventlog.sessions import session_options
from domain.execution.state import Execution
from domain.model import Versioned, aggregate_id, replay
from projections.executions.histories import Histories
from projections.executions.projection import STREAM, Executions, Row

STREAMS = 500

HOLD = "LOCK TABLE executions IN ACCESS SHARE MODE"
AS_ONE = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
TOTAL = "SELECT count(*) FROM executions"
UNFOUNDED = f"SELECT id FROM executions AS e WHERE NOT EXISTS ({EXISTS} %s || e.id)"

OnProgress = Callable[[int, int], None]
"""Is told how many executions were compared, and how many there are about."""


class Difference(NamedTuple):
    """An execution whose row is not what its events say, and how."""

    id: str
    what: str


@dataclass(slots=True)
class Compared:
    """How many executions were folded again, and from how many events."""

    executions: int = 0
    events: int = 0


class _Story:
    """One stream, folded event by event, and what was wrong with it."""

    def __init__(self) -> None:
        self.versioned: Versioned[Execution] | None = None
        self.wrong = ""

    def add(self, histories: Histories, event: RecordedNotification) -> None:
        try:
            self.versioned = replay(self.versioned, [histories.decode(event)])
        except Exception as error:  # noqa: BLE001 - what a view has parked is told, not fatal
            self.wrong = self.wrong or f"event {event.id} does not apply: {error}"


async def verify(
    conninfo: str,
    schema: str,
    view: Executions,
    on_progress: OnProgress = lambda _, __: None,
    *,
    compared: Compared | None = None,
) -> AsyncIterator[Difference]:
    """Every difference between the events and the rows, as far as the rows claim to go.

    Snapshots are not used, nothing is opened, and what is written meanwhile does no harm: the rows
    of some hundred executions at a time are read as of one moment, and the events up to where the
    view was at that moment, which are the same for ever.

    Raises:
        Overloaded: the database is away.
    """
    last, compared = "", compared or Compared()
    options = session_options(schema)
    histories = Histories(conninfo, schema)
    async with await AsyncConnection.connect(
        conninfo, autocommit=True, options=options
    ) as connection:
        [total] = await _column(connection, TOTAL)
        try:
            while batch := await _batch(connection, view, last):
                for difference in await _differences(histories, view, batch, compared):
                    yield difference
                last = batch.streams[-1]
                on_progress(compared.executions, max(compared.executions, total))
        finally:
            histories.close()
        for id_ in await _column(connection, UNFOUNDED, STREAM):
            yield Difference(id_, "there is a row, but there are no events")


class _Batch(NamedTuple):
    """Some streams, their rows at one moment, and how far these claimed to go then."""

    streams: list[str]
    rows: Mapping[str, Row]
    position: int


async def _batch(connection: AsyncConnection, view: Executions, last: str) -> _Batch | None:
    async with connection.transaction():
        await connection.execute(AS_ONE)
        await connection.execute(HOLD)  # before the snapshot: a rebuild replaces tables
        position = await view.position(connection)
        streams = await _column(connection, BEGUN, last, STREAM, position, STREAMS)
        rows = await view.stored(connection, [aggregate_id(stream) for stream in streams])
    return _Batch(streams, rows, position) if streams else None


async def _differences(
    histories: Histories, view: Executions, batch: _Batch, compared: Compared
) -> list[Difference]:
    stories = {stream: _Story() for stream in batch.streams}
    async with aclosing(histories.pages(batch.streams, batch.position)) as pages:
        async for page in pages:
            for event in page:
                stories[str(event.originator_id)].add(histories, event)
            compared.events += len(page)
    compared.executions += len(stories)
    results = (
        (id_ := aggregate_id(stream), _compared(view, story, batch.rows.get(id_)))
        for stream, story in stories.items()
    )
    return [Difference(id_, what) for id_, what in results if what]


def _compared(view: Executions, story: _Story, row: Row | None) -> str:
    if story.wrong:
        return story.wrong
    if story.versioned is None or row is None:
        return "there is no row"
    (columns, body), (expected, folded) = row, view.expected(story.versioned)
    differing = [path for path, value in expected.items() if columns[path] != value]
    if body != folded:
        differing.append("document" if story.versioned.state.final else "state")
    return f"differs in {', '.join(differing)}" if differing else ""


async def _column(connection: AsyncConnection, query: str, *values: object) -> list[Any]:
    cursor = await connection.execute(query, values)
    return [row[0] for row in await cursor.fetchall()]
