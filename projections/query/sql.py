"""A condition as SQL with bound values."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor
from operator import ge, gt, le, lt
from typing import Any

import orjson

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
    """The condition as SQL; what has to be bound is appended to `values`."""
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
        return f"{part.field.column} IS NOT NULL"  # the very words of an index that has no others
    return f"({sql(part, values)}) IS NOT TRUE"


def _in(field: Field, operands: tuple[Any, ...], values: list[Any]) -> str:
    found = [operand for operand in operands if operand is not None]
    pieces = [_missing(field, values)] if len(found) < len(operands) else []
    if field.kind is WHOLE:
        found = [int(operand) for operand in found if operand == int(operand) and _fits(operand)]
    if field.kind is ATTRIBUTE and found:
        pieces.append(_attribute_in(field, found, values))
    elif field.kind is TAGS and found:
        values.append(found)
        pieces.append(f"{field.column} {'@>' if len(found) == 1 else '&&'} %s::text[]")
    elif len(found) == 1:
        values.append(found[0])
        pieces.append(f"{field.column} = %s")
    elif found:
        values.append(_alike(found))
        pieces.append(f"{field.column} = ANY(%s)")
    return "(" + (" OR ".join(pieces) or "false") + ")"


def _alike(operands: list[Any]) -> list[Any]:
    """An array has one type: among real numbers whole ones are real, too."""
    return [*map(float, operands)] if any(type(o) is float for o in operands) else operands


def _missing(field: Field, values: list[Any]) -> str:
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
        place = _typed_sql(field, "string", values)
        values.append(operand)
        return f"({place} ^@ %s)"
    values.append(operand)
    return f"{field.column} ^@ %s"


def _order_sql(field: Field, operator: str, operand: Any, values: list[Any]) -> str:
    if field.kind is ATTRIBUTE:
        if isinstance(operand, str):
            place = _typed_sql(field, "string", values)
            values.append(operand)
            return f'({place} COLLATE "C" {COMPARED[operator]} %s)'
        place = _typed_sql(field, "number", values)
        values.append(str(operand))
        return f"({place} {COMPARED[operator]} %s::jsonb)"
    if field.kind.words:  # the words that are meant: an index finds them
        place, words = field.kind.rank(operand), field.kind.words
        values.append([word for rank, word in enumerate(words, 1) if ORDERS[operator](rank, place)])
        return f"{field.column} = ANY(%s)"
    if field.kind is WHOLE and isinstance(operand, float):
        if not _fits(operand):
            holds = (operand > 0) is (operator in {"$lt", "$lte"})
            return f"{field.column} IS NOT NULL" if holds else "false"
        operand = ceil(operand) if operator in {"$gte", "$lt"} else floor(operand)
    values.append(operand)
    return f"{field.column} {COMPARED[operator]} %s"


def _fits(operand: float) -> bool:
    """Whether there are whole numbers on both sides of it. Compared with a fraction, none is in an index."""
    return SMALLEST_WHOLE <= operand <= LARGEST_WHOLE


def _typed_sql(field: Field, name: str, values: list[Any]) -> str:
    """The attribute where it has this JSON type, else null: nothing compares with it."""
    kind = f"jsonb_typeof({attribute(field, values)}) = '{name}'"
    value = attribute(field, values)
    as_text = " #>> '{}'" if name == "string" else ""
    return f"CASE WHEN {kind} THEN {value}{as_text} END"


def _json_path(field: Field, keys: Keys, values: list[Any]) -> str:
    """Key by key, not as one path (`#>`): a path would take `0` for a place in a list."""
    values.extend(keys)
    return f"({field.column}{' -> %s::text' * len(keys)})"


MOST_LOOKED_UP = 32
"""So many values of a free attribute are looked up in its index; more are compared row by row."""


def _attribute_in(field: Field, operands: list[Any], values: list[Any]) -> str:
    """One comparison for all operands: PostgreSQL hashes the array of `= ANY`. Few of them are looked
    up in the index as well, which the condition of containment alone can use.
    """
    holding = [_json(_nest(keys, one)) for one in operands for keys in field.key_paths]
    if len(holding) == 1:
        values.append(holding[0])
        return f"{field.column} @> %s::jsonb"
    compared = f"{attribute(field, values)} = ANY(%s::jsonb[])"
    values.append([_json(operand) for operand in operands])
    if len(holding) > MOST_LOOKED_UP:
        return compared
    values.append(holding)
    return f"({compared} AND {field.column} @> ANY(%s::jsonb[]))"


def _nest(keys: Keys, operand: Any) -> Any:
    document = operand
    for key in reversed(keys):
        document = {key: document}
    return document


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def attribute(field: Field, values: list[Any]) -> str:
    """A free attribute as JSON, null where it is missing, as SQL."""
    if len(field.key_paths) == 1:
        return _json_path(field, field.key_paths[0], values)
    found = [f"nullif({_json_path(field, keys, values)}, 'null')" for keys in field.key_paths]
    return f"coalesce({', '.join(found)})"
