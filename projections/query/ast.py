"""What a row must be like to be found, and the same as SQL with bound values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from projections.query.field_paths import Keys
from projections.query.field_types import Kind
from projections.query.sql import _place

MOST_LOOKED_UP = 32
"""So many values of a free attribute are looked up in its index; more are compared row by row."""


@dataclass(frozen=True, slots=True)
class Field:
    """A member of the document and the column that holds it.

    A free attribute is in one of some `places` inside its column, the keys to each of them; the
    first that has a value counts.
    """

    path: str
    column: str
    kind: Kind
    nullable: bool = True
    places: tuple[Keys, ...] = ()


@dataclass(frozen=True, slots=True)
class Compare:
    """One field against operands: `$in` (None among them: missing), `$prefix`, or an order."""

    field: Field
    operator: str
    operands: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Every:
    """All of these; nothing at all is always true."""

    parts: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Either:
    """At least one of these."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """Not this. Never "unknown": what a missing value fails, its negation finds."""

    part: Condition


Condition = Compare | Every | Either | Negation
EVERYTHING = Every()


def _attribute_in(field: Field, operands: list[Any], values: list[Any]) -> str:
    """One comparison for all operands: PostgreSQL hashes the array of `= ANY`. Few of them are looked
    up in the index as well, which the condition of containment alone can use.
    """
    holding = [_json(_nested(keys, one)) for one in operands for keys in field.places]
    if len(holding) == 1:
        values.append(holding[0])
        return f"{field.column} @> %s::jsonb"
    compared = f"{attribute(field, values)} = ANY(%s::jsonb[])"
    values.append([_json(operand) for operand in operands])
    if len(holding) > MOST_LOOKED_UP:
        return compared
    values.append(holding)
    return f"({compared} AND {field.column} @> ANY(%s::jsonb[]))"


def _nested(keys: Keys, operand: Any) -> Any:
    document = operand
    for key in reversed(keys):
        document = {key: document}
    return document


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def attribute(field: Field, values: list[Any]) -> str:
    """A free attribute as JSON, null where it is missing, as SQL."""
    if len(field.places) == 1:
        return _place(field, field.places[0], values)
    found = [f"nullif({_place(field, keys, values)}, 'null')" for keys in field.places]
    return f"coalesce({', '.join(found)})"
