"""Logs of several random walks at once, and views that follow them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.resources import files
from operator import attrgetter
from typing import Any

import hypothesis.strategies as st
import orjson
from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier

from domain.eventlog.encryption import KEY_BYTES, Vault
from domain.execution.events.creation import ExecutionCreated
from domain.model import Recorded, Versioned, replay
from domain.registry import codec
from domain.types import Assignee
from projections.engine.migrations import BEGIN_BOOKMARK
from projections.engine.projection import Projection
from projections.representations.packing import unpack
from tests.support.random_executions import creations, walk, ways

CODEC = codec()
KEEP = """INSERT INTO events (notification_id, originator_version, at, originator_id, topic, meta,
    state) VALUES (%s, %s, %s, %s, %s, %s, %s)"""
KEY, _ = Vault(bytes(KEY_BYTES)).make("all")
PEOPLE = [Assignee(type="human", id=name, name=name) for name in ("ada", "bob")]


@st.composite
def logs(draw: st.DrawFn) -> list[Recorded]:
    """The log of a few executions, as views see it: sealed."""
    events: list[Recorded] = []
    for number, (creation, way) in enumerate(
        draw(st.lists(st.tuples(creations, ways), min_size=1, max_size=4))
    ):
        path = walk(creation, way)
        days = timedelta(days=draw(st.integers(0, 2)))
        stream, received = f"execution/e-{number}", _choices(draw)
        for row in path.rows:
            event = CODEC.decode(row)
            if isinstance(event.event, ExecutionCreated):
                event = event._replace(event=event.event.model_copy(update=received))
            occurred_at = event.occurred_at and event.occurred_at + days
            events.append(
                event._replace(stream=stream, at=event.at + days, occurred_at=occurred_at)
            )
    events.sort(key=attrgetter("at"))
    return [event._replace(position=n) for n, event in enumerate(events, 1)]


def _choices(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "order": draw(st.sampled_from(["o-1", "o-2"])),
        "service": draw(st.sampled_from(["s-1", "s-2"])),
        "customer": draw(st.sampled_from(["c-1", "c-2"])),
        "assignee": draw(st.sampled_from([None, *PEOPLE])),
    }


def states(events: Sequence[Recorded]) -> list[Versioned[Any]]:
    """The executions of a log, folded."""
    versioned: dict[str, Versioned[Any] | None] = {}
    for event in events:
        versioned[event.stream] = replay(versioned.get(event.stream), [event])
    return [state for state in versioned.values() if state]


@asynccontextmanager
async def followed(
    conninfo: str, view: Projection, events: Sequence[Recorded], page: int = 1000
) -> AsyncIterator[AsyncConnection]:
    """A connection to the tables of a view that has followed this log, in pages of a size."""
    schema = Identifier(f"only_{view.name}")
    async with await AsyncConnection.connect(
        conninfo, autocommit=True, options="-c timezone=UTC"
    ) as connection:
        await connection.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(schema))
        await connection.execute(SQL("CREATE SCHEMA {}").format(schema))
        await connection.execute(SQL("SET search_path = {}").format(schema))
        for room in ("domain.eventlog", "domain.eventlog.archive", "projections.engine"):
            await connection.execute(files(room).joinpath("schema.sql").read_bytes())
        await connection.execute(view.schema.encode())
        await connection.execute(BEGIN_BOOKMARK, (view.name,))
        for event in events:
            await connection.execute(KEEP, CODEC.encode(event, KEY))
        wanted = [event for event in events if view.types is None or event.event.type in view.types]
        for some in pages(wanted, page):
            await view.apply(connection, some)
        yield connection


def pages(events: Sequence[Recorded], size: int) -> Iterator[Sequence[Recorded]]:
    yield from (events[start : start + size] for start in range(0, len(events), size))


async def rows(connection: AsyncConnection, table: str) -> list[Any]:
    """All rows of a table, stored JSON as its value: 50 equals 50.0."""
    cursor = await connection.execute(SQL("SELECT * FROM {}").format(Identifier(table)))
    return sorted(([_read(value) for value in row] for row in await cursor.fetchall()), key=repr)


def _read(value: Any) -> Any:
    return orjson.loads(unpack(value)) if isinstance(value, bytes) else value
