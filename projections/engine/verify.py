"""Folds every execution again from its events, and compares with the read model's rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.eventlog.codec import Stored
from domain.eventlog.queries import BEGUN, EXISTS, HISTORIES
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from domain.execution.state import Execution
from domain.model import Held, aggregate_id, replay
from projections.executions.projection import STREAM, Executions, Row

STREAMS = 500
EVENTS = 500

HOLD = "LOCK TABLE executions IN ACCESS SHARE MODE"
AS_ONE = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
TOTAL = "SELECT count(*) FROM executions"
UNFOUNDED = f"SELECT id FROM executions AS e WHERE NOT EXISTS ({EXISTS} %s || e.id)"

Told = Callable[[int, int], None]
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
        self.held: Held[Execution] | None = None
        self.wrong = ""

    def add(self, store: Store, row: Stored) -> None:
        try:
            self.held = replay(self.held, [store.codec.decode(row)])
        except Exception as error:  # noqa: BLE001 - what a view has parked is told, not fatal
            self.wrong = self.wrong or f"event {row.position} does not apply: {error}"


async def verify(
    conninfo: str,
    schema: str,
    view: Executions,
    store: Store,
    told: Told = lambda _, __: None,
    *,
    compared: Compared | None = None,
) -> AsyncIterator[Difference]:
    """Every difference between the events and the rows, as far as the rows claim to go.

    Snapshots are not used, nothing is opened, and what is written meanwhile does no harm: the
    events and the rows of some hundred executions at a time are read as of one moment.
    """
    last, compared = "", compared or Compared()
    options = session_options(schema)
    async with await AsyncConnection.connect(
        conninfo, autocommit=True, options=options
    ) as connection:
        [total] = await _column(connection, TOTAL)
        while True:
            async with connection.transaction():
                await connection.execute(AS_ONE)
                await connection.execute(HOLD)  # before the snapshot: a rebuild replaces tables
                position = await view.position(connection)
                streams = await _column(connection, BEGUN, last, STREAM, position, STREAMS)
                found = await _differences(
                    connection, store, view, streams, position, compared=compared
                )
            for difference in found:
                yield difference
            if not streams:
                break
            last = streams[-1]
            compared.executions += len(streams)
            told(compared.executions, max(compared.executions, total))
        for id_ in await _column(connection, UNFOUNDED, STREAM):
            yield Difference(id_, "there is a row, but there are no events")


async def _differences(
    connection: AsyncConnection,
    store: Store,
    view: Executions,
    streams: list[str],
    position: int,
    *,
    compared: Compared,
) -> list[Difference]:
    stories = {aggregate_id(stream): _Story() for stream in streams}
    rows = await view.stored(connection, list(stories))
    async with connection.cursor(name="histories") as cursor:
        cursor.itersize = EVENTS
        await cursor.execute(HISTORIES, (streams, position), binary=True)
        async for row in cursor:
            stored = Stored(*row)
            stories[aggregate_id(stored.stream)].add(store, stored)
            compared.events += 1
    results = ((id_, _compared(view, story, rows.get(id_))) for id_, story in stories.items())
    return [Difference(id_, what) for id_, what in results if what]


def _compared(view: Executions, story: _Story, row: Row | None) -> str:
    if story.wrong:
        return story.wrong
    if story.held is None or row is None:
        return "there is no row"
    (columns, body), (expected, folded) = row, view.expected(story.held)
    differing = [path for path, value in expected.items() if columns[path] != value]
    if body != folded:
        differing.append("document" if story.held.state.final else "state")
    return f"differs in {', '.join(differing)}" if differing else ""


async def _column(connection: AsyncConnection, query: str, *values: object) -> list[Any]:
    cursor = await connection.execute(query, values)
    return [row[0] for row in await cursor.fetchall()]
