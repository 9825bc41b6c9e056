"""Every mistake in a filter is refused with its location."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from domain.errors import Invalid
from projections.executions.columns import field
from projections.query.ast import EVERYTHING, And
from projections.query.parser import from_json, from_query

Deep = dict[str, Any]

REFUSED_JSON: list[tuple[Any, str]] = [
    ([], ""),
    ("text", ""),
    ({"nothing": 1}, "nothing"),
    ({"metadata": {"region": "x"}}, "metadata"),
    ({"metadata.": "x"}, "metadata."),
    ({"metadata.a..b": "x"}, "metadata.a..b"),
    ({"metadata.a\x00": "x"}, "metadata.a\x00"),
    ({"result.output": "x"}, "result.output"),
    ({"error.message": "x"}, "error.message"),
    ({"$nor": []}, "$nor"),
    ({"$or": []}, "$or"),
    ({"$or": {}}, "$or"),
    ({"$or": [{"status": "running"}, 5]}, "$or[1]"),
    ({"$and": [{"$or": [{"status": "gone"}]}]}, "$and[0].$or[0].status"),
    ({"$not": []}, "$not"),
    ({"status": "gone"}, "status"),
    ({"status": {"$in": ["running", "gone"]}}, "status.$in[1]"),
    ({"status": {"$in": "running"}}, "status.$in"),
    ({"status": {"$like": "r%"}}, "status.$like"),
    ({"status": {"eq": "running"}}, "status.eq"),
    ({"progress": {"$prefix": "r"}}, "progress.$prefix"),
    ({"status": {"$prefix": 7}}, "status.$prefix"),
    ({"status": {}}, "status"),
    ({"service": 5}, "service"),
    ({"service": {"$gt": None}}, "service.$gt"),
    ({"service": "nul\x00"}, "service"),
    ({"service": "half \ud800"}, "service"),
    ({"service": {"$exists": 1}}, "service.$exists"),
    ({"progress": "50"}, "progress"),
    ({"progress": True}, "progress"),
    ({"progress": float("inf")}, "progress"),
    ({"version": 2**63}, "version"),
    ({"metadata.amount": -(2**63) - 1}, "metadata.amount"),
    ({'metadata["a': 1}, 'metadata["a'),
    ({'metadata[""]': 1}, 'metadata[""]'),
    ({'metadata["a"]b': 1}, 'metadata["a"]b'),
    ({'metadata["\\ud800"]': 1}, 'metadata["\\ud800"]'),
    ({'["metadata"].a': 1}, '["metadata"].a'),
    ({".".join(["metadata", *["a"] * 128]): 1}, ".".join(["metadata", *["a"] * 128])),
    ({"metadata.createdAt": "2026-11-22"}, "metadata.createdAt"),
    ({"metadata.createdAt": "2026-13-22T12:00:00Z"}, "metadata.createdAt"),
    ({"error.recoverable": "true"}, "error.recoverable"),
    ({"error.recoverable": {"$gt": False}}, "error.recoverable.$gt"),
    ({"tags": {"$gt": "a"}}, "tags.$gt"),
    ({"metadata.region": {"$eq": {"a": 1}}}, "metadata.region.$eq"),
    ({"metadata.region": [["x"]]}, "metadata.region[0]"),
    ({"metadata.region": {"$lt": True}}, "metadata.region.$lt"),
    ({"metadata.region": {"$prefix": 7}}, "metadata.region.$prefix"),
    ({"$or": [{"status": "running"}] * 101}, "$or[100].status"),
    ({"$and": [{}] * 101}, "$and[100]"),
    ({"$and": [{"service": {"$gt": "x"}}] * 101}, "$and[100].service.$gt"),
    ({"$and": [{"service": {"$prefix": "x"}}] * 101}, "$and[100].service.$prefix"),
    ({"$and": [{"service": {"$exists": True}}] * 101}, "$and[100].service.$exists"),
    ({"$and": [{"service": {"$in": ["x"] * 500}}] * 2 + [{"service": "x"}]}, "$and[2].service"),
    (
        {"$and": [{"service": {"$in": ["x"] * 500}}] * 2 + [{"service": {"$lt": "x"}}]},
        "$and[2].service.$lt",
    ),
    (
        {"$and": [{"service": {"$in": ["x"] * 500}}] * 2 + [{"tags": {"$prefix": "x"}}]},
        "$and[2].tags.$prefix",
    ),
    ({"service": {"$in": ["x"] * 1_001}}, "service.$in"),
]


@pytest.mark.parametrize(("asked", "path"), REFUSED_JSON, ids=lambda value: repr(value)[:40])
def test_json_filter_error_names_its_location(asked: Any, path: str) -> None:
    with pytest.raises(Invalid) as refused:
        from_json(asked, field)
    assert [error["path"] for error in refused.value.members["errors"]] == [path]


REFUSED_QUERIES: list[tuple[str, str]] = [
    ("nothing", "x"),
    ("status", "gone"),
    ("status", ""),
    ("status[", "running"),
    ("status[like]", "r"),
    ("status[$gt]x", "running"),
    ("progress", "much"),
    ("progress", "nan"),
    ("progress[gt]", "1e999"),
    ("version", "1" * 400),
    ("version", "1_000"),
    ("version", " 1"),
    ("service", "nul\x00"),
    ("service[exists]", "yes"),
    ("error.recoverable", "1"),
    ("metadata.createdAt[gte]", "yesterday"),
    ("$or", "x"),
    ('metadata["a.b"', "x"),
    ('metadata["a.b"][like]', "x"),
    ("metadata.a[0]b", "x"),
]


@pytest.mark.parametrize(("name", "value"), REFUSED_QUERIES)
def test_query_error_names_its_parameter(name: str, value: str) -> None:
    with pytest.raises(Invalid) as refused:
        from_query([(name, value)], field)
    assert [error["path"] for error in refused.value.members["errors"]] == [name]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("status", "runing", "retry, but is `runing`"),
        ("progress", "abc", "must be a number, but is `abc`"),
        ("progress", "x" * 101, "must be a number"),
        ("priority", "hi", "must be one of low, normal, high, urgent, but is `hi`"),
        ("service[exists]", "yes", "must be true or false, but is the text `yes`"),
        ("colour", "red", "filtered by; `findExecutions` in /openapi.json names them"),
    ],
)
def test_query_error_quotes_a_short_value(name: str, value: str, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        from_query([(name, value)], field)
    assert refused.value.members["errors"][0]["message"].endswith(said)


DEEPER: dict[str, Callable[[Deep], Deep]] = {
    "$not": lambda asked: {"$not": asked},
    "$and": lambda asked: {"$and": [asked]},
    "$or": lambda asked: {"$or": [asked]},
}


@pytest.mark.parametrize("operator", DEEPER)
@pytest.mark.parametrize("asked", [{"status": "running"}, {}], ids=str)
def test_filter_has_at_most_20_levels(operator: str, asked: Deep) -> None:
    for _ in range(19):
        asked = DEEPER[operator](asked)
    from_json(asked, field)
    with pytest.raises(Invalid):
        from_json(DEEPER[operator](asked), field)


def test_condition_of_a_field_has_at_most_20_levels() -> None:
    value: Deep = {"$eq": "running"}
    for _ in range(19):
        value = {"$not": value}
    from_json({"status": value}, field)
    with pytest.raises(Invalid):
        from_json({"status": {"$not": value}}, field)


def test_empty_filter_is_no_condition() -> None:
    assert from_query([], field) == EVERYTHING
    assert from_json({}, field) == And()


def test_unknown_operator_is_answered_with_the_existing_ones() -> None:
    with pytest.raises(Invalid) as refused:
        from_json({"$nor": []}, field)
    (error,) = refused.value.members["errors"]
    assert error["message"].startswith("must be a field or one of $and, $or, $not")
