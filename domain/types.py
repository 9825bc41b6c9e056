"""The small words of the wire: ids, names, references, amounts, free JSON. Each checks itself."""

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
"""PostgreSQL stores no NUL in text; sealed content may have it, what stands in the clear may not."""
NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$"
INT64 = 2**63
LARGEST_COST = 10**9
MOST_COST_DECIMALS = 30
"""As many as a small number computed in binary fractions comes with."""
EXACT = Context(prec=64)
"""Adds costs without rounding: 10 digits before the point, 30 behind, and room for sums."""

Id = Annotated[str, Field(pattern=ID)]
Name = Annotated[str, Field(min_length=1, max_length=1_000, pattern=NO_NUL)]
"""What people call something: a step, a service, an assignee."""
Label = Annotated[str, Field(min_length=1, max_length=255, pattern=NO_CONTROLS)]
"""The id of a step, a tag, a code: free, but one line."""
WorkerName = Annotated[str, Field(pattern=r"^[!-~]{1,128}$")]
"""What a worker calls itself: as it also stands in the header `X-Worker`."""
Text = Annotated[str, Field(max_length=10_000, pattern=NO_NUL)]
Reason = Annotated[str, Field(min_length=1, max_length=10_000, pattern=NO_NUL)]
"""Why something is kept or erased: it has to be said."""
LongText = Annotated[str, Field(max_length=200_000)]


@dataclass(frozen=True, slots=True)
class Number:
    """Makes `Annotated[float, Number(0, 100)]` a number within bounds; a whole one stays whole.

    One error for what is none: a plain `int | float` would tell one for each of the two.
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
"""The `$type` of what each reference leads to."""


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
"""An id, `{"$id": …}`, or a whole object that has a `$id`; the id is kept."""


def _cost(value: object, info: ValidationInfo) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError(f"must be a number from 0 to {LARGEST_COST}{instead(value)}")
    amount = value if isinstance(value, Decimal) else Decimal(str(value))
    if info.context is not None:  # it is stored: what was recorded is never refused
        return amount
    if not (amount.is_finite() and 0 <= amount <= LARGEST_COST):
        raise ValueError(f"must be a number from 0 to {LARGEST_COST}, but is {value}")
    exponent = amount.normalize().as_tuple().exponent if amount else 0
    if isinstance(exponent, int) and -exponent > MOST_COST_DECIMALS:
        raise ValueError(f"must have at most {MOST_COST_DECIMALS} decimal places, but is {value}")
    return amount


def plain_number(amount: Decimal) -> int | float | Decimal:
    """A number for JSON: whole ones have no fraction; a decimal that no float equals stays one."""
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
    """Refuses what could not be read back as it is: numbers that are too large."""
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
    """`$` begins the marks of our own in stored JSON."""
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
    """What should be worked on first."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"


AssigneeType = Literal["ai-agent", "human", "hybrid", "system"]


class Assignee(Value):
    """Who or what executes."""

    type: AssigneeType
    id: Label
    name: Name
    model: Label | None = None


class StepAssignee(Value):
    """Who or what executes a step; what is left out is that of the execution's assignee."""

    type: AssigneeType
    id: Label | None = None
    name: Name | None = None
    model: Label | None = None
