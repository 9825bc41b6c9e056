"""The conditions that a filter is made of: comparisons of fields, and, or, not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from projections.query.field_paths import Keys
from projections.query.field_types import FieldKind


@dataclass(frozen=True, slots=True)
class Field:
    """A member of the document and the column that holds it.

    A free attribute is at one of some `key_paths` inside its column, the keys to each of them; the
    first that has a value counts.
    """

    path: str
    column: str
    kind: FieldKind
    nullable: bool = True
    key_paths: tuple[Keys, ...] = ()


@dataclass(frozen=True, slots=True)
class Compare:
    """One field against operands: `$in` (None among them: missing), `$prefix`, or an order."""

    field: Field
    operator: str
    operands: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class And:
    """All of these; nothing at all is always true."""

    parts: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of these."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Not this. Never "unknown": what a missing value fails, its negation finds."""

    part: Condition


Condition = Compare | And | Or | Not
EVERYTHING = And()
