"""A log from which a view is rebuilt, and comparisons of views."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from psycopg import AsyncConnection

from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from projections.engine.follower import Follower
from projections.engine.pages import LogPages
from projections.engine.parallel_rebuild import Processes
from projections.engine.verification.verify import LogVerification, Work, verify
from projections.executions.projection import Executions
from projections.executions.tables import ROW
from tests.support.event_writer import Log, completed, some, started

Several = Callable[[int], Processes]
ROWS = f"SELECT {', '.join(ROW)} FROM executions ORDER BY id"  # noqa: S608 - names of columns


async def connect(conninfo: str) -> AsyncConnection:
    options = session_options("executions")
    return await AsyncConnection.connect(conninfo, autocommit=True, options=options)


def ask(conninfo: str, question: str) -> list[tuple[object, ...]]:
    options = session_options("executions")
    with psycopg.connect(conninfo, autocommit=True, options=options) as connection:
        cursor = connection.execute(question.encode())
        return cursor.fetchall() if cursor.description else []


def rows(conninfo: str) -> list[tuple[object, ...]]:
    """The contents of the rows, without the table in which each is."""
    return ask(conninfo, ROWS)


def bookmark(conninfo: str) -> tuple[object, ...]:
    return ask(conninfo, "SELECT position, generation FROM bookmarks")[0]


async def follow(conninfo: str, store: Store) -> None:
    async with await connect(conninfo) as connection:
        follower = Follower(Executions(store.codec), LogPages(store, Executions.types))
        while await follower.catch_up(connection):
            pass


async def differences(conninfo: str, store: Store) -> list[tuple[str, str]]:
    """The differences between the view of executions and the folded events."""
    view = Executions(store.codec)
    found = verify(conninfo, store, Work([view]), LogVerification())
    return [(fault.place, fault.what) async for fault in found if fault.part == view.name]


async def write_history(log: Log) -> None:
    await log.write(some(30, tags=["eu"], metadata={"region": "north"}))
    for number in range(0, 30, 2):
        await log.write([*started(f"e-{number}"), completed(f"e-{number}")])


async def generation(connection: AsyncConnection) -> int:
    cursor = await connection.execute("SELECT generation FROM bookmarks")
    [(number,)] = await cursor.fetchall()
    return int(number)
