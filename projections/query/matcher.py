"""Decides whether an execution meets a condition of the filter language, from its state alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

from projections.query.ast import And, Compare, Condition, Field, Not, Or
from projections.query.field_types import TAGS
from projections.query.sql import ORDERS

PARTIES = frozenset({"customer", "provider"})


def parties_suffice(condition: Condition, paths: frozenset[str] = PARTIES) -> bool:
    """Whether a condition compares only the fields of `paths`: by default customer and provider, which every event
    names.
    """
    match condition:
        case And(parts) | Or(parts):
            return all(parties_suffice(part, paths) for part in parts)
        case Not(part):
            return parties_suffice(part, paths)
        case Compare(field):
            return field.path in paths


def by_parties(condition: Condition) -> Condition:
    """Return a condition that customer and provider alone decide, and that implies the given one: of an `Or`, the
    parts that compare only these; of another condition that compares other fields, one that is never true.
    """
    if isinstance(condition, Or):
        return Or(tuple(map(by_parties, condition.parts)))
    return condition if parties_suffice(condition) else Or(())


def find_required_values(
    condition: Condition, paths: frozenset[str] = PARTIES
) -> tuple[tuple[str, Any], ...]:
    """Return pairs of a path and a value such that every match has at least one of these values at its path. Only fields
    of `paths` are considered, by default customer and provider. Empty if the condition restricts none of them.
    """
    match condition:
        case And(parts):
            return next(filter(None, (find_required_values(part, paths) for part in parts)), ())
        case Or(parts):
            found = [find_required_values(part, paths) for part in parts]
            return tuple(dict.fromkeys(chain(*found))) if all(found) else ()
        case Compare(field, "$in", operands) if field.path in paths and None not in operands:
            return tuple((field.path, operand) for operand in operands)
    return ()


def matches(condition: Condition, value: Callable[[Field], Any]) -> bool:
    """Whether the condition is true; `value` returns the value of a field."""
    match condition:
        case And(parts):
            return all(matches(part, value) for part in parts)
        case Or(parts):
            return any(matches(part, value) for part in parts)
        case Not(part):
            return not matches(part, value)
        case Compare(field, operator, operands):
            return _compares(field, operator, operands, value(field))


def _compares(field: Field, operator: str, operands: tuple[Any, ...], found: Any) -> bool:
    if field.kind is TAGS:
        return _matches_list(operator, operands, found)
    if operator == "$in":
        return any(_equal(found, operand) for operand in operands)
    if found is None:
        return False
    if operator == "$prefix":
        return isinstance(found, str) and found.startswith(operands[0])
    if not _comparable(found, operands[0]):
        return False
    return ORDERS[operator](field.kind.rank(found), field.kind.rank(operands[0]))


def _matches_list(operator: str, operands: tuple[Any, ...], tags: tuple[str, ...]) -> bool:
    if operator == "$prefix":
        return any(tag.startswith(operands[0]) for tag in tags)
    return any(operand in tags for operand in operands) or (None in operands and not tags)


def _equal(found: Any, operand: Any) -> bool:
    """Whether two JSON values are equal. In Python `True == 1`; in JSON true is not a number."""
    return isinstance(found, bool) == isinstance(operand, bool) and bool(found == operand)


def _comparable(found: Any, operand: Any) -> bool:
    """Whether two values have an order. A free attribute may have a value of any type."""
    if isinstance(found, bool) or isinstance(operand, bool):
        return False
    numbers = isinstance(found, int | float) and isinstance(operand, int | float)
    return numbers or isinstance(found, type(operand))
