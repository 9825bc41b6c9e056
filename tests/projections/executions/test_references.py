"""Large sealed content is only in the log: rows refer to it, and lists show it in full."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from psycopg import AsyncConnection

from domain.eventlog.sessions import session_options
from domain.execution.events.creation import ExecutionUpdated
from domain.execution.events.lifecycle import ExecutionFailed
from domain.execution.events.progress import CheckpointSaved
from domain.execution.events.steps import StepCompleted, StepStarted
from domain.execution.types import ExecutionError
from projections.engine.follower import Follower
from projections.engine.pages import LogPages
from projections.executions.projection import Executions
from projections.executions.references import LARGE, full_size, with_content
from projections.representations.client_json import open_json, plain_json
from projections.representations.execution import document
from tests.support.event_writer import NOON, Happening, Log, completed, created, opened, started
from tests.support.rebuilds import differences

BIG = "x" * 300_000
STORED = """SELECT sum(pg_column_size(t.*)) FROM (SELECT to_jsonb(e) FROM executions AS e
    UNION ALL SELECT to_jsonb(d) FROM execution_documents AS d
    UNION ALL SELECT to_jsonb(s) FROM execution_states AS s) AS t"""


def worked(execution: str, content: str = BIG) -> list[Happening]:
    return [
        created(execution, steps=[{"id": "planned", "name": "Planned", "input": content}]),
        *started(execution),
        Happening(execution, StepStarted(step="one", input={"in": content})),
        Happening(execution, StepCompleted(step="one", output=[content])),
        Happening(execution, CheckpointSaved(checkpoint="c", state={"at": content}, step="one")),
    ]


class Follows:
    """A log, its view, and the documents that the view shows."""

    def __init__(self, log: Log, connection: AsyncConnection) -> None:
        self.log, self.connection = log, connection
        self.view = Executions(log.store.codec)
        self._follower = Follower(self.view, LogPages(log.store, self.view.types))

    async def write(self, *happenings: Happening) -> None:
        await self.log.write(happenings)
        while await self._follower.catch_up(self.connection):
            pass
        assert self._follower.parked == 0

    async def shown(self) -> dict[str, bytes]:
        found = (await self.view.find(self.connection, NOON)).data
        assert all(len(one.document) < full_size(one.document) for one in found)
        keys = await self.log.store.keys([f"execution/{one.id}" for one in found])
        whole = await with_content(self.connection, found)
        return {one.id: open_json(one.document, keys[f"execution/{one.id}"]) for one in whole}

    async def folded(self, execution: str) -> bytes:
        versioned = await self.log.store.load(f"execution/{execution}")
        assert versioned is not None
        return plain_json(document(versioned, NOON))

    async def value(self, query: str) -> Any:
        return (await (await self.connection.execute(query.encode())).fetchall())[0][0]


@asynccontextmanager
async def following(conninfo: str) -> AsyncIterator[Follows]:
    options = session_options("executions")
    async with (
        opened(conninfo) as store,
        await AsyncConnection.connect(conninfo, autocommit=True, options=options) as connection,
    ):
        yield Follows(Log(store), connection)


async def test_rows_of_large_content_stay_small_and_lists_show_it_in_full(views: str) -> None:
    async with following(views) as on:
        await on.write(*worked("open"), *worked("ended"), completed("ended", BIG[:60_000]))
        assert await on.value(STORED) < 30_000
        for execution, shown in (await on.shown()).items():
            assert shown == await on.folded(execution)
            assert shown.count(BIG.encode()) == 4


async def test_content_in_an_error_and_below_the_limit_is_shown_too(views: str) -> None:
    error = ExecutionError(code="E", message=BIG[:50_000], stack="short")
    async with following(views) as on:
        await on.write(
            *worked("e"), Happening("e", ExecutionFailed(error=error, final=True, will_retry=False))
        )
        assert (await on.shown())["e"] == await on.folded("e")


async def test_event_after_an_end_is_applied_to_references(views: str) -> None:
    async with following(views) as on:
        await on.write(*worked("e"), completed("e"))
        on.view.forget()
        await on.write(Happening("e", ExecutionUpdated(tags=("later",))))
        assert (await on.shown())["e"] == await on.folded("e")
        assert await on.value(STORED) < 15_000
        assert await differences(views, on.log.store) == []


async def test_missing_referenced_content_is_shown_as_null(views: str) -> None:
    async with following(views) as on:
        await on.write(*worked("e"), completed("e"))
        [one] = (await on.view.find(on.connection, NOON)).data
        other = one._replace(id="another")
        [shown] = await with_content(on.connection, [other])
        assert shown.document.count(b'"input":{"in":null}') == 0
        assert shown.document.count(b'"input":null') == 2


@pytest.mark.parametrize("length", [LARGE // 2, LARGE * 2])
async def test_token_is_replaced_by_a_reference_above_a_length(views: str, length: int) -> None:
    async with following(views) as on:
        await on.write(*worked("e", "x" * length))
        [one] = (await on.view.find(on.connection, NOON)).data
        assert (full_size(one.document) > len(one.document)) is (length > LARGE)
