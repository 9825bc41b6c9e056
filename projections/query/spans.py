"""Splits a condition into a span of time of one field, and the other comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from projections.query.ast import And, Compare, Condition, Not, Or

MILLISECOND, DAY = timedelta(milliseconds=1), timedelta(days=1)


class Span(NamedTuple):
    """The times from `since` on and before `until`, in UTC; None for no limit."""

    since: datetime | None = None
    until: datetime | None = None

    def within(self, other: Span) -> Span:
        """Return the intersection of two spans."""
        sinces = [since for since in (self.since, other.since) if since is not None]
        untils = [until for until in (self.until, other.until) if until is not None]
        return Span(max(sinces, default=None), min(untils, default=None))

    def whole_days(self) -> Span | None:
        """Return the span of the days that lie wholly in this span; None if there is no such day.

        Raises:
            OverflowError: the span begins after the start of 9999-12-31, the last day of `datetime`.
        """
        first, last = (limit and _midnight(limit) for limit in self)
        if first and first != self.since:
            first += DAY
        return None if first and last and first >= last else Span(first, last)

    def edges(self, days: Span) -> Iterator[Span]:
        """Yield the parts of days before and after the whole `days` of this span."""
        if self.since != days.since:
            yield Span(self.since, days.since)
        if self.until != days.until:
            yield Span(days.until, self.until)

    def days(self) -> tuple[str | None, str | None]:
        """Return the dates of both limits, which must be midnights, in ISO format: as texts they compare like dates."""
        since, until = (limit.date().isoformat() if limit else None for limit in self)
        return since, until


class Limited(NamedTuple):
    """A condition split in two: a span of times of one column, and the other comparisons."""

    condition: And
    span: Span

    @classmethod
    def by(cls, condition: Condition, column: str) -> Limited:
        """Split the span of a column off a condition.

        Raises:
            OverflowError: a limit lies beyond the range of `datetime`.
        """
        span, others = Span(), list[Condition]()
        for part in _parts(condition):
            limit = _limit(part, column)
            if limit is None:
                others.append(part)
            else:
                span = span.within(limit)
        return cls(And(tuple(others)), span)

    @property
    def columns(self) -> frozenset[str]:
        """The columns that the other comparisons use. It has the column of the span if the span could not be split off."""
        return columns_of(self.condition)


def columns_of(condition: Condition) -> frozenset[str]:
    """Return the columns that the comparisons of a condition use."""
    return frozenset(_compared_columns(condition))


def between(column: str, limits: Sequence[Any], values: list[Any]) -> str:
    """Return SQL for a column from the first limit on and below the second; None for no limit. Values to bind are
    appended to `values`.
    """
    known = [(sign, limit) for sign, limit in zip((">=", "<"), limits, strict=True) if limit]
    values += [limit for _, limit in known]
    return " AND ".join(f"{column} {sign} %s" for sign, _ in known) or "true"


def _limit(part: Condition, column: str) -> Span | None:
    """Return the span of a comparison; None if it does not compare times of the column. Stored times are whole
    milliseconds.
    """
    if not isinstance(part, Compare) or part.field.column != column:
        return None
    match part.operator, part.operands[0]:
        case "$gte", datetime() as operand:
            return Span(since=operand)
        case "$gt", datetime() as operand:
            return Span(since=operand + MILLISECOND)
        case "$lt", datetime() as operand:
            return Span(until=operand)
        case "$lte", datetime() as operand:
            return Span(until=operand + MILLISECOND)
    return None


def _parts(condition: Condition) -> Iterator[Condition]:
    if not isinstance(condition, And):
        yield condition
        return
    for part in condition.parts:
        yield from _parts(part)


def _compared_columns(condition: Condition) -> Iterator[str]:
    match condition:
        case And(parts) | Or(parts):
            for part in parts:
                yield from _compared_columns(part)
        case Not(part):
            yield from _compared_columns(part)
        case Compare(field):
            yield field.column


def _midnight(time: datetime) -> datetime:
    return time.replace(hour=0, minute=0, second=0, microsecond=0)
