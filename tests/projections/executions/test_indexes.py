"""Lists use indexes: the cost of a page does not grow with the number of executions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from projections.executions.columns import FIELDS, field, sortable
from projections.executions.indexes import FILTERED_BY, INDEXES, SELDOM_SET, SORTED_BY, UNLIKE
from projections.executions.page_query import page_query
from projections.query import pagination
from projections.query.ast import EVERYTHING
from projections.query.parser import from_json
from projections.query.sql import sql
from tests.projections.query.test_filters import OPERANDS, Sample

ALONG_INDEXES = ("seqscan", "sort", "bitmapscan")
"""Plans that the planner chooses for small tables, and whose cost grows with the table."""


@pytest.fixture(scope="module")
def known(module_views: str) -> Iterator[Sample]:
    made = Sample(module_views)
    yield made
    made.close()


def plan(known: Sample, query: str, values: list[Any], *without: str) -> str:
    async def explained() -> str:
        async with known.connection.transaction():
            for way in without:
                await known.connection.execute(f"SET LOCAL enable_{way} = off".encode())
            cursor = await known.connection.execute(f"EXPLAIN {query}", values, prepare=False)
            return "\n".join(row[0] for row in await cursor.fetchall())

    shown: str = known.run(explained())
    return shown


def test_frequent_sort_orders_use_indexes_in_both_directions(known: Sample) -> None:
    for path in SORTED_BY:
        for sort, table in product((path, f"-{path}"), ("resting", "ended")):
            index = f"executions_{table}_by_{FIELDS[path].column} "
            values: list[Any] = []
            query = page_query(
                EVERYTHING, pagination.order(sort, sortable, FIELDS), None, 51, values
            )
            shown = plan(known, query, values, *ALONG_INDEXES)
            halves = 2 if FIELDS[path].nullable and path not in UNLIKE else 1
            assert (
                shown.count(f"using {index}") + shown.count(f"Backward using {index}") >= halves
            ), (
                sort,
                shown,
            )


def test_most_urgent_and_oldest_executions_are_found_by_an_index(known: Sample) -> None:
    keys = pagination.order("-priority,metadata.createdAt", sortable, FIELDS)
    shown = plan(known, page_query(EVERYTHING, keys, None, 51, []), [], *ALONG_INDEXES)
    assert "executions_ended_by_urgency" in shown


def test_filter_on_a_field_uses_its_index(known: Sample) -> None:
    for path in (*FILTERED_BY, *SELDOM_SET):
        operand = OPERANDS[path][0] if path in OPERANDS else None
        asked = {path: {"$exists": True}} if operand is None else {path: operand}
        values: list[Any] = []
        where = sql(from_json(asked, field), values)
        query = f"SELECT id FROM executions_ended WHERE {where}"  # noqa: S608 - made by `sql`
        assert f"_by_{FIELDS[path].column}" in plan(known, query, values, "seqscan"), path


def test_field_that_changes_with_each_event_is_in_no_index_of_active_executions() -> None:
    of_active = [line for line in INDEXES.splitlines() if " ON executions_active " in line]
    assert of_active
    changing = ("status", "version", "position", "updated_at", "progress", "tokens_used", "cost")
    for line in of_active:
        columns = line.partition(" ON ")[2]
        assert not any(name in columns for name in changing), line


def test_condition_on_status_reads_only_the_tables_of_such_executions(known: Sample) -> None:
    for status, read in (("failed", {"ended"}), ("running", {"active", "resting"})):
        values: list[Any] = []
        keys = pagination.order("-metrics.cost", sortable, FIELDS)
        condition = from_json({"status": status}, field)
        shown = plan(known, page_query(condition, keys, None, 51, values), values)
        tables = {name for name in ("active", "resting", "ended") if f"executions_{name}" in shown}
        assert tables == read, shown


def test_range_of_words_is_compared_word_by_word() -> None:
    values: list[Any] = []
    assert sql(from_json({"priority": {"$gte": "high"}}, field), values) == "priority = ANY(%s)"
    assert values == [["high", "urgent"]]


@pytest.mark.parametrize(
    ("operator", "operand", "where", "bound"),
    [
        ("$gte", 6.5, "duration >= %s", [7]),
        ("$gt", 6.5, "duration > %s", [6]),
        ("$lt", 6.5, "duration < %s", [7]),
        ("$lte", -6.5, "duration <= %s", [-7]),
        ("$gte", 1e12, "duration >= %s", [10**12]),
        ("$lt", 1e300, "duration IS NOT NULL", []),
        ("$gt", 1e300, "false", []),
        ("$gte", -1e300, "duration IS NOT NULL", []),
        ("$in", [6.5, 7.0, 1e300], "(duration = %s)", [7]),
        ("$eq", 6.5, "(false)", []),
    ],
)
def test_whole_number_field_is_compared_with_whole_numbers(
    operator: str, operand: Any, where: str, bound: list[int]
) -> None:
    values: list[Any] = []
    condition = from_json({"metrics.duration": {operator: operand}}, field)
    assert (sql(condition, values), values) == (where, bound)
    assert all(type(value) is int for value in values)
