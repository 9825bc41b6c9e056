"""What a row must be like to be found, and the same as SQL with bound values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from projections.query.field_types import Kind


@dataclass(frozen=True, slots=True)
class Field:
    """A member of the document and the column that holds it.

    A free attribute is a place inside its column: `keys` lead to it.
    """

    path: str
    column: str
    kind: Kind
    nullable: bool = True
    keys: tuple[str, ...] = ()


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
