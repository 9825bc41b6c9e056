"""Parses the filter language, from query parameters or JSON, to a condition.

In a query, `status=running,paused` and `status=running&status=paused` both mean "one of". An operator stands in
brackets, with or without its dollar sign: `metadata.createdAt[gte]=…`. A value that has a comma is written with `[eq]`;
if `tag=` is repeated, each is a single tag, commas included. In JSON, a plain value means `$eq`, a plain array `$in`.
A missing value is null: `$eq: null` finds it, and so do `$ne` and `$nin` with other values; `$gt`, `$gte`, `$lt` and
`$lte` never find it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from domain.errors import Invalid, instead, kind_of
from domain.json_forms import is_between_milliseconds
from projections.query.ast import EVERYTHING, And, Compare, Condition, Field, Not, Or
from projections.query.field_paths import split_operator
from projections.query.field_types import (
    ATTRIBUTE,
    BOOLEAN,
    TAGS,
    TEXT,
    TIME,
    number,
    numeral,
    text,
)
from projections.query.sql import COMPARED

MOST_CONDITIONS = 100
"""Comparisons that a filter may have."""
MOST_LEVELS = 20
"""Levels that a JSON filter may be nested."""
MOST_OPERANDS = 1_000
"""Values that the comparisons of a filter may have together."""
OF_FILTERS = "$and, $or, $not"
"""The operators that combine filters; they stand where a field may stand."""
OF_CUT_TIMES = {"$gte": "$gt", "$lt": "$lte"}
"""The operators for a time that was cut to milliseconds, as the values are: what is at or after 1.5 ms is after 1 ms."""
OF_FIELDS = "$eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists, $prefix, $not"
"""The operators that a field may have."""

Fields = Callable[[str], Field | None]
"""Returns the field of a path in the document; None if executions cannot be filtered by it."""


def from_query(parameters: Iterable[tuple[str, str]], fields: Fields) -> Condition:
    """Return the condition of query parameters.

    Raises:
        Invalid: a parameter names no field or has an invalid value; the error names the parameter.
    """
    reader = _Reader(fields)
    plain: dict[str, list[str]] = {}
    parts: list[Condition] = []
    for name, value in parameters:
        path, operator = split_operator(name)
        field = reader.field(path, name)
        if not operator:
            plain.setdefault(path, []).append(value)
        elif len(operator) > 1 and operator.endswith("]"):
            operator = "$" + operator[1:-1].removeprefix("$")
            parts.append(reader.compare_text(field, operator, name, value))
        else:
            _refuse(name, "must have its operator in brackets, like metadata.createdAt[gte]")
    parts += [reader.plain(reader.field(path, path), path, found) for path, found in plain.items()]
    return And(tuple(parts)) if parts else EVERYTHING


def from_json(document: object, fields: Fields, path: str = "") -> Condition:
    """Return the condition of a JSON filter. `path` is the path of the filter in the body, for errors.

    Raises:
        Invalid: the filter is invalid; the error names the path of the fault, such as `$or[1].status.$in`.
    """
    return _Reader(fields).filter(document, path, 1)


def _refuse(path: str, message: str) -> NoReturn:
    raise Invalid.field(path, message)


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


@dataclass(slots=True)
class _Reader:
    """Reads one filter, and counts its conditions and operands."""

    fields: Fields
    conditions: int = 0
    operands: int = 0

    def field(self, name: str, path: str) -> Field:
        field = self.fields(name)
        if field is None:
            _refuse(
                path,
                "is not a field that can be filtered by; `findExecutions` in /openapi.json names them",
            )
        return field

    def filter(self, document: object, path: str, level: int) -> Condition:
        if level > MOST_LEVELS:
            _refuse(path, f"must have at most {MOST_LEVELS} levels")
        if not isinstance(document, dict):
            _refuse(path, f"must be an object of fields and operators, not {kind_of(document)}")
        if not document:
            self._count(path, 0)
        parts = [
            self._entry(key, value, _below(path, key), level) for key, value in document.items()
        ]
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _entry(self, key: str, value: object, path: str, level: int) -> Condition:
        match key:
            case "$and":
                return And(self._several(value, path, level))
            case "$or":
                return Or(self._several(value, path, level))
            case "$not":
                return Not(self.filter(value, path, level + 1))
        if key.startswith("$") and key != "$id":
            _refuse(path, f"must be a field or one of {OF_FILTERS}")
        return self._of_field(self.field(key, path), value, path, level)

    def _several(self, value: object, path: str, level: int) -> tuple[Condition, ...]:
        if not isinstance(value, list) or not value:
            _refuse(path, "must be a list of at least one filter")
        return tuple(
            self.filter(part, f"{path}[{index}]", level + 1) for index, part in enumerate(value)
        )

    def _of_field(self, field: Field, value: object, path: str, level: int) -> Condition:
        if level > MOST_LEVELS:
            _refuse(path, f"must have at most {MOST_LEVELS} levels")
        if isinstance(value, list):
            return self.compare(field, "$in", value, path)
        if not isinstance(value, dict):
            return self.compare(field, "$eq", value, path)
        if not value:
            _refuse(path, f"must be a value or have one of {OF_FIELDS}")
        parts = [
            Not(self._of_field(field, operand, _below(path, key), level + 1))
            if key == "$not"
            else self.compare(field, key, operand, _below(path, key))
            for key, operand in value.items()
        ]
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def compare(self, field: Field, operator: str, operand: Any, path: str) -> Condition:
        """Return the condition of an operator of a field, with an operand from JSON."""
        match operator:
            case "$eq":
                return self.member(field, [operand], path)
            case "$ne":
                return Not(self.member(field, [operand], path))
            case "$in" | "$nin":
                if not isinstance(operand, list):
                    _refuse(path, f"must be a list of values{instead(operand)}")
                found = self.member(field, operand, path, names_index=True)
                return found if operator == "$in" else Not(found)
            case "$exists":
                missing = self.member(field, [None], path)
                if not isinstance(operand, bool):
                    _refuse(path, f"must be true or false{instead(operand)}")
                return Not(missing) if operand else missing
            case "$prefix":
                return self._prefix(field, operand, path)
        if operator in COMPARED:
            return self._compare_order(field, operator, operand, path)
        _refuse(path, f"must be one of {OF_FIELDS}")

    def member(
        self, field: Field, operands: list[Any], path: str, *, names_index: bool = False
    ) -> Condition:
        """Return the condition that a field has one of these operands; None stands for a missing value."""
        self._count(path, len(operands))
        read = [
            None
            if operand is None
            else self._read(field, operand, f"{path}[{index}]" if names_index else path)
            for index, operand in enumerate(operands)
        ]
        return Compare(field, "$in", tuple(read))

    def _prefix(self, field: Field, operand: object, path: str) -> Condition:
        self._count(path, 1)
        if field.kind not in {TEXT, TAGS, ATTRIBUTE} and not field.kind.words:
            _refuse(path, "must be used with a field of text")
        try:
            return Compare(field, "$prefix", (text(operand),))
        except ValueError as error:
            _refuse(path, str(error))

    def _compare_order(self, field: Field, operator: str, operand: object, path: str) -> Condition:
        self._count(path, 1)
        if field.kind in {TAGS, BOOLEAN}:
            _refuse(path, "must be used with a field that has an order: a number, a time or text")
        value = self._read(field, operand, path)
        if field.kind is TIME and operator in OF_CUT_TIMES and is_between_milliseconds(operand):
            operator = OF_CUT_TIMES[operator]
        if isinstance(value, bool):
            _refuse(path, "must be a number, a time or text, as true and false have no order")
        return Compare(field, operator, (value,))

    def _read(self, field: Field, operand: object, path: str) -> Any:
        try:
            return field.kind.read(operand)
        except ValueError as error:
            _refuse(path, str(error))

    def _count(self, path: str, operands: int) -> None:
        self.conditions += 1
        self.operands += operands
        if self.conditions > MOST_CONDITIONS:
            _refuse(path, f"must not bring the filter above {MOST_CONDITIONS} conditions")
        if self.operands > MOST_OPERANDS:
            _refuse(path, f"must not bring the filter above {MOST_OPERANDS} values")

    def plain(self, field: Field, name: str, values: list[str]) -> Condition:
        """Return the condition that a field has one of the values of a parameter without an operator."""
        repeated_tag = field.kind is TAGS and len(values) > 1
        texts = values if repeated_tag else [part for value in values for part in value.split(",")]
        operands = [item for part in texts for item in self._literals(field, name, part)]
        return self.member(field, operands, name)

    def operands_of(self, field: Field, name: str, value: str) -> list[Any]:
        """Return the comma-separated operands in the text of a query parameter."""
        return [item for part in value.split(",") for item in self._literals(field, name, part)]

    def compare_text(self, field: Field, operator: str, name: str, value: str) -> Condition:
        """Return the condition of an operator of a field, with an operand from the text of a query parameter."""
        match operator:
            case "$eq" | "$in":
                return self.member(field, self._operands(field, operator, name, value), name)
            case "$ne" | "$nin":
                operands = self._operands(field, operator, name, value)
                return Not(self.member(field, operands, name))
            case "$exists":
                return self.compare(field, operator, BOOLEANS.get(value, value), name)
            case "$prefix":
                return self.compare(field, operator, value, name)
        return self.compare(field, operator, self._literals(field, name, value)[-1], name)

    def _operands(self, field: Field, operator: str, name: str, value: str) -> list[Any]:
        if operator in {"$in", "$nin"}:
            return self.operands_of(field, name, value)
        return self._literals(field, name, value)

    def _literals(self, field: Field, name: str, value: str) -> list[Any]:
        """Return the operand in a text. For a free attribute, return the text itself and also the number or boolean that
        the text represents, if any, because the attribute may have either type.
        """
        if field.kind is not ATTRIBUTE:
            try:
                return [field.kind.literal(value)]
            except ValueError as error:
                _refuse(name, str(error))
        try:
            return [value, BOOLEANS[value] if value in BOOLEANS else number(numeral(value))]
        except ValueError:
            return [value]


BOOLEANS: Mapping[str, bool] = {"true": True, "false": False}
