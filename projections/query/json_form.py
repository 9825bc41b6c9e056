"""A condition as JSON of the filter language, to be stored and read again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from domain.json_forms import format_time
from projections.query.ast import And, Compare, Condition, Not, Or


def filter_of(condition: Condition) -> dict[str, Any]:
    """The filter of which `from_json` makes a condition that the same executions meet."""
    match condition:
        case And(parts):
            return {"$and": [filter_of(part) for part in parts]} if parts else {}
        case Or(parts):
            return {"$or": [filter_of(part) for part in parts]} if parts else {"$not": {}}
        case Not(part):
            return {"$not": filter_of(part)}
        case Compare(field, "$in", operands):
            return {field.path: {"$in": [_json(operand) for operand in operands]}}
        case Compare(field, operator, operands):
            return {field.path: {operator: _json(operands[0])}}


def _json(operand: Any) -> Any:
    return format_time(operand) if isinstance(operand, datetime) else operand
