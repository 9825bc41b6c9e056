"""JSON forms of Python values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import from_json

from service_executions import Agent, Human, Result, Retry, Step, System, Usage, Webhook
from service_executions.errors import ExecutionsError
from service_executions.ids import ALPHABET, new_id
from service_executions.requests import encode, parameters, segment
from service_executions.values import body, number, wire


class Colour(Enum):
    """A member whose name is not text."""

    RED = "red"


EAST = timezone(timedelta(hours=2))
FORMS: list[tuple[Any, Any]] = [
    (Agent("a", "A", model="m"), {"type": "ai-agent", "id": "a", "name": "A", "model": "m"}),
    (System(), {"type": "system"}),
    (
        Step("s", "S", assignee=Human("h", "H"), input={"snake_case": None}),
        {
            "id": "s",
            "name": "S",
            "assignee": {"type": "human", "id": "h", "name": "H"},
            "input": {"snake_case": None},
        },
    ),
    (
        Retry(3, max_delay=timedelta(minutes=1)),
        {"maxRetries": 3, "backoff": "exponential", "initialDelay": 1000, "maxDelay": 60_000},
    ),
    (
        Webhook("https://x.test/", ["failed"], headers={"X-My-Key": "v"}),
        {"url": "https://x.test/", "events": ["failed"], "headers": {"X-My-Key": "v"}},
    ),
    (Result(), {"success": True, "output": None, "summary": ""}),
    (Usage(5, "0.10"), {"tokensUsed": 5, "cost": 0.1, "apiCalls": 0}),
    (datetime(2026, 11, 22, 10, tzinfo=EAST), "2026-11-22T08:00:00.000Z"),
    ({"$gte": datetime(2026, 1, 1, tzinfo=UTC)}, {"$gte": "2026-01-01T00:00:00.000Z"}),
    ((1, {2}), [1, [2]]),
    (b"\xff\xfe>>?", "//4+Pj8="),
    (bytearray(b"text"), "dGV4dA=="),
    (memoryview(b"text"), "dGV4dA=="),
    ({b"key": 1, Colour.RED: 2}, {"a2V5": 1, "red": 2}),
]


@pytest.mark.parametrize(("value", "form"), FORMS, ids=lambda value: type(value).__name__)
def test_value_has_its_json_form(value: Any, form: Any) -> None:
    assert wire(value) == form


def test_members_are_in_camel_case_and_free_json_is_unchanged() -> None:
    assert body(retry_count=1, metadata={"my_key": None}, gone=None) == {
        "retryCount": 1,
        "metadata": {"my_key": None},
    }


@dataclass
class Row:
    """A dataclass of a program that records."""

    full_name: str
    cost: str | None = None


class Answer(BaseModel):
    """The same as a model of pydantic."""

    full_name: str
    score: float | None = None


FREE: list[tuple[Any, Any]] = [
    (Row("Ann", "free"), {"full_name": "Ann", "cost": "free"}),
    ([Row("Ann")], [{"full_name": "Ann", "cost": None}]),
    ({"row": {"of": Row("Ann")}}, {"row": {"of": {"full_name": "Ann", "cost": None}}}),
    ([Answer(full_name="Ann")], [{"full_name": "Ann", "score": None}]),
]


@pytest.mark.parametrize(("output", "form"), FREE, ids=["row", "rows", "inner row", "model"])
def test_values_of_a_program_keep_all_their_members_and_names(output: Any, form: Any) -> None:
    assert from_json(encode(body(output=output)))["output"] == form
    assert from_json(encode(wire(Result(output=output))))["output"] == form


@pytest.mark.parametrize(("text", "value"), [("0.0123", 0.0123), ("4e-10", 4e-10), ("2.00", 2)])
def test_decimal_is_encoded_exactly(text: str, value: float) -> None:
    assert number(text) == value
    assert number(Decimal(text)) == value


def test_decimal_with_more_digits_than_a_double_is_refused() -> None:
    with pytest.raises(ValueError, match="more digits"):
        number("0.12345678901234567890")


def test_query_omits_none() -> None:
    assert parameters({"a": None, "b": True, "c": ["x", "y"], "d": 3}) == {
        "b": "true",
        "c": "x,y",
        "d": "3",
    }


def test_condition_of_a_query_has_its_operators_in_brackets() -> None:
    condition = {"$gte": datetime(2026, 1, 1, tzinfo=UTC), "$in": ["x", 1]}
    assert parameters({"at": condition}) == {
        "at[$gte]": "2026-01-01T00:00:00.000Z",
        "at[$in]": "x,1",
    }


@pytest.mark.parametrize(
    "value", [[{"status": "failed"}], [None], {"$not": {"$gt": 1}}, {"$eq": None}]
)
def test_condition_that_no_query_can_hold_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot stand in a query"):
        parameters({"$or": value})


def test_name_is_one_segment_of_a_path() -> None:
    assert segment("a/b #3~:") == "a%2Fb%20%233~:"
    for name in ("", ".", ".."):
        with pytest.raises(ExecutionsError):
            segment(name)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_number_that_json_cannot_hold_is_a_type_error(number: float) -> None:
    with pytest.raises(TypeError, match="cannot stand in JSON"):
        encode({"output": [number, "NaN"]})
    assert from_json(encode({"output": "NaN or Infinity"})) == {"output": "NaN or Infinity"}


def test_value_that_json_cannot_hold_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        encode({"a": object()})


def test_ids_sort_by_their_time_and_are_unique() -> None:
    made = [new_id("exec") for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(
        set(each.removeprefix("exec_")) <= set(ALPHABET) and len(each) == 31 for each in made
    )
    assert made[0][:12] <= made[-1][:12]
