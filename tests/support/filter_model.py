"""A reference implementation of the filter language on documents, with which the SQL is compared."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

from domain.execution.types import Status
from domain.json_forms import parse_time
from domain.types import Priority

Document = dict[str, Any]

ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}
RANKED_VALUES: dict[str, list[str]] = {"status": list(Status), "priority": list(Priority)}
TIMES = {"createdAt", "updatedAt", "startedAt", "completedAt", "nextRetryAt", "at"}


def document_matches(document: Document, condition: Any) -> bool:
    """Whether a document matches a JSON filter."""
    return all(_entry(document, key, value) for key, value in condition.items())


def _entry(document: Document, key: str, value: Any) -> bool:
    match key:
        case "$and":
            return all(document_matches(document, part) for part in value)
        case "$or":
            return any(document_matches(document, part) for part in value)
        case "$not":
            return not document_matches(document, value)
    return _field(document, key, value)


def _field(document: Document, path: str, value: Any) -> bool:
    if isinstance(value, list):
        return _compared(document, path, "$in", value)
    if not isinstance(value, dict):
        return _compared(document, path, "$eq", value)
    return all(
        not _field(document, path, operand)
        if name == "$not"
        else _compared(document, path, name, operand)
        for name, operand in value.items()
    )


def _compared(document: Document, path: str, name: str, operand: Any) -> bool:
    found = values(document, path)
    match name:
        case "$eq" | "$in":
            return _among(found, path, operand if name == "$in" else [operand])
        case "$ne" | "$nin":
            return not _among(found, path, operand if name == "$nin" else [operand])
        case "$exists":
            return bool(found) is operand
        case "$prefix":
            return any(isinstance(one, str) and one.startswith(operand) for one in found)
    return any(_ordered(path, one, ORDERS[name], operand) for one in found)


def values(document: Document, path: str) -> list[Any]:
    """The values at a path: none, a single one, or all tags."""
    if path in {"tag", "tags"}:
        return list(document["tags"])
    value = _longest_key_first(document, re.findall(r'\["(.+?)"\]|([^.\[]+)', path))
    return [] if value is None or _is_not_final(document, path) else [value]


def _longest_key_first(value: Any, parts: list[tuple[str, str]]) -> Any:
    """Parts are quoted or unquoted keys."""
    if not parts:
        return value
    for length in range(len(parts), 0, -1):
        if length > 1 and any(quoted for quoted, _ in parts[:length]):
            continue
        key = ".".join(quoted or plain for quoted, plain in parts[:length])
        if isinstance(value, dict) and key in value:
            found = _longest_key_first(value[key], parts[length:])
            if found is not None:
                return found
    return None


def _is_not_final(document: Document, path: str) -> bool:
    """Durations can be compared only once they do not grow any more."""
    if path == "metrics.duration":
        return not document["metrics"]["durationFinal"]
    return path == "metrics.activeDuration" and document["status"] in {"starting", "running"}


def _among(found: list[Any], path: str, operands: list[Any]) -> bool:
    if not found:
        return None in operands
    return any(_same(path, one, operand) for one in found for operand in operands)


def _same(path: str, one: Any, operand: Any) -> bool:
    if operand is None or isinstance(one, bool) is not isinstance(operand, bool):
        return False
    return bool(_rank(path, one) == _rank(path, operand))


def _ordered(path: str, one: Any, order: Callable[[Any, Any], bool], operand: Any) -> bool:
    one, operand = _rank(path, one), _rank(path, operand)
    numbers = isinstance(one, int | float) and isinstance(operand, int | float)
    same_type = type(one) is type(operand) or numbers
    return not isinstance(one, bool) and same_type and order(one, operand)


def _rank(path: str, value: Any) -> Any:
    if path in RANKED_VALUES:
        return RANKED_VALUES[path].index(value)
    last = path.rpartition(".")[2]
    is_time = last in TIMES and isinstance(value, str)
    return parse_time(value) if is_time else value
