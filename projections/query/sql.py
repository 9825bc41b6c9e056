"""Converts a condition to SQL with bound values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, floor
from operator import ge, gt, le, lt
from typing import Any

import orjson

from domain.eventlog.connection.pg_arrays import array
from projections.query.ast import (
    And,
    Compare,
    Condition,
    Field,
    Not,
    Or,
)
from projections.query.field_paths import Keys
from projections.query.field_types import ATTRIBUTE, LARGEST_WHOLE, SMALLEST_WHOLE, TAGS, WHOLE

COMPARED = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
ORDERS: dict[str, Callable[[Any, Any], bool]] = {"$gt": gt, "$gte": ge, "$lt": lt, "$lte": le}


def sql(condition: Condition, values: list[Any]) -> str:
    """Return the condition as SQL; values to bind are appended to `values`."""
    match condition:
        case And(parts):
            return " AND ".join(sql(part, values) for part in parts) or "true"
        case Or(parts):
            return "(" + (" OR ".join(f"({sql(part, values)})" for part in parts) or "false") + ")"
        case Not(part):
            return _not(part, values)
        case Compare(field, "$in", operands):
            return _in(field, operands, values)
        case Compare(field, "$prefix", (operand,)):
            return _prefix(field, operand, values)
        case Compare(field, operator, operands):
            return _order_sql(field, operator, operands[0], values)


def _not(part: Condition, values: list[Any]) -> str:
    if (
        isinstance(part, Compare)
        and part.operands == (None,)
        and part.field.kind not in {ATTRIBUTE, TAGS}
    ):
        return (
            f"{part.field.column} IS NOT NULL"  # the same text as the condition of a partial index
        )
    return f"({sql(part, values)}) IS NOT TRUE"


def _in(field: Field, operands: tuple[Any, ...], values: list[Any]) -> str:
    present = [operand for operand in operands if operand is not None]
    pieces = [_missing_sql(field, values)] if len(present) < len(operands) else []
    if field.kind is WHOLE:
        whole = (operand for operand in present if operand == int(operand))
        present = [int(operand) for operand in whole if _in_range(operand)]
    if field.kind is ATTRIBUTE and present:
        pieces.append(_attribute_in(field, present, values))
    elif field.kind is TAGS and present:
        values.append(array("text", present))
        pieces.append(f"{field.column} {'@>' if len(present) == 1 else '&&'} %s::text[]")
    elif len(present) == 1:
        values.append(present[0])
        pieces.append(f"{field.column} = %s")
    elif present:
        values.append(_as_array(present))
        pieces.append(f"{field.column} = ANY(%s)")
    return "(" + (" OR ".join(pieces) or "false") + ")"


def _as_array(operands: list[Any]) -> Sequence[Any]:
    """Return the operands as an SQL array, which has a single type: numbers are floats if any of them is one."""
    if all(type(operand) is str for operand in operands):
        return array("text", operands)
    return [*map(float, operands)] if any(type(o) is float for o in operands) else operands


def _missing_sql(field: Field, values: list[Any]) -> str:
    if field.kind is TAGS:
        return f"{field.column} = '{{}}'"
    if field.kind is ATTRIBUTE:
        return f"coalesce({attribute(field, values)}, 'null') = 'null'"
    return f"{field.column} IS NULL"


def _prefix(field: Field, operand: str, values: list[Any]) -> str:
    if field.kind is TAGS:
        values.append(operand)
        return f"EXISTS (SELECT FROM unnest({field.column}) AS tag WHERE tag ^@ %s)"
    if field.kind is ATTRIBUTE:
        value = _typed_sql(field, "string", values)
        values.append(operand)
        return f"({value} ^@ %s)"
    values.append(operand)
    return f"{field.column} ^@ %s"


def _order_sql(field: Field, operator: str, operand: Any, values: list[Any]) -> str:
    if field.kind is ATTRIBUTE:
        if isinstance(operand, str):
            value = _typed_sql(field, "string", values)
            values.append(operand)
            return f'({value} COLLATE "C" {COMPARED[operator]} %s)'
        value = _typed_sql(field, "number", values)
        values.append(str(operand))
        return f"({value} {COMPARED[operator]} %s::jsonb)"
    if field.kind.words:  # the words that fulfil the comparison, which an index finds
        limit, words = field.kind.rank(operand), field.kind.words
        values.append([word for rank, word in enumerate(words, 1) if ORDERS[operator](rank, limit)])
        return f"{field.column} = ANY(%s)"
    if field.kind is WHOLE and isinstance(operand, float):
        if not _in_range(operand):
            always = (operand > 0) is (operator in {"$lt", "$lte"})
            return f"{field.column} IS NOT NULL" if always else "false"
        # Rounded to a whole number, because PostgreSQL finds none in an index by comparison with a fraction.
        operand = ceil(operand) if operator in {"$gte", "$lt"} else floor(operand)
    values.append(operand)
    return f"{field.column} {COMPARED[operator]} %s"


def _in_range(operand: float) -> bool:
    """Whether a number is within the range of `bigint`."""
    return SMALLEST_WHOLE <= operand <= LARGEST_WHOLE


def _typed_sql(field: Field, name: str, values: list[Any]) -> str:
    """Return SQL for an attribute if it has the JSON type `name`, else for NULL, which no comparison finds."""
    kind = f"jsonb_typeof({attribute(field, values)}) = '{name}'"
    value = attribute(field, values)
    as_text = " #>> '{}'" if name == "string" else ""
    return f"CASE WHEN {kind} THEN {value}{as_text} END"


def _json_path(field: Field, keys: Keys, values: list[Any]) -> str:
    """Return SQL that follows keys one by one. The path operator `#>` would take `0` for an index in a list."""
    values.extend(keys)
    return f"({field.column}{' -> %s::text' * len(keys)})"


MOST_LOOKED_UP = 32
"""Values of a free attribute that are looked up in its index. If there are more, they are compared row by row."""


def _attribute_in(field: Field, operands: list[Any], values: list[Any]) -> str:
    """Return SQL for an attribute that has one of the operands.

    PostgreSQL hashes the array of `= ANY`, so a single comparison does for all operands. If there are few, the condition
    `@>` is added, which is the only one that can use the index; it takes time for each operand and each row that it is
    evaluated for.
    """
    containing = [_json(_nest(keys, operand)) for operand in operands for keys in field.key_paths]
    if len(containing) == 1:
        values.append(containing[0])
        return f"{field.column} @> %s::jsonb"
    compared = f"{attribute(field, values)} = ANY(%s::text[]::jsonb[])"
    values.append(array("text", [_json(operand) for operand in operands]))
    if len(containing) > MOST_LOOKED_UP:
        return compared
    values.append(array("text", containing))
    return f"({compared} AND {field.column} @> ANY(%s::text[]::jsonb[]))"


def _nest(keys: Keys, operand: Any) -> Any:
    document = operand
    for key in reversed(keys):
        document = {key: document}
    return document


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def attribute(field: Field, values: list[Any]) -> str:
    """Return SQL for a free attribute as JSON; null if it is missing."""
    if len(field.key_paths) == 1:
        return _json_path(field, field.key_paths[0], values)
    found = [f"nullif({_json_path(field, keys, values)}, 'null')" for keys in field.key_paths]
    return f"coalesce({', '.join(found)})"
