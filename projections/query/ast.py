"""The conditions of which a filter is made: comparisons of fields, and, or, not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from projections.query.field_paths import Keys
from projections.query.field_types import FieldKind


@dataclass(frozen=True, slots=True)
class Field:
    """A member of the document, and the column that has its value.

    A free attribute has several possible `key_paths` inside its column, each a sequence of keys; the first path with a
    value counts.
    """

    path: str
    column: str
    kind: FieldKind
    nullable: bool = True
    key_paths: tuple[Keys, ...] = ()


@dataclass(frozen=True, slots=True)
class Compare:
    """A comparison of a field with operands: `$in`, in which None stands for a missing value, `$prefix`, or one of `$gt`,
    `$gte`, `$lt` and `$lte`.
    """

    field: Field
    operator: str
    operands: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class And:
    """True if all parts are; always true without parts."""

    parts: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Or:
    """True if at least one part is."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """True if the part is not. A comparison with a missing value is false, not unknown as in SQL, so its negation is
    true.
    """

    part: Condition


Condition = Compare | And | Or | Not
EVERYTHING = And()
