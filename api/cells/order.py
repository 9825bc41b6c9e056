"""The order of a list of several logs, and its cursors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cmp_to_key
from itertools import pairwise
from typing import Any

from projections.executions.columns import FIELDS, sortable
from projections.query.ast import Field
from projections.query.field_types import BOOLEAN
from projections.query.pagination import SortKey, decode_cursor, order

Values = Sequence[Any]
"""The values that a row is ordered by, `$id` last."""


class OtherOrder(Exception):
    """A list is ordered by other fields than here, as its server is of another build."""


class Descending:
    """Values in descending order; a missing value comes last."""

    __slots__ = ("_key",)

    def __init__(self, values: Values) -> None:
        self._key = [(value is not None, value) for value in values]

    def __lt__(self, other: Descending) -> bool:
        return other._key < self._key


class CellOrder:
    """A sort with its keys, as this build defines them; the server of another log may be of another build."""

    def __init__(self, sort: str, keys: Sequence[SortKey]) -> None:
        self.sort = sort
        self._keys = keys
        self._kinds = [_kinds(key.field) for key in keys]
        self._falls = [key.descending for key in keys]
        self.rank = self._fastest_rank()
        """Makes values comparable by `<`, which says whether one row precedes another."""

    @classmethod
    def of(cls, sort: str) -> CellOrder:
        """The order of executions for a sort. Raises Invalid where the sort is not valid."""
        return cls(sort, order(sort, sortable, FIELDS))

    def decode(self, cursor: str) -> list[Any]:
        """The sort values in a cursor of a log.

        Raises:
            OtherOrder: the cursor is of a list in another order.
            ValueError, TypeError: the text is no cursor, or has values that cannot be compared with others.
        """
        values: list[Any]
        sort, condition, *values = decode_cursor(cursor)
        if sort != self.sort or not isinstance(condition, str):
            raise ValueError(cursor)
        return self.check(values)

    def check(self, values: list[Any]) -> list[Any]:
        """Check the sort values of a row, and return them.

        Raises:
            OtherOrder: they are of a list in another order.
            ValueError, TypeError: they cannot be compared with others.
        """
        if len(values) != len(self._keys):
            raise OtherOrder
        if not all(map(isinstance, values, self._kinds)):
            raise ValueError(values)
        return values

    def ranks(self, rows: Sequence[Values]) -> list[Any]:
        """The ranks of the rows of a page. Raises OtherOrder where the rows are not in this order."""
        ranks = [self.rank(values) for values in rows]
        if any(not one < other for one, other in pairwise(ranks)):
            raise OtherOrder
        return ranks

    def _fastest_rank(self) -> Callable[[Values], Any]:
        """Tuples are compared ten times as fast as by `_compare`, but in one direction only."""
        if not any(self._falls):
            return _ascending
        if all(self._falls):
            return Descending
        return cmp_to_key(self._compare)

    def _compare(self, one: Values, other: Values) -> int:
        for mine, theirs, falls in zip(one, other, self._falls, strict=True):
            if mine == theirs:
                continue
            if mine is None or theirs is None:  # a missing value comes last in both directions
                return 1 if mine is None else -1
            return 1 if (mine < theirs) is falls else -1
        return 0


def _ascending(values: Values) -> Any:
    """Values in ascending order; a missing value comes last."""
    return [(value is None, value) for value in values]


def _kinds(field: Field) -> tuple[type, ...]:
    """The types that a value of a field may have in a cursor."""
    kind: tuple[type, ...] = (str,)
    if field.kind is BOOLEAN:
        kind = (bool,)
    elif field.kind.words or field.kind.reads_numbers:
        kind = (int, float)
    return (*kind, type(None)) if field.nullable else kind
