"""Pages of the trail of one actor, in a log with many events of others."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from psycopg import AsyncConnection

from domain.eventlog.sessions import SERIAL, session_options
from projections.audit.access.pages import AccessCursor, AccessRange, trail_page

EVENTS = """INSERT INTO events SELECT n, n, now(), 'execution/one',
    CASE n %% 2 WHEN 0 THEN 'execution.started' ELSE 'step.started' END,
    CASE WHEN n = 1000 THEN %s WHEN n %% 2 = 1 THEN 'of no use' ELSE '{"by":"admin"}' END, ''
    FROM generate_series(1, 2000) AS n"""
FIRST = AccessCursor(0, 0)


@pytest.mark.anyio
@pytest.mark.parametrize("actor", ["auditor:ann", 'é "q" \\'])
async def test_events_of_other_actors_are_not_parsed_for_the_trail_of_one(
    database: str, actor: str
) -> None:
    options = f"{session_options('executions')} {SERIAL}"
    async with await AsyncConnection.connect(
        database, autocommit=True, options=options
    ) as connection:
        meta = orjson.dumps({"by": actor}).decode()
        await connection.execute(EVENTS, (meta,))
        await connection.execute("ANALYZE events")
        asked = AccessRange(actor=actor)
        # More often than psycopg and PostgreSQL wait before they keep a plan for all values.
        for _ in range(15):
            page = await trail_page(connection, asked, FIRST, 3, descending=False)
            found: Any = [item.position for item in page.items]  # type: ignore[union-attr]
            assert found == [1000]
        asked = AccessRange(actor=actor, actions=("step.started",))
        assert not (await trail_page(connection, asked, FIRST, 3, descending=False)).items
