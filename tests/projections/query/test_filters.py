"""A filter finds exactly the executions that match it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import AsyncConnection

from api.access.rights import Right, Role
from api.access.scope import Scope, reach_of_owner
from domain.eventlog.sessions import session_options
from domain.execution.types import Status
from projections.engine.follower import Follower
from projections.engine.pages import LogPages
from projections.executions.columns import FIELDS, field, value_in
from projections.executions.projection import ExecutionPage, Executions
from projections.query.ast import EVERYTHING, And, Condition
from projections.query.matcher import matches
from projections.query.parser import from_json, from_query
from projections.query.sql import sql
from tests.support.event_writer import Log, new_store
from tests.support.filter_model import document_matches, values
from tests.support.sample_executions import TAGS, sample

NOW = datetime(2030, 1, 1, tzinfo=UTC)
Query = list[tuple[str, str]]
Deep = dict[str, Any]


class Sample:
    """The forty executions, and one event loop and connection for all queries."""

    def __init__(self, conninfo: str) -> None:
        self._loop = asyncio.Runner()
        self._loop.run(self._fill(conninfo))

    async def _fill(self, conninfo: str) -> None:
        store = new_store(conninfo)
        await store.open()
        await Log(store, with_occurred_at=True).write(sample())
        self.view = Executions(store.codec)
        options = session_options("executions")
        self.connection = await AsyncConnection.connect(conninfo, autocommit=True, options=options)
        follower = Follower(self.view, LogPages(store, self.view.types))
        await follower.catch_up(self.connection)
        assert follower.parked == 0
        names = {happening.execution for happening in sample()}
        self.states = await store.load_all(f"execution/{name}" for name in names)
        page = await self.view.find(self.connection, NOW, limit=500)
        self.documents = [orjson.loads(row.document) for row in page.data]
        await store.close()

    def page(self, condition: Condition, **options: Any) -> ExecutionPage:
        return self._loop.run(self.view.find(self.connection, NOW, condition, limit=500, **options))

    def found(self, condition: Condition, **options: Any) -> set[str]:
        return {row.id for row in self.page(condition, **options).data}

    def matched(self, condition: Condition) -> set[str]:
        """The executions that match by their states, without SQL."""
        states = self.states.values()
        return {
            versioned.state.id for versioned in states if matches(condition, value_in(versioned))
        }

    def expected(self, asked: Deep) -> set[str]:
        return {shown["$id"] for shown in self.documents if document_matches(shown, asked)}

    def run(self, awaitable: Any) -> Any:
        return self._loop.run(awaitable)

    def close(self) -> None:
        self._loop.run(self.connection.close())
        self._loop.close()


@pytest.fixture(scope="module")
def known(module_views: str) -> Iterator[Sample]:
    made = Sample(module_views)
    yield made
    made.close()


TIMES = [f"2026-11-22T12:0{minute}:00.000Z" for minute in range(5)]
OPERANDS: dict[str, list[Any]] = {
    "$id": ["e-00", "e-07", "e-1", "nobody"],
    "status": list(Status),
    "priority": ["low", "normal", "high", "urgent"],
    "order": ["order-1", "order-", "x"],
    "service": ["s-0", "s-1", "s-"],
    "workflow": ["w-1", "w", "W-1"],
    "customer": ["c-1", "c-10", "c-", "c-2"],
    "progress": [0, 33.3, 50, 100, 49.999],
    "timeout": [1_000, 3_600_000, 1_000.5, -1],
    "version": [1, 5, 6.5, 2**60],
    "assignee.type": ["human", "system", "hum"],
    "assignee.id": ["a-1", "b"],
    "assignee.name": ["Ann, Dr.", "Ann"],
    "assignee.model": ["m-1", "m"],
    "error.code": ["E_TIMEOUT", "E_", "e_timeout"],
    "error.recoverable": [True, False],
    "error.retryCount": [0, 3, 3.5],
    "retryPolicy.maxRetries": [0, 3, 7],
    "retryPolicy.backoff": ["linear", "exponential", "exp"],
    "retryPolicy.initialDelay": [0, 1_000],
    "retryPolicy.maxDelay": [5_000, 60_000],
    "retryPolicy.jitter": ["none", "full", "f"],
    "cancellation.by": ["tester", "x"],
    "pause.by": ["tester", "x"],
    "resumedFrom": ["cp-1", "cp-"],
    "forkedFrom.execution": ["e-00", "e-", "x"],
    "forkedFrom.version": [1, 3, 2.5],
    "metrics.tokensUsed": [0, 1, 2, 1.5],
    "metrics.cost": [0, 0.5, 1e-9, 1e9],
    "metrics.stepsCompleted": [0, 1],
    "metrics.stepsTotal": [0, 1, 2],
    "metrics.duration": [0, 2_000, 10_000],
    "metrics.activeDuration": [0, 2_000, 10_000],
    "metadata.createdAt": [*TIMES, "2026-11-22T13:01:30.5+01:00"],
    "metadata.updatedAt": TIMES,
    "metadata.completedAt": TIMES,
    "metadata.environment": ["test", "te"],
    "metadata.version": ["2"],
    "tags": [*TAGS, "changed", "q"],
    "metadata.region.0": ["north", "n"],
    "metadata.region": ["north", "n", 7, 7.0, "7", "Ñ", "", True],
    "metadata.amount": [5, 5.5, "5", -3, 10**15, 0, False, -(2**63), 2**63 - 1],
    "metadata.flag": [True, False, "true", 1],
    "metadata.deep.x": [1, "1", 2],
    "metadata.deep.y.z": ["eu", "e"],
    "metadata.missing": ["x", 1],
    "metadata.gen_ai.request.model": ["m-1", "m-2", "m-3", "m"],
    'metadata.gen_ai["request.model"]': ["m-3", "m-1"],
    'metadata["gen_ai.request"].model': ["m-2", "m-1"],
    'metadata["deep.x"]': [1, 2],
}
UNORDERED = {"tags", "error.recoverable"}
PREFIXED = {path for path, (first, *_) in OPERANDS.items() if type(first) is str} - {
    "metadata.createdAt",
    "metadata.updatedAt",
    "metadata.completedAt",
}


@st.composite
def comparisons(draw: st.DrawFn) -> Deep:
    path = draw(st.sampled_from(sorted(OPERANDS)))
    operand = st.sampled_from(OPERANDS[path])
    missing = st.one_of(operand, st.none())
    forms = [
        missing,
        st.lists(missing, max_size=3),
        st.builds(lambda name, value: {name: value}, st.sampled_from(["$eq", "$ne"]), missing),
        st.builds(
            lambda name, value: {name: value},
            st.sampled_from(["$in", "$nin"]),
            st.lists(missing, max_size=3),
        ),
        st.builds(lambda value: {"$exists": value}, st.booleans()),
        st.builds(lambda value: {"$not": {"$eq": value}}, missing),
    ]
    if path in PREFIXED:
        texts = [value for value in OPERANDS[path] if type(value) is str]
        forms.append(st.builds(lambda value: {"$prefix": value}, st.sampled_from(texts)))
    if path not in UNORDERED:
        ordered = [v for v in OPERANDS[path] if not isinstance(v, bool)] or ["x"]
        names = st.sampled_from(["$gt", "$gte", "$lt", "$lte"])
        forms.append(st.dictionaries(names, st.sampled_from(ordered), min_size=1))
    return {path: draw(st.one_of(forms))}


def conditions(inner: st.SearchStrategy[Deep]) -> st.SearchStrategy[Deep]:
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        st.builds(lambda parts: {"$and": parts}, several),
        st.builds(lambda parts: {"$or": parts}, several),
        st.builds(lambda part: {"$not": part}, inner),
        st.builds(lambda left, right: left | right, inner, inner),
    )


def test_sql_filter_equals_the_reference_filter(known: Sample) -> None:
    @given(st.recursive(comparisons(), conditions, max_leaves=6))
    def agree(asked: Deep) -> None:
        condition = from_json(asked, field)
        assert known.found(condition) == known.matched(condition) == known.expected(asked)
        page = known.page(condition, count=True)
        assert page.total == len(page.data)

    agree()


UNSAMPLED = {"nextRetryAt", "claimedBy.worker", "heartbeatTimeout", "onLeaseLost", "stalled"}
"""Fields that no execution of the sample has."""


def test_every_field_can_be_filtered_by_its_shown_value(known: Sample) -> None:
    for path in sorted({*FIELDS, "tags"} - {"result.success"}):
        shown = {value for document in known.documents for value in values(document, path)}
        assert shown or path in UNSAMPLED, path
        for value in sorted(shown)[:5]:
            assert known.found(from_json({path: value}, field)) == known.expected({path: value})


QUERIES: list[tuple[Query, Deep]] = [
    ([], {}),
    ([("status", "running,failed")], {"status": ["running", "failed"]}),
    ([("status", "running"), ("status", "failed")], {"status": ["running", "failed"]}),
    ([("status[ne]", "running")], {"status": {"$ne": "running"}}),
    ([("status[$nin]", "running,failed")], {"status": {"$nin": ["running", "failed"]}}),
    ([("tag", "eu")], {"tag": "eu"}),
    ([("tags", "eu,us")], {"tags": ["eu", "us"]}),
    ([("tag[eq]", "a,b")], {"tag": "a,b"}),
    ([("tag[eq]", "a,b"), ("tag[eq]", "eu")], {"$and": [{"tag": "a,b"}, {"tag": "eu"}]}),
    ([("tag", "a,b"), ("tag", "us")], {"tag": ["a,b", "us"]}),
    ([("tag", 'qu"ote')], {"tag": 'qu"ote'}),
    ([("service[prefix]", "s-")], {"service": {"$prefix": "s-"}}),
    ([("status[prefix]", "r")], {"status": {"$prefix": "r"}}),
    ([("tag[prefix]", "e")], {"tag": {"$prefix": "e"}}),
    ([("metadata.region[prefix]", "n")], {"metadata.region": {"$prefix": "n"}}),
    ([("tags[exists]", "false")], {"tags": None}),
    ([("retryPolicy.backoff", "linear")], {"retryPolicy.backoff": "linear"}),
    ([("retryPolicy.maxRetries[exists]", "false")], {"retryPolicy.maxRetries": None}),
    ([("workflow[exists]", "false")], {"workflow": None}),
    ([("progress[gt]", "33"), ("progress[lt]", "1e2")], {"progress": {"$gt": 33, "$lt": 100}}),
    ([("timeout", "1000")], {"timeout": 1000}),
    (
        [("metadata.createdAt[$gte]", TIMES[1]), ("metadata.createdAt[lte]", TIMES[2])],
        {"metadata.createdAt": {"$gte": TIMES[1], "$lte": TIMES[2]}},
    ),
    ([("metadata.amount", "5")], {"metadata.amount": [5, "5"]}),
    ([("metadata.amount[gte]", "5")], {"metadata.amount": {"$gte": 5}}),
    ([("metadata.region[gte]", "n")], {"metadata.region": {"$gte": "n"}}),
    ([("metadata.flag", "true")], {"metadata.flag": True}),
    ([("metadata.deep.x[ne]", "1")], {"metadata.deep.x": {"$nin": [1, "1"]}}),
    ([("metadata.amount", str(-(2**63)))], {"metadata.amount": -(2**63)}),
    ([("metadata.gen_ai.request.model", "m-1")], {"metadata.gen_ai.request.model": "m-1"}),
    ([('metadata["deep.x"][gte]', "1")], {'metadata["deep.x"]': {"$gte": 1}}),
    ([("metadata.deep[exists]", "true")], {"metadata.deep": {"$exists": True}}),
    ([("error.recoverable", "false")], {"error.recoverable": False}),
    ([("id", "e-01,e-02")], {"$id": ["e-01", "e-02"]}),
    ([("assignee.name[eq]", "Ann, Dr.")], {"assignee.name": "Ann, Dr."}),
]


def test_query_string_equals_its_json_filter(known: Sample) -> None:
    for query, asked in QUERIES:
        found = known.found(from_query(query, field))
        assert found == known.expected(asked), query


def test_time_between_two_milliseconds_is_after_the_first(known: Sample) -> None:
    path, execution = "metadata.createdAt", known.documents[0]
    at = execution["metadata"]["createdAt"]
    between = at.replace("Z", "500Z")
    for operator, is_found in (("$gt", False), ("$gte", False), ("$lt", True), ("$lte", True)):
        for asked in (between, datetime.fromisoformat(between)):
            found = known.found(from_json({path: {operator: asked}}, field))
            assert (execution["$id"] in found) is is_found, operator


def test_success_can_be_filtered_though_the_result_is_sealed(known: Sample) -> None:
    succeeded = known.found(from_query([("result.success", "true")], field))
    assert succeeded == known.expected({"status": "completed"}) != set()


def test_scope_narrows_and_never_widens(known: Sample) -> None:
    scope = Scope((reach_of_owner(Role.CUSTOMER, "c-1"),))
    asked = {"$or": [{"customer": "c-2"}, {"status": "running"}]}
    found = known.found(scope.within(Right.READ_EXECUTIONS, from_json(asked, field)))
    assert found == known.expected({"$and": [{"customer": "c-1"}, asked]})
    whole = scope.within(Right.READ_EXECUTIONS, EVERYTHING)
    assert known.page(whole, count=True).total == len(known.expected({"customer": "c-1"}))


def keys_in(value: Any) -> Iterator[str]:
    for key in value if isinstance(value, dict) else ():
        yield f"[{orjson.dumps(key).decode()}]"
        yield from (f"[{orjson.dumps(key).decode()}]{path}" for path in keys_in(value[key]))


def test_every_attribute_can_be_named_with_its_keys_in_quotes(known: Sample) -> None:
    named = 0
    for document in known.documents:
        for path in {path for path in keys_in(document["metadata"]) if "At" not in path}:
            named += 1
            condition = from_query([(f"metadata{path}[exists]", "true")], field)
            found = known.found(And((condition, from_json({"$id": document["$id"]}, field))))
            assert (document["$id"] in found) is (at(document["metadata"], path) is not None)
    assert named > 100
    assert known.found(from_json({'metadata["a\\"b[c].d"]': "x" * 2_000}, field))


def at(value: Any, path: str) -> Any:
    for key in orjson.loads("[" + path.strip("[]").replace("][", ",") + "]"):
        value = value[key]
    return value


def test_attribute_with_the_longest_key_is_found_first(known: Sample) -> None:
    for condition in ({"metadata.deep.x": 2}, {"metadata.deep.x": 1}):
        found = known.found(from_json(condition, field))
        assert found == known.expected(condition) != set()
    both = {document["$id"] for document in known.documents if "deep.x" in document["metadata"]}
    assert both
    assert not both & known.found(from_json({"metadata.deep.x": 1}, field))
    assert both <= known.found(from_json({'metadata["deep"]["x"]': 1}, field))


@pytest.mark.parametrize("operator", ["$in", "$nin"])
def test_thousand_values_of_an_attribute_are_one_comparison(known: Sample, operator: str) -> None:
    values = [*range(-500, 498), "5", 5.5]
    asked = {"metadata.amount": {operator: values}}
    condition = from_json(asked, field)
    bound: list[Any] = []
    assert sql(condition, bound).count("ANY") == 1
    assert known.found(condition) == known.expected(asked) != set()


def test_few_values_of_an_attribute_are_looked_up_in_the_index(known: Sample) -> None:
    for attribute in ("metadata.amount", "metadata.deep.x"):
        bound: list[Any] = []
        where = sql(from_json({attribute: {"$in": [1, "2", 3.5]}}, field), bound)
        plan = known.run(explained(known.connection, where, bound))
        assert plan.count("_by_attribute") == 2, plan


async def explained(connection: AsyncConnection, where: str, values: list[Any]) -> str:
    async with connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off")
        query = f"EXPLAIN SELECT id FROM executions WHERE {where}"  # noqa: S608 - made by `sql`
        cursor = await connection.execute(query, values, prepare=False)
        return "\n".join(row[0] for row in await cursor.fetchall())
