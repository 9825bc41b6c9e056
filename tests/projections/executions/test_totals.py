"""Counts of executions from stored totals equal those from rows, whatever the log and the condition."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given
from psycopg import AsyncConnection

from domain.eventlog.sessions import session_options
from domain.json_forms import format_time
from domain.model import Recorded
from projections.executions import facets
from projections.executions.columns import field
from projections.executions.facets import Facet
from projections.executions.projection import Executions
from projections.executions.totals import count_by_totals
from projections.query.ast import Condition
from projections.query.parser import from_json
from tests.support.event_writer import NOON
from tests.support.examples import at_most
from tests.support.random_logs import CODEC, followed, logs

few = at_most(30, suppress_health_check=[HealthCheck.function_scoped_fixture])
DAY, MILLISECOND = timedelta(days=1), timedelta(milliseconds=1)
FROM_TOTALS: list[tuple[dict[str, Any], str | None]] = [
    ({}, None),
    ({}, "customer"),
    ({"customer": "c-1"}, "service"),
    ({"service": "s-1", "customer": ["c-1", "c-2"]}, "provider"),
    ({"service": "s-1", "provider": {"$ne": "p-1"}}, "customer"),
    ({"$or": [{"service": "s-1"}, {"$not": {"customer": {"$prefix": "c-1"}}}]}, "provider"),
    ({"metadata.createdAt": {"$gte": "2026-11-22T12:00:00Z"}}, "service"),
    ({"metadata.createdAt": {"$lt": "2026-11-24T00:00:00Z"}, "service": "s-1"}, "provider"),
    ({"metadata.createdAt": {"$gt": "2026-11-22T23:59:59.999Z"}, "service": "s-1"}, None),
    ({"metadata.createdAt": {"$lte": "2026-11-23T23:59:59.999Z"}}, "provider"),
]
COUNTED: list[tuple[dict[str, Any], str | None]] = [
    ({"workflow": "w-1"}, None),
    ({}, "workflow"),
    ({}, "tags"),
    ({}, "status"),
    ({"status": "completed"}, None),
    ({"metadata.region": "north"}, "service"),
    ({"customer": "c-1", "metadata.createdAt": {"$gte": "2026-11-22T00:00:00Z"}}, None),
    ({"metadata.createdAt": {"$gte": "2026-11-22T00:00:00Z"}}, "customer"),
    ({"metadata.createdAt": "2026-11-22T00:00:00Z"}, None),
    ({"$not": {"metadata.createdAt": {"$lt": "2026-11-22T00:00:00Z"}}}, None),
    ({"metadata.createdAt": {"$gte": "2026-11-22T01:00:00Z", "$lt": "2026-11-22T02:00:00Z"}}, None),
    ({"metadata.createdAt": {"$lte": "9999-12-31T23:59:59.999Z"}}, None),
    ({"metadata.createdAt": {"$gte": "9999-12-31T23:59:59.999Z"}}, None),
]

parties = st.fixed_dictionaries(
    {},
    optional={
        "service": st.sampled_from(["s-1", "s-2", "nowhere"]),
        "customer": st.sampled_from(["c-1", {"$ne": "c-1"}]),
        "provider": st.just({"$prefix": "p"}),
    },
)
times = st.integers(-8, 16).map(lambda quarters: NOON + quarters * DAY / 4)
spans = st.dictionaries(
    st.sampled_from(["$gte", "$gt", "$lt", "$lte"]),
    st.builds(
        lambda time, after: format_time(time + after * MILLISECOND), times, st.integers(-1, 1)
    ),
    max_size=2,
)
COUNTED_BY = (None, "service", "customer", "provider")


async def count_rows(
    connection: AsyncConnection, condition: Condition, by: str | None
) -> Facet | int:
    if by is None:
        return await Executions(CODEC).count(connection, condition)
    return (await facets.count_values(connection, facets.parse_fields([by]), condition))[by]


@few
@given(logs(), st.sampled_from([1, 3, 1000]), parties, spans)
def test_stored_totals_equal_the_counts_of_rows(
    database: str, log: list[Recorded], page: int, asked: dict[str, Any], span: dict[str, Any]
) -> None:
    filters = [asked, asked | {"metadata.createdAt": span} if span else {}]
    conditions = [from_json(one, field) for one in filters]

    async def check() -> None:
        async with followed(database, Executions(CODEC), log, page) as connection:
            for condition in conditions:
                for by in COUNTED_BY:
                    kept = await count_by_totals(connection, condition, by)
                    if kept is not None:
                        counted = sum(kept.values()) if by is None else facets.of_counts(kept)
                        assert counted == await count_rows(connection, condition, by)
                assert condition is conditions[1] or kept is not None

    asyncio.run(check())


async def test_totals_are_stored_by_party_and_by_day(views: str) -> None:
    options = session_options("executions")
    async with await AsyncConnection.connect(views, options=options) as connection:
        for asked, by in FROM_TOTALS:
            assert await count_by_totals(connection, from_json(asked, field), by) == {}, asked
        for asked, by in COUNTED:
            assert await count_by_totals(connection, from_json(asked, field), by) is None, asked
