"""Writes a condition as a JSON filter that the parser reads as the same condition."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from domain.json_forms import format_time
from projections.query.ast import And, Compare, Condition, Not, Or


def as_json(condition: Condition) -> dict[str, Any]:
    """Return the condition as a JSON filter."""
    match condition:
        case And(parts):
            return {"$and": [as_json(part) for part in parts]} if parts else {}
        case Or(parts):
            return {"$or": [as_json(part) for part in parts]} if parts else {"$not": {}}
        case Not(part):
            return {"$not": as_json(part)}
        case Compare(field, "$in", operands):
            return {field.path: {"$in": [_json_value(each) for each in operands]}}
        case Compare(field, operator, (operand,)):
            return {field.path: {operator: _json_value(operand)}}
    raise TypeError(condition)


def _json_value(value: Any) -> Any:
    return format_time(value) if isinstance(value, datetime) else value
