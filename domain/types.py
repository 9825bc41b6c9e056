"""The types of JSON fields: ids, names, references, amounts of money, free JSON. Each validates its values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Context, Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import core_schema

from domain.errors import instead, kind_of
from domain.json_forms import whole
from domain.model import Value

ID = r"^[A-Za-z0-9._~:-]{1,255}$"
NO_NUL = r"^[^\x00]*$"
"""PostgreSQL stores no NUL in text, so text that is stored in the clear may have none; sealed content may."""
NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$"
INT64 = 2**63
LARGEST_COST = 10**9
MOST_COST_DECIMALS = 30
"""Decimal places of a cost: enough for a small number that was computed in binary floating point."""
EXACT = Context(prec=64)
"""The context that adds costs without rounding: 10 digits before the point, 30 behind it, and spare digits for sums."""

Id = Annotated[str, Field(pattern=ID)]
Name = Annotated[str, Field(min_length=1, max_length=1_000, pattern=NO_NUL)]
"""A name for people: of a step, a service, an assignee."""
Label = Annotated[str, Field(min_length=1, max_length=255, pattern=NO_CONTROLS)]
"""A free text of one line: the id of a step, a tag, a code."""
WorkerName = Annotated[str, Field(pattern=r"^[!-~]{1,128}$")]
"""The name of a worker: visible ASCII, as it also stands in the header `X-Worker`."""
Text = Annotated[str, Field(max_length=10_000, pattern=NO_NUL)]
Reason = Annotated[str, Field(min_length=1, max_length=10_000, pattern=NO_NUL)]
"""The reason of a hold or an erasure, which is required."""
LongText = Annotated[str, Field(max_length=200_000)]


@dataclass(frozen=True, slots=True)
class Number:
    """Makes `Annotated[float, Number(0, 100)]` a number within bounds; a whole number stays an int.

    A bad value gets one error; with a plain `int | float` it would get one for each of the two types.
    """

    at_least: int
    at_most: int

    def __get_pydantic_core_schema__(self, *_: object) -> core_schema.CoreSchema:
        ge, le = self.at_least, self.at_most
        numbers = core_schema.union_schema(
            [
                core_schema.int_schema(ge=ge, le=le, strict=True),
                core_schema.float_schema(ge=ge, le=le, strict=True, allow_inf_nan=False),
            ],
            custom_error_type="number",
            custom_error_message=f"must be a number from {ge} to {le}",
        )
        return core_schema.no_info_after_validator_function(whole, numbers)

    def __get_pydantic_json_schema__(self, *_: object) -> dict[str, Any]:
        return {"type": "number", "minimum": self.at_least, "maximum": self.at_most}


Percent = Annotated[float, Number(0, 100)]


TYPES_OF_REFERENCES = {
    "order": "ServiceOrder",
    "service": "Service",
    "workflow": "BusinessWorkflow",
    "customer": "User",
    "provider": "User",
}
"""The `$type` of the object that each reference leads to."""


def _reference(value: object, info: ValidationInfo) -> object:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or "$id" not in value:
        kind = "an object without `$id`" if isinstance(value, dict) else kind_of(value)
        raise ValueError(f"must be an id, or an object with its `$id`, not {kind}")
    type_ = TYPES_OF_REFERENCES.get(info.field_name or "")
    if type_ is not None and value.get("$type", type_) != type_:
        raise ValueError(f"must be a {type_}, as its `$type` says, or leave that out")
    return value["$id"]


Reference = Annotated[
    str,
    BeforeValidator(_reference),
    Field(pattern=ID),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": ID},
                {
                    "type": "object",
                    "properties": {"$id": {"type": "string", "pattern": ID}},
                    "required": ["$id"],
                },
            ]
        }
    ),
]
"""An id, `{"$id": …}`, or a whole object with a `$id`; only the id is used."""


def _cost(value: object, info: ValidationInfo) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError(f"must be a number from 0 to {LARGEST_COST}{instead(value)}")
    amount = value if isinstance(value, Decimal) else Decimal(str(value))
    if info.context is not None:  # stored JSON: a recorded value is never refused
        return amount
    if not (amount.is_finite() and 0 <= amount <= LARGEST_COST):
        raise ValueError(f"must be a number from 0 to {LARGEST_COST}, but is {value}")
    exponent = amount.normalize().as_tuple().exponent if amount else 0
    if isinstance(exponent, int) and -exponent > MOST_COST_DECIMALS:
        raise ValueError(f"must have at most {MOST_COST_DECIMALS} decimal places, but is {value}")
    return amount


def plain_number(amount: Decimal) -> int | float | Decimal:
    """An amount as a JSON number: an int if it is whole, a float if one equals it, else the decimal itself."""
    if amount == amount.to_integral_value():
        return int(amount)
    nearest = float(amount)
    return nearest if Decimal(str(nearest)) == amount else amount


def _cost_json(amount: Decimal) -> int | float:
    number = plain_number(amount)
    return float(number) if isinstance(number, Decimal) else number


Cost = Annotated[
    Decimal,
    BeforeValidator(_cost),
    PlainSerializer(_cost_json, when_used="json"),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": LARGEST_COST}),
]
"""An amount of money, kept exactly: a number on the wire, a decimal inside."""


def _parts(value: Any) -> Iterator[Any]:
    """Every value and every key inside a JSON value. Not recursive: clients choose the depth."""
    pending = [value]
    while pending:
        part = pending.pop()
        yield part
        if isinstance(part, dict):
            yield from part
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)


def _storable(value: Any) -> Any:
    """Refuse numbers that could not be read back unchanged: NaN, infinite ones, and integers beyond 64 bits."""
    if value is None or isinstance(value, str):
        return value
    for part in _parts(value):
        if isinstance(part, float) and not math.isfinite(part):
            raise ValueError("must have only finite numbers, but has one that is not")
        if isinstance(part, int) and not -INT64 <= part < INT64:
            raise ValueError(
                f"must have only whole numbers from {-INT64} to {INT64 - 1}, but has {_short(part)}"
            )
    return value


def _short(number: int) -> str:
    return str(number) if abs(number) < 10**40 else "one with more than 40 digits"


def _clear(value: dict[str, Any]) -> dict[str, Any]:
    """Refuse keys that begin with `$`, as our own marks in stored JSON do, empty keys, and NUL."""
    for part in _parts(value):
        if isinstance(part, str) and "\0" in part:
            raise ValueError("must have no text with the character NUL (\\u0000)")
        if isinstance(part, dict) and any(not key or key[0] == "$" for key in part):
            raise ValueError("must have only keys that are not empty and do not begin with `$`")
    return value


Json = Annotated[Any, AfterValidator(_storable)]
"""Any JSON value."""
JsonObject = Annotated[dict[str, Any], AfterValidator(_storable)]
"""Any JSON object."""
ClearObject = Annotated[dict[str, Any], AfterValidator(_storable), AfterValidator(_clear)]
"""A JSON object that is stored in the clear."""


class Priority(StrEnum):
    """The priority of an execution in the queue."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"


AssigneeType = Literal["ai-agent", "human", "hybrid", "system"]


class Assignee(Value):
    """Who or what works on an execution."""

    type: AssigneeType
    id: Label
    name: Name
    model: Label | None = None


class StepAssignee(Value):
    """Who or what works on a step. Members that are left out are those of the assignee of the execution."""

    type: AssigneeType
    id: Label | None = None
    name: Name | None = None
    model: Label | None = None
